//! The rehearsal of one database: restored under another name, migrated, counted, dumped, dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::database::clients::Clients;
use crate::database::restore::Manner;
use crate::database::scratch::{Purpose, ScratchDatabase};
use crate::database::{Database, DatabaseLock, SqlError, dumpable, facts, roles};
use crate::error::{Error, Result};
use crate::migrations::{self, How, Observer as _};
use crate::outcome::Outcome;
use crate::restore_points::RestorePoint;
use crate::system::clock;

use super::notes::{Noted, Notes, Rewrite};
use super::tool;
use crate::upgrade::machine::{Machine, Shipped};

/// What is true of the data whatever a rehearsal did.
pub(super) const UNTOUCHED: &str = "the real database was not touched";

/// How long the lock of a scratch database is waited for, which nobody else knows.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// What the rehearsal of one database showed.
#[derive(Clone, Debug)]
pub struct Rehearsed {
    /// Name within the application.
    pub name: String,
    /// Name that the scratch database had.
    pub scratch: String,
    /// Why everything belonged to our own role instead of its owners, where that was so.
    pub own: Option<String>,
    /// Settings of roles that the scratch database did not get, as statements.
    pub left: Vec<String>,
    /// How long loading the restore point took.
    pub loaded: Duration,
    /// Each migration.
    pub migrations: Vec<Noted>,
    /// How long all of them took, with their history rows.
    pub duration: Duration,
    /// Tables that have another number of rows now, are new or are gone.
    pub rows: Vec<RowChange>,
    /// Tables that were counted before.
    pub counted: usize,
    /// Bytes of the database before and after.
    pub bytes: (u64, u64),
    /// What the next dump would fail on or miss.
    pub next_dump: Vec<String>,
}

/// A table whose rows were not the same afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChange {
    /// `schema.table`.
    pub table: String,
    /// Rows before; none where the table is new.
    pub before: Option<u64>,
    /// Rows after; none where the table is gone.
    pub after: Option<u64>,
}

impl Rehearsed {
    /// Returns what the migrations need on the server's disk beyond the database, at most: growth, and
    /// the former files of rewritten tables, which stay until the transaction ends.
    pub fn extra_bytes(&self) -> u64 {
        let (before, after) = self.bytes;
        let rewritten = self.migrations.iter().flat_map(|noted| &noted.rewritten);
        let former: u64 = rewritten.map(|Rewrite { before, .. }| before).sum();
        after.saturating_sub(before) + former
    }
}

/// Rehearses one database; the scratch database is gone when this returns, good or bad.
pub(super) fn run(
    machine: &Machine,
    shipped: &Shipped,
    point: Option<&RestorePoint>,
    place: &Database,
    stamp: &str,
) -> Result<Rehearsed> {
    let (scratch, left) =
        ScratchDatabase::create(&shipped.database, place, stamp, Purpose::Rehearsal)?;
    let done = on_scratch(machine, shipped, point, place, &scratch, left);
    match (done, scratch.remove()) {
        (Ok(rehearsed), Ok(())) => Ok(rehearsed),
        (Ok(_), Err(error)) => Err(error),
        (Err(error), Ok(())) => Err(error),
        (Err(error), Err(left)) => Err(error.detail(left.message())),
    }
}

fn on_scratch(
    machine: &Machine,
    shipped: &Shipped,
    point: Option<&RestorePoint>,
    place: &Database,
    scratch: &ScratchDatabase,
    left: Vec<String>,
) -> Result<Rehearsed> {
    let (name, database) = (shipped.database.name(), scratch.database());
    if let Some(command) = shipped.migrations.command() {
        tool::prove(shipped, command, database)?;
    }
    let begun = Instant::now();
    let own = match point {
        Some(point) => {
            machine.progress.step(&format!("loading {} into {}", point.id(), database.dbname()));
            let own = roles::hindrance_of(&shipped.database, place)?;
            let manner = if own.is_some() { Manner::ScratchOfOurOwn } else { Manner::Scratch };
            match scratch.file() {
                Some(file) => point.copy_into(name, file)?,
                None => point.load_into(name, database, manner, &*machine.progress)?,
            }
            own
        }
        None => None,
    };
    let loaded = begun.elapsed();
    let before = look(database)?;
    let (notes, duration) = migrate(machine, shipped, database, point)?;
    let after = look(database)?;
    Ok(Rehearsed {
        name: name.to_owned(),
        scratch: database.dbname().to_owned(),
        own,
        left,
        loaded,
        migrations: notes.into_done(),
        duration,
        rows: changes(&before.rows, &after.rows),
        counted: before.rows.len(),
        bytes: (before.bytes, after.bytes),
        next_dump: next_dump(machine, database)?,
    })
}

struct Look {
    rows: Vec<(String, Option<u64>)>,
    bytes: u64,
}

fn look(database: &Database) -> Result<Look> {
    let mut session = database.connect()?;
    facts::unlimited(&mut session, Duration::from_secs(60))?;
    let rows = facts::exact_row_counts(&mut session)?;
    Ok(Look { rows, bytes: facts::size(&mut session).unwrap_or_default() })
}

fn migrate(
    machine: &Machine,
    shipped: &Shipped,
    database: &Database,
    point: Option<&RestorePoint>,
) -> Result<(Notes, Duration)> {
    machine.progress.step(&format!("rehearsing the migrations of {}", shipped.database.name()));
    let mut lock = DatabaseLock::acquire(database, "rehearsal", LOCK_WAIT)?;
    let how = How {
        lock_timeout: machine.config.policy.lock_timeout,
        reconnect_within: machine.config.policy.database_wait,
        restore_point: point.map(|point| point.id().to_owned()),
        product_version: machine.version.to_string(),
        lock: &mut lock,
        said_pending: None,
    };
    let mut notes = Notes::default();
    let progress = &*machine.progress;
    let chain = &shipped.migrations;
    let failed = |error: SqlError| Error::failed("cannot look at the tables").source(error);
    let mut session = database.connect()?;
    notes.begins(&mut session).map_err(failed)?;
    match migrations::apply_observed(database, chain, how, Some(&mut notes), progress) {
        Ok(applied) => {
            if let Some(command) = chain.command() {
                let (versions, took) = (&applied.versions, applied.duration);
                notes.whole(&mut session, &command.shown(), versions, took).map_err(failed)?;
            }
            Ok((notes, applied.duration))
        }
        Err(failure) => {
            let before: Vec<String> = notes
                .done()
                .iter()
                .map(|noted| format!("{} in {}", noted.version, clock::spoken(noted.duration)))
                .collect();
            let error = match before.is_empty() {
                true => failure.error,
                false => failure.error.detail(format!("ran before it: {}", before.join(", "))),
            };
            let package = format!("{} {}", machine.layout.app(), machine.version);
            Err(error.hint(format!(
                "Do not upgrade to {package} yet: mend the data that it trips over, or ask its \
                 packager, then run `{}` again.",
                machine.command("rehearse")
            )))
        }
    }
}

fn changes(before: &[(String, Option<u64>)], after: &[(String, Option<u64>)]) -> Vec<RowChange> {
    let then: BTreeMap<&String, Option<u64>> = before.iter().map(|(t, rows)| (t, *rows)).collect();
    let now: BTreeMap<&String, Option<u64>> = after.iter().map(|(t, rows)| (t, *rows)).collect();
    let tables: BTreeSet<&String> = then.keys().chain(now.keys()).copied().collect();
    // What could not be counted is no change; that it cannot be read is told elsewhere.
    tables
        .into_iter()
        .filter(|table| then.get(table) != Some(&None) && now.get(table) != Some(&None))
        .map(|table| RowChange {
            table: table.clone(),
            before: then.get(table).copied().flatten(),
            after: now.get(table).copied().flatten(),
        })
        .filter(|change| change.before != change.after)
        .collect()
}

/// Asks what a restore point taken after the upgrade would fail on, and tries to dump the definitions.
fn next_dump(machine: &Machine, database: &Database) -> Result<Vec<String>> {
    if database.file().is_some() {
        return Ok(Vec::new());
    }
    machine.progress.step("trying the next dump");
    let mut session = database.connect()?;
    let server = facts::facts(&mut session)?;
    drop(session);
    let (client, _) = Clients::default().choose(server.major)?;
    let (found, tried) = dumpable::problems(database, &client, Duration::from_secs(60))?;
    let mut found: Vec<String> = found.into_iter().map(|one| one.what).collect();
    if let Some(error) = tried {
        found.extend(error.details().iter().cloned());
        if error.details().is_empty() {
            found.push(error.message());
        }
    }
    Ok(found)
}

/// Says what is true after a failure, whatever the failed part thought of its own database.
pub(super) fn told(error: Error) -> Error {
    let outcome = match error.outcome() {
        // The words of the migrations are about the scratch database, and it is gone.
        Outcome::BackupFailed | Outcome::Stuck | Outcome::RolledBack => Outcome::Failed,
        outcome => outcome,
    };
    error.outcome_as(outcome).state(format!("{UNTOUCHED}; nothing of the rehearsal is left"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tables_with_other_rows_are_told() {
        let rows = |all: &[(&str, u64)]| -> Vec<(String, Option<u64>)> {
            let one = |(table, rows): &(&str, u64)| ((*table).to_owned(), Some(*rows));
            all.iter().map(one).collect()
        };
        let changed =
            changes(&rows(&[("a", 1), ("b", 2), ("c", 3)]), &rows(&[("a", 1), ("b", 0), ("d", 4)]));
        let seen: Vec<_> = changed.iter().map(|c| (c.table.as_str(), c.before, c.after)).collect();
        assert_eq!(seen, [("b", Some(2), Some(0)), ("c", Some(3), None), ("d", None, Some(4))]);
        assert_eq!(changes(&rows(&[("a", 1)]), &[("a".into(), None)]), []);
    }
}
