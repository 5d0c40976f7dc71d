//! One number per table that is the same wherever the table has the same rows, in whatever order.
//!
//! Every row is hashed as text, and the hashes are added up: a sum does not depend on the order, and
//! unlike an exclusive or it sees a row that is there twice. Settings that change how values are
//! written are the same for both sides.

use std::collections::BTreeMap;

use super::facts::{self, CONFIGURATION, DUMPED, RowCount};
use super::session::{Session, SqlError};
use crate::error::{Context, Result};

/// Tables up to this many bytes are added up in passing: about a million bytes in a hundredth of a
/// second.
const ADDED_UP_TO: i64 = 1 << 20;

/// How many tables one statement asks about.
const AT_ONCE: usize = 200;

/// Settings by which the text of a value is the same in every session.
const SETTINGS: &str = "set local search_path = pg_catalog; set local timezone = 'UTC';
    set local datestyle = 'ISO, YMD'; set local intervalstyle = 'postgres';
    set local extra_float_digits = 3; set local bytea_output = 'hex'; set local lc_monetary = 'C';
    set local lc_numeric = 'C'; set local xmlbinary = 'base64'";

/// The checksums of tables, by `schema.table`.
pub type Checksums = Vec<(String, String)>;

/// Returns the rows of every table with data, and the checksums of the small ones, which are added up
/// while they are counted; none where the server refuses that.
///
/// Called inside a transaction, it sees the rows that the transaction sees.
pub(super) fn rows(session: &mut Session) -> Result<(Vec<(String, RowCount)>, Checksums)> {
    let failed = || "cannot add up the rows".to_owned();
    session.run("savepoint checksums").context(failed)?;
    let summed = small_tables(session).and_then(|tables| of(session, &tables));
    // Also takes the settings back.
    session.run("rollback to savepoint checksums").context(failed)?;
    let summed = summed.unwrap_or_default();
    let known = summed.iter().map(|sum| (sum.table.clone(), sum.rows)).collect();
    let counts = facts::row_counts_beside(session, &known)?;
    Ok((counts, summed.into_iter().map(|sum| (sum.table, sum.checksum)).collect()))
}

struct Summed {
    table: String,
    rows: u64,
    checksum: String,
}

/// Returns the tables of `wanted` that add up to something else now, each with what is wrong.
pub(super) fn compare(
    session: &mut Session,
    wanted: &[(String, String)],
) -> std::result::Result<Vec<String>, SqlError> {
    session.run("begin isolation level repeatable read read only")?;
    let names: Vec<String> = wanted.iter().map(|(table, _)| table.clone()).collect();
    let found = of(session, &names);
    session.run("rollback")?;
    let found: BTreeMap<String, String> =
        found?.into_iter().map(|sum| (sum.table, sum.checksum)).collect();
    Ok(wanted
        .iter()
        .filter(|(table, sum)| found.get(table) != Some(sum))
        .map(|(table, _)| format!("{table} has other rows"))
        .collect())
}

/// A child of a table that is no partition may have its columns in another order after a load, and what
/// an extension made is made anew by it.
fn small_tables(session: &mut Session) -> std::result::Result<Vec<String>, SqlError> {
    let sql = format!(
        "select format('%I.%I', n.nspname, c.relname)
           from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where c.relkind = 'r' and c.relpersistence <> 't' and {DUMPED}
            and pg_relation_size(c.oid) <= {ADDED_UP_TO}
            and (c.relispartition
                 or not exists (select from pg_inherits i where i.inhrelid = c.oid))
            and not {CONFIGURATION}
          order by 1"
    );
    Ok(session.rows(&sql, &[])?.iter().map(|row| row.get(0)).collect())
}

fn of(session: &mut Session, tables: &[String]) -> std::result::Result<Vec<Summed>, SqlError> {
    session.run(SETTINGS)?;
    let mut sums = Vec::with_capacity(tables.len());
    for batch in tables.chunks(AT_ONCE) {
        let parts: Vec<String> = batch
            .iter()
            .enumerate()
            .map(|(index, table)| {
                // The row as a whole, also where the table has a column of the same name.
                format!(
                    "select {index}::int4, count(*), coalesce(sum(hashtextextended(\
                     (r.*)::text collate \"C\", 0)), 0)::text from only {table} r"
                )
            })
            .collect();
        let rows = session.rows(&format!("{} order by 1", parts.join(" union all ")), &[])?;
        sums.extend(batch.iter().zip(&rows).map(|(table, row)| Summed {
            table: table.clone(),
            rows: row.get::<_, i64>(1).unsigned_abs(),
            checksum: row.get(2),
        }));
    }
    Ok(sums)
}
