//! NaNs made canonical by the module itself, for engines that leave them as they come.
//!
//! WebAssembly leaves sign and payload of a computed NaN open (core specification, "NaN
//! propagation"), so a module whose NaNs can be seen as bits may rightly differ between engines.
//! Here values are checked against themselves, which replaces any NaN by the canonical one. That is
//! done in either of two kinds of [`Places`]:
//!
//! - at every instruction whose result may be such a NaN, before anything else can store the result
//!   somewhere;
//! - or only where the bits of a scalar come to be seen: where it is stored to memory, reinterpreted as
//!   an integer, gives its sign, or becomes the lane of a vector. Whatever else takes a NaN takes any
//!   alike, or gives a NaN again, and whoever compares results, globals and arguments takes them so.
//!   Vectors are seen through at every turn, so that theirs are made canonical as they are computed.

use std::convert::Infallible;

use wasm_encoder::reencode::{Error, Reencode};
use wasm_encoder::{Function, Instruction, ValType};
use wasmparser::Operator;

use super::Module;
use super::custom::copy_custom_sections;

/// What a result is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Float {
    F32,
    F64,
    F32x4,
    F64x2,
}

impl Float {
    /// The type of such a result.
    pub(crate) fn ty(self) -> ValType {
        match self {
            Float::F32 => ValType::F32,
            Float::F64 => ValType::F64,
            Float::F32x4 | Float::F64x2 => ValType::V128,
        }
    }

    /// What replaces the value on top of the stack by the canonical NaN where it is a NaN, by means of
    /// a local of its type.
    pub(crate) fn canonicalisation(self, local: u32) -> [Instruction<'static>; 6] {
        const NAN32: u32 = 0x7fc0_0000;
        const NAN64: u64 = 0x7ff8_0000_0000_0000;
        let lanes32 = i128::from(NAN32) * 0x0000_0001_0000_0001_0000_0001_0000_0001;
        let lanes64 = i128::from(NAN64) * 0x0000_0000_0000_0001_0000_0000_0000_0001;
        use Instruction as I;
        let (canonical, equal, choose) = match self {
            Float::F32 => {
                let nan = I::F32Const(f32::from_bits(NAN32).into());
                (nan, I::F32Eq, I::Select)
            }
            Float::F64 => {
                let nan = I::F64Const(f64::from_bits(NAN64).into());
                (nan, I::F64Eq, I::Select)
            }
            Float::F32x4 => (I::V128Const(lanes32), I::F32x4Eq, I::V128Bitselect),
            Float::F64x2 => (I::V128Const(lanes64), I::F64x2Eq, I::V128Bitselect),
        };
        [
            I::LocalTee(local),
            canonical,
            I::LocalGet(local),
            I::LocalGet(local),
            equal,
            choose,
        ]
    }
}

/// The kind of result of an instruction that computes on floats, where it may be any NaN.
/// Instructions that only move bits (`neg`, `abs`, `copysign`, `pmin`, `pmax`, loads, constants)
/// do not compute.
fn computes(operator: &Operator<'_>) -> Option<Float> {
    use Operator as O;
    match operator {
        O::F32Add
        | O::F32Sub
        | O::F32Mul
        | O::F32Div
        | O::F32Sqrt
        | O::F32Ceil
        | O::F32Floor
        | O::F32Trunc
        | O::F32Nearest
        | O::F32Min
        | O::F32Max
        | O::F32DemoteF64 => Some(Float::F32),
        O::F64Add
        | O::F64Sub
        | O::F64Mul
        | O::F64Div
        | O::F64Sqrt
        | O::F64Ceil
        | O::F64Floor
        | O::F64Trunc
        | O::F64Nearest
        | O::F64Min
        | O::F64Max
        | O::F64PromoteF32 => Some(Float::F64),
        O::F32x4Add
        | O::F32x4Sub
        | O::F32x4Mul
        | O::F32x4Div
        | O::F32x4Sqrt
        | O::F32x4Ceil
        | O::F32x4Floor
        | O::F32x4Trunc
        | O::F32x4Nearest
        | O::F32x4Min
        | O::F32x4Max
        | O::F32x4RelaxedMin
        | O::F32x4RelaxedMax
        | O::F32x4RelaxedMadd
        | O::F32x4RelaxedNmadd
        | O::F32x4DemoteF64x2Zero => Some(Float::F32x4),
        O::F64x2Add
        | O::F64x2Sub
        | O::F64x2Mul
        | O::F64x2Div
        | O::F64x2Sqrt
        | O::F64x2Ceil
        | O::F64x2Floor
        | O::F64x2Trunc
        | O::F64x2Nearest
        | O::F64x2Min
        | O::F64x2Max
        | O::F64x2RelaxedMin
        | O::F64x2RelaxedMax
        | O::F64x2RelaxedMadd
        | O::F64x2RelaxedNmadd
        | O::F64x2PromoteLowF32x4 => Some(Float::F64x2),
        _ => None,
    }
}

/// The kind of the scalar on top of the stack of which an instruction shows sign or payload, should it
/// be a NaN.
fn shows(operator: &Operator<'_>) -> Option<Float> {
    use Operator as O;
    match operator {
        O::F32Store { .. }
        | O::I32ReinterpretF32
        | O::F32Copysign
        | O::F32x4Splat
        | O::F32x4ReplaceLane { .. } => Some(Float::F32),
        O::F64Store { .. }
        | O::I64ReinterpretF64
        | O::F64Copysign
        | O::F64x2Splat
        | O::F64x2ReplaceLane { .. } => Some(Float::F64),
        _ => None,
    }
}

/// Where NaNs are made canonical.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Places {
    /// Behind all instructions that may compute one.
    Computed,
    /// Of scalars, before the instructions that would show which NaN it is.
    Shown,
}

impl Places {
    /// What is made canonical before an instruction: the value on top of the stack.
    pub(crate) fn before(self, operator: &Operator<'_>) -> Option<Float> {
        match self {
            Places::Computed => None,
            Places::Shown => shows(operator),
        }
    }

    /// What is made canonical behind an instruction: its result.
    pub(crate) fn behind(self, operator: &Operator<'_>) -> Option<Float> {
        let scalar = |float: &Float| matches!(float, Float::F32 | Float::F64);
        computes(operator).filter(|float| self == Places::Computed || !scalar(float))
    }
}

/// The binary of a module, `wasm`, with NaNs made canonical in these places. Whatever else there is
/// keeps its index.
///
/// # Errors
/// What the parser says; not for a module that is valid.
pub(crate) fn canonicalised(
    module: &Module,
    wasm: &[u8],
    places: Places,
) -> Result<Vec<u8>, String> {
    let mut pass = Pass {
        module,
        places,
        next: module.imported_functions(),
    };
    let mut encoded = wasm_encoder::Module::new();
    pass.parse_core_module(&mut encoded, wasmparser::Parser::new(0), wasm)
        .map_err(|error| error.to_string())?;
    Ok(encoded.finish())
}

struct Pass<'m> {
    module: &'m Module,
    places: Places,
    /// The index of the function whose body comes next.
    next: u32,
}

impl Reencode for Pass<'_> {
    type Error = Infallible;

    copy_custom_sections!();

    fn parse_function_body(
        &mut self,
        code: &mut wasm_encoder::CodeSection,
        function: wasmparser::FunctionBody<'_>,
    ) -> Result<(), Error<Infallible>> {
        let params = self.module.function_type(self.next).params.len() as u32;
        self.next += 1;
        let source = function.as_bytes();
        let start = function.range().start;
        let mut found = Vec::new();
        let mut operators = function.get_operators_reader()?;
        let first = (operators.original_position() - start) as usize;
        while !operators.eof() {
            let from = (operators.original_position() - start) as usize;
            let operator = operators.read()?;
            let to = (operators.original_position() - start) as usize;
            if let Some(float) = self.places.before(&operator) {
                found.push((from, float));
            }
            if let Some(float) = self.places.behind(&operator) {
                found.push((to, float));
            }
        }
        if found.is_empty() {
            code.raw(source);
            return Ok(());
        }

        let mut locals = Vec::new();
        let mut count = params;
        for local in function.get_locals_reader()? {
            let (times, ty) = local?;
            locals.push((times, self.val_type(ty)?));
            count += times;
        }
        // A local of every type that is needed, behind all others.
        let mut scratch: Vec<(ValType, u32)> = Vec::new();
        for (_, float) in &found {
            if scratch.iter().all(|(ty, _)| *ty != float.ty()) {
                scratch.push((float.ty(), count));
                locals.push((1, float.ty()));
                count += 1;
            }
        }
        let mut body = Function::new(locals);
        let mut copied = first;
        for (place, float) in found {
            body.raw(source[copied..place].iter().copied());
            copied = place;
            if let Some((_, local)) = scratch.iter().find(|(ty, _)| *ty == float.ty()) {
                for instruction in float.canonicalisation(*local) {
                    body.instruction(&instruction);
                }
            }
        }
        body.raw(source[copied..].iter().copied());
        code.function(&body);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_bits_is_left_alone() {
        assert_eq!(computes(&Operator::F32Neg), None);
        assert_eq!(computes(&Operator::F64x2PMin), None);
        assert_eq!(computes(&Operator::F64PromoteF32), Some(Float::F64));
        assert_eq!(
            computes(&Operator::F32x4DemoteF64x2Zero),
            Some(Float::F32x4)
        );
    }

    #[test]
    fn results_are_checked_where_they_are_made() {
        let wasm = wat::parse_str(
            r#"(module
                (import "m" "f" (func))
                (func (param i64) (result i32) (local f32 i32)
                    (i32.reinterpret_f32 (f32.neg (f32.div (local.get 1) (f32.const 0)))))
                (func (param v128) (result v128)
                    (f32x4.convert_i32x4_s (f64x2.sqrt (f32x4.mul (local.get 0) (local.get 0)))))
                (func (param f32) (result f32) (f32.abs (local.get 0))))"#,
        )
        .unwrap();
        let module = Module::from_wasm(&wasm, None).unwrap();
        let wasm = canonicalised(&module, &wasm, Places::Computed).unwrap();
        assert!(wasmparser::validate(&wasm).is_ok());
        let text = wasmprinter::print_bytes(&wasm).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let divided = [
            "f32.div",
            "local.tee 3",
            "f32.const nan (;=NaN;)",
            "local.get 3",
            "local.get 3",
            "f32.eq",
            "select",
            "f32.neg",
        ];
        assert!(lines.windows(8).any(|it| it == divided), "{text}");
        let selects = lines.iter().filter(|line| **line == "select").count();
        let vectors = lines.iter().filter(|line| **line == "v128.bitselect");
        assert_eq!((selects, vectors.count()), (1, 2));
        // One local of a type serves all.
        assert!(text.contains("local.tee 1") && !text.contains("local.tee 2"));
    }

    #[test]
    fn scalars_are_checked_where_they_are_shown() {
        let wasm = wat::parse_str(
            r#"(module
                (memory 1)
                (func (param f32 f64) (result v128)
                    (f32.store (i32.const 0) (f32.sqrt (f32.neg (local.get 0))))
                    (f64.store (i32.const 0) (f64.mul (local.get 1) (local.get 1)))
                    (f32x4.mul
                        (f32x4.splat (f32.copysign (local.get 0) (f32.demote_f64 (local.get 1))))
                        (v128.const i32x4 0 0 0 0)))
                (func (param f64) (result i64 f64)
                    (i64.reinterpret_f64 (f64.add (local.get 0) (local.get 0)))
                    (f64.add (local.get 0) (local.get 0))))"#,
        )
        .unwrap();
        let module = Module::from_wasm(&wasm, None).unwrap();
        let wasm = canonicalised(&module, &wasm, Places::Shown).unwrap();
        assert!(wasmparser::validate(&wasm).is_ok());
        let text = wasmprinter::print_bytes(&wasm).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let before: Vec<&str> = lines
            .windows(2)
            .filter(|pair| pair[0] == "select" || pair[0] == "v128.bitselect")
            .map(|pair| pair[1])
            .collect();
        assert_eq!(
            before,
            [
                "f32.store",
                "f64.store",
                "f32.copysign",
                "f32x4.splat",
                ")",
                "i64.reinterpret_f64"
            ],
            "{text}"
        );
    }
}
