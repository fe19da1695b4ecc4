//! Replacing instructions in a module's function bodies, byte for byte but for those replaced.

use std::borrow::Cow;

use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{Encode, Instruction, RawSection};
use wasmparser::{FunctionBody, Operator, OperatorsReader, Parser, Payload};

use crate::case::module::ValType;
use crate::case::{Case, Module};
use crate::generate::sketch::encoded;

/// What replaces instructions.
#[derive(Clone, Copy, Debug)]
pub struct Rewrite {
    /// Codes of instructions: in a module that has none of them nothing is replaced. No rewrite brings in
    /// what another one replaces, so that they are looked for in the module as it was decoded.
    pub of: &'static [&'static [u8]],
    /// Replaces instructions of one body.
    pub body: fn(&Module, &mut Body<'_>) -> Result<(), wasmparser::BinaryReaderError>,
}

/// The case with a rewrite done in every body of its modules. `None` if nothing is replaced.
pub fn rewritten_case(case: &Case, rewrite: Rewrite) -> Option<Case> {
    let mut changed: Option<Case> = None;
    for (position, module) in case.modules.iter().enumerate() {
        if let Some(rewritten) = rewritten(module, rewrite) {
            changed.get_or_insert_with(|| case.clone()).modules[position] = rewritten;
        }
    }
    changed
}

/// The module with a rewrite done in every body. `None` if nothing is replaced. It is not validated
/// again, and which instructions it holds is said of the module as it was.
pub fn rewritten(module: &Module, rewrite: Rewrite) -> Option<Module> {
    if !rewrite.of.iter().any(|code| module.opcodes.has(code)) {
        return None;
    }
    let (wasm, shift) = rewritten_wasm(module, rewrite)?;
    let mut rewritten = Module {
        wasm,
        ..module.clone()
    };
    for segment in &mut rewritten.data {
        let moved = |offset: usize| offset.wrapping_add_signed(shift);
        segment.bytes = moved(segment.bytes.start)..moved(segment.bytes.end);
    }
    Some(rewritten)
}

/// The binary, and how far its data, which lies behind the code, has moved.
fn rewritten_wasm(module: &Module, rewrite: Rewrite) -> Option<(Vec<u8>, isize)> {
    let wasm = &module.wasm;
    let mut code = wasm_encoder::CodeSection::new();
    for body in rewritten_bodies(module, rewrite)? {
        code.raw(&body.finish());
    }
    let mut shift = 0;
    let mut out = wasm_encoder::Module::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.ok()?;
        match payload {
            Payload::CodeSectionStart { .. } => _ = out.section(&code),
            Payload::CodeSectionEntry(_) => {}
            payload => {
                if let Some((id, range)) = payload.as_section() {
                    let data = &wasm[range.start as usize..range.end as usize];
                    out.section(&RawSection { id, data });
                    if id == wasm_encoder::SectionId::Data as u8 {
                        let start = out.len() - data.len();
                        shift = start as isize - range.start as isize;
                    }
                }
            }
        }
    }
    Some((out.finish(), shift))
}

/// All bodies, rewritten. `None` if nothing is replaced in any, which is what most modules come to, so that
/// nothing is copied before.
fn rewritten_bodies(module: &Module, rewrite: Rewrite) -> Option<Vec<Body<'_>>> {
    let mut bodies = Vec::new();
    let mut function = module.imported_functions();
    for payload in Parser::new(0).parse_all(&module.wasm) {
        let Payload::CodeSectionEntry(source) = payload.ok()? else {
            continue;
        };
        let params = module.function_type(function).params.len() as u32;
        let mut body = Body::new(&source, params).ok()?;
        (rewrite.body)(module, &mut body).ok()?;
        bodies.push(body);
        function += 1;
    }
    bodies.iter().any(|body| body.changed).then_some(bodies)
}

/// A body on its way from the module as it is to the module as rewritten.
///
/// [`Body::next`] goes through the instructions; what is not [replaced](Body::replace) is copied.
pub struct Body<'a> {
    source: &'a [u8],
    /// Where `source` starts in the module.
    start: u64,
    operators: OperatorsReader<'a>,
    /// Groups of locals, those added last.
    locals: Vec<(u32, wasm_encoder::ValType)>,
    /// The index of the next local.
    next_local: u32,
    code: Vec<u8>,
    /// How far `source` has been copied or replaced.
    copied: usize,
    /// Where the instruction that `next` gave last starts and ends in `source`.
    current: (usize, usize),
    changed: bool,
}

impl<'a> Body<'a> {
    fn new(
        body: &FunctionBody<'a>,
        params: u32,
    ) -> Result<Body<'a>, wasmparser::BinaryReaderError> {
        let start = body.range().start;
        let operators = body.get_operators_reader()?;
        let first = (operators.original_position() - start) as usize;
        let mut locals = Vec::new();
        let mut next_local = params;
        for group in body.get_locals_reader()? {
            let (count, ty) = group?;
            next_local = next_local.saturating_add(count);
            // A type that there is no encoding for does not occur in a module that was decoded.
            if let Ok(ty) = RoundtripReencoder.val_type(ty) {
                locals.push((count, ty));
            }
        }
        Ok(Body {
            source: body.as_bytes(),
            start,
            operators,
            locals,
            next_local,
            code: Vec::new(),
            copied: first,
            current: (first, first),
            changed: false,
        })
    }

    /// The next instruction.
    pub fn next(&mut self) -> Result<Option<Operator<'a>>, wasmparser::BinaryReaderError> {
        if self.operators.eof() {
            return Ok(None);
        }
        let from = self.position();
        let operator = self.operators.read()?;
        self.current = (from, self.position());
        Ok(Some(operator))
    }

    /// Whether any instruction from here on is of a kind.
    pub fn has(&self, kind: impl Fn(&Operator<'_>) -> bool) -> bool {
        let mut operators = self.operators.clone();
        while !operators.eof() {
            match operators.read() {
                Ok(operator) if kind(&operator) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
        false
    }

    fn position(&self) -> usize {
        (self.operators.original_position() - self.start) as usize
    }

    /// Puts others in the place of the instruction that [`Body::next`] gave last.
    pub fn replace(&mut self, instead: &[Instruction<'_>]) {
        self.insert(instead);
        self.copied = self.current.1;
    }

    /// Puts others before the instruction that [`Body::next`] gave last.
    pub fn insert(&mut self, before: &[Instruction<'_>]) {
        self.changed = true;
        let (from, _) = self.current;
        if self.copied < from {
            self.code.extend_from_slice(&self.source[self.copied..from]);
            self.copied = from;
        }
        for instruction in before {
            instruction.encode(&mut self.code);
        }
    }

    /// Adds a local.
    pub fn local(&mut self, ty: ValType) -> u32 {
        let index = self.next_local;
        self.next_local = index.saturating_add(1);
        self.locals.push((1, encoded(ty)));
        index
    }

    fn finish(self) -> Cow<'a, [u8]> {
        if !self.changed {
            return self.source.into();
        }
        let mut bytes = Vec::with_capacity(self.source.len() + self.code.len());
        (self.locals.len() as u32).encode(&mut bytes);
        for (count, ty) in &self.locals {
            count.encode(&mut bytes);
            ty.encode(&mut bytes);
        }
        bytes.extend_from_slice(&self.code);
        bytes.extend_from_slice(&self.source[self.copied..]);
        bytes.into()
    }
}
