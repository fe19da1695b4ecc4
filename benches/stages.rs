//! What each stage of a case costs: from bytes to verdict, and the way through it piece by piece.
//!
//! Every figure is the mean per case over one fixed set of inputs, drawn from a seed, of 3,000
//! bytes each. The set holds only cases that all engines ran to the end and agreed about, so that
//! every stage sees the same ones. See `docs/performance.md` for what the figures mean.

use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};

use cranelift_codegen::ir;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, criterion_group, criterion_main};
use parallax::case::{Case, Module};
use parallax::codegen::{
    CodegenConfig, CompiledModule, Generation, Generator as CodeGenerator, Isa,
};
use parallax::engine::{Engine, observe, registry};
use parallax::generate::rng::Rng;
use parallax::generate::{Generator, Generators, case_from_bytes, case_from_bytes_with};
use parallax::harness::{Harness, default_subjects};
use parallax::runtime::code::CodeArena;
use parallax::runtime::libcalls;
use parallax::translate::layout::VmLayout;
use parallax::translate::{self, Environment, TranslateConfig, Translator};
use parallax_oracles::{Changes, Observation, Verdict, compare};

/// Bytes of an input.
const INPUT_BYTES: usize = 3_000;

/// Cases in a set.
const CASES: usize = 128;

/// Inputs of a set, all of which make cases that all engines agree about.
fn inputs(generators: Generators) -> Vec<Vec<u8>> {
    let mut harness = harness();
    let mut rng = Rng::new(1);
    let mut drawn = std::iter::repeat_with(|| {
        let mut bytes = vec![0; INPUT_BYTES];
        rng.fill(&mut bytes);
        bytes
    });
    let agreed = |bytes: &Vec<u8>| {
        case_from_bytes_with(bytes, generators)
            .is_ok_and(|case| harness.examine(&case).verdict == Verdict::Agreed)
    };
    let mut kept = Vec::with_capacity(CASES);
    // Nearly all inputs will do; where hardly any does, there is nothing to measure.
    kept.extend(drawn.by_ref().take(20 * CASES).filter(agreed).take(CASES));
    assert_eq!(kept.len(), CASES, "too few cases without a finding");
    kept
}

fn harness() -> Harness {
    Harness::new(&default_subjects()).expect("the default engines are usable")
}

/// Adds a benchmark that shows the mean time per item. `pass` goes over all `items` once and
/// returns the time that what is measured took.
fn per_item(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    items: usize,
    mut pass: impl FnMut() -> Duration,
) {
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|passes| {
            let total: Duration = (0..passes).map(|_| pass()).sum();
            total / u32::try_from(items).expect("a set is small")
        });
    });
}

/// Adds a benchmark of `stage`, called once an item.
fn each<T, R>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    items: &[T],
    mut stage: impl FnMut(&T) -> R,
) {
    per_item(group, name, items.len(), || {
        let started = Instant::now();
        for item in items {
            black_box(stage(black_box(item)));
        }
        started.elapsed()
    });
}

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    // A pass is long, so a sample is one or a few of them.
    group.sampling_mode(SamplingMode::Flat).sample_size(20);
    group
}

/// Whole cases, from bytes to verdict: of the usual mix, and of each generator.
fn whole(criterion: &mut Criterion) {
    let mut group = group(criterion, "case");
    let sets = std::iter::once(("mix", Generators::all())).chain(
        Generator::ALL
            .into_iter()
            .map(|generator| (generator.name(), [generator].into_iter().collect())),
    );
    for (name, generators) in sets {
        let inputs = inputs(generators);
        let mut harness = harness();
        each(&mut group, name, &inputs, |bytes| {
            let case = case_from_bytes_with(bytes, generators).expect("it made one before");
            harness.examine(&case)
        });
    }
}

/// The stages of the mix's cases, in the order in which a case goes through them.
fn stages(criterion: &mut Criterion) {
    let inputs = inputs(Generators::all());
    let cases: Vec<Case> = inputs
        .iter()
        .map(|bytes| case_from_bytes(bytes).expect("it made one before"))
        .collect();
    let mut group = group(criterion, "stage");

    each(&mut group, "generate", &inputs, |bytes| {
        case_from_bytes(bytes)
    });
    // The two that follow are not stages of their own: `generate` decodes what it makes, and
    // `translate` validates.
    each(&mut group, "generate/decode", &cases, |case| {
        for module in &case.modules {
            black_box(Module::from_wasm(&module.wasm, None).is_ok());
        }
    });
    each(&mut group, "translate/validate", &cases, |case| {
        for module in &case.modules {
            black_box(translate::validates(&module.wasm));
        }
    });

    // By the current generation of Cranelift, of whose `codegen` carrying functions over is the first
    // part, and by the old one.
    let mut compiler = Compiler::new(Generation::CURRENT);
    for stage in [Stage::Translate, Stage::Carry, Stage::Codegen, Stage::Load] {
        per_item(&mut group, stage.name(), cases.len(), || {
            cases.iter().map(|case| compiler.time(case, stage)).sum()
        });
    }
    let mut compiler = Compiler::new(Generation::Cranelift0_112);
    per_item(&mut group, "cranelift 0.112/codegen", cases.len(), || {
        cases
            .iter()
            .map(|case| compiler.time(case, Stage::Codegen))
            .sum()
    });

    let mut observations: Vec<Vec<Observation>> = Vec::new();
    for name in std::iter::once(registry::REFERENCE).chain(default_subjects()) {
        let mut engine = registry::make(name).expect("a default engine is usable");
        let engine = engine.as_mut();
        for part in [Part::Start, Part::Run, Part::Snapshot, Part::Finish] {
            let name = format!("{}/{}", engine.name(), part.name());
            per_item(&mut group, &name, cases.len(), || {
                cases.iter().map(|case| time_run(engine, case, part)).sum()
            });
        }
        let seen = cases
            .iter()
            .map(|case| observe(engine, case).expect("it ran before"));
        observations.push(seen.collect());
    }

    let pairs: Vec<(&Observation, &Observation)> =
        observations[0].iter().zip(&observations[1]).collect();
    each(&mut group, "compare", &pairs, |(reference, subject)| {
        compare(reference, subject)
    });
}

/// A stage of compilation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Translate,
    Carry,
    Codegen,
    Load,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Stage::Translate => "translate",
            Stage::Carry => "carry",
            Stage::Codegen => "codegen",
            Stage::Load => "load",
        }
    }
}

/// Compiles as an engine for x86-64 does, with a clock between the stages.
struct Compiler {
    translator: Translator,
    generator: CodeGenerator,
    compiled: CompiledModule,
    arena: CodeArena,
}

impl Compiler {
    fn new(generation: Generation) -> Self {
        Compiler {
            translator: Translator::default(),
            generator: CodeGenerator::new(generation),
            compiled: CompiledModule::default(),
            arena: CodeArena::new(64 << 20).expect("there is memory"),
        }
    }

    /// Compiles all modules of a case; returns the time that one stage took.
    fn time(&mut self, case: &Case, timed: Stage) -> Duration {
        let mut total = Duration::ZERO;
        let mut clock = |stage: Stage, started: Instant| {
            if stage == timed {
                total += started.elapsed();
            }
        };
        let settings = &case.settings;
        let codegen = CodegenConfig::new(Isa::X86_64, settings);
        self.arena.truncate(0);
        for module in &case.modules {
            let started = Instant::now();
            let layout = VmLayout::new(module);
            let config = TranslateConfig {
                memory_style: settings.memory_style,
                guard_bytes: settings.guard_bytes,
                spectre: settings.spectre,
                fault: None,
            };
            let mut environment = Environment::new(module, &layout, config);
            let bodies = translate::bodies(&module.wasm).expect("a valid module");
            clock(Stage::Translate, started);

            self.compiled.clear();
            for (defined, body) in bodies.into_iter().enumerate() {
                let started = Instant::now();
                let mut function = ir::Function::new();
                self.translator
                    .function(body, defined as u32, &mut environment, &mut function)
                    .expect("it was translated before");
                clock(Stage::Translate, started);
                let function = Rc::new(function);

                if timed == Stage::Carry {
                    let started = Instant::now();
                    self.generator
                        .carry(&function)
                        .expect("it was compiled before");
                    clock(Stage::Carry, started);
                    continue;
                }
                let started = Instant::now();
                self.generator
                    .compile(
                        &function,
                        &codegen,
                        module.imported_functions(),
                        None,
                        &mut self.compiled,
                    )
                    .expect("it was compiled before");
                clock(Stage::Codegen, started);
            }

            let started = Instant::now();
            self.arena
                .load(&self.compiled, &libcalls::address)
                .expect("it was loaded before");
            clock(Stage::Load, started);
        }
        total
    }
}

/// A part of what an engine does with a case.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Start,
    Run,
    Snapshot,
    Finish,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Start => "start",
            Part::Run => "run",
            Part::Snapshot => "snapshot",
            Part::Finish => "finish",
        }
    }
}

/// Runs a case as [`observe`] does; returns the time that one part took.
fn time_run(engine: &mut dyn Engine, case: &Case, timed: Part) -> Duration {
    let mut total = Duration::ZERO;
    let mut clock = |part: Part, started: Instant| {
        if part == timed {
            total += started.elapsed();
        }
    };
    let started = Instant::now();
    let mut run = engine.start(case).expect("it ran before");
    clock(Part::Start, started);
    for step in &case.steps {
        let mut events = Vec::new();
        let mut changes = Changes::default();
        let started = Instant::now();
        black_box(run.perform(&step.action, &mut events));
        clock(Part::Run, started);
        let started = Instant::now();
        run.snapshot(&mut changes);
        clock(Part::Snapshot, started);
        black_box((events, changes));
    }
    let mut events = Vec::new();
    let started = Instant::now();
    run.finish(&mut events);
    clock(Part::Finish, started);
    black_box(events);
    total
}

criterion_group!(benches, whole, stages);
criterion_main!(benches);
