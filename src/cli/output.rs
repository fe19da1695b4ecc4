//! A file that a command writes its result to, again with every better one: at each moment there is
//! the whole of one of them on the disk.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::input::STDIN;

/// A file to write to.
pub struct Output {
    path: PathBuf,
    /// What is written first and then takes the file's name; none where the file is no regular one,
    /// like a device or a pipe, and is written once, in place.
    temporary: Option<PathBuf>,
}

impl Output {
    /// Sees whether a file can be written, and writes nothing to it yet. What the result is made from
    /// is not replaced by it.
    ///
    /// # Errors
    /// One line, if it cannot be written, or is the input.
    pub fn open(path: &Path, input: &Path) -> anyhow::Result<Output> {
        let wrong = || format!("cannot write {}", path.display());
        let existing = fs::metadata(path).ok();
        if existing.as_ref().is_some_and(|it| is_of(it, input)) {
            return Err(anyhow::anyhow!("it is the input")).with_context(wrong);
        }
        if existing.as_ref().is_some_and(fs::Metadata::is_dir) {
            return Err(anyhow::anyhow!("it is a folder")).with_context(wrong);
        }
        if existing.is_some_and(|it| !it.is_file()) {
            File::options().write(true).open(path).with_context(wrong)?;
            return Ok(Output {
                path: path.to_path_buf(),
                temporary: None,
            });
        }
        // Through a link, what it leads to is replaced, and not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let name = path.file_name().with_context(wrong)?;
        let name = name.to_string_lossy();
        let temporary = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
        File::create(&temporary)
            .and_then(|_| fs::remove_file(&temporary))
            .with_context(wrong)?;
        Ok(Output {
            path,
            temporary: Some(temporary),
        })
    }

    /// Puts a text into the file, in the place of what was there. Where the file can only be written
    /// once, only the `last` text is.
    ///
    /// # Errors
    /// One line. The file is then as it was before.
    pub fn write(&self, text: &str, last: bool) -> Result<(), String> {
        let written = match &self.temporary {
            None if !last => Ok(()),
            None => File::options()
                .write(true)
                .open(&self.path)
                .and_then(|mut file| file.write_all(text.as_bytes())),
            Some(temporary) => {
                let replaced = replace(temporary, &self.path, text, last);
                if replaced.is_err() {
                    // Whether it goes or not, the first error is the one to tell.
                    let _ = fs::remove_file(temporary);
                }
                replaced
            }
        };
        written.map_err(|error| format!("cannot write {}: {error}", self.path.display()))
    }
}

/// Whether this is the file that an input is read from, by whatever name.
fn is_of(file: &fs::Metadata, input: &Path) -> bool {
    let input = match input.to_str() {
        Some(STDIN) => Path::new("/dev/stdin"),
        _ => input,
    };
    let input = fs::metadata(input).ok().filter(fs::Metadata::is_file);
    input.is_some_and(|it| (it.dev(), it.ino()) == (file.dev(), file.ino()))
}

fn replace(temporary: &Path, path: &Path, text: &str, last: bool) -> io::Result<()> {
    let mut file = File::create(temporary)?;
    file.write_all(text.as_bytes())?;
    // A process that is killed loses nothing of what was written; only the end is worth the wait for
    // the disk.
    if last {
        file.sync_all()?;
    }
    drop(file);
    fs::rename(temporary, path)
}
