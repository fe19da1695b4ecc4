//! The engine `clif` shows the same whichever instructions are left to `cranelift-interpreter`.

use crate::campaign;
use crate::codegen::{Backend, Generation, Isa};
use crate::engine::compiled::Compiled;
use crate::engine::{Engine, observe};
use crate::generate::Generators;
use crate::runtime::machine::Machine;

/// How many cases of seed 3 are run.
const CASES: u64 = 60;

/// An engine that leaves so many operations of every case to the crate, as far as that is trusted.
fn engine(operations: u32) -> Compiled {
    let backend = Backend {
        isa: Isa::Clif,
        generation: Generation::CURRENT,
    };
    let mut engine = Compiled::new("clif", backend);
    match &mut engine.reusable().expect("an interpreter").machine {
        Machine::Interpreted(interpreter) => interpreter.step_first(operations),
        _ => panic!("not the interpreter"),
    }
    engine
}

#[test]
fn stepping_changes_nothing() {
    std::thread::Builder::new()
        .stack_size(campaign::STACK_BYTES)
        .spawn(compare)
        .expect("a thread")
        .join()
        .expect("engines that show the same");
}

fn compare() {
    let mut engines = [engine(0), engine(100), engine(100_000)];
    let mut compared = 0;
    for number in 0..CASES {
        let (_, Some(case), _) = campaign::case(3, number, Generators::all()) else {
            continue;
        };
        let seen = engines
            .each_mut()
            .map(|engine| observe(engine as &mut dyn Engine, &case));
        let [first, others @ ..] = &seen;
        for other in others {
            assert_eq!(first, other, "case {number}");
        }
        compared += 1;
    }
    assert!(compared > CASES / 2);
}
