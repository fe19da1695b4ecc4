//! Programs about references, on the reference and every engine under test.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use parallax::generate::mutator::mutate_for;
use parallax::generate::{Generator, Generators};
use parallax::libfuzzer;

fuzz_target!(init: libfuzzer::init(), |data: &[u8]| {
    libfuzzer::one_input(data, Generators::only(Generator::References));
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let generators = Generators::only(Generator::References);
    mutate_for(generators, data, size, max_size, seed, fuzzer_mutate)
});
