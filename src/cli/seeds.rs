//! `parallax seeds`: what fuzz targets start from.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use parallax::generate::{Generator, Generators, dictionary, seeds};

use super::console::Console;
use super::status::Status;

/// What seeds' names begin with. Nothing else in their folders is touched.
const PREFIX: &str = "seed-";

/// Write what the fuzz targets start from: seed inputs and the dictionary
///
/// Seeds of the fuzz target NAME are written to corpus/NAME, and the dictionary to
/// fuzz/parallax.dict. They follow from the generators alone; seeds that were made for other ones mean
/// nothing and are replaced. To be run after every change of DECODER_VERSION.
#[derive(Args)]
pub struct Seeds {
    /// Folder of the repository
    #[arg(long, value_name = "DIR", default_value = ".")]
    root: PathBuf,
    /// Write nothing, and fail if something is not as it would be written
    #[arg(long)]
    check: bool,
}

impl Seeds {
    pub fn run(self, console: &mut Console) -> anyhow::Result<Status> {
        let targets = [
            ("differential", Generators::all()),
            ("references", Generators::only(Generator::References)),
        ];
        let mut files = BTreeMap::new();
        for (target, generators) in targets {
            let folder = self.root.join("corpus").join(target);
            let seeds = seeds::seeds(generators);
            let bytes: usize = seeds.iter().map(|seed| seed.bytes.len()).sum();
            console.print(format_args!(
                "{target}: {} seeds, {bytes} bytes\n",
                seeds.len()
            ));
            for seed in seeds {
                files.insert(folder.join(seed.name), seed.bytes);
            }
            self.remove_others(&folder, &files)?;
        }
        let dictionary = self.root.join("fuzz").join("parallax.dict");
        files.insert(dictionary, dictionary::libfuzzer().into_bytes());
        for (path, bytes) in &files {
            self.put(path, bytes)?;
        }
        Ok(Status::Agreed)
    }

    /// Removes seeds that are no more.
    fn remove_others(
        &self,
        folder: &Path,
        files: &BTreeMap<PathBuf, Vec<u8>>,
    ) -> anyhow::Result<()> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(|| folder.display().to_string()),
        };
        for entry in entries {
            let path = entry.with_context(|| folder.display().to_string())?.path();
            let name = path.file_name().unwrap_or_default();
            if !name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) || files.contains_key(&path)
            {
                continue;
            }
            if self.check {
                return self.stale(&path);
            }
            fs::remove_file(&path).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }

    /// Writes a file, or sees that it is there.
    fn put(&self, path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
        let context = || path.display().to_string();
        if self.check {
            return match fs::read(path) {
                Ok(found) if found == bytes => Ok(()),
                _ => self.stale(path),
            };
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(context)?;
        }
        fs::write(path, bytes).with_context(context)
    }

    fn stale(&self, path: &Path) -> anyhow::Result<()> {
        bail!(
            "{}: not what `parallax seeds` writes now; run it and commit what it changes",
            path.display()
        )
    }
}
