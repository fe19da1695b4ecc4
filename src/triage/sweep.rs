//! A case run again with one of its settings changed at a time, to see which of them matter.

use serde::Serialize;

use super::blame::{INTERPRETER, level_name};
use super::localise::Standing;
use crate::case::Case;
use crate::case::features::{Aarch64Feature, Aarch64Features, Feature, Riscv64Feature, X86Feature};
use crate::case::settings::{MemoryStyle, OptLevel, RegisterAllocator, Settings};
use crate::engine::{observe_steps, registry};
use crate::runtime::audit::Breach;
use crate::score::Fault;

/// One setting, changed, and what came of it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Variation {
    /// The setting with its other value, as a line of a script's settings, or the extension that
    /// is missing or there.
    pub setting: String,
    /// Whether only code generation looks at it, so that functions can be mixed.
    #[serde(skip)]
    pub of_code_generation: bool,
    /// The settings as a whole.
    #[serde(skip)]
    pub settings: Settings,
    /// What came of it in the engines that differ under the case's own settings.
    pub engines: Vec<(String, Shows)>,
}

/// Whether an engine still differs from the reference.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shows {
    /// It does.
    Differs,
    /// It does not.
    Agrees,
    /// It cannot run the case so, or nothing can be said.
    NotCompared,
}

impl From<Standing> for Shows {
    fn from(standing: Standing) -> Shows {
        match standing {
            Standing::Differs(_) => Shows::Differs,
            Standing::Agrees => Shows::Agrees,
            Standing::Unsupported(_) | Standing::Inconclusive(_) => Shows::NotCompared,
        }
    }
}

/// What looks at a setting.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// Code generation, for any target.
    CodeGeneration,
    /// Code generation for one, by the start of its engines' names.
    Target(&'static str),
    /// Code generation by the current generation of Cranelift, for any target.
    CurrentGeneration,
    /// Others too.
    Any,
}

impl Reader {
    fn reads_for(self, engine: &str) -> bool {
        match self {
            Reader::Target(target) => engine.starts_with(target),
            Reader::CodeGeneration => engine != INTERPRETER,
            Reader::CurrentGeneration => {
                engine != INTERPRETER && !registry::is_of_old_generation(engine)
            }
            Reader::Any => true,
        }
    }
}

/// All settings that differ from the case's in one, each with what looks at that one. NaNs are not
/// left as they are where the case makes them canonical, since its program may let their payloads
/// show.
fn changed(settings: &Settings) -> Vec<(Settings, Reader, String)> {
    let mut all: Vec<(Settings, Reader, String)> = Vec::new();
    let mut add_as = |reader: Reader, name: Option<String>, change: &dyn Fn(&mut Settings)| {
        let mut changed = settings.clone();
        change(&mut changed);
        if changed != *settings && !all.iter().any(|(known, ..)| *known == changed) {
            let name = name.unwrap_or_else(|| settings.change_to(&changed));
            all.push((changed, reader, name));
        }
    };
    for feature in settings.x86_64.iter() {
        let name = format!("x86-64 without {}", feature.name());
        add_as(Reader::Target("x86_64"), Some(name), &|settings| {
            settings.x86_64 = settings.x86_64.without(feature);
        });
    }
    for feature in Aarch64Feature::ALL {
        let with = match settings.aarch64.has(*feature) {
            true => "without",
            false => "with",
        };
        let name = format!("aarch64 {with} {}", feature.name());
        add_as(Reader::Target("aarch64"), Some(name), &|settings| {
            settings.aarch64 = settings.aarch64.toggle(*feature);
        });
    }
    for feature in Riscv64Feature::ALL {
        let with = match settings.riscv64.has(*feature) {
            true => "without",
            false => "with",
        };
        let name = format!("riscv64 {with} {}", feature.name());
        add_as(Reader::Target("riscv64"), Some(name), &|settings| {
            settings.riscv64 = settings.riscv64.toggle(*feature);
        });
    }
    let mut add = |reader, change: &dyn Fn(&mut Settings)| add_as(reader, None, change);
    for level in [OptLevel::None, OptLevel::Speed, OptLevel::SpeedAndSize] {
        add(Reader::CodeGeneration, &|settings| {
            settings.opt_level = level
        });
    }
    for allocator in [
        RegisterAllocator::Backtracking,
        RegisterAllocator::SinglePass,
    ] {
        add(Reader::CurrentGeneration, &|settings| {
            settings.register_allocator = allocator
        });
    }
    let x86_64 = Reader::Target("x86_64");
    for (_, level) in X86Feature::LEVELS {
        add(x86_64, &|settings| settings.x86_64 = *level);
    }
    let aarch64 = Reader::Target("aarch64");
    add(aarch64, &|settings| {
        settings.aarch64 = Aarch64Features::NONE
    });
    add(Reader::CodeGeneration, &|settings| {
        settings.probestack_bytes = 0
    });
    add(Reader::CodeGeneration, &|settings| {
        settings.canonicalise_nans = true
    });
    add(Reader::Any, &|settings| {
        settings.spectre = !settings.spectre
    });
    let styles = [
        MemoryStyle::Static,
        MemoryStyle::StaticSmall,
        MemoryStyle::Dynamic,
    ];
    for style in styles {
        add(Reader::Any, &|settings| settings.memory_style = style);
    }
    add(Reader::Any, &|settings| settings.activations_capacity = 1);
    add(Reader::Any, &|settings| {
        settings.activations_capacity = 100_000
    });
    all
}

/// Runs a case under all settings that differ from its own in one, in the engines that differ and
/// to which that one means something.
///
/// # Errors
/// What `stands` fails with.
pub fn vary(
    case: &Case,
    stands: impl Fn(&Case, &str) -> Result<Standing, String>,
    differ: &[&str],
) -> Result<Vec<Variation>, String> {
    let mut variations = Vec::new();
    for (settings, reader, setting) in changed(&case.settings) {
        let varied = Case {
            settings: settings.clone(),
            ..case.clone()
        };
        let mut engines: Vec<(String, Shows)> = Vec::new();
        for name in differ.iter().filter(|name| reader.reads_for(name)) {
            engines.push((name.to_string(), stands(&varied, name)?.into()));
        }
        let variation = Variation {
            setting,
            of_code_generation: reader != Reader::Any,
            settings,
            engines,
        };
        if !variation.all_are(Shows::NotCompared) {
            variations.push(variation);
        }
    }
    Ok(variations)
}

impl Variation {
    fn all_are(&self, shows: Shows) -> bool {
        self.engines.iter().all(|(_, it)| *it == shows)
    }

    /// What came of it in an engine.
    pub fn of(&self, engine: &str) -> Option<Shows> {
        let mut engines = self.engines.iter();
        engines.find_map(|(name, shows)| (name == engine).then_some(*shows))
    }
}

/// The changes with which none of these engines differs any more.
pub fn gone_with(sweep: &[Variation], differ: &[String]) -> Vec<String> {
    let gone = sweep.iter().filter(|variation| {
        let agrees = |engine: &String| variation.of(engine) == Some(Shows::Agrees);
        // The interpreter has no settings of code generation to change.
        let engines = differ.iter().filter(|engine| *engine != INTERPRETER);
        engines.clone().next().is_some() && engines.clone().all(agrees)
    });
    gone.map(|variation| variation.setting.clone()).collect()
}

/// The optimisation levels at which some engine differs; `None` if one was not to be compared.
pub fn levels(case: &Case, sweep: &[Variation]) -> Option<Vec<OptLevel>> {
    let own = case.settings.opt_level;
    let others: Vec<&Variation> = sweep
        .iter()
        .filter(|variation| variation.settings.opt_level != own)
        .collect();
    if others.len() != 2 {
        return None;
    }
    let differs = |variation: &&&Variation| {
        let mut engines = variation.engines.iter();
        engines.any(|(_, shows)| *shows == Shows::Differs)
    };
    let others = others.iter().filter(differs);
    let mut levels: Vec<OptLevel> = others.map(|it| it.settings.opt_level).collect();
    levels.push(own);
    levels.sort_unstable_by_key(|level| level_name(*level).len());
    Some(levels)
}

/// The case under settings that make other code, with which an engine agrees, and what is changed
/// in them.
pub fn good_for_code_generation<'s>(
    case: &Case,
    sweep: &'s [Variation],
    engine: &str,
) -> Option<(Case, &'s str)> {
    let good = sweep
        .iter()
        .find(|it| it.of_code_generation && it.of(engine) == Some(Shows::Agrees))?;
    let settings = good.settings.clone();
    Some((
        Case {
            settings,
            ..case.clone()
        },
        &good.setting,
    ))
}

/// Runs a case with the runtime held to its contracts, in an engine that compiles; the first that
/// it breaks.
pub fn audited(case: &Case, steps: usize, engine: &str, fault: Option<Fault>) -> Option<Breach> {
    let mut compiled = registry::make_compiled(engine, fault)?;
    compiled.audit();
    observe_steps(&mut compiled, case, steps).ok()?;
    compiled.breach().cloned()
}
