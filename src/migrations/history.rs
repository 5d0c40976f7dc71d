//! The history table: one row for each migration that was applied, or begun outside a transaction.

use std::time::Duration;

use super::Migration;
use crate::database::{Session, SqlError};

/// Name of the history table; it lies in the schema that is first on the connection's search path.
pub const TABLE: &str = "openwatch_schema_history";

/// What a row says about its migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowState {
    /// It is in the schema.
    Applied,
    /// It was begun outside a transaction, and nobody noted its end.
    Started,
}

/// One row of the history table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedRow {
    /// The number as the file name wrote it.
    pub version: String,
    /// The rest of the file name.
    pub name: String,
    /// SHA-256 of the file as it was applied.
    pub checksum: String,
    /// Whether it ended.
    pub state: RowState,
    /// When, as the server writes it.
    pub applied_at: String,
    /// Version of the package that applied it.
    pub product_version: String,
}

impl AppliedRow {
    /// Returns the number by which migrations are matched; what is no number sorts last.
    pub fn number(&self) -> u64 {
        self.version.parse().unwrap_or(u64::MAX)
    }

    /// Returns version and name as messages show them.
    pub fn label(&self) -> String {
        format!("{}_{}", self.version, self.name)
    }
}

/// A run of one migration, as its row records it.
#[derive(Clone, Debug)]
pub(super) struct Run<'a> {
    pub(super) migration: &'a Migration,
    pub(super) duration: Duration,
}

/// What every row of one run of the program has in common.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// Version of the package.
    pub(super) product_version: String,
    /// Restore point that was taken before.
    pub(super) restore_point: Option<String>,
}

/// Makes the table; the schema is quoted already.
pub(super) fn create_sql(schema: &str) -> String {
    format!(
        "create table {schema}.{TABLE} (\
           version text primary key, \
           name text not null, \
           checksum text not null, \
           state text not null check (state in ('applied', 'started')), \
           applied_at timestamp with time zone not null default current_timestamp, \
           duration_ms bigint not null, \
           product_version text not null, \
           restore_point text)"
    )
}

/// Records migrations in one statement.
pub(super) fn insert_sql(
    schema: &str,
    runs: &[Run<'_>],
    state: RowState,
    origin: &Origin,
) -> String {
    let word = match state {
        RowState::Applied => "applied",
        RowState::Started => "started",
    };
    let version = quoted(&origin.product_version);
    let point = origin.restore_point.as_deref().map_or_else(|| "null".into(), quoted);
    let rows: Vec<String> = runs
        .iter()
        .map(|run| {
            let Migration { version: number, name, checksum, .. } = run.migration;
            let millis = run.duration.as_millis();
            format!("('{number}','{name}','{checksum}','{word}',{millis},{version},{point})")
        })
        .collect();
    format!(
        "insert into {schema}.{TABLE} \
         (version, name, checksum, state, duration_ms, product_version, restore_point) values {}",
        rows.join(",")
    )
}

/// Notes the end of a migration that ran outside a transaction.
pub(super) fn finish_sql(schema: &str, run: &Run<'_>) -> String {
    format!(
        "update {schema}.{TABLE} set state = 'applied', applied_at = current_timestamp, \
         duration_ms = {} where version = '{}'",
        run.duration.as_millis(),
        run.migration.version
    )
}

/// Takes back the mark of a migration that failed without leaving anything.
pub(super) fn forget_sql(schema: &str, migration: &Migration) -> String {
    format!(
        "delete from {schema}.{TABLE} where version = '{}' and state = 'started'",
        migration.version
    )
}

/// Removes a row so that it can be written anew.
pub(super) fn remove_sql(schema: &str, version: &str) -> String {
    format!("delete from {schema}.{TABLE} where version = {}", quoted(version))
}

/// Reads all rows.
pub(super) fn read(session: &mut Session, schema: &str) -> Result<Vec<AppliedRow>, SqlError> {
    // The checksum column is compared in full; only its row order is free.
    let sql = format!(
        "select version, name, checksum, state, \
         cast(date_trunc('second', applied_at) as text), product_version from {schema}.{TABLE}"
    );
    let rows = session.simple(&sql)?;
    Ok(rows.into_iter().map(row).collect())
}

fn row(columns: Vec<Option<String>>) -> AppliedRow {
    let mut columns = columns.into_iter().map(Option::unwrap_or_default);
    let mut next = || columns.next().unwrap_or_default();
    AppliedRow {
        version: next(),
        name: next(),
        checksum: next(),
        state: if next() == "applied" { RowState::Applied } else { RowState::Started },
        applied_at: next(),
        product_version: next(),
    }
}

/// Quotes a text for SQL; the session has standard-conforming strings.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\0', "").replace('\'', "''"))
}
