use super::*;
use parallax_oracles::Place;

fn layer(differ: &[&str], agree: &[&str]) -> (Layer, bool) {
    let blame = Blame::of_engines(differ, agree);
    (blame.layer, blame.or.is_empty())
}

#[test]
fn engines_tell_most_of_the_layer() {
    let (x86, arm, clif) = ("x86_64", "aarch64", INTERPRETER);
    assert_eq!(layer(&[x86], &[arm]), (Layer::X86_64Backend, true));
    assert_eq!(layer(&[arm], &[x86, clif]), (Layer::Aarch64Backend, true));
    assert_eq!(layer(&[x86, arm], &[clif]), (Layer::MiddleEnd, true));
    assert_eq!(layer(&[clif], &[x86, arm]), (Layer::Interpreter, true));
    assert_eq!(layer(&[x86, arm, clif], &[]), (Layer::Translation, false));
    assert_eq!(layer(&[x86, arm], &[]), (Layer::Translation, false));
    assert_eq!(layer(&[x86], &[clif]), (Layer::X86_64Backend, false));
    assert_eq!(layer(&[x86], &[]), (Layer::Translation, false));
    assert_eq!(layer(&[], &[x86]), (Layer::Unknown, true));
}

#[test]
fn what_an_old_generation_alone_gets_wrong_is_fixed() {
    let fixed = |differ: &[&str], agree: &[&str]| {
        let blame = Blame::of_engines(differ, agree);
        (blame.layer, blame.fixed_in.is_some())
    };
    let (old, new) = ("x86_64-0.112", "x86_64");
    assert_eq!(
        fixed(&[old], &[new, "aarch64"]),
        (Layer::X86_64Backend, true)
    );
    // Nothing is known of it where the current one was not asked, or is wrong as well.
    assert_eq!(fixed(&[old], &["clif"]), (Layer::X86_64Backend, false));
    assert_eq!(
        fixed(&[old, new], &["aarch64"]),
        (Layer::X86_64Backend, false)
    );
    assert_eq!(
        fixed(&[new], &[old, "aarch64"]),
        (Layer::X86_64Backend, false)
    );
    if registry::find("aarch64").is_ok() {
        assert_eq!(
            fixed(&[old, "aarch64-0.112"], &[new, "aarch64", "clif"]),
            (Layer::MiddleEnd, true)
        );
    }
}

#[test]
fn wasmtime_is_blamed_for_what_it_alone_does() {
    let ours = ["x86_64", "aarch64", INTERPRETER];
    for (engine, blamed) in [
        ("wasmtime", Layer::Wasmtime),
        ("winch", Layer::Winch),
        ("pulley", Layer::Pulley),
    ] {
        assert_eq!(layer(&[engine], &ours), (blamed, true));
        assert_eq!(layer(&[engine], &[]), (blamed, false));
        // That it agrees tells the reference from ours, and nothing of ours from each other.
        let blame = Blame::of_engines(&["x86_64"], &[engine]);
        assert_eq!(blame.layer, Layer::Translation);
        assert!(!blame.or.contains(&Layer::Reference));
    }
    assert_eq!(layer(&["wasmtime"], &["pulley"]), (Layer::Wasmtime, true));
    assert_eq!(layer(&["winch", "pulley"], &ours), (Layer::Wasmtime, true));
    assert_eq!(
        layer(&["winch", "pulley"], &["wasmtime"]).0,
        Layer::Wasmtime
    );
    let all = Blame::of_engines(&[&ours[..], &["wasmtime"]].concat(), &[]);
    assert!(all.or.contains(&Layer::Reference));
}

#[test]
fn a_wrong_check_of_the_stack_is_the_translations_or_a_backends() {
    let finding = |outcome: Outcome| Finding {
        oracle: OracleName::Traps,
        step: 1,
        at_call: None,
        place: Place::Outcome,
        reference: Seen::Outcome(Outcome::Returned(Vec::new())),
        subject: Seen::Outcome(outcome),
        engine: "x86_64".to_string(),
        against: None,
    };
    let tight = Outcome::Unfounded("function 3 for lack of stack".to_string());
    let missing = Outcome::Escaped(format!("function 3 went 64 {BEYOND}"));
    for outcome in [tight, missing] {
        let findings = [finding(outcome)];
        let blame = |differ: &[&'static str], agree: &[&'static str]| {
            let blame = Blame::of_findings(&findings, differ.to_vec(), agree.to_vec());
            (blame.layer, blame.or)
        };
        assert_eq!(
            blame(&["x86_64", "aarch64", INTERPRETER], &[]),
            (Layer::Translation, vec![])
        );
        assert_eq!(
            blame(&["x86_64"], &["aarch64"]),
            (Layer::X86_64Backend, vec![])
        );
        assert_eq!(
            blame(&["x86_64"], &[]),
            (
                Layer::Translation,
                vec![Layer::MiddleEnd, Layer::X86_64Backend]
            )
        );
    }
    // An escape of another kind may be anybody's.
    let other = [finding(Outcome::Escaped("somewhere".to_string()))];
    let blame = Blame::of_findings(&other, vec!["x86_64", INTERPRETER], vec![]);
    assert!(blame.or.contains(&Layer::Runtime));
}

#[test]
fn one_line_says_it() {
    let mut blame = Blame::of_engines(&["aarch64"], &["x86_64", INTERPRETER]);
    blame.function = Some(FunctionOf {
        module: 0,
        function: 3,
    });
    blame.region = Some(Region {
        start: 0x45,
        last: 0x45,
        instructions: vec!["i32.shr_s".to_string()],
    });
    blame.levels = Some(vec![OptLevel::Speed, OptLevel::SpeedAndSize]);
    assert_eq!(
        blame.to_string(),
        "aarch64 backend, in function 3 of module 0, i32.shr_s at 0x45, at opt-level speed \
         and speed_and_size (aarch64 differs, x86_64, clif agree)"
    );
    let text = serde_json::to_string(&blame).expect("plain data");
    assert_eq!(
        serde_json::from_str::<Blame>(&text).expect("the same"),
        blame
    );
}

#[test]
fn the_same_blame_may_know_less() {
    let guess = Blame::of_engines(&["x86_64", "aarch64"], &[]);
    let mut settled = guess.clone();
    settled.layer = Layer::Runtime;
    settled.or.clear();
    settled.builtin = Some("memory_fill".to_string());
    assert!(guess.is_same(&settled) && settled.is_same(&guess));
    let other = Blame::of_engines(&["x86_64"], &["aarch64"]);
    assert!(!guess.is_same(&other));
    assert_ne!(guess.key(), settled.key());
}
