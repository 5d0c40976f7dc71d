//! Dumping one database into a directory archive, and proving that the archive is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use super::checksums::{self, Checksums};
use super::clients::{Client, Compression};
use super::dumpable;
use super::facts::{self, CONFIGURATION, DUMPED, Facts, RowCount};
use super::lent::{Access, Lent};
use super::pace::Pace;
use super::session::{Session, SqlError};
pub use super::waits::locked_by;
use super::waits::{self, Waits};
use super::{Database, Row};
use crate::error::{Context, Error, Result};
use crate::progress::Progress;
use crate::system::process::Failure;

/// The most processes that dump or load at once.
const MOST_JOBS: u64 = 8;

/// How many bytes of a database are worth a further process: to start one and to connect it takes as
/// long as to dump a few megabytes.
const WORTH_A_JOB: u64 = 8 << 20;

/// How a database is dumped.
#[derive(Clone, Debug)]
pub struct DumpOptions {
    /// The client program.
    pub client: Client,
    /// How the archive is compressed.
    pub compression: Compression,
    /// How long a lock that somebody holds on a table is waited for.
    pub lock_wait: Duration,
    /// Bytes that the archive will have, for the progress.
    pub expected: Option<u64>,
    /// How long it will take if it goes as last time, for the progress.
    pub last: Option<Duration>,
}

/// What was dumped, as the same snapshot of the database says it.
#[derive(Clone, Debug)]
pub struct Dumped {
    /// Server and database.
    pub facts: Facts,
    /// Rows per table.
    pub rows: Vec<(String, RowCount)>,
    /// Checksums of the tables that are quickly added up.
    pub checksums: Checksums,
    /// Extensions of the database.
    pub extensions: Vec<String>,
    /// Tables that the archive must define: object id and name.
    pub(super) tables: Vec<(u32, String, TableKind)>,
}

/// What an archive must hold of a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TableKind {
    WithData,
    DefinitionOnly,
}

/// Dumps a database into the empty directory `archive`.
///
/// Row counts and catalogue come from the snapshot that the dump uses, so they agree with it even
/// when somebody writes meanwhile.
pub fn dump(
    database: &Database,
    archive: &Path,
    options: &DumpOptions,
    progress: &dyn Progress,
) -> Result<Dumped> {
    in_snapshot(database, options.lock_wait, |snapshot, facts| {
        run(database, archive, snapshot, facts, options, progress)
    })
}

/// Runs a dump in a snapshot that is described before it and counted after it.
pub(super) fn in_snapshot(
    database: &Database,
    lock_wait: Duration,
    run: impl FnOnce(&str, &Facts) -> Result<()>,
) -> Result<Dumped> {
    let mut session = database.connect()?;
    // `pg_dump` lifts the limits of its own sessions; ours holds the snapshot meanwhile.
    facts::unlimited(&mut session, lock_wait)?;
    let snapshot = begin(&mut session).context(|| "cannot take a snapshot".into())?;
    check_rights(&mut session, database)
        .and_then(|()| look(&mut session))
        .and_then(|(mut dumped, stored)| {
            run(&snapshot, &dumped.facts)?;
            // In the snapshot of the dump, and after it: pg_dump ends at once when we are asked to
            // stop, and a table that somebody has locked cannot even be measured.
            (dumped.rows, dumped.checksums) = checksums::rows(&mut session)?;
            forget_rewritten(&mut session, &mut dumped, &stored)?;
            Ok(dumped)
        })
        .map_err(|error| waits::explain(error, database))
}

/// The client would stop at the first of these, some only after most of the data was written.
fn check_rights(session: &mut Session, database: &Database) -> Result<()> {
    let found = dumpable::undumpable(session)?;
    if found.is_empty() {
        return Ok(());
    }
    let text = format!(
        "{} holds {} objects that the role cannot dump whole",
        database.described(),
        found.len()
    );
    let hint = dumpable::hint(&found);
    let error = found.into_iter().take(10).fold(Error::failed(text), |e, one| e.detail(one.what));
    Err(error.hint(hint))
}

fn begin(session: &mut Session) -> std::result::Result<String, SqlError> {
    session.run("begin isolation level repeatable read read only")?;
    let rows = session.rows("select pg_export_snapshot()", &[])?;
    rows.first().map(|row| row.get(0)).ok_or_else(|| SqlError {
        code: None,
        message: "the server returned no snapshot".into(),
        detail: None,
        hint: None,
        position: None,
        about: None,
    })
}

/// What a table was before the dump.
struct Stored {
    /// The number of its file, which `TRUNCATE` and whatever else writes the table anew change.
    file: Option<u32>,
    /// Rows, as the statistics say.
    estimate: u64,
}

/// Takes the count and the checksum back of every table that may have other rows now than were dumped.
///
/// What waits for the locks of `pg_dump` goes on the moment it ends, before we count, and a snapshot does
/// not see through all of it: of a table that was truncated meanwhile it has no row. Asked after the
/// counting and by name, so that a table under a name that was another one's is found, too. That a table
/// is called rewritten that was so after we counted it costs a count, and nothing else.
fn forget_rewritten(
    session: &mut Session,
    dumped: &mut Dumped,
    stored: &BTreeMap<String, Stored>,
) -> Result<()> {
    let exact = |(table, count): &(String, RowCount)| match count {
        RowCount::Exact(_) => Some(table.clone()),
        RowCount::Estimate(_) => None,
    };
    let names: Vec<String> = dumped.rows.iter().filter_map(exact).collect();
    let sql = "select n, pg_relation_filenode(to_regclass(n)) from unnest($1::text[]) n";
    let rows = session.rows(sql, &[&names]).context(|| "cannot look at the tables again".into())?;
    let same = |row: &&Row| {
        let (table, file): (&str, Option<u32>) = (row.get(0), row.get(1));
        file.is_some() && stored.get(table).is_some_and(|stored| stored.file == file)
    };
    let same: BTreeSet<String> = rows.iter().filter(same).map(|row| row.get(0)).collect();
    for (table, count) in &mut dumped.rows {
        if matches!(count, RowCount::Exact(_)) && !same.contains(table) {
            *count = RowCount::Estimate(stored.get(table).map_or(0, |stored| stored.estimate));
        }
    }
    dumped.checksums.retain(|(table, _)| same.contains(table));
    Ok(())
}

fn look(session: &mut Session) -> Result<(Dumped, BTreeMap<String, Stored>)> {
    let facts = facts::facts(session)?;
    let sql = format!(
        "select c.oid, format('%I.%I', n.nspname, c.relname), c.relkind = 'r',
                pg_relation_filenode(c.oid), greatest(c.reltuples, 0)::int8
           from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where c.relkind in ('r', 'p', 'f', 'v', 'm') and c.relpersistence <> 't' and {DUMPED}
            and not {CONFIGURATION}"
    );
    let rows = session.rows(&sql, &[]).context(|| "cannot list the tables".into())?;
    let tables = rows
        .iter()
        .map(|row| {
            let kind = if row.get(2) { TableKind::WithData } else { TableKind::DefinitionOnly };
            (row.get(0), row.get(1), kind)
        })
        .collect();
    let stored = rows.iter().map(|row| {
        (row.get(1), Stored { file: row.get(3), estimate: row.get::<_, i64>(4).unsigned_abs() })
    });
    let stored = stored.collect();
    let extensions = facts::extensions(session)?;
    let (rows, checksums) = (Vec::new(), Vec::new());
    Ok((Dumped { rows, checksums, facts, extensions, tables }, stored))
}

fn run(
    database: &Database,
    archive: &Path,
    snapshot: &str,
    facts: &Facts,
    options: &DumpOptions,
    progress: &dyn Progress,
) -> Result<()> {
    let lend = || format!("cannot hand {} to the client", archive.display());
    let lent = Lent::new(archive, database.identity(), Access::Write).context(lend)?;
    let call = database.call(&options.client.program("pg_dump"));
    let (inside, call) = lent.pass(call).context(lend)?;
    let jobs = jobs(facts.tables, facts.connections_left, facts.size);
    let call = call
        .args(["--format=directory", "--no-password", "--no-sync"])
        .arg(format!("--file={}", inside.display()))
        .arg(format!("--jobs={jobs}"))
        .arg(format!("--snapshot={snapshot}"))
        .arg(format!("--lock-wait-timeout={}", options.lock_wait.as_millis().max(1)))
        .arg(options.compression.option());
    let pace = Pace {
        name: database.name(),
        begun: Instant::now(),
        tables: facts.tables,
        expected: options.expected,
        last: options.last,
    };
    let mut waits = Waits::new(database);
    let ended = call.run_watched(|line| {
        if line.is_none() {
            waits.look(pace.tell(archive, progress), progress);
        }
    });
    lent.reclaim().context(|| format!("cannot take {} back", archive.display()))?;
    ended.map(drop).map_err(|failure| told("pg_dump", database, &failure))
}

/// Dumps the definitions of a database and keeps nothing: proof that a dump by this role is possible.
pub fn try_definitions(database: &Database, client: &Client, lock_wait: Duration) -> Result<()> {
    database
        .call(&client.program("pg_dump"))
        .args(["--schema-only", "--no-password", "--file=/dev/null"])
        .arg(format!("--lock-wait-timeout={}", lock_wait.as_millis().max(1)))
        .run()
        .map(drop)
        .map_err(|failure| waits::explain(told("pg_dump", database, &failure), database))
}

/// Returns how many processes share the work at most: one for each core, up to eight.
pub fn most_jobs() -> u64 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u64).min(MOST_JOBS)
}

/// Returns how many processes share the work: cores, tables, free connections and bytes limit them.
pub(super) fn jobs(tables: u64, connections_left: u64, bytes: u64) -> u64 {
    // One connection leads the workers.
    let connections = connections_left.saturating_sub(1);
    most_jobs().min(tables).min(connections).min(bytes / WORTH_A_JOB).max(1)
}

/// Makes the message for a client program that failed: its own last words, without the noise.
pub(super) fn told(program: &str, database: &Database, failure: &Failure) -> Error {
    told_of(program, &database.described(), failure)
}

/// The same for what is called `described`.
pub(super) fn told_of(program: &str, described: &str, failure: &Failure) -> Error {
    let words: Vec<&str> = failure
        .stderr()
        .lines()
        .map(|line| line.trim_start_matches(program).trim_start_matches(": "))
        .filter(|line| !line.trim().is_empty())
        .collect();
    let told = words[words.len().saturating_sub(6)..].join("; ");
    let error = Error::failed(format!("{program} of {described} {failure}"));
    if told.is_empty() { error } else { error.detail(told) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_tables_and_bytes_limit_the_jobs() {
        assert_eq!(jobs(100, 0, u64::MAX), 1);
        assert_eq!(jobs(0, 100, u64::MAX), 1);
        assert_eq!(jobs(100, 100, WORTH_A_JOB), 1);
        assert!(jobs(100, 100, u64::MAX) <= MOST_JOBS);
    }
}
