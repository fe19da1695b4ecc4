//! Modules as inputs, as a fuzzer or the mutator makes them: whatever they ask for, the run ends, and
//! what cannot be compared is told.

use crate::run::{Folder, parallax};

/// A module, and what is said of it.
const MODULES: [(&str, Option<i32>, &str); 10] = [
    // It does not end.
    (
        "(module (memory 1) (func (export \"f\") (loop (br 0))))",
        Some(3),
        "out-of-fuel in step 1",
    ),
    (
        "(module (func $s (loop (br 0))) (start $s))",
        Some(3),
        "out-of-fuel in step 0",
    ),
    // Every call is an event, and every failure to grow costs the reference native stack.
    (
        "(module (import \"host\" \"h\" (func)) (func (export \"f\") (loop (call 0) (br 0))))",
        Some(3),
        "out-of-fuel",
    ),
    (
        "(module (memory 1 2) (func (export \"f\") (loop (drop (memory.grow (i32.const 5))) (br 0))))",
        Some(3),
        "out-of-fuel",
    ),
    (
        "(module (func $f (export \"f\") (result i32) (i32.add (call $f) (i32.const 1))))",
        Some(3),
        "stack-exhausted",
    ),
    // It wants more than there is.
    (
        "(module (memory 65536) (func (export \"f\") (result i32) (i32.load (i32.const -4))))",
        Some(3),
        "allocation-refused",
    ),
    (
        "(module (import \"m\" \"m\" (memory 65536)) (func (export \"f\")))",
        Some(3),
        "unsupported",
    ),
    (
        "(module (table 4294967295 funcref) (func (export \"f\")))",
        Some(3),
        "allocation-refused",
    ),
    // It imports odd things, some under names that mean something else.
    (
        "(module (import \"\" \"\" (func (param externref v128) (result v128 funcref)))
            (import \"a\" \"\\00\" (global (mut externref)))
            (import \"parallax\" \"make\" (func (param i32)))
            (import \"parallax\" \"gc\" (memory 1))
            (import \"\\f0\\9f\\98\\80\" \"t\" (table 3 5 externref))
            (func (export \"f\") (param externref v128) (result v128 funcref)
                (call 0 (local.get 0) (local.get 1))))",
        Some(0),
        "agreed",
    ),
    ("(module)", Some(0), "agreed"),
];

#[test]
fn modules_that_are_inputs_end_whatever_they_are() {
    let folder = Folder::new();
    for (number, (text, status, words)) in MODULES.into_iter().enumerate() {
        let module = wat::parse_str(text).expect("a module");
        let file = folder.write(&format!("crash-{number}"), module);
        let ran = parallax(["repro", &file]);
        assert_eq!(ran.status, status, "{text}: {ran:?}");
        let last = ran.stdout.lines().last().unwrap_or_default();
        assert!(last.contains(words), "{text}: {last}");
    }
}
