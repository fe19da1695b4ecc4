//! Findings as people read them: the call, the oracle, the place, both values, and the text of
//! the code concerned. This is the one place that puts findings into words of more than a line.

use std::fmt::Write;

use parallax_oracles::{Entity, Finding, Owner, Place, Seen, Value, Verdict};

use super::blame::Blame;
use crate::case::module::Module;
use crate::case::{Action, Case, normalise};
use crate::engine::registry::REFERENCE;
use crate::harness::Examined;

/// A module of at most so many lines is shown whole; of a larger one, the function called.
const SMALL_MODULE_LINES: usize = 60;

/// Lines of code that are shown at most.
const MOST_LINES: usize = 150;

/// All findings of a case, each with its call, oracle, place and both values, and the code that
/// the first one is about.
pub fn findings<'f>(case: &Case, findings: impl IntoIterator<Item = &'f Finding>) -> String {
    let mut out = String::new();
    let mut step = None;
    for finding in findings {
        if step.is_some() {
            out.push('\n');
        }
        self::finding(&mut out, case, finding);
        step.get_or_insert(finding.step);
    }
    if let Some(code) = step.and_then(|step| code(case, step)) {
        let _ = write!(out, "\n{code}");
    }
    out
}

/// One finding: its call, oracle, place and both values, on a line each.
pub fn differences(case: &Case, finding: &Finding) -> String {
    let mut out = String::new();
    self::finding(&mut out, case, finding);
    out
}

/// What is found about a case that diverged, and the first guess whose fault it is.
pub fn divergence(case: &Case, examined: &Examined) -> String {
    let mut out = match &examined.verdict {
        Verdict::Diverged(findings) => self::findings(case, findings),
        Verdict::Agreed | Verdict::Inconclusive(_) => String::new(),
    };
    if let Some(blame) = Blame::of(examined) {
        let _ = write!(out, "\nblame: {blame}\n");
    }
    out
}

fn finding(out: &mut String, case: &Case, finding: &Finding) {
    let rows = rows(case, finding);
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, text) in rows {
        let _ = writeln!(out, "{name:width$}  {text}");
    }
}

/// A finding in rows of a name and a text: call, oracle, place and both values.
pub fn rows(case: &Case, finding: &Finding) -> Vec<(String, String)> {
    let reference = match finding.reference {
        Seen::Rule(_) => "rule",
        _ => finding.against.as_deref().unwrap_or(REFERENCE),
    };
    let rows = [
        ("call", call(case, finding.step)),
        ("oracle", finding.oracle.to_string()),
        ("place", place_of(case, finding)),
        (reference, seen(case, &finding.reference)),
        (&finding.engine, seen(case, &finding.subject)),
    ];
    rows.map(|(name, text)| (name.to_string(), text)).into()
}

/// Where a finding is, and at which host call it shows if that is before the step is over.
pub fn place_of(case: &Case, finding: &Finding) -> String {
    let place = place(case, &finding.place);
    match finding.at_call {
        Some(call) => format!("{place}, at host call {call} of the step"),
        None => place,
    }
}

/// What a step of a case does, with its number and, if it is from a script, its line.
pub fn call(case: &Case, step: usize) -> String {
    let Some(taken) = case.steps.get(step) else {
        return "after the last step: the store is dropped".to_string();
    };
    let mut text = format!("step {step}: ");
    // Writing to a string does not fail.
    let _ = match &taken.action {
        Action::Instantiate { module, .. } => {
            let before = case.steps[..step].iter();
            let instance = before.filter(|step| instantiates(&step.action)).count();
            let name = case.modules.get(*module).and_then(|it| it.name.as_ref());
            let name = name.map_or(String::new(), |name| format!(" \"{name}\""));
            write!(
                text,
                "instantiate module {module}{name} as instance {instance}"
            )
        }
        Action::Invoke {
            instance,
            export,
            args,
            ..
        } => {
            let args: Vec<String> = args.iter().map(Value::to_string).collect();
            let args = args.join(", ");
            write!(text, "invoke instance {instance} {export:?}({args})")
        }
        Action::Get {
            instance, export, ..
        } => write!(text, "get instance {instance} global {export:?}"),
        Action::Collect => write!(text, "collect"),
    };
    if taken.line > 0 {
        let _ = write!(text, " (line {})", taken.line);
    }
    text
}

fn instantiates(action: &Action) -> bool {
    matches!(action, Action::Instantiate { .. })
}

/// A place, with the names of what the host made.
pub fn place(case: &Case, place: &Place) -> String {
    let entity = match place {
        Place::MemorySize(entity) | Place::TableSize(entity) | Place::Global(entity) => entity,
        Place::MemoryByte { memory, .. } => memory,
        Place::TableElement { table, .. } => table,
        _ => return place.to_string(),
    };
    match entity {
        Entity {
            owner: Owner::Host,
            index,
        } => match host_item(case, *index) {
            Some(name) => format!("{place} ({name})"),
            None => place.to_string(),
        },
        _ => place.to_string(),
    }
}

fn seen(case: &Case, seen: &Seen) -> String {
    match seen {
        Seen::HostCall(item, args) => {
            let args: Vec<String> = args.iter().map(Value::to_string).collect();
            let name = host_item(case, *item).unwrap_or_else(|| format!("host item {item}"));
            format!("{name}({})", args.join(", "))
        }
        _ => seen.to_string(),
    }
}

fn host_item(case: &Case, index: u32) -> Option<String> {
    let item = case.host_items.get(index as usize)?;
    Some(format!("{:?} {:?}", item.module, item.name))
}

/// The text of the code that a step runs: its module if that is small, otherwise the function that
/// it calls. None if it runs no code, or code that cannot be printed.
pub fn code(case: &Case, step: usize) -> Option<String> {
    // What shows when the store is dropped, shows of the code before.
    let step = step.min(case.steps.len().checked_sub(1)?);
    let (module, function) = match &case.steps[step].action {
        Action::Instantiate { module, .. } => {
            let module = case.modules.get(*module)?;
            (module, module.start)
        }
        Action::Invoke {
            instance, function, ..
        } => (module_of(case, *instance)?, Some(*function)),
        Action::Get { instance, .. } => (module_of(case, *instance)?, None),
        Action::Collect => return code(case, step.checked_sub(1)?),
    };
    let text = wasmprinter::print_bytes(normalise::retain_exports(module, |_| false)).ok()?;
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() <= SMALL_MODULE_LINES {
        return Some(text);
    }
    let function = function.filter(|function| *function >= module.imported_functions());
    let lines = match function.and_then(|function| function_lines(&lines, function)) {
        Some(of_function) => of_function,
        None => &lines,
    };
    let mut out = String::new();
    for line in lines.iter().take(MOST_LINES) {
        let _ = writeln!(out, "{line}");
    }
    if lines.len() > MOST_LINES {
        let _ = writeln!(out, "  ;; and {} lines more", lines.len() - MOST_LINES);
    }
    Some(out)
}

/// The module that an instance is made from.
fn module_of(case: &Case, instance: u32) -> Option<&Module> {
    let made_from = |action: &Action| match action {
        Action::Instantiate { module, .. } => Some(*module),
        _ => None,
    };
    let mut modules = case.steps.iter().filter_map(|step| made_from(&step.action));
    case.modules.get(modules.nth(instance as usize)?)
}

/// The lines of a function with this index, in a module as the printer lays it out: fields are
/// indented by two, and a field of several lines ends with a parenthesis of the same indentation.
fn function_lines<'l, 't>(lines: &'l [&'t str], function: u32) -> Option<&'l [&'t str]> {
    let mark = format!("(;{function};)");
    let starts = |line: &&str| {
        line.strip_prefix("  (func ")
            .is_some_and(|rest| rest.split(' ').take(2).any(|word| word == mark))
    };
    let first = lines.iter().position(starts)?;
    let ends = |line: &&str| *line == "  )";
    let length = match lines[first].ends_with(')') {
        // What ends the line may be the header or the function.
        true if lines
            .get(first + 1)
            .is_none_or(|line| !line.starts_with("    ")) =>
        {
            1
        }
        _ => lines[first..].iter().position(ends)? + 1,
    };
    Some(&lines[first..first + length])
}

#[cfg(test)]
mod tests {
    use parallax_oracles::OracleName;

    use super::*;
    use crate::case::wast::case_from_file;

    fn case(text: &str) -> Case {
        case_from_file(text.as_bytes(), "test.wast").expect("a script")
    }

    #[test]
    fn a_finding_names_call_oracle_place_and_values() {
        let case = case(
            r#"(module $m (import "spectest" "memory" (memory 1))
                 (func (export "main") (param i32)))
               (invoke "main" (i32.const 1))"#,
        );
        let memory = Entity {
            owner: Owner::Host,
            index: 0,
        };
        let found = Finding {
            oracle: OracleName::Memories,
            step: 1,
            at_call: None,
            place: Place::MemoryByte {
                memory,
                address: 16,
            },
            reference: Seen::Byte(1),
            subject: Seen::Byte(2),
            engine: "x86_64".to_string(),
            against: None,
        };
        let text = findings(&case, &[found]);
        let mut lines = text.lines();
        let mut next = || lines.next().unwrap_or_default();
        assert_eq!(
            next(),
            "call    step 1: invoke instance 0 \"main\"(i32 1 (0x00000001)) (line 3)"
        );
        assert_eq!(next(), "oracle  memories");
        assert_eq!(
            next(),
            "place   byte 0x10 of memory 0 of the host (\"spectest\" \"memory\")"
        );
        assert_eq!(next(), "wasmi   0x01");
        assert_eq!(next(), "x86_64  0x02");
        assert_eq!(next(), "");
        assert_eq!(next(), "(module $m");
        assert!(text.contains("(export \"main\""));
        assert!(!text.contains("parallax"), "{text}");
    }

    #[test]
    fn of_a_large_module_the_function_is_shown() {
        let filler = "(func (nop) (nop) (nop) (nop) (nop) (nop) (nop) (nop) (nop))\n".repeat(9);
        let text = format!(
            r#"(module {filler} (func) (func $named (export "f") (local i32) (nop) (block) (nop))
                 (func) (func (export "g") (nop)))
               (invoke "f") (invoke "g")"#
        );
        let case = case(&text);
        let f = code(&case, 1).expect("code");
        assert!(f.starts_with("  (func $named (;10;)"), "{f}");
        assert!(f.ends_with("    nop\n  )\n"), "{f}");
        assert_eq!(f.matches("(func").count(), 1);
        let g = code(&case, 2).expect("code");
        assert_eq!(g, "  (func (;12;) (type 0)\n    nop\n  )\n");
        // Past the last step as well.
        assert_eq!(code(&case, 9), Some(g));
    }

    #[test]
    fn an_empty_function_is_one_line() {
        let text = "  (func (;0;) (type 0))\n  (func $a (;1;) (type 0) (param i32)\n    nop\n  )";
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(function_lines(&lines, 0), Some(&lines[..1]));
        assert_eq!(function_lines(&lines, 1), Some(&lines[1..]));
        assert_eq!(function_lines(&lines, 2), None);
    }
}
