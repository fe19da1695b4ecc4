//! Mutations of modules as they are (`\0asm`): by wasm-mutate, of constants, and of whole bodies.
//! Valid modules stay valid.

use std::convert::Infallible;

use wasm_encoder::Instruction;
use wasm_encoder::reencode::{Error, Reencode, utils};
use wasm_mutate::WasmMutate;
use wasmparser::{FunctionBody, Operator, Parser, Payload};

use crate::case::Module;
use crate::generate::dictionary;
use crate::generate::rng::Rng;
use crate::panics;

/// How often another mutation is tried where one comes to nothing.
const TRIES: u32 = 6;

/// What wasm-mutate may spend on one mutation. Most of what it rewrites takes a few units.
const FUEL: u64 = 300;

/// A valid module of at most `most` bytes that differs from `wasm` in one thing; `None` if none is
/// found, as where `wasm` is not valid.
pub(super) fn mutate(wasm: &[u8], most: usize, rng: &mut Rng) -> Option<Vec<u8>> {
    (0..TRIES).find_map(|_| {
        let mutated = if rng.percent(55) {
            rewrite(wasm, rng.next_u64())
        } else {
            change_constant(wasm, rng)
        };
        mutated.filter(|new| new.len() <= most && new != wasm && is_valid(new))
    })
}

/// `into` with the body of one of its functions taken from `from`, from a function of the same type.
pub(super) fn cross(into: &[u8], from: &[u8], most: usize, rng: &mut Rng) -> Option<Vec<u8>> {
    let receiver = Module::from_wasm(into, None).ok()?;
    let giver = Module::from_wasm(from, None).ok()?;
    let bodies = bodies(from);
    let mut pairs = Vec::new();
    for function in receiver.imported_functions()..receiver.functions.len() as u32 {
        for (body, other) in bodies.iter().zip(giver.imported_functions()..) {
            if receiver.function_type(function) == giver.function_type(other) {
                pairs.push((function - receiver.imported_functions(), body));
            }
        }
    }
    if pairs.is_empty() {
        return None;
    }
    (0..TRIES).find_map(|_| {
        let &(target, body) = rng.pick(&pairs);
        let mut pass = Transplant {
            target,
            next: 0,
            body,
        };
        let crossed = reencoded(&mut pass, into)?;
        (crossed.len() <= most && crossed != into && is_valid(&crossed)).then_some(crossed)
    })
}

fn is_valid(wasm: &[u8]) -> bool {
    Module::from_wasm(wasm, None).is_ok()
}

/// One rewriting by wasm-mutate, which takes out, adds, moves and replaces all sorts of things.
fn rewrite(wasm: &[u8], seed: u64) -> Option<Vec<u8>> {
    // What it does not expect of a module makes it panic, which is no business of ours.
    let mutated = panics::catch(|| {
        let mut mutate = WasmMutate::default();
        mutate.seed(seed).fuel(FUEL);
        let mut mutated = mutate.run(wasm).ok()?;
        mutated.next()?.ok()
    });
    mutated.ok().flatten()
}

/// Replaces one constant, or one static offset, by one from the dictionary or by a neighbour.
pub(super) fn change_constant(wasm: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let mut count = Constants {
        change: None,
        seen: 0,
    };
    reencoded(&mut count, wasm)?;
    if count.seen == 0 {
        return None;
    }
    let mut change = Constants {
        change: Some((rng.below(count.seen), rng.clone())),
        seen: 0,
    };
    reencoded(&mut change, wasm)
}

fn reencoded(pass: &mut impl Reencode<Error = Infallible>, wasm: &[u8]) -> Option<Vec<u8>> {
    let mut module = wasm_encoder::Module::new();
    pass.parse_core_module(&mut module, Parser::new(0), wasm)
        .ok()?;
    Some(module.finish())
}

fn bodies(wasm: &[u8]) -> Vec<FunctionBody<'_>> {
    let payloads = Parser::new(0).parse_all(wasm);
    payloads
        .filter_map(|payload| match payload {
            Ok(Payload::CodeSectionEntry(body)) => Some(body),
            _ => None,
        })
        .collect()
}

/// Goes over constants and static offsets in code and constant expressions.
struct Constants {
    /// Which one is to be changed, and what is drawn from for it.
    change: Option<(u32, Rng)>,
    seen: u32,
}

impl Constants {
    /// Counts a constant; what to draw from if it is the one to be changed.
    fn next(&mut self) -> Option<&mut Rng> {
        let at = self.seen;
        self.seen += 1;
        match &mut self.change {
            Some((target, rng)) if *target == at => Some(rng),
            _ => None,
        }
    }
}

impl Reencode for Constants {
    type Error = Infallible;

    fn instruction<'a>(
        &mut self,
        operator: Operator<'a>,
    ) -> Result<Instruction<'a>, Error<Infallible>> {
        let is_constant = matches!(
            operator,
            Operator::I32Const { .. }
                | Operator::I64Const { .. }
                | Operator::F32Const { .. }
                | Operator::F64Const { .. }
                | Operator::V128Const { .. }
        );
        if is_constant && let Some(rng) = self.next() {
            return Ok(changed(&operator, rng));
        }
        utils::instruction(self, operator)
    }

    fn mem_arg(
        &mut self,
        arg: wasmparser::MemArg,
    ) -> Result<wasm_encoder::MemArg, Error<Infallible>> {
        let mut arg = utils::mem_arg(self, arg)?;
        if let Some(rng) = self.next() {
            arg.offset = u64::from(match rng.below(3) {
                0 => 0,
                1 => (arg.offset as u32)
                    .wrapping_add(rng.below(17))
                    .wrapping_sub(8),
                _ => *rng.pick(&dictionary::integers_32()),
            });
        }
        Ok(arg)
    }
}

/// Another constant of the same type.
fn changed(operator: &Operator<'_>, rng: &mut Rng) -> Instruction<'static> {
    let near = rng.percent(30);
    let step = u64::from(rng.below(5)).wrapping_sub(2);
    match *operator {
        Operator::I64Const { value } => Instruction::I64Const(if near {
            value.wrapping_add(step as i64)
        } else {
            *rng.pick(&dictionary::integers_64()) as i64
        }),
        Operator::F32Const { value } => {
            let bits = if near {
                value.bits().wrapping_add(step as u32)
            } else {
                *rng.pick(&dictionary::floats_32()) | rng.below(2) << 31
            };
            Instruction::F32Const(f32::from_bits(bits).into())
        }
        Operator::F64Const { value } => {
            let bits = if near {
                value.bits().wrapping_add(step)
            } else {
                *rng.pick(&dictionary::floats_64()) | u64::from(rng.below(2)) << 63
            };
            Instruction::F64Const(f64::from_bits(bits).into())
        }
        Operator::V128Const { value } => {
            // One lane of eight bytes, or both.
            let lane = u128::from(*rng.pick(&dictionary::integers_64()));
            Instruction::V128Const(match rng.below(3) {
                0 => (lane | lane << 64) as i128,
                1 => value.i128() & (u128::from(u64::MAX) << 64) as i128 | lane as i128,
                _ => value.i128() & i128::from(u64::MAX) | (lane << 64) as i128,
            })
        }
        Operator::I32Const { value } if near => {
            Instruction::I32Const(value.wrapping_add(step as i32))
        }
        _ => Instruction::I32Const(*rng.pick(&dictionary::integers_32()) as i32),
    }
}

/// Replaces one body.
struct Transplant<'a> {
    /// The position of the body to replace.
    target: u32,
    next: u32,
    body: &'a FunctionBody<'a>,
}

impl Reencode for Transplant<'_> {
    type Error = Infallible;

    fn parse_function_body(
        &mut self,
        code: &mut wasm_encoder::CodeSection,
        body: FunctionBody<'_>,
    ) -> Result<(), Error<Infallible>> {
        let replaced = self.next == self.target;
        self.next += 1;
        code.raw(if replaced { self.body } else { &body }.as_bytes());
        Ok(())
    }
}
