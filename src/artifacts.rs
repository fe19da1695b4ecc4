//! The artifacts folder: where inputs with findings are kept.
//!
//! A file there is whole or it is not there: it is written under another name, synced, and then
//! renamed. What a run has found is worth more than the run, so saving comes before telling, and no run
//! replaces what another one has found.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A folder that inputs with findings are written to.
#[derive(Clone, Debug)]
pub struct Artifacts {
    folder: PathBuf,
}

/// Why something could not be saved. One line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ArtifactError(String);

impl Artifacts {
    /// Opens a folder, making it if there is none, and tries whether files can be made in it.
    ///
    /// # Errors
    /// [`ArtifactError`] if not.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Artifacts, ArtifactError> {
        let artifacts = Artifacts {
            folder: folder.into(),
        };
        fs::create_dir_all(&artifacts.folder).map_err(|error| artifacts.error("make it", error))?;
        artifacts
            .temporary("probe")
            .and_then(|(_, probe)| fs::remove_file(probe))
            .map_err(|error| artifacts.error("write to it", error))?;
        Ok(artifacts)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Saves a file and returns its path. It is on the disk when this returns; a file of the same
    /// name is replaced.
    ///
    /// # Errors
    /// [`ArtifactError`]; the folder is then as it was before.
    pub fn save(&self, name: &str, contents: &[u8]) -> Result<PathBuf, ArtifactError> {
        let (file, temporary) = self
            .temporary(name)
            .map_err(|error| self.error(&format!("save {name}"), error))?;
        let path = self.folder.join(name);
        let saved = write_synced(file, contents)
            .and_then(|()| fs::rename(&temporary, &path))
            // The name is on the disk once the folder is.
            .and_then(|()| File::open(&self.folder)?.sync_all());
        match saved {
            Ok(()) => Ok(path),
            Err(error) => {
                // Whether it goes or not, the first error is the one to tell.
                let _ = fs::remove_file(&temporary);
                Err(self.error(&format!("save {name}"), error))
            }
        }
    }

    /// Saves what is never to be lost, as `STEM.EXTENSION`, and returns its name. If other contents have
    /// that name, they stay, and it is `STEM-2.EXTENSION`, or the next number that is free. The same
    /// contents are saved once.
    ///
    /// Only one at a time may keep files of this stem.
    ///
    /// # Errors
    /// [`ArtifactError`]; the folder is then as it was before.
    pub fn keep(
        &self,
        stem: &str,
        extension: &str,
        contents: &[u8],
    ) -> Result<String, ArtifactError> {
        let mut name = format!("{stem}.{extension}");
        for number in 2_u64.. {
            let path = self.folder.join(&name);
            match fs::symlink_metadata(&path) {
                Ok(there) if is_same(&path, &there, contents) => return Ok(name),
                Ok(there) if there.is_file() => name = format!("{stem}-{number}.{extension}"),
                // It is free, or saving says what is wrong.
                _ => break,
            }
        }
        self.save(&name, contents).map(|_| name)
    }

    /// A new file that no other writer uses, of this process or another. One that was killed may have had
    /// the number of this process, which in a container is always the same, and have left its file behind.
    fn temporary(&self, name: &str) -> io::Result<(File, PathBuf)> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let process = std::process::id();
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = self.folder.join(format!(".{name}.{process}.{number}.tmp"));
            match File::create_new(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                made => return Ok((made?, path)),
            }
        }
    }

    /// That something cannot be done with the folder.
    pub fn error(&self, what: &str, error: io::Error) -> ArtifactError {
        let folder = self.folder.display();
        ArtifactError(format!("artifacts folder {folder}: cannot {what}: {error}"))
    }

    /// That another run uses the folder.
    pub fn in_use(&self) -> ArtifactError {
        let folder = self.folder.display();
        ArtifactError(format!("artifacts folder {folder}: another run uses it"))
    }
}

/// Whether a file has these contents.
fn is_same(path: &Path, there: &fs::Metadata, contents: &[u8]) -> bool {
    let alike = there.is_file() && there.len() == contents.len() as u64;
    alike && fs::read(path).is_ok_and(|found| found == contents)
}

fn write_synced(mut file: File, contents: &[u8]) -> io::Result<()> {
    file.write_all(contents)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().display().to_string())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_saved_is_all_there_is() {
        let folder =
            std::env::temp_dir().join(format!("parallax-artifacts-{}", std::process::id()));
        let artifacts = Artifacts::open(folder.join("a/b")).expect("it can be made");
        assert!(names(artifacts.folder()).is_empty());
        let path = artifacts.save("x.bin", b"one").expect("it can be written");
        artifacts.save("x.bin", b"two").expect("it can be replaced");
        assert_eq!(fs::read(path).expect("it is there"), b"two");
        assert_eq!(names(artifacts.folder()), ["x.bin"]);

        // A folder where the file should be: nothing is left behind.
        fs::create_dir(artifacts.folder().join("y.bin")).expect("a folder");
        let error = artifacts.save("y.bin", b"three").expect_err("not a file");
        assert!(error.to_string().contains("cannot save y.bin"), "{error}");
        assert_eq!(names(artifacts.folder()), ["x.bin", "y.bin"]);

        // A file where the folder should be.
        let error = Artifacts::open(folder.join("a/b/x.bin")).expect_err("not a folder");
        assert!(error.to_string().contains("cannot make it"), "{error}");
        fs::remove_dir_all(folder).expect("it goes");
    }

    #[test]
    fn what_a_killed_writer_left_is_in_nobody_s_way() {
        let folder = std::env::temp_dir().join(format!("parallax-left-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("it can be made");
        // As one with the number of this process had done, whichever number it had come to.
        let process = std::process::id();
        for name in ["probe", "x.bin"] {
            for number in 0..1_000 {
                let left = folder.join(format!(".{name}.{process}.{number}.tmp"));
                fs::write(left, b"half").expect("it can be written");
            }
        }
        let artifacts = Artifacts::open(&folder).expect("it can be opened");
        artifacts.save("x.bin", b"whole").expect("it can be saved");
        let saved = fs::read(folder.join("x.bin")).expect("it is there");
        assert_eq!(saved, b"whole");
        fs::remove_dir_all(folder).expect("it goes");
    }

    #[test]
    fn what_is_kept_is_never_replaced() {
        let folder = std::env::temp_dir().join(format!("parallax-kept-{}", std::process::id()));
        let artifacts = Artifacts::open(&folder).expect("it can be made");
        let keep = |contents: &str| {
            let name = artifacts.keep("x", "bin", contents.as_bytes());
            let name = name.expect("it can be written");
            let read = fs::read_to_string(folder.join(&name));
            assert_eq!(read.expect("it is there"), contents);
            name
        };
        assert_eq!(keep("one"), "x.bin");
        assert_eq!(keep("two"), "x-2.bin");
        for (contents, name) in [("one", "x.bin"), ("two", "x-2.bin"), ("six", "x-3.bin")] {
            assert_eq!(keep(contents), name);
        }
        assert_eq!(names(&folder), ["x-2.bin", "x-3.bin", "x.bin"]);
        // Nor is what is no file.
        fs::create_dir(folder.join("x-4.bin")).expect("a folder");
        artifacts
            .keep("x", "bin", b"ten")
            .expect_err("something is in the way");
        fs::remove_dir_all(folder).expect("it goes");
    }
}
