//! Cases of all generators, on the reference and every engine under test.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use parallax::generate::Generators;
use parallax::generate::mutator::mutate;
use parallax::libfuzzer;

fuzz_target!(init: libfuzzer::init(), |data: &[u8]| {
    libfuzzer::one_input(data, Generators::all());
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate(data, size, max_size, seed, fuzzer_mutate)
});
