//! The formats: one file for each tool that can own migrations, all behind [`Tool`].
//!
//! A format reads and records as its tool does, so that the tool, run afterwards, finds nothing
//! pending. What is common to all of them (comparing, grouping, locking, reporting) knows only this
//! trait. A new format is a variant of [`Format`], a file here, and a line in [`tool`].

mod dbmate;
mod diesel;
mod flyway;
mod flyway_files;
mod golang_migrate;
mod goose;
mod in_file;
mod plain;
mod refinery;
mod sqlx;

use std::fmt::Debug;
use std::path::Path;

use in_file::InFile;
pub use plain::{NO_TRANSACTION, TABLE, checksum, parse_name};

use super::Migration;
use super::history::{AppliedRow, Origin, Run, Table};
use super::script::wrapper::without_wrapper;
use crate::config::Format;
use crate::database::{Dialect, ForeignKeys, Session, SqlError};
use crate::error::Result;

/// Returns the tool of a format, as it keeps its history in a database of this kind.
pub(super) fn tool_in(format: Format, dialect: Dialect) -> &'static dyn Tool {
    match (dialect, format) {
        (Dialect::PostgreSql, format) => tool(format),
        (Dialect::Sqlite, Format::Plain) => &InFile { of: &plain::Plain },
        (Dialect::Sqlite, Format::Goose) => &InFile { of: &goose::Goose },
        (Dialect::Sqlite, Format::GolangMigrate) => &InFile { of: &golang_migrate::GolangMigrate },
        (Dialect::Sqlite, Format::Dbmate) => &InFile { of: &dbmate::Dbmate },
        (Dialect::Sqlite, Format::Sqlx) => &InFile { of: &sqlx::Sqlx },
        (Dialect::Sqlite, Format::Diesel) => &InFile { of: &diesel::Diesel },
        (Dialect::Sqlite, Format::Refinery) => &InFile { of: &refinery::Refinery::Int4 },
        (Dialect::Sqlite, Format::RefineryInt8) => &InFile { of: &refinery::Refinery::Int8 },
        // The configuration refuses it.
        (Dialect::Sqlite, Format::Flyway) => &InFile { of: &flyway::Flyway },
    }
}

/// Returns the tool of a format on a server.
pub(super) fn tool(format: Format) -> &'static dyn Tool {
    match format {
        Format::Plain => &plain::Plain,
        Format::Goose => &goose::Goose,
        Format::GolangMigrate => &golang_migrate::GolangMigrate,
        Format::Dbmate => &dbmate::Dbmate,
        Format::Sqlx => &sqlx::Sqlx,
        Format::Diesel => &diesel::Diesel,
        Format::Refinery => &refinery::Refinery::Int4,
        Format::RefineryInt8 => &refinery::Refinery::Int8,
        Format::Flyway => &flyway::Flyway,
    }
}

/// The text of a file whose tool sends it as it is; line ends inside a function's body are part of what
/// is made.
///
/// Without byte order mark, over which the server stumbles; and within a transaction without a
/// transaction of its own around everything, which the tool's would make a warning.
fn as_sent(raw: &str, transactional: bool) -> String {
    let text = raw.strip_prefix('\u{feff}').unwrap_or(raw);
    if transactional { without_wrapper(text) } else { text.to_owned() }
}

/// What a hole in the numbers of shipped files means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gaps {
    /// Numbers are dates, or have holes by custom.
    Allowed,
    /// A file is missing in the package.
    Refused,
}

/// What a file means that is older than the newest applied migration and was never applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Older {
    /// The tool stops there, and so do we.
    Refused,
    /// The tool applies it, in the order of versions, and so do we.
    Applied,
}

/// What the key of an advisory lock is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct LockGround<'a> {
    /// Name of the database on the server.
    pub(super) dbname: &'a str,
    /// The history table.
    pub(super) table: &'a Table,
}

/// What takes a migration back, as its tool would run it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WayBack {
    /// The statements.
    pub(super) sql: String,
    /// Whether they run inside a transaction.
    pub(super) transactional: bool,
}

/// What was read of a history table.
pub(super) type Rows = std::result::Result<Vec<AppliedRow>, SqlError>;

/// How one tool reads and records migrations.
///
/// Every function that returns SQL returns statements without a semicolon at the end, for a session
/// with standard-conforming strings and any search path: tables are named with their schema.
pub(super) trait Tool: Debug + Sync {
    /// The word for it in configuration and messages.
    fn format(&self) -> Format;

    /// The history table that the tool uses unless it is told otherwise.
    fn default_table(&self) -> &'static str;

    /// What a migration is called in this format, for a directory that holds none, such as
    /// `a file named NNNN_name.sql`.
    fn file_names(&self) -> &'static str;

    /// Reads the migrations of a directory, in any order; refuses names that the tool would trip
    /// over. A file that the tool would run otherwise than we can, or not at all, gets
    /// [`Migration::obstacle`], which counts while it is pending.
    ///
    /// [`Migration::checksum`] is what the tool records, over what the tool hashes.
    fn read_dir(&self, dir: &Path) -> Result<Vec<Migration>>;

    /// Makes of a file, as it lies there, what is sent: [`as_sent`] or [`super::files::normalised`], with
    /// the lines of other sections left empty by [`super::files::only_lines`].
    fn sql(&self, migration: &Migration, raw: String) -> String;

    /// Whether a hole between the versions of two files that follow each other is an error.
    fn gaps(&self, _before: &str, _after: &str) -> Gaps {
        Gaps::Allowed
    }

    /// What becomes of this file, which is older than the newest applied one.
    fn older(&self, _migration: &Migration) -> Older {
        Older::Refused
    }

    /// Returns the checksum that a migration would have with this text; only of a tool that hashes
    /// raw bytes, so that other line ends make another one.
    fn checksum(&self, _migration: &Migration, _raw: &str) -> Option<String> {
        None
    }

    /// What the tool does about the foreign keys of a file while it migrates.
    fn foreign_keys(&self) -> ForeignKeys {
        ForeignKeys::Deferred
    }

    /// Makes the history table as the tool makes it, so that `pg_dump --schema-only` shows no
    /// difference; with the rows that it puts in at once.
    fn create_sql(&self, table: &Table) -> String;

    /// Reads what is applied, in any order; the table exists.
    ///
    /// A tool that keeps only a mark returns a row for each shipped file up to it, as
    /// [`super::history::Evidence::Assumed`].
    fn read_rows(&self, session: &mut Session, table: &Table, shipped: &[Migration]) -> Rows;

    /// Records migrations as applied, within the transaction that applied them; never called with
    /// none. The rows are new, or what was there was removed before with [`Tool::remove_sql`].
    fn record_sql(&self, table: &Table, runs: &[Run<'_>], origin: &Origin) -> String;

    /// Records that everything up to the last of these was there before the history began.
    fn baseline_sql(&self, table: &Table, runs: &[Run<'_>], origin: &Origin) -> String {
        self.record_sql(table, runs, origin)
    }

    /// Puts into a row what the tool keeps of a file beside its version: checksum and name.
    ///
    /// None where it is to be recorded anew.
    fn repair_sql(&self, _: &Table, _: &AppliedRow, _: &Migration) -> Option<String> {
        None
    }

    /// Whether the table holds the newest version only, so that everything below it is assumed.
    fn newest_only(&self) -> bool {
        false
    }

    /// Removes the row of a migration, so that it can be recorded anew.
    fn remove_sql(&self, table: &Table, row: &AppliedRow) -> String;

    /// Returns what takes a migration back, from its file below `dir` with this text or from one beside
    /// it; none where there is nothing that does.
    fn way_back(&self, _dir: &Path, _file: &Migration, _raw: &str) -> Result<Option<WayBack>> {
        Ok(None)
    }

    /// Takes the row of a migration away that was taken back.
    fn take_back_sql(&self, table: &Table, row: &AppliedRow, _shipped: &[Migration]) -> String {
        self.remove_sql(table, row)
    }

    /// How the tool itself marks a migration that runs outside a transaction; without such marks a
    /// table of ours stands beside the history while one runs ([`super::alone::underway`]).
    fn own_marks(&self) -> Option<&dyn OwnMarks> {
        None
    }

    /// What a row in the state [`super::history::RowState::Started`] means, as the end of a sentence
    /// that begins with the migration.
    fn begun(&self) -> &'static str {
        "was begun outside a transaction and its end is not known"
    }

    /// Keys of the advisory locks that the tool takes while it migrates; they are taken with ours,
    /// by polling, and given back at the end of the run.
    fn lock_keys(&self, _ground: LockGround<'_>) -> Vec<i64> {
        Vec::new()
    }
}

/// Marks of a migration outside a transaction in the tool's own table.
///
/// A row that says so is read back by [`Tool::read_rows`] as [`super::history::RowState::Started`].
pub(super) trait OwnMarks {
    /// Records that it begins; it commits before the first statement.
    fn begin_sql(&self, table: &Table, run: &Run<'_>, origin: &Origin) -> String;

    /// Turns the mark into a row of an applied migration.
    fn finish_sql(&self, table: &Table, run: &Run<'_>) -> String;

    /// Removes the mark of a migration that took no effect; also shown to the operator.
    fn forget_sql(&self, table: &Table, version: &str, shipped: &[Migration]) -> String;
}
