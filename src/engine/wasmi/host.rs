//! The host's side of a wasmi store: what the case's host items are made of, how values cross
//! between wasmi and the rest of parallax.

use std::collections::HashMap;

use ::wasmi::errors::HostError;
use ::wasmi::{
    AsContext, AsContextMut, Caller, Error, Extern, ExternRef, F32, F64, Func, FuncType, Global,
    Instance, Memory, MemoryType, Mutability, Nullable, Ref, RefType, Store, StoreContext,
    StoreContextMut, StoreLimits, StoreLimitsBuilder, Table, TableType, V128, Val, ValType,
};
use parallax_oracles::{Changes, Event, FuncIdentity, ObjectId, Reason, TrapKind, Value};

use super::guard;
use super::handle::slot;
use super::visible::{self, Visible, held};
use crate::case::host::fill_with_pattern;
use crate::case::module as decoded;
use crate::case::{Case, Host, HostItemKind};
use crate::engine::host_end::HostEnd;
use crate::engine::shadow::{Shadows, Then};

/// What a store carries for us.
pub struct Data<'run> {
    pub case: &'run Case,
    pub host: Host,
    /// Host calls of the step being taken.
    pub events: Vec<Event>,
    /// What memories and tables may grow to; growing beyond fails in the program.
    pub limits: StoreLimits,
    /// Which function each slot of the store holds, from slot 1.
    pub functions: Vec<FuncIdentity>,
    /// What became of every instantiation so far.
    pub instances: Vec<Made>,
    /// The host items, as wasmi has them.
    pub host_items: Vec<Extern>,
    /// What snapshots show.
    pub visible: Visible,
    /// What they last showed.
    pub shadows: Shadows<u64>,
    /// Whether functions of the case can write to tables at all. Where they cannot, only
    /// instantiation does, and in other steps nobody need look.
    pub code_writes_tables: bool,
    /// Whether tables may not be as they were last shown.
    pub tables_may_differ: bool,
    /// Host objects that were ever seen. wasmi keeps them as long as the store.
    objects: HashMap<ObjectId, ExternRef>,
}

/// What became of an instantiation.
pub struct Made {
    /// The module, by position in the case.
    pub module: usize,
    /// The instance, if it got as far as existing.
    pub instance: Option<Instance>,
    /// Whether instantiation succeeded.
    pub succeeded: bool,
}

impl<'run> Data<'run> {
    pub fn new(case: &'run Case, shadows: Shadows<u64>) -> Data<'run> {
        Data {
            case,
            host: Host::new(case),
            events: Vec::new(),
            limits: StoreLimitsBuilder::new()
                .memory_size(case.settings.memory_limit.saturating_mul(64 << 10) as usize)
                .table_elements(case.settings.table_limit as usize)
                .instances(usize::MAX)
                .memories(usize::MAX)
                .tables(usize::MAX)
                .build(),
            functions: Vec::new(),
            instances: Vec::new(),
            host_items: Vec::new(),
            visible: Visible::default(),
            shadows,
            code_writes_tables: case.modules.iter().any(visible::writes_tables),
            tables_may_differ: true,
            objects: HashMap::new(),
        }
    }
}

impl HostError for HostEnd {}

/// Makes all host items of the case in a new store.
///
/// # Errors
/// What wasmi says of an item that it cannot make.
pub fn make_items(store: &mut Store<Data<'_>>) -> Result<(), String> {
    let case = store.data().case;
    for (position, item) in case.host_items.iter().enumerate() {
        let made = match &item.kind {
            HostItemKind::Func { ty, .. } => {
                let identity = FuncIdentity::Host(position as u32);
                store.data_mut().functions.push(identity);
                let func = Func::new(&mut *store, func_type(ty), host_function(position as u32));
                Ok(Extern::Func(func))
            }
            HostItemKind::Table { ty, .. } => make_table(store, ty).map(Extern::Table),
            HostItemKind::Memory { ty, patterned } => {
                make_memory(store, ty, *patterned).map(Extern::Memory)
            }
            HostItemKind::Global { ty, value } => {
                let mutability = match ty.mutable {
                    true => Mutability::Var,
                    false => Mutability::Const,
                };
                match lower(store.as_context_mut(), *value) {
                    Some(value) => Ok(Extern::Global(Global::new(&mut *store, value, mutability))),
                    None => Err(format!("no value {value}")),
                }
            }
        };
        let made = made.map_err(|error| format!("{}.{}: {error}", item.module, item.name))?;
        store.data_mut().host_items.push(made);
    }
    fill_tables(store, case)
}

fn make_table(store: &mut Store<Data<'_>>, ty: &decoded::TableType) -> Result<Table, String> {
    let null = Ref::null(ref_type(ty.element));
    Table::new(store, table_type(ty)?, null).map_err(|error| error.to_string())
}

fn make_memory(
    store: &mut Store<Data<'_>>,
    ty: &decoded::MemoryType,
    patterned: bool,
) -> Result<Memory, String> {
    let memory = Memory::new(&mut *store, memory_type(ty)?).map_err(|error| error.to_string())?;
    if patterned {
        fill_with_pattern(memory.data_mut(store));
    }
    Ok(memory)
}

/// Sets the elements that host tables start with; only now are all host functions there.
fn fill_tables(store: &mut Store<Data<'_>>, case: &Case) -> Result<(), String> {
    for (position, item) in case.host_items.iter().enumerate() {
        let HostItemKind::Table { elements, .. } = &item.kind else {
            continue;
        };
        let Extern::Table(table) = store.data().host_items[position] else {
            continue;
        };
        for &(index, function) in elements {
            let element = match store.data().host_items.get(function as usize) {
                Some(Extern::Func(func)) => Ref::Func(Nullable::Val(*func)),
                _ => {
                    return Err(format!(
                        "{}.{}: no function {function}",
                        item.module, item.name
                    ));
                }
            };
            table
                .set(&mut *store, u64::from(index), element)
                .map_err(|error| format!("{}.{}: {error}", item.module, item.name))?;
        }
    }
    Ok(())
}

/// What wasmi runs for the host function at this position among the host items.
fn host_function<'run>(
    item: u32,
) -> impl Fn(Caller<'_, Data<'run>>, &[Val], &mut [Val]) -> Result<(), Error> + Send + Sync + 'static
{
    move |caller, params, results| {
        // wasmi calls this from where no panic may pass. A reference that it has made up makes
        // its own look-up panic.
        guard(|| answer(caller, item, params, results)).unwrap_or_else(|why| Err(Error::new(why)))
    }
}

/// Answers one call of the host function at position `item` among the host items.
fn answer(
    mut caller: Caller<'_, Data<'_>>,
    item: u32,
    params: &[Val],
    results: &mut [Val],
) -> Result<(), Error> {
    let context = caller.as_context();
    let args: Vec<Value> = params.iter().map(|param| show(context, param)).collect();
    let counts = held(context);
    let data = caller.data_mut();
    let state = data.host.looks(data.case, item).then(|| {
        let mut changes = Changes::default();
        visible::show(caller.as_context_mut(), Then::Leave, &mut changes);
        Box::new(changes)
    });
    let data = caller.data_mut();
    let answer = data.host.call(data.case, item, &args);
    data.visible.keep(&answer.keep);
    data.events.push(Event::HostCall {
        function: item,
        args,
        counts,
        state,
    });
    if answer.enough {
        return Err(Error::host(HostEnd::Inconclusive(Reason::HostCalls)));
    }
    if let Some(kind) = answer.trap {
        return Err(Error::host(HostEnd::Trap(kind)));
    }
    if answer.interrupt {
        return Err(Error::host(HostEnd::Trap(TrapKind::Interrupted)));
    }
    if answer.call.is_some()
        && let [Val::FuncRef(Nullable::Val(function)), arguments @ ..] = params
    {
        function.call(&mut caller, arguments, results)?;
        caller.data_mut().host.called_back();
        return Ok(());
    }
    for (result, value) in results.iter_mut().zip(answer.results) {
        // What a host function makes it hands over, and keeps no handle to.
        if let Value::Extern(Some(id)) = value
            && !caller.data().objects.contains_key(&id)
        {
            make_object(caller.as_context_mut(), id);
        }
        *result = lower(caller.as_context_mut(), value)
            .ok_or_else(|| Error::new(format!("the host returned {value}")))?;
    }
    Ok(())
}

/// How a value of wasmi's is shown.
pub fn show(context: StoreContext<'_, Data<'_>>, value: &Val) -> Value {
    match value {
        Val::I32(value) => Value::I32(*value),
        Val::I64(value) => Value::I64(*value),
        Val::F32(value) => Value::F32(value.to_bits()),
        Val::F64(value) => Value::F64(value.to_bits()),
        Val::V128(value) => Value::V128(value.as_u128()),
        Val::FuncRef(Nullable::Null) => Value::Func(None),
        Val::FuncRef(Nullable::Val(func)) => show_function(context.data(), slot(func)),
        Val::ExternRef(Nullable::Null) => Value::Extern(None),
        Val::ExternRef(Nullable::Val(object)) => match object_id(context, object) {
            Some(id) => Value::Extern(Some(id)),
            None => Value::Dangling,
        },
    }
}

/// How the function in a slot of the store is shown.
pub fn show_function(data: &Data<'_>, slot: u32) -> Value {
    match data.functions.get((slot as usize).wrapping_sub(1)) {
        Some(identity) => Value::Func(Some(*identity)),
        None => Value::Dangling,
    }
}

/// The number of a host object; `None` if the reference is to nothing that was ever made.
///
/// wasmi panics at such a reference, and it may not unwind through its interpreter, which is below
/// us in a host call. Such references come about by its own faults (see [`crate::triage::known`]).
pub fn object_id(context: StoreContext<'_, Data<'_>>, object: &ExternRef) -> Option<ObjectId> {
    guard(|| object.data(context).downcast_ref().copied())
        .ok()
        .flatten()
}

fn make_object(mut context: StoreContextMut<'_, Data<'_>>, id: ObjectId) -> ExternRef {
    let object = ExternRef::new(&mut context, id);
    context.data_mut().objects.insert(id, object);
    object
}

/// Makes a value of wasmi's. `None` for a reference to a function that was never made. The host
/// keeps a handle to an object that it mentions for the first time.
pub fn lower(mut context: StoreContextMut<'_, Data<'_>>, value: Value) -> Option<Val> {
    Some(match value {
        Value::I32(value) => Val::I32(value),
        Value::I64(value) => Val::I64(value),
        Value::F32(bits) => Val::F32(F32::from_bits(bits)),
        Value::F64(bits) => Val::F64(F64::from_bits(bits)),
        Value::V128(bits) => Val::V128(V128::from(bits)),
        Value::Func(None) => Val::FuncRef(Nullable::Null),
        Value::Func(Some(identity)) => Val::FuncRef(Nullable::Val(function(&context, identity)?)),
        Value::Extern(None) => Val::ExternRef(Nullable::Null),
        Value::Extern(Some(id)) => {
            let known = context.data().objects.get(&id).copied();
            let object = known.unwrap_or_else(|| {
                context.data_mut().visible.keep(&[id]);
                make_object(context, id)
            });
            Val::ExternRef(Nullable::Val(object))
        }
        Value::Dangling => return None,
    })
}

/// The function of that identity.
pub fn function<'run>(
    context: &impl AsContext<Data = Data<'run>>,
    identity: FuncIdentity,
) -> Option<Func> {
    let context = context.as_context();
    let data = context.data();
    match identity {
        FuncIdentity::Host(item) => data.host_items.get(item as usize)?.into_func(),
        FuncIdentity::Defined { instance, index } => {
            let made = data.instances.get(instance as usize)?;
            let name = data.case.modules[made.module]
                .function_exports
                .get(index as usize)?;
            made.instance?.get_func(context, name)
        }
    }
}

fn func_type(ty: &decoded::FuncType) -> FuncType {
    FuncType::new(
        ty.params.iter().copied().map(val_type),
        ty.results.iter().copied().map(val_type),
    )
}

fn val_type(ty: decoded::ValType) -> ValType {
    match ty {
        decoded::ValType::I32 => ValType::I32,
        decoded::ValType::I64 => ValType::I64,
        decoded::ValType::F32 => ValType::F32,
        decoded::ValType::F64 => ValType::F64,
        decoded::ValType::V128 => ValType::V128,
        decoded::ValType::FuncRef => ValType::FuncRef,
        decoded::ValType::ExternRef => ValType::ExternRef,
    }
}

fn ref_type(ty: decoded::ValType) -> RefType {
    match ty {
        decoded::ValType::ExternRef => RefType::Extern,
        _ => RefType::Func,
    }
}

fn table_type(ty: &decoded::TableType) -> Result<TableType, String> {
    let (min, max) = limits(ty.min, ty.max)?;
    Ok(TableType::new(ref_type(ty.element), min, max))
}

fn memory_type(ty: &decoded::MemoryType) -> Result<MemoryType, String> {
    let (min, max) = limits(ty.min, ty.max)?;
    // The constructor of the 32-bit type panics on sizes beyond it; the builder does not.
    let mut builder = MemoryType::builder();
    builder.memory64(ty.memory64);
    builder.min(min.into()).max(max.map(u64::from));
    builder.build().map_err(|error| error.to_string())
}

fn limits(min: u64, max: Option<u64>) -> Result<(u32, Option<u32>), String> {
    let narrow = |size: u64| u32::try_from(size).map_err(|_| format!("a size of {size}"));
    let min = narrow(min)?;
    let max = max.map(narrow).transpose()?;
    if max.is_some_and(|max| max < min) {
        return Err(format!("a minimum of {min} beyond the maximum"));
    }
    Ok((min, max))
}
