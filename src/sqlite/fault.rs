//! What SQLite said against a statement, or against a file.

use std::fmt;

use crate::error::Error;
use crate::outcome::Outcome;

/// An answer of SQLite that is no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The name of its result code, such as `SQLITE_BUSY`.
    pub code: String,
    /// What it says.
    pub message: String,
    /// Who stands in the way, where the file is locked.
    pub detail: Option<String>,
    /// Where in the text the error lies, in bytes from its beginning.
    pub at: Option<usize>,
}

impl Fault {
    /// Makes a fault of our own, with the code of an ordinary error.
    pub(super) fn ours(message: impl Into<String>) -> Self {
        Self { code: "SQLITE_ERROR".into(), message: message.into(), detail: None, at: None }
    }

    /// Returns whether somebody else holds the file.
    pub fn is_busy(&self) -> bool {
        matches!(self.code.as_str(), "SQLITE_BUSY" | "SQLITE_LOCKED")
    }

    /// Makes it the cause of an error, with the outcome that it means.
    pub fn into_error(self, attempt: String) -> Error {
        let outcome = match self.code.as_str() {
            "SQLITE_CANTOPEN" | "SQLITE_NOTADB" | "SQLITE_PERM" | "SQLITE_READONLY" => {
                Outcome::Config
            }
            _ => Outcome::Failed,
        };
        let error = Error::new(outcome, attempt);
        let error = self.detail.iter().fold(error, Error::detail);
        error.source(self)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Fault {}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::SqlInputError { error, msg, offset, .. } => Self {
                code: word(error.extended_code).into(),
                message: msg,
                detail: None,
                at: usize::try_from(offset).ok(),
            },
            rusqlite::Error::SqliteFailure(error, message) => Self {
                code: word(error.extended_code).into(),
                message: message.unwrap_or_else(|| error.to_string()),
                detail: None,
                at: None,
            },
            other => Self::ours(other.to_string()),
        }
    }
}

/// The name of a primary result code, as <https://www.sqlite.org/rescode.html> has it.
fn word(code: i32) -> &'static str {
    match code & 0xff {
        2 => "SQLITE_INTERNAL",
        3 => "SQLITE_PERM",
        4 => "SQLITE_ABORT",
        5 => "SQLITE_BUSY",
        6 => "SQLITE_LOCKED",
        7 => "SQLITE_NOMEM",
        8 => "SQLITE_READONLY",
        9 => "SQLITE_INTERRUPT",
        10 => "SQLITE_IOERR",
        11 => "SQLITE_CORRUPT",
        12 => "SQLITE_NOTFOUND",
        13 => "SQLITE_FULL",
        14 => "SQLITE_CANTOPEN",
        15 => "SQLITE_PROTOCOL",
        17 => "SQLITE_SCHEMA",
        18 => "SQLITE_TOOBIG",
        19 => "SQLITE_CONSTRAINT",
        20 => "SQLITE_MISMATCH",
        21 => "SQLITE_MISUSE",
        22 => "SQLITE_NOLFS",
        23 => "SQLITE_AUTH",
        25 => "SQLITE_RANGE",
        26 => "SQLITE_NOTADB",
        _ => "SQLITE_ERROR",
    }
}
