//! The modules of a case as CLIF, translated once for all engines that want the same.
//!
//! Translation does not depend on the ISA ([`FRONTEND`](super::environment::FRONTEND)), so engines that
//! run one case after the other share what came of it. A module is known by its binary, byte for byte,
//! and by the configuration: whoever asks for something else gets something else, be it that a fault is
//! planted in some engine or that the case was changed to avoid one.

use std::collections::VecDeque;
use std::rc::Rc;

use cranelift_codegen::ir;

use super::layout::VmLayout;
use super::{Environment, TranslateConfig, TranslateError, Translator, bodies};
use crate::case::Module;

/// Functions whose allocations are kept to be used again, at most.
const KEPT_FUNCTIONS: usize = 256;

/// What was translated for the case at hand, and what is worth keeping from one case to the next.
#[derive(Default)]
pub struct Translations {
    translator: Translator,
    made: Vec<Translation>,
    /// Functions of cases before, in the order in which they were given up. Engines may still hold
    /// the last of them.
    spare: VecDeque<Rc<ir::Function>>,
}

struct Translation {
    wasm: Vec<u8>,
    config: TranslateConfig,
    functions: Vec<Rc<ir::Function>>,
}

impl Translations {
    /// Forgets all modules, for the next case.
    pub fn forget(&mut self) {
        let unused = self.made.drain(..).flat_map(|made| made.functions);
        self.spare.extend(unused);
        let surplus = self.spare.len().saturating_sub(KEPT_FUNCTIONS);
        self.spare.drain(..surplus);
    }

    /// The functions that a module defines, in order. No value in them is another's alias.
    ///
    /// # Errors
    /// [`TranslateError`].
    pub fn functions(
        &mut self,
        module: &Module,
        layout: &VmLayout,
        config: TranslateConfig,
    ) -> Result<&[Rc<ir::Function>], TranslateError> {
        let known = |made: &Translation| made.config == config && made.wasm == module.wasm;
        let position = match self.made.iter().position(known) {
            Some(position) => position,
            None => {
                let made = self.translate(module, layout, config)?;
                self.made.push(made);
                self.made.len() - 1
            }
        };
        Ok(&self.made[position].functions)
    }

    fn translate(
        &mut self,
        module: &Module,
        layout: &VmLayout,
        config: TranslateConfig,
    ) -> Result<Translation, TranslateError> {
        let mut environment = Environment::new(module, layout, config);
        let mut functions = Vec::with_capacity(module.functions.len());
        for (defined, body) in bodies(&module.wasm)?.into_iter().enumerate() {
            let mut function = self.unused();
            let func = Rc::get_mut(&mut function).expect("nobody else has it");
            self.translator
                .function(body, defined as u32, &mut environment, func)?;
            functions.push(function);
        }
        Ok(Translation {
            wasm: module.wasm.clone(),
            config,
            functions,
        })
    }

    /// A function that nobody else has, cleared.
    fn unused(&mut self) -> Rc<ir::Function> {
        if let Some(mut function) = self.spare.pop_front()
            && let Some(func) = Rc::get_mut(&mut function)
        {
            func.clear();
            return function;
        }
        Rc::new(ir::Function::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Settings;
    use crate::case::settings::MemoryStyle;
    use crate::score::Fault;

    fn module(text: &str) -> Module {
        let wasm = wat::parse_str(text).expect("valid text");
        Module::from_wasm(&wasm, None).expect("a valid module")
    }

    fn config() -> TranslateConfig {
        let settings = Settings::default();
        TranslateConfig {
            memory_style: settings.memory_style,
            guard_bytes: settings.guard_bytes,
            spectre: settings.spectre,
            fault: None,
        }
    }

    fn functions(
        translations: &mut Translations,
        module: &Module,
        config: TranslateConfig,
    ) -> Vec<Rc<ir::Function>> {
        let layout = VmLayout::new(module);
        let made = translations.functions(module, &layout, config);
        made.expect("it is supported").to_vec()
    }

    fn same(these: &[Rc<ir::Function>], those: &[Rc<ir::Function>]) -> bool {
        let mut pairs = these.iter().zip(those);
        these.len() == those.len() && pairs.all(|(one, other)| Rc::ptr_eq(one, other))
    }

    const LOADS: &str = "(module (memory 1) (func (param i32) (result i32)
        (i32.load (local.get 0))) (func (param i32) (result i32) (local.get 0)))";

    #[test]
    fn only_what_is_the_same_is_shared() {
        let mut translations = Translations::default();
        let first = module(LOADS);
        let made = functions(&mut translations, &first, config());
        assert_eq!(made.len(), 2);
        let again = functions(&mut translations, &first.clone(), config());
        assert!(same(&made, &again));

        let others = [
            TranslateConfig {
                memory_style: MemoryStyle::Dynamic,
                ..config()
            },
            TranslateConfig {
                guard_bytes: config().guard_bytes + 0x1_0000,
                ..config()
            },
            TranslateConfig {
                spectre: !config().spectre,
                ..config()
            },
            TranslateConfig {
                fault: Some(Fault::SkipNullCheck),
                ..config()
            },
        ];
        for other in others {
            assert_ne!(other, config());
            let made_other = functions(&mut translations, &first, other);
            assert!(!same(&made, &made_other), "{other:?}");
        }
        let shorter = module(&LOADS.replace("i32.load (", "i32.load8_u ("));
        let made_other = functions(&mut translations, &shorter, config());
        assert!(!same(&made, &made_other));
        assert!(same(&made, &functions(&mut translations, &first, config())));
    }

    #[test]
    fn functions_that_are_held_are_not_used_again() {
        let mut translations = Translations::default();
        let first = module(LOADS);
        let held = functions(&mut translations, &first, config());
        let texts = |functions: &[Rc<ir::Function>]| -> Vec<String> {
            let texts = functions.iter().map(|func| func.display().to_string());
            texts.collect()
        };
        let before = texts(&held);
        let second = module("(module (func (result i64) (i64.const 7)) (func))");
        for _ in 0..3 {
            translations.forget();
            let made = functions(&mut translations, &second, config());
            assert!(!same(&held, &made));
        }
        assert_eq!(before, texts(&held));

        // Given up, they are.
        translations.forget();
        let held = functions(&mut translations, &first, config());
        let addresses: Vec<_> = held.iter().map(Rc::as_ptr).collect();
        drop(held);
        translations.forget();
        let made = functions(&mut translations, &second, config());
        let again: Vec<_> = made.iter().map(Rc::as_ptr).collect();
        assert_eq!(addresses, again);
    }

    /// Whatever stopped in the middle of a function leaves nothing to the next one.
    #[test]
    fn what_is_refused_halfway_has_no_part_in_what_comes_next() {
        let healthy = module(LOADS);
        let texts = |translations: &mut Translations| -> Vec<String> {
            let made = functions(translations, &healthy, config());
            made.iter().map(|func| func.display().to_string()).collect()
        };
        let alone = texts(&mut Translations::default());
        // The second body is cut off in a block, with a local declared and a value on the stack.
        let mut cut = module(
            "(module (func) (func (param i32) (local i64)
            (block (i64.store (local.get 0) (local.get 1)))) (memory 1))",
        );
        let store = cut.wasm.windows(2).position(|code| code == [0x37, 0x03]);
        cut.wasm[store.expect("it stores")] = 0xff;
        let mut translations = Translations::default();
        let layout = VmLayout::new(&cut);
        for _ in 0..2 {
            let refused = translations.functions(&cut, &layout, config());
            assert!(matches!(refused, Err(TranslateError::Invalid(_))));
            assert_eq!(texts(&mut translations), alone);
            translations.forget();
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut translations = Translations::default();
        let many = "(func)".repeat(KEPT_FUNCTIONS + 50);
        let many = module(&format!("(module {many})"));
        functions(&mut translations, &many, config());
        translations.forget();
        assert_eq!(translations.spare.len(), KEPT_FUNCTIONS);
    }
}
