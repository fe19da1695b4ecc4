//! Fewer items in the modules: functions without code, imports that become definitions, exports,
//! segments and whatever nothing refers to; smaller memories and tables.

use std::ops::Range;
use std::rc::Rc;

use super::Shrinker;
use super::code::places;
use super::draft::{Draft, Part};
use super::op::Op;
use super::program::{Function, Item, Program, default_init};
use super::steps::{MOST_VALUES, names_in_use};
use crate::case::module::{ConstExpr, ConstOp, SegmentMode, ValType};

impl Shrinker<'_> {
    /// Takes their code from as many functions as possible: each returns zeroes, or traps.
    pub(super) fn functions(&mut self) {
        for body in [zeroes as fn(&Function) -> Vec<Op>, |_| {
            vec![Op::Unreachable, Op::End]
        }] {
            self.chunks(
                |draft| places(draft).len(),
                |draft, range| with_bodies(draft, range, body),
            );
        }
    }

    /// Takes away exports and segments, and then what nothing refers to.
    pub(super) fn unused(&mut self) {
        for part in 0..self.draft.parts.len() {
            let named = names_in_use(&self.draft, part);
            self.edit(part, |program| {
                let exports = program.exports.len();
                program.exports.retain(|(name, _)| named.contains(name));
                program.exports.len() < exports
            });
            self.edit(part, |program| program.start.take().is_some());
            self.edit(part, Program::remove_unused);
            let count = |draft: &Draft, of: fn(&Program) -> usize| {
                let part = draft.parts[part].as_ref();
                part.map_or(0, |part| of(&part.program))
            };
            self.chunks(
                |draft| count(draft, |program| program.exports.len()),
                |draft, range| {
                    edited(draft, part, |program| {
                        program.exports.drain(range);
                        true
                    })
                },
            );
            self.chunks(
                |draft| count(draft, |program| program.elements.len()),
                |draft, range| {
                    edited(draft, part, |program| {
                        let segments = program.elements[range].iter_mut();
                        segments.filter_map(Option::take).count() > 0
                    })
                },
            );
            self.chunks(
                |draft| count(draft, |program| program.data.len()),
                |draft, range| {
                    edited(draft, part, |program| {
                        let segments = program.data[range].iter_mut();
                        segments.filter_map(Option::take).count() > 0
                    })
                },
            );
            self.edit(part, Program::remove_unused);
        }
    }

    /// Makes the modules define what they import.
    pub(super) fn imports(&mut self) {
        for part in 0..self.draft.parts.len() {
            let Some(Some(whole)) = self.draft.parts.get(part) else {
                continue;
            };
            let program = &whole.program;
            let [functions, tables, memories, globals] = [
                program.functions.len(),
                program.tables.len(),
                program.memories.len(),
                program.globals.len(),
            ];
            for index in (0..functions).rev() {
                self.edit(part, |program| {
                    let item = &mut program.functions[index];
                    item.what.code = zeroes(&item.what);
                    item.import.take().is_some() && !item.removed
                });
            }
            for index in (0..tables).rev() {
                self.edit(part, |program| {
                    let item = &mut program.tables[index];
                    item.import.take().is_some() && !item.removed
                });
            }
            for index in (0..memories).rev() {
                self.edit(part, |program| {
                    let item = &mut program.memories[index];
                    item.import.take().is_some() && !item.removed
                });
            }
            for index in (0..globals).rev() {
                self.edit(part, |program| {
                    let item = &mut program.globals[index];
                    item.what.init = default_init(item.what.ty.value);
                    item.import.take().is_some() && !item.removed
                });
            }
        }
    }

    /// Smaller memories, tables and segments; globals that start from zero and do not change.
    pub(super) fn limits(&mut self) {
        for part in 0..self.draft.parts.len() {
            let Some(Some(whole)) = self.draft.parts.get(part) else {
                continue;
            };
            let program = whole.program.clone();
            for index in 0..program.memories.len() {
                self.smaller(part, &|program| &mut program.memories[index].what.min);
                self.edit(part, |program| {
                    program.memories[index].what.max.take().is_some()
                });
            }
            for index in 0..program.tables.len() {
                self.smaller(part, &|program| &mut program.tables[index].what.ty.min);
                self.edit(part, |program| {
                    program.tables[index].what.ty.max.take().is_some()
                });
            }
            for index in 0..program.globals.len() {
                self.edit(part, |program| {
                    let global = &mut program.globals[index].what;
                    let zero = default_init(global.ty.value);
                    std::mem::replace(&mut global.init, zero.clone()) != zero
                });
                self.edit(part, |program| {
                    std::mem::take(&mut program.globals[index].what.ty.mutable)
                });
            }
            self.segments(part);
        }
    }

    /// A size of a module that is as small as it may be.
    fn smaller(&mut self, part: usize, size: &dyn Fn(&mut Program) -> &mut u64) {
        for _ in 0..MOST_VALUES {
            let Some(Some(whole)) = self.draft.parts.get(part) else {
                return;
            };
            let now = *size(&mut whole.program.clone());
            let sizes = [
                0,
                1,
                2,
                now / 4,
                now / 2,
                now - now / 8,
                now.saturating_sub(1),
            ];
            let better = sizes.into_iter().filter(|it| *it < now).any(|smaller| {
                self.edit(part, |program| {
                    *size(program) = smaller;
                    true
                })
            });
            if !better || self.is_over() {
                return;
            }
        }
    }

    /// Shorter segments, copied to the beginning.
    fn segments(&mut self, part: usize) {
        let Some(Some(whole)) = self.draft.parts.get(part) else {
            return;
        };
        let [elements, data] = [whole.program.elements.len(), whole.program.data.len()];
        for index in 0..elements {
            self.chunks(
                |draft| {
                    let segment = program(draft, part).and_then(|it| it.elements[index].as_ref());
                    segment.map_or(0, |segment| segment.items.len())
                },
                |draft, range| {
                    edited(draft, part, |program| {
                        let segment = program.elements[index].as_mut();
                        segment.is_some_and(|segment| segment.items.drain(range).count() > 0)
                    })
                },
            );
            self.edit(part, |program| {
                let segment = program.elements[index].as_mut();
                segment.is_some_and(|segment| to_the_beginning(&mut segment.mode, ValType::I32))
            });
            let count = program(&self.draft, part).and_then(|it| it.elements[index].as_ref());
            for item in 0..count.map_or(0, |segment| segment.items.len()) {
                self.edit(part, |program| function_of_its_own(program, index, item));
            }
        }
        for index in 0..data {
            self.chunks(
                |draft| {
                    let segment = program(draft, part).and_then(|it| it.data[index].as_ref());
                    segment.map_or(0, |segment| segment.bytes.len())
                },
                |draft, range| {
                    edited(draft, part, |program| {
                        let segment = program.data[index].as_mut();
                        segment.is_some_and(|segment| segment.bytes.drain(range).count() > 0)
                    })
                },
            );
            self.edit(part, |program| {
                let Some(segment) = &mut program.data[index] else {
                    return false;
                };
                let SegmentMode::Active { target, .. } = segment.mode else {
                    return false;
                };
                let memory = program.memories.get(target as usize);
                let ty = memory.map_or(ValType::I32, |memory| memory.what.index_type());
                to_the_beginning(&mut segment.mode, ty)
            });
        }
    }

    /// Attempts one edit of a module, if it says that it changes something.
    pub(super) fn edit(&mut self, part: usize, edit: impl FnOnce(&mut Program) -> bool) -> bool {
        let candidate = edited(&self.draft, part, edit);
        self.attempt(candidate)
    }
}

fn program(draft: &Draft, part: usize) -> Option<&Program> {
    let part = draft.parts.get(part)?.as_ref()?;
    Some(&part.program)
}

/// A draft with a module edited. None if nothing changes, or to no valid module.
pub(super) fn edited(
    draft: &Draft,
    part: usize,
    edit: impl FnOnce(&mut Program) -> bool,
) -> Option<Draft> {
    let mut program = program(draft, part)?.clone();
    edit(&mut program).then(|| draft.with_program(part, program))?
}

/// A draft in which some of the functions have another body.
fn with_bodies(
    draft: &Draft,
    range: Range<usize>,
    body: fn(&Function) -> Vec<Op>,
) -> Option<Draft> {
    let mut draft = draft.clone();
    let mut changed = false;
    let places = places(&draft);
    for position in 0..draft.parts.len() {
        let chosen = places[range.clone()].iter();
        let functions: Vec<usize> = chosen
            .filter(|(part, _)| *part == position)
            .map(|(_, function)| *function)
            .collect();
        let Some(part) = draft.parts[position]
            .as_ref()
            .filter(|_| !functions.is_empty())
        else {
            continue;
        };
        let mut program = part.program.clone();
        for function in functions {
            let function = &mut program.functions[function].what;
            let body = body(function);
            if body.len() < function.code.len() {
                function.code = body;
                function.locals.clear();
                changed = true;
            }
        }
        draft.parts[position] = Some(Rc::new(Part::new(program)?));
    }
    changed.then_some(draft)
}

/// Has an item of an element segment be a function that does nothing, where it is one that does
/// something. Says whether it was.
fn function_of_its_own(program: &mut Program, segment: usize, item: usize) -> bool {
    let segment = program.elements[segment].as_mut();
    let Some(ConstExpr(ops)) = segment.and_then(|segment| segment.items.get_mut(item)) else {
        return false;
    };
    let [ConstOp::RefFunc(function)] = &mut ops[..] else {
        return false;
    };
    let Some(of) = program.functions.get(*function as usize) else {
        return false;
    };
    let code = zeroes(&of.what);
    if of.import.is_none() && of.what.code.len() <= code.len() {
        return false;
    }
    let ty = of.what.ty.clone();
    let known = program.functions.iter().position(|other| {
        let what = &other.what;
        !other.removed && other.import.is_none() && what.ty == ty && what.code == code
    });
    *function = known.unwrap_or(program.functions.len()) as u32;
    if known.is_none() {
        program.functions.push(Item::new(Function {
            ty,
            locals: Vec::new(),
            code,
        }));
    }
    true
}

/// The body of a function that returns zeroes.
fn zeroes(function: &Function) -> Vec<Op> {
    let results = function.ty.results.iter();
    results
        .map(|ty| Op::Const(ty.default_value()))
        .chain([Op::End])
        .collect()
}

/// Has a segment that is copied go to the beginning of what it is copied to. Says whether it did not.
fn to_the_beginning(mode: &mut SegmentMode, offsets: ValType) -> bool {
    let beginning = default_init(offsets);
    match mode {
        SegmentMode::Active { offset, .. } => {
            std::mem::replace(offset, beginning.clone()) != beginning
        }
        SegmentMode::Passive | SegmentMode::Declared => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Module;

    #[test]
    fn segments_share_the_function_that_does_nothing() {
        let text = "(module (table 3 funcref) (elem (i32.const 0) $f $f $f)
            (func $f (export \"f\") (result i32) (i32.add (i32.const 1) (i32.const 2))))";
        let wasm = wat::parse_str(text).expect("a module");
        let module = Module::from_wasm(&wasm, None).expect("valid");
        let mut program = Program::new(&module, |_| false).expect("WebAssembly 2.0");
        for item in 0..3 {
            assert!(function_of_its_own(&mut program, 0, item));
            assert!(!function_of_its_own(&mut program, 0, item));
        }
        assert_eq!(program.functions.len(), 2);
    }
}
