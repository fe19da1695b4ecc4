//! A case: what is run. One or more linked modules, the steps to take, the settings.
//!
//! A case is made from fuzzer bytes ([`crate::generate`]) or from a file ([`wast`]), and means the
//! same to every engine: modules are normalised so that all state can be seen ([`module`]),
//! imports are resolved once ([`link`]), and host functions behave by rule ([`host`]).

pub(crate) mod custom;
pub(crate) mod decode;
pub mod features;
pub mod host;
pub mod link;
pub mod module;
pub(crate) mod nans;
pub mod normalise;
pub mod opcodes;
mod provide;
pub mod settings;
#[cfg(test)]
mod testing;
pub mod values;
pub mod wast;

use parallax_oracles::Value;

pub use host::{Host, HostAnswer, HostItem, HostItemKind};
pub use link::{CaseBuilder, ImportSource, LinkPlan};
pub use module::Module;
pub use opcodes::OpcodeSet;
pub use settings::Settings;

/// One or more linked modules, what to do with them, and under which settings.
#[derive(Clone, Debug)]
pub struct Case {
    /// The settings.
    pub settings: Settings,
    /// The modules, normalised.
    pub modules: Vec<Module>,
    /// What the host provides to satisfy imports; all of it exists from the start.
    pub host_items: Vec<HostItem>,
    /// Under which names instances were made available to later ones. Engines need not look at
    /// them: every [`LinkPlan`] says what came of it.
    pub registrations: Vec<Registration>,
    /// What is done, in order.
    pub steps: Vec<Step>,
}

/// An instance made available to imports under a module name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registration {
    /// It holds for this instance and later ones, up to a new registration of the name.
    pub before_instance: u32,
    /// The instance registered.
    pub instance: u32,
    /// The module name.
    pub name: String,
}

/// One step of a case.
#[derive(Clone, Debug)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// What a script says must come out, if it says so.
    pub expect: Option<Expectation>,
    /// The line of the script it comes from, counted from 1; 0 where there is none.
    pub line: u32,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Instantiates a module. The n-th `Instantiate` of a case makes instance n, and uses up that
    /// number even where it fails.
    Instantiate {
        /// The module, by position in [`Case::modules`].
        module: usize,
        /// Where each of the module's imports comes from, or that one cannot be satisfied.
        link: LinkPlan,
    },
    /// Calls an exported function.
    Invoke {
        /// The instance.
        instance: u32,
        /// The function's index in the module's function index space.
        function: u32,
        /// The name under which it is exported, for people and scripts.
        export: String,
        /// The arguments; of the function's parameter types.
        args: Vec<Value>,
    },
    /// Reads an exported global; its outcome is the value returned.
    Get {
        /// The instance.
        instance: u32,
        /// The global's index in the module's global index space.
        global: u32,
        /// The name under which it is exported.
        export: String,
    },
    /// The host asks for a collection of what only the stack held.
    Collect,
}

/// What a script asserts of a step.
#[derive(Clone, Debug)]
pub enum Expectation {
    /// It returns values that match these patterns.
    Return(Vec<ValuePattern>),
    /// It traps, with a message as the specification's tests phrase it.
    Trap(String),
    /// The stack is exhausted.
    Exhaustion,
    /// The module does not link.
    Unlinkable,
}

/// A value as an assertion describes it.
#[derive(Clone, Debug)]
pub enum ValuePattern {
    /// This value, bit for bit.
    Exactly(Value),
    /// A NaN whose payload is canonical, of 32 or 64 bits.
    CanonicalNan32,
    /// See [`ValuePattern::CanonicalNan32`].
    CanonicalNan64,
    /// A NaN whose payload's most significant bit is set.
    ArithmeticNan32,
    /// See [`ValuePattern::ArithmeticNan32`].
    ArithmeticNan64,
    /// A vector of four 32-bit lanes or two 64-bit lanes, each as described.
    Lanes(Vec<ValuePattern>),
    /// Any function reference that is not null.
    AnyFunc,
    /// Any host object that is not null.
    AnyExtern,
    /// Any null reference.
    AnyNull,
    /// One of these.
    Either(Vec<ValuePattern>),
}
