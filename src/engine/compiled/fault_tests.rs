//! That a fault is known by the very instruction that it was in, whoever runs the code: accesses to
//! memory in both styles, and instructions that are there to trap.

use wasmparser::Operator;

use super::*;
use crate::case::settings::{MemoryStyle, OptLevel};
use crate::case::wast::script_from_file;
use crate::codegen::Generation;
use crate::engine::observe;
use crate::runtime::stops::stops;
use parallax_oracles::{Outcome, TrapKind};

/// Every ISA in every way in which it can be run here.
fn engines() -> impl Iterator<Item = Compiled> {
    let ways = [Isa::X86_64, Isa::Aarch64, Isa::Riscv64]
        .into_iter()
        .flat_map(|isa| [Execution::Direct, Execution::Emulated].map(|way| (isa, way)));
    let generation = Generation::CURRENT;
    ways.filter(|(isa, way)| Machine::new(*isa, *way).is_ok())
        .map(move |(isa, way)| Compiled::new("test", Backend { isa, generation }).run_by(way))
}

/// The offsets of a module's instructions that `wanted` picks, in order.
fn offsets(wasm: &[u8], wanted: fn(&Operator<'_>) -> bool) -> Vec<u32> {
    let mut offsets = Vec::new();
    for payload in wasmparser::Parser::new(0).parse_all(wasm) {
        let Ok(wasmparser::Payload::CodeSectionEntry(body)) = payload else {
            continue;
        };
        let operators = body.get_operators_reader().expect("valid");
        for operator in operators.into_iter_with_offsets() {
            let (operator, offset) = operator.expect("valid");
            if wanted(&operator) {
                offsets.push(offset as u32);
            }
        }
    }
    offsets
}

/// Runs a script of one module with one function, of which each call traps in another of the
/// instructions that are picked, in order.
fn check(text: &str, kind: TrapKind, wanted: fn(&Operator<'_>) -> bool) {
    for mut engine in engines() {
        let mut styles = 0;
        for memory_style in [
            MemoryStyle::Static,
            MemoryStyle::StaticSmall,
            MemoryStyle::Dynamic,
        ] {
            for (spectre, opt_level) in [(false, OptLevel::None), (true, OptLevel::Speed)] {
                let mut case = script_from_file(text.as_bytes(), "test.wast").unwrap().case;
                case.settings = Settings {
                    memory_style,
                    spectre,
                    opt_level,
                    ..case.settings
                };
                let expected = offsets(&case.modules[0].wasm, wanted);
                let listing = match engine.listing(&case, 0, 0) {
                    Ok(listing) => listing,
                    // It has no vectors.
                    Err(Refusal::Unsupported(_)) if engine.backend.isa == Isa::Riscv64 => {
                        styles += 1;
                        continue;
                    }
                    Err(refusal) => panic!("{refusal}"),
                };
                let (seen, stops) = stops(|| observe(&mut engine, &case).expect("it runs"));
                let calls = &seen.steps[1..];
                assert_eq!(calls.len(), expected.len());
                assert_eq!(stops.len(), expected.len());
                for ((step, (function, offset)), wasm) in calls.iter().zip(stops).zip(expected) {
                    let where_it_was = format!(
                        "{:?} {:?} {memory_style:?} {spectre} {opt_level:?}: {wasm:#x}",
                        engine.backend.isa, engine.execution
                    );
                    assert_eq!(step.outcome, Outcome::Trapped(kind), "{where_it_was}");
                    assert_eq!(function, 0, "{where_it_was}");
                    assert_eq!(
                        listing.compiled.trap_at(offset),
                        Some(kind),
                        "{where_it_was}"
                    );
                    let mut sources = listing.compiled.sources.iter();
                    let source = sources.find(|it| (it.start..it.end).contains(&offset));
                    assert_eq!(source.map(|it| it.wasm), Some(wasm), "{where_it_was}");
                }
                styles += 1;
            }
        }
        assert_eq!(styles, 6);
    }
}

#[test]
fn an_access_out_of_bounds_is_told_by_its_instruction() {
    accesses_out_of_bounds("(v128.store offset=16 (local.get 3) (v128.const i64x2 4 5))");
}

#[test]
fn a_scalar_access_out_of_bounds_is_told_by_its_instruction() {
    accesses_out_of_bounds("(f32.store offset=16 (local.get 3) (f32.const 4))");
}

fn accesses_out_of_bounds(fourth: &str) {
    // The parameters are the addresses of the accesses, in order. What is loaded is returned, since
    // an instruction that computes with it might be fused with the load, and the two told as one.
    let module = format!(
        r#"
(module
  (memory 1)
  (func (export "run") (param i32 i32 i32 i32 i32 i32) (result i32 i32)
    (i32.store (local.get 0) (i32.const 1))
    (i64.store8 offset=3 (local.get 1) (i64.const 2))
    (f64.store (local.get 2) (f64.const 3))
    {fourth}
    (i32.load16_s offset=65000 (local.get 4))
    (i32.load (local.get 5))))
"#
    );
    let mut text = module;
    for out in 0..6 {
        let arguments: Vec<String> = (0..6)
            .map(|at| {
                if at == out {
                    70_000 + 0x1000_0000 * at
                } else {
                    8 * at
                }
            })
            .map(|address| format!("(i32.const {address})"))
            .collect();
        let arguments = arguments.join(" ");
        text.push_str(&format!("(invoke \"run\" {arguments})\n"));
    }
    check(&text, TrapKind::MemoryOutOfBounds, |operator| {
        matches!(
            operator,
            Operator::I32Store { .. }
                | Operator::I64Store8 { .. }
                | Operator::F64Store { .. }
                | Operator::F32Store { .. }
                | Operator::V128Store { .. }
                | Operator::I32Load16S { .. }
                | Operator::I32Load { .. }
        )
    });
}

#[test]
fn an_instruction_that_traps_is_told_by_itself() {
    let text = r#"
(module
  (func (export "run") (param i32) (result i32)
    (block (block (block
      (br_table 0 1 2 (local.get 0)))
      unreachable)
      (i32.store (i32.const 0) (i32.const 1))
      unreachable)
    unreachable)
  (memory 1))
(invoke "run" (i32.const 0))
(invoke "run" (i32.const 1))
(invoke "run" (i32.const 2))
"#;
    check(text, TrapKind::Unreachable, |operator| {
        matches!(operator, Operator::Unreachable)
    });
}
