//! Cases of all generators, on the reference and every engine under test.
#![no_main]

use libfuzzer_sys::{fuzz_crossover, fuzz_mutator, fuzz_target, fuzzer_mutate};
use parallax::generate::Generators;
use parallax::libfuzzer;

fuzz_target!(init: libfuzzer::init(), |data: &[u8]| {
    libfuzzer::one_input(data, Generators::all());
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let generators = Generators::all();
    libfuzzer::mutate(generators, data, size, max_size, seed, fuzzer_mutate)
});

fuzz_crossover!(|one: &[u8], other: &[u8], out: &mut [u8], seed: u32| {
    libfuzzer::cross(Generators::all(), one, other, out, seed)
});
