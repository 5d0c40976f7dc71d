//! What a correction of a history consists of, for people, programs and the audit table.

use serde::Serialize;

use crate::migrations::Migration;

/// What becomes of a migration in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is recorded as applied, without being run.
    Record,
    /// It counts as applied, because the tool keeps the newest version only.
    Assume,
    /// Its checksum becomes that of the shipped file.
    Checksum,
    /// The mark that it was begun goes away, so that it runs again.
    Forget,
}

impl Action {
    /// Returns the word used in JSON and in the audit table.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Assume => "assume",
            Self::Checksum => "checksum",
            Self::Forget => "forget",
        }
    }
}

/// One line of the history that a correction writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Write {
    /// The version as the table has it.
    pub version: String,
    /// Version and name.
    pub migration: String,
    /// What becomes of it.
    pub action: Action,
    /// What stood there: a checksum, or `begun`.
    pub before: Option<String>,
    /// What will stand there.
    pub after: Option<String>,
}

impl Write {
    pub(in crate::migrations) fn new(migration: &Migration, action: Action) -> Self {
        let after = migration.checksum.as_deref().unwrap_or("applied");
        Self {
            version: migration.version.to_string(),
            migration: migration.label(),
            action,
            before: None,
            after: Some(after.to_owned()),
        }
    }

    /// Says it in one line.
    pub fn spoken(&self) -> String {
        let Self { migration, before, after, .. } = self;
        let text = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".to_owned());
        match (self.action, before) {
            (Action::Record, None) => format!("{migration} is recorded as applied, and not run"),
            (Action::Record, Some(before)) => {
                format!("{migration} is recorded as applied, and not run; it stood as {before}")
            }
            (Action::Assume, _) => format!("{migration} counts as applied with it, and is not run"),
            (Action::Checksum, _) => {
                format!("{migration}: checksum {} becomes {}", text(before), text(after))
            }
            (Action::Forget, _) => {
                format!("{migration}: the mark that it was begun goes away, and it runs again")
            }
        }
    }
}

/// Who rewrites a history, for the audit table.
#[derive(Clone, Debug)]
pub struct Signature {
    /// The person, as far as the machine knows.
    pub who: String,
    /// The machine.
    pub host: String,
    /// The reason that was given.
    pub why: Option<String>,
    /// Version of the package.
    pub product_version: String,
}
