//! The host's side of a Wasmtime store: what the case's host items are made of, how values cross
//! between Wasmtime and the rest of parallax.

use std::collections::HashMap;

use ::wasmtime::{
    AsContext, AsContextMut, Caller, Error, Extern, ExternRef, Func, FuncType, Global, GlobalType,
    Memory, MemoryTypeBuilder, Mutability, OwnedRooted, Ref, RefType, Rooted, StoreLimits,
    StoreLimitsBuilder, Table, TableType, V128, Val, ValType,
};
use parallax_oracles::{Changes, Event, FuncIdentity, ObjectId, Reason, TrapKind, Value};

use super::config::{Knobs, Polling};
use super::functions::{self, Functions};
use super::objects::{HostObject, Log};
use super::outcome::told;
use super::visible::{self, Visible};
use crate::case::host::fill_with_pattern;
use crate::case::module as decoded;
use crate::case::settings::Destructor;
use crate::case::{Case, Host, HostItemKind};
use crate::engine::host_end::HostEnd;
use crate::engine::shadow::{Shadows, Then};

/// What a store carries for us.
pub struct Data {
    /// What the host's answers depend on: settings and host items, without modules and steps.
    case: Case,
    host: Host,
    /// Host calls and drops of the step being taken.
    pub events: Vec<Event>,
    /// What memories and tables may grow to; growing beyond fails in the program.
    pub limits: StoreLimits,
    /// Whether the host asked for an interrupt in this step.
    pub armed: bool,
    polling: Polling,
    /// The host items, as Wasmtime has them.
    pub host_items: Vec<Extern>,
    /// What became of host objects.
    pub log: Log,
    /// The objects that the host has handles to.
    handles: HashMap<ObjectId, OwnedRooted<ExternRef>>,
    /// Which function is which.
    pub functions: Functions,
    /// What snapshots show.
    pub visible: Visible,
    /// What they last showed.
    pub shadows: Shadows<u64>,
    /// Whether tables are looked at only when the case is over.
    pub tables_late: bool,
    /// What the next object but one shares with the one before it, see [`Destructor::DropOther`].
    shared: Option<OwnedRooted<ExternRef>>,
}

impl Data {
    pub fn new(case: &Case, knobs: &Knobs, shadows: Shadows<u64>) -> Data {
        let host = Host::new(case);
        let case = Case {
            settings: case.settings.clone(),
            modules: Vec::new(),
            host_items: case.host_items.clone(),
            registrations: Vec::new(),
            steps: Vec::new(),
        };
        Data {
            host,
            events: Vec::new(),
            limits: StoreLimitsBuilder::new()
                .memory_size(case.settings.memory_limit.saturating_mul(64 << 10) as usize)
                .table_elements(case.settings.table_limit as usize)
                .instances(usize::MAX)
                .memories(usize::MAX)
                .tables(usize::MAX)
                .build(),
            armed: false,
            polling: knobs.polling,
            host_items: Vec::new(),
            log: Log::default(),
            handles: HashMap::new(),
            functions: Functions::default(),
            visible: Visible::default(),
            shadows,
            tables_late: knobs.tables_late,
            shared: None,
            case,
        }
    }

    /// Begins a step of the case.
    pub fn begin_step(&mut self) {
        self.armed = false;
        self.host.begin_step(&self.case);
    }
}

/// Makes all host items of the case in a new store.
///
/// # Errors
/// What Wasmtime says of an item that it cannot make.
pub fn make_items(store: &mut impl AsContextMut<Data = Data>) -> Result<(), String> {
    let items = store.as_context().data().case.host_items.clone();
    for (position, item) in items.iter().enumerate() {
        let made = match &item.kind {
            HostItemKind::Func { ty, .. } => {
                let ty = func_type(store.as_context().engine(), ty);
                let func = Func::new(&mut *store, ty, host_function(position as u32));
                functions::add_host(store, position as u32, &func);
                Ok(Extern::Func(func))
            }
            HostItemKind::Table { ty, .. } => make_table(store, ty).map(Extern::Table),
            HostItemKind::Memory { ty, patterned } => {
                make_memory(store, ty, *patterned).map(Extern::Memory)
            }
            HostItemKind::Global { ty, value } => {
                make_global(store, ty, *value).map(Extern::Global)
            }
        };
        let made = made.map_err(|error| format!("{}.{}: {error}", item.module, item.name))?;
        store.as_context_mut().data_mut().host_items.push(made);
    }
    // Only now are all host functions there.
    for (position, item) in items.iter().enumerate() {
        let HostItemKind::Table { elements, .. } = &item.kind else {
            continue;
        };
        let Extern::Table(table) = store.as_context().data().host_items[position] else {
            continue;
        };
        for &(index, function) in elements {
            let function = functions::find(store, FuncIdentity::Host(function));
            let Some(function) = function else {
                return Err(format!("{}.{}: no such function", item.module, item.name));
            };
            table
                .set(&mut *store, u64::from(index), Ref::Func(Some(function)))
                .map_err(|error| told(&error))?;
        }
    }
    Ok(())
}

fn make_table(
    store: &mut impl AsContextMut<Data = Data>,
    ty: &decoded::TableType,
) -> Result<Table, String> {
    let (min, max) = limits(ty.min, ty.max)?;
    let (element, null) = match ty.element {
        decoded::ValType::ExternRef => (RefType::EXTERNREF, Ref::Extern(None)),
        _ => (RefType::FUNCREF, Ref::Func(None)),
    };
    Table::new(store, TableType::new(element, min, max), null).map_err(|error| told(&error))
}

fn make_memory(
    store: &mut impl AsContextMut<Data = Data>,
    ty: &decoded::MemoryType,
    patterned: bool,
) -> Result<Memory, String> {
    limits(ty.min, ty.max)?;
    let ty = MemoryTypeBuilder::default()
        .memory64(ty.memory64)
        .min(ty.min)
        .max(ty.max)
        .build()
        .map_err(|error| told(&error))?;
    let memory = Memory::new(&mut *store, ty).map_err(|error| told(&error))?;
    if patterned {
        fill_with_pattern(memory.data_mut(store.as_context_mut()));
    }
    Ok(memory)
}

fn make_global(
    store: &mut impl AsContextMut<Data = Data>,
    ty: &decoded::GlobalType,
    value: Value,
) -> Result<Global, String> {
    let mutability = match ty.mutable {
        true => Mutability::Var,
        false => Mutability::Const,
    };
    let value = lower(&mut *store, value, &[])?;
    let ty = GlobalType::new(val_type(ty.value), mutability);
    Global::new(store, ty, value).map_err(|error| told(&error))
}

/// What Wasmtime runs for the host function at this position among the host items.
fn host_function(
    item: u32,
) -> impl Fn(Caller<'_, Data>, &[Val], &mut [Val]) -> Result<(), Error> + Send + Sync + 'static {
    move |caller, params, results| answer(caller, item, params, results)
}

/// Answers one call of the host function at position `item` among the host items.
fn answer(
    mut caller: Caller<'_, Data>,
    item: u32,
    params: &[Val],
    results: &mut [Val],
) -> Result<(), Error> {
    let args: Vec<Value> = params
        .iter()
        .map(|param| show(&mut caller, param))
        .collect();
    let data = caller.data_mut();
    let state = data.host.looks(&data.case, item).then(|| {
        let mut changes = Changes::default();
        visible::show(&mut caller, Then::Leave, &mut changes);
        Box::new(changes)
    });
    let Data {
        case,
        host,
        events,
        log,
        ..
    } = caller.data_mut();
    log.drain(events);
    let alive = log.alive();
    let answer = host.call(case, item, &args);
    events.push(Event::HostCall {
        function: item,
        args,
        counts: alive.into_iter().map(|id| (id, 1)).collect(),
        state,
    });
    if answer.enough {
        return Err(Error::new(HostEnd::Inconclusive(Reason::HostCalls)));
    }
    for id in &answer.keep {
        if let Some(object) = object_among(&caller, params, *id) {
            keep(&mut caller, *id, object)?;
        }
    }
    if let Some(kind) = answer.trap {
        return Err(Error::new(HostEnd::Trap(kind)));
    }
    if answer.collect {
        caller.gc(None)?;
    }
    if answer.interrupt {
        interrupt(&mut caller)?;
    }
    if answer.call.is_some()
        && let [Val::FuncRef(Some(function)), arguments @ ..] = params
    {
        function.call(&mut caller, arguments, results)?;
        caller.data_mut().host.called_back();
        return Ok(());
    }
    for (result, value) in results.iter_mut().zip(answer.results) {
        // What a host function makes it hands over, and keeps no handle to.
        *result = match value {
            Value::Extern(Some(id)) => {
                let object = match known_object(&mut caller, params, id) {
                    Some(object) => object,
                    None => make_object(&mut caller, id)?,
                };
                Val::ExternRef(Some(object))
            }
            value => lower(&mut caller, value, params).map_err(Error::msg)?,
        };
    }
    Ok(())
}

/// Has the program trap when it next looks whether it should; at once if it never does.
fn interrupt(caller: &mut Caller<'_, Data>) -> Result<(), Error> {
    caller.data_mut().armed = true;
    match caller.data().polling {
        Polling::Epochs => {
            caller.engine().increment_epoch();
            Ok(())
        }
        Polling::Fuel => caller.set_fuel(0),
        Polling::Never => Err(Error::new(HostEnd::Trap(TrapKind::Interrupted))),
    }
}

/// The host keeps a handle to an object.
fn keep(
    context: &mut impl AsContextMut<Data = Data>,
    id: ObjectId,
    object: Rooted<ExternRef>,
) -> Result<(), Error> {
    if !context.as_context().data().handles.contains_key(&id) {
        let handle = object.to_owned_rooted(&mut *context)?;
        let mut context = context.as_context_mut();
        context.data_mut().handles.insert(id, handle);
    }
    Ok(())
}

/// The object of that number among these values.
fn object_among(
    context: &impl AsContext<Data = Data>,
    values: &[Val],
    id: ObjectId,
) -> Option<Rooted<ExternRef>> {
    let mut objects = values.iter().filter_map(|value| match value {
        Val::ExternRef(object) => *object,
        _ => None,
    });
    objects.find(|object| object_id(context, object) == Some(id))
}

/// The object of that number, among these values or those that the host has a handle to.
fn known_object(
    context: &mut impl AsContextMut<Data = Data>,
    values: &[Val],
    id: ObjectId,
) -> Option<Rooted<ExternRef>> {
    let among = object_among(context, values, id);
    among.or_else(|| {
        let handle = context.as_context().data().handles.get(&id)?.clone();
        Some(handle.to_rooted(context))
    })
}

/// Makes an object that is not there yet.
fn make_object(
    context: &mut impl AsContextMut<Data = Data>,
    id: ObjectId,
) -> Result<Rooted<ExternRef>, Error> {
    let owned = owned_by_next(context)?;
    let object = HostObject::new(id, &context.as_context().data().log, owned);
    ExternRef::new(context, object)
}

/// What a new object holds on to. Every other object shares what the one before it owns, which owns
/// something itself.
fn owned_by_next(
    context: &mut impl AsContextMut<Data = Data>,
) -> Result<Option<OwnedRooted<ExternRef>>, Error> {
    let mut store = context.as_context_mut();
    let data = store.data_mut();
    if data.case.settings.destructor != Destructor::DropOther {
        return Ok(None);
    }
    if let Some(shared) = data.shared.take() {
        return Ok(Some(shared));
    }
    let log = data.log.clone();
    let inner = ExternRef::new(&mut *context, HostObject::hidden(&log, None))?;
    let inner = inner.to_owned_rooted(&mut *context)?;
    let outer = ExternRef::new(&mut *context, HostObject::hidden(&log, Some(inner)))?;
    let outer = outer.to_owned_rooted(&mut *context)?;
    context.as_context_mut().data_mut().shared = Some(outer.clone());
    Ok(Some(outer))
}

/// How a value of Wasmtime's is shown.
pub fn show(context: &mut impl AsContextMut<Data = Data>, value: &Val) -> Value {
    match value {
        Val::I32(value) => Value::I32(*value),
        Val::I64(value) => Value::I64(*value),
        Val::F32(bits) => Value::F32(*bits),
        Val::F64(bits) => Value::F64(*bits),
        Val::V128(value) => Value::V128(value.as_u128()),
        Val::FuncRef(None) => Value::Func(None),
        Val::FuncRef(Some(func)) => functions::show(context, func),
        Val::ExternRef(None) => Value::Extern(None),
        Val::ExternRef(Some(object)) => match object_id(context, object) {
            Some(id) => Value::Extern(Some(id)),
            None => Value::Dangling,
        },
        _ => Value::Dangling,
    }
}

/// The number of a host object; `None` if the reference is to nothing that was ever made.
pub fn object_id(
    context: &impl AsContext<Data = Data>,
    object: &Rooted<ExternRef>,
) -> Option<ObjectId> {
    let data = object.data(context.as_context()).ok()??;
    data.downcast_ref::<HostObject>()?.id()
}

/// Makes a value of Wasmtime's. An object that is neither among `values` nor known to the host is
/// made, and the host keeps a handle to it.
///
/// # Errors
/// One line, if there is no such function or no room for the object.
pub fn lower(
    context: &mut impl AsContextMut<Data = Data>,
    value: Value,
    values: &[Val],
) -> Result<Val, String> {
    Ok(match value {
        Value::I32(value) => Val::I32(value),
        Value::I64(value) => Val::I64(value),
        Value::F32(bits) => Val::F32(bits),
        Value::F64(bits) => Val::F64(bits),
        Value::V128(bits) => Val::V128(V128::from(bits)),
        Value::Func(None) => Val::FuncRef(None),
        Value::Func(Some(identity)) => {
            let func = functions::find(context, identity);
            Val::FuncRef(Some(func.ok_or_else(|| format!("no value {value}"))?))
        }
        Value::Extern(None) => Val::ExternRef(None),
        Value::Extern(Some(id)) => {
            let object = match known_object(context, values, id) {
                Some(object) => object,
                None => {
                    let object = make_object(context, id).map_err(|error| told(&error))?;
                    keep(context, id, object).map_err(|error| told(&error))?;
                    object
                }
            };
            Val::ExternRef(Some(object))
        }
        Value::Dangling => return Err(format!("no value {value}")),
    })
}

fn func_type(engine: &::wasmtime::Engine, ty: &decoded::FuncType) -> FuncType {
    FuncType::new(
        engine,
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
        decoded::ValType::FuncRef => ValType::FUNCREF,
        decoded::ValType::ExternRef => ValType::EXTERNREF,
    }
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
