//! Differential fuzzing and verification of a WebAssembly-to-Cranelift translation environment.
pub mod artifacts;
pub mod campaign;
pub mod case;
pub mod codegen;
pub mod coverage;
pub mod engine;
pub mod generate;
pub mod harness;
pub mod libfuzzer;
pub mod panics;
pub mod report;
pub mod runtime;
pub mod score;
pub mod spec;
pub mod stats;
pub mod translate;
pub mod triage;
