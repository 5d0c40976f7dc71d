//! The credentials file: variables in the syntax of systemd's `EnvironmentFile`.
//!
//! Parsed, never sourced. No value of this file ever appears in a message, and of names only those
//! that are names: a line that is not understood may be a connection string.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use zeroize::Zeroizing;

use super::env_file::{self, Assignment, Comments, Oddity};
use super::file::{MOST_BYTES, no_file, refuse_writable_by_all, unreadable};
use crate::error::{Error, Result};
use crate::system::fs::{open_file, read_bounded};

/// What the credentials file holds.
#[derive(Clone, Default)]
pub struct Secrets {
    /// Variables by name; the last assignment of a name counts.
    pub values: BTreeMap<String, String>,
    /// Lines that systemd ignores in silence, and permissions that are too wide.
    pub warnings: Vec<String>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets")
            .field("names", &self.values.keys())
            .field("warnings", &self.warnings)
            .finish()
    }
}

/// Reads the credentials file; where there is none, there are no variables.
///
/// A symbolic link in its place is refused: whoever may write the directory it points into could
/// swap the server that an upgrade run by root connects to.
pub fn load(path: &Path) -> Result<Secrets> {
    let data = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Secrets::default()),
        Err(error) => return Err(unreadable(path, error)),
        Ok(data) => data,
    };
    refuse_other_kinds(path, &data)?;
    let read = open_file(path).and_then(|file| read_bounded(file, MOST_BYTES));
    let bytes = read.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => {
            Error::config(format!("{} is larger than 1 MiB", path.display()))
                .state("nothing was changed")
                .hint(format!("Keep only variables in {}.", path.display()))
        }
        _ => unreadable(path, error),
    })?;
    let mut secrets = parse(path, &bytes)?;
    if data.mode() & 0o004 != 0 {
        secrets.warnings.insert(
            0,
            format!("{0} can be read by every user; run `chmod o-rwx {0}`", path.display()),
        );
    }
    Ok(secrets)
}

/// Returns a secret as it is now, read anew each time. Where there is a file it alone says so: the environment
/// is what systemd made of it at start, and what was taken out of the file is no longer one. One shorter
/// than this many bytes is none: it can be tried out.
pub fn current(path: &Path, name: &str, shortest: usize) -> Option<Zeroizing<String>> {
    let filed = load(path).ok()?.values.remove(name);
    let value = if path.exists() { filed } else { std::env::var(name).ok() };
    value.map(Zeroizing::new).filter(|value| value.trim().len() >= shortest)
}

/// Reads the text of a credentials file; `path` serves messages only.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Secrets> {
    // systemd refuses the whole file for a NUL byte or a text that is not UTF-8, and so the service
    // does not start; going on with the rest would hide that.
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        let line = 1 + bytes[..at].iter().filter(|byte| **byte == b'\n').count();
        return Err(refused(path, line, "this line has a NUL byte".to_owned()));
    }
    let parsed = env_file::parse(bytes, Comments::EndWithTheLine);
    let older = env_file::parse(bytes, Comments::Continue);
    let same = older.assignments == parsed.assignments;
    let mut notes: Vec<(usize, String)> = Vec::new();
    for (line, oddity) in parsed.oddities {
        notes.extend(told(oddity, same).map(|text| (line, text.to_owned())));
    }
    let mut secrets = Secrets::default();
    for Assignment { line, name, value } in parsed.assignments {
        let Some(name) = utf8(name) else {
            return Err(refused(path, line, "the name of a variable is not UTF-8".to_owned()));
        };
        let valid = name_is_valid(&name);
        let Some(value) = utf8(value) else {
            let what = if valid { name.as_str() } else { "a variable" };
            return Err(refused(path, line, format!("the value of {what} is not UTF-8")));
        };
        if valid {
            if secrets.values.insert(name.clone(), value).is_some() {
                notes.push((line, format!("{name} is set again; this line counts")));
            }
        } else if name.starts_with("export ") || name.starts_with("export\t") {
            let text = "ignored, as by systemd: remove the word export at its beginning";
            notes.push((line, text.to_owned()));
        } else {
            let text = "ignored, as by systemd: what stands before `=` is no name of a variable";
            notes.push((line, text.to_owned()));
        }
    }
    notes.sort_by_key(|(line, _)| *line);
    secrets.warnings = notes
        .into_iter()
        .map(|(line, text)| format!("{}:{line}: {text}", path.display()))
        .collect();
    Ok(secrets)
}

/// Returns whether systemd takes this as the name of a variable (`env_name_is_valid`).
pub fn name_is_valid(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// `same` says that systemd before 254 finds the same variables.
fn told(oddity: Oddity, same: bool) -> Option<&'static str> {
    match oddity {
        Oddity::NoAssignment => Some("ignored, as by systemd: there is no `=` in this line"),
        Oddity::OpenQuote => {
            Some("a quote is never closed; the value goes on to the end of the file")
        }
        Oddity::ContinuedComment if same => None,
        Oddity::ContinuedComment => {
            Some("the comment ends with a backslash: systemd before 254 ignores the next line")
        }
    }
}

/// Takes UTF-8 as systemd understands it: noncharacters (`unichar_is_valid`) do not belong to it.
fn utf8(bytes: Vec<u8>) -> Option<String> {
    let noncharacter = |c: char| {
        let code = u32::from(c);
        (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
    };
    String::from_utf8(bytes).ok().filter(|text| !text.chars().any(noncharacter))
}

fn refuse_other_kinds(path: &Path, data: &Metadata) -> Result<()> {
    let shown = path.display();
    if data.is_symlink() {
        return Err(Error::config(format!("{shown} is a symbolic link, not a file"))
            .state("nothing was changed")
            .hint(format!("Run `cp --remove-destination \"$(readlink -f {shown})\" {shown}`.")));
    }
    if !data.is_file() {
        let what = if data.is_dir() { "a directory" } else { "a device or a pipe" };
        return Err(no_file(path, &format!("{what}, not a file")));
    }
    refuse_writable_by_all(path, data, "o-rwx")
}

fn refused(path: &Path, line: usize, what: String) -> Error {
    Error::config(format!("{}:{line}: {what}", path.display()))
        .detail("systemd refuses the whole file, and the service does not start")
        .state("nothing was changed")
        .hint(format!("In {}, line {line}, write UTF-8 text.", path.display()))
}
