use proptest::prelude::*;

use super::*;
use crate::case::Module;
use crate::generate::case_from_bytes;
use crate::generate::rng::Rng;

/// What libFuzzer may do: any size up to the largest.
fn shrink_or_grow(data: &mut [u8], size: usize, max_size: usize) -> usize {
    data[..size].reverse();
    (size * 2 + 1).min(max_size)
}

fn input(seed: u64, size: usize) -> Vec<u8> {
    let mut data = vec![0; size];
    Rng::new(seed).fill(&mut data);
    data
}

/// An input of one module by a generator, made longer than its size so that it can grow.
fn of(generator: Generator, seed: u64) -> Vec<u8> {
    let mut data = input(seed, 900);
    Generators::only(generator).steer(&mut data);
    data[head::LINKING] = 0;
    data
}

/// An input without its stamp.
fn bare(data: &[u8]) -> &[u8] {
    stamp::strip(data).expect("a stamp of this version")
}

fn mutated_copy(data: &[u8], max_size: usize, seed: u32) -> Vec<u8> {
    let mut copy = data.to_vec();
    copy.resize(data.len().max(max_size), 0);
    let size = mutate(&mut copy, data.len(), max_size, seed, shrink_or_grow);
    copy.truncate(size);
    copy
}

/// A module as it is.
fn module(seed: u64) -> Vec<u8> {
    one_module(&of(Generator::ALL[seed as usize % 5], seed)).expect("a module")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn sizes_are_kept_to(
        size in 0usize..6_000,
        max_size in 0usize..6_000,
        content: u64,
        seed: u32,
        whole: bool,
    ) {
        let mut data = if whole { module(content) } else { input(content, size) };
        let size = data.len();
        data.resize(size.max(max_size), 0);
        let new_size = mutate(&mut data, size, max_size, seed, shrink_or_grow);
        prop_assert!(new_size <= max_size);
        // Whatever it is, it is no panic.
        let _ = case_from_bytes(&data[..new_size]);
    }

    #[test]
    fn crossings_are_kept_to_sizes(
        sizes in [0usize..3_000, 0..3_000],
        room in 0usize..4_000,
        content: u64,
        modules in [any::<bool>(), any::<bool>()],
        seed: u32,
    ) {
        let made = [0, 1].map(|at| {
            let content = content.wrapping_add(at as u64);
            if modules[at] { module(content) } else { input(content, sizes[at]) }
        });
        let mut out = vec![0; room];
        let size = cross(&made[0], &made[1], &mut out, seed);
        prop_assert!(size <= room);
        let _ = case_from_bytes(&out[..size]);
    }
}

#[test]
fn the_same_seed_makes_the_same_mutation() {
    for seed in 0..200 {
        for data in [module(u64::from(seed)), input(u64::from(seed), 700)] {
            let other = module(u64::from(seed) + 1);
            assert_eq!(
                mutated_copy(&data, 4_000, seed),
                mutated_copy(&data, 4_000, seed)
            );
            let [mut out, mut again] = [[0; 4_000]; 2];
            assert_eq!(
                cross(&data, &other, &mut out, seed),
                cross(&data, &other, &mut again, seed)
            );
            assert_eq!(out, again);
        }
    }
}

#[test]
fn mutated_inputs_make_cases_that_differ() {
    for generator in Generator::ALL {
        let (mut made, mut same) = (0, 0);
        for seed in 0..200 {
            let data = of(generator, u64::from(seed / 4));
            let mutated = mutated_copy(&data, 4_096, seed);
            let before = case_from_bytes(&data).expect("a case");
            if let Ok(case) = case_from_bytes(&mutated) {
                made += 1;
                same += u32::from(format!("{case:?}") == format!("{before:?}"));
            }
        }
        assert!(made >= 197, "{generator}: {made} of 200");
        // Some decisions have no consequence.
        assert!(same < 80, "{generator}: {same} of 200 as before");
    }
}

#[test]
fn modules_stay_valid_and_change() {
    let (mut valid, mut changed, mut by_type) = (0, 0, 0);
    for seed in 0..300u32 {
        let wasm = module(u64::from(seed));
        let mutated = mutated_copy(&wasm, 8_000, seed);
        valid += u32::from(Module::from_wasm(&mutated, None).is_ok());
        changed += u32::from(mutated != wasm);
        let other = module(u64::from(seed) + 5);
        let mut rng = Rng::new(u64::from(seed));
        if let Some(crossed) = modules::cross(&wasm, &other, 8_000, &mut rng) {
            by_type += 1;
            assert!(Module::from_wasm(&crossed, None).is_ok());
        }
    }
    assert!(
        valid > 270 && changed > 290,
        "{valid} valid, {changed} changed"
    );
    assert!(by_type > 30, "{by_type}");
}

#[test]
fn constants_are_taken_from_the_dictionary() {
    let wasm = wat::parse_str(
        "(module (memory 1) (func (export \"f\") (result i64)
            (i64.load offset=5 (i32.const 7))))",
    )
    .expect("a module");
    let mut texts = std::collections::BTreeSet::new();
    for seed in 0..5_000 {
        let mutated = modules::change_constant(&wasm, &mut Rng::new(seed));
        let mutated = mutated.expect("there are two");
        texts.insert(wasmprinter::print_bytes(&mutated).expect("valid"));
    }
    let among = |text: &str| texts.iter().any(|module| module.contains(text));
    assert!(among("i32.const 65535") && among("i32.const -2147483648") && among("i32.const 6"));
    assert!(among("offset=65536") && among("offset=4294967295"));
}

#[test]
fn body_and_head_change_apart() {
    let mut changed = [0; 2];
    for seed in 0..600 {
        let data = Outline::of(&of(Generator::References, u64::from(seed) / 3))
            .expect("a generator")
            .input(4_000);
        let mutated = mutated_copy(&data, 4_000, seed);
        if is_module(&mutated) {
            continue;
        }
        let after = Outline::of(bare(&mutated)).expect("a generator");
        let before = Outline::of(&data).expect("a generator");
        let shape = before.head[head::SHAPE] != after.head[head::SHAPE];
        let head = before.head != after.head;
        let body = before.bodies[0].bytes != after.bodies[0].bytes;
        // A new program has a new seed of shape, and another generator a body of its own.
        assert!(
            !(head && body)
                || shape
                || after.bodies[0].generator != Generator::References
                || after.bodies.len() > 1,
            "seed {seed}"
        );
        changed[0] += u32::from(head && !body);
        changed[1] += u32::from(body && !head);
    }
    assert!(changed[0] > 40 && changed[1] > 150, "{changed:?}");
}

/// The statements of an input's program, as bytes.
fn items(data: &[u8]) -> Vec<Vec<u8>> {
    let outline = Outline::of(data).expect("a generator");
    let body = &outline.bodies[0];
    let items = body.pieces_of(crate::generate::source::PieceKind::Item);
    items
        .into_iter()
        .map(|item| body.bytes[item].to_vec())
        .collect()
}

#[test]
fn most_mutations_leave_most_statements() {
    let (mut kept, mut total, mut more, mut fewer) = (0, 0, 0, 0);
    for seed in 0..400 {
        let data = of(Generator::References, seed);
        let mut outline = Outline::of(&data).expect("a generator");
        let before = items(&data);
        if !pieces::mutate(&mut outline.bodies[0], &mut Rng::new(seed)) {
            continue;
        }
        let after = items(&outline.input(usize::MAX));
        total += before.len();
        kept += before.iter().filter(|item| after.contains(item)).count();
        more += u32::from(after.len() > before.len());
        fewer += u32::from(after.len() < before.len());
    }
    // A statement that changes is in those around it as well.
    assert!(kept * 100 > total * 70, "{kept} of {total}");
    assert!(more > 50 && fewer > 50, "{more} {fewer}");
}

#[test]
fn crossing_takes_statements_over() {
    let (mut crossed, mut taken) = (0, 0);
    for seed in 0..300 {
        let [one, other] = [
            of(Generator::References, seed),
            of(Generator::References, seed + 1),
        ];
        let mut out = vec![0; 4_000];
        let size = cross(&one, &other, &mut out, seed as u32);
        if size == 0 {
            continue;
        }
        crossed += 1;
        let (before, theirs, after) = (items(&one), items(&other), items(bare(&out[..size])));
        let foreign =
            |item: &&Vec<u8>| item.len() > 6 && theirs.contains(item) && !before.contains(item);
        taken += u32::from(after.iter().filter(foreign).count() > 0);
    }
    assert!(crossed > 60 && taken > 15, "{crossed} {taken}");
}

#[test]
fn what_comes_out_is_of_this_version() {
    let stamped = |version: u32| [&stamp::MAGIC[..], &version.to_le_bytes()].concat();
    let other = stamped(stamp::DECODER_VERSION + 1);
    for (start, rest) in [
        (stamp::stamp().to_vec(), 900),
        (other, 900),
        (vec![7; 9], 0),
        (vec![7; 100], 3_996),
    ] {
        for seed in 0..100 {
            let data = [&start[..], &vec![3; rest]].concat();
            let mutated = mutated_copy(&data, 4_096, seed);
            assert!(is_module(&mutated) || mutated.starts_with(&stamp::stamp()));
            let mut out = vec![0; 4_096];
            let size = cross(&data, &input(1, 700), &mut out, seed);
            assert!(size == 0 || out.starts_with(&stamp::stamp()));
        }
    }
    // No room for a stamp.
    let small = mutated_copy(&[3; 20], 30, 1);
    assert_eq!(stamp::length(&small), 0);
}

#[test]
fn targets_of_some_generators_keep_to_them() {
    let only = Generators::only(Generator::References);
    for seed in 0..300 {
        let mut data = input(u64::from(seed), 600);
        data.resize(2_000, 0);
        let size = mutate_for(only, &mut data, 600, 2_000, seed, shrink_or_grow);
        assert!(only.asked_by(&data[..size]));
        let mut out = vec![0; 2_000];
        let other = input(u64::from(seed) + 1, 600);
        let size = cross_for(only, &data[..size], &other, &mut out, seed);
        assert!(size == 0 || only.asked_by(&out[..size]));
    }
}
