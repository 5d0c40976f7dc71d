//! What became of a step when the connection was lost: asked of the database, never guessed.

use std::time::Duration;

use super::chain::Chain;
use super::history::{AppliedRow, RowState, Table};
use super::{Key, Migration};
use crate::database::{Database, Fate, Mark, ServerProcess, Session};
use crate::system::clock::{self, Deadline};

/// What the history table says about a group of migrations after the connection was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// All are recorded.
    Applied,
    /// None is recorded.
    NotApplied,
    /// Begun outside a transaction, and not finished.
    Started,
    /// The database did not come back in time, or is still at work.
    Unknown,
}

/// How long we wait between two attempts.
const BETWEEN: Duration = Duration::from_millis(200);

/// Finds out what became of a group of migrations; returns the new connection where there is one.
pub(super) fn settle(
    database: &Database,
    history: (&Chain, &Table),
    group: &[&Migration],
    mark: Option<&Mark>,
    backend: &ServerProcess,
    within: Duration,
) -> (Settled, Option<Session>) {
    let deadline = Deadline::after(within);
    loop {
        if let Ok(mut session) = database.connect() {
            // The old server process may outlive its connection, and would still commit or hold its
            // locks until it notices that nobody listens. It is ours: we end it.
            let _ = session.end_process(backend);
            let over = !session.still_there(backend).unwrap_or(true) || ended(&mut session, mark);
            if over && let Some(settled) = read(&mut session, history, group) {
                return (settled, Some(session));
            }
        }
        if deadline.passed() {
            return (Settled::Unknown, None);
        }
        clock::pause(BETWEEN.min(deadline.remaining()));
    }
}

fn ended(session: &mut Session, mark: Option<&Mark>) -> bool {
    let Some(mark) = mark else { return false };
    match session.fate(mark) {
        Ok(Fate::Committed | Fate::RolledBack) => true,
        // A crash may have forgotten the id; then only the end of the process counts.
        Ok(Fate::InProgress | Fate::Forgotten) | Err(_) => false,
    }
}

fn read(
    session: &mut Session,
    (chain, table): (&Chain, &Table),
    group: &[&Migration],
) -> Option<Settled> {
    let rows = match chain.read_rows(session, table) {
        Ok(rows) => rows,
        // 42P01: the table itself was made by the transaction that did not commit.
        Err(error) if error.code.as_deref() == Some("42P01") => Vec::new(),
        Err(_) => return None,
    };
    let found: Vec<RowState> =
        group.iter().filter_map(|migration| state_of(chain, &rows, migration)).collect();
    Some(if found.contains(&RowState::Started) {
        Settled::Started
    } else if found.len() == group.len() {
        Settled::Applied
    } else {
        Settled::NotApplied
    })
}

/// A repeatable migration has rows of earlier runs; only one with its present text counts.
fn state_of(chain: &Chain, rows: &[AppliedRow], migration: &Migration) -> Option<RowState> {
    let own = |row: &&AppliedRow| row.key == migration.key;
    let of_text = |row: &&AppliedRow| {
        !matches!(row.key, Key::Repeatable(_))
            || row.checksum.as_ref().is_none_or(|checksum| chain.same(migration, checksum))
    };
    let begun = rows.iter().filter(own).find(|row| row.state == RowState::Started);
    begun.or_else(|| rows.iter().filter(own).find(of_text)).map(|row| row.state)
}
