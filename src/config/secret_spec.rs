//! Where a secret lies: a variable of `secrets.env`, or a file of its own.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::notes::Notes;
use super::secrets::{self, name_is_valid};
use super::section::Section;
use super::values::path;
use crate::system::fs;

/// The most bytes of a file with a secret.
const MOST_BYTES: u64 = 64 << 10;

/// Where a secret lies; it is never part of the configuration itself, which everybody may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSpec {
    /// A variable of `secrets.env`.
    Variable(String),
    /// A file that root alone can read.
    File(PathBuf),
}

impl SecretSpec {
    /// Reads the secret, one word; it may have been changed since the run began, so nobody keeps it.
    /// `secrets` is the credentials file; a failure names `what` was to be read, and never the secret.
    pub fn read(&self, secrets: &Path, what: &str) -> Result<Zeroizing<String>, String> {
        let found = match self {
            Self::File(path) => fs::read_private(path, &format!("{what} in"), MOST_BYTES)
                .map_err(|e| e.message())?,
            Self::Variable(name) => {
                let mut all = secrets::load(secrets).map_err(|error| error.message())?;
                let unset = || format!("{name} is not set in {}", secrets.display());
                Zeroizing::new(all.values.remove(name).ok_or_else(unset)?)
            }
        };
        let text = found.trim();
        if text.is_empty() || !text.chars().all(|c| c.is_ascii_graphic()) {
            return Err(format!("{what} is empty, or not one word of letters, digits and signs"));
        }
        Ok(Zeroizing::new(text.to_owned()))
    }
}

/// Lets one table override where a secret lies; empty text takes back what was said before.
pub(super) fn read(
    table: &mut Section<'_>,
    (variable, file): (&str, &str),
    slot: &mut Option<SecretSpec>,
    notes: &mut Notes,
) {
    if let Some(value) = table.take(variable) {
        let (name, place) = (value.name.clone(), value.place.clone());
        match value.text("\"API_TOKEN\"", notes) {
            None => {}
            Some(text) if text.is_empty() => *slot = None,
            Some(text) if name_is_valid(&text) => *slot = Some(SecretSpec::Variable(text)),
            // What stands here instead of a name may be the secret itself.
            Some(_) => notes.problem(
                &place,
                format!("{name} is not the name of a variable"),
                "write the name of a variable of secrets.env, not the secret itself",
            ),
        }
    }
    if let Some(value) = table.take(file) {
        if value.as_text() == Some("") {
            *slot = None;
        } else if let Some(found) = path(value, Path::new("/etc/openwatch/token"), notes) {
            *slot = Some(SecretSpec::File(found));
        }
    }
}
