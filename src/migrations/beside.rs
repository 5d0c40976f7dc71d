//! The mark of a migration outside a transaction, for tools whose history table has no word for it.
//!
//! It is a table of ours in the schema of the history table, with one row, and exists only while such
//! a migration runs: made with the mark, dropped in the transaction that records the end. A database
//! between two runs looks as the tool left it.

use super::chain::Chain;
use super::history::{AppliedRow, Evidence, Origin, RowState, Run, Table};
use crate::database::{Session, SqlError, literal};

/// Name of the table.
const NAME: &str = "openwatch_begun";

fn mark(table: &Table) -> Table {
    Table { schema: table.schema.clone(), name: NAME.to_owned() }
}

/// Makes the table with its row.
pub(super) fn begin_sql(table: &Table, run: &Run<'_>, origin: &Origin) -> String {
    let mark = mark(table);
    format!(
        "create table {mark} (history text not null, version text not null, \
           begun_at timestamp with time zone not null default current_timestamp, \
           product_version text not null);\
         insert into {mark} (history, version, product_version) values ({}, {}, {})",
        literal(&table.name),
        literal(&run.migration.version),
        literal(&origin.product_version),
    )
}

/// Removes it.
pub(super) fn drop_sql(table: &Table) -> String {
    format!("drop table {}", mark(table))
}

/// Reads the mark, where there is one.
pub(super) fn read(
    session: &mut Session,
    chain: &Chain,
    table: &Table,
) -> Result<Option<AppliedRow>, SqlError> {
    let mark = mark(table);
    let exists = format!("select to_regclass({}) is not null", literal(&mark.to_string()));
    if session.single(&exists)?.as_deref() != Some("t") {
        return Ok(None);
    }
    let rows = session.simple(&format!(
        "select version, cast(date_trunc('second', begun_at) as text), product_version from {mark} \
         where history = {}",
        literal(&table.name)
    ))?;
    let row = rows.into_iter().next().map(|columns| {
        let mut columns = columns.into_iter();
        let version = columns.next().flatten().unwrap_or_default();
        let file = chain.migrations.iter().find(|migration| migration.version == version);
        AppliedRow {
            key: file.map(|file| file.key.clone()).unwrap_or_default(),
            name: file.map(|file| file.name.clone()).unwrap_or_default(),
            version,
            state: RowState::Started,
            applied_at: columns.next().flatten(),
            product_version: columns.next().flatten(),
            evidence: Evidence::Beside,
            ..AppliedRow::default()
        }
    });
    Ok(row)
}
