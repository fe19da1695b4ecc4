//! Modules by wasm-smith: anything that WebAssembly 2.0 allows, and at times what came after it.
//!
//! wasm-smith chooses among all instructions that are valid at each point, which takes it about a
//! microsecond an instruction. Modules are kept small for that reason, and so that code that is
//! compiled is also run. What it makes is tempered ([`super::temper`]) before use.

use arbitrary::Unstructured;
use wasm_smith::{Config, InstructionKind, InstructionKinds, MemoryOffsetChoices, Module};

use super::beyond::Beyond;
use super::calls::CallPlan;
use super::input::Header;
use super::rng::Rng;
use super::temper::{self, Temper};
use super::{EXTERNREF_PERCENT, GenerateError, Generated};
use crate::case::Settings;

/// Bytes that wasm-smith is given at least.
const ENOUGH_BYTES: usize = 4_000;

/// Makes a module from an input's head and body.
pub(super) fn module(
    header: &Header,
    body: &[u8],
    settings: &Settings,
) -> Result<Generated, GenerateError> {
    let mut rng = header.shape();
    let mut temper = Temper {
        fuel: rng.range(300, 2_000),
        tame: 0,
        flow: rng.range(80, 100),
        stores: rng.below(60),
        loads: rng.below(20),
        // wasm-smith has a pass for this that hides every NaN at once, leaves out promotions and
        // demotions, and sees nothing of what is added afterwards.
        canonicalise: !settings.canonicalise_nans,
        externref: rng.percent(EXTERNREF_PERCENT),
        table_min: rng.range(4, 20),
    };
    let mut config = config(Beyond::of(header), &mut rng);
    match rng.below(20) {
        // Code that cannot trap, by checks around everything that could.
        0..=3 => config.disallow_traps = true,
        // Code that may, and mostly does not.
        4..=16 => {
            temper.tame = rng.range(90, 100);
            config.memory_offset_choices = MemoryOffsetChoices(96, 3, 1);
        }
        // Operands as they come.
        _ => {}
    }
    let wasm = build(config, &padded(body, &mut rng))?;
    Ok(Generated {
        wasm: temper::temper(&wasm, &temper, rng)?,
        plan: CallPlan {
            budget: 12,
            rounds: 2,
            collects: 0,
        },
    })
}

/// The body, followed by random bytes up to a size that suffices for almost every module.
/// wasm-smith ends all blocks with `unreachable` once its bytes run out.
fn padded(body: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = body.to_vec();
    if bytes.len() < ENOUGH_BYTES {
        let taken = bytes.len();
        bytes.resize(ENOUGH_BYTES, 0);
        rng.fill(&mut bytes[taken..]);
    }
    bytes
}

fn build(config: Config, body: &[u8]) -> Result<Vec<u8>, GenerateError> {
    let module = Module::new(config.clone(), &mut Unstructured::new(body)).or_else(|_| {
        // The smallest numbers of tables and memories count those defined only. Where imports use
        // up the largest number, generation fails, before any code was made.
        let config = Config {
            min_memories: 0,
            min_tables: 0,
            ..config
        };
        Module::new(config, &mut Unstructured::new(body))
    });
    match module {
        Ok(module) => Ok(module.to_bytes()),
        Err(error) => Err(GenerateError(format!("wasm-smith: {error}"))),
    }
}

/// A configuration: WebAssembly 2.0 and no more than `beyond`, with sizes that keep a case at about a
/// millisecond.
fn config(beyond: Beyond, rng: &mut Rng) -> Config {
    let references = rng.percent(85);
    // A large function is rare: it costs as much as several small ones.
    let most = if rng.percent(8) { 100 } else { 26 };
    Config {
        reference_types_enabled: references,
        simd_enabled: rng.percent(70) || beyond.relaxed_simd,
        relaxed_simd_enabled: beyond.relaxed_simd,
        allow_floats: rng.percent(90),
        allowed_instructions: instructions(rng),
        min_types: 2,
        max_types: rng.range(2, 8) as usize,
        max_type_size: 300,
        min_imports: if rng.percent(55) {
            rng.range(1, 5) as usize
        } else {
            0
        },
        max_imports: 6,
        min_funcs: 1,
        // All imports may be functions.
        max_funcs: 8,
        max_instructions: rng.range(4, most) as usize,
        min_globals: rng.below(4) as usize,
        max_globals: 12,
        min_memories: u32::from(rng.percent(90)) + u32::from(beyond.multi_memory),
        max_memories: if beyond.multi_memory { 3 } else { 1 },
        max_memory32_bytes: u64::from(*rng.pick(&[1u32, 1, 2, 4, 8])) << 16,
        max_memory64_bytes: u128::from(*rng.pick(&[1u32, 1, 2, 4, 8])) << 16,
        memory_max_size_required: rng.percent(40),
        min_tables: match rng.below(if references { 3 } else { 2 }) {
            _ if beyond.memory64 => 0,
            tables => tables,
        },
        // With memories that are addressed by i64 come such tables, which are refused.
        max_tables: if beyond.memory64 { 0 } else { 4 },
        max_table_elements: u64::from(*rng.pick(&[4u32, 20, 300])),
        table_max_size_required: rng.percent(30),
        max_element_segments: 4,
        max_elements: 20,
        min_data_segments: rng.below(2) as usize,
        max_data_segments: 4,
        max_exports: 6,
        allow_start_export: rng.percent(25),
        tail_call_enabled: beyond.tail_calls,
        extended_const_enabled: beyond.extended_const,
        memory64_enabled: beyond.memory64,
        ..beyond_2_0_off()
    }
}

/// The kinds of instructions a module may hold: all, or some. What is rare among all comes often,
/// and next to itself, where little else is allowed.
fn instructions(rng: &mut Rng) -> InstructionKinds {
    use InstructionKind as Kind;
    if rng.percent(50) {
        return InstructionKinds::all();
    }
    let mut kinds = vec![Kind::Parametric, Kind::Variable];
    for (kind, percent) in [
        (Kind::Numeric, 80),
        (Kind::Control, 80),
        (Kind::Memory, 60),
        (Kind::Vector, 30),
        (Kind::Reference, 40),
        (Kind::Table, 40),
    ] {
        if rng.percent(percent) {
            kinds.push(kind);
        }
    }
    InstructionKinds::new(&kinds)
}

/// Everything that is not in WebAssembly 2.0 switched off.
fn beyond_2_0_off() -> Config {
    Config {
        acquire_release_atomics_enabled: false,
        allow_invalid_funcs: false,
        bulk_memory_enabled: true,
        compact_imports_enabled: false,
        custom_descriptors_enabled: false,
        custom_page_sizes_enabled: false,
        exceptions_enabled: false,
        extended_const_enabled: false,
        gc_enabled: false,
        generate_custom_sections: false,
        max_tags: 0,
        memory64_enabled: false,
        multi_value_enabled: true,
        multibyte_array_access_enabled: false,
        relaxed_simd_enabled: false,
        saturating_float_to_int_enabled: true,
        shared_everything_threads_enabled: false,
        sign_extension_ops_enabled: true,
        tail_call_enabled: false,
        threads_enabled: false,
        wide_arithmetic_enabled: false,
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::module::Module;

    fn made(seed: u64) -> Vec<u8> {
        let mut input = vec![0; 1_000];
        Rng::new(seed).fill(&mut input);
        let (header, body) = Header::split(&input);
        module(&header, body, &header.settings())
            .expect("wasm-smith makes something of any bytes")
            .wasm
    }

    #[test]
    fn modules_are_valid_and_no_more_than_2_0() {
        for seed in 0..1_000 {
            if let Err(error) = Module::from_wasm(&made(seed), None) {
                panic!("seed {seed}: {error}");
            }
        }
    }

    #[test]
    fn an_empty_body_makes_a_module_too() {
        for seed in 0..200 {
            let header = Header {
                shape_seed: seed,
                ..Header::split(&[]).0
            };
            let made = module(&header, &[], &header.settings()).expect("a module");
            assert!(Module::from_wasm(&made.wasm, None).is_ok());
        }
    }

    #[test]
    fn some_modules_use_externref_and_some_do_not() {
        let using = (0..300)
            .filter(|seed| {
                Module::from_wasm(&made(*seed), None).is_ok_and(|module| module.uses_externref)
            })
            .count();
        assert!((60..220).contains(&using), "{using} of 300");
    }
}
