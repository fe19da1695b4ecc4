//! `parallax seeds`: what fuzz targets start from.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use parallax::case::wast::Script;
use parallax::generate::{Generator, Generators, case_from_bytes, dictionary, seeds};

use super::console::Console;
use super::status::Status;

/// What seeds' names begin with. Nothing else in their folders is touched.
const PREFIX: &str = "seed-";

/// What the names of modules of kept cases begin with, as seeds. They mean the same to every version, and
/// so are written but not checked: who keeps a case need not think of them.
const KEPT_PREFIX: &str = "kept-";

/// Where kept cases are.
const KEPT: [&str; 2] = ["regressions", "known"];

/// Bytes of an input at most, as in fuzz/parallax.options.
const MOST_BYTES: usize = 4096;

/// Write what the fuzz targets start from: seed inputs and the dictionary
///
/// Seeds of the fuzz target NAME are written to corpus/NAME, and the dictionary to
/// fuzz/parallax.dict. They follow from the generators alone; seeds that were made for other ones mean
/// nothing and are replaced. To be run after every change of DECODER_VERSION.
///
/// The modules of kept cases (corpus/regressions, corpus/known) become seeds of `differential`, as they
/// are: kept-….wasm.
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
        if !self.check {
            let folder = self.root.join("corpus/differential");
            let kept = self.kept(&folder)?;
            console.print(format_args!(
                "differential: {} modules of kept cases\n",
                kept.len()
            ));
            remove(&folder, KEPT_PREFIX, &kept)?;
            files.extend(kept);
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
        if !self.check {
            return remove(folder, PREFIX, files);
        }
        let stale = others(folder, PREFIX, files)?;
        stale.first().map_or(Ok(()), |path| self.stale(path))
    }

    /// The modules of kept cases that are not too large, each once.
    fn kept(&self, folder: &Path) -> anyhow::Result<BTreeMap<PathBuf, Vec<u8>>> {
        let mut files: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
        for from in KEPT {
            let from = self.root.join("corpus").join(from);
            let scripts = others(&from, "", &files)?;
            for path in scripts
                .iter()
                .filter(|it| it.extension().is_some_and(|it| it == "wast"))
            {
                let name = path.display().to_string();
                let text = fs::read_to_string(path).with_context(|| name.clone())?;
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                let modules = Script::parse(&text, &name)?.case.modules;
                for (number, module) in modules.into_iter().enumerate() {
                    let known = files.values().any(|bytes| *bytes == module.wasm);
                    let runs =
                        module.wasm.len() <= MOST_BYTES && case_from_bytes(&module.wasm).is_ok();
                    if runs && !known {
                        let name = format!("{KEPT_PREFIX}{stem}-{number}.wasm");
                        files.insert(folder.join(name), module.wasm);
                    }
                }
            }
        }
        Ok(files)
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

/// The files of a folder whose names begin so and that are not among `files`, in order; none if there is
/// no such folder.
fn others(
    folder: &Path,
    prefix: &str,
    files: &BTreeMap<PathBuf, Vec<u8>>,
) -> anyhow::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| folder.display().to_string()),
    };
    let mut others = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        let name = path.file_name().unwrap_or_default();
        if name.as_encoded_bytes().starts_with(prefix.as_bytes()) && !files.contains_key(&path) {
            others.push(path);
        }
    }
    others.sort();
    Ok(others)
}

fn remove(folder: &Path, prefix: &str, files: &BTreeMap<PathBuf, Vec<u8>>) -> anyhow::Result<()> {
    for path in others(folder, prefix, files)? {
        fs::remove_file(&path).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
