//! `parallax report`: what came of a night, for who comes in the morning.

use std::path::PathBuf;

use clap::Args;
use parallax::artifacts::Artifacts;
use parallax::report::Report as Contents;

use super::console::Console;
use super::status::Status;

/// Say what came of a run of `parallax fuzz`, or of a night of `scripts/nightly`
///
/// Writes report.txt, report.json and report.html into the folder, and prints the first. The page
/// needs nothing else and has findings, throughput, opcode coverage and verdicts as plots.
#[derive(Args)]
pub struct Report {
    /// The artifacts folder of the run, or the folder of the night
    #[arg(value_name = "DIR", default_value = "artifacts")]
    folder: PathBuf,
    /// Print the JSON instead of the text
    #[arg(long)]
    json: bool,
}

impl Report {
    pub fn run(self, console: &mut Console) -> anyhow::Result<Status> {
        let report = Contents::read(&self.folder)?;
        let text = report.text();
        // First, so that all is told if nothing can be written.
        if self.json {
            console.print_json(&report)?;
        } else {
            console.print(&text);
        }
        let folder = Artifacts::open(&self.folder)?;
        let json = serde_json::to_string_pretty(&report)?;
        folder.save("report.txt", text.as_bytes())?;
        folder.save("report.json", json.as_bytes())?;
        folder.save("report.html", report.html().as_bytes())?;
        if !self.json {
            let page = self.folder.join("report.html");
            console.print(format_args!("{}\n", page.display()));
        }
        Ok(match report.has_findings() {
            true => Status::Diverged,
            false => Status::Agreed,
        })
    }
}
