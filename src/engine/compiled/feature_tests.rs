//! That extensions of an ISA, and other settings of code generation, change the code.

use super::*;
use crate::case::Settings;
use crate::case::features::{
    Aarch64Feature, Aarch64Features, Feature, Riscv64Feature, Riscv64Features, X86Feature,
    X86Features,
};
use crate::case::settings::RegisterAllocator;
use crate::case::wast::script_from_file;
use crate::codegen::Generation;

/// The code of the same module under two settings.
fn same_code(isa: Isa, settings: [Settings; 2]) -> bool {
    let text = include_bytes!("../../../tests/features.wast");
    let mut case = script_from_file(text, "features.wast").unwrap().case;
    let generation = Generation::CURRENT;
    let mut engine = Compiled::new("test", Backend { isa, generation });
    let imported = case.modules[0].imported_functions();
    let functions = 0..case.modules[0].functions.len() as u32 - imported;
    // Compiled and not loaded, so that it does not matter what can be run here.
    let [one, other] = settings.map(|settings| {
        case.settings = settings;
        let listings = functions.clone().filter_map(|defined| {
            match engine.listing(&case, 0, imported + defined) {
                Ok(listing) => Some(listing.compiled),
                // There are functions of vectors among them.
                Err(Refusal::Unsupported(_)) if isa == Isa::Riscv64 => None,
                Err(refusal) => panic!("{refusal}"),
            }
        });
        listings.collect::<Vec<_>>()
    });
    one == other
}

#[test]
fn every_extension_of_x86_64_changes_code() {
    for feature in X86Feature::ALL {
        let without = X86Features::AVX512.without(*feature);
        let settings = [without, without.with(*feature)].map(|x86_64| Settings {
            x86_64,
            ..Settings::default()
        });
        let same = same_code(Isa::X86_64, settings);
        // No rule looks at SSE3, wasm has no fused multiplication, and rules look at AVX-512 F only
        // together with VL.
        use X86Feature::{Avx512f, Fma, Sse3};
        let useless = matches!(feature, Sse3 | Fma | Avx512f);
        assert_eq!(same, useless, "{feature:?}");
    }
}

#[test]
fn every_extension_of_aarch64_changes_code() {
    let signing = Aarch64Features::NONE.with(Aarch64Feature::SignReturnAddress);
    for feature in Aarch64Feature::ALL {
        let beside = match feature {
            Aarch64Feature::Pauth => signing,
            _ => Aarch64Features::NONE.with(*feature).without(*feature),
        };
        let settings = [beside, beside.with(*feature)].map(|aarch64| Settings {
            aarch64,
            ..Settings::default()
        });
        let same = same_code(Isa::Aarch64, settings);
        // There are no atomic instructions in wasm as far as it is supported. Functions of the
        // convention `tail` sign by zero, for which no instruction both authenticates and returns.
        // All functions store their return address, since they keep frame pointers.
        use Aarch64Feature::{Lse, Pauth, SignReturnAddressAll};
        let useless = matches!(feature, Lse | Pauth | SignReturnAddressAll);
        assert_eq!(same, useless, "{feature:?}");
    }
}

#[test]
fn every_extension_of_riscv64_changes_code() {
    for feature in Riscv64Feature::ALL {
        let beside = Riscv64Features::NONE.with(*feature).without(*feature);
        let settings = [beside, beside.with(*feature)].map(|riscv64| Settings {
            riscv64,
            ..Settings::default()
        });
        assert!(!same_code(Isa::Riscv64, settings), "{feature:?}");
    }
}

#[test]
fn register_allocators_change_code() {
    use RegisterAllocator::{Backtracking, SinglePass};
    for isa in [Isa::X86_64, Isa::Aarch64, Isa::Riscv64] {
        let settings = [Backtracking, SinglePass].map(|register_allocator| Settings {
            register_allocator,
            ..Settings::default()
        });
        assert!(!same_code(isa, settings), "{isa:?}");
    }
}

#[test]
fn probes_change_code() {
    // No function without vectors has a frame that is large enough on riscv64.
    for isa in [Isa::X86_64, Isa::Aarch64] {
        let settings = [0, 64].map(|probestack_bytes| Settings {
            probestack_bytes,
            ..Settings::default()
        });
        assert!(!same_code(isa, settings));
    }
}
