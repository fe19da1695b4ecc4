//! Fewer steps, settings nearer to the defaults, simpler arguments, calls that go straight to where it
//! happens.

use std::rc::Rc;

use serde::Deserialize;

use super::Shrinker;
use super::draft::{Doing, Draft};
use super::values::simpler;
use crate::case::Settings;
use crate::case::features::{Feature, FeatureSet};
use crate::case::module::Extern;

/// How often one value is made simpler in a row: it could be done a million times, by one each.
pub(super) const MOST_VALUES: usize = 64;

impl Shrinker<'_> {
    pub(super) fn steps(&mut self) {
        // What comes after the step that differs hardly ever matters.
        let last = self.draft.steps.len();
        let first = self.first_step_that_differs();
        if let Some(first) = first {
            let cut = self.draft.without_steps(|index| index > first);
            if first + 1 < last {
                self.attempt(Some(cut));
            }
        }
        self.chunks(
            |draft| draft.steps.len(),
            |draft, range| Some(draft.without_steps(|index| range.contains(&index))),
        );
    }

    /// The position in the draft of the step that differs.
    fn first_step_that_differs(&self) -> Option<usize> {
        let parallax_oracles::Verdict::Diverged(findings) = &self.best.examined.verdict else {
            return None;
        };
        let step = findings.iter().map(|finding| finding.step).min()?;
        let steps = self.draft.steps.iter().enumerate();
        let mut taken = steps.filter(|(_, doing)| !matches!(doing, Doing::Register { .. }));
        taken.nth(step).map(|(position, _)| position)
    }

    /// All settings at once, then one by one. They are taken from their serialised form, so that a
    /// new setting needs nothing here.
    pub(super) fn settings(&mut self) {
        let (Ok(defaults), Ok(mine)) = (
            toml::Table::try_from(Settings::default()),
            toml::Table::try_from(&self.draft.settings),
        ) else {
            // Settings are a flat record of what TOML has.
            return;
        };
        let differ = |name: &str, value| defaults.get(name) != Some(value);
        let names: Vec<String> = mine
            .iter()
            .filter(|(name, value)| *name != "fuel" && differ(name, value))
            .map(|(name, _)| name.clone())
            .collect();
        if names.len() > 1 {
            let candidate = with_defaults(&self.draft, &names);
            if self.attempt(candidate) {
                return;
            }
        }
        for name in names {
            let candidate = with_defaults(&self.draft, std::slice::from_ref(&name));
            self.attempt(candidate);
        }
        self.extensions(|settings| &mut settings.x86_64);
        self.extensions(|settings| &mut settings.aarch64);
        self.extensions(|settings| &mut settings.riscv64);
    }

    /// As few extensions of an ISA as it takes besides those that there are by default, one by one.
    fn extensions<F: Feature>(&mut self, of: impl Fn(&mut Settings) -> &mut FeatureSet<F>) {
        let set = |settings: &Settings| *of(&mut settings.clone());
        let defaults = set(&Settings::default());
        for feature in set(&self.draft.settings).beyond(defaults) {
            let mut candidate = self.draft.clone();
            let extensions = of(&mut candidate.settings);
            *extensions = extensions.without(feature);
            self.attempt(candidate.settings.validate().is_ok().then_some(candidate));
        }
    }

    /// As little fuel as will do. A candidate that loses what ends a loop would run for long, only to
    /// be found inconclusive.
    pub(super) fn little_fuel(&mut self) {
        for fuel in [10_000, 100_000, 1_000_000] {
            if fuel < self.draft.settings.fuel && self.with_fuel(fuel) {
                return;
            }
        }
    }

    /// As much fuel as there is by default, so that nothing has to be said about it.
    pub(super) fn default_fuel(&mut self) {
        self.with_fuel(Settings::default().fuel);
    }

    fn with_fuel(&mut self, fuel: u64) -> bool {
        let mut candidate = self.draft.clone();
        candidate.settings.fuel = fuel;
        self.attempt(Some(candidate))
    }

    /// Arguments nearer to zero.
    pub(super) fn arguments(&mut self) {
        for step in 0..self.draft.steps.len() {
            let count = match &self.draft.steps[step] {
                Doing::Invoke { args, .. } => args.len(),
                _ => continue,
            };
            for arg in 0..count {
                for _ in 0..MOST_VALUES {
                    let value = match &self.draft.steps[step] {
                        Doing::Invoke { args, .. } => args[arg],
                        _ => break,
                    };
                    let better = simpler(value).into_iter().any(|value| {
                        let mut candidate = self.draft.clone();
                        if let Doing::Invoke { args, .. } = &mut candidate.steps[step] {
                            args[arg] = value;
                        }
                        self.attempt(Some(candidate))
                    });
                    if !better {
                        break;
                    }
                }
            }
        }
    }

    /// Calls another function of the module instead, with zeroes: one that the function called so far
    /// does nothing but call. Only if that leaves less code.
    pub(super) fn retarget(&mut self) {
        for step in (0..self.draft.steps.len()).rev() {
            let Doing::Invoke {
                instance, export, ..
            } = &self.draft.steps[step]
            else {
                continue;
            };
            let Some(position) = self.draft.part_of(*instance) else {
                continue;
            };
            let export = export.clone();
            let Some(part) = &self.draft.parts[position] else {
                continue;
            };
            let now = part.program.exported_function(&export);
            let others: Vec<usize> = part.program.defined_functions().collect();
            for function in others.into_iter().filter(|it| Some(*it) != now) {
                let candidate = called_instead(&self.draft, step, position, function);
                let smaller = |draft: &Draft| {
                    draft.size().instructions < self.draft.size().instructions
                        || draft.size().functions < self.draft.size().functions
                };
                if self.attempt(candidate.filter(smaller)) {
                    break;
                }
            }
        }
    }
}

/// A draft with some settings as they are by default.
fn with_defaults(draft: &Draft, names: &[String]) -> Option<Draft> {
    let mut table = toml::Table::try_from(&draft.settings).ok()?;
    for name in names {
        table.remove(name);
    }
    let settings = Settings::deserialize(table).ok()?;
    settings.validate().ok()?;
    Some(Draft {
        settings,
        ..draft.clone()
    })
}

/// A draft in which a step calls another function of its module, and what nothing refers to any more
/// is gone.
fn called_instead(draft: &Draft, step: usize, position: usize, function: usize) -> Option<Draft> {
    let mut draft = draft.clone();
    let part = draft.parts[position].as_ref()?;
    let mut program = part.program.clone();
    let ty = program.functions[function].what.ty.clone();
    let name = program
        .exports
        .iter()
        .find_map(|(name, item)| (*item == Extern::Func(function as u32)).then(|| name.clone()));
    let name = match name {
        Some(name) => name,
        None => {
            let name = format!("f{function}");
            if program.exports.iter().any(|(known, _)| *known == name) {
                return None;
            }
            program
                .exports
                .push((name.clone(), Extern::Func(function as u32)));
            name
        }
    };
    let zeroes = ty.params.iter().map(|ty| ty.default_value()).collect();
    match &mut draft.steps[step] {
        Doing::Invoke { export, args, .. } => {
            *export = name;
            *args = zeroes;
        }
        _ => return None,
    }
    let named = names_in_use(&draft, position);
    program.exports.retain(|(name, item)| {
        !matches!(item, Extern::Func(_)) || named.iter().any(|used| used == name)
    });
    program.remove_unused();
    draft.parts[position] = Some(Rc::new(super::draft::Part::new(program)?));
    Some(draft)
}

/// The exports of a part that steps name.
pub(super) fn names_in_use(draft: &Draft, position: usize) -> Vec<String> {
    let mut names = Vec::new();
    for doing in &draft.steps {
        if let Doing::Invoke {
            instance, export, ..
        }
        | Doing::Get { instance, export } = doing
            && draft.part_of(*instance) == Some(position)
            && !names.contains(export)
        {
            names.push(export.clone());
        }
    }
    names
}
