//! By what a package's migrations, and a database's history, are known again after an interruption.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::chain::Chain;
use super::history::{AppliedRow, RowState};
use super::look::{look, rows, see};
use super::{Comparison, Key};
use crate::database::Session;
use crate::error::Result;

/// What a history said at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryPrint {
    /// Newest applied migration.
    pub head: Option<String>,
    /// How many are applied.
    pub applied: usize,
    /// Digest of the applied rows, version and checksum; none of a tool that only says where it is.
    pub digest: Option<String>,
}

/// Returns a digest of the migrations that a package ships for one database.
pub fn of_package(chain: &Chain) -> String {
    let lines = chain.migrations.iter().map(|file| {
        format!("{} {} {}", file.version, file.name, file.checksum.as_deref().unwrap_or("-"))
    });
    digest(lines)
}

/// Returns the SHA-256 of these lines, which are never all held at once.
fn digest(lines: impl Iterator<Item = String>) -> String {
    let mut hasher = Sha256::new();
    for (at, line) in lines.enumerate() {
        if at > 0 {
            hasher.update("\n");
        }
        hasher.update(line);
    }
    hex::encode(hasher.finalize())
}

/// Compares a database with the shipped migrations, and says what its history says, in one look.
pub fn look_and_print(session: &mut Session, chain: &Chain) -> Result<(Comparison, HistoryPrint)> {
    if chain.command().is_some() {
        let found = look(session, chain)?;
        let print = of_tool(&found);
        return Ok((found, print));
    }
    let seen = see(session, chain)?;
    let print = of_rows(&seen.rows, &[]);
    Ok((seen.comparison, print))
}

/// Reads what a history says; the rows of the versions in `without` are left out of it.
///
/// Left out are the migrations that a run was about to apply: what remains is what the run found,
/// however many of its own it applied before it was cut off.
pub fn of_history(
    session: &mut Session,
    chain: &Chain,
    found: &Comparison,
    without: &[String],
) -> Result<HistoryPrint> {
    match chain.command() {
        Some(_) => Ok(of_tool(found)),
        None => of_files(session, chain, without),
    }
}

/// The same of files.
pub(super) fn of_files(
    session: &mut Session,
    chain: &Chain,
    without: &[String],
) -> Result<HistoryPrint> {
    Ok(of_rows(&rows(session, chain)?, without))
}

/// Of a tool of the application's own only what it says of itself is known.
pub(super) fn of_tool(found: &Comparison) -> HistoryPrint {
    HistoryPrint { head: found.current.clone(), applied: found.applied, digest: None }
}

/// Repeatable migrations are left out: that they run again is what they are for.
fn of_rows(rows: &[AppliedRow], without: &[String]) -> HistoryPrint {
    let without: HashSet<&str> = without.iter().map(String::as_str).collect();
    let mut kept: Vec<&AppliedRow> = rows
        .iter()
        .filter(|row| row.state == RowState::Applied && !matches!(row.key, Key::Repeatable(_)))
        .filter(|row| !without.contains(row.version.as_str()))
        .collect();
    kept.sort_by(|a, b| a.key.cmp(&b.key));
    let lines = kept
        .iter()
        .map(|row| format!("{} {}", row.version, row.checksum.as_deref().unwrap_or("-")));
    let digest = Some(digest(lines));
    HistoryPrint {
        head: kept.last().map(|row| row.version.to_string()),
        applied: kept.len(),
        digest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(versions: &[(u64, &str)]) -> Vec<AppliedRow> {
        let row = |(number, sum): &(u64, &str)| AppliedRow {
            key: Key::Number(*number),
            version: format!("{number:04}").into(),
            checksum: Some((*sum).into()),
            ..AppliedRow::default()
        };
        versions.iter().map(row).collect()
    }

    #[test]
    fn what_a_run_applied_itself_is_no_change() {
        let before = of_rows(&rows(&[(1, "a"), (2, "b")]), &[]);
        let own = ["0003".to_owned(), "0004".to_owned()];
        assert_eq!(of_rows(&rows(&[(1, "a"), (2, "b"), (3, "c")]), &own), before);
        assert_eq!(of_rows(&rows(&[(2, "b"), (1, "a")]), &own), before, "in any order");
    }

    #[test]
    fn rows_of_others_are_a_change() {
        let before = of_rows(&rows(&[(1, "a"), (2, "b")]), &[]);
        let own = ["0003".to_owned()];
        for others in
            [rows(&[(1, "a")]), rows(&[(1, "a"), (2, "x")]), rows(&[(1, "a"), (2, "b"), (9, "c")])]
        {
            assert_ne!(of_rows(&others, &own), before, "{others:?}");
        }
    }
}
