//! A case while it is being made smaller: modules as programs, steps by the names they use, so that
//! any of it can be taken away and the rest put together again.

use std::rc::Rc;

use parallax_oracles::{ObjectId, Value};
use serde::Serialize;

use super::encode::is_zero;
use super::program::Program;
use crate::case::host::FIRST_GLOBAL_OBJECT;
use crate::case::module::{Extern, ValType};
use crate::case::{Action, Case, CaseBuilder, Module, Settings, Step};

/// A case that can be edited. Parts are shared between drafts that have them in common.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub settings: Settings,
    /// The modules; none for one that nothing instantiates any more.
    pub parts: Vec<Option<Rc<Part>>>,
    pub steps: Vec<Doing>,
}

/// A module in both forms.
#[derive(Debug)]
pub(super) struct Part {
    pub program: Program,
    pub module: Module,
}

/// A step, or a registration. Instances are numbered in the order in which they are made.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Doing {
    /// Makes an instance of a part.
    Instantiate(usize),
    /// Makes an instance available for import.
    Register { instance: u32, name: String },
    /// Calls an exported function.
    Invoke {
        instance: u32,
        export: String,
        args: Vec<Value>,
    },
    /// Reads an exported global.
    Get { instance: u32, export: String },
    /// The host asks for a collection.
    Collect,
}

impl Part {
    /// A program with the module that it encodes to; none if that is not valid.
    pub fn new(program: Program) -> Option<Part> {
        let module = Module::from_wasm(&program.encode()?, program.name.clone()).ok()?;
        Some(Part { program, module })
    }
}

impl Doing {
    /// The instance that it is about.
    pub fn instance_mut(&mut self) -> Option<&mut u32> {
        match self {
            Doing::Register { instance, .. }
            | Doing::Invoke { instance, .. }
            | Doing::Get { instance, .. } => Some(instance),
            Doing::Instantiate(_) | Doing::Collect => None,
        }
    }
}

impl Draft {
    /// A case as a draft. Arguments that scripts have no way to express become null. None if a
    /// module holds what is beyond WebAssembly 2.0, or a step names something that is not there.
    pub fn new(case: &Case) -> Option<Draft> {
        let mut made_from = Vec::new();
        for step in &case.steps {
            if let Action::Instantiate { module, .. } = step.action {
                made_from.push(module);
            }
        }
        let names = |step: &Step| match &step.action {
            Action::Invoke {
                instance, export, ..
            }
            | Action::Get {
                instance, export, ..
            } => Some((*made_from.get(*instance as usize)?, export.clone())),
            _ => None,
        };
        let named: Vec<(usize, String)> = case.steps.iter().filter_map(names).collect();
        let mut parts = Vec::with_capacity(case.modules.len());
        for (position, module) in case.modules.iter().enumerate() {
            let keep = |name: &str| {
                let mut named = named.iter();
                named.any(|(module, export)| *module == position && export == name)
            };
            let part = Part::new(Program::new(module, keep)?)?;
            parts.push(made_from.contains(&position).then(|| Rc::new(part)));
        }
        let mut steps = Vec::with_capacity(case.steps.len());
        let mut registrations = case.registrations.iter().peekable();
        let mut instances = 0;
        for step in &case.steps {
            let doing = match &step.action {
                Action::Instantiate { module, .. } => {
                    while let Some(it) = registrations.next_if(|it| it.before_instance <= instances)
                    {
                        steps.push(Doing::Register {
                            instance: it.instance,
                            name: it.name.clone(),
                        });
                    }
                    instances += 1;
                    Doing::Instantiate(*module)
                }
                Action::Invoke {
                    instance,
                    export,
                    args,
                    ..
                } => Doing::Invoke {
                    instance: *instance,
                    export: export.clone(),
                    args: args.iter().map(expressible).collect(),
                },
                Action::Get {
                    instance, export, ..
                } => Doing::Get {
                    instance: *instance,
                    export: export.clone(),
                },
                Action::Collect => Doing::Collect,
            };
            steps.push(doing);
        }
        Some(Draft {
            settings: case.settings.clone(),
            parts,
            steps,
        })
    }

    /// The case. None if a step names something that is not there, or not of its type.
    pub fn case(&self) -> Option<Case> {
        let mut builder = CaseBuilder::new(self.settings.clone());
        // The position in the case of every part.
        let mut positions = vec![None; self.parts.len()];
        let mut instances = 0;
        for doing in &self.steps {
            match doing {
                Doing::Instantiate(part) => {
                    let position = match positions.get(*part)? {
                        Some(position) => *position,
                        None => {
                            let module = self.parts[*part].as_ref()?.module.clone();
                            *positions[*part].insert(builder.module(module))
                        }
                    };
                    builder.instantiate(position, None, 0);
                    instances += 1;
                }
                Doing::Register { instance, name } => {
                    (*instance < instances).then_some(())?;
                    builder.register(*instance, name);
                }
                Doing::Invoke {
                    instance,
                    export,
                    args,
                } => {
                    (*instance < instances).then_some(())?;
                    let module = builder.module_of(*instance);
                    let Some(Extern::Func(function)) = module.export(export) else {
                        return None;
                    };
                    let params = &module.function_type(function).params;
                    let fits = |(arg, ty): (&Value, &ValType)| same_type(arg, *ty);
                    let fit = params.len() == args.len() && args.iter().zip(params).all(fits);
                    fit.then_some(())?;
                    builder.invoke(*instance, function, export, args.clone(), None, 0);
                }
                Doing::Get { instance, export } => {
                    (*instance < instances).then_some(())?;
                    let module = builder.module_of(*instance);
                    let Some(Extern::Global(global)) = module.export(export) else {
                        return None;
                    };
                    builder.step(Step {
                        action: Action::Get {
                            instance: *instance,
                            global,
                            export: export.clone(),
                        },
                        expect: None,
                        line: 0,
                    });
                }
                Doing::Collect => builder.step(Step {
                    action: Action::Collect,
                    expect: None,
                    line: 0,
                }),
            }
        }
        Some(builder.finish())
    }

    /// The part that an instance is made from.
    pub fn part_of(&self, instance: u32) -> Option<usize> {
        let made_from = |doing: &Doing| match doing {
            Doing::Instantiate(part) => Some(*part),
            _ => None,
        };
        let mut parts = self.steps.iter().filter_map(made_from);
        parts.nth(instance as usize)
    }

    /// The same with another program for a part. None if that is no valid module.
    pub fn with_program(&self, part: usize, program: Program) -> Option<Draft> {
        let mut draft = self.clone();
        *draft.parts.get_mut(part)? = Some(Rc::new(Part::new(program)?));
        Some(draft)
    }

    /// The same without some steps. What is about an instance that is no longer made goes with it,
    /// and so do parts that nothing instantiates any more.
    pub fn without_steps(&self, gone: impl Fn(usize) -> bool) -> Draft {
        let mut draft = Draft {
            settings: self.settings.clone(),
            parts: self.parts.clone(),
            steps: Vec::with_capacity(self.steps.len()),
        };
        // The new number of every instance that there was.
        let mut numbers = Vec::new();
        let mut instances = 0;
        for (index, doing) in self.steps.iter().enumerate() {
            let mut doing = doing.clone();
            let gone = gone(index);
            if let Doing::Instantiate(_) = doing {
                numbers.push((!gone).then_some(instances));
                instances += u32::from(!gone);
            }
            let stays = match doing.instance_mut() {
                None => true,
                Some(instance) => match numbers.get(*instance as usize) {
                    Some(Some(number)) => {
                        *instance = *number;
                        true
                    }
                    _ => false,
                },
            };
            if stays && !gone {
                draft.steps.push(doing);
            }
        }
        for (position, part) in draft.parts.iter_mut().enumerate() {
            if !draft.steps.contains(&Doing::Instantiate(position)) {
                *part = None;
            }
        }
        draft
    }

    /// The programs that are still there, with their positions.
    pub fn programs(&self) -> impl Iterator<Item = (usize, &Program)> {
        let parts = self.parts.iter().enumerate();
        parts.filter_map(|(position, part)| Some((position, &part.as_ref()?.program)))
    }

    /// How large it is, the weightiest first: it never grows in the course of shrinking.
    pub fn size(&self) -> Size {
        let mut size = Size {
            instances: 0,
            steps: self.steps.len(),
            ..Size::default()
        };
        for doing in &self.steps {
            if let Doing::Instantiate(_) = doing {
                size.instances += 1;
            }
            if let Doing::Invoke { args, .. } = doing {
                size.values += args.iter().filter(|arg| !is_zero(arg)).count();
            }
        }
        for (_, program) in self.programs() {
            size.functions += program.defined_functions().count();
            size.instructions += program.instructions();
        }
        size
    }
}

/// How large a draft is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Size {
    /// Instances that are made.
    pub instances: usize,
    /// Steps.
    pub steps: usize,
    /// Functions that modules define.
    pub functions: usize,
    /// Instructions, without the `end` of each function.
    pub instructions: usize,
    /// Arguments that are not zero.
    pub values: usize,
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        write!(
            f,
            "{} instruction{} in {} function{}, {} step{}",
            self.instructions,
            plural(self.instructions),
            self.functions,
            plural(self.functions),
            self.steps,
            plural(self.steps)
        )
    }
}

/// An argument as a script can pass it.
fn expressible(value: &Value) -> Value {
    match *value {
        Value::Func(_) => Value::Func(None),
        Value::Dangling => Value::Extern(None),
        Value::Extern(Some(ObjectId(number))) if number >= FIRST_GLOBAL_OBJECT => {
            Value::Extern(Some(ObjectId(1)))
        }
        value => value,
    }
}

fn same_type(value: &Value, ty: ValType) -> bool {
    std::mem::discriminant(value) == std::mem::discriminant(&ty.default_value())
}
