//! What commands are given to run: files, folders of them, or standard input, and which sort of case
//! each holds.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use parallax::case::wast::{Script, script_from_file};
use parallax::case::{Case, CaseBuilder, Settings};
use parallax::generate;
use parallax::panics;
use parallax::report::SAVED;
use serde::{Deserialize, Serialize};

/// Bytes of a file that are read at most. No input that means anything is near.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// The name that stands for standard input.
pub const STDIN: &str = "-";

/// Files of a folder that are not inputs: what `parallax fuzz`, a fuzz target's options or a report
/// leave beside them.
const NO_INPUTS: [&str; 9] = [
    "txt", "json", "html", "svg", "md", "log", "dict", "options", "tmp",
];

/// The same, by their whole names: what a fuzz target and cargo-fuzz printed in a night.
const NO_INPUTS_NAMED: [&str; 2] = ["log", "cmin"];

/// What a byte order mark is in UTF-8.
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Something to run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Named {
    /// The file, or `-`.
    pub path: PathBuf,
    /// Whether it was found in a folder that was named, and not named itself.
    pub in_folder: bool,
}

/// What is named on the command line: files as they are, of a folder all inputs in it and in the
/// folders below, in the order of their names. Hidden files, reports and texts that are no scripts are
/// passed over.
///
/// # Errors
/// One line, if a folder cannot be read or has no inputs in it.
pub fn expand(paths: &[PathBuf]) -> Result<Vec<Named>, String> {
    let mut all = Vec::with_capacity(paths.len());
    for path in paths {
        if fs::metadata(path).is_ok_and(|it| it.is_dir()) {
            let before = all.len();
            folder(path, &mut all)?;
            if all.len() == before {
                return Err(format!("{}: no inputs in this folder", path.display()));
            }
        } else {
            all.push(Named {
                path: path.clone(),
                in_folder: false,
            });
        }
    }
    Ok(all)
}

fn folder(path: &Path, all: &mut Vec<Named>) -> Result<(), String> {
    let wrong = |error: io::Error| format!("{}: {error}", path.display());
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !hidden {
            // A link to a folder could lead back here; one to a file cannot.
            entries.push((entry.path(), entry.file_type().map_err(wrong)?));
        }
    }
    entries.sort_by(|one, other| one.0.cmp(&other.0));
    for (path, kind) in entries {
        if kind.is_dir() {
            folder(&path, all)?;
        } else if fs::metadata(&path).is_ok_and(|it| it.is_file()) && may_be_input(&path) {
            all.push(Named {
                path,
                in_folder: true,
            });
        }
    }
    Ok(())
}

/// Whether a file in a folder is an input, as far as its name and its bytes tell. One that cannot be read
/// may be.
fn may_be_input(path: &Path) -> bool {
    let extension = path.extension().and_then(|it| it.to_str());
    let name = path.file_name().and_then(|it| it.to_str());
    !extension.is_some_and(|it| NO_INPUTS.contains(&it))
        && !name.is_some_and(|it| NO_INPUTS_NAMED.contains(&it))
        && read(path).map_or(true, |bytes| {
            bytes.is_empty() || kind(path, &bytes).is_some()
        })
}

/// What a file holds.
pub struct Input {
    /// Which sort of case it is.
    pub kind: Kind,
    /// The case, with what a script says besides.
    pub script: Script,
    /// What reading it panicked with. There is no case then.
    pub panic: Option<String>,
}

/// What sort of file it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Module,
    Script,
    Raw,
}

/// What a file holds, not looked at yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Source {
    /// The name of the file, for people.
    pub name: String,
    /// Which sort of case it is.
    pub kind: Kind,
    /// What is in it.
    #[serde(with = "hexadecimal")]
    pub bytes: Vec<u8>,
}

/// Bytes as text: half the length of a list of numbers.
mod hexadecimal {
    use std::fmt::Write;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(2 * bytes.len());
        for byte in bytes {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        serializer.serialize_str(&text)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let byte = |pair: &[u8; 2]| {
            let digits = std::str::from_utf8(pair).ok()?;
            let all = pair.iter().all(u8::is_ascii_hexdigit);
            all.then(|| u8::from_str_radix(digits, 16).ok())?
        };
        let bytes = pairs.iter().map(byte).collect::<Option<Vec<u8>>>();
        bytes
            .filter(|_| rest.is_empty())
            .ok_or_else(|| D::Error::custom("no hexadecimal digits"))
    }
}

impl Source {
    /// Reads a file.
    ///
    /// # Errors
    /// One line, if it cannot be read, or what is in it is no sort of case.
    pub fn read(path: &Path) -> Result<Source, String> {
        let name = name(path);
        let mut bytes = read(path).map_err(|error| format!("{name}: {error}"))?;
        if bytes.is_empty() {
            return Err(format!("{name}: the file is empty"));
        }
        let Some(kind) = kind(path, &bytes) else {
            return Err(format!(
                "{name}: neither a module nor a script nor what a fuzzer saved, but some other text"
            ));
        };
        if kind != Kind::Raw && bytes.starts_with(BYTE_ORDER_MARK.as_bytes()) {
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(Source { name, kind, bytes })
    }

    /// A script that is in no file. By its name it is read as a script even if it is but a module, which
    /// is instantiated then and not called.
    pub fn script(text: String) -> Source {
        Source {
            name: "candidate.wast".to_string(),
            kind: Kind::Script,
            bytes: text.into_bytes(),
        }
    }
}

impl Input {
    /// Makes the case of what a file holds.
    ///
    /// # Errors
    /// One line.
    pub fn of(source: &Source) -> Result<Input, String> {
        let kind = source.kind;
        // What a fuzz target was found to do, it does here: a decoder that panics is a finding.
        match panics::catch(|| decode(kind, &source.bytes, &source.name)) {
            Ok(script) => Ok(Input {
                kind,
                script: script?,
                panic: None,
            }),
            Err(panic) => Ok(Input {
                kind,
                script: of_case(no_case()),
                panic: Some(panic),
            }),
        }
    }

    /// The case.
    pub fn case(&self) -> &Case {
        &self.script.case
    }
}

/// A case without anything to do.
pub fn no_case() -> Case {
    CaseBuilder::new(Settings::default()).finish()
}

/// The name of a file, for people.
pub fn name(path: &Path) -> String {
    if path.as_os_str() == STDIN {
        "standard input".to_string()
    } else {
        path.display().to_string()
    }
}

/// Which sort of case a file is, if it may be one. Some names say so; those that fuzzers give, and that
/// `parallax fuzz` gives, say that any bytes will do. Of all else, and of standard input, the bytes do: a
/// module starts with its magic, a script with a parenthesis or comment. What is no text at all is raw.
fn kind(path: &Path, bytes: &[u8]) -> Option<Kind> {
    let is_file = path.as_os_str() != STDIN;
    let name = path.file_name().and_then(|name| name.to_str());
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("wasm" | "wat") => Some(Kind::Module),
        Some("wast") => Some(Kind::Script),
        Some("bin") => Some(Kind::Raw),
        _ if is_file && name.is_some_and(is_given_by_fuzzer) => Some(Kind::Raw),
        _ => kind_of_bytes(bytes),
    }
}

/// Whether a name is one that libFuzzer or ClusterFuzz gives to an input that it saves.
fn is_given_by_fuzzer(name: &str) -> bool {
    let is_hash = name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash || name.starts_with("clusterfuzz-") || SAVED.iter().any(|it| name.starts_with(it))
}

fn kind_of_bytes(bytes: &[u8]) -> Option<Kind> {
    let text = std::str::from_utf8(bytes).map(|text| {
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        text.trim_start()
    });
    match text {
        _ if bytes.starts_with(b"\0asm") => Some(Kind::Module),
        Ok(text) if text.starts_with('(') || text.starts_with(";;") => Some(Kind::Script),
        Ok(text)
            if text
                .chars()
                .all(|it| !it.is_control() || it.is_whitespace()) =>
        {
            None
        }
        _ => Some(Kind::Raw),
    }
}

fn decode(kind: Kind, bytes: &[u8], name: &str) -> Result<Script, String> {
    if kind != Kind::Raw {
        return script_from_file(bytes, name).map_err(|error| error.to_string());
    }
    generate::stamp::strip(bytes).map_err(|error| format!("{name}: {error}"))?;
    let case = generate::case_from_bytes(bytes)
        .map_err(|error| format!("{name}: these bytes make no case: {error}"))?;
    Ok(of_case(case))
}

fn of_case(case: Case) -> Script {
    Script {
        case,
        rejects: Vec::new(),
        text_only: 0,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let source: Box<dyn Read> = if path.as_os_str() == STDIN {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(|error| error.to_string())?)
    };
    let mut bytes = Vec::new();
    match source.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes) {
        Ok(read) if read as u64 > MAX_FILE_BYTES => {
            Err(format!("more than {} MiB", MAX_FILE_BYTES >> 20))
        }
        Ok(_) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_is_its_name_or_its_bytes_say() {
        let module = b"(module)".as_slice();
        let marked = b"\xef\xbb\xbf (module)".as_slice();
        let (text, raw) = (b"# parallax\n".as_slice(), b"\x8fplx\x0c\0\0\0".as_slice());
        let hash = "0123456789abcdef0123456789abcdef01234567";
        for (name, bytes, expected) in [
            ("x.wat", module, Some(Kind::Module)),
            ("x.wast", module, Some(Kind::Script)),
            ("x.wast", text, Some(Kind::Script)),
            ("small", module, Some(Kind::Script)),
            ("y.wast.bak", module, Some(Kind::Script)),
            ("-", module, Some(Kind::Script)),
            ("-", marked, Some(Kind::Script)),
            ("small", marked, Some(Kind::Script)),
            ("small", b";; a comment", Some(Kind::Script)),
            ("small", b"\0asm\x01\0\0\0", Some(Kind::Module)),
            ("README.md", text, None),
            ("run.json", b"{}", None),
            ("-", text, None),
            // What fuzzers save may be anything, also text.
            ("crash-1", module, Some(Kind::Raw)),
            ("crash-1", b"\n", Some(Kind::Raw)),
            (hash, text, Some(Kind::Raw)),
            ("clusterfuzz-testcase-1", text, Some(Kind::Raw)),
            ("x.bin", raw, Some(Kind::Raw)),
            ("x", b"\x01", Some(Kind::Raw)),
            ("x", b"abc\xff", Some(Kind::Raw)),
        ] {
            assert_eq!(kind(Path::new(name), bytes), expected, "{name} {bytes:?}");
        }
    }

    #[test]
    fn what_is_sent_to_a_worker_arrives_as_it_is() {
        let source = Source {
            name: "a name".to_string(),
            kind: Kind::Raw,
            bytes: (0..=255).collect(),
        };
        let text = serde_json::to_string(&source).expect("text");
        let read: Source = serde_json::from_str(&text).expect("a source");
        assert_eq!(
            (read.name, read.kind, read.bytes),
            (source.name, source.kind, source.bytes)
        );
        for wrong in ["0", "0g", "é0", "+1"] {
            let text = format!(r#"{{"name":"","kind":"raw","bytes":"{wrong}"}}"#);
            assert!(serde_json::from_str::<Source>(&text).is_err(), "{wrong}");
        }
    }
}
