//! What a configuration is called in Cranelift: flags and features by name, which all generations
//! have in common.

use super::{CodegenConfig, Isa};
use crate::case::features::{Aarch64Feature, Feature};
use crate::case::settings::OptLevel;

/// The name that Cranelift looks an ISA up by.
pub(super) fn triple(isa: Isa) -> &'static str {
    match isa {
        // CLIF is built as for this one.
        Isa::X86_64 | Isa::Clif => "x86_64-unknown-linux-gnu",
        Isa::Aarch64 => "aarch64-unknown-linux-gnu",
        Isa::Riscv64 => "riscv64gc-unknown-linux-gnu",
    }
}

/// Flags that do not depend on the ISA, with their values.
pub(super) fn shared(config: &CodegenConfig) -> [(&'static str, &'static str); 10] {
    let opt_level = match config.opt_level {
        OptLevel::None => "none",
        OptLevel::Speed => "speed",
        OptLevel::SpeedAndSize => "speed_and_size",
    };
    // cargo-fuzz has debug assertions on, but a fuzzer finds what it has time for.
    let verify = cfg!(debug_assertions) && !cfg!(fuzzing);
    [
        ("opt_level", opt_level),
        (
            "enable_heap_access_spectre_mitigation",
            bool(config.spectre),
        ),
        (
            "enable_table_access_spectre_mitigation",
            bool(config.spectre),
        ),
        (
            "enable_nan_canonicalization",
            bool(config.canonicalise_nans),
        ),
        // The collector walks frames by their frame pointers.
        ("preserve_frame_pointers", "true"),
        // Every function checks the stack limit, and frames are far smaller than what lies below it,
        // so that nothing depends on probes. They are code like any other, though. Those that are
        // out of line call a routine, which is for other than wasm.
        ("enable_probestack", bool(config.probestack_bytes != 0)),
        ("probestack_strategy", "inline"),
        ("probestack_size_log2", log2(config.probestack_bytes)),
        ("unwind_info", "false"),
        ("enable_verifier", bool(verify)),
    ]
}

/// The logarithm of a power of two that settings allow; the default, 12, of anything else.
fn log2(bytes: u32) -> &'static str {
    const NAMES: [&str; 11] = ["6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"];
    let log = bytes.trailing_zeros() as usize;
    let name = log.checked_sub(6).and_then(|at| NAMES.get(at));
    name.copied().unwrap_or("12")
}

fn bool(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// The features of the ISA to use.
pub(super) fn features(config: &CodegenConfig) -> impl Iterator<Item = String> {
    let x86_64 = config.x86_64.iter();
    let aarch64 = config.aarch64.iter();
    let riscv64 = config.riscv64.iter().map(Feature::name);
    x86_64
        .map(Feature::name)
        .chain(riscv64)
        .map(|name| format!("has_{name}"))
        .chain(aarch64.map(|feature| aarch64_flag(feature).to_string()))
}

fn aarch64_flag(feature: Aarch64Feature) -> &'static str {
    match feature {
        Aarch64Feature::Lse => "has_lse",
        Aarch64Feature::Fp16 => "has_fp16",
        Aarch64Feature::Pauth => "has_pauth",
        Aarch64Feature::SignReturnAddress => "sign_return_address",
        Aarch64Feature::SignReturnAddressAll => "sign_return_address_all",
        Aarch64Feature::SignReturnAddressWithBkey => "sign_return_address_with_bkey",
        Aarch64Feature::Bti => "use_bti",
    }
}
