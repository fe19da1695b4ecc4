//! What the host gives to a module that imports, the same in every engine.
//!
//! A host function's results follow from its name, the number of the call and its arguments, so
//! that two engines that behave alike see the same host. A few functions have a fixed meaning:
//! imported from module `parallax`, they let a program reach the runtime (see [`HostFunction`]).

use std::collections::HashSet;

use parallax_oracles::{FuncIdentity, ObjectId, TrapKind, Value};

use super::module::{FuncType, GlobalType, MemoryType, TableType, ValType};
use super::values::{Numbers, interesting};
use super::{Action, Case};

/// The number of the first host object that a host-made global holds. Smaller numbers are for
/// `(ref.extern n)` in scripts and for arguments.
pub const FIRST_GLOBAL_OBJECT: u32 = 900_000;
/// The number of the first host object that the host makes during a run.
pub const FIRST_NEW_OBJECT: u32 = 1_000_000;

/// What all host calls of a case may cost. Each is noted, with the count of every object that lives, and
/// may have it all collected; so a call costs [`CALL_COST`], and one more for every object that the host
/// has made. That allows 100,000 calls, or 2,800 that make an object each, which is far more than any
/// program needs that is there to be compared, and less than a second's work.
const CALLS_COST: u64 = 4_000_000;
const CALL_COST: u64 = 40;

/// How many calls of functions by the host may be under way at once, each from within the one before.
pub const MOST_NESTED: u32 = 4;

/// Something the host provides.
#[derive(Clone, Debug)]
pub struct HostItem {
    /// The module name it is imported under.
    pub module: String,
    /// The field name it is imported under.
    pub name: String,
    /// What it is.
    pub kind: HostItemKind,
}

/// What a host item is.
#[derive(Clone, Debug)]
pub enum HostItemKind {
    /// A function.
    Func {
        /// Its type.
        ty: FuncType,
        /// What it does.
        function: HostFunction,
    },
    /// A table, with elements that are set from the start (host functions, by host item).
    Table {
        /// Its type.
        ty: TableType,
        /// Host items that are functions, put at these indices.
        elements: Vec<(u32, u32)>,
    },
    /// A memory.
    Memory {
        /// Its type.
        ty: MemoryType,
        /// Whether its first page starts out with a pattern ([`fill_with_pattern`]); otherwise all
        /// of it is zero.
        patterned: bool,
    },
    /// A global.
    Global {
        /// Its type.
        ty: GlobalType,
        /// Its value at the start.
        value: Value,
    },
}

/// What a host function does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostFunction {
    /// Returns values that follow from the item, the number of its call and the arguments.
    Arbitrary,
    /// `parallax.tick`: at its `n`-th call of the case asks for an interrupt, so that wasm must
    /// trap at the next loop header or function entry.
    Tick {
        /// The call that interrupts, counted from 1.
        interrupt_at: u64,
        /// Whether wasm goes on until [`HostFunction::Poll`] is called; not to be imported.
        late: bool,
    },
    /// `parallax.make`: returns a new host object.
    Make,
    /// `parallax.take`: the host keeps a handle to its argument for the rest of the case.
    Take,
    /// `parallax.gc`: asks for a collection.
    Collect,
    /// `parallax.call`: calls the function that is its first argument with the arguments behind that, and
    /// returns what it returns. It does so if the function is one of an instance and of exactly that type
    /// ([`FuncType::called_back`]), and if fewer than [`MOST_NESTED`] such calls are under way; otherwise it
    /// answers as [`HostFunction::Arbitrary`] does.
    CallBack,
    /// Tells a value that the program has at some place, and nothing else; not to be imported, but
    /// put into a module by [`crate::triage::probe`].
    Probe {
        /// How many calls there may be; the next one traps, so that no program tells without end.
        most: u64,
    },
    /// Traps if an interrupt has been asked for by a late tick; not to be imported, but put into a module
    /// where compiled code polls.
    Poll {
        /// How many calls there may be; the next one ends the step, as inconclusive.
        most: u64,
    },
}

/// The first page of a patterned host memory: of address `a` it holds the low byte of
/// `a ^ ((a >> 8) * 31)`.
static PATTERN: [u8; 64 << 10] = {
    let mut page = [0; 64 << 10];
    let mut address = 0;
    while address < page.len() {
        page[address] = (address ^ ((address >> 8) * 31)) as u8;
        address += 1;
    }
    page
};

/// Writes the pattern of a patterned host memory into its first page.
pub fn fill_with_pattern(memory: &mut [u8]) {
    let filled = memory.len().min(PATTERN.len());
    memory[..filled].copy_from_slice(&PATTERN[..filled]);
}

/// What an engine has to do on behalf of a host function.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct HostAnswer {
    /// The results, of the function's result types. An [`Value::Extern`] number that is new is an
    /// object to make.
    pub results: Vec<Value>,
    /// Trap with this instead of returning.
    pub trap: Option<TrapKind>,
    /// Arm the interrupt: in an engine that polls, wasm must trap `Interrupted` at the next loop
    /// header or function entry; one that cannot traps at once.
    pub interrupt: bool,
    /// Collect before returning.
    pub collect: bool,
    /// Keep a handle to these objects for the rest of the case.
    pub keep: Vec<ObjectId>,
    /// Call this function, the first argument, with the arguments behind that, and return what it returns or
    /// end as it ends. Its type is the one for that. Once it has returned, say so ([`Host::called_back`]). There
    /// is nothing else in the answer then.
    pub call: Option<FuncIdentity>,
    /// End the step, as inconclusive: the case calls the host without end, or as good as.
    pub enough: bool,
}

/// The host's own state during one run of a case.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// How often each host item was called.
    calls: Vec<u64>,
    seed: u64,
    next_object: u32,
    /// What calls may still cost.
    left: u64,
    /// At how many more calls of the step the state is looked at.
    looks: u32,
    /// How many calls of functions by the host are under way.
    nested: u32,
    /// Whether a late tick has asked for an interrupt.
    interrupted: bool,
    /// Which host items may call which functions.
    callable: HashSet<(u32, FuncIdentity)>,
}

impl Host {
    /// The host at the start of a run of a whole case. From then on only its settings and host items matter.
    pub fn new(case: &Case) -> Host {
        Host {
            calls: vec![0; case.host_items.len()],
            seed: case.settings.host_seed,
            next_object: FIRST_NEW_OBJECT,
            left: CALLS_COST,
            looks: 0,
            nested: 0,
            interrupted: false,
            callable: callable(case),
        }
    }

    /// Begins a step of the case that the host was made for.
    pub fn begin_step(&mut self, case: &Case) {
        self.looks = case.settings.looks;
        self.nested = 0;
    }

    /// Says that the function which the host was to call has returned.
    pub fn called_back(&mut self) {
        self.nested = self.nested.saturating_sub(1);
    }

    /// Whether the state is looked at in the call of host item `item` that is being made. Asked once a call.
    pub fn looks(&mut self, case: &Case, item: u32) -> bool {
        let kind = case.host_items.get(item as usize).map(|item| &item.kind);
        if self.looks == 0 || kind.is_none_or(is_probe) {
            return false;
        }
        self.looks -= 1;
        true
    }

    /// What a call of host item `item` with `args` does. Called exactly once a call, in order.
    /// `case` is the one that the host was made for.
    pub fn call(&mut self, case: &Case, item: u32, args: &[Value]) -> HostAnswer {
        let mut answer = HostAnswer::default();
        let Some((of_item, calls)) = case
            .host_items
            .get(item as usize)
            .zip(self.calls.get_mut(item as usize))
        else {
            return answer;
        };
        let HostItemKind::Func { ty, function } = &of_item.kind else {
            return answer;
        };
        let objects = u64::from(self.next_object.saturating_sub(FIRST_NEW_OBJECT));
        let cost = match function {
            HostFunction::Poll { .. } => 0,
            _ => CALL_COST + objects,
        };
        match self.left.checked_sub(cost) {
            Some(left) => self.left = left,
            None => {
                // Nor may a cheaper one.
                self.left = 0;
                answer.enough = true;
                return answer;
            }
        }
        *calls += 1;
        let call = *calls;
        match *function {
            HostFunction::Arbitrary => {
                answer.results = self.arbitrary(case, of_item, ty, call, args);
            }
            HostFunction::Tick { interrupt_at, late } => {
                answer.interrupt = call == interrupt_at && !late;
                self.interrupted |= call == interrupt_at && late;
            }
            HostFunction::Make => answer.results.push(self.new_object()),
            HostFunction::Take => answer.keep.extend(args.iter().filter_map(object)),
            HostFunction::Collect => answer.collect = true,
            HostFunction::CallBack => match args {
                [Value::Func(Some(function)), ..]
                    if self.nested < MOST_NESTED && self.callable.contains(&(item, *function)) =>
                {
                    self.nested += 1;
                    answer.call = Some(*function);
                }
                _ => answer.results = self.arbitrary(case, of_item, ty, call, args),
            },
            HostFunction::Probe { most } => answer.trap = (call > most).then_some(TrapKind::Host),
            HostFunction::Poll { most } => {
                answer.enough = call > most;
                answer.trap = self.interrupted.then_some(TrapKind::Interrupted);
            }
        }
        answer
    }

    /// What the `call`-th call of a host function returns that has no meaning of its own.
    fn arbitrary(
        &mut self,
        case: &Case,
        item: &HostItem,
        ty: &FuncType,
        call: u64,
        args: &[Value],
    ) -> Vec<Value> {
        if ty.results.is_empty() {
            return Vec::new();
        }
        let mut numbers = Numbers::new(self.seed);
        numbers.mix_text(&item.module);
        numbers.mix_text(&item.name);
        numbers.mix(call);
        for arg in args {
            mix_value(&mut numbers, arg);
        }
        let results = ty.results.iter();
        results
            .map(|ty| self.result(case, *ty, args, &mut numbers))
            .collect()
    }

    fn result(&mut self, case: &Case, ty: ValType, args: &[Value], numbers: &mut Numbers) -> Value {
        match ty {
            ValType::FuncRef => {
                // What is put in for a probe must not change what the others do.
                let is_function = |item: &&HostItem| {
                    matches!(item.kind, HostItemKind::Func { .. }) && !is_probe(&item.kind)
                };
                // The function being called is one, so there is a choice of two at least.
                let functions = case.host_items.iter().filter(is_function).count() as u64;
                let Some(choice) = numbers.below(functions + 1).checked_sub(1) else {
                    return Value::Func(None);
                };
                let chosen = case
                    .host_items
                    .iter()
                    .enumerate()
                    .filter(|(_, item)| is_function(item))
                    .nth(choice as usize);
                Value::Func(chosen.map(|(item, _)| FuncIdentity::Host(item as u32)))
            }
            ValType::ExternRef => {
                let objects = args.iter().filter_map(object).count() as u64;
                match numbers.below(objects + 2) {
                    0 => Value::Extern(None),
                    1 => self.new_object(),
                    choice => {
                        Value::Extern(args.iter().filter_map(object).nth(choice as usize - 2))
                    }
                }
            }
            _ => interesting(ty, numbers),
        }
    }

    fn new_object(&mut self) -> Value {
        let number = self.next_object;
        self.next_object += 1;
        Value::Extern(Some(ObjectId(number)))
    }
}

/// Which host items may call which functions of instances: those of the type that their own says. Every engine
/// gets the answer from here, so that none of them need compare types.
fn callable(case: &Case) -> HashSet<(u32, FuncIdentity)> {
    let mut callable = HashSet::new();
    for (item, kind) in (0..).zip(case.host_items.iter().map(|item| &item.kind)) {
        let HostItemKind::Func {
            ty,
            function: HostFunction::CallBack,
        } = kind
        else {
            continue;
        };
        let wanted = ty.called_back();
        let modules = case.steps.iter().filter_map(|step| match step.action {
            Action::Instantiate { module, .. } => Some(&case.modules[module]),
            _ => None,
        });
        for (instance, module) in (0..).zip(modules) {
            let defined = module.imported_functions()..module.functions.len() as u32;
            let fitting = defined.filter(|index| *module.function_type(*index) == wanted);
            callable.extend(fitting.map(|index| (item, FuncIdentity::Defined { instance, index })));
        }
    }
    callable
}

/// Whether a host item is a function that was put in to tell values, or to poll.
fn is_probe(kind: &HostItemKind) -> bool {
    matches!(
        kind,
        HostItemKind::Func {
            function: HostFunction::Probe { .. } | HostFunction::Poll { .. },
            ..
        }
    )
}

/// The object that a value refers to.
fn object(value: &Value) -> Option<ObjectId> {
    match value {
        Value::Extern(object) => *object,
        _ => None,
    }
}

/// Mixes in an argument, such that values that agree mix alike: a NaN counts as one whatever its
/// bits, and so does a vector with a NaN in any lane it may be seen to have.
fn mix_value(numbers: &mut Numbers, value: &Value) {
    const NAN: u64 = 0x7ff8_0000_0000_0000;
    match *value {
        Value::I32(value) => numbers.mix(u64::from(value as u32)),
        Value::I64(value) => numbers.mix(value as u64),
        Value::F32(bits) if f32::from_bits(bits).is_nan() => numbers.mix(NAN),
        Value::F32(bits) => numbers.mix(u64::from(bits)),
        Value::F64(bits) if f64::from_bits(bits).is_nan() => numbers.mix(NAN),
        Value::F64(bits) => numbers.mix(bits),
        Value::V128(bits) if holds_nan(bits) => numbers.mix(NAN),
        Value::V128(bits) => {
            numbers.mix(bits as u64);
            numbers.mix((bits >> 64) as u64);
        }
        Value::Dangling => {}
        Value::Func(None) | Value::Extern(None) => numbers.mix(0),
        Value::Func(Some(FuncIdentity::Defined { instance, index })) => {
            numbers.mix(u64::from(instance) << 32 | u64::from(index));
        }
        Value::Func(Some(FuncIdentity::Host(item))) => numbers.mix(u64::from(item) | 1 << 63),
        Value::Extern(Some(ObjectId(number))) => numbers.mix(u64::from(number)),
    }
}

/// Whether a lane of 32 or 64 bits is a NaN.
fn holds_nan(bits: u128) -> bool {
    (0..4).any(|lane| f32::from_bits((bits >> (32 * lane)) as u32).is_nan())
        || (0..2).any(|lane| f64::from_bits((bits >> (64 * lane)) as u64).is_nan())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::testing::module;
    use crate::case::{CaseBuilder, Settings};

    fn case(imports: &str) -> Case {
        let mut builder = CaseBuilder::new(Settings {
            host_imports: true,
            host_seed: 3,
            interrupt_at: 2,
            ..Settings::default()
        });
        let module = builder.module(module(&format!("(module {imports})")));
        builder.instantiate(module, None, 0);
        builder.finish()
    }

    fn results(case: &Case, calls: &[&[Value]]) -> Vec<Vec<Value>> {
        let mut host = Host::new(case);
        calls
            .iter()
            .map(|args| host.call(case, 0, args).results)
            .collect()
    }

    #[test]
    fn answers_follow_from_call_and_arguments() {
        let case = case(r#"(import "a" "f" (func (param i64 f32) (result i64 i64)))"#);
        let one = [Value::I64(1), Value::F32(0x7fc0_0000)];
        let other_nan = [Value::I64(1), Value::F32(0xffc0_0001)];
        let two = [Value::I64(2), Value::F32(0x7fc0_0000)];
        let calls: Vec<&[Value]> = std::iter::repeat_n(&one[..], 40).collect();
        let answers = results(&case, &calls);
        assert_eq!(answers, results(&case, &calls));
        assert!(answers.iter().any(|answer| *answer != answers[0]));
        // Engines may differ in the payload of a NaN, and must not see another host for it.
        let calls: Vec<&[Value]> = std::iter::repeat_n(&other_nan[..], 40).collect();
        assert_eq!(answers, results(&case, &calls));
        let calls: Vec<&[Value]> = std::iter::repeat_n(&two[..], 40).collect();
        assert_ne!(answers, results(&case, &calls));
    }

    #[test]
    fn results_are_of_the_declared_types() {
        let case = case(
            r#"(import "a" "f" (func (param externref)
                (result i32 i64 f32 f64 v128 funcref externref)))"#,
        );
        let argument = Value::Extern(Some(ObjectId(5)));
        let calls: Vec<&[Value]> =
            std::iter::repeat_n(std::slice::from_ref(&argument), 100).collect();
        let mut functions = 0;
        let mut objects = std::collections::HashSet::new();
        for answer in results(&case, &calls) {
            let [
                Value::I32(_),
                Value::I64(_),
                Value::F32(_),
                Value::F64(_),
                Value::V128(_),
                Value::Func(function),
                Value::Extern(object),
            ] = *answer
            else {
                panic!("{answer:?}");
            };
            if let Some(function) = function {
                assert_eq!(function, FuncIdentity::Host(0));
                functions += 1;
            }
            objects.extend(object);
        }
        assert!((1..100).contains(&functions));
        assert!(objects.contains(&ObjectId(5)));
        assert!(objects.contains(&ObjectId(FIRST_NEW_OBJECT)));
    }

    #[test]
    fn functions_of_parallax_do_what_they_are_for() {
        let case = case(
            r#"(import "parallax" "tick" (func)) (import "parallax" "make" (func (result externref)))
               (import "parallax" "take" (func (param externref))) (import "parallax" "gc" (func))
               (import "spectest" "print_i32" (func (param i32)))"#,
        );
        let mut host = Host::new(&case);
        let interrupts: Vec<bool> = (0..4).map(|_| host.call(&case, 0, &[]).interrupt).collect();
        assert_eq!(interrupts, [false, true, false, false]);
        let object = |number| Value::Extern(Some(ObjectId(FIRST_NEW_OBJECT + number)));
        assert_eq!(host.call(&case, 1, &[]).results, [object(0)]);
        assert_eq!(host.call(&case, 1, &[]).results, [object(1)]);
        let kept = host.call(&case, 2, &[object(1)]);
        assert_eq!(kept.keep, [ObjectId(FIRST_NEW_OBJECT + 1)]);
        assert!(kept.results.is_empty());
        assert!(host.call(&case, 2, &[Value::Extern(None)]).keep.is_empty());
        assert!(host.call(&case, 3, &[]).collect);
        assert_eq!(host.call(&case, 4, &[Value::I32(1)]), HostAnswer::default());
    }

    #[test]
    fn what_is_called_back_has_the_type_that_the_import_says() {
        let mut builder = CaseBuilder::new(Settings {
            host_imports: true,
            ..Settings::default()
        });
        let text = r#"(module
            (import "parallax" "call" (func $call (param funcref i32 externref) (result externref i64)))
            (import "parallax" "call" (func (param funcref)))
            (func (param i32 externref) (result externref i64) unreachable)
            (func (param i32 externref) (result externref i32) unreachable)
            (func (param i32 externref i32) (result externref i64) unreachable)
            (func))"#;
        let number = builder.module(module(text));
        builder.instantiate(number, None, 0);
        builder.instantiate(number, None, 0);
        let case = builder.finish();
        let mut host = Host::new(&case);
        let rest = [Value::I32(7), Value::Extern(Some(ObjectId(5)))];
        let call = |host: &mut Host, item, function| {
            let args = [&[Value::Func(function)][..], &rest].concat();
            host.call(&case, item, &args)
        };
        let own = |instance, index| Some(FuncIdentity::Defined { instance, index });
        // What is called is left to that, results included; what is not is answered for.
        for instance in [0, 1] {
            let answer = call(&mut host, 0, own(instance, 2));
            assert_eq!(answer.call, own(instance, 2));
            assert!(answer.results.is_empty());
            host.called_back();
            assert_eq!(call(&mut host, 1, own(instance, 5)).call, own(instance, 5));
            host.called_back();
        }
        let others = [own(0, 3), own(1, 4), own(0, 5), own(2, 2), None];
        for function in others.into_iter().chain([Some(FuncIdentity::Host(0))]) {
            let answer = call(&mut host, 0, function);
            assert_eq!(answer.call, None, "{function:?}");
            let [Value::Extern(_), Value::I64(_)] = *answer.results else {
                panic!("{answer:?}");
            };
        }
        assert_eq!(call(&mut host, 1, own(0, 2)), HostAnswer::default());
        for nested in 0..MOST_NESTED {
            let answer = call(
                &mut host,
                nested % 2,
                own(0, if nested % 2 == 0 { 2 } else { 5 }),
            );
            assert!(answer.call.is_some());
        }
        let answer = call(&mut host, 0, own(0, 2));
        assert_eq!((answer.call, answer.results.len()), (None, 2));
        // A trap ends all of them.
        host.begin_step(&case);
        assert!(call(&mut host, 0, own(0, 2)).call.is_some());
    }

    #[test]
    fn there_is_an_end_of_calls() {
        let case = case(
            r#"(import "parallax" "make" (func (result externref)))
               (import "spectest" "print_i32" (func (param i32)))"#,
        );
        let calls = |item, args: &[Value]| {
            let mut host = Host::new(&case);
            (0..).find(|_| host.call(&case, item, args).enough)
        };
        let (makes, prints) = (calls(0, &[]), calls(1, &[Value::I32(1)]));
        assert_eq!(prints, Some(CALLS_COST / CALL_COST));
        assert!((2_000..3_000).contains(&makes.unwrap_or(0)), "{makes:?}");
        // The end is the end.
        let mut host = Host::new(&case);
        while !host.call(&case, 0, &[]).enough {}
        assert!(host.call(&case, 1, &[Value::I32(1)]).enough);
    }

    #[test]
    fn what_is_no_function_answers_nothing() {
        let case = case(r#"(import "a" "m" (memory 1))"#);
        let mut host = Host::new(&case);
        assert_eq!(host.call(&case, 0, &[]), HostAnswer::default());
        assert_eq!(host.call(&case, 1, &[]), HostAnswer::default());
    }
}
