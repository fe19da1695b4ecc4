//! The state of a run, in the artifacts folder, so that a second start goes on where the first one
//! ended, however that ended; and the lock that keeps two runs out of one folder.
//!
//! A run is continued if it is the same: the same job, done by the same program. Otherwise verdicts of
//! two programs would be added up, and a bug that was mended would be told for ever.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::examine::Job;
use super::record::Record;
use crate::artifacts::{ArtifactError, Artifacts};

/// The name of the state in the artifacts folder.
pub const STATE_FILE: &str = "run.json";

/// The version of the form in which it is written.
const FORM: u32 = 1;

/// What is written.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    form: u32,
    /// Which program did it.
    program: String,
    /// What was to be done.
    pub job: Job,
    /// How far it is.
    pub record: Record,
}

/// What there is to go on with.
#[derive(Debug)]
pub enum Before {
    /// Nothing.
    Nothing,
    /// A run of this program.
    Run(Box<State>),
    /// Something that cannot be continued; why not.
    Other(String),
}

impl State {
    /// A state of this program.
    pub fn new(job: Job, record: Record) -> State {
        State {
            form: FORM,
            program: this_program(),
            job,
            record,
        }
    }

    /// Reads the state of the run in a folder, if this program can go on with it.
    pub fn read(folder: &Path) -> Before {
        match State::read_any(folder) {
            Ok(None) => Before::Nothing,
            Ok(Some(state)) if state.program != this_program() => {
                Before::Other("the run there is of another build of parallax".to_string())
            }
            Ok(Some(state)) => Before::Run(Box::new(state)),
            Err(why) => Before::Other(why),
        }
    }

    /// Reads the state of the run in a folder, whichever program did it; `None` if there is none.
    ///
    /// # Errors
    /// One line, if it cannot be read.
    pub fn read_any(folder: &Path) -> Result<Option<State>, String> {
        let bytes = match fs::read(folder.join(STATE_FILE)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{STATE_FILE} cannot be read: {error}")),
        };
        match serde_json::from_slice::<State>(&bytes) {
            Ok(state) if state.form == FORM => Ok(Some(state)),
            Ok(_) => Err("the run there is of another version of parallax".to_string()),
            Err(error) => Err(format!("{STATE_FILE} is no state of a run: {error}")),
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// If it cannot be saved.
    pub fn write(&self, artifacts: &Artifacts) -> Result<(), ArtifactError> {
        // What it is made of has a form in JSON; if it had not, there would be nothing to go on with.
        let json = serde_json::to_vec(self).unwrap_or_default();
        artifacts.save(STATE_FILE, &json).map(drop)
    }
}

/// What tells this program from one that was built at another time.
fn this_program() -> String {
    let program = fs::metadata("/proc/self/exe");
    program.map_or(String::new(), |file| {
        format!("{}.{:09}-{}", file.mtime(), file.mtime_nsec(), file.len())
    })
}

/// Locks a folder for as long as what is returned lives, and no longer than this process.
///
/// # Errors
/// If somebody else has it locked, or it cannot be.
pub fn lock(artifacts: &Artifacts) -> Result<File, ArtifactError> {
    let folder =
        File::open(artifacts.folder()).map_err(|error| artifacts.error("open it", error))?;
    match folder.try_lock() {
        Ok(()) => Ok(folder),
        Err(TryLockError::WouldBlock) => Err(artifacts.in_use()),
        Err(TryLockError::Error(error)) => Err(artifacts.error("lock it", error)),
    }
}
