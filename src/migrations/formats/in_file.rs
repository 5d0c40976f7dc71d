//! The formats where the database is a file of SQLite.
//!
//! Files are read as on a server; the history table is that which the tool makes in SQLite, and its
//! rows are as it writes them there. Read from the drivers of the tools: `database/sqlite3` of
//! golang-migrate, `dialect/sqlite3` of goose, `pkg/driver/sqlite` of dbmate, `sqlx-sqlite`,
//! `refinery-core` and `diesel_migrations`; compared with the programs.

use std::path::Path;

use smol_str::SmolStr;

use super::{Gaps, Older, OwnMarks, Rows, Tool, WayBack, diesel, golang_migrate};
use crate::config::Format;
use crate::database::{ForeignKeys, Session, literal};
use crate::error::Result;
use crate::migrations::history::{AppliedRow, Origin, RowState, Run, Table};
use crate::migrations::script::without_wrapper_of_file;
use crate::migrations::{Key, Migration};

/// A tool as it keeps its history in a file.
#[derive(Debug)]
pub(super) struct InFile {
    /// The same tool on a server.
    pub(super) of: &'static dyn Tool,
}

impl Tool for InFile {
    fn format(&self) -> Format {
        self.of.format()
    }

    fn default_table(&self) -> &'static str {
        self.of.default_table()
    }

    fn file_names(&self) -> &'static str {
        self.of.file_names()
    }

    fn read_dir(&self, dir: &Path) -> Result<Vec<Migration>> {
        self.of.read_dir(dir)
    }

    fn sql(&self, migration: &Migration, raw: String) -> String {
        let text = self.of.sql(migration, raw);
        match self.of.format() {
            // Ours has no transactions in files.
            Format::Plain => text,
            _ if !migration.transactional => text,
            Format::Goose
            | Format::GolangMigrate
            | Format::Dbmate
            | Format::Sqlx
            | Format::Diesel
            | Format::Refinery
            | Format::RefineryInt8
            | Format::Flyway => without_wrapper_of_file(text),
        }
    }

    fn gaps(&self, before: &str, after: &str) -> Gaps {
        self.of.gaps(before, after)
    }

    fn older(&self, migration: &Migration) -> Older {
        self.of.older(migration)
    }

    fn checksum(&self, migration: &Migration, raw: &str) -> Option<String> {
        self.of.checksum(migration, raw)
    }

    /// Libraries of Rust that bring their own SQLite enforce them; everybody else leaves them off.
    fn foreign_keys(&self) -> ForeignKeys {
        match self.of.format() {
            Format::Sqlx | Format::Refinery | Format::RefineryInt8 => ForeignKeys::Enforced,
            Format::Plain
            | Format::Goose
            | Format::GolangMigrate
            | Format::Dbmate
            | Format::Diesel
            | Format::Flyway => ForeignKeys::Deferred,
        }
    }

    fn create_sql(&self, table: &Table) -> String {
        let columns = match self.of.format() {
            Format::Plain | Format::Flyway => {
                "version text primary key, name text not null, checksum text not null, \
                 state text not null check (state in ('applied', 'started')), \
                 applied_at text not null default current_timestamp, duration_ms integer not null, \
                 product_version text not null, restore_point text"
            }
            Format::Goose => {
                "id INTEGER PRIMARY KEY AUTOINCREMENT, version_id INTEGER NOT NULL, \
                 is_applied INTEGER NOT NULL, tstamp TIMESTAMP DEFAULT (datetime('now'))"
            }
            Format::GolangMigrate => "version uint64,dirty bool",
            Format::Dbmate => "version varchar(128) primary key",
            Format::Sqlx => {
                "version BIGINT PRIMARY KEY, description TEXT NOT NULL, \
                 installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, \
                 success BOOLEAN NOT NULL, checksum BLOB NOT NULL, execution_time BIGINT NOT NULL"
            }
            Format::Diesel => {
                "version VARCHAR(50) PRIMARY KEY NOT NULL, \
                 run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP"
            }
            Format::Refinery => {
                "version INT4 PRIMARY KEY, name VARCHAR(255), applied_on VARCHAR(255), \
                 checksum VARCHAR(255)"
            }
            Format::RefineryInt8 => {
                "version INT8 PRIMARY KEY, name VARCHAR(255), applied_on VARCHAR(255), \
                 checksum VARCHAR(255)"
            }
        };
        let make = format!("create table {table} ({columns})");
        match self.of.format() {
            // Version 0 is the row by which goose knows that the table is its own.
            Format::Goose => {
                format!("{make};insert into {table} (version_id, is_applied) values (0, 1)")
            }
            Format::GolangMigrate => {
                let name = crate::database::quoted(&table.name);
                format!("{make};create unique index version_unique on {name} (version)")
            }
            Format::Plain
            | Format::Dbmate
            | Format::Sqlx
            | Format::Diesel
            | Format::Refinery
            | Format::RefineryInt8
            | Format::Flyway => make,
        }
    }

    fn read_rows(&self, session: &mut Session, table: &Table, shipped: &[Migration]) -> Rows {
        let sql = match self.of.format() {
            Format::Dbmate | Format::Refinery | Format::RefineryInt8 => {
                return self.of.read_rows(session, table, shipped);
            }
            Format::GolangMigrate => {
                let sql = format!("select version, dirty from {table} limit 1");
                let Some(row) = session.simple(&sql)?.into_iter().next() else {
                    return Ok(Vec::new());
                };
                let [version, dirty] = cells(row);
                return Ok(golang_migrate::rows_up_to(&version, is_true(&dirty), shipped));
            }
            Format::Diesel => {
                let rows = session.simple(&format!("select version, run_on from {table}"))?;
                return Ok(diesel::rows(rows, shipped));
            }
            Format::Plain | Format::Flyway => format!(
                "select version, name, checksum, state = 'applied', applied_at, product_version \
                 from {table}"
            ),
            Format::Goose => format!(
                "select version_id, '', null, 1, tstamp, null from {table} as row \
                 where version_id <> 0 and is_applied and id = \
                   (select max(id) from {table} as last where last.version_id = row.version_id)"
            ),
            Format::Sqlx => format!(
                "select version, description, lower(hex(checksum)), success, installed_on, null \
                 from {table}"
            ),
        };
        let mut rows: Vec<AppliedRow> =
            session.simple(&sql)?.into_iter().map(|row| numbered(row, shipped)).collect();
        rows.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(rows)
    }

    fn record_sql(&self, table: &Table, runs: &[Run<'_>], origin: &Origin) -> String {
        let values = |row: &dyn Fn(&Migration) -> String| -> String {
            runs.iter().map(|run| row(run.migration)).collect::<Vec<_>>().join(",")
        };
        match self.of.format() {
            Format::Goose => {
                let rows = values(&|migration| format!("({}, 1)", migration.version));
                format!("insert into {table} (version_id, is_applied) values {rows}")
            }
            Format::Sqlx => sqlx_insert(table, runs, RowState::Applied),
            Format::Refinery | Format::RefineryInt8 => {
                let rows = values(&|Migration { version, name, checksum, .. }| {
                    let checksum = checksum.as_deref().unwrap_or_default();
                    let now = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')";
                    format!("({version},{},{now},'{checksum}')", literal(name))
                });
                format!("insert into {table} (version, name, applied_on, checksum) values {rows}")
            }
            Format::Plain
            | Format::GolangMigrate
            | Format::Dbmate
            | Format::Diesel
            | Format::Flyway => self.of.record_sql(table, runs, origin),
        }
    }

    fn repair_sql(&self, table: &Table, row: &AppliedRow, file: &Migration) -> Option<String> {
        if self.of.format() != Format::Sqlx {
            return self.of.repair_sql(table, row, file);
        }
        Some(format!(
            "update {table} set checksum = x'{}', description = {} where version = {}",
            file.checksum.as_deref().unwrap_or_default(),
            literal(&file.name),
            row.version.parse().unwrap_or(-1_i64)
        ))
    }

    fn newest_only(&self) -> bool {
        self.of.newest_only()
    }

    fn remove_sql(&self, table: &Table, row: &AppliedRow) -> String {
        self.of.remove_sql(table, row)
    }

    fn way_back(&self, dir: &Path, file: &Migration, raw: &str) -> Result<Option<WayBack>> {
        let way = self.of.way_back(dir, file, raw)?;
        Ok(way.map(|way| match way.transactional {
            true => WayBack { sql: without_wrapper_of_file(way.sql), ..way },
            false => way,
        }))
    }

    fn take_back_sql(&self, table: &Table, row: &AppliedRow, shipped: &[Migration]) -> String {
        self.of.take_back_sql(table, row, shipped)
    }

    fn own_marks(&self) -> Option<&dyn OwnMarks> {
        match self.of.format() {
            Format::Sqlx => Some(self),
            Format::Plain
            | Format::Goose
            | Format::GolangMigrate
            | Format::Dbmate
            | Format::Diesel
            | Format::Refinery
            | Format::RefineryInt8
            | Format::Flyway => self.of.own_marks(),
        }
    }

    fn begun(&self) -> &'static str {
        self.of.begun()
    }
}

/// Those of sqlx, which writes its times in another language here.
impl OwnMarks for InFile {
    fn begin_sql(&self, table: &Table, run: &Run<'_>, _: &Origin) -> String {
        sqlx_insert(table, std::slice::from_ref(run), RowState::Started)
    }

    fn finish_sql(&self, table: &Table, run: &Run<'_>) -> String {
        format!(
            "update {table} set success = true, installed_on = current_timestamp, \
             execution_time = {} where version = {}",
            run.duration.as_nanos(),
            run.migration.version
        )
    }

    fn forget_sql(&self, table: &Table, version: &str, _: &[Migration]) -> String {
        let version = version.parse().unwrap_or(-1_i64);
        format!("delete from {table} where version = {version} and not success")
    }
}

fn sqlx_insert(table: &Table, runs: &[Run<'_>], state: RowState) -> String {
    let row = |run: &Run<'_>| {
        // A time of -1 is what sqlx itself writes until it knows better.
        let (success, nanoseconds) = match state {
            RowState::Applied => (true, run.duration.as_nanos().to_string()),
            RowState::Started => (false, "-1".to_owned()),
        };
        let Migration { version, name, checksum, .. } = run.migration;
        let checksum = checksum.as_deref().unwrap_or_default();
        format!("({version},{},{success},x'{checksum}',{nanoseconds})", literal(name))
    };
    let rows: Vec<String> = runs.iter().map(row).collect();
    format!(
        "insert into {table} (version, description, success, checksum, execution_time) values {}",
        rows.join(",")
    )
}

/// Returns the first columns of a row, what is null as nothing.
fn cells<const N: usize>(row: Vec<Option<String>>) -> [String; N] {
    let mut columns = row.into_iter();
    std::array::from_fn(|_| columns.next().flatten().unwrap_or_default())
}

/// SQLite has numbers for what is true.
fn is_true(text: &str) -> bool {
    text != "0" && !text.is_empty()
}

/// A row of version, name, checksum, whether it ended, when, and by which product.
fn numbered(row: Vec<Option<String>>, shipped: &[Migration]) -> AppliedRow {
    let checksum = row.get(2).cloned().flatten().map(SmolStr::from);
    let product_version = row.get(5).cloned().flatten().map(String::into);
    let [version, name, _, ended, at] = cells(row);
    let key = Key::Number(version.parse().unwrap_or(u64::MAX));
    let file = shipped.binary_search_by(|file| file.key.cmp(&key)).ok();
    let of_file = || file.map(|at| shipped[at].name.clone()).unwrap_or_default();
    AppliedRow {
        key,
        version: version.into(),
        name: if name.is_empty() { of_file() } else { name.into() },
        checksum,
        state: if is_true(&ended) { RowState::Applied } else { RowState::Started },
        applied_at: Some(at.into()),
        product_version,
        ..AppliedRow::default()
    }
}
