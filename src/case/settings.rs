//! The settings of a case: everything besides modules and steps that an engine's behaviour may
//! depend on. A kept case carries them as TOML in `;;!` lines at its top.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::features::{Aarch64Features, Riscv64Features, X86Features};

/// The mark of a line of settings at the top of a script.
const LINE_MARK: &str = ";;!";
/// Bytes of a WebAssembly page.
const PAGE_BYTES: u64 = 64 << 10;
/// The largest guard region.
const MAX_GUARD_BYTES: u64 = 2 << 30;
/// Pages of the largest memory that 32-bit addresses reach.
const MAX_MEMORY_PAGES: u64 = 65_536;

/// Host calls of a step at which the state is looked at, at most.
const MAX_LOOKS: u64 = 1000;

/// The most references that an activations table or a table may hold: the runtime counts the bytes of
/// either in 32 bits.
const MOST_REFERENCES: u32 = 1 << 28;

/// The steps at which frames may be touched.
const PROBESTACK_BYTES: std::ops::RangeInclusive<u32> = 64..=65_536;

/// The settings of a case.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Cranelift's optimisation level.
    pub opt_level: OptLevel,
    /// How registers are allocated, in a generation of Cranelift that has a choice.
    pub register_allocator: RegisterAllocator,
    /// How memories are laid out.
    pub memory_style: MemoryStyle,
    /// Bytes of the guard region behind every memory; a multiple of 64 KiB, at most 2 GiB.
    pub guard_bytes: u64,
    /// References that the activations table holds before a collection; at least 1, at most 2^28.
    pub activations_capacity: u32,
    /// What the destructors of host objects do.
    pub destructor: Destructor,
    /// Whether out-of-bounds heap and table accesses are also blocked under speculation.
    pub spectre: bool,
    /// Whether engines canonicalise NaNs. If not, the module must not let a NaN's payload show.
    pub canonicalise_nans: bool,
    /// The x86-64 extensions to use. What lacks one of them does not support the case.
    pub x86_64: X86Features,
    /// The aarch64 extensions to use.
    pub aarch64: Aarch64Features,
    /// The riscv64 extensions to use.
    pub riscv64: Riscv64Features,
    /// Functions touch their frame at steps of so many bytes before they use it; 0 if they do not.
    /// A power of two, from 64 to 65536.
    pub probestack_bytes: u32,
    /// Whether unknown imports are satisfied by the host; otherwise only `spectest` is.
    pub host_imports: bool,
    /// The seed of what host functions return.
    #[serde(with = "number")]
    pub host_seed: u64,
    /// The call of `parallax.tick` that interrupts, counted from 1; 0 for none.
    #[serde(with = "number")]
    pub interrupt_at: u64,
    /// How many host calls of a step, from the first, are looked at: memories, tables and globals are
    /// compared there as well; at most 1,000.
    pub looks: u32,
    /// Pages of 64 KiB beyond which growing a memory fails, in every engine.
    pub memory_limit: u64,
    /// Elements beyond which growing a table fails, in every engine; at most 2^28.
    pub table_limit: u64,
    /// Fuel of the reference for one step, in its own units; bounds what a file may run.
    #[serde(with = "number")]
    pub fuel: u64,
}

/// Branches that one call takes at most, where they are counted. A case that ends in the reference with
/// all its fuel needs far fewer.
const MOST_BRANCHES: u64 = 100_000_000;

/// Branches that a case with little fuel may take in any case.
const FEWEST_BRANCHES: u64 = 10_000;

/// No instruction takes so many branches more than it costs fuel.
const BRANCHES_PER_FUEL: u64 = 16;

impl Settings {
    /// How many branches, or basic blocks, an engine that counts them may take for one call. Where there is
    /// little fuel it is less, so that a shrinker, which gives a case as little as it needs, does not wait
    /// for what has lost its end.
    pub fn branches(&self) -> u64 {
        let needed = self.fuel.saturating_mul(BRANCHES_PER_FUEL);
        needed.saturating_add(FEWEST_BRANCHES).min(MOST_BRANCHES)
    }

    /// Whether those are more than any call takes that ends in the reference, so that one that takes more
    /// has not ended as it does. With more fuel than there is by default they need not be.
    pub fn branches_suffice(&self) -> bool {
        self.fuel <= Settings::default().fuel
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            opt_level: OptLevel::Speed,
            register_allocator: RegisterAllocator::Backtracking,
            memory_style: MemoryStyle::Static,
            guard_bytes: 2 << 30,
            activations_capacity: 512,
            destructor: Destructor::None,
            spectre: true,
            canonicalise_nans: true,
            x86_64: X86Features::SSE42,
            aarch64: Aarch64Features::NONE,
            riscv64: Riscv64Features::NONE,
            probestack_bytes: 0,
            host_imports: false,
            host_seed: 0,
            interrupt_at: 0,
            looks: 4,
            memory_limit: 1024,
            table_limit: 100_000,
            fuel: 50_000_000,
        }
    }
}

/// What is wrong with the settings of a script.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct SettingsError {
    /// The line of the script it was found on, counted from 1.
    pub line: u32,
    /// What is wrong, in one line.
    pub message: String,
}

impl Settings {
    /// Whether every setting is within its bounds.
    ///
    /// # Errors
    /// One line that names the setting, what it is, and what it may be.
    pub fn validate(&self) -> Result<(), String> {
        let within = |name: &str, value: u64, low: u64, high: u64| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(format!(
                    "{name} is {value}, and must be from {low} to {high}"
                ))
            }
        };
        within("guard-bytes", self.guard_bytes, 0, MAX_GUARD_BYTES)?;
        if !self.guard_bytes.is_multiple_of(PAGE_BYTES) {
            return Err(format!(
                "guard-bytes is {}, and must be a multiple of {PAGE_BYTES}",
                self.guard_bytes
            ));
        }
        let step = self.probestack_bytes;
        if step != 0 && !(step.is_power_of_two() && PROBESTACK_BYTES.contains(&step)) {
            return Err(format!(
                "probestack-bytes is {step}, and must be 0 or a power of two from {} to {}",
                PROBESTACK_BYTES.start(),
                PROBESTACK_BYTES.end()
            ));
        }
        let capacity = u64::from(self.activations_capacity);
        within("activations-capacity", capacity, 1, MOST_REFERENCES.into())?;
        within("looks", self.looks.into(), 0, MAX_LOOKS)?;
        within("memory-limit", self.memory_limit, 0, MAX_MEMORY_PAGES)?;
        within("table-limit", self.table_limit, 0, MOST_REFERENCES.into())
    }

    /// The settings that differ from the default, as lines for the top of a script; empty if none
    /// does.
    pub fn to_lines(&self) -> String {
        let mut lines = String::new();
        let (Ok(these), Ok(defaults)) = (
            toml::Table::try_from(self),
            toml::Table::try_from(Settings::default()),
        ) else {
            // Settings are a flat record of numbers, names and switches, all of which TOML has.
            return lines;
        };
        for (name, value) in &these {
            if defaults.get(name) != Some(value) {
                let _ = writeln!(lines, "{LINE_MARK} {name} = {value}");
            }
        }
        lines
    }

    /// What other settings have otherwise than these, as a script would say it, in one line.
    pub fn change_to(&self, other: &Settings) -> String {
        let (Ok(these), Ok(others)) = (toml::Table::try_from(self), toml::Table::try_from(other))
        else {
            return String::new();
        };
        let changed = others
            .iter()
            .filter(|(name, value)| these.get(*name) != Some(*value))
            .map(|(name, value)| format!("{name} = {value}"));
        changed.collect::<Vec<_>>().join(", ")
    }

    /// The settings that a script carries in lines at its top, over those of `base`. White space
    /// and other comments may stand between those lines; whatever else comes first ends them.
    ///
    /// # Errors
    /// [`SettingsError`] if a line is not TOML, names no setting or gives it a bad value.
    pub fn from_lines(script: &str, base: &Settings) -> Result<Settings, SettingsError> {
        let mut text = String::new();
        let mut numbers = Vec::new();
        for (number, line) in (1..).zip(script.lines()) {
            let line = line.trim();
            if let Some(setting) = line.strip_prefix(LINE_MARK) {
                text.push_str(setting.trim());
                text.push('\n');
                numbers.push(number);
            } else if !line.is_empty() && !line.starts_with(";;") {
                break;
            }
        }
        let Some(&first) = numbers.first() else {
            return Ok(base.clone());
        };
        let error = |line, message: &str| SettingsError {
            line,
            message: message.lines().collect::<Vec<_>>().join(" "),
        };
        let located = |failure: toml::de::Error| {
            let offset = failure.span().map_or(0, |span| span.start);
            let line = text
                .bytes()
                .take(offset)
                .filter(|byte| *byte == b'\n')
                .count();
            error(*numbers.get(line).unwrap_or(&first), failure.message())
        };
        // Read by themselves first, since only that tells where a mistake is.
        toml::from_str::<Settings>(&text).map_err(located)?;
        let given: toml::Table = toml::from_str(&text).map_err(located)?;
        let settings = toml::Table::try_from(base)
            .map_err(|failure| error(first, &failure.to_string()))
            .and_then(|mut table| {
                table.extend(given);
                Settings::deserialize(table).map_err(|failure| error(first, failure.message()))
            })?;
        settings
            .validate()
            .map_err(|message| error(first, &message))?;
        Ok(settings)
    }
}

/// Numbers of 64 bits in TOML, whose integers have a sign: those beyond are written as text.
mod number {
    use serde::de::{Error, Unexpected, Visitor};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
        match i64::try_from(*number) {
            Ok(number) => to.serialize_i64(number),
            Err(_) => to.serialize_str(&format!("{number:#x}")),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        from.deserialize_any(Number)
    }

    struct Number;

    impl Visitor<'_> for Number {
        type Value = u64;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a number from 0, or one of 64 bits as text in hexadecimal")
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
            Ok(number)
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
            u64::try_from(number).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
            text.strip_prefix("0x")
                .and_then(|digits| u64::from_str_radix(digits, 16).ok())
                .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
        }
    }
}

/// Cranelift's optimisation levels.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptLevel {
    /// No optimisation.
    None,
    /// For speed.
    Speed,
    /// For speed and size.
    SpeedAndSize,
}

/// Cranelift's register allocators. What is live across a call is in stack slots by then, which no
/// allocator moves, so stack maps are the same by both.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegisterAllocator {
    /// The one that splits live ranges and goes back on what it did; Cranelift 0.112 has no other.
    Backtracking,
    /// The one that goes through the code once, and spills a lot.
    SinglePass,
}

/// How memories are laid out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryStyle {
    /// The whole index space is reserved up front; the base never moves and bounds are guarded
    /// by unmapped pages.
    Static,
    /// A memory whose maximum is at most [`MemoryStyle::SMALL_PAGES`] has as much reserved up front:
    /// code checks against that constant, and unmapped pages guard the rest. Other memories are dynamic.
    StaticSmall,
    /// The bound is loaded on each access, and growing moves the memory.
    Dynamic,
}

impl MemoryStyle {
    /// Pages reserved for a memory in style [`MemoryStyle::StaticSmall`]. So few that a memory can have
    /// all of them, and the check against the constant alone decides.
    pub const SMALL_PAGES: u64 = 4;
}

/// What the destructor of a host object does when the object is dropped. No engine's visible state
/// may depend on it, since the reference does not see drops: what a destructor changes it restores
/// before it returns.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destructor {
    /// Nothing.
    None,
    /// It reads every externref in tables and globals: none may be the object dropped, which must
    /// have been replaced by then, and all must be alive.
    ReadSlots,
    /// It sets every externref in tables and globals to an object of its own, and then back.
    WriteSlots,
    /// It moves the elements of every table to another place, as growing a table does. The size
    /// stays.
    MoveTables,
    /// It asks for a collection.
    Collect,
    /// It drops another object, which owns one in turn. Two objects each share what they own, so
    /// that only the second drop of the two does that.
    DropOther,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::case::features::{Feature, FeatureSet};

    fn features<F: Feature>() -> impl Strategy<Value = FeatureSet<F>> {
        any::<u32>().prop_map(|bits| {
            let chosen = F::ALL.iter().filter(|feature| bits & feature.bit() != 0);
            chosen.fold(FeatureSet::NONE, |set, feature| set.with(*feature))
        })
    }

    fn settings() -> impl Strategy<Value = Settings> {
        let levels = prop_oneof![
            Just(OptLevel::None),
            Just(OptLevel::Speed),
            Just(OptLevel::SpeedAndSize)
        ];
        let styles = prop_oneof![
            Just(MemoryStyle::Static),
            Just(MemoryStyle::StaticSmall),
            Just(MemoryStyle::Dynamic)
        ];
        let destructors = prop_oneof![
            Just(Destructor::None),
            Just(Destructor::ReadSlots),
            Just(Destructor::WriteSlots),
            Just(Destructor::MoveTables),
            Just(Destructor::Collect),
            Just(Destructor::DropOther)
        ];
        (
            (
                levels,
                styles,
                0..=(2u64 << 14),
                1..=MOST_REFERENCES,
                any::<bool>(),
            ),
            (
                any::<bool>(),
                any::<bool>(),
                (
                    features(),
                    features(),
                    features(),
                    prop_oneof![Just(0), (6..=16u32).prop_map(|log| 1 << log)],
                ),
                any::<bool>(),
                destructors,
            ),
            (
                any::<u64>(),
                any::<u64>(),
                0..=65_536u64,
                0..=MOST_REFERENCES,
                any::<u64>(),
                0..=1000u32,
            ),
        )
            .prop_map(|(layout, switches, numbers)| Settings {
                opt_level: layout.0,
                register_allocator: if layout.4 {
                    RegisterAllocator::SinglePass
                } else {
                    RegisterAllocator::Backtracking
                },
                memory_style: layout.1,
                guard_bytes: layout.2 << 16,
                activations_capacity: layout.3,
                destructor: switches.4,
                spectre: switches.0,
                canonicalise_nans: switches.1,
                x86_64: switches.2.0,
                aarch64: switches.2.1,
                riscv64: switches.2.2,
                probestack_bytes: switches.2.3,
                host_imports: switches.3,
                host_seed: numbers.0,
                interrupt_at: numbers.1,
                looks: numbers.5,
                memory_limit: numbers.2,
                table_limit: u64::from(numbers.3),
                fuel: numbers.4,
            })
    }

    proptest! {
        #[test]
        fn lines_say_all(settings in settings(), base in settings()) {
            let lines = settings.to_lines();
            prop_assert_eq!(
                Settings::from_lines(&lines, &Settings::default()),
                Ok(settings.clone())
            );
            // Over another base, what is not said stays.
            let over = Settings::from_lines(&lines, &base).unwrap();
            if settings.fuel != Settings::default().fuel {
                prop_assert_eq!(over.fuel, settings.fuel);
            }
            if settings.spectre {
                prop_assert_eq!(over.spectre, base.spectre);
            }
        }
    }

    fn error(script: &str) -> (u32, String) {
        let error = Settings::from_lines(script, &Settings::default()).unwrap_err();
        assert!(!error.message.contains('\n'), "{}", error.message);
        (error.line, error.message)
    }

    #[test]
    fn the_default_needs_no_lines() {
        assert_eq!(Settings::default().to_lines(), "");
    }

    #[test]
    fn lines_end_at_the_first_directive() {
        let script = ";; what this guards\n\n;;! opt-level = \"none\"\n(module)\n;;! nonsense\n";
        let settings = Settings::from_lines(script, &Settings::default()).unwrap();
        assert_eq!(settings.opt_level, OptLevel::None);
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        let (line, message) = error(";;! fuel = 1\n;; why\n;;! gaurd-bytes = 0\n");
        assert_eq!(line, 3);
        assert!(message.contains("gaurd-bytes"), "{message}");
        assert_eq!(error(";;! fuel = 1\n;;! fuel\n").0, 2);
        assert_eq!(error("\n;;! opt-level = \"best\"\n").0, 2);
        assert_eq!(error(";;! fuel = -1\n").0, 1);
        assert_eq!(error(";;! host-seed = \"seven\"\n").0, 1);
    }

    #[test]
    fn bounds_are_checked() {
        for bytes in ["32", "96", "131072"] {
            let (_, message) = error(&format!(";;! probestack-bytes = {bytes}"));
            assert!(message.contains("power of two"), "{message}");
        }
        let (_, message) = error(";;! x86-64 = [\"avx2\"]");
        assert!(message.contains("avx2 is listed without avx"), "{message}");
        assert!(error(";;! guard-bytes = 1").1.contains("multiple of 65536"));
        assert!(
            error(";;! guard-bytes = 2147549184")
                .1
                .contains("guard-bytes")
        );
        assert!(error(";;! activations-capacity = 0").1.contains("from 1"));
        // Eight bytes each, which are none at all in 32 bits.
        assert!(
            error(";;! activations-capacity = 536870912")
                .1
                .contains("activations-capacity")
        );
        assert!(error(";;! memory-limit = 65537").1.contains("memory-limit"));
        assert!(
            error(";;! table-limit = 536870912")
                .1
                .contains("table-limit")
        );
    }
}
