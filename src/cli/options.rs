//! Options that several commands take, and how their values are read.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use parallax::campaign::confine::Layer;
use parallax::campaign::{Limits, Mishap, Station};
use parallax::engine::registry;
use parallax::generate::{Generator, Generators};
use parallax::harness;
use parallax::score::Fault;

/// The program that runs, even if another one has taken its place on the disk meanwhile.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// What the workers that run cases may take and do.
#[derive(Args, Clone, Debug)]
pub struct Workers {
    /// Processor time that a case may take before its worker is ended
    #[arg(long, value_name = "TIME", default_value = "60s", allow_hyphen_values = true,
          value_parser = duration)]
    case_time: Duration,
    /// Memory that a worker may use before it is ended, in MiB
    #[arg(long, value_name = "MIB", default_value = "4096", allow_negative_numbers = true,
          value_parser = count)]
    case_memory: u64,
    #[arg(long, hide = true, value_delimiter = ',', value_parser = mishap)]
    mishaps: Vec<Mishap>,
    #[arg(long, hide = true, value_parser = layers, default_value = "landlock,seccomp")]
    confine_by: Layers,
    #[arg(long, hide = true)]
    pub abort_at: Option<String>,
}

impl Workers {
    /// Where such workers come from.
    pub fn station(&self, shrink: bool) -> Station {
        Station {
            program: PathBuf::from(THIS_PROGRAM),
            limits: Limits {
                time: self.case_time,
                memory: self.case_memory.saturating_mul(1 << 20),
            },
            confine_by: self.confine_by.0.clone(),
            shrink,
            mishaps: self.mishaps.clone(),
        }
    }
}

/// Reads the name of an engine that can be used here.
pub fn engine(name: &str) -> Result<&'static str, String> {
    registry::find(name.trim()).map(|info| info.name)
}

/// The subjects named, or those that are run by default. The reference always runs, so naming it
/// changes nothing.
///
/// # Errors
/// One line, if that leaves none.
pub fn subjects(named: &[&'static str]) -> anyhow::Result<Vec<&'static str>> {
    let mut subjects = Vec::new();
    for name in named {
        if *name != registry::REFERENCE && !subjects.contains(name) {
            subjects.push(*name);
        }
    }
    if named.is_empty() {
        subjects = harness::default_subjects();
        if subjects.is_empty() {
            anyhow::bail!("no engine but the reference can be used here (see `parallax engines`)");
        }
    } else if subjects.is_empty() {
        anyhow::bail!(
            "--engines names nothing to compare {} with, which is the reference and always runs \
             (see `parallax engines`)",
            registry::REFERENCE
        );
    }
    Ok(subjects)
}

/// The help of an option that takes generators, with the names of all.
pub fn generators_help() -> String {
    let known = Generator::ALL.map(Generator::name).join(", ");
    format!("Generators to make cases with, separated by commas: {known} [default: all]")
}

/// Reads the name of a generator.
pub fn generator(name: &str) -> Result<Generator, String> {
    let name = name.trim();
    let mut all = Generator::ALL.into_iter();
    all.find(|generator| generator.name() == name)
        .ok_or_else(|| {
            let known = Generator::ALL.map(Generator::name).join(", ");
            format!("no generator is named `{name}` (there are {known})")
        })
}

/// The generators named, or all.
pub fn generators(named: &[Generator]) -> Generators {
    if named.is_empty() {
        Generators::all()
    } else {
        named.iter().copied().collect()
    }
}

/// Reads the name of a fault.
pub fn fault(name: &str) -> Result<Fault, String> {
    name.parse().map_err(|error| {
        let known: Vec<&str> = Fault::ALL.iter().map(|fault| fault.name()).collect();
        format!("{error} (there are {})", known.join(", "))
    })
}

/// Reads a number from 0, in decimal or, after `0x`, in hexadecimal.
pub fn number(text: &str) -> Result<u64, String> {
    let read = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    read.map_err(|_| format!("not a whole number from 0 to {}", u64::MAX))
}

/// Reads a number from 1.
pub fn count(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("not a whole number from 1".to_string()),
        Ok(number) => Ok(number),
    }
}

/// Ways to confine workers.
#[derive(Clone, Debug)]
pub struct Layers(pub Vec<Layer>);

/// Reads ways to confine workers: their names, separated by commas, or `none`.
pub fn layers(names: &str) -> Result<Layers, String> {
    let layer = |name: &str| Layer::ALL.into_iter().find(|layer| layer.name() == name);
    match names {
        "none" => Some(Vec::new()),
        _ => names.split(',').map(layer).collect(),
    }
    .map(Layers)
    .ok_or_else(|| "not among landlock and seccomp, nor none".to_string())
}

/// Reads a mishap.
pub fn mishap(text: &str) -> Result<Mishap, String> {
    text.parse()
}

/// Reads a length of time: numbers with units, the largest unit first, such as `90s` or `1h30m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 5] = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    let wrong = || "not a length of time such as 500ms, 60s, 5m, 8h or 1h30m".to_string();
    let mut total: u64 = 0;
    let mut rest = text;
    let mut smaller = &UNITS[..];
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit = smaller
            .iter()
            .position(|(name, _)| *name == &rest[..letters]);
        let unit = unit.ok_or_else(wrong)?;
        total = number
            .checked_mul(smaller[unit].1)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| "too long a time".to_string())?;
        smaller = &smaller[unit + 1..];
        rest = &rest[letters..];
    }
    if total == 0 {
        return Err(wrong());
    }
    Ok(Duration::from_millis(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_units() {
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in [
            "", "5", "5x", "s", "0s", "-1s", "1m1h", "1s 2s", "1.5s", "é",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert!(duration("99999999999999999d").is_err());
        assert!(duration("99999999999999999999999s").is_err());
    }

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        assert_eq!(number("0x10"), Ok(16));
        assert_eq!(number("18446744073709551615"), Ok(u64::MAX));
        for wrong in ["", "-1", "18446744073709551616", "1.0", "0x", "x"] {
            assert!(number(wrong).is_err(), "{wrong}");
        }
        assert_eq!(count("1"), Ok(1));
        assert!(count("0").is_err());
    }

    #[test]
    fn the_reference_is_no_subject() {
        assert!(subjects(&[registry::REFERENCE]).is_err());
        let named = ["x86_64", registry::REFERENCE, "x86_64"];
        assert_eq!(subjects(&named).ok(), Some(vec!["x86_64"]));
    }
}
