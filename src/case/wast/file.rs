//! Reading a case from a file of any kind.

use wast::parser::ParseBuffer;
use wast::{QuoteWat, Wast, WastDirective, Wat};

use super::blame;
use super::parse::{Reader, buffer};
use super::position::{Source, one_line};
use super::{InputError, Script};
use crate::case::module::{Extern, ValType};
use crate::case::values::{Numbers, interesting};
use crate::case::{Case, CaseBuilder, Module, Settings};
use parallax_oracles::{ObjectId, Value};

/// How often each function of a file of one module is called.
const ROUNDS: u64 = 3;

/// The text that a binary module starts with.
const WASM_MAGIC: &[u8] = b"\0asm";

/// Reads a case from a `.wasm`, `.wat` or `.wast` file's contents, told apart by content: a text
/// of nothing but one module counts as `.wat` unless the name says `.wast`.
///
/// A file of one module is instantiated, with its imports satisfied by the host, and each function
/// that it exports, or each that it has if it exports none, is called three times.
///
/// # Errors
/// [`InputError::Malformed`].
pub fn case_from_file(contents: &[u8], name: &str) -> Result<Case, InputError> {
    Ok(script_from_file(contents, name)?.case)
}

/// As [`case_from_file`], with what a script asserts about modules that must be refused.
///
/// # Errors
/// [`InputError::Malformed`].
pub fn script_from_file(contents: &[u8], name: &str) -> Result<Script, InputError> {
    if contents.is_empty() {
        return Err(one_line(format_args!("{name}: the file is empty")));
    }
    let base = Settings {
        host_imports: true,
        ..Settings::default()
    };
    if contents.starts_with(WASM_MAGIC) || WASM_MAGIC.starts_with(contents) {
        let module = Module::from_wasm(contents, None)
            .map_err(|error| one_line(format_args!("{name}: {error}")))?;
        return Ok(one_module(module, base));
    }
    let text = std::str::from_utf8(contents).map_err(|error| {
        one_line(format_args!(
            "{name}: neither a binary module nor text (at offset {:#x})",
            error.valid_up_to()
        ))
    })?;
    let source = Source::new(text, name);
    let from_lines = |base| {
        Settings::from_lines(text, base).map_err(|error| source.error_at(error.line, 1, &error))
    };
    let buffer: ParseBuffer<'_> = buffer(&source)?;
    let mut script =
        wast::parser::parse::<Wast<'_>>(&buffer).map_err(|error| source.parse_error(&error))?;
    if let [WastDirective::Module(QuoteWat::Wat(wat))] = &mut *script.directives
        && !name.ends_with(".wast")
    {
        let settings = from_lines(&base)?;
        let wasm = wat.encode().map_err(|error| source.parse_error(&error))?;
        let module = Module::from_wasm(&wasm, None).map_err(|error| {
            let span = match wat {
                Wat::Module(module) => blame::place(module, &wasm, error.offset),
                Wat::Component(_) => wat.span(),
            };
            source.error(span.offset(), format_args!("invalid module: {error}"))
        })?;
        return Ok(one_module(module, settings));
    }
    let settings = from_lines(&Settings::default())?;
    Reader::new(&source, settings).read(script)
}

/// The script that a file of one module stands for.
fn one_module(module: Module, settings: Settings) -> Script {
    let functions = functions_to_call(&module);
    let mut numbers = Numbers::new(settings.host_seed);
    let mut builder = CaseBuilder::new(settings);
    let position = builder.module(module);
    let instance = builder.instantiate(position, None, 0);
    for _ in 0..ROUNDS {
        for (function, export) in &functions {
            let params = &builder.module_of(instance).function_type(*function).params;
            let args = params
                .iter()
                .map(|param| argument(*param, &mut numbers))
                .collect();
            builder.invoke(instance, *function, export, args, None, 0);
        }
    }
    Script {
        case: builder.finish(),
        rejects: Vec::new(),
        text_only: 0,
    }
}

/// The functions to call, in order of export, each once, with the names they go by.
fn functions_to_call(module: &Module) -> Vec<(u32, String)> {
    let mut seen = vec![false; module.functions.len()];
    let mut functions: Vec<(u32, String)> = module
        .exports
        .iter()
        .filter_map(|(export, item)| match *item {
            Extern::Func(function) if !std::mem::replace(&mut seen[function as usize], true) => {
                Some((function, export.clone()))
            }
            _ => None,
        })
        .collect();
    if functions.is_empty() {
        functions = (0..)
            .zip(&module.function_exports)
            .filter(|(_, export)| !export.is_empty())
            .map(|(function, export)| (function, export.clone()))
            .collect();
    }
    functions
}

/// A value to call a function with. Host objects are few, so that they meet each other.
fn argument(param: ValType, numbers: &mut Numbers) -> Value {
    match param {
        ValType::ExternRef => {
            let number = numbers.below(4) as u32;
            Value::Extern((number > 0).then_some(ObjectId(number)))
        }
        _ => interesting(param, numbers),
    }
}
