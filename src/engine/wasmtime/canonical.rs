//! Modules that make their NaNs canonical by themselves, see [`crate::case::nans`]: for Winch, which
//! leaves them as they come.

use std::convert::Infallible;

use wasm_encoder::reencode::{Error, Reencode};
use wasm_encoder::{Function, ValType};

use crate::case::Module;
use crate::case::custom::copy_custom_sections;
use crate::case::nans::computes;

/// The binary of a module, `wasm`, with all NaNs made canonical. Whatever else there is keeps its
/// index.
///
/// # Errors
/// What the parser says; not for a module that is valid.
pub fn canonicalised(module: &Module, wasm: &[u8]) -> Result<Vec<u8>, String> {
    let mut pass = Pass {
        module,
        next: module.imported_functions(),
    };
    let mut encoded = wasm_encoder::Module::new();
    pass.parse_core_module(&mut encoded, wasmparser::Parser::new(0), wasm)
        .map_err(|error| error.to_string())?;
    Ok(encoded.finish())
}

struct Pass<'m> {
    module: &'m Module,
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
            if let Some(float) = computes(&operators.read()?) {
                found.push(((operators.original_position() - start) as usize, float));
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
        for (end, float) in found {
            body.raw(source[copied..end].iter().copied());
            copied = end;
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
        let wasm = canonicalised(&module, &wasm).unwrap();
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
}
