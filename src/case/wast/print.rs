//! Writing a case as a `.wast` script.
//!
//! Modules stand as text, without the exports that only the normaliser added, and steps as
//! directives in the order in which they are taken, so that reading the script gives the case
//! back. Where a step has no directive in the format (reading a global without saying what it
//! holds, say), a comment stands in its place.

use std::collections::HashSet;
use std::fmt::Write;

use parallax_oracles::{Observation, Outcome, Reason, TrapKind, Value};

use super::COLLECT;
use super::expect::message_of_trap;
use super::print_values::{argument, pattern, quoted, result};
use crate::case::{Action, Case, Expectation, HostItemKind, LinkPlan, Module, Step, normalise};

/// Writes a case as a `.wast` script: settings, modules as text, steps; where `reference` is
/// given, each step asserts what the reference showed, and otherwise what the step expects.
///
/// `header` is put on top as a comment. A case without arguments that the format cannot express
/// (references to functions, and host objects with the host's own numbers) is read back as it was.
pub fn to_wast(case: &Case, reference: Option<&Observation>, header: &str) -> String {
    let mut out = String::new();
    comment(&mut out, header);
    out.push_str(&case.settings.to_lines());
    host_comment(&mut out, case);
    let mut printer = Printer::new(case, reference);
    for (index, step) in case.steps.iter().enumerate() {
        printer.step(&mut out, index, step);
    }
    printer.registrations(&mut out, u32::MAX);
    out
}

/// Writes text as comment lines.
fn comment(out: &mut String, text: &str) {
    for line in text.lines() {
        // Nothing a comment says may be taken for a setting or a directive of our own.
        let line = line.trim_end();
        let _ = writeln!(out, ";;{}{line}", if line.is_empty() { "" } else { " " });
    }
}

/// Says which imports only parallax can satisfy.
fn host_comment(out: &mut String, case: &Case) {
    let mut names: Vec<String> = case
        .host_items
        .iter()
        .filter(|item| item.module != "spectest")
        .map(|item| {
            // A memory or table may be larger than those who import it say.
            let limits = |min: u64, max: Option<u64>| {
                let max = max.map_or(String::new(), |max| format!(" {max}"));
                format!(" {min}{max}")
            };
            let (kind, limits) = match &item.kind {
                HostItemKind::Func { .. } => ("func", String::new()),
                HostItemKind::Table { ty, .. } => ("table", limits(ty.min, ty.max)),
                HostItemKind::Memory { ty, .. } => ("memory", limits(ty.min, ty.max)),
                HostItemKind::Global { .. } => ("global", String::new()),
            };
            let (module, name) = (quoted(&item.module), quoted(&item.name));
            format!("{kind} {module} {name}{limits}")
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    if !names.is_empty() {
        out.push_str(";; The host of parallax provides:\n");
        for name in names {
            let _ = writeln!(out, ";;   {name}");
        }
    }
}

/// Writes steps, with what has been named so far.
struct Printer<'c> {
    case: &'c Case,
    reference: Option<&'c Observation>,
    /// How often each module is instantiated.
    uses: Vec<u32>,
    /// Whether each module has been defined under a name of its own.
    defined: Vec<bool>,
    /// The exports that steps name, by module.
    called: Vec<HashSet<&'c str>>,
    /// The identifier of every instance, in order. Empty where there is one instance only, which
    /// is then always the latest and needs none.
    names: Vec<String>,
    /// The number of instances made so far.
    instances: u32,
    /// The number of registrations written so far.
    registered: usize,
}

impl<'c> Printer<'c> {
    fn new(case: &'c Case, reference: Option<&'c Observation>) -> Printer<'c> {
        let mut uses = vec![0; case.modules.len()];
        let mut made_from = Vec::new();
        for step in &case.steps {
            if let Action::Instantiate { module, .. } = step.action {
                uses[module] += 1;
                made_from.push(module);
            }
        }
        let mut called = vec![HashSet::new(); case.modules.len()];
        for step in &case.steps {
            if let Action::Invoke {
                instance, export, ..
            }
            | Action::Get {
                instance, export, ..
            } = &step.action
                && let Some(module) = made_from.get(*instance as usize)
            {
                called[*module].insert(&**export);
            }
        }
        let names = if made_from.len() > 1 {
            (0..made_from.len())
                .map(|number| format!(" $i{number}"))
                .collect()
        } else {
            vec![String::new(); made_from.len()]
        };
        Printer {
            case,
            reference,
            defined: vec![false; uses.len()],
            uses,
            called,
            names,
            instances: 0,
            registered: 0,
        }
    }

    fn step(&mut self, out: &mut String, index: usize, step: &Step) {
        let outcome = self
            .reference
            .and_then(|reference| reference.steps.get(index))
            .map(|step| &step.outcome);
        let claim = match (self.reference, outcome) {
            (Some(_), Some(outcome)) => Claim::of_outcome(outcome, &step.action),
            (Some(_), None) => Claim::Nothing(None),
            (None, _) => Claim::of_expectation(step.expect.as_ref(), &step.action),
        };
        match &step.action {
            Action::Instantiate { module, link } => {
                self.registrations(out, self.instances);
                self.instantiate(out, *module, link, claim);
                self.instances += 1;
            }
            Action::Invoke {
                instance,
                export,
                args,
                ..
            } => {
                let mut call = format!("(invoke{} {}", self.id(*instance), quoted(export));
                for arg in args {
                    let _ = write!(call, " {}", argument(arg));
                }
                call.push(')');
                if args.iter().any(|arg| matches!(arg, Value::Func(Some(_)))) {
                    comment(out, "scripts have no way to pass the function passed here");
                }
                claim.write(out, &call, true);
            }
            Action::Get {
                instance, export, ..
            } => {
                let get = format!("(get{} {})", self.id(*instance), quoted(export));
                claim.write(out, &get, false);
            }
            Action::Collect => {
                let _ = writeln!(out, "{COLLECT}");
            }
        }
    }

    /// Writes the registrations that hold for the instance with this number.
    fn registrations(&mut self, out: &mut String, instance: u32) {
        while let Some(registration) = self.case.registrations.get(self.registered)
            && registration.before_instance <= instance
        {
            let name = quoted(&registration.name);
            let _ = writeln!(out, "(register {name}{})", self.id(registration.instance));
            self.registered += 1;
        }
    }

    /// Writes a module, or an instance of one already written. Modules are written where they are
    /// instantiated unless that happens several times, which only newer readers of scripts know.
    fn instantiate(&mut self, out: &mut String, module: usize, link: &LinkPlan, claim: Claim) {
        let name = self.names[self.instances as usize].clone();
        let unlinkable = if link.0.contains(&None) {
            "unknown import"
        } else {
            "incompatible import type"
        };
        match claim {
            Claim::Nothing(_) if self.uses[module] > 1 => {
                if !self.defined[module] {
                    self.defined[module] = true;
                    let definition = format!(" definition $m{module}");
                    let _ = writeln!(out, "{}", self.module(module, &definition));
                }
                claim.write(out, &format!("(module instance{name} $m{module})"), true);
            }
            Claim::Unlinkable => {
                let module = self.module(module, &name);
                let _ = writeln!(out, "(assert_unlinkable {module} {})", quoted(unlinkable));
            }
            // Neither is ever claimed of a module.
            Claim::Skipped | Claim::Exhausts => {}
            Claim::Nothing(_) | Claim::Returns(_) | Claim::Traps(_) => {
                claim.write(out, &self.module(module, &name), true);
            }
        }
    }

    /// A module as text, with `words` behind the keyword.
    fn module(&self, module: usize, words: &str) -> String {
        let called = &self.called[module];
        let module = &self.case.modules[module];
        let wasm = normalise::retain_exports(module, |name| called.contains(name));
        module_text(&wasm, words).unwrap_or_else(|| module_bytes(&wasm, words))
    }

    fn id(&self, instance: u32) -> &str {
        self.names.get(instance as usize).map_or("", |name| &**name)
    }
}

/// What a script says of a step.
enum Claim {
    /// Nothing, but perhaps a remark.
    Nothing(Option<String>),
    /// That it was not taken, since what it names was never made.
    Skipped,
    /// That it returns what these patterns describe.
    Returns(Vec<String>),
    /// That it traps, with this message.
    Traps(String),
    /// That it exhausts the stack.
    Exhausts,
    /// That it is refused to link.
    Unlinkable,
}

impl Claim {
    fn of_outcome(outcome: &Outcome, action: &Action) -> Claim {
        let instantiates = matches!(action, Action::Instantiate { .. });
        match outcome {
            Outcome::Returned(_) if instantiates => Claim::Nothing(None),
            Outcome::Returned(values) => Claim::Returns(values.iter().map(result).collect()),
            Outcome::Trapped(TrapKind::StackExhausted)
            | Outcome::Inconclusive(Reason::StackExhausted) => Claim::exhausts(action),
            Outcome::Trapped(kind) => match message_of_trap(*kind) {
                Some(message) => Claim::Traps(message.to_string()),
                None => Claim::Nothing(Some(outcome.to_string())),
            },
            Outcome::Unlinkable => Claim::Unlinkable,
            Outcome::Skipped if !instantiates => Claim::Skipped,
            Outcome::Skipped
            | Outcome::Escaped(_)
            | Outcome::Miscounted(_)
            | Outcome::Unfounded(_)
            | Outcome::Failed(_)
            | Outcome::Endless
            | Outcome::Inconclusive(_) => Claim::Nothing(Some(outcome.to_string())),
        }
    }

    fn of_expectation(expectation: Option<&Expectation>, action: &Action) -> Claim {
        match expectation {
            None => Claim::Nothing(None),
            Some(Expectation::Return(patterns)) => {
                Claim::Returns(patterns.iter().map(pattern).collect())
            }
            Some(Expectation::Trap(message)) => Claim::Traps(message.clone()),
            Some(Expectation::Exhaustion) => Claim::exhausts(action),
            Some(Expectation::Unlinkable) => Claim::Unlinkable,
        }
    }

    /// `assert_exhaustion` is for calls only.
    fn exhausts(action: &Action) -> Claim {
        match action {
            Action::Invoke { .. } => Claim::Exhausts,
            _ => Claim::Traps("call stack exhausted".to_string()),
        }
    }

    /// Writes the directive that takes `action` and claims this of it. `bare` says whether the
    /// action may stand alone.
    fn write(&self, out: &mut String, action: &str, bare: bool) {
        let _ = match self {
            Claim::Nothing(remark) => {
                comment(out, remark.as_deref().unwrap_or(""));
                if bare {
                    writeln!(out, "{action}")
                } else {
                    comment(out, action);
                    Ok(())
                }
            }
            Claim::Skipped => {
                comment(out, &format!("not taken: {action}"));
                Ok(())
            }
            Claim::Returns(results) => {
                let _ = write!(out, "(assert_return {action}");
                for result in results {
                    let _ = write!(out, " {result}");
                }
                writeln!(out, ")")
            }
            Claim::Traps(message) => {
                writeln!(out, "(assert_trap {action} {})", quoted(message))
            }
            Claim::Exhausts => {
                writeln!(out, "(assert_exhaustion {action} \"call stack exhausted\")")
            }
            Claim::Unlinkable => {
                comment(out, "refused to link");
                Ok(())
            }
        };
    }
}

/// A binary as text, with `words` behind the keyword and without the name it may have of its own.
/// None where what the printer writes would not be read back.
fn module_text(wasm: &[u8], words: &str) -> Option<String> {
    let text = wasmprinter::print_bytes(wasm).ok()?;
    let fields = text.trim_end().strip_prefix("(module")?;
    let fields = match fields.strip_prefix(" $") {
        Some(named) => &named[named.find(|c: char| c.is_ascii_whitespace() || c == ')')?..],
        None => fields,
    };
    let read_back = wat::parse_str(format!("(module{fields}")).ok()?;
    Module::from_wasm(&read_back, None).ok()?;
    Some(format!("(module{words}{fields}"))
}

/// A binary as a string of bytes, with `words` behind the keyword.
fn module_bytes(wasm: &[u8], words: &str) -> String {
    let mut out = format!("(module{words} binary");
    for line in wasm.chunks(32) {
        out.push_str("\n  \"");
        for byte in line {
            let _ = write!(out, "\\{byte:02x}");
        }
        out.push('"');
    }
    out.push(')');
    out
}
