//! A report as a page: one file, no scripts, light or dark as the reader has it.

use std::fmt::Write;
use std::path::PathBuf;

use super::plot::{Bar, bars, curve, escaped, short};
use super::text::time;
use super::{Campaign, Report, Target};
use crate::campaign::Limits;
use crate::triage::known;

const STYLE: &str = "\
:root{color-scheme:light dark;--paper:#fcfcfb;--card:#fff;--ink:#1b1f24;--soft:#5b6470;--line:#e3e5e8;\
--accent:#2563a8;--wash:#2563a81a;--rest:#eceef1;--bad:#b42318;--badwash:#b423180f;--good:#1f7a4d}\
@media(prefers-color-scheme:dark){:root{--paper:#14171a;--card:#1b1f24;--ink:#e6e8eb;--soft:#98a1ac;\
--line:#2c3239;--accent:#6aa9ec;--wash:#6aa9ec22;--rest:#282e35;--bad:#ff8a7a;--badwash:#ff8a7a14;--good:#63c493}}\
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);\
font:15px/1.5 system-ui,sans-serif}main{max-width:1080px;margin:0 auto;padding:32px 20px 64px}\
h1{font-size:26px;margin:0 0 4px}h2{font-size:18px;margin:36px 0 12px}h3{font-size:14px;margin:0 0 8px;\
font-weight:600}p{margin:0 0 12px}.soft{color:var(--soft)}.grid2{display:grid;gap:16px;\
grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr))}.card{background:var(--card);\
border:1px solid var(--line);border-radius:8px;padding:16px}.tiles{display:grid;gap:12px;\
grid-template-columns:repeat(auto-fit,minmax(140px,1fr));margin:20px 0}.tile b{display:block;font-size:24px;\
font-weight:600;font-variant-numeric:tabular-nums}.tile.bad b{color:var(--bad)}.tile.good b{color:var(--good)}\
svg{display:block;width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:var(--soft)}\
svg .value{fill:var(--ink)}.grid{stroke:var(--line)}.curve{fill:none;stroke:var(--accent);stroke-width:2;\
stroke-linejoin:round}.area{fill:var(--wash)}.end{fill:var(--accent)}.bar{fill:var(--accent)}\
.rest{fill:var(--rest)}.hover{fill:transparent}.hover:hover{fill:var(--wash)}\
.finding{border-left:3px solid var(--bad);background:var(--badwash);margin:0 0 12px;padding:12px 16px;\
border-radius:0 8px 8px 0;overflow-wrap:anywhere}code,pre{font:13px/1.45 ui-monospace,monospace}\
pre{overflow-x:auto;margin:8px 0 0}table{border-collapse:collapse;width:100%}th,td{text-align:left;\
padding:6px 12px 6px 0;border-bottom:1px solid var(--line);vertical-align:top}th{font-weight:600;\
color:var(--soft)}td.n,th.n{text-align:right;padding-right:24px;font-variant-numeric:tabular-nums}details{margin-top:10px}\
summary{cursor:pointer;color:var(--soft)}";

/// The page.
pub fn page(report: &Report) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>parallax: what came of the night</title><style>{STYLE}</style></head><body><main>\n\
         <h1>What came of the night</h1>\n"
    );
    if let Some(campaign) = &report.campaign {
        heading(&mut out, report, campaign);
        findings(&mut out, campaign);
        plots(&mut out, campaign);
    } else {
        // Writing to a string does not fail.
        let _ = writeln!(out, "<p class=\"soft\">parallax {}</p>", report.version);
    }
    if !report.others.is_empty() {
        others(&mut out, &report.others);
    }
    if !report.targets.is_empty() {
        targets(&mut out, &report.targets);
    }
    out.push_str("</main></body></html>\n");
    out
}

fn heading(out: &mut String, report: &Report, campaign: &Campaign) {
    let stats = &campaign.stats;
    let generators: Vec<&str> = campaign.job.generators.iter().map(|it| it.name()).collect();
    let _ = writeln!(
        out,
        "<p class=\"soft\">parallax {}; seed {}; {}; cases by {}{}</p>",
        report.version,
        campaign.job.seed,
        escaped(&campaign.job.subjects.join(", ")),
        generators.join(", "),
        match campaign.job.fault {
            Some(fault) => format!("; planted fault: {}", fault.name()),
            None => String::new(),
        }
    );
    let (covered, all) = campaign.covered();
    let rate = stats.cases as f64 / campaign.seconds.max(0.001);
    let causes = campaign.findings.len();
    let tiles = [
        (
            if causes > 0 { "bad" } else { "good" },
            causes.to_string(),
            if causes == 1 {
                "cause of findings"
            } else {
                "causes of findings"
            },
        ),
        ("", short(stats.cases as f64), "cases"),
        ("", format!("{rate:.0}/s"), "throughput"),
        ("", time(campaign.seconds), "of running"),
        ("", format!("{covered}/{all}"), "opcodes of WebAssembly 2.0"),
        (
            "",
            short(stats.inconclusive_total() as f64),
            "without a verdict",
        ),
    ];
    out.push_str("<div class=\"tiles\">");
    for (class, value, name) in tiles {
        let _ = write!(
            out,
            "<div class=\"card tile {class}\"><b>{value}</b><span class=\"soft\">{name}</span></div>"
        );
    }
    out.push_str("</div>\n");
}

fn findings(out: &mut String, campaign: &Campaign) {
    out.push_str("<h2>Findings</h2>\n");
    if campaign.findings.is_empty() {
        out.push_str("<p>All engines agreed, but for what is known.</p>\n");
    }
    for group in &campaign.findings {
        let key = &group.key;
        let blame = key.blame.as_ref().map(|blame| blame.layer.name());
        let _ = write!(
            out,
            "<div class=\"finding\"><b>{}: {} in {}</b>{}<br>{}<br><span class=\"soft\">{}</span>\
             <pre>{}",
            cases(group.cases),
            key.oracle,
            escaped(&key.engine),
            blame.map_or(String::new(), |layer| format!(", blamed on the {layer}")),
            escaped(&key.shape),
            escaped(&group.example),
            escaped(&recipe(campaign, &group.input))
        );
        if let (Some(small), Some(script)) = (&group.small, &group.script) {
            let opcodes: Vec<&str> = small.opcodes.iter().map(String::as_str).collect();
            let _ = write!(
                out,
                "\n{}</pre><span class=\"soft\">shrunk to {} instructions; beside the \
                 plain ones: {}</span></div>\n",
                escaped(&recipe(campaign, script)),
                small.instructions,
                escaped(&opcodes.join(", "))
            );
        } else {
            out.push_str("</pre></div>\n");
        }
    }
    if !campaign.set_aside.is_empty() {
        out.push_str(
            "<p class=\"soft\">Set aside, since no worker came to an end with them:</p><ul>",
        );
        for name in &campaign.set_aside {
            let path = campaign.folder.join(name).display().to_string();
            let _ = write!(out, "<li><code>{}</code></li>", escaped(&path));
        }
        out.push_str("</ul>\n");
    }
}

/// The command that shows again what came of a file of a run. By how much a case may take the run does not
/// tell; it hardly ever matters.
fn recipe(campaign: &Campaign, name: &str) -> String {
    let path = campaign.folder.join(name).display().to_string();
    campaign.job.recipe(&path, Limits::default())
}

fn others(out: &mut String, others: &[PathBuf]) {
    out.push_str(
        "<h2>Other saved inputs</h2>\n<p>They lie in the folder, and its run does not know them: they \
         are of another run, or of one that was killed.</p><ul>",
    );
    for path in others {
        let path = path.display().to_string();
        let _ = write!(out, "<li><code>{}</code></li>", escaped(&path));
    }
    out.push_str("</ul>\n");
}

fn cases(count: u64) -> String {
    match count {
        1 => "1 case".to_string(),
        _ => format!("{count} cases"),
    }
}

fn plots(out: &mut String, campaign: &Campaign) {
    let points = &campaign.course;
    let rates: Vec<(f64, f64)> = points
        .windows(2)
        .filter_map(|pair| {
            let (seconds, cases) = (
                pair[1].seconds - pair[0].seconds,
                pair[1].cases.saturating_sub(pair[0].cases),
            );
            // What is noted at the end of a start may be next to what was noted before.
            (seconds > 0.2).then(|| (pair[1].seconds, cases as f64 / seconds))
        })
        .collect();
    let opcodes: Vec<(f64, f64)> = points
        .iter()
        .map(|point| (point.seconds, point.opcodes as f64))
        .collect();
    out.push_str("<h2>How it went</h2>\n<div class=\"grid2\">");
    card(
        out,
        "Cases a second",
        &curve(&rates, time, "cases a second over time"),
    );
    card(
        out,
        "Different opcodes so far",
        &curve(&opcodes, time, "different opcodes over time"),
    );
    out.push_str("</div>\n<h2>What was covered</h2>\n<div class=\"grid2\">");
    let kinds: Vec<Bar<'_>> = campaign
        .coverage
        .iter()
        .map(|(name, kind)| Bar {
            name,
            value: kind.covered as f64,
            of: kind.all as f64,
            text: format!("{} of {}", kind.covered, kind.all),
        })
        .collect();
    let mut covered = bars(
        &kinds,
        "instructions of WebAssembly 2.0 that were in the cases",
    );
    let missing: Vec<&str> = campaign
        .coverage
        .values()
        .flat_map(|kind| kind.missing.iter().map(String::as_str))
        .collect();
    if !missing.is_empty() {
        let _ = write!(
            covered,
            "<details><summary>{} that were in none</summary><code>{}</code></details>",
            missing.len(),
            escaped(&missing.join(", "))
        );
    }
    card(out, "Instructions of WebAssembly 2.0", &covered);
    card(out, "Verdicts", &verdicts(campaign));
    out.push_str("</div>\n");
}

/// How cases ended: verdicts, and what there is to be said about those without one or known.
fn verdicts(campaign: &Campaign) -> String {
    let stats = &campaign.stats;
    let all = stats.cases as f64;
    let bar = |name, count: u64| Bar {
        name,
        value: count as f64,
        of: all,
        text: count.to_string(),
    };
    let mut out = bars(
        &[
            bar("agreed", stats.agreed),
            bar("diverged", stats.diverged),
            bar("known", stats.known),
            bar("inconclusive", stats.inconclusive_total()),
        ],
        "verdicts",
    );
    let details = [
        (
            "Why there was no verdict",
            stats
                .inconclusive
                .iter()
                .map(|(it, n)| (it.to_string(), *n))
                .collect::<Vec<_>>(),
        ),
        (
            "Known faults that were met",
            stats
                .known_faults
                .iter()
                .map(|(it, n)| (known::told(it), *n))
                .collect(),
        ),
    ];
    for (title, counts) in details {
        let most = counts.iter().map(|it| it.1).max().unwrap_or(0) as f64;
        if counts.is_empty() {
            continue;
        }
        let rows: Vec<Bar<'_>> = counts
            .iter()
            .map(|(name, count)| Bar {
                name,
                value: *count as f64,
                of: most,
                text: count.to_string(),
            })
            .collect();
        let _ = write!(
            out,
            "<h3 style=\"margin-top:16px\">{title}</h3>{}",
            bars(&rows, title)
        );
    }
    out
}

fn targets(out: &mut String, targets: &[Target]) {
    out.push_str(
        "<h2>Fuzz targets</h2>\n<div class=\"card\"><table><tr><th>target</th><th class=\"n\">runs</th>\
         <th class=\"n\">edges</th><th class=\"n\">corpus</th><th>found</th></tr>\n",
    );
    for target in targets {
        let saved: Vec<String> = target
            .saved
            .iter()
            .map(|name| {
                format!(
                    "<code>targets/{}/{}</code>",
                    escaped(&target.name),
                    escaped(name)
                )
            })
            .collect();
        let found = match (&target.found, saved.is_empty()) {
            (None, true) if !target.started => "not run".to_string(),
            (None, true) => "nothing".to_string(),
            (found, _) => {
                let found = found.as_deref().map(escaped).unwrap_or_default();
                format!("{found}<br>{}", saved.join("<br>"))
            }
        };
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td>{found}</td></tr>",
            escaped(&target.name),
            target.runs,
            target.edges,
            target.corpus
        );
    }
    out.push_str("</table></div>\n<div class=\"grid2\" style=\"margin-top:16px\">");
    for target in targets.iter().filter(|it| it.course.len() > 1) {
        let mut points: Vec<(f64, f64)> = target
            .course
            .iter()
            .map(|(runs, edges)| (*runs as f64, *edges as f64))
            .collect();
        // Flat from where the last edge was found.
        points.push((target.runs as f64, target.edges as f64));
        let runs = |value: f64| format!("{} runs", short(value));
        let title = format!("{}: edges reached", target.name);
        card(out, &escaped(&title), &curve(&points, runs, &title));
    }
    out.push_str("</div>\n");
}

fn card(out: &mut String, title: &str, content: &str) {
    let _ = write!(out, "<div class=\"card\"><h3>{title}</h3>{content}</div>");
}
