//! What makes cases out of bytes.
//!
//! # The layout of an input
//!
//! An input that starts with `\0asm` is a module and taken as it is. Any other input is a head of
//! 32 bytes and a body, with a [`stamp`] of 8 bytes in front that says for which version of all this
//! it was made; without a stamp it is taken for one of this version. What an input is too short for is made up from what is there: the rest of
//! a head from the bytes of the input, the rest of a body from the seed of shape. So any few bytes
//! make a case of full size, and a fuzzer need not find out first that inputs should be long.
//!
//! | bytes behind the stamp | meaning |
//! | --- | --- |
//! | 0 | the generator, by weight ([`Generator::weight`]) among those in use |
//! | 1 | linking: whether a second module is made that imports what the first exports |
//! | 2 | optimisation level; its low 4 bits: stack probes, and at what steps |
//! | 3 | memory style |
//! | 4 | guard size |
//! | 5 | instruction set extensions, for every ISA |
//! | 6 | capacity of the activations table |
//! | 7 | bit 0: no spectre mitigation; bits 1 to 3: memory limit; 216 and more: engines leave NaNs as they come |
//! | 8..16 | seed of calls and arguments, little-endian like all seeds |
//! | 16..24 | seed of the host; of its last byte, the low half says what destructors do, one bit how registers are allocated, and the three highest how many host calls are looked at |
//! | 24..32 | seed of the module's sizes, features and other matters of shape |
//! | 32.. | the body: what the generator makes the module's code from |
//!
//! Calls, settings and host follow from the head alone, so that a mutation of the body leaves
//! them as they are and a mutation of a seed leaves the module as it is.

mod beyond;
mod calls;
pub mod dictionary;
mod expr;
pub mod input;
mod interrupts;
mod loops;
pub mod mutator;
mod ops;
mod outline;
mod references;
mod relink;
pub mod rng;
pub mod seeds;
mod single_op;
pub(crate) mod sketch;
mod source;
pub mod stamp;
mod temper;
mod values;
mod wasm_smith;

use std::fmt;
use std::str::FromStr;

use crate::case::link::CaseBuilder;
use crate::case::module::{DecodeError, Module};
use crate::case::nans::{self, Places};
use crate::case::wast::case_from_file;
use crate::case::{Case, Settings};
use beyond::Beyond;
use calls::{CallPlan, add_calls, add_endless_call};
use input::Header;
use rng::Rng;
use source::Source;

/// In how many of 100 modules that could use `externref` it stays. An engine that has no support
/// for it refuses those.
pub const EXTERNREF_PERCENT: u32 = 50;

/// A way to make modules.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Generator {
    /// Anything at all, by wasm-smith.
    WasmSmith,
    /// One instruction, many operands.
    SingleOp,
    /// Structured programs that do work.
    Loops,
    /// Loops that the host interrupts.
    Interrupts,
    /// Programs about references.
    References,
}

impl Generator {
    /// All generators, in the order in which byte 0 of an input chooses among them.
    pub const ALL: [Generator; 5] = [
        Generator::WasmSmith,
        Generator::SingleOp,
        Generator::Loops,
        Generator::Interrupts,
        Generator::References,
    ];

    /// The name by which it is chosen.
    pub fn name(self) -> &'static str {
        match self {
            Generator::WasmSmith => "wasm_smith",
            Generator::SingleOp => "single_op",
            Generator::Loops => "loops",
            Generator::Interrupts => "interrupts",
            Generator::References => "references",
        }
    }

    /// How often it is chosen, relative to the others.
    pub fn weight(self) -> u32 {
        match self {
            Generator::WasmSmith => 32,
            Generator::SingleOp => 28,
            Generator::Loops => 12,
            Generator::Interrupts => 4,
            Generator::References => 24,
        }
    }
}

impl fmt::Display for Generator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of generators. Parses from names separated by commas.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Generators(u32);

impl Generators {
    /// None.
    pub const NONE: Generators = Generators(0);

    /// All of them.
    pub fn all() -> Generators {
        Generator::ALL.into_iter().collect()
    }

    /// One of them.
    pub fn only(generator: Generator) -> Generators {
        [generator].into_iter().collect()
    }

    /// Whether `generator` is among them.
    pub fn contains(self, generator: Generator) -> bool {
        self.0 & 1 << generator as u32 != 0
    }

    /// The members.
    pub fn iter(self) -> impl Iterator<Item = Generator> {
        Generator::ALL
            .into_iter()
            .filter(move |generator| self.contains(*generator))
    }

    /// The generator that byte 0 of an input chooses, by weight; none if the set is empty.
    pub fn choose(self, byte: u8) -> Option<Generator> {
        let total: u32 = self.iter().map(Generator::weight).sum();
        let mut at = u32::from(byte) * total / 256;
        self.iter().find(|generator| {
            let weight = generator.weight();
            let found = at < weight;
            at = at.wrapping_sub(weight);
            found
        })
    }
}

impl Generators {
    /// Has an input ask, among all generators, for one of these: changes the first byte behind its
    /// stamp if it must. A module as it is asks for none and stays as it is.
    pub fn steer(self, input: &mut [u8]) {
        let is_module = input.starts_with(b"\0asm");
        let stamped = stamp::length(input);
        let input = &mut input[stamped..];
        let Some(first) = input.first_mut().filter(|_| !is_module) else {
            return;
        };
        let all = Generators::all();
        let Some(wanted) = self.choose(*first).filter(|_| self != all) else {
            return;
        };
        if all.choose(*first) != Some(wanted) {
            let chooses = |byte: &u8| all.choose(*byte) == Some(wanted);
            *first = (0..=u8::MAX).find(chooses).unwrap_or(*first);
        }
    }

    /// Whether an input asks, among all generators, for one of these. One of another version asks
    /// for nothing.
    pub fn asked_by(self, input: &[u8]) -> bool {
        let Ok(input) = stamp::strip(input) else {
            return false;
        };
        let generator = Header::split(input).0.generator(Generators::all());
        generator.is_some_and(|generator| self.contains(generator))
    }
}

impl Default for Generators {
    fn default() -> Self {
        Generators::all()
    }
}

impl FromIterator<Generator> for Generators {
    fn from_iter<I: IntoIterator<Item = Generator>>(generators: I) -> Self {
        generators
            .into_iter()
            .fold(Generators::NONE, |set, generator| {
                Generators(set.0 | 1 << generator as u32)
            })
    }
}

impl FromStr for Generators {
    type Err = GenerateError;

    fn from_str(names: &str) -> Result<Self, Self::Err> {
        names
            .split(',')
            .map(|name| {
                let name = name.trim();
                Generator::ALL
                    .into_iter()
                    .find(|generator| generator.name() == name)
                    .ok_or_else(|| {
                        let known: Vec<&str> = Generator::ALL.map(Generator::name).to_vec();
                        GenerateError(format!(
                            "no generator is called {name:?}; there are {}",
                            known.join(", ")
                        ))
                    })
            })
            .collect()
    }
}

/// What a module that is an input may burn in each step, in instructions of the reference. Most end
/// long before; many a mutation never ends, and must not take the time of a hundred others. It also
/// keeps what wasmi 2.0 never gives back of the native stack small: some 90 bytes for every growth of a
/// memory or table that fails (docs/findings.md).
const MODULE_FUEL: u64 = 100_000;

/// Makes a case from fuzzer bytes. Every input gives a case or says why not; never a panic.
///
/// # Errors
/// [`GenerateError`] if the bytes are of another version or lead to nothing that can run.
pub fn case_from_bytes(data: &[u8]) -> Result<Case, GenerateError> {
    case_from_bytes_with(data, Generators::all())
}

/// As [`case_from_bytes`], with some of the generators only.
///
/// # Errors
/// [`GenerateError`] if the bytes lead to nothing that can run, or the set is empty.
pub fn case_from_bytes_with(data: &[u8], among: Generators) -> Result<Case, GenerateError> {
    if data.starts_with(b"\0asm") {
        let made = case_from_file(data, "input");
        let mut case = made.map_err(|error| GenerateError(error.to_string()))?;
        case.settings.fuel = MODULE_FUEL;
        return Ok(case);
    }
    let data = stamp::strip(data).map_err(|error| GenerateError(error.to_string()))?;
    let (header, body) = Header::split(data);
    let generator = header
        .generator(among)
        .ok_or_else(|| GenerateError("no generator to choose from".into()))?;
    match Linking::of(&header, generator) {
        Linking::One => case_of_one(generator, &header, body),
        Linking::Twice => case_of_two_instances(generator, &header, body),
        Linking::Two => case_of_two_modules(generator, among, &header, body),
    }
}

/// How many modules and instances a case has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Linking {
    /// One instance.
    One,
    /// Two instances of one module, which share what they import.
    Twice,
    /// Two modules, the second of which imports what the first exports.
    Two,
}

impl Linking {
    fn of(header: &Header, generator: Generator) -> Linking {
        match header.linking {
            // What is between a tick and its interrupt must not be another module's code. Two
            // instances call nothing of each other.
            0..=143 if generator == Generator::Interrupts => Linking::One,
            _ if generator == Generator::Interrupts => Linking::Twice,
            // Shared tables and globals are what programs about references are about.
            0..=195 if generator == Generator::References => Linking::One,
            196..=223 if generator == Generator::References => Linking::Twice,
            _ if generator == Generator::References => Linking::Two,
            0..=229 => Linking::One,
            230..=235 => Linking::Twice,
            _ => Linking::Two,
        }
    }
}

/// The module name under which the first of two instances is registered.
const FIRST: &str = "first";

/// What a generator made.
#[derive(Clone, Debug)]
struct Generated {
    /// A valid module.
    wasm: Vec<u8>,
    /// How it wants to be called.
    plan: CallPlan,
}

/// A module that shows of no NaN which one it is, if engines leave NaNs as they come.
fn nans_hidden(wasm: Vec<u8>, settings: &Settings) -> Result<Vec<u8>, GenerateError> {
    if settings.canonicalise_nans {
        return Ok(wasm);
    }
    let module = Module::from_wasm(&wasm, None)?;
    nans::canonicalised(&module, &wasm, Places::Shown).map_err(GenerateError)
}

fn generate(
    generator: Generator,
    header: &Header,
    body: &[u8],
    settings: &mut Settings,
) -> Result<Generated, GenerateError> {
    let mut source = Source::new(body, header.shape_seed);
    generate_from(generator, header, &mut source, settings)
}

fn generate_from(
    generator: Generator,
    header: &Header,
    source: &mut Source<'_>,
    settings: &mut Settings,
) -> Result<Generated, GenerateError> {
    match generator {
        Generator::WasmSmith => wasm_smith::module(header, source.rest(), settings),
        Generator::SingleOp => single_op::module(Beyond::of(header), source, settings),
        Generator::Loops => loops::module(Beyond::of(header), source, settings),
        Generator::Interrupts => interrupts::module(header, source, settings),
        Generator::References => references::module(header, source, settings),
    }
}

/// The generator and the head of the second of two modules, and what linking them draws from.
fn second_of(generator: Generator, among: Generators, header: &Header) -> (Generator, Header, Rng) {
    let mut rng = header.shape().fork(1);
    let second_header = Header {
        shape_seed: rng.next_u64(),
        ..header.clone()
    };
    let second_generator = among
        .choose(rng.next_u32() as u8)
        .filter(|generator| *generator != Generator::Interrupts)
        .unwrap_or(generator);
    (second_generator, second_header, rng)
}

/// The module that an input makes which is not one itself; the first, if it makes two.
fn one_module(data: &[u8]) -> Option<Vec<u8>> {
    let (header, body) = Header::split(data);
    let generator = header.generator(Generators::all())?;
    let generated = generate(generator, &header, body, &mut header.settings());
    generated.ok().map(|generated| generated.wasm)
}

/// A case of one module, all of whose functions are called.
fn case_of_one(generator: Generator, header: &Header, body: &[u8]) -> Result<Case, GenerateError> {
    let mut settings = header.settings();
    let generated = generate(generator, header, body, &mut settings)?;
    let mut builder = CaseBuilder::new(settings);
    let module = builder.module(Module::from_wasm(&generated.wasm, None)?);
    let instance = builder.instantiate(module, None, 0);
    let mut calls = header.calls();
    add_calls(&mut builder, instance, generated.plan, &mut calls);
    add_endless_call(&mut builder, &[instance], &mut calls);
    Ok(builder.finish())
}

/// A case of one module that is instantiated twice.
fn case_of_two_instances(
    generator: Generator,
    header: &Header,
    body: &[u8],
) -> Result<Case, GenerateError> {
    let mut settings = header.settings();
    let generated = generate(generator, header, body, &mut settings)?;
    let plan = generated.plan.half();
    let mut rng = header.calls();
    let mut builder = CaseBuilder::new(settings);
    let module = builder.module(Module::from_wasm(&generated.wasm, None)?);
    let first = builder.instantiate(module, None, 0);
    // The interrupt comes in whichever instance has ticked often enough.
    let turned = generator == Generator::Interrupts && rng.percent(50);
    if !turned {
        add_calls(&mut builder, first, plan, &mut rng);
    }
    let second = builder.instantiate(module, None, 0);
    add_calls(&mut builder, second, plan, &mut rng);
    if turned {
        add_calls(&mut builder, first, plan, &mut rng);
    }
    let again = if turned { second } else { first };
    add_calls(&mut builder, again, plan.half(), &mut rng);
    add_endless_call(&mut builder, &[second, first], &mut rng);
    Ok(builder.finish())
}

/// A case of two modules, of which the second imports what the first exports.
fn case_of_two_modules(
    generator: Generator,
    among: Generators,
    header: &Header,
    body: &[u8],
) -> Result<Case, GenerateError> {
    let mut settings = header.settings();
    let (first_body, second_body) = body.split_at(body.len() / 2);
    let first = generate(generator, header, first_body, &mut settings)?;
    let first_plan = first.plan.half();
    // Decoded once to be normalised, and again so that all it holds is exported by name.
    let first = Module::from_wasm(&first.wasm, None)?;
    let first = Module::from_wasm(&first.wasm, None)?;

    let (second_generator, second_header, rng) = second_of(generator, among, header);
    let second = generate(second_generator, &second_header, second_body, &mut settings)?;
    let second_plan = second.plan.half();
    let second = Module::from_wasm(&second.wasm, None)?;
    let second = relink::relink(&second, &first, FIRST, rng)?;
    let second = Module::from_wasm(&second, None)?;

    let mut calls = header.calls();
    let mut builder = CaseBuilder::new(settings);
    let first = builder.module(first);
    let second = builder.module(second);
    let first = builder.instantiate(first, None, 0);
    builder.register(first, FIRST);
    add_calls(&mut builder, first, first_plan.half(), &mut calls);
    let second = builder.instantiate(second, None, 0);
    add_calls(&mut builder, second, second_plan, &mut calls);
    add_calls(&mut builder, first, first_plan, &mut calls);
    add_endless_call(&mut builder, &[second, first], &mut calls);
    Ok(builder.finish())
}

/// Why bytes made no case.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct GenerateError(pub String);

impl From<DecodeError> for GenerateError {
    fn from(error: DecodeError) -> Self {
        GenerateError(format!("generated module is refused: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_make_a_case_or_say_why_not(
            data in proptest::collection::vec(any::<u8>(), 0..600),
        ) {
            let _ = case_from_bytes(&data);
        }

        #[test]
        fn modules_with_flaws_are_refused_or_run(
            seed: u64,
            flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let mut wasm = loops::wasm(seed);
            for (at, byte) in flips {
                let at = at.index(wasm.len());
                wasm[at] = byte;
            }
            // Whatever comes of it, it is no panic.
            let _ = case_from_bytes(&wasm);
        }
    }

    #[test]
    fn the_same_bytes_make_the_same_case() {
        for size in [0, 5, 31, 32, 33, 700] {
            let data: Vec<u8> = (0..size).map(|at: u32| (at * 37) as u8).collect();
            let [first, again] = [case_from_bytes(&data), case_from_bytes(&data)];
            assert_eq!(format!("{first:?}"), format!("{again:?}"));
        }
    }

    /// How a case that `data` makes is called, without its modules.
    fn calls(data: &[u8]) -> (Settings, String) {
        let case = case_from_bytes_with(data, [Generator::SingleOp].into_iter().collect())
            .expect("a case");
        let functions: Vec<String> = case
            .steps
            .iter()
            .map(|step| format!("{:?}", step.action))
            .collect();
        (case.settings, functions.join("\n"))
    }

    #[test]
    fn the_head_says_what_is_called_and_the_body_what_is_run() {
        let mut data = vec![0; 400];
        rng::Rng::new(11).fill(&mut data);
        data[1] = 0;
        let (settings, steps) = calls(&data);
        // Another seed of calls: the same settings, other arguments.
        let mut other = data.clone();
        other[8] ^= 1;
        let (other_settings, other_steps) = calls(&other);
        assert_eq!(settings, other_settings);
        assert_ne!(steps, other_steps);
        // Another end of the body: the same settings and calls, of what is another module.
        let mut other = data.clone();
        other[60] ^= 0x80;
        assert_eq!(settings, calls(&other).0);
    }

    #[test]
    fn the_host_gives_more_than_is_asked_for_at_times() {
        use crate::case::host::HostItemKind;
        for generator in [Generator::SingleOp, Generator::Loops, Generator::References] {
            let larger = (0..400).filter(|seed| {
                let mut data = vec![0; 600];
                rng::Rng::new(*seed).fill(&mut data);
                let case = case_from_bytes_with(&data, Generators::only(generator));
                case.is_ok_and(|case| {
                    case.host_items.iter().any(|item| {
                        let limited = matches!(
                            item.kind,
                            HostItemKind::Memory { .. } | HostItemKind::Table { .. }
                        );
                        limited && item.name.contains('+')
                    })
                })
            });
            let count = larger.count();
            assert!((10..120).contains(&count), "{generator}: {count} of 400");
        }
    }

    #[test]
    fn nans_stay_as_they_come_until_they_show() {
        let scalar = |line: &str| {
            let name = line.strip_prefix("f32.").or(line.strip_prefix("f64."));
            let computing = [
                "add", "sub", "mul", "div", "sqrt", "min", "max", "ceil", "nearest",
            ];
            name.is_some_and(|name| computing.contains(&name))
        };
        for generator in [Generator::WasmSmith, Generator::SingleOp, Generator::Loops] {
            let mut left = 0;
            for seed in 0..300 {
                let mut data = vec![0; 600];
                rng::Rng::new(seed).fill(&mut data);
                (data[1], data[7]) = (0, 255);
                let Ok(case) = case_from_bytes_with(&data, Generators::only(generator)) else {
                    continue;
                };
                assert!(!case.settings.canonicalise_nans);
                let text = wasmprinter::print_bytes(&case.modules[0].wasm).expect("valid");
                let lines: Vec<&str> = text.lines().map(str::trim).collect();
                for pair in lines.windows(2) {
                    let checked = pair[1].starts_with("local.tee");
                    left += u32::from(scalar(pair[0]) && !checked);
                    let vector = matches!(pair[0], "f32x4.mul" | "f64x2.add");
                    assert!(!vector || checked, "{text}");
                    let shows = matches!(pair[1], "i32.reinterpret_f32" | "f64.copysign");
                    assert!(!shows || pair[0] == "select", "{text}");
                }
            }
            assert!(left > 20, "{generator}: {left}");
        }
    }

    #[test]
    fn names_parse_back() {
        let names: Vec<&str> = Generator::ALL.map(Generator::name).to_vec();
        assert_eq!(names.join(",").parse(), Ok(Generators::all()));
        assert!("wasm_smith,nonsense".parse::<Generators>().is_err());
        assert!("".parse::<Generators>().is_err());
    }

    #[test]
    fn every_generator_is_chosen_by_some_byte() {
        for set in [
            Generators::all(),
            Generator::ALL[..1].iter().copied().collect(),
        ] {
            let chosen: Generators = (0..=255).filter_map(|byte| set.choose(byte)).collect();
            assert_eq!(chosen, set);
        }
        assert_eq!(Generators::NONE.choose(7), None);
    }
}
