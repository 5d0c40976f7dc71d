//! sqlx: `<integer>_<words>.sql`, or `.up.sql` with `.down.sql`; table `_sqlx_migrations`, SHA-384.
//!
//! Read as sqlx 0.9 does: not below subdirectories; a name without `_`, or that does not end with
//! `.sql`, is ignored, and any other prefix than an integer is an error. The checksum is that of the
//! file's bytes, of the up file where there are two. `-- no-transaction` has to be the very first
//! bytes of the file.

use std::path::Path;

use sha2::{Digest as _, Sha384};

use super::{LockGround, Older, OwnMarks, Rows, Tool, WayBack, as_sent};
use crate::config::Format;
use crate::database::{Session, literal};
use crate::error::Result;
use crate::migrations::files::{self, Entry, bad};
use crate::migrations::history::{AppliedRow, Origin, RowState, Run, Table};
use crate::migrations::{Key, Migration, Text};

/// The first bytes of a file that runs outside a transaction.
const NO_TRANSACTION: &str = "-- no-transaction";

/// What sqlx multiplies the CRC-32 of the database's name with to get the key of its lock.
const LOCK_FACTOR: i64 = 0x3d32_ad9e;

#[derive(Debug)]
pub(super) struct Sqlx;

impl Tool for Sqlx {
    fn format(&self) -> Format {
        Format::Sqlx
    }

    fn default_table(&self) -> &'static str {
        "_sqlx_migrations"
    }

    fn file_names(&self) -> &'static str {
        "a file named INTEGER_NAME.sql, or INTEGER_NAME.up.sql"
    }

    fn read_dir(&self, dir: &Path) -> Result<Vec<Migration>> {
        let mut entries = files::list(dir)?;
        entries.retain(|entry| !entry.is_dir() && Name::parse(&entry.name()).is_some());
        let read = files::read_all(entries, read)?;
        Ok(read.into_iter().flatten().collect())
    }

    fn sql(&self, migration: &Migration, raw: String) -> String {
        as_sent(&raw, migration.transactional)
    }

    /// `sqlx migrate run` applies it without a word.
    fn older(&self, _: &Migration) -> Older {
        Older::Applied
    }

    fn checksum(&self, _: &Migration, raw: &str) -> Option<String> {
        Some(checksum(raw))
    }

    fn create_sql(&self, table: &Table) -> String {
        format!(
            "create table {table} (\
               version bigint primary key, \
               description text not null, \
               installed_on timestamp with time zone not null default now(), \
               success boolean not null, \
               checksum bytea not null, \
               execution_time bigint not null)"
        )
    }

    fn read_rows(&self, session: &mut Session, table: &Table, _: &[Migration]) -> Rows {
        let sql = format!(
            "select version, description, encode(checksum, 'hex'), success, \
             cast(date_trunc('second', installed_on) as text) from {table}"
        );
        Ok(session.simple(&sql)?.into_iter().map(row).collect())
    }

    fn record_sql(&self, table: &Table, runs: &[Run<'_>], _: &Origin) -> String {
        insert_sql(table, runs, RowState::Applied)
    }

    fn repair_sql(&self, table: &Table, row: &AppliedRow, file: &Migration) -> Option<String> {
        Some(format!(
            "update {table} set checksum = decode('{}', 'hex'), description = {} where version = {}",
            file.checksum.as_deref().unwrap_or_default(),
            literal(&file.name),
            number(&row.version)
        ))
    }

    fn remove_sql(&self, table: &Table, row: &AppliedRow) -> String {
        format!("delete from {table} where version = {}", number(&row.version))
    }

    fn way_back(&self, dir: &Path, file: &Migration, _: &str) -> Result<Option<WayBack>> {
        let name = file.file.to_string_lossy();
        let Some(stem) = name.strip_suffix(".up.sql") else { return Ok(None) };
        files::read_beside(&dir.join(format!("{stem}.down.sql"))).map(|raw| {
            let transactional = |raw: &str| !raw.starts_with(NO_TRANSACTION);
            raw.map(|raw| WayBack {
                transactional: transactional(&raw),
                sql: as_sent(&raw, transactional(&raw)),
            })
        })
    }

    fn own_marks(&self) -> Option<&dyn OwnMarks> {
        Some(self)
    }

    /// Only the library takes it; `sqlx migrate run` takes no lock at all.
    fn lock_keys(&self, ground: LockGround<'_>) -> Vec<i64> {
        vec![lock_key(ground.dbname)]
    }
}

/// `success` is the tool's own word for it: while it is false, sqlx refuses to migrate.
impl OwnMarks for Sqlx {
    fn begin_sql(&self, table: &Table, run: &Run<'_>, _: &Origin) -> String {
        insert_sql(table, std::slice::from_ref(run), RowState::Started)
    }

    fn finish_sql(&self, table: &Table, run: &Run<'_>) -> String {
        format!(
            "update {table} set success = true, installed_on = now(), execution_time = {} \
             where version = {}",
            run.duration.as_nanos(),
            number(&run.migration.version)
        )
    }

    fn forget_sql(&self, table: &Table, version: &str, _: &[Migration]) -> String {
        format!("delete from {table} where version = {} and not success", number(version))
    }
}

fn insert_sql(table: &Table, runs: &[Run<'_>], state: RowState) -> String {
    let rows: Vec<String> = runs
        .iter()
        .map(|run| {
            let migration = run.migration;
            // A time of -1 is what sqlx itself writes until it knows better.
            let (success, nanoseconds) = match state {
                RowState::Applied => (true, run.duration.as_nanos().to_string()),
                RowState::Started => (false, "-1".to_owned()),
            };
            format!(
                "({},{},{success},decode('{}','hex'),{nanoseconds})",
                number(&migration.version),
                literal(&migration.name),
                migration.checksum.as_deref().unwrap_or_default(),
            )
        })
        .collect();
    format!(
        "insert into {table} (version, description, success, checksum, execution_time) values {}",
        rows.join(",")
    )
}

/// A version for SQL; rows and files have only integers.
fn number(version: &str) -> i64 {
    version.parse().unwrap_or(-1)
}

fn row(columns: Vec<Option<String>>) -> AppliedRow {
    let mut columns = columns.into_iter();
    let mut next = || columns.next().flatten().unwrap_or_default();
    let version = next();
    AppliedRow {
        key: Key::Number(version.parse().unwrap_or(u64::MAX)),
        version: version.into(),
        name: next().into(),
        checksum: Some(next().into()),
        state: if next() == "t" { RowState::Applied } else { RowState::Started },
        applied_at: Some(next().into()),
        ..AppliedRow::default()
    }
}

fn lock_key(dbname: &str) -> i64 {
    LOCK_FACTOR * i64::from(crc32fast::hash(dbname.as_bytes()))
}

fn checksum(text: &str) -> String {
    hex::encode(Sha384::digest(text.as_bytes()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    /// `.sql`, which cannot be taken back.
    Simple,
    Up,
    Down,
}

/// A file name that sqlx takes for a migration, right or wrong.
#[derive(Debug, PartialEq, Eq)]
struct Name<'a> {
    version: &'a str,
    description: String,
    direction: Direction,
}

impl<'a> Name<'a> {
    fn parse(file: &'a str) -> Option<Self> {
        let (version, rest) = file.split_once('_')?;
        if !rest.ends_with(".sql") {
            return None;
        }
        let (suffix, direction) = if rest.ends_with(".up.sql") {
            (".up.sql", Direction::Up)
        } else if rest.ends_with(".down.sql") {
            (".down.sql", Direction::Down)
        } else {
            (".sql", Direction::Simple)
        };
        let description = rest.trim_end_matches(suffix).replace('_', " ");
        Some(Self { version, description, direction })
    }
}

/// Reads what runs; of a way back only the name has to be right.
fn read(entry: &Entry<'_>) -> Result<Option<Migration>> {
    let file = entry.name();
    let names = "sqlx wants an integer before the first underscore, as in 20260101120000_hosts.sql";
    let Some(name) = Name::parse(&file) else { return Err(files::misnamed(entry, names)) };
    let version: i64 = name.version.parse().map_err(|_| files::misnamed(entry, names))?;
    let number = u64::try_from(version).map_err(|_| {
        bad(format!("the version of {} is below zero", entry.path().display()))
            .hint("Give it a version from 1 on.")
    })?;
    if name.direction == Direction::Down {
        return Ok(None);
    }
    let raw = files::read_raw(entry)?;
    Ok(Some(Migration {
        version: version.to_string().into(),
        name: name.description.into(),
        key: Key::Number(number),
        file: entry.file.clone(),
        text: Text::in_file(&raw),
        checksum: Some(checksum(&raw).into()),
        transactional: !raw.starts_with(NO_TRANSACTION),
        ..Migration::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(file: &str) -> Option<(&str, String, Direction)> {
        Name::parse(file).map(|name| (name.version, name.description, name.direction))
    }

    #[test]
    fn names_are_read_as_sqlx_reads_them() {
        let known = |version, description: &str, direction| {
            Some((version, description.to_owned(), direction))
        };
        let cases = [
            ("1_init.sql", known("1", "init", Direction::Simple)),
            ("0001_add_user.up.sql", known("0001", "add user", Direction::Up)),
            ("0001_add_user.down.sql", known("0001", "add user", Direction::Down)),
            ("1_a.up.sql.up.sql", known("1", "a", Direction::Up)),
            ("1_.sql", known("1", "", Direction::Simple)),
            ("README_first.sql", known("README", "first", Direction::Simple)),
            // Ignored, whatever somebody meant.
            ("1.sql", None),
            ("1-init.sql", None),
            ("1_init.SQL", None),
            ("1_init.sql.bak", None),
        ];
        for (file, expected) in cases {
            assert_eq!(parsed(file), expected, "{file}");
        }
    }

    #[test]
    fn the_checksum_is_the_sha_384_of_the_bytes() {
        let lf = checksum("create table a(i int);\nselect 1;\n");
        assert!(lf.starts_with("879094d0bc4fe4c1") && lf.ends_with("f97d21b9"), "{lf}");
        let crlf = checksum("create table a(i int);\r\nselect 1;\r\n");
        assert!(crlf.starts_with("c49ed11805b3bd34"), "{crlf}");
    }

    #[test]
    fn the_lock_is_that_of_the_library() {
        assert_eq!(lock_key("openwatch"), 3_115_326_181_482_115_280);
    }
}
