//! Blame falls where the fault is: on the layer it was planted in, and on the function that meets
//! it, in each of the layers; and on the right engine where a fault is a known one.

use std::path::Path;

use parallax::campaign;
use parallax::case::Case;
use parallax::case::wast::case_from_file;
use parallax::codegen::Generation;
use parallax::engine::registry;
use parallax::generate::Generators;
use parallax::harness::{Harness, default_subjects};
use parallax::score::Fault;
use parallax::triage::blame::{Blame, BlameKey, FunctionOf, INTERPRETER, Layer};
use parallax::triage::code::Code;
use parallax::triage::localise::{Explanation, Options, explain};
use parallax_oracles::Verdict;

fn options(fault: Option<Fault>) -> Options {
    Options {
        subjects: default_subjects(),
        fault,
    }
}

fn explained(case: &Case, fault: Option<Fault>) -> Explanation {
    explain(case, &options(fault)).expect("engines that can be used")
}

/// Four functions, of which each fault is met by one, called by a fifth.
const PROGRAM: &str = r#"
(module
  (memory (export "memory") 1)
  (table 2 funcref)
  (type $none (func))
  (func $sums (param i32 i32) (result i32)
    (i32.xor (i32.add (local.get 0) (local.get 1)) (i32.const 0x55)))
  (func $compares (param i32 i32) (result i32)
    (select (i32.const 11) (i32.const 22) (i32.le_s (local.get 0) (local.get 1))))
  (func $is_less (param i32 i32) (result i32)
    (i32.mul (i32.lt_s (local.get 0) (local.get 1)) (i32.const 7)))
  (func $subtracts (param i32 i32) (result i32)
    (i32.sub (local.get 0) (local.get 1)))
  (func $copies (param i32)
    (i32.store8 (i32.const 16) (local.get 0))
    (i32.store8 (i32.const 17) (i32.const 2))
    (memory.copy (i32.const 17) (i32.const 16) (i32.const 8)))
  (func $fills (param i32)
    (memory.fill (i32.const 64) (local.get 0) (i32.const 8)))
  (func $calls (param i32)
    (call_indirect (type $none) (local.get 0)))
  (func (export "numbers") (param i32 i32) (result i32)
    (i32.add
      (call $sums (local.get 0) (local.get 1))
      (i32.add
        (call $compares (local.get 0) (local.get 1))
        (i32.add
          (call $is_less (local.get 0) (local.get 1))
          (call $subtracts (local.get 0) (i32.const 9))))))
  (func (export "bytes") (param i32)
    (call $copies (local.get 0))
    (call $fills (local.get 0)))
  (func (export "table") (param i32)
    (call $calls (local.get 0))))
(invoke "numbers" (i32.const 4) (i32.const 4))
(invoke "bytes" (i32.const 9))
(invoke "table" (i32.const 1))
"#;

/// The functions of [`PROGRAM`], by index.
const COMPARES: u32 = 1;
const IS_LESS: u32 = 2;
#[cfg(feature = "emulator")]
const SUBTRACTS: u32 = 3;
const COPIES: u32 = 4;
const FILLS: u32 = 5;
const CALLS: u32 = 6;

fn program() -> Case {
    case_from_file(PROGRAM.as_bytes(), "program.wast").expect("a script")
}

fn blame_of(fault: Fault) -> Blame {
    let explanation = explained(&program(), Some(fault));
    explanation.blame.expect("the fault shows")
}

fn assert_blamed(fault: Fault, function: u32, instruction: &str) -> Blame {
    let blame = blame_of(fault);
    assert_eq!(blame.layer, fault.layer(), "{fault}: {blame}");
    assert_eq!(blame.or, [], "{fault}: {blame}");
    let expected = FunctionOf {
        module: 0,
        function,
    };
    assert_eq!(blame.function, Some(expected), "{fault}: {blame}");
    let region = blame.region.as_ref().expect("a region");
    assert!(
        region.instructions.iter().any(|name| name == instruction),
        "{fault}: {blame}"
    );
    blame
}

#[test]
fn without_a_fault_there_is_nothing_to_explain() {
    let explanation = explained(&program(), None);
    assert_eq!(explanation.blame, None);
    assert!(explanation.findings.is_empty());
}

#[test]
fn a_fault_of_the_translation() {
    let blame = assert_blamed(Fault::MemoryFillShort, FILLS, "memory.fill");
    assert_eq!(blame.builtin, None);
    assert_blamed(Fault::SkipNullCheck, CALLS, "call_indirect");
    // Machine code of this program happens to do without what it is promised; the interpreter sees that it
    // is not so.
    let blame = assert_blamed(Fault::FunctionRecordReadonly, CALLS, "call_indirect");
    assert_eq!(blame.differ, [INTERPRETER]);
}

#[test]
fn a_fault_of_the_middle_end() {
    let blame = assert_blamed(Fault::OptimiserComparesStrictly, COMPARES, "i32.le_s");
    assert!(blame.clif.iter().any(|name| name == "icmp"), "{blame:?}");
    assert!(
        blame
            .gone_with
            .contains(&"opt-level = \"none\"".to_string())
    );
}

#[test]
fn a_fault_of_the_x86_64_backend() {
    let blame = assert_blamed(Fault::X86ConditionCode, IS_LESS, "i32.lt_s");
    assert_eq!(blame.differ, ["x86_64"]);
    assert!(blame.rules()[0].starts_with("isa/x64/lower.isle, for icmp"));
}

#[cfg(feature = "emulator")]
#[test]
fn a_fault_of_the_aarch64_backend() {
    let blame = assert_blamed(Fault::Aarch64OperandsSwapped, SUBTRACTS, "i32.sub");
    assert_eq!(blame.differ, ["aarch64"]);
    assert!(blame.clif.iter().any(|name| name == "isub"), "{blame:?}");
}

#[cfg(feature = "emulator")]
#[test]
fn a_fault_of_the_riscv64_backend() {
    let fault = Fault::Riscv64OperandsSwapped;
    let options = Options {
        subjects: vec!["x86_64", "riscv64", "clif"],
        fault: Some(fault),
    };
    let case = program();
    let explanation = explain(&case, &options).expect("engines that can be used");
    let code = Code::of(&case, &explanation, &options).expect("a function");
    let blame = explanation.blame.expect("it shows");
    assert_eq!((blame.layer, &blame.or), (Layer::Riscv64Backend, &vec![]));
    assert_eq!(blame.differ, ["riscv64"]);
    assert!(blame.rules()[0].starts_with("isa/riscv64/lower.isle, for isub"));
    let function = blame.function.expect("a function").function;
    assert_eq!(function, SUBTRACTS, "{blame}");
    let lines = code.rows.iter().flat_map(|row| &row.machine[0]);
    assert!(
        lines.into_iter().any(|line| line.text.starts_with("subw")),
        "{code:?}"
    );
}

#[test]
fn a_fault_of_a_builtin() {
    let blame = assert_blamed(Fault::MemoryCopyForwards, COPIES, "memory.copy");
    assert_eq!(blame.builtin.as_deref(), Some("memory_copy"));
}

/// Every engine calls on where it should not, or does not where it should; which the reference has no part in.
#[test]
fn a_fault_of_the_check_of_the_stack() {
    let text = r#"
        (module
          (func (export "well") (result i32) (i32.const 1))
          (func $again (export "again") (param i32) (result i32)
            (i32.add (local.get 0) (call $again (i32.add (local.get 0) (i32.const 1))))))
        (invoke "well")
        (invoke "again" (i32.const 0))"#;
    let case = case_from_file(text.as_bytes(), "again.wast").expect("a script");
    for fault in [Fault::NoStackCheck, Fault::TightStackCheck] {
        let blame = explained(&case, Some(fault)).blame.expect("it shows");
        assert_eq!(
            (blame.layer, &blame.or),
            (fault.layer(), &vec![]),
            "{blame}"
        );
        assert_eq!(blame.differ, default_subjects());
        let again = FunctionOf {
            module: 0,
            function: 1,
        };
        assert_eq!(blame.function, Some(again), "{blame}");
    }
    assert_eq!(explained(&case, None).blame, None);
}

#[test]
fn the_blamed_function_is_shown_in_rows() {
    let fault = Some(Fault::X86ConditionCode);
    let case = program();
    let explanation = explained(&case, fault);
    let code = Code::of(&case, &explanation, &options(fault)).expect("a function");
    assert_eq!(code.columns[0], "x86_64");
    let blamed: Vec<_> = code.rows.iter().filter(|row| row.blamed).collect();
    let [row] = blamed[..] else {
        panic!("one instruction: {blamed:?}");
    };
    assert!(row.wasm[0].contains("i32.lt_s"));
    assert!(row.clif.iter().any(|line| line.contains("icmp slt")));
    let machine = &row.machine[0];
    assert!(
        machine.iter().any(|line| line.text.starts_with("setle")),
        "{machine:?}"
    );
}

fn known(name: &str, subjects: &[&'static str]) -> Blame {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("corpus/known/{name}.wast"));
    let contents = std::fs::read(&path).expect("the fault has a case");
    let case = case_from_file(&contents, "known.wast").expect("a script");
    let options = Options {
        subjects: subjects.to_vec(),
        fault: None,
    };
    let explanation = explain(&case, &options).expect("engines that can be used");
    let blame = explanation.blame.expect("it shows");
    assert_eq!(blame.known.as_deref(), Some(name));
    blame
}

#[test]
fn known_faults_are_explained_as_what_they_are() {
    let select = known("wasmi-select-eqz", &default_subjects());
    assert_eq!((select.layer, &select.fixed_in), (Layer::Reference, &None));
    let region = select.region.expect("a region");
    assert!(region.instructions.contains(&"select".to_string()));

    let old = ["x86_64-0.112", "aarch64-0.112"];
    let fixed = Some(format!("cranelift {}", Generation::CURRENT.version()));
    let usable = old.into_iter().filter(|name| registry::find(name).is_ok());
    let subjects: Vec<&'static str> = usable.collect();
    // The engine of the current generation is asked without having been named.
    let shuffle = known("cranelift-palignr-unaligned", &subjects);
    assert_eq!(shuffle.layer, Layer::X86_64Backend);
    assert_eq!(shuffle.fixed_in, fixed);
    assert!(shuffle.agree.contains(&"x86_64".to_string()), "{shuffle:?}");
    let region = shuffle.region.expect("a region");
    assert!(region.instructions.contains(&"i8x16.shuffle".to_string()));

    if subjects.contains(&"aarch64-0.112") {
        let splat = known("cranelift-splat-of-half-float", &subjects);
        assert_eq!(splat.layer, Layer::Aarch64Backend);
        assert_eq!(splat.fixed_in, fixed);
        assert!(splat.function.is_some());
    }
}

/// As a fault of the reference that nobody knows yet: without the list of known ones, the script's
/// assertions, or the same program with its values copied, tell that it is the reference.
#[test]
fn the_reference_is_found_out_by_what_it_says_itself() {
    let text = r#"(module
        (func (export "f") (param i32) (result i32)
            (select (i32.const 1) (local.get 0) (i32.eqz (local.get 0)))))
        (invoke "f" (i32.const 7))"#;
    let case = case_from_file(text.as_bytes(), "select.wast").expect("a script");
    let blame = explained(&case, None).blame.expect("it shows");
    assert_eq!(blame.layer, Layer::Reference);
    let unknown = parallax::triage::localise::explain_unknown(&case, &options(None))
        .expect("engines that can be used")
        .blame
        .expect("it shows");
    assert_eq!((unknown.layer, &unknown.known), (Layer::Reference, &None));
    assert_eq!(unknown.or, []);
}

/// Whose word a script takes is right, whichever that is.
#[test]
fn what_a_script_asserts_is_a_witness() {
    let select = r#"(module
        (func (export "f") (param i32) (result i32)
            (select (i32.const 1) (local.get 0) (i32.eqz (local.get 0)))))
        (assert_return (invoke "f" (i32.const 7)) (i32.const 7))"#;
    let fill = r#"(module
        (memory 1)
        (func (export "f") (result i32)
            (memory.fill (i32.const 0) (i32.const 42) (i32.const 8))
            (i32.load8_u (i32.const 7))))
        (assert_return (invoke "f") (i32.const 42))"#;
    let witnessed = |text: &str, fault| {
        let case = case_from_file(text.as_bytes(), "asserts.wast").expect("a script");
        let options = Options {
            subjects: vec!["x86_64"],
            fault,
        };
        let explained = parallax::triage::localise::explain_unknown(&case, &options);
        let blame = explained.expect("engines that can be used").blame;
        blame.expect("it shows")
    };
    let says = |blame: &Blame, words: &str| blame.because.iter().any(|it| it == words);
    let blame = witnessed(select, None);
    let ours = "what the script asserts is what ours show";
    assert!(says(&blame, ours), "{blame:?}");
    assert_eq!((blame.layer, &blame.or), (Layer::Reference, &vec![]));
    let blame = witnessed(fill, Some(Fault::MemoryFillShort));
    let reference = "what the script asserts is what the reference shows";
    assert!(says(&blame, reference), "{blame:?}");
    assert!(!blame.or.contains(&Layer::Reference), "{blame:?}");
    assert_ne!(blame.layer, Layer::Reference);
}

#[test]
fn the_same_fault_in_two_cases_has_the_same_key() {
    let other = PROGRAM.replace(
        "(i32.const 4) (i32.const 4)",
        "(i32.const -3) (i32.const -3)",
    );
    let case = case_from_file(other.as_bytes(), "other.wast").expect("a script");
    let fault = Fault::X86ConditionCode;
    let keys: [BlameKey; 2] = [
        blame_of(fault).key(),
        explained(&case, Some(fault)).blame.expect("it shows").key(),
    ];
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[0], blame_of(Fault::MemoryCopyForwards).key());
}

/// The first case of a seed that shows a fault, for every fault: how many are blamed on their layer.
/// Takes minutes; prints a table with `--ignored --nocapture`.
#[test]
#[ignore = "takes minutes"]
fn most_planted_faults_are_blamed_on_their_layer() {
    let work = || {
        let mut right = 0;
        for fault in Fault::ALL {
            let mut harness = Harness::with_fault(&[fault.engine()], Some(*fault)).expect("usable");
            let case = (0..10_000).find_map(|number| {
                let (_, case, _) = campaign::case(1, number, Generators::all());
                let case = case?;
                let verdict = harness.examine(&case).verdict;
                matches!(verdict, Verdict::Diverged(_)).then_some(case)
            });
            let Some(case) = case else {
                println!("{fault}: not found");
                continue;
            };
            let Some(blame) = explained(&case, Some(*fault)).blame else {
                println!("{fault}: nothing to explain");
                continue;
            };
            let is_right = blame.layer == fault.layer();
            right += u32::from(is_right);
            let word = if is_right { "right" } else { "WRONG" };
            println!("{word} {fault} ({}): {blame}", fault.layer());
        }
        right
    };
    // As deep as where cases run otherwise.
    let right = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(campaign::STACK_BYTES);
        let thread = thread.spawn_scoped(scope, work).expect("a thread");
        thread.join().expect("no panic")
    });
    println!("{right} of {}", Fault::ALL.len());
    assert!(right as usize * 10 >= Fault::ALL.len() * 8, "{right}");
}
