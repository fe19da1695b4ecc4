use parallax_oracles::{Changes, Event, Value};

use super::*;
use crate::campaign;
use crate::case::Action;
use crate::case::wast::Script;
use crate::engine::Run;
use crate::generate::Generators;

/// How many cases of seed 4 are run.
const CASES: u64 = 80;

#[test]
fn subjects_show_together_what_they_show_alone() {
    std::thread::Builder::new()
        .stack_size(campaign::STACK_BYTES)
        .spawn(compare_with_lone)
        .expect("a thread")
        .join()
        .expect("subjects that show the same");
}

fn compare_with_lone() {
    let names = ["x86_64-0.112", "x86_64", "clif", "x86_64-emulated"];
    let usable = names
        .into_iter()
        .filter(|name| registry::find(name).is_ok());
    let names: Vec<&str> = usable.collect();
    let mut together = Harness::new(&names).expect("they can be used");
    let alone = names.iter().map(|name| registry::make(name));
    let mut alone: Vec<_> = alone.collect::<Result<_, _>>().expect("they can be used");
    let mut compared = 0;
    for number in 0..CASES {
        let (_, Some(case), _) = campaign::case(4, number, Generators::all()) else {
            continue;
        };
        let examined = together.examine(&case);
        // Others may have ended before their last step.
        if examined.verdict != Verdict::Agreed {
            continue;
        }
        for (subject, alone) in examined.subjects.iter().zip(&mut alone) {
            let seen = observe(alone.as_mut(), &case).ok();
            assert_eq!(subject.observation, seen, "case {number}");
            compared += u64::from(seen.is_some());
        }
    }
    assert!(compared > CASES);
}

/// The reference, but for the first call of the first case that it runs.
struct Flaky {
    inner: Box<dyn Engine>,
    first: Option<Outcome>,
}

struct FlakyRun<'run> {
    inner: Box<dyn Run + 'run>,
    first: Option<Outcome>,
}

impl Engine for Flaky {
    fn name(&self) -> &'static str {
        "flaky"
    }

    fn version(&self) -> String {
        self.inner.version()
    }

    fn start<'run>(&'run mut self, case: &'run Case) -> Result<Box<dyn Run + 'run>, Refusal> {
        let first = self.first.take();
        let inner = self.inner.start(case)?;
        Ok(Box::new(FlakyRun { inner, first }))
    }
}

impl Run for FlakyRun<'_> {
    fn perform(&mut self, action: &Action, events: &mut Vec<Event>) -> Outcome {
        let outcome = self.inner.perform(action, events);
        match action {
            Action::Invoke { .. } => self.first.take().unwrap_or(outcome),
            _ => outcome,
        }
    }

    fn snapshot(&mut self, changes: &mut Changes) {
        self.inner.snapshot(changes);
    }

    fn finish(self: Box<Self>, events: &mut Vec<Event>) -> Outcome {
        self.inner.finish(events)
    }
}

/// What comes of a script where a subject, which otherwise is right, shows something else at first.
fn examined(script: &str, subject: &str, first: Outcome) -> Examined {
    let case = Script::parse(script, "a test").expect("a script").case;
    let flaky = Flaky {
        inner: registry::make(subject).expect("usable"),
        first: Some(first),
    };
    let reference = registry::make(registry::REFERENCE).expect("usable");
    Harness::of(reference, vec![Box::new(flaky)]).examine(&case)
}

/// It could meet a known fault of the reference, and does not.
const TABLE: &str = r#"(module (func (export "f") (param i32) (result i32)
    (block (br_table 0 0 (local.get 0)))
    (i32.const 1)))
    (invoke "f" (i32.const 0))"#;

#[test]
fn a_fault_that_does_not_show_in_the_reference_explains_nothing() {
    let case = Script::parse(TABLE, "a test").expect("a script").case;
    assert!(!known::avoidable(&case).is_empty());
    let wrong = Outcome::Returned(vec![Value::I32(7)]);
    let examined = examined(TABLE, registry::REFERENCE, wrong);
    assert!(examined.diverged(), "{:?}", examined.verdict);
    assert!(examined.known.is_empty(), "{:?}", examined.known);
}

#[test]
fn what_breaks_a_subject_is_no_fault_of_the_reference() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/corpus/known/wasmi-select-eqz.wast"
    );
    let script = std::fs::read_to_string(path).expect("it is there");
    let returned = Outcome::Returned(vec![Value::I32(7)]);
    for (first, diverges) in [
        // Whatever the reference says, which is wrong, the subject is right.
        (returned, false),
        (Outcome::Escaped("somewhere".to_string()), true),
        (Outcome::Miscounted("an object".to_string()), true),
        (Outcome::Unfounded("lack of stack".to_string()), true),
    ] {
        let examined = examined(&script, registry::DIRECT, first.clone());
        assert_eq!(examined.diverged(), diverges, "{first}");
    }
}

/// What healthy engines make of a script, and what those make of it that check for no interrupts.
fn interrupted(script: &str) -> (Verdict, Verdict) {
    let text = format!(
        ";;! host-imports = true\n;;! interrupt-at = 2\n(module (import \"parallax\" \"tick\" (func $tick))
           (memory 1) (func $calls (call $leaf)) (func $leaf) {script})\n(invoke \"f\")"
    );
    let case = Script::parse(&text, "a test").expect("a script").case;
    let verdict = |fault| {
        let harness = Harness::with_fault(&["x86_64", "aarch64"], fault);
        harness.expect("they are there").examine(&case).verdict
    };
    (verdict(None), verdict(Some(Fault::NoInterruptCheck)))
}

#[test]
fn interrupts_are_held_against_nobody_where_they_are_noticed_late() {
    let late = Verdict::Inconclusive(Reason::LateInterrupt);
    let called = "(func $tick_twice (call $tick) (call $tick))";
    for script in [
        // At the end of the last round.
        r#"(func (export "f") (local i32) (loop $again (call $tick)
             (br_if $again (i32.eqz (local.tee 0 (i32.add (local.get 0) (i32.const 1)))))
             (br_if $again (i32.eq (local.get 0) (i32.const 1)))))"#,
        // Before a store.
        r#"(func (export "f") (local i32) (loop $again (call $tick) (i32.store (i32.const 0) (local.get 0))
             (local.set 0 (i32.add (local.get 0) (i32.const 1)))
             (br_if $again (i32.lt_u (local.get 0) (i32.const 5)))))"#,
        // Where only functions are called that need not look.
        &format!(r#"(func (export "f") (call $tick_twice) (call $leaf)) {called}"#),
    ] {
        assert_eq!(
            interrupted(script),
            (late.clone(), late.clone()),
            "{script}"
        );
    }
}

#[test]
fn who_does_not_notice_an_interrupt_in_time_is_found() {
    for script in [
        r#"(func (export "f") (local i32) (loop $again (i32.store (i32.const 0) (local.get 0)) (call $tick)
             (local.set 0 (i32.add (local.get 0) (i32.const 1)))
             (br_if $again (i32.lt_u (local.get 0) (i32.const 5)))))"#,
        // An inner loop is one as well.
        r#"(func (export "f") (local i32) (call $tick) (call $tick) (loop)
             (i32.store (i32.const 0) (i32.const 3)))"#,
    ] {
        let (healthy, faulty) = interrupted(script);
        assert_eq!(healthy, Verdict::Agreed, "{script}");
        assert!(
            matches!(faulty, Verdict::Diverged(_)),
            "{script}: {faulty:?}"
        );
    }
}
