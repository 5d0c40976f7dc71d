//! What a history table says: one row for each migration that was applied, or begun.

use std::fmt;
use std::time::Duration;

use smol_str::SmolStr;

use super::alone::underway::{self, Underway};
use super::chain::Chain;
use super::{Key, Migration};
use crate::database::{ServerProcess, Session, SqlError, quoted};

/// A history table, by the names that the catalogue has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Table {
    /// Writes it as SQL takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", quoted(&self.schema), quoted(&self.name))
    }
}

/// What a row says about its migration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RowState {
    /// It is in the schema.
    #[default]
    Applied,
    /// It was begun outside a transaction, and nobody noted its end.
    Started,
}

/// How a row came to be known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Evidence {
    /// The tool recorded this migration.
    #[default]
    Recorded,
    /// The tool keeps only the newest version: that this older one ran is what it assumes.
    Assumed,
    /// Our own mark beside the tool's table, because the tool has none for what is begun.
    Beside,
}

/// One row of the history table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppliedRow {
    /// By which rows and files are matched and ordered.
    pub key: Key,
    /// The version as the table has it.
    pub version: SmolStr,
    /// The name, where the tool records it; else that of the file, or nothing.
    pub name: SmolStr,
    /// The checksum as the table has it, where the tool keeps one.
    pub checksum: Option<SmolStr>,
    /// Whether it ended.
    pub state: RowState,
    /// When, as the server writes it, where the tool records it.
    pub applied_at: Option<Box<str>>,
    /// Version of the package that applied it, which only our own table knows.
    pub product_version: Option<Box<str>>,
    /// How it came to be known.
    pub evidence: Evidence,
}

impl AppliedRow {
    /// Returns version and name as messages show them.
    pub fn label(&self) -> String {
        label(&self.version, &self.name)
    }

    /// Says when and by what it was applied, as far as the table tells.
    pub(super) fn provenance(&self, chain: &Chain) -> String {
        let at = self.applied_at.as_ref().map_or(String::new(), |at| format!(" {at}"));
        match &self.product_version {
            Some(version) => format!("applied{at} by version {version}"),
            None => format!("recorded as applied{at} in the table {}", chain.table.name),
        }
    }
}

/// Joins version and name as messages show them.
pub(super) fn label(version: &str, name: &str) -> String {
    if name.is_empty() { version.to_owned() } else { format!("{version}_{name}") }
}

/// Names versions in one line: each of up to ten; of more how many, the first and the last.
pub fn named<S: AsRef<str>>(versions: &[S]) -> String {
    const MOST: usize = 10;
    match versions {
        [first, .., last] if versions.len() > MOST => {
            let (count, first, last) = (versions.len(), first.as_ref(), last.as_ref());
            format!("{count} migrations: {first} to {last}")
        }
        few => few.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(" "),
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

impl Chain {
    /// Reads all rows of the history table, and the mark of what was begun.
    pub(super) fn read_rows(
        &self,
        session: &mut Session,
        table: &Table,
    ) -> Result<Vec<AppliedRow>, SqlError> {
        let begun = underway::read(session, self, table)?;
        self.rows_beside(session, table, begun)
    }

    /// The same beside a mark that was read already.
    pub(super) fn rows_beside(
        &self,
        session: &mut Session,
        table: &Table,
        begun: Option<Underway>,
    ) -> Result<Vec<AppliedRow>, SqlError> {
        let mut rows = self.tool.read_rows(session, table, &self.migrations)?;
        if let Some(mark) = begun
            && rows.iter().all(|row| row.state != RowState::Started)
        {
            rows.push(mark.row);
        }
        Ok(rows)
    }

    /// Records that a migration begins outside a transaction.
    pub(super) fn begin_sql(
        &self,
        table: &Table,
        run: &Run<'_>,
        process: &ServerProcess,
        origin: &Origin,
    ) -> String {
        let ours = underway::create_sql(table, run.migration, process, origin);
        match self.tool.own_marks() {
            Some(marks) => format!("{};{ours}", marks.begin_sql(table, run, origin)),
            None => ours,
        }
    }

    /// Records that a migration outside a transaction came to its end.
    pub(super) fn finish_sql(&self, table: &Table, run: &Run<'_>, origin: &Origin) -> String {
        let record = match self.tool.own_marks() {
            Some(marks) => marks.finish_sql(table, run),
            None => self.tool.record_sql(table, std::slice::from_ref(run), origin),
        };
        format!("{record};{}", underway::drop_sql(table))
    }

    /// Takes back the mark of a migration that took no effect.
    pub(super) fn forget_sql(&self, table: &Table, version: &str) -> String {
        let ours = underway::drop_sql(table);
        match self.tool.own_marks() {
            Some(marks) => format!("{};{ours}", marks.forget_sql(table, version, &self.migrations)),
            None => ours,
        }
    }

    /// Removes a row, or a mark, so that the migration can be recorded anew.
    pub(super) fn remove_sql(&self, table: &Table, row: &AppliedRow) -> String {
        match row.evidence {
            Evidence::Recorded | Evidence::Assumed => self.tool.remove_sql(table, row),
            Evidence::Beside => underway::drop_sql(table),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_versions_are_named_and_of_more_the_first_and_the_last() {
        let upto = |last: usize| -> Vec<String> { (1..=last).map(|n| format!("{n:04}")).collect() };
        assert_eq!(named(&upto(2)), "0001 0002");
        assert_eq!(named(&upto(10)).split(' ').count(), 10);
        assert_eq!(named(&upto(11)), "11 migrations: 0001 to 0011");
    }
}
