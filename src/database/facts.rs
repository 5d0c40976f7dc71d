//! What the server and its catalogue say: versions, sizes, rights, sessions, row counts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Database;
use super::session::{Session, SqlError};
use crate::error::{Error, Result};

/// Tables up to this many bytes are counted row by row; larger ones are estimated.
const COUNTED_UP_TO: i64 = 16 << 20;

/// How long a lock is waited for that nobody asked to wait longer for.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(30);

/// Tables that an extension makes, as `c`.
macro_rules! of_extension {
    () => {
        "exists (select from pg_depend d where d.classid = 'pg_class'::regclass
                 and d.objid = c.oid and d.deptype = 'e')"
    };
}

/// Tables that an extension registers as its configuration, as `c`.
macro_rules! configuration {
    () => {
        "exists (select from pg_extension e where c.oid = any (e.extconfig))"
    };
}

/// Tables that an extension registers as its configuration.
pub(super) const CONFIGURATION: &str = configuration!();

/// Tables that are dumped with their data: no system tables, none that an extension makes.
///
/// Tables that an extension registers as its configuration are dumped too, so they stay in.
pub(super) const DUMPED: &str = concat!(
    "n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and (not ",
    of_extension!(),
    " or ",
    configuration!(),
    ")"
);

/// Tables of which this role sees every row.
const READABLE: &str = "has_schema_privilege(n.oid, 'USAGE')
    and has_table_privilege(c.oid, 'SELECT') and not row_security_active(c.oid)";

/// What one database and its server say about themselves.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Version as the server writes it, such as `15.8`.
    pub server_version: String,
    /// Major version, such as 15.
    pub major: u32,
    /// Version as one number, such as 150008.
    pub version_num: u32,
    /// Whether the server is a standby.
    pub in_recovery: bool,
    /// Whether new transactions may not write.
    pub read_only: bool,
    /// Size of the database on the server's disk, in bytes.
    pub size: u64,
    /// Prepared transactions of this database, which block stopping, restoring and renaming.
    pub prepared_transactions: Vec<String>,
    /// Which database this is.
    pub identity: Identity,
    /// Position in the write-ahead log of the whole server, in bytes.
    pub wal_position: Option<u64>,
    /// Rows inserted, updated and deleted in this database since its statistics began.
    pub rows_written: Option<u64>,
    /// By what two counts of rows are known to be one: since when the server counts, which a crash and a
    /// reset change; `None` where it does not count.
    pub counting: Option<String>,
    /// Tables with data.
    pub tables: u64,
    /// Connections that may still be opened by this role.
    pub connections_left: u64,
}

/// Which database this is, on which server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// System identifier of the cluster, made by `initdb`; `None` where it may not be read.
    pub system: Option<String>,
    /// Object id of the database; a restore by swap changes it.
    pub oid: u32,
    /// Name of the database.
    pub dbname: String,
}

fn failed(attempt: &str, error: SqlError) -> Error {
    Error::failed(format!("cannot {attempt}")).source(error)
}

/// Takes the limits away that role or database set, so that they do not end a long statement; a
/// lock that somebody holds is waited for `lock_wait` at most.
pub fn unlimited(session: &mut Session, lock_wait: Duration) -> Result<()> {
    if session.file().is_some() {
        return Ok(());
    }
    let sql = format!(
        "set statement_timeout = 0; set idle_in_transaction_session_timeout = 0;
         set lock_timeout = {};
         select set_config('transaction_timeout', '0', false)
         where current_setting('transaction_timeout', true) is not null",
        lock_wait.as_millis().clamp(1, 2_000_000_000)
    );
    session.lift(&sql).map_err(|error| failed("lift the limits of the session", error))?;
    Ok(())
}

/// Connects and reads the facts of a database.
pub fn of(database: &Database) -> Result<Facts> {
    let mut session = database.connect()?;
    unlimited(&mut session, LOCK_WAIT)?;
    facts(&mut session)
}

/// Reads the facts of the database that the session is connected to.
pub fn facts(session: &mut Session) -> Result<Facts> {
    if let Some(file) = session.file() {
        return file.facts();
    }
    // Functions and not the views upon them, which a new server process takes twice as long to plan.
    let sql = format!(
        "select current_setting('server_version'), current_setting('server_version_num')::int4,
            pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'
                or current_setting('default_transaction_read_only') = 'on',
            pg_database_size(d.oid)::int8, d.oid, d.datname::text,
            array(select x.gid from pg_prepared_xact() x where x.dbid = d.oid),
            (case when pg_is_in_recovery() then pg_last_wal_replay_lsn()
                  else pg_current_wal_lsn() end - '0/0'::pg_lsn)::int8,
            pg_stat_get_db_tuples_inserted(d.oid) + pg_stat_get_db_tuples_updated(d.oid)
                + pg_stat_get_db_tuples_deleted(d.oid),
            (select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
              where c.relkind = 'r' and {DUMPED}),
            (select least(current_setting('max_connections')::int8
                              - current_setting('superuser_reserved_connections')::int8
                              - count(a.usesysid),
                          case when r.rolconnlimit < 0 or r.rolsuper then 100000
                               else r.rolconnlimit - count(*) filter (where a.usesysid = r.oid) end)
               from pg_stat_get_activity(null) a, pg_roles r where r.rolname = current_user
              group by r.rolconnlimit, r.rolsuper),
            case when current_setting('track_counts') = 'on'
                 then concat_ws(' ', 'since', pg_stat_get_db_stat_reset_time(d.oid),
                                pg_stat_get_bgwriter_stat_reset_time()) end
         from pg_database d where d.datname = current_database()"
    );
    let rows = session.rows(&sql, &[]).map_err(|e| failed("read the facts of the server", e))?;
    let row = rows.first().ok_or_else(|| Error::failed("the server does not know its database"))?;
    let version_num = row.get::<_, i32>(1).unsigned_abs();
    // A restricted role may not read the control file; then names are all there is to compare.
    let system = session
        .rows("select system_identifier::text from pg_control_system()", &[])
        .ok()
        .and_then(|rows| rows.first().map(|row| row.get(0)));
    Ok(Facts {
        server_version: first_word(row.get(0)),
        major: version_num / 10_000,
        version_num,
        in_recovery: row.get(2),
        read_only: row.get(3),
        size: row.get::<_, i64>(4).unsigned_abs(),
        prepared_transactions: row.get(7),
        identity: Identity { system, oid: row.get(5), dbname: row.get(6) },
        wal_position: row.get::<_, Option<i64>>(8).map(i64::unsigned_abs),
        rows_written: row.get::<_, Option<i64>>(9).map(i64::unsigned_abs),
        counting: row.get(12),
        tables: row.get::<_, i64>(10).unsigned_abs(),
        connections_left: u64::try_from(row.get::<_, i64>(11)).unwrap_or(0),
    })
}

/// Debian appends its package version: `15.8 (Debian 15.8-0+deb12u1)`.
fn first_word(text: &str) -> String {
    text.split_whitespace().next().unwrap_or_default().to_owned()
}

/// Returns the names of the extensions of the database.
pub fn extensions(session: &mut Session) -> Result<Vec<String>> {
    if session.file().is_some() {
        return Ok(Vec::new());
    }
    let rows = session
        .rows("select extname::text from pg_extension order by 1", &[])
        .map_err(|e| failed("list the extensions", e))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// How many rows a table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowCount {
    /// Counted.
    Exact(u64),
    /// As the statistics say; the table is too large to count in passing.
    Estimate(u64),
}

/// Returns the size of the database that the session is connected to, in bytes.
pub fn size(session: &mut Session) -> Option<u64> {
    if let Some(file) = session.file() {
        return file.facts().ok().map(|facts| facts.size);
    }
    let rows = session.rows("select pg_database_size(current_database())::int8", &[]).ok()?;
    rows.first().map(|row| row.get::<_, i64>(0).unsigned_abs())
}

/// Returns every table with data, as `schema.table` quoted where needed.
pub(super) fn tables(session: &mut Session) -> Result<BTreeSet<String>> {
    Ok(sized_tables(session)?.into_iter().map(|sized| sized.table).collect())
}

/// Returns the tables that extensions made or keep their configuration in: which of them a dump has is a
/// matter of the extension's version.
pub(super) fn tables_of_extensions(session: &mut Session) -> Result<BTreeSet<String>> {
    let sql = concat!(
        "select format('%I.%I', n.nspname, c.relname)
           from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where c.relkind = 'r' and (",
        of_extension!(),
        " or ",
        configuration!(),
        ")"
    );
    let rows = session.rows(sql, &[]).map_err(|e| failed("list the tables of extensions", e))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

struct Sized {
    table: String,
    bytes: i64,
    /// Rows, as the statistics say.
    estimate: u64,
    /// Whether counting is no use: an extension fills it anew, or the role may not read all of it.
    uncounted: bool,
}

/// Returns every table with data. Of one that was dropped since a snapshot that still lists it, size and
/// rights are unknown.
fn sized_tables(session: &mut Session) -> Result<Vec<Sized>> {
    let sql = format!(
        "select format('%I.%I', n.nspname, c.relname), coalesce(pg_relation_size(c.oid), 0)::int8,
                greatest(c.reltuples, 0)::int8,
                {CONFIGURATION} or coalesce(not ({READABLE}), true)
           from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where c.relkind = 'r' and c.relpersistence <> 't' and {DUMPED}"
    );
    let rows = session.rows(&sql, &[]).map_err(|e| failed("list the tables", e))?;
    Ok(rows
        .iter()
        .map(|row| Sized {
            table: row.get(0),
            bytes: row.get(1),
            estimate: row.get::<_, i64>(2).unsigned_abs(),
            uncounted: row.get(3),
        })
        .collect())
}

/// Counts the rows of tables, in their order.
pub(super) fn count(session: &mut Session, tables: &[String]) -> Result<Vec<u64>> {
    let mut counts = Vec::with_capacity(tables.len());
    // A few hundred tables in one statement: thousands of round trips cost more than the counting.
    for batch in tables.chunks(200) {
        let parts: Vec<String> = batch
            .iter()
            .enumerate()
            .map(|(index, table)| format!("select {index}::int4, count(*) from only {table}"))
            .collect();
        let sql = format!("{} order by 1", parts.join(" union all "));
        let rows = session.rows(&sql, &[]).map_err(|e| failed("count the rows", e))?;
        counts.extend(rows.iter().map(|row| row.get::<_, i64>(1).unsigned_abs()));
    }
    Ok(counts)
}

/// Returns the rows of every table with data, as `schema.table`; exact for tables up to 16 MiB.
pub fn row_counts(session: &mut Session) -> Result<Vec<(String, RowCount)>> {
    if let Some(file) = session.file() {
        let exact = |(table, rows)| (table, RowCount::Exact(rows));
        return Ok(file.row_counts()?.into_iter().map(exact).collect());
    }
    row_counts_beside(session, &BTreeMap::new())
}

/// The same where some tables are counted already.
pub(super) fn row_counts_beside(
    session: &mut Session,
    known: &BTreeMap<String, u64>,
) -> Result<Vec<(String, RowCount)>> {
    let (counted, rest): (Vec<_>, Vec<_>) =
        sized_tables(session)?.into_iter().partition(|sized| known.contains_key(&sized.table));
    let (small, large): (Vec<_>, Vec<_>) =
        rest.into_iter().partition(|sized| sized.bytes <= COUNTED_UP_TO && !sized.uncounted);
    let names: Vec<String> = small.into_iter().map(|sized| sized.table).collect();
    let exact = count(session, &names)?.into_iter().map(RowCount::Exact);
    let mut counts: Vec<(String, RowCount)> = names.iter().cloned().zip(exact).collect();
    counts.extend(large.into_iter().map(|one| (one.table, RowCount::Estimate(one.estimate))));
    counts.extend(counted.into_iter().filter_map(|one| {
        let rows = known.get(&one.table)?;
        Some((one.table, RowCount::Exact(*rows)))
    }));
    counts.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(counts)
}

/// Counts the rows of every table with data, whatever that takes; none where the role may not read
/// all of them.
pub fn exact_row_counts(session: &mut Session) -> Result<Vec<(String, Option<u64>)>> {
    if let Some(file) = session.file() {
        return Ok(file.row_counts()?.into_iter().map(|(table, n)| (table, Some(n))).collect());
    }
    let sql = format!(
        "select format('%I.%I', n.nspname, c.relname), coalesce({READABLE}, false)
           from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where c.relkind = 'r' and c.relpersistence <> 't' and {DUMPED} order by 1"
    );
    let rows = session.rows(&sql, &[]).map_err(|e| failed("list the tables", e))?;
    let names: Vec<String> = rows.iter().filter(|row| row.get(1)).map(|row| row.get(0)).collect();
    let mut counts = count(session, &names)?.into_iter();
    Ok(rows.iter().map(|row| (row.get(0), if row.get(1) { counts.next() } else { None })).collect())
}

/// Returns the server's version as it writes it, such as `15.8`.
pub fn server_version(session: &mut Session) -> Result<String> {
    if let Some(file) = session.file() {
        return Ok(file.connection.version().to_owned());
    }
    // One message; a statement with parameters would be prepared, run and closed: three.
    let text = session
        .single("show server_version")
        .map_err(|e| failed("ask for the server's version", e))?
        .unwrap_or_default();
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}
