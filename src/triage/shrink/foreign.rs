//! The last pass: wasm-shrink, which takes a module and mutates it at random towards less.
//!
//! It knows nothing of steps and links. What it makes of a module is put back into the draft, where a
//! step that lost its function, or a module that lost its exports, makes no case and is refused.

use wasm_shrink::WasmShrink;

use super::Shrinker;
use super::draft::Draft;
use super::program::Program;
use crate::case::Module;
use crate::panics;

/// Mutations that it may try in a row without getting anywhere.
const ATTEMPTS: u32 = 200;

/// The seed of what it tries: the same each time.
const SEED: u64 = 1;

impl Shrinker<'_> {
    pub(super) fn foreign(&mut self) {
        for part in 0..self.draft.parts.len() {
            let Some(Some(whole)) = self.draft.parts.get(part) else {
                continue;
            };
            let Some(wasm) = whole.program.encode() else {
                continue;
            };
            let shrink = WasmShrink::default()
                .attempts(ATTEMPTS)
                .seed(SEED)
                .allow_empty(true);
            let mut smallest = wasm.len();
            // What comes of it is in the draft already, and that it got nowhere, or failed, is no
            // concern of ours.
            let _ = panics::catch(|| {
                shrink.run(wasm.clone(), |mutated| {
                    // It asks first whether the module that it starts from is of interest.
                    if mutated == wasm {
                        return Ok(true);
                    }
                    if mutated.len() >= smallest || self.is_over() {
                        return Ok(false);
                    }
                    let candidate = mutated_module(&self.draft, part, mutated);
                    let better = self.attempt(candidate);
                    if better {
                        smallest = mutated.len();
                    }
                    Ok(better)
                })
            });
            if self.is_over() {
                return;
            }
        }
    }
}

fn mutated_module(draft: &Draft, part: usize, wasm: &[u8]) -> Option<Draft> {
    let module = Module::from_wasm(wasm, None).ok()?;
    let program = Program::new(&module, |_| false)?;
    let mutated = draft.with_program(part, program)?;
    // Fewer bytes are not always less to read.
    (mutated.size().instructions <= draft.size().instructions).then_some(mutated)
}
