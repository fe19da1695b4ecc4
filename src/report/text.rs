//! A report as text.

use std::fmt::Write;
use std::path::PathBuf;

use super::{Campaign, Report, Target, diverged};
use crate::triage::known::{self, KnownFault};

/// The whole report.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    if let Some(campaign) = &report.campaign {
        self::campaign(&mut out, campaign);
    }
    others(&mut out, &report.others);
    for target in &report.targets {
        self::target(&mut out, target);
    }
    let others = report.others.iter().filter(|it| diverged(it)).count();
    let findings = report.campaign.as_ref().map_or(0, |it| it.findings.len());
    let saved: usize = report.targets.iter().map(|it| it.saved.len()).sum();
    // Writing to a string does not fail.
    let _ = match (findings, saved, others) {
        (0, 0, 0) => writeln!(out, "\nNothing was found."),
        _ => writeln!(
            out,
            "\nFound: {} by `parallax fuzz`, {} saved by fuzz targets{}.",
            counted(findings, "cause"),
            counted(saved, "input"),
            match others {
                0 => String::new(),
                _ => format!(", {} saved by other runs", counted(others, "input")),
            }
        ),
    };
    out
}

/// Saved inputs that the run does not know, which may be many.
fn others(out: &mut String, others: &[PathBuf]) {
    const SHOWN: usize = 20;
    if others.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "{} saved that run.json does not know, by another run or one that was killed",
        counted(others.len(), "input")
    );
    for path in others.iter().take(SHOWN) {
        let _ = writeln!(out, "  saved     {}", path.display());
    }
    if let Some(more @ 1..) = others.len().checked_sub(SHOWN) {
        let _ = writeln!(out, "  and {more} more, which report.json names");
    }
}

fn campaign(out: &mut String, campaign: &Campaign) {
    let stats = &campaign.stats;
    let (covered, all) = campaign.covered();
    let _ = writeln!(
        out,
        "parallax fuzz, seed {}: {} cases in {} ({:.0}/s), {}\n  \
         verdicts  {} agreed, {} diverged, {} known, {} inconclusive\n  \
         opcodes   {covered} of {all}\n  \
         workers   {} lost",
        campaign.job.seed,
        stats.cases,
        time(campaign.seconds),
        stats.cases as f64 / campaign.seconds.max(0.001),
        counted(campaign.starts as usize, "start"),
        stats.agreed,
        stats.diverged,
        stats.known,
        stats.inconclusive_total(),
        campaign.workers_lost
    );
    for (reason, count) in &stats.inconclusive {
        let _ = writeln!(out, "  no verdict  {count} {reason}");
    }
    for (fault, count) in &stats.known_faults {
        let fixed = known::named(fault).is_some_and(KnownFault::is_fixed_upstream);
        let fixed = if fixed { ", fixed upstream" } else { "" };
        let _ = writeln!(out, "  known     {count} {fault}{fixed}");
    }
    for group in &campaign.findings {
        let key = &group.key;
        let blame = key.blame.as_ref().map_or("", |blame| blame.layer.name());
        let _ = writeln!(
            out,
            "  found     {}: {} in {} {blame}\n            {}\n            first {}",
            counted(group.cases as usize, "case"),
            key.oracle,
            key.engine,
            key.shape,
            campaign.folder.join(&group.input).display()
        );
        if let Some(script) = &group.script {
            let path = campaign.folder.join(script);
            let _ = writeln!(out, "            small {}", path.display());
        }
    }
    for name in &campaign.set_aside {
        let _ = writeln!(out, "  aside     {}", campaign.folder.join(name).display());
    }
}

fn target(out: &mut String, target: &Target) {
    let _ = if target.started {
        writeln!(
            out,
            "fuzz target {}: {} runs, {} edges, {} inputs in the corpus",
            target.name, target.runs, target.edges, target.corpus
        )
    } else {
        writeln!(
            out,
            "fuzz target {0}: not run, targets/{0}/log may say why",
            target.name
        )
    };
    if let Some(done) = &target.done {
        let _ = writeln!(out, "  {done}");
    }
    if let Some(found) = &target.found {
        let _ = writeln!(out, "  found     {found}");
    }
    for name in &target.saved {
        let _ = writeln!(out, "  saved     targets/{}/{name}", target.name);
    }
}

/// So many of something.
fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// A length of time, as a person says it.
pub fn time(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3_600, whole / 60 % 60),
    }
}
