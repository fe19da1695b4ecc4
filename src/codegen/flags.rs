//! What a configuration is called in Cranelift: flags and features by name, which all generations
//! have in common.

use super::{CodegenConfig, Isa};
use crate::case::settings::{OptLevel, X86Level};

/// The name that Cranelift looks an ISA up by.
pub(super) fn triple(isa: Isa) -> &'static str {
    match isa {
        // CLIF is built as for this one.
        Isa::X86_64 | Isa::Clif => "x86_64-unknown-linux-gnu",
        Isa::Aarch64 => "aarch64-unknown-linux-gnu",
    }
}

/// Flags that do not depend on the ISA, with their values.
pub(super) fn shared(config: &CodegenConfig) -> [(&'static str, &'static str); 8] {
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
        // Every function checks the stack limit, and frames are far smaller than what lies below it.
        ("enable_probestack", "false"),
        ("unwind_info", "false"),
        ("enable_verifier", bool(verify)),
    ]
}

fn bool(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// The features of the ISA to use.
pub(super) fn features(config: &CodegenConfig) -> impl Iterator<Item = &'static str> {
    let levels = match config.isa {
        Isa::X86_64 => X86_FEATURES,
        Isa::Aarch64 | Isa::Clif => &[],
    };
    let used = config.x86_64;
    levels
        .iter()
        .filter(move |(level, _)| used >= *level)
        .flat_map(|(_, features)| features.iter().copied())
}

/// Which of Cranelift's x86-64 features each level adds.
const X86_FEATURES: &[(X86Level, &[&str])] = &[
    (
        X86Level::Sse42,
        &[
            "has_sse3",
            "has_ssse3",
            "has_sse41",
            "has_sse42",
            "has_popcnt",
        ],
    ),
    (X86Level::Avx, &["has_avx"]),
    (
        X86Level::Avx2,
        &["has_avx2", "has_bmi1", "has_bmi2", "has_lzcnt", "has_fma"],
    ),
    (
        X86Level::Avx512,
        &[
            "has_avx512f",
            "has_avx512dq",
            "has_avx512vl",
            "has_avx512bitalg",
            "has_avx512vbmi",
        ],
    ),
];
