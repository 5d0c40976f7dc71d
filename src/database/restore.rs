//! Loading an archive into an empty database, and comparing what came out with what was dumped.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Database;
use super::clients::Client;
use super::dump::jobs;
use super::facts::{self, RowCount};
use super::lent::{Access, Lent};
use super::session::Session;
use super::swap::{literal, quoted};
pub use super::unloadable::{NotLoaded, Refused, remedies};
use super::{checksums, unloadable};
use crate::error::{Context, Error, Result};
use crate::progress::Progress;
use crate::system::process::Call;

/// What of an archive is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// All of it: the database takes the place of the one that was dumped.
    Whole,
    /// As before, everything owned by our own role, without grants, in the default tablespace: the
    /// server lacks what owns, holds or keeps it.
    WholeOfOurOwn,
    /// All but subscriptions, which would hold on to a publisher: a scratch database that is dropped.
    Scratch,
    /// As before, everything owned by our own role and without grants and publications: it may not act
    /// for the owners.
    ScratchOfOurOwn,
}

impl Manner {
    pub(super) const fn options(self) -> &'static [&'static str] {
        match self {
            Self::Whole => &[],
            Self::WholeOfOurOwn => &["--no-owner", "--no-privileges", "--no-tablespaces"],
            Self::Scratch => &["--no-subscriptions"],
            Self::ScratchOfOurOwn => &[
                "--no-subscriptions",
                "--no-publications",
                "--no-owner",
                "--no-privileges",
                "--no-tablespaces",
            ],
        }
    }
}

/// How many bytes of each table a load by several processes costs more than it saves: they empty every
/// table once more in the transaction that fills it, so that its files are made twice.
const LOST_BY_SHARING: u64 = 1 << 20;

/// Returns the bytes that are worth to be shared out among several processes.
const fn shared(tables: u64, bytes: u64) -> u64 {
    bytes.saturating_sub(tables.saturating_mul(LOST_BY_SHARING))
}

/// Loads an archive into an empty database; the first error ends it.
///
/// `expected` is the size that the database will have, in bytes, for the progress; a load that takes
/// longer than `limit` is ended.
pub fn load(
    database: &Database,
    client: &Client,
    archive: &Path,
    manner: Manner,
    expected: u64,
    limit: Option<Duration>,
    progress: &dyn Progress,
) -> std::result::Result<(), NotLoaded> {
    let mut session = database.connect()?;
    facts::unlimited(&mut session, facts::LOCK_WAIT)?;
    let facts = facts::facts(&mut session)?;
    let mut growth = Growth::new(session, facts.size);
    let tables = std::fs::read_dir(archive).map_or(1, |entries| entries.count() as u64);
    let lend = || format!("cannot hand {} to the client", archive.display());
    let lent = Lent::new(archive, database.identity(), Access::Read).context(lend)?;
    let call = database.call(&client.program("pg_restore"));
    let (inside, call) = lent.pass(call).context(lend)?;
    let call = call
        .args(["--format=directory", "--exit-on-error", "--no-password"])
        .args(manner.options())
        .arg(format!("--jobs={}", jobs(tables, facts.connections_left, shared(tables, expected))))
        // A connection string is the only form in which every database name can be written.
        .arg(format!("--dbname=dbname={}", conninfo_value(database.dbname())))
        .arg(inside);
    let call = limit.into_iter().fold(call, Call::deadline);
    let what = format!("loading {}", database.name());
    let ended = call.run_watched(|line| {
        if line.is_none() {
            progress.alive(&what, growth.bytes(), Some(expected));
        }
    });
    lent.reclaim().context(|| format!("cannot take {} back", archive.display()))?;
    ended.map(drop).map_err(|failure| unloadable::told(database, &failure))
}

/// How far a load is. A server looks at every file to measure a database, 12 to 25 ms for 1,000 tables and more
/// with each: it does so for a twentieth of the time at most.
pub(super) struct Growth {
    session: Session,
    empty: u64,
    bytes: u64,
    next: Instant,
}

impl Growth {
    /// Begins with the size of the empty database, which the session is connected to.
    pub(super) fn new(session: Session, empty: u64) -> Self {
        Self { session, empty, bytes: 0, next: Instant::now() }
    }

    /// Returns the bytes that were loaded, as they were seen last.
    pub(super) fn bytes(&mut self) -> u64 {
        let begun = Instant::now();
        if begun >= self.next {
            let size = facts::size(&mut self.session).unwrap_or(self.empty);
            self.bytes = size.saturating_sub(self.empty);
            self.next = Instant::now() + 20 * begun.elapsed();
        }
        self.bytes
    }
}

/// Runs a load into a new database whose commits do not wait for the disk: until it takes a place, all of it
/// counts for nothing. When this returns, what was loaded is on the disk.
pub fn unhurried<T, E: From<Error>>(
    database: &Database,
    load: impl FnOnce() -> std::result::Result<T, E>,
) -> std::result::Result<T, E> {
    let alter = format!("alter database {}", quoted(database.dbname()));
    // A setting of the database, because poolers refuse options of a session. Who may not set it waits.
    let set = format!("{alter} set synchronous_commit = off");
    let quick = database.connect()?.run(&set).is_ok();
    let loaded = load()?;
    if quick {
        // Also writes all that was committed before it.
        database
            .connect()?
            .run(&format!("set synchronous_commit = local; {alter} reset synchronous_commit"))
            .context(|| format!("cannot reset a setting of {}", database.described()))?;
    }
    Ok(loaded)
}

/// Gathers statistics, without which the first queries after a restore would be slow; the server
/// does it later by itself where this fails.
pub fn analyze(database: &Database) -> Result<()> {
    let mut session = database.connect()?;
    facts::unlimited(&mut session, facts::LOCK_WAIT)?;
    let gathered =
        session.run("set synchronous_commit = off").and_then(|()| session.run("analyze"));
    gathered.context(|| "cannot gather statistics".into())
}

/// Compares the tables, their exact row counts and their checksums with what was dumped.
///
/// A load makes the extension that the server offers, which may be a newer one: with another version a table
/// becomes configuration that is dumped, or is so no more.
pub fn compare(
    database: &Database,
    wanted: &[(String, RowCount)],
    sums: &[(String, String)],
) -> Result<()> {
    let mut session = database.connect()?;
    facts::unlimited(&mut session, facts::LOCK_WAIT)?;
    let present = facts::tables(&mut session)?;
    let of_extensions = facts::tables_of_extensions(&mut session)?;
    let mut wrong: Vec<String> = Vec::new();
    let mut counted = Vec::new();
    for (table, count) in wanted {
        if !present.contains(table) {
            if !of_extensions.contains(table) {
                wrong.push(format!("{table} is missing"));
            }
        } else if let RowCount::Exact(rows) = count {
            counted.push((table.clone(), *rows));
        }
    }
    let dumped: BTreeSet<&String> = wanted.iter().map(|(table, _)| table).collect();
    wrong.extend(
        present
            .iter()
            .filter(|table| !dumped.contains(table) && !of_extensions.contains(*table))
            .map(|table| format!("{table} was not in the dump")),
    );
    let names: Vec<String> = counted.iter().map(|(table, _)| table.clone()).collect();
    for (found, (table, rows)) in facts::count(&mut session, &names)?.iter().zip(&counted) {
        if found != rows {
            wrong.push(format!("{table} has {found} rows instead of {rows}"));
        }
    }
    if wrong.is_empty() {
        wrong =
            checksums::compare(&mut session, sums).context(|| "cannot add up the rows".into())?;
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let text = format!("what was loaded into {} differs from the dump", database.described());
    let error = Error::failed(text);
    Err(wrong.into_iter().take(10).fold(error, Error::detail))
}

/// Quotes a value of a keyword connection string.
pub(super) fn conninfo_value(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Writes the comparison of [`compare`] as SQL whose failure ends the transaction it runs in.
pub(super) fn comparison(wanted: &[(String, RowCount)]) -> String {
    let mut sql = String::new();
    for (table, count) in wanted {
        if let RowCount::Exact(rows) = count {
            // A text that is no number fails the cast, and the server's message quotes it.
            sql.push_str(&format!(
                "select (case when count(*) = {rows} then '0' else {} || count(*)::text end)::int \
                 from only {table};\n",
                literal(&format!("{table} should have {rows} rows and has "))
            ));
        }
    }
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_of_many_small_tables_is_not_shared_out() {
        for (tables, bytes, worth) in
            [(5000, 400 << 20, false), (8, 2 << 30, true), (5000, 50 << 30, true)]
        {
            assert_eq!(shared(tables, bytes) > bytes / 2, worth, "{tables} {bytes}");
        }
    }

    #[test]
    fn a_database_name_cannot_leave_its_value() {
        assert_eq!(conninfo_value("it's host=x"), "'it\\'s host=x'");
        assert_eq!(conninfo_value("a\\b"), "'a\\\\b'");
    }
}
