//! What the generators make, run on the reference: it must test something.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parallax::campaign;
use parallax::case::module::{ImportKind, Module, SegmentMode};
use parallax::case::{Action, Case, Step};
use parallax::engine::wasmi::Wasmi;
use parallax::engine::{observe, registry};
use parallax::generate::rng::Rng;
use parallax::generate::{Generator, Generators, case_from_bytes, case_from_bytes_with};
use parallax::stats::Stats;
use parallax_oracles::{Event, Outcome, Owner, Reason, TrapKind, Value, Verdict};

/// Bytes of an input.
const INPUT_BYTES: usize = 3_000;

/// What a run of many random inputs came to.
#[derive(Default)]
struct Measured {
    stats: Stats,
    /// Cases with a step that changes a memory.
    writes_memory: u64,
    /// Cases with an import.
    imports: u64,
    /// Cases with an imported memory, table, global and function.
    imported: [u64; 4],
    /// Cases with more than one instance.
    linked: u64,
    /// Cases whose instantiation traps or is refused.
    stillborn: u64,
    /// Cases with tail calls, several memories, a memory that is addressed by i64, arithmetic in a
    /// constant expression, and relaxed vector instructions.
    beyond: [u64; 5],
    /// Cases with at least one call that returns.
    some_return: u64,
    generation: Duration,
    reference: Duration,
    bytes: u64,
}

fn run(among: Generators, inputs: u64) -> Measured {
    let mut rng = Rng::new(0x5eed);
    let mut engine = Wasmi::new();
    let mut measured = Measured::default();
    let mut input = vec![0; INPUT_BYTES];
    for _ in 0..inputs {
        rng.fill(&mut input);
        let started = Instant::now();
        let case = case_from_bytes_with(&input, among);
        measured.generation += started.elapsed();
        let case = match case {
            Ok(case) => case,
            Err(error) => {
                println!("{error}");
                measured.stats.no_case();
                continue;
            }
        };
        let started = Instant::now();
        let observation = observe(&mut engine, &case).expect("the reference runs every case");
        measured.reference += started.elapsed();
        measured.stats.case(&case, &observation);
        let outcomes = || observation.steps.iter().map(|step| &step.outcome);
        let verdict = outcomes().find_map(|outcome| match outcome {
            Outcome::Inconclusive(reason) => Some(Verdict::Inconclusive(*reason)),
            Outcome::Trapped(TrapKind::StackExhausted) => {
                Some(Verdict::Inconclusive(Reason::StackExhausted))
            }
            _ => None,
        });
        measured.stats.verdict(&verdict.unwrap_or(Verdict::Agreed));
        for outcome in outcomes() {
            assert!(
                !matches!(outcome, Outcome::Failed(_) | Outcome::Escaped(_)),
                "{outcome}"
            );
        }
        let instantiated = matches!(observation.steps[0].outcome, Outcome::Returned(_));
        measured.stillborn += u64::from(!instantiated);
        measured.some_return += u64::from(
            outcomes()
                .skip(1)
                .any(|outcome| matches!(outcome, Outcome::Returned(_))),
        );
        let changes = observation.steps.iter().skip(1);
        measured.writes_memory += u64::from(
            changes
                .flat_map(|step| &step.changes.memories)
                .any(|memory| !memory.chunks.is_empty()),
        );
        let imports = || case.modules.iter().flat_map(|module| &module.imports);
        measured.imports += u64::from(imports().next().is_some());
        for (count, wanted) in measured.imported.iter_mut().zip([
            (|kind| matches!(kind, ImportKind::Memory(_))) as fn(ImportKind) -> bool,
            |kind| matches!(kind, ImportKind::Table(_)),
            |kind| matches!(kind, ImportKind::Global(_)),
            |kind| matches!(kind, ImportKind::Func(_)),
        ]) {
            *count += u64::from(imports().any(|import| wanted(import.kind)));
        }
        for (count, uses) in measured.beyond.iter_mut().zip([
            (|module| module.opcodes.has(&[0x12]) || module.opcodes.has(&[0x13]))
                as fn(&Module) -> bool,
            |module| module.memories.len() > 1,
            |module| module.memories.iter().any(|memory| memory.memory64),
            |module| {
                let offsets = module
                    .data
                    .iter()
                    .filter_map(|segment| match &segment.mode {
                        SegmentMode::Active { offset, .. } => Some(offset),
                        _ => None,
                    });
                let mut all = offsets.chain(&module.global_inits);
                all.any(|expr| expr.0.len() > 1)
            },
            // From `i8x16.relaxed_swizzle` on.
            |module| {
                let mut relaxed = 0x80..=0x93;
                relaxed.any(|low| module.opcodes.has(&[0xfd, low, 0x02]))
            },
        ]) {
            *count += u64::from(case.modules.iter().any(uses));
        }
        let instances = case
            .steps
            .iter()
            .filter(|step| matches!(step.action, Action::Instantiate { .. }));
        measured.linked += u64::from(instances.count() > 1);
        measured.bytes += case
            .modules
            .iter()
            .map(|module| module.wasm.len() as u64)
            .sum::<u64>();
    }
    measured
}

impl Measured {
    fn print(&self, name: &str) {
        let cases = self.stats.cases.max(1);
        let percent = |count: u64| 100.0 * count as f64 / cases as f64;
        let calls = self.stats.calls.returned + self.stats.calls.trapped;
        println!("{name}: {}", self.stats);
        println!(
            "  {:.1} calls a case, {:.1} % return; a call returns in {:.1} % of the cases, none ran in {:.1} %, \
             stillborn {:.1} %, inconclusive {:.1} %",
            calls as f64 / cases as f64,
            100.0 * self.stats.calls.returned as f64 / calls.max(1) as f64,
            percent(self.some_return),
            percent(self.stats.idle),
            percent(self.stillborn),
            percent(self.stats.inconclusive_total()),
        );
        println!(
            "  writes memory {:.1} %, imports {:.1} % (memory {:.1}, table {:.1}, global {:.1}, function {:.1}), linked {:.1} %",
            percent(self.writes_memory),
            percent(self.imports),
            percent(self.imported[0]),
            percent(self.imported[1]),
            percent(self.imported[2]),
            percent(self.imported[3]),
            percent(self.linked),
        );
        println!(
            "  {} bytes a case, {:?} generation, {:?} reference",
            self.bytes / cases,
            self.generation / cases as u32,
            self.reference / cases as u32,
        );
        let traps: Vec<String> = self
            .stats
            .calls
            .traps
            .iter()
            .map(|(kind, count)| format!("{kind} {count}"))
            .collect();
        println!("  traps: {}", traps.join(", "));
    }
}

/// What must hold of each generator by itself and of the mix.
fn check(name: &str, measured: &Measured) {
    let stats = &measured.stats;
    let calls = &stats.calls;
    assert!(
        stats.no_case * 50 < stats.cases,
        "{name}: {} inputs of {} made no case",
        stats.no_case,
        stats.cases
    );
    assert!(
        calls.returned > calls.trapped,
        "{name}: {} calls returned, {} trapped",
        calls.returned,
        calls.trapped
    );
    assert!(
        stats.idle * 10 < stats.cases,
        "{name}: {} cases idle",
        stats.idle
    );
    assert!(
        stats.inconclusive_total() * 20 < stats.cases,
        "{name}: {} cases inconclusive",
        stats.inconclusive_total()
    );
}

#[test]
fn each_generator_makes_cases_that_run() {
    for generator in Generator::ALL {
        let measured = run([generator].into_iter().collect(), 1_000);
        measured.print(generator.name());
        check(generator.name(), &measured);
    }
}

#[test]
fn the_mix_tests_something() {
    let measured = run(Generators::all(), 2_000);
    measured.print("all");
    check("all", &measured);
    let stats = &measured.stats;
    assert!(stats.opcodes.len() > 440, "{} opcodes", stats.opcodes.len());
    println!("beyond 2.0: {:?}", measured.beyond);
    for count in measured.beyond {
        assert!(count * 60 > stats.cases, "{:?}", measured.beyond);
    }
    // Some recursion has no end, but most cases have to come to one.
    assert!(stats.inconclusive_total() * 50 < stats.cases);
    let exhausted = TrapKind::StackExhausted;
    let exhausted = stats.calls.traps.get(&exhausted).copied().unwrap_or(0);
    assert!((4..40).contains(&exhausted), "{exhausted}");
    // Accesses inside memory show as writes, those outside as traps.
    assert!(measured.writes_memory * 3 > stats.cases);
    for kind in [
        TrapKind::MemoryOutOfBounds,
        TrapKind::TableOutOfBounds,
        TrapKind::IndirectCallToNull,
        TrapKind::BadSignature,
        TrapKind::IntegerOverflow,
        TrapKind::IntegerDivisionByZero,
        TrapKind::BadConversionToInteger,
        TrapKind::Unreachable,
        TrapKind::Interrupted,
    ] {
        let count = stats.calls.traps.get(&kind).copied().unwrap_or(0);
        assert!(count >= 5, "only {count} traps of kind {kind}");
    }
    assert!(measured.imports * 2 > stats.cases);
    for (kind, count) in ["memory", "table", "global", "function"]
        .iter()
        .zip(measured.imported)
    {
        assert!(count * 5 > stats.cases, "{kind} imported in {count} cases");
    }
    assert!(measured.linked * 20 > stats.cases);
}

/// Recursion ends, in every engine, before the stack does; or it does not end at all, and is called last.
#[test]
fn no_stack_is_exhausted_but_by_what_is_called_last() {
    let engines = ["wasmi", "x86_64", "aarch64", "clif"];
    let engines = engines.iter().filter(|name| registry::find(name).is_ok());
    let mut engines: Vec<_> = engines
        .map(|name| registry::make(name).expect("it can be used"))
        .collect();
    let exhausted = Outcome::Trapped(TrapKind::StackExhausted);
    for (generator, cases) in [(Generator::Loops, 600), (Generator::References, 1_500)] {
        let mut endless = 0;
        for number in 0..cases {
            let (_, case, _) = campaign::case(5, number, Generators::only(generator));
            let Some(case) = case else { continue };
            let last = case.steps.len() - 1;
            let is_endless = |step: &Step| match &step.action {
                Action::Invoke { export, .. } => export.starts_with("endless"),
                _ => false,
            };
            endless += u32::from(is_endless(&case.steps[last]));
            for engine in &mut engines {
                // The processor may lack what the case is to use.
                let Ok(seen) = observe(engine.as_mut(), &case) else {
                    continue;
                };
                for (step, seen) in case.steps.iter().zip(&seen.steps) {
                    let place = format!("{generator} {number}, {}: {step:?}", engine.name());
                    let exhausts = seen.outcome == exhausted;
                    assert_eq!(exhausts, is_endless(step), "{place}: {}", seen.outcome);
                }
                assert!(!case.steps[..last].iter().any(is_endless));
            }
        }
        println!("{generator}: {endless} of {cases} without end");
        assert!(endless > 0, "{generator}");
    }
}

/// Where a module is instantiated twice the host interrupts either instance, be it called before the other or
/// not; and some interrupts are asked for while wasm waits for a function that the host calls.
#[test]
fn interrupts_come_in_either_instance_and_in_callbacks() {
    let mut engine = Wasmi::new();
    let mut instances = [[0; 2]; 2];
    let mut in_callbacks = 0;
    for number in 0..600 {
        let (_, case, _) = campaign::case(5, number, Generators::only(Generator::Interrupts));
        let Some(case) = case else { continue };
        let called = case.steps.iter().map(|step| match &step.action {
            Action::Invoke {
                instance, export, ..
            } => Some((*instance, export.as_str())),
            _ => None,
        });
        let called: Vec<Option<(u32, &str)>> = called.collect();
        let first = called.iter().flatten().map(|call| call.0).next();
        let is_twice = called.iter().flatten().any(|call| call.0 == 1);
        let seen = observe(&mut engine, &case).expect("the reference runs every case");
        for (call, step) in called.iter().zip(&seen.steps) {
            let interrupted = step.outcome == Outcome::Trapped(TrapKind::Interrupted);
            let Some((instance, export)) = call.filter(|_| interrupted) else {
                continue;
            };
            // What is no loop would return in compiled code.
            assert!(export.starts_with("loop"), "case {number}: {export}");
            let names = step.events.iter().filter_map(|event| match event {
                Event::HostCall { function, .. } => {
                    Some(case.host_items[*function as usize].name.as_str())
                }
                _ => None,
            });
            let names: Vec<&str> = names.collect();
            in_callbacks += u32::from(names.ends_with(&["call", "tick"]));
            if is_twice {
                instances[instance as usize][usize::from(Some(instance) == first)] += 1;
            }
        }
    }
    println!("interrupts in each instance: {instances:?}, in callbacks: {in_callbacks}");
    assert!(instances.iter().flatten().all(|count| *count > 20));
    assert!(in_callbacks > 40);
}

#[test]
fn loops_run_more_than_once() {
    let mut rng = Rng::new(0x1009);
    let mut engine = Wasmi::new();
    let mut input = vec![0; INPUT_BYTES];
    let (mut with_loops, mut repeated, mut once) = (0, 0, 0);
    for _ in 0..1_000 {
        rng.fill(&mut input);
        let Ok(mut case) = case_from_bytes(&input) else {
            continue;
        };
        let mut loops = 0;
        let mut counters = Vec::new();
        for module in &mut case.modules {
            let (counted, found) = loops::count(&module.wasm);
            loops += found;
            counters.push(module.globals.len() as u32);
            *module = Module::from_wasm(&counted, None).expect("a valid module");
        }
        if loops == 0 {
            continue;
        }
        with_loops += 1;
        let observation = observe(&mut engine, &case).expect("the reference runs every case");
        let mut passed = BTreeMap::new();
        for change in observation
            .steps
            .iter()
            .flat_map(|step| &step.changes.globals)
        {
            if let Owner::Instance(instance) = change.global.owner
                && case_counter(&case, instance, &counters) == Some(change.global.index)
                && let Value::I32(count) = change.value
            {
                passed.insert(instance, count as u32);
            }
        }
        let passed: u32 = passed.values().sum();
        once += u32::from(passed > 0);
        repeated += u32::from(passed >= 3 * loops);
    }
    println!("of {with_loops} cases with loops, {once} enter one, {repeated} pass headers often");
    assert!(with_loops > 300);
    assert!(once * 10 > with_loops * 7);
    assert!(repeated * 2 > with_loops);
}

/// The index of the global that counts loop headers in an instance.
fn case_counter(case: &Case, instance: u32, counters: &[u32]) -> Option<u32> {
    let modules = case.steps.iter().filter_map(|step| match step.action {
        Action::Instantiate { module, .. } => Some(module),
        _ => None,
    });
    modules
        .skip(instance as usize)
        .map(|module| counters[module])
        .next()
}

/// Counting how often loop headers are passed.
mod loops {
    use std::convert::Infallible;

    use wasm_encoder::reencode::{Error, Reencode, utils};
    use wasm_encoder::{ConstExpr, GlobalSection, GlobalType, Instruction, SectionId, ValType};

    struct Counting {
        globals: u32,
        counter: Option<u32>,
        loops: u32,
    }

    impl Counting {
        fn add(&mut self, globals: &mut GlobalSection) {
            self.counter = Some(self.globals);
            let ty = GlobalType {
                val_type: ValType::I32,
                mutable: true,
                shared: false,
            };
            globals.global(ty, &ConstExpr::i32_const(0));
        }
    }

    /// The module with a global behind all others that is counted up at every loop header, and
    /// how many loops there are.
    pub fn count(wasm: &[u8]) -> (Vec<u8>, u32) {
        let mut counting = Counting {
            globals: 0,
            counter: None,
            loops: 0,
        };
        let mut module = wasm_encoder::Module::new();
        counting
            .parse_core_module(&mut module, wasmparser::Parser::new(0), wasm)
            .expect("a module");
        (module.finish(), counting.loops)
    }

    impl Reencode for Counting {
        type Error = Infallible;

        fn global_type(
            &mut self,
            ty: wasmparser::GlobalType,
        ) -> Result<GlobalType, Error<Infallible>> {
            self.globals += 1;
            utils::global_type(self, ty)
        }

        fn parse_global_section(
            &mut self,
            globals: &mut GlobalSection,
            section: wasmparser::GlobalSectionReader<'_>,
        ) -> Result<(), Error<Infallible>> {
            utils::parse_global_section(self, globals, section)?;
            self.add(globals);
            Ok(())
        }

        fn intersperse_section_hook(
            &mut self,
            module: &mut wasm_encoder::Module,
            _after: Option<SectionId>,
            before: Option<SectionId>,
        ) -> Result<(), Error<Infallible>> {
            let early = [
                SectionId::Type,
                SectionId::Import,
                SectionId::Function,
                SectionId::Table,
                SectionId::Memory,
                SectionId::Global,
            ];
            if self.counter.is_none() && !before.is_some_and(|before| early.contains(&before)) {
                let mut globals = GlobalSection::new();
                self.add(&mut globals);
                module.section(&globals);
            }
            Ok(())
        }

        fn parse_function_body(
            &mut self,
            code: &mut wasm_encoder::CodeSection,
            function: wasmparser::FunctionBody<'_>,
        ) -> Result<(), Error<Infallible>> {
            let mut body = self.new_function_with_parsed_locals(&function)?;
            let counter = self.counter.expect("globals come before code");
            for operator in function.get_operators_reader()? {
                let operator = operator?;
                let header = matches!(operator, wasmparser::Operator::Loop { .. });
                body.instruction(&self.instruction(operator)?);
                if header {
                    self.loops += 1;
                    body.instruction(&Instruction::GlobalGet(counter));
                    body.instruction(&Instruction::I32Const(1));
                    body.instruction(&Instruction::I32Add);
                    body.instruction(&Instruction::GlobalSet(counter));
                }
            }
            code.function(&body);
            Ok(())
        }
    }
}
