//! Reading a `.wast` script.

use std::collections::HashMap;

use wast::lexer::{Lexer, TokenKind};
use wast::parser::ParseBuffer;
use wast::token::{Id, Span};
use wast::{QuoteWat, Wast, WastDirective, WastExecute, WastInvoke, Wat};

use super::blame;
use super::position::Source;
use super::values::{argument, has_type, pattern};
use super::{COLLECT, InputError, Reject, Script};
use crate::case::module::Extern;
use crate::case::{Action, CaseBuilder, Expectation, Module, Settings, Step};

impl Script {
    /// Parses a `.wast` script. `name` is used in messages.
    ///
    /// # Errors
    /// [`InputError::Malformed`] with file, line and column.
    pub fn parse(text: &str, name: &str) -> Result<Script, InputError> {
        let source = Source::new(text, name);
        let settings = Settings::from_lines(text, &Settings::default())
            .map_err(|error| source.error_at(error.line, 1, &error))?;
        let buffer = buffer(&source)?;
        let script =
            wast::parser::parse::<Wast<'_>>(&buffer).map_err(|error| source.parse_error(&error))?;
        Reader::new(&source, settings).read(script)
    }
}

/// The tokens of a script.
///
/// # Errors
/// [`InputError::Malformed`] if they are no tokens, or if there are none.
pub(super) fn buffer<'t>(source: &Source<'t>) -> Result<ParseBuffer<'t>, InputError> {
    let mut lexer = Lexer::new(source.text);
    // What a comment or string looks like to a person is no concern of the engines'.
    lexer.allow_confusing_unicode(true);
    let blank = |kind| {
        matches!(
            kind,
            TokenKind::Whitespace | TokenKind::LineComment | TokenKind::BlockComment
        )
    };
    if lexer
        .iter(0)
        .all(|token| token.is_ok_and(|token| blank(token.kind)))
    {
        return Err(source.error(0, "nothing here but white space and comments"));
    }
    let mut buffer =
        ParseBuffer::new_with_lexer(lexer).map_err(|error| source.parse_error(&error))?;
    // So that a mistake in a module's code can be told by line.
    buffer.track_instr_spans(true);
    Ok(buffer)
}

/// Reads directives one after the other.
pub(super) struct Reader<'s, 't> {
    source: &'s Source<'t>,
    builder: CaseBuilder,
    /// Modules by identifier, and the latest.
    definitions: Latest<usize>,
    /// Instances by identifier, and the latest.
    instances: Latest<u32>,
    /// Where the script asks for a collection, the last first.
    collections: Vec<usize>,
    rejects: Vec<Reject>,
    text_only: usize,
}

/// Things that go by identifier, and otherwise are the latest one meant.
struct Latest<T> {
    named: HashMap<String, T>,
    latest: Option<T>,
}

impl<T: Copy> Latest<T> {
    fn new() -> Latest<T> {
        Latest {
            named: HashMap::new(),
            latest: None,
        }
    }

    fn add(&mut self, id: Option<Id<'_>>, item: T) {
        self.latest = Some(item);
        if let Some(id) = id {
            self.named.insert(id.name().to_string(), item);
        }
    }

    fn get(&self, id: Option<Id<'_>>) -> Option<T> {
        match id {
            Some(id) => self.named.get(id.name()).copied(),
            None => self.latest,
        }
    }
}

impl<'s, 't> Reader<'s, 't> {
    pub(super) fn new(source: &'s Source<'t>, settings: Settings) -> Reader<'s, 't> {
        Reader {
            source,
            builder: CaseBuilder::new(settings),
            definitions: Latest::new(),
            instances: Latest::new(),
            collections: collections(source.text),
            rejects: Vec::new(),
            text_only: 0,
        }
    }

    /// Reads a whole script.
    pub(super) fn read(mut self, script: Wast<'_>) -> Result<Script, InputError> {
        for directive in script.directives {
            self.collect_before(directive.span().offset());
            self.directive(directive)?;
        }
        self.collect_before(usize::MAX);
        Ok(Script {
            case: self.builder.finish(),
            rejects: self.rejects,
            text_only: self.text_only,
        })
    }

    fn collect_before(&mut self, offset: usize) {
        while let Some(collection) = self.collections.pop_if(|collection| *collection < offset) {
            self.builder.step(Step {
                action: Action::Collect,
                expect: None,
                line: self.source.line(collection),
            });
        }
    }

    fn directive(&mut self, directive: WastDirective<'_>) -> Result<(), InputError> {
        let span = directive.span();
        match directive {
            WastDirective::Module(mut wat) => {
                let module = self.module(&mut wat, span)?;
                let id = wat.name();
                self.definitions.add(id, module);
                let instance = self.builder.instantiate(module, None, self.line(span));
                self.instances.add(id, instance);
            }
            WastDirective::ModuleDefinition(mut wat) => {
                let module = self.module(&mut wat, span)?;
                self.definitions.add(wat.name(), module);
            }
            WastDirective::ModuleInstance {
                instance, module, ..
            } => {
                let Some(definition) = self.definitions.get(module) else {
                    return Err(self.unknown("module", module, span));
                };
                let number = self.builder.instantiate(definition, None, self.line(span));
                self.instances.add(instance, number);
            }
            WastDirective::Register { name, module, .. } => {
                let instance = self.instance(module, span)?;
                self.builder.register(instance, name);
            }
            WastDirective::Invoke(invoke) => self.invoke(&invoke, None, span)?,
            WastDirective::AssertReturn { exec, results, .. } => {
                let patterns = results.iter().map(pattern).collect::<Result<_, _>>();
                let patterns = patterns.map_err(|message| self.error(span, message))?;
                self.execute(exec, Expectation::Return(patterns), span)?;
            }
            WastDirective::AssertTrap { exec, message, .. } => {
                self.execute(exec, Expectation::Trap(message.to_string()), span)?;
            }
            WastDirective::AssertExhaustion { call, .. } => {
                self.invoke(&call, Some(Expectation::Exhaustion), span)?;
            }
            WastDirective::AssertUnlinkable { module, .. } => {
                self.refused_instance(module, Expectation::Unlinkable, span)?;
            }
            WastDirective::AssertMalformed {
                module, message, ..
            }
            | WastDirective::AssertInvalid {
                module, message, ..
            } => self.refused(module, message, span),
            WastDirective::AssertInvalidCustom { .. }
            | WastDirective::AssertMalformedCustom { .. } => {
                // Custom sections mean nothing to an engine; their annotations are text.
                self.text_only += 1;
            }
            WastDirective::AssertException { .. } => {
                return Err(self.error(span, "assert_exception is unsupported"));
            }
            WastDirective::AssertSuspension { .. } => {
                return Err(self.error(span, "assert_suspension is unsupported"));
            }
            WastDirective::Thread(_) | WastDirective::Wait { .. } => {
                return Err(self.error(span, "threads are unsupported"));
            }
        }
        Ok(())
    }

    /// Notes a module that engines must refuse, if it gets as far as a binary.
    fn refused(&mut self, mut module: QuoteWat<'_>, message: &str, span: Span) {
        let wasm = match &mut module {
            QuoteWat::Wat(Wat::Module(module)) => module.encode().ok(),
            // What is quoted is text that a parser of text must refuse.
            _ => None,
        };
        match wasm {
            Some(wasm) => self.rejects.push(Reject {
                wasm,
                line: self.line(span),
                message: message.to_string(),
            }),
            None => self.text_only += 1,
        }
    }

    /// Adds an instance that an assertion is about. It is never the latest one, but a name that is
    /// free becomes its own, which lets a kept case refer to an instance that was never made.
    fn refused_instance(
        &mut self,
        wat: Wat<'_>,
        expect: Expectation,
        span: Span,
    ) -> Result<(), InputError> {
        let mut wat = QuoteWat::Wat(wat);
        let module = self.module(&mut wat, span)?;
        let line = self.line(span);
        let instance = self.builder.instantiate(module, Some(expect), line);
        if let Some(id) = wat.name() {
            let name = id.name().to_string();
            self.instances.named.entry(name).or_insert(instance);
        }
        Ok(())
    }

    fn execute(
        &mut self,
        execute: WastExecute<'_>,
        expect: Expectation,
        span: Span,
    ) -> Result<(), InputError> {
        match execute {
            WastExecute::Invoke(invoke) => self.invoke(&invoke, Some(expect), span),
            WastExecute::Wat(wat) => self.refused_instance(wat, expect, span),
            WastExecute::Get { module, global, .. } => {
                let instance = self.instance(module, span)?;
                match self.builder.module_of(instance).export(global) {
                    Some(Extern::Global(index)) => {
                        self.builder.step(Step {
                            action: Action::Get {
                                instance,
                                global: index,
                                export: global.to_string(),
                            },
                            expect: Some(expect),
                            line: self.line(span),
                        });
                        Ok(())
                    }
                    _ => Err(self.error(span, format_args!("no exported global {global:?}"))),
                }
            }
        }
    }

    fn invoke(
        &mut self,
        invoke: &WastInvoke<'_>,
        expect: Option<Expectation>,
        span: Span,
    ) -> Result<(), InputError> {
        let instance = self.instance(invoke.module, span)?;
        let module = self.builder.module_of(instance);
        let Some(Extern::Func(function)) = module.export(invoke.name) else {
            let message = format_args!("no exported function {:?}", invoke.name);
            return Err(self.error(invoke.span, message));
        };
        let args: Vec<_> = invoke
            .args
            .iter()
            .map(argument)
            .collect::<Result<_, _>>()
            .map_err(|message| self.error(invoke.span, message))?;
        let params = &module.function_type(function).params;
        if args.len() != params.len() {
            let message = format_args!(
                "{} arguments for {:?}, which takes {}",
                args.len(),
                invoke.name,
                params.len()
            );
            return Err(self.error(invoke.span, message));
        }
        for (number, (arg, param)) in (1..).zip(args.iter().zip(params)) {
            if !has_type(arg, *param) {
                let message = format_args!(
                    "argument {number} of {:?} is not of type {param:?}",
                    invoke.name
                );
                return Err(self.error(invoke.span, message));
            }
        }
        let line = self.line(span);
        self.builder
            .invoke(instance, function, invoke.name, args, expect, line);
        Ok(())
    }

    /// Decodes a module and adds it to the case.
    fn module(&mut self, wat: &mut QuoteWat<'_>, span: Span) -> Result<usize, InputError> {
        let quoted = match wat {
            QuoteWat::Wat(Wat::Module(_)) => false,
            QuoteWat::QuoteModule(..) => true,
            _ => return Err(self.error(span, "components are unsupported")),
        };
        let name = wat.name().map(|id| id.name().to_string());
        let wasm = wat.encode().map_err(|error| {
            if quoted {
                // The error's place is in the quoted text, not in the script.
                self.error(
                    span,
                    format_args!("in the quoted module: {}", error.message()),
                )
            } else {
                self.source.parse_error(&error)
            }
        })?;
        let module = Module::from_wasm(&wasm, name).map_err(|error| {
            let span = match wat {
                QuoteWat::Wat(Wat::Module(module)) => blame::place(module, &wasm, error.offset),
                _ => span,
            };
            self.error(span, format_args!("invalid module: {error}"))
        })?;
        Ok(self.builder.module(module))
    }

    fn instance(&self, id: Option<Id<'_>>, span: Span) -> Result<u32, InputError> {
        self.instances
            .get(id)
            .ok_or_else(|| self.unknown("instance", id, span))
    }

    fn unknown(&self, what: &str, id: Option<Id<'_>>, span: Span) -> InputError {
        match id {
            Some(id) => self.error(span, format_args!("no {what} is named ${}", id.name())),
            None => self.error(span, format_args!("there is no {what} yet")),
        }
    }

    fn line(&self, span: Span) -> u32 {
        self.source.line(span.offset())
    }

    fn error(&self, span: Span, message: impl std::fmt::Display) -> InputError {
        self.source.error(span.offset(), message)
    }
}

/// The offsets of the comments that ask for a collection, the last first.
fn collections(text: &str) -> Vec<usize> {
    if !text.contains(COLLECT) {
        return Vec::new();
    }
    let mut offsets: Vec<usize> = Lexer::new(text)
        .allow_confusing_unicode(true)
        .iter(0)
        .map_while(Result::ok)
        .filter(|token| token.kind == TokenKind::LineComment && token.src(text).trim() == COLLECT)
        .map(|token| token.offset)
        .collect();
    offsets.reverse();
    offsets
}
