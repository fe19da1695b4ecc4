//! `parallax engines`: which engines there are, and what confines the processes that they run in.

use clap::Args;
use parallax::campaign::confine::{self, Layer};
use parallax::engine::registry::{self, EngineInfo};
use serde::Serialize;

use super::console::Console;
use super::fuzz::summary::names;
use super::status::Status;

/// List the engines, their versions, whether they can be used here, and which are run by default
#[derive(Args)]
pub struct Engines {
    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

impl Engines {
    pub fn run(self, console: &mut Console) -> anyhow::Result<Status> {
        let engines = registry::all();
        if self.json {
            let confined_by = confine::available();
            let engines: Vec<Json<'_>> = engines
                .iter()
                .map(|info| Json {
                    info,
                    confined_by: &confined_by,
                })
                .collect();
            console.print_json(&engines)?;
            return Ok(Status::Agreed);
        }
        let name = engines.iter().map(|info| info.name.len()).max();
        let name = name.unwrap_or(0);
        let version = engines.iter().map(|info| info.version.len()).max();
        let version = version.unwrap_or(0);
        for info in &engines {
            let usable = match (info.usable, info.by_default) {
                (true, true) => "run by default",
                (true, false) => "usable",
                (false, _) => "not usable",
            };
            console.print(format_args!(
                "{:name$}  {:version$}  {usable}: {}\n",
                info.name, info.version, info.why
            ));
        }
        let layers = confine::available();
        let lacking: Vec<Layer> = Layer::ALL
            .into_iter()
            .filter(|it| !layers.contains(it))
            .collect();
        let lacking = match lacking[..] {
            [] => String::new(),
            _ => format!("; not to be had here: {}", names(&lacking)),
        };
        console.print(format_args!(
            "\nThe workers of `parallax fuzz`, in which engines run, are confined by {}{lacking}.\n",
            names(&layers)
        ));
        Ok(Status::Agreed)
    }
}

/// An engine, and what confines the workers that it runs in.
#[derive(Serialize)]
struct Json<'a> {
    #[serde(flatten)]
    info: &'a EngineInfo,
    confined_by: &'a [Layer],
}
