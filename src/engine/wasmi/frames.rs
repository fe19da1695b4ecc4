//! Frames that do not begin where their caller's does.
//!
//! wasmi 2.0 tells by that whether there is a frame to go back to, when a function without parameters
//! and results is left by a tail call of a function of the host (`return_prepare_host_frame`). A
//! caller that has nothing on its stack begins where the called function does, and is taken for none:
//! it goes on with a stack pointer that points nowhere. In modules with tail calls, and in those next
//! to them, every function therefore gets one more local, which nothing uses but which lies between
//! the two.

use std::borrow::Cow;
use std::convert::Infallible;

use wasm_encoder::reencode::{self, Reencode};
use wasm_encoder::{CodeSection, Function, ValType};

use crate::case::Module;
use crate::case::custom::copy_custom_sections;

/// Whether a module has a tail call.
pub fn has_tail_calls(module: &Module) -> bool {
    module.opcodes.has(&[0x12]) || module.opcodes.has(&[0x13])
}

/// The binary with one more local in every function.
///
/// # Errors
/// What the encoder says; not for a module that is valid.
pub fn apart(wasm: &[u8]) -> Result<Cow<'static, [u8]>, String> {
    let mut encoded = wasm_encoder::Module::new();
    OneMoreLocal
        .parse_core_module(&mut encoded, wasmparser::Parser::new(0), wasm)
        .map_err(|error| error.to_string())?;
    Ok(Cow::Owned(encoded.finish()))
}

struct OneMoreLocal;

impl Reencode for OneMoreLocal {
    type Error = Infallible;

    copy_custom_sections!();

    fn parse_function_body(
        &mut self,
        code: &mut CodeSection,
        body: wasmparser::FunctionBody<'_>,
    ) -> Result<(), reencode::Error<Infallible>> {
        let mut locals = Vec::new();
        for group in body.get_locals_reader()? {
            let (count, ty) = group?;
            locals.push((count, self.val_type(ty)?));
        }
        locals.push((1, ValType::I64));
        let mut function = Function::new(locals);
        let operators = body.get_operators_reader()?;
        let start = (operators.original_position() - body.range().start) as usize;
        function.raw(body.as_bytes()[start..].iter().copied());
        code.function(&function);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_is_added_and_the_code_stays() {
        let text = "(module (import \"m\" \"f\" (func)) (func (param i32) (local f32 f32)
            (drop (f32.add (local.get 1) (local.get 2))) (return_call 0)) (func))";
        let wasm = wat::parse_str(text).expect("valid");
        let apart = apart(&wasm).expect("valid");
        let printed = wasmprinter::print_bytes(&*apart).expect("valid");
        assert!(printed.contains("(local f32 f32 i64)"), "{printed}");
        assert!(
            printed.contains("f32.add\n    drop\n    return_call 0"),
            "{printed}"
        );
        let module = Module::from_wasm(&apart, None).expect("valid");
        assert!(has_tail_calls(&module));
    }
}
