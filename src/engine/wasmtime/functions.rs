//! Which function a Wasmtime `Func` is, and which `Func` is a function.
//!
//! Wasmtime compares no functions, but tells the address of the record behind each. An instance has
//! one for every function of its index space, so that an imported function has several. All of an
//! instance's records are learned when the first is met that is not known: most cases never show a
//! reference to a function.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use ::wasmtime::{AsContext, AsContextMut, Extern, Func, Instance};
use parallax_oracles::{FuncIdentity, Value};

use super::host::Data;

/// What is known of the functions of a store.
#[derive(Default)]
pub struct Functions {
    /// By the address of the record.
    known: HashMap<usize, FuncIdentity>,
    instances: HashMap<u32, Functioning>,
    /// Instances whose records are not known yet.
    unlearned: Vec<u32>,
}

/// An instance, by what its functions are called.
struct Functioning {
    instance: Instance,
    names: Arc<Names>,
    /// The imported functions, in order.
    imported: Vec<FuncIdentity>,
}

/// Under which names functions of a module are exported, each with its index.
pub type Names = Vec<(u32, String)>;

impl Functions {
    /// Adds an instance.
    pub fn add(
        &mut self,
        number: u32,
        instance: Instance,
        names: Arc<Names>,
        imported: Vec<FuncIdentity>,
    ) {
        let functioning = Functioning {
            instance,
            names,
            imported,
        };
        self.instances.insert(number, functioning);
        self.unlearned.push(number);
    }
}

/// Adds a host function.
pub fn add_host(context: &mut impl AsContextMut<Data = Data>, item: u32, func: &Func) {
    let address = address_of(context, func);
    let mut context = context.as_context_mut();
    let known = &mut context.data_mut().functions.known;
    known.insert(address, FuncIdentity::Host(item));
}

/// The address of a function's record.
pub fn address_of(context: &mut impl AsContextMut<Data = Data>, func: &Func) -> usize {
    func.to_raw(context).addr()
}

/// How a function is shown.
pub fn show(context: &mut impl AsContextMut<Data = Data>, func: &Func) -> Value {
    let address = address_of(context, func);
    show_address(context, address)
}

/// How the function with its record at an address is shown.
pub fn show_address(context: &mut impl AsContextMut<Data = Data>, address: usize) -> Value {
    if let Some(identity) = known(context, address) {
        return Value::Func(Some(identity));
    }
    learn(context);
    match known(context, address) {
        Some(identity) => Value::Func(Some(identity)),
        None => Value::Dangling,
    }
}

fn known(context: &impl AsContext<Data = Data>, address: usize) -> Option<FuncIdentity> {
    let context = context.as_context();
    context.data().functions.known.get(&address).copied()
}

/// Learns the records of all instances.
fn learn(context: &mut impl AsContextMut<Data = Data>) {
    let mut store = context.as_context_mut();
    let unlearned = mem::take(&mut store.data_mut().functions.unlearned);
    for number in unlearned {
        let Some(made) = store.data().functions.instances.get(&number) else {
            continue;
        };
        let (instance, names, imported) = (
            made.instance,
            Arc::clone(&made.names),
            made.imported.clone(),
        );
        for (index, name) in names.iter() {
            let Some(func) = instance.get_func(&mut store, name) else {
                continue;
            };
            let identity = match imported.get(*index as usize) {
                Some(identity) => *identity,
                None => FuncIdentity::Defined {
                    instance: number,
                    index: *index,
                },
            };
            let address = func.to_raw(&mut store).addr();
            store.data_mut().functions.known.insert(address, identity);
        }
    }
}

/// The function of that identity.
pub fn find(context: &mut impl AsContextMut<Data = Data>, identity: FuncIdentity) -> Option<Func> {
    let mut store = context.as_context_mut();
    match identity {
        FuncIdentity::Host(item) => match store.data().host_items.get(item as usize)? {
            Extern::Func(func) => Some(*func),
            _ => None,
        },
        FuncIdentity::Defined { instance, index } => {
            let made = store.data().functions.instances.get(&instance)?;
            let (instance, names) = (made.instance, Arc::clone(&made.names));
            let (_, name) = names.iter().find(|(of, _)| *of == index)?;
            instance.get_func(&mut store, name)
        }
    }
}
