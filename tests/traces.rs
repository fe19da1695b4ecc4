//! Subjects that count references are held against each other, not only against the reference:
//! what they drop, and when, must be the same.

use parallax::case::Case;
use parallax::case::wast::script_from_file;
use parallax::engine::{Engine, Refusal, Run, registry};
use parallax::harness::Harness;
use parallax::triage::blame::Blame;
use parallax_oracles::{OracleName, Verdict};

/// An engine whose activations table has another capacity than the case says. It collects at
/// other times, which the reference has nothing to say about.
struct OtherCapacity {
    engine: Box<dyn Engine>,
    case: Option<Case>,
}

impl Engine for OtherCapacity {
    fn name(&self) -> &'static str {
        "other-capacity"
    }

    fn version(&self) -> String {
        self.engine.version()
    }

    fn counts_references(&self) -> bool {
        true
    }

    fn start<'run>(&'run mut self, case: &'run Case) -> Result<Box<dyn Run + 'run>, Refusal> {
        let case = self.case.insert(case.clone());
        case.settings.activations_capacity = 512;
        self.engine.start(case)
    }
}

const SCRIPT: &str = r#"
;;! activations-capacity = 1
;;! host-imports = true
(module
  (import "parallax" "make" (func $make (result externref)))
  (import "parallax" "take" (func $take (param externref)))
  (table $t 1 externref)
  (func (export "run")
    (table.set $t (i32.const 0) (call $make))
    (drop (table.get $t (i32.const 0)))
    (table.set $t (i32.const 0) (call $make))
    ;; Where the table has room for one only, this collects, and the first object goes.
    (drop (table.get $t (i32.const 0)))
    (drop (table.get $t (i32.const 0)))
    (call $take (ref.null extern))))
(assert_return (invoke "run"))
"#;

#[test]
fn subjects_that_drop_at_other_times_diverge() {
    let case = script_from_file(SCRIPT.as_bytes(), "test.wast")
        .expect("a script")
        .case;
    let engine = |name| registry::make(name).expect("usable");
    let mut alike = Harness::of(
        engine(registry::REFERENCE),
        vec![engine("x86_64"), engine("x86_64")],
    );
    assert_eq!(alike.examine(&case).verdict, Verdict::Agreed);

    let other = Box::new(OtherCapacity {
        engine: engine("x86_64"),
        case: None,
    });
    let mut alone = Harness::of(engine(registry::REFERENCE), vec![other]);
    assert_eq!(alone.examine(&case).verdict, Verdict::Agreed);

    let other = Box::new(OtherCapacity {
        engine: engine("x86_64"),
        case: None,
    });
    let mut both = Harness::of(engine(registry::REFERENCE), vec![engine("x86_64"), other]);
    let examined = both.examine(&case);
    let Verdict::Diverged(findings) = &examined.verdict else {
        panic!("{:?}", examined.verdict);
    };
    assert_eq!(findings[0].oracle, OracleName::Refcounts);
    assert_eq!(findings[0].engine, "other-capacity");
    assert_eq!(findings[0].against.as_deref(), Some("x86_64"));
    // Which of two is right nobody knows.
    let blame = Blame::of(&examined).expect("it diverges");
    assert_eq!(blame.differ, ["other-capacity", "x86_64"]);

    // Of three, the odd one out is the one that is told of, be it the first.
    let other = Box::new(OtherCapacity {
        engine: engine("x86_64"),
        case: None,
    });
    let subjects = vec![other as Box<dyn Engine>, engine("x86_64"), engine("clif")];
    let mut three = Harness::of(engine(registry::REFERENCE), subjects);
    let examined = three.examine(&case);
    let Verdict::Diverged(findings) = &examined.verdict else {
        panic!("{:?}", examined.verdict);
    };
    let engines: Vec<&str> = findings.iter().map(|it| it.engine.as_str()).collect();
    assert_eq!(engines, ["other-capacity"]);
    assert_eq!(findings[0].against.as_deref(), Some("x86_64"));
    let blame = Blame::of(&examined).expect("it diverges");
    assert_eq!(blame.differ, ["other-capacity"]);
}
