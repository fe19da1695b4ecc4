//! `parallax engines`: which engines there are.

use clap::Args;
use parallax::engine::registry;

use super::console::Console;
use super::status::Status;

/// List the engines, their versions, and whether they can be used here
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
            console.print_json(&engines)?;
            return Ok(Status::Agreed);
        }
        let name = engines.iter().map(|info| info.name.len()).max();
        let name = name.unwrap_or(0);
        let version = engines.iter().map(|info| info.version.len()).max();
        let version = version.unwrap_or(0);
        for info in &engines {
            let usable = if info.usable { "usable" } else { "not usable" };
            console.print(format_args!(
                "{:name$}  {:version$}  {usable}: {}\n",
                info.name, info.version, info.why
            ));
        }
        Ok(Status::Agreed)
    }
}
