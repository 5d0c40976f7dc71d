//! How a run of migrations failed, and what is true of the data afterwards.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Migration;
use super::script::{byte_of_character, head, place_of_byte};
use crate::database::{Blocker, SqlError, Trouble};
use crate::error::Error;
use crate::outcome::Outcome;
use crate::system::signals;

/// What is true of the schema after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataState {
    /// Precisely as before the run.
    Unchanged,
    /// Some migrations of the run are applied and recorded, or left something behind.
    Partly,
    /// It could not be found out.
    Unknown,
}

/// The class of a failure, for those who decide what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nothing was tried: history and files contradict each other, or the run was not possible.
    Refused,
    /// A statement is wrong, or wrong for this data.
    Statement,
    /// A lock was not had in time.
    Blocked,
    /// The server has no space left.
    Space,
    /// The connection was lost.
    Connection,
    /// A file ended the transaction in which it ran.
    Escaped,
    /// The application's own tool failed.
    Tool,
}

/// A failed run.
#[derive(Debug)]
pub struct Failure {
    /// The message for a person.
    pub error: Error,
    /// Versions that this run applied and recorded before it failed.
    pub applied: Vec<String>,
    /// The version that failed, where one did.
    pub failed: Option<String>,
    /// Versions that were not tried, or were taken back.
    pub not_applied: Vec<String>,
    /// What is true of the schema now.
    pub data: DataState,
    /// The class of the failure.
    pub why: Why,
}

impl Failure {
    /// A run that stopped before it changed anything.
    pub(super) fn refused(error: Error) -> Self {
        Self {
            error: error.state("nothing was changed"),
            applied: Vec::new(),
            failed: None,
            not_applied: Vec::new(),
            data: DataState::Unchanged,
            why: Why::Refused,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error.message())
    }
}

impl std::error::Error for Failure {}

/// A migration as it was sent.
pub(super) struct Sent<'a> {
    pub(super) migration: &'a Migration,
    pub(super) path: PathBuf,
    pub(super) sql: &'a str,
    /// Where its statements lie.
    pub(super) statements: Vec<Range<usize>>,
}

/// Says which migration failed, at which statement, and what the server said.
pub(super) fn of_statement(
    sent: &Sent<'_>,
    sql: &SqlError,
    statement: Option<usize>,
    blockers: &[Blocker],
) -> Error {
    let label = sent.migration.label();
    let what = match signals::received() {
        // Cancelled by the watch, on our behalf.
        Some(signal) if sql.is_cancelled() => {
            format!("migration {label} was ended because we received {signal}")
        }
        Some(_) | None => format!("migration {label} failed: {}", one_line(&sql.message)),
    };
    let mut error = Error::new(Outcome::MigrationFailed, what).detail(format!(
        "{} at {}",
        sqlstate(sql),
        at(sent, sql, statement)
    ));
    for text in [&sql.detail, &sql.hint, &sql.about].into_iter().flatten() {
        error = error.detail(one_line(text));
    }
    for blocker in blockers.iter().take(5) {
        error = error.detail(format!("blocked by {blocker}"));
    }
    if sql.trouble() == Trouble::Lock && !blockers.is_empty() {
        error = error.hint(
            "End or wait for the sessions named above; `--terminate-blockers` on the command line \
             ends them.",
        );
    }
    error
}

/// Says what of the run is in the database, in numbers and names.
///
/// `ran` counts the statements of the failed one that are in the database, and all that it has.
pub(super) fn state_line(
    applied: &[String],
    failed: Option<&str>,
    ran: Option<(usize, usize)>,
    not_applied: usize,
) -> String {
    let failed = failed.map_or(String::new(), |version| format!(", {version} failed"));
    let rest = match not_applied {
        0 => String::new(),
        1 => ", 1 was not tried".into(),
        more => format!(", {more} were not tried"),
    };
    let rest = match ran {
        Some((ran @ 1.., all)) => format!(
            "{rest}; {ran} of its {all} statements took effect and are recorded, \
             the next run goes on behind them"
        ),
        Some((0, _)) | None => rest,
    };
    match applied {
        [] if ran.is_some_and(|(ran, _)| ran > 0) => {
            format!("no migration of this run was applied whole{failed}{rest}")
        }
        [] => {
            format!("the schema is unchanged: no migration of this run was applied{failed}{rest}")
        }
        [one] => format!("1 migration was applied ({one}){failed}{rest}"),
        [first, .., last] => {
            let count = applied.len();
            format!("{count} migrations were applied ({first} to {last}){failed}{rest}")
        }
    }
}

/// Names the class of an error of the server.
pub(super) fn why(error: &SqlError) -> Why {
    match error.trouble() {
        Trouble::ConnectionLost => Why::Connection,
        Trouble::Lock => Why::Blocked,
        Trouble::Space => Why::Space,
        Trouble::NeedsNoTransaction
        | Trouble::NeedsCommit
        | Trouble::LockMemory
        | Trouble::Other => Why::Statement,
    }
}

/// Where the error lies: a place if it is known, the statement if only that is known.
fn at(sent: &Sent<'_>, error: &SqlError, statement: Option<usize>) -> String {
    let (file, sql) = (sent.path.display(), sent.sql);
    let statements = &sent.statements;
    if let Some(position) = error.position {
        let offset = byte_of_character(sql, position as usize);
        let place = place_of_byte(sql, offset);
        let quoted = statements
            .iter()
            .find(|range| range.start <= offset && offset <= range.end)
            .map_or(String::new(), |range| format!(", in: {}", head(&sql[range.clone()])));
        return format!("line {}, column {} of {file}{quoted}", place.line, place.column);
    }
    let only = if statements.len() == 1 { Some(0) } else { statement };
    match only.and_then(|index| statements.get(index)) {
        Some(range) => {
            let place = place_of_byte(sql, range.start);
            format!("line {} of {file}, in: {}", place.line, head(&sql[range.clone()]))
        }
        None => format!("one of the {} statements of {file}", statements.len()),
    }
}

fn sqlstate(error: &SqlError) -> String {
    error.code_told().unwrap_or_else(|| "connection lost".into())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_line_counts_what_is_in_and_what_is_not() {
        let names = |all: &[&str]| all.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            state_line(&names(&["0001", "0002"]), Some("0003"), None, 2),
            "2 migrations were applied (0001 to 0002), 0003 failed, 2 were not tried"
        );
        assert_eq!(
            state_line(&[], Some("0003"), Some((0, 2)), 0),
            "the schema is unchanged: no migration of this run was applied, 0003 failed"
        );
        assert_eq!(
            state_line(&[], Some("0003"), Some((1, 2)), 0),
            "no migration of this run was applied whole, 0003 failed; 1 of its 2 statements took \
             effect and are recorded, the next run goes on behind them"
        );
    }
}
