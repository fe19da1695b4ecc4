//! Which place in a module's text a mistake in its binary comes from.
//!
//! A module is found invalid as a binary, by offset. People wrote text: where the offset lies in a
//! function's code, the instruction there is looked up in the text that was encoded.

use wasmparser::{Parser, Payload};
use wast::core::{FuncKind, Module, ModuleField, ModuleKind};
use wast::token::Span;

/// Where in its text the module has what `wasm`, its binary, has at `offset`; the module itself
/// if that is in no function's code.
pub(super) fn place(module: &Module<'_>, wasm: &[u8], offset: usize) -> Span {
    in_code(module, wasm, offset as u64).unwrap_or(module.span)
}

fn in_code(module: &Module<'_>, wasm: &[u8], offset: u64) -> Option<Span> {
    let ModuleKind::Text(fields) = &module.kind else {
        return None;
    };
    let (function, body) = Parser::new(0)
        .parse_all(wasm)
        .map_while(Result::ok)
        .filter_map(|payload| match payload {
            Payload::CodeSectionEntry(body) => Some(body),
            _ => None,
        })
        .enumerate()
        .find(|(_, body)| body.range().contains(&offset))?;
    let (span, expression) = fields
        .iter()
        .filter_map(|field| match field {
            ModuleField::Func(function) => match &function.kind {
                FuncKind::Inline { expression, .. } => Some((function.span, expression)),
                FuncKind::Import(..) => None,
            },
            _ => None,
        })
        .nth(function)?;
    let spans = expression.instr_spans.as_deref().unwrap_or(&[]);
    let instruction = body.get_operators_reader().ok().and_then(|operators| {
        operators
            .into_iter_with_offsets()
            .map_while(Result::ok)
            .take_while(|(_, start)| *start <= offset)
            .count()
            .checked_sub(1)
    });
    // The function's last `end` is in no text: what is wrong there is wrong with the function.
    Some(
        instruction
            .and_then(|index| spans.get(index))
            .copied()
            .unwrap_or(span),
    )
}
