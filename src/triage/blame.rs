//! Whose fault a divergence is, as data: the layer, what speaks for it, and where in the case.
//!
//! The layers lie on top of each other, and the engines share them in different numbers: `clif`
//! runs what the translation made, `x86_64`, `aarch64` and `riscv64` also have the middle end and a
//! backend each. So which engines agree with the reference tells most of the layer already
//! ([`Blame::of_engines`]):
//!
//! | wrong | right | the fault is in |
//! | --- | --- | --- |
//! | one ISA | another ISA | that ISA's backend |
//! | several ISAs | `clif` | the middle end |
//! | `clif` | an ISA | the interpreter of the IR |
//! | all | none | the translation, the runtime or the reference |
//!
//! An engine of an old generation of Cranelift (`x86_64-0.112`) counts as one of its ISA. It shares the
//! translation and the runtime with all others, and with the current one of its ISA nothing more: if
//! one of the two is wrong and the other right, it is the backend or the middle end of that one. What
//! only old generations get wrong is fixed upstream.
//!
//! Wasmtime is an engine by itself: `wasmtime` and `pulley` share all but the backend and `winch` the
//! runtime with it, but nothing is shared with ours, except that `wasmtime` and `x86_64` have
//! the same version of the middle end and the backend.
//!
//! | wrong | right | the fault is in |
//! | --- | --- | --- |
//! | one of Wasmtime's | one of the others or of ours | that engine |
//! | several of Wasmtime's | one of ours | Wasmtime |
//! | some of Wasmtime's and of ours | | what the table above says, or the reference |
//! | some of ours | one of Wasmtime's | what the table above says, and not the reference |
//!
//! What is found about an engine's check of the stack is found without the reference. How much stack a program
//! takes differs, so an engine that goes on as the reference does, having enough, says nothing about its own
//! check; but one that has exhausted its stack, and with a reason, is right.
//!
//! What the table leaves open, [`super::localise`] settles by experiment.

use std::fmt;

use parallax_oracles::{Finding, OracleName, Outcome, Reason, Seen, Verdict};
use serde::{Deserialize, Serialize};

use super::known::{self, KnownFault};
use crate::case::settings::OptLevel;
use crate::engine::registry::{self, REFERENCE};
use crate::harness::{Examined, NotCompared};
use crate::runtime::stack::BEYOND;
use crate::runtime::store::{ANOTHER_SIGNATURE, CHANGED, NOT_THERE};

/// The engine that interprets the IR as the translation has left it.
pub const INTERPRETER: &str = "clif";

/// The layers that one ISA has to itself.
pub const BACKENDS: [Layer; 3] = [
    Layer::X86_64Backend,
    Layer::Aarch64Backend,
    Layer::Riscv64Backend,
];

/// A part of the way from wasm to a result, which can be at fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// The translation environment, and `cranelift-wasm` under it: wasm to CLIF.
    Translation,
    /// What Cranelift does to CLIF whatever the target: optimisation and legalisation.
    MiddleEnd,
    /// Instruction selection, register allocation and encoding for x86-64.
    #[serde(rename = "x86-64-backend")]
    X86_64Backend,
    /// Instruction selection, register allocation and encoding for aarch64.
    #[serde(rename = "aarch64-backend")]
    Aarch64Backend,
    /// Instruction selection, register allocation and encoding for riscv64.
    #[serde(rename = "riscv64-backend")]
    Riscv64Backend,
    /// The runtime: builtins, collection, tables, memories.
    Runtime,
    /// The reference itself.
    Reference,
    /// What interprets the IR, in the engine `clif`.
    Interpreter,
    /// Wasmtime: its translation, its runtime, or its version of Cranelift.
    Wasmtime,
    /// Winch, Wasmtime's baseline compiler.
    Winch,
    /// Pulley: Cranelift's backend for its bytecode, or its interpreter.
    Pulley,
    /// Nothing that was tried tells.
    Unknown,
}

impl Layer {
    /// The name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Layer::Translation => "translation",
            Layer::MiddleEnd => "middle end",
            Layer::X86_64Backend => "x86-64 backend",
            Layer::Aarch64Backend => "aarch64 backend",
            Layer::Riscv64Backend => "riscv64 backend",
            Layer::Runtime => "runtime",
            Layer::Reference => "reference",
            Layer::Interpreter => "interpreter of the IR",
            Layer::Wasmtime => "wasmtime",
            Layer::Winch => "winch",
            Layer::Pulley => "pulley",
            Layer::Unknown => "unknown layer",
        }
    }

    /// Which of Wasmtime's engines one is, by name.
    pub fn of_wasmtime(engine: &str) -> Option<Layer> {
        match engine {
            "wasmtime" => Some(Layer::Wasmtime),
            "winch" => Some(Layer::Winch),
            "pulley" => Some(Layer::Pulley),
            _ => None,
        }
    }

    /// The backend that an engine, by name, has to itself.
    pub fn backend_of(engine: &str) -> Option<Layer> {
        if engine.starts_with("x86_64") {
            Some(Layer::X86_64Backend)
        } else if engine.starts_with("aarch64") {
            Some(Layer::Aarch64Backend)
        } else if engine.starts_with("riscv64") {
            Some(Layer::Riscv64Backend)
        } else {
            None
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A function of a case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct FunctionOf {
    /// The module, by position in the case.
    pub module: usize,
    /// The function's index in the module's function index space.
    pub function: u32,
}

/// A stretch of instructions of a function.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Region {
    /// Where it starts: the offset of its first instruction in the module's binary, in bytes.
    pub start: u32,
    /// Where the last of its instructions starts.
    pub last: u32,
    /// The instructions by name, in order, as the text format has them.
    pub instructions: Vec<String>,
}

/// Whose fault a divergence is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Blame {
    /// The layer.
    pub layer: Layer,
    /// Other layers that nothing speaks against.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub or: Vec<Layer>,
    /// The engines that differ from the reference.
    pub differ: Vec<String>,
    /// The engines that agree with it.
    pub agree: Vec<String>,
    /// The oracle that spoke first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oracle: Option<OracleName>,
    /// The optimisation levels at which it shows, if they were tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub levels: Option<Vec<OptLevel>>,
    /// Changes of one setting with which it goes away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone_with: Vec<String>,
    /// The function that goes wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<FunctionOf>,
    /// Where in the function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// The CLIF instructions that came of it, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clif: Vec<String>,
    /// The part of the runtime, by the name of its builtin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builtin: Option<String>,
    /// The version of the current generation of Cranelift, if only an older one differs: whatever it
    /// is, it is fixed upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_in: Option<String>,
    /// The known fault that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<String>,
    /// Why: what was found, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
}

/// What two divergences of one cause have in common, however large their cases are.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct BlameKey {
    /// The layer.
    pub layer: Layer,
    /// The engines that differ.
    pub differ: Vec<String>,
    /// The oracle that spoke first.
    pub oracle: Option<OracleName>,
    /// The known fault.
    pub known: Option<String>,
    /// The part of the runtime.
    pub builtin: Option<String>,
}

impl Blame {
    /// The first guess, from nothing but which engines differ from the reference and which agree
    /// with it. See the table above.
    pub fn of_engines<S: AsRef<str>>(differ: &[S], agree: &[S]) -> Blame {
        let (layer, or) = guess(differ, agree);
        let names = |engines: &[S]| {
            let names = engines.iter().map(|engine| engine.as_ref().to_string());
            names.collect()
        };
        Blame {
            layer,
            or,
            differ: names(differ),
            agree: names(agree),
            oracle: None,
            levels: None,
            gone_with: Vec::new(),
            function: None,
            region: None,
            clif: Vec::new(),
            builtin: None,
            fixed_in: is_of_the_past(differ, agree).then(known::current),
            known: None,
            because: Vec::new(),
        }
    }

    /// The same, by what is found about those that differ as well.
    pub(super) fn of_findings<'a>(
        findings: &[Finding],
        mut differ: Vec<&'a str>,
        mut agree: Vec<&'a str>,
    ) -> Blame {
        // The reference has no traces of counts. Where no more have the one than the other, nobody knows
        // which is right.
        let against: Vec<&str> = findings
            .iter()
            .filter_map(|finding| finding.against.as_deref())
            .collect();
        if against.len() == findings.len() && ours(&agree).len() <= differ.len() {
            differ.extend(agree.extract_if(.., |engine| against.contains(engine)));
        }
        let mut blame = Blame::of_engines(&differ, &agree);
        // The interpreter only sees that translation has promised what is not so. Machine code may happen
        // to do without.
        if blame.layer == Layer::Interpreter && findings.iter().any(tells_of_a_promise) {
            blame.layer = Layer::Translation;
            blame.or.clear();
        }
        // It is the translation that asks for the check. The runtime does no more than say where the stack
        // ends, and the reference has no part in it.
        if blame.layer == Layer::Translation && tell_of_the_stack(findings) {
            let innocent = [Layer::Runtime, Layer::Reference];
            blame.or.retain(|layer| !innocent.contains(layer));
        }
        blame
    }

    /// The first guess about a case that was examined; `None` if nothing differed. Costs nothing:
    /// it runs no engine.
    pub fn of(examined: &Examined) -> Option<Blame> {
        let Verdict::Diverged(findings) = &examined.verdict else {
            let subjects = examined.subjects.iter().map(|subject| subject.engine);
            let subjects: Vec<&str> = subjects.collect();
            let fault = examined.known.first()?;
            return Some(Blame::of_known(fault, &subjects));
        };
        let (mut differ, mut agree) = (Vec::new(), Vec::new());
        let of_the_stack = tell_of_the_stack(findings);
        for subject in &examined.subjects {
            match &subject.result {
                Ok(comparison) => match comparison.verdict {
                    Verdict::Diverged(_) => differ.push(subject.engine),
                    Verdict::Inconclusive(Reason::StackExhausted) if of_the_stack => {
                        agree.push(subject.engine);
                    }
                    Verdict::Agreed if !subject.excused && !of_the_stack => {
                        agree.push(subject.engine);
                    }
                    Verdict::Agreed | Verdict::Inconclusive(_) => {}
                },
                Err(NotCompared::Unsupported(_) | NotCompared::NothingToCompare) => {}
            }
        }
        let none_differs = differ.is_empty();
        let mut blame = Blame::of_findings(findings, differ, agree);
        // That the reference refuses a case is told of the reference, which is no subject.
        if none_differs && findings.iter().all(|found| found.engine == REFERENCE) {
            blame.layer = Layer::Reference;
            blame.or.clear();
        }
        blame.oracle = findings.first().map(|finding| finding.oracle);
        Some(blame)
    }

    /// What is blamed for a divergence that a known fault explains, where these engines were compared.
    pub fn of_known(fault: &KnownFault, subjects: &[&str]) -> Blame {
        let engines = registry::all();
        let has = |name: &&&str| {
            let mut engines = engines.iter().filter(|info| info.name == **name);
            engines.any(|info| fault.is_of(info.name, &info.version))
        };
        let mut differ: Vec<&str> = subjects.iter().filter(has).copied().collect();
        if differ.is_empty() {
            differ.push(fault.engine);
        }
        let mut blame = Blame::of_engines(&differ, &[]);
        blame.layer = match fault.engine {
            REFERENCE => Layer::Reference,
            engine => Layer::backend_of(engine)
                .or_else(|| Layer::of_wasmtime(engine))
                .unwrap_or(blame.layer),
        };
        blame.or.clear();
        blame.known = Some(fault.name.to_string());
        blame.fixed_in = fault.is_fixed_upstream().then(known::current);
        blame
    }

    /// What it has in common with other divergences of the same cause.
    pub fn key(&self) -> BlameKey {
        BlameKey {
            layer: self.layer,
            differ: self.differ.clone(),
            oracle: self.oracle,
            known: self.known.clone(),
            builtin: self.builtin.clone(),
        }
    }

    /// The files of Cranelift with the rules that can be at fault, and for which instructions,
    /// where that is known: lowering rules of a backend, or rules of the optimiser.
    pub fn rules(&self) -> Vec<String> {
        let mut instructions: Vec<&str> = self.clif.iter().map(String::as_str).collect();
        // Nothing is to be selected for what only says where control goes on.
        instructions.retain(|name| !matches!(*name, "jump" | "return"));
        if instructions.is_empty() {
            return Vec::new();
        }
        let files: &[&str] = match self.layer {
            Layer::X86_64Backend => &["isa/x64/lower.isle", "isa/x64/inst.isle"],
            Layer::Aarch64Backend => &["isa/aarch64/lower.isle", "isa/aarch64/inst.isle"],
            Layer::Riscv64Backend => &["isa/riscv64/lower.isle", "isa/riscv64/inst.isle"],
            Layer::MiddleEnd => &["opts/*.isle", "egraph"],
            _ => return Vec::new(),
        };
        let rules = files.iter().take(1);
        rules
            .map(|file| format!("{file}, for {}", instructions.join(", ")))
            .collect()
    }

    /// Whether another divergence, of a smaller case maybe, is by all that both say the same one:
    /// what only one of the two knows does not tell them apart.
    pub fn is_same(&self, other: &Blame) -> bool {
        fn agree<T: PartialEq>(a: Option<&T>, b: Option<&T>) -> bool {
            a.zip(b).is_none_or(|(a, b)| a == b)
        }
        let layer = |blame: &Blame, layer| blame.layer == layer || blame.or.contains(&layer);
        (layer(self, other.layer) || layer(other, self.layer))
            && self.differ == other.differ
            && agree(self.oracle.as_ref(), other.oracle.as_ref())
            && self.known == other.known
            && agree(self.builtin.as_ref(), other.builtin.as_ref())
    }
}

/// Whether all that differ are of an old generation, and agree where they are of the current one.
fn is_of_the_past<S: AsRef<str>>(differ: &[S], agree: &[S]) -> bool {
    let mends = |engine: &S| {
        let current = registry::other_generation(engine.as_ref());
        registry::is_of_old_generation(engine.as_ref())
            && current.is_some_and(|current| agree.iter().any(|it| it.as_ref() == current))
    };
    !differ.is_empty() && differ.iter().all(mends)
}

/// What the tables at the top of this file say, and what else could be.
fn guess<S: AsRef<str>>(differ: &[S], agree: &[S]) -> (Layer, Vec<Layer>) {
    let theirs: Vec<Layer> = differ
        .iter()
        .filter_map(|engine| Layer::of_wasmtime(engine.as_ref()))
        .collect();
    if theirs.is_empty() {
        let right = ours(agree);
        let (layer, mut or) = guess_of_ours(differ, &right);
        // What has nothing in common with the reference says the same as it.
        if right.len() < agree.len() {
            or.retain(|layer| *layer != Layer::Reference);
        }
        return (layer, or);
    }
    let differ = ours(differ);
    if !differ.is_empty() {
        let (layer, mut or) = guess_of_ours(&differ, &ours(agree));
        // What has nothing in common with ours says the same, and not what the reference says.
        if !or.contains(&Layer::Reference) {
            or.push(Layer::Reference);
        }
        return (layer, or);
    }
    match (&theirs[..], agree) {
        ([one], [_, ..]) => (*one, Vec::new()),
        ([one], []) => (*one, vec![Layer::Reference]),
        (_, agree) if ours(agree).is_empty() => (Layer::Wasmtime, vec![Layer::Reference]),
        _ => (Layer::Wasmtime, Vec::new()),
    }
}

/// Those of some engines that are ours.
fn ours<S: AsRef<str>>(engines: &[S]) -> Vec<&str> {
    let names = engines.iter().map(AsRef::as_ref);
    names
        .filter(|name| Layer::of_wasmtime(name).is_none())
        .collect()
}

/// Whether the interpreter has found that what translation says of the program is not so.
fn tells_of_a_promise(finding: &Finding) -> bool {
    let escaped = match &finding.subject {
        Seen::Outcome(Outcome::Escaped(how)) => how,
        _ => return false,
    };
    finding.engine == INTERPRETER
        && [CHANGED, NOT_THERE, ANOTHER_SIGNATURE]
            .iter()
            .any(|promise| escaped.ends_with(promise))
}

/// Whether all that is found is that engines trap for lack of stack that they have, or do not where they
/// have none.
pub(super) fn tell_of_the_stack(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| match &finding.subject {
        Seen::Outcome(Outcome::Unfounded(_)) => true,
        Seen::Outcome(Outcome::Escaped(how)) => how.ends_with(BEYOND),
        _ => false,
    })
}

/// What the first table at the top of this file says, and what else could be.
fn guess_of_ours<S: AsRef<str>, T: AsRef<str>>(differ: &[S], agree: &[T]) -> (Layer, Vec<Layer>) {
    let mut backends: Vec<Layer> = differ
        .iter()
        .filter_map(|engine| Layer::backend_of(engine.as_ref()))
        .collect();
    backends.sort_unstable();
    backends.dedup();
    let right = |layer: &Layer| {
        let mut agree = agree.iter();
        agree.any(|engine| Layer::backend_of(engine.as_ref()) == Some(*layer))
    };
    let another_right = BACKENDS
        .iter()
        .any(|layer| !backends.contains(layer) && right(layer));
    let interpreter_wrong = differ.iter().any(|engine| engine.as_ref() == INTERPRETER);
    match &backends[..] {
        [] if interpreter_wrong && another_right => (Layer::Interpreter, Vec::new()),
        [] if differ.is_empty() => (Layer::Unknown, Vec::new()),
        [backend] if another_right => (*backend, Vec::new()),
        _ if interpreter_wrong => (Layer::Translation, vec![Layer::Runtime, Layer::Reference]),
        // Whatever agrees shares the translation and the runtime.
        [backend] if !agree.is_empty() => (*backend, vec![Layer::MiddleEnd]),
        [_, _, ..] if !agree.is_empty() => (Layer::MiddleEnd, Vec::new()),
        [backend] => (
            Layer::Translation,
            vec![Layer::Runtime, Layer::MiddleEnd, *backend, Layer::Reference],
        ),
        _ => (
            Layer::Translation,
            vec![Layer::Runtime, Layer::MiddleEnd, Layer::Reference],
        ),
    }
}

impl fmt::Display for Blame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.layer)?;
        for layer in &self.or {
            write!(f, " or {layer}")?;
        }
        if let Some(known) = &self.known {
            write!(f, ", known as {known}")?;
        }
        if let Some(version) = &self.fixed_in {
            write!(f, ", fixed in {version}")?;
        }
        if let Some(builtin) = &self.builtin {
            write!(f, ", {builtin}")?;
        }
        if let Some(FunctionOf { module, function }) = self.function {
            write!(f, ", in function {function} of module {module}")?;
        }
        if let Some(region) = &self.region {
            match &region.instructions[..] {
                [] => {}
                [one] => write!(f, ", {one} at {:#x}", region.start)?,
                [first, .., last] => write!(
                    f,
                    ", {first} at {:#x} to {last} at {:#x}",
                    region.start, region.last
                )?,
            }
        }
        if let Some(levels) = &self.levels {
            let names: Vec<&str> = levels.iter().map(|level| level_name(*level)).collect();
            match names.len() {
                0 => {}
                3 => f.write_str(", at every optimisation level")?,
                _ => write!(f, ", at opt-level {}", names.join(" and "))?,
            }
        }
        if !self.differ.is_empty() {
            write!(f, " ({} differ", self.differ.join(", "))?;
            if self.differ.len() == 1 {
                f.write_str("s")?;
            }
            match self.agree.len() {
                0 => {}
                1 => write!(f, ", {} agrees", self.agree[0])?,
                _ => write!(f, ", {} agree", self.agree.join(", "))?,
            }
            f.write_str(")")?;
        }
        Ok(())
    }
}

/// An optimisation level as settings have it.
pub(crate) fn level_name(level: OptLevel) -> &'static str {
    match level {
        OptLevel::None => "none",
        OptLevel::Speed => "speed",
        OptLevel::SpeedAndSize => "speed_and_size",
    }
}

#[cfg(test)]
mod tests;
