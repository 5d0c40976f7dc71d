//! golang-migrate: `NNNN_name.up.sql` beside `NNNN_name.down.sql`, one row for the whole database.
//!
//! The row is a mark: everything up to it counts as applied, and `dirty` says that the migration of
//! that number began and did not end. A file that was added below the mark is never run, by
//! golang-migrate as by us; it is listed among what is assumed. Read from `source/parse.go`,
//! `database/postgres/postgres.go` and `database/util.go`.

use std::collections::BTreeMap;
use std::path::Path;

use super::{LockGround, OwnMarks, Rows, Tool, WayBack};
use crate::config::Format;
use crate::database::Session;
use crate::error::Result;
use crate::migrations::files::{self, Entry, bad};
use crate::migrations::history::{AppliedRow, Evidence, Origin, RowState, Run, Table};
use crate::migrations::script::wrapper::without_wrapper;
use crate::migrations::{Key, Migration, Text};

#[derive(Debug)]
pub(super) struct GolangMigrate;

/// What golang-migrate multiplies the checksum of the names with.
const SALT: u32 = 1_486_364_155;

impl Tool for GolangMigrate {
    fn format(&self) -> Format {
        Format::GolangMigrate
    }

    fn default_table(&self) -> &'static str {
        "schema_migrations"
    }

    fn file_names(&self) -> &'static str {
        "a file named NNNN_name.up.sql"
    }

    fn read_dir(&self, dir: &Path) -> Result<Vec<Migration>> {
        let mut entries = files::list(dir)?;
        entries.retain(|entry| !entry.is_dir() && parse_name(&entry.name()).is_some());
        let parts = files::read_all(entries, read)?;
        together(dir, parts.into_iter().flatten())
    }

    fn sql(&self, _: &Migration, raw: String) -> String {
        // Sent with the line ends that it has: they are part of function bodies.
        without_wrapper(&raw)
    }

    fn create_sql(&self, table: &Table) -> String {
        format!(
            "create table if not exists {table} \
             (version bigint not null primary key, dirty boolean not null)"
        )
    }

    fn read_rows(&self, session: &mut Session, table: &Table, shipped: &[Migration]) -> Rows {
        let found = session.simple(&format!("select version, dirty from {table} limit 1"))?;
        let Some(row) = found.into_iter().next() else { return Ok(Vec::new()) };
        let mut columns = row.into_iter();
        let version = columns.next().flatten().unwrap_or_default();
        let dirty = columns.next().flatten().as_deref() == Some("t");
        Ok(rows_up_to(&version, dirty, shipped))
    }

    fn record_sql(&self, table: &Table, runs: &[Run<'_>], _: &Origin) -> String {
        // In order: the last one is the newest.
        let newest = runs.last().map_or("0", |run| run.migration.version.as_str());
        set_sql(table, newest, false)
    }

    fn newest_only(&self) -> bool {
        true
    }

    fn remove_sql(&self, table: &Table, _: &AppliedRow) -> String {
        format!("delete from {table}")
    }

    fn way_back(&self, dir: &Path, file: &Migration, _: &str) -> Result<Option<WayBack>> {
        let same = |entry: &Entry<'_>| match parse_name(&entry.name()) {
            Some((version, _, Direction::Down)) => {
                version.parse().is_ok_and(|number| Key::Number(number) == file.key)
            }
            Some((.., Direction::Up)) | None => false,
        };
        let Some(down) = files::list(dir)?.into_iter().find(same) else { return Ok(None) };
        let sql = without_wrapper(&files::read_raw(&down)?);
        Ok((!sql.trim().is_empty()).then_some(WayBack { sql, transactional: true }))
    }

    fn take_back_sql(&self, table: &Table, row: &AppliedRow, shipped: &[Migration]) -> String {
        self.forget_sql(table, &row.version, shipped)
    }

    fn own_marks(&self) -> Option<&dyn OwnMarks> {
        Some(self)
    }

    fn begun(&self) -> &'static str {
        "began and did not end: golang-migrate calls the database dirty"
    }

    fn lock_keys(&self, ground: LockGround<'_>) -> Vec<i64> {
        // The program takes the name of the database from its URL, with the slash.
        let names = [ground.dbname.to_owned(), format!("/{}", ground.dbname)];
        names.iter().map(|name| lock_key(name, ground.table)).collect()
    }
}

impl OwnMarks for GolangMigrate {
    fn begin_sql(&self, table: &Table, run: &Run<'_>, _: &Origin) -> String {
        set_sql(table, &run.migration.version, true)
    }

    fn finish_sql(&self, table: &Table, run: &Run<'_>) -> String {
        set_sql(table, &run.migration.version, false)
    }

    fn forget_sql(&self, table: &Table, version: &str, shipped: &[Migration]) -> String {
        // The version need not be shipped, and -1 stands in front of all: numbers tell what is below.
        let below = |number| shipped.iter().rev().find(|file| file.key < Key::Number(number));
        match version.parse().ok().and_then(below) {
            Some(before) => set_sql(table, &before.version, false),
            None => format!("delete from {table}"),
        }
    }
}

/// Writes the mark.
fn set_sql(table: &Table, version: &str, dirty: bool) -> String {
    format!("delete from {table}; insert into {table} (version, dirty) values ({version}, {dirty})")
}

/// What one row says about every file up to it.
pub(super) fn rows_up_to(version: &str, dirty: bool, shipped: &[Migration]) -> Vec<AppliedRow> {
    // -1 with dirty is what a failed way back from the first one leaves.
    let mark = version.parse::<u64>().unwrap_or(0);
    let recorded = AppliedRow {
        key: Key::Number(mark),
        version: version.into(),
        state: if dirty { RowState::Started } else { RowState::Applied },
        ..AppliedRow::default()
    };
    let mut rows: Vec<AppliedRow> = shipped
        .iter()
        .filter(|file| file.key < recorded.key)
        .map(|file| AppliedRow {
            key: file.key.clone(),
            version: file.version.clone(),
            name: file.name.clone(),
            evidence: Evidence::Assumed,
            ..AppliedRow::default()
        })
        .collect();
    let file = shipped.iter().find(|file| file.key == recorded.key);
    rows.push(AppliedRow { name: file.map(|f| f.name.clone()).unwrap_or_default(), ..recorded });
    rows
}

/// The key under which golang-migrate locks: CRC-32 of schema, table and database with NUL between,
/// times its salt.
fn lock_key(dbname: &str, table: &Table) -> i64 {
    let names = [table.schema.as_str(), table.name.as_str(), dbname].join("\0");
    i64::from(crc32fast::hash(names.as_bytes()).wrapping_mul(SALT))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// Takes a file name apart: `^([0-9]+)_(.*)\.(down|up)\.(.*)$`, where the last direction counts.
fn parse_name(file: &str) -> Option<(&str, &str, Direction)> {
    let (version, rest) = file.split_once('_')?;
    let digits = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    let up = rest.rfind(".up.").map(|at| (at, Direction::Up));
    let down = rest.rfind(".down.").map(|at| (at, Direction::Down));
    let (at, direction) = up.into_iter().chain(down).max_by_key(|(at, _)| *at)?;
    digits.then(|| (version, &rest[..at], direction))
}

fn read(entry: &Entry<'_>) -> Result<Option<(Migration, Direction)>> {
    let file = entry.name();
    let Some((version, name, direction)) = parse_name(&file) else { return Ok(None) };
    // The column is a signed number of 64 bits.
    let number = version.parse::<i64>().ok().and_then(|number| u64::try_from(number).ok());
    let Some(number) = number else {
        return Err(bad(format!("the number of {} is too large", entry.path().display()))
            .detail("golang-migrate records it as a bigint")
            .hint("Give it a smaller number."));
    };
    // A way back is not run here: what it stands for is a migration that does nothing.
    let text = match direction {
        Direction::Up => Text::in_file(&files::read_raw(entry)?),
        Direction::Down => Text::default(),
    };
    let migration = Migration {
        version: number.to_string().into(),
        name: name.into(),
        key: Key::Number(number),
        file: entry.file.clone(),
        text,
        checksum: None,
        transactional: true,
        ..Migration::default()
    };
    Ok(Some((migration, direction)))
}

/// Puts the two directions together; where one is missing, it is an empty one to golang-migrate.
fn together(
    dir: &Path,
    parts: impl Iterator<Item = (Migration, Direction)>,
) -> Result<Vec<Migration>> {
    let mut found: BTreeMap<Key, [Option<Migration>; 2]> = BTreeMap::new();
    for (migration, direction) in parts {
        let slot = &mut found.entry(migration.key.clone()).or_default()[direction as usize];
        if let Some(other) = slot {
            return Err(files::twice(dir, other, &migration));
        }
        *slot = Some(migration);
    }
    Ok(found.into_values().filter_map(|[up, down]| up.or(down)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_number_a_title_and_a_direction() {
        let up = Direction::Up;
        assert_eq!(parse_name("1_init.up.sql"), Some(("1", "init", up)));
        assert_eq!(parse_name("0001_.up.sql"), Some(("0001", "", up)));
        assert_eq!(parse_name("1_a.down.up.sql"), Some(("1", "a.down", up)));
        assert_eq!(parse_name("1_a.up.down.sql"), Some(("1", "a.up", Direction::Down)));
        assert_eq!(parse_name("1_a.up.pgsql"), Some(("1", "a", up)));
        for name in ["1_a.sql", "a_1.up.sql", "1.up.sql", "1_up.sql", "_a.up.sql", ""] {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }

    #[test]
    fn the_lock_is_the_one_of_golang_migrate() {
        let table = |schema: &str, name: &str| Table { schema: schema.into(), name: name.into() };
        let own = table("public", "schema_migrations");
        assert_eq!(lock_key("openwatch", &own), 362_725_251);
        assert_eq!(lock_key("/openwatch", &own), 153_969_602);
    }

    #[test]
    fn the_row_says_something_about_every_file_up_to_it() {
        let file = |number: u64| Migration {
            version: number.to_string().into(),
            key: Key::Number(number),
            ..Migration::default()
        };
        let shipped = [file(1), file(2), file(3)];
        let rows = rows_up_to("2", false, &shipped);
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].evidence, rows[1].evidence), (Evidence::Assumed, Evidence::Recorded));
        let dirty = rows_up_to("3", true, &shipped);
        assert_eq!(dirty[2].state, RowState::Started);
        assert_eq!(rows_up_to("9", false, &shipped)[3].key, Key::Number(9));
        let table = Table { schema: "s".into(), name: "t".into() };
        let back = GolangMigrate.forget_sql(&table, "3", &shipped);
        assert!(back.ends_with("values (2, false)"), "{back}");
        assert_eq!(GolangMigrate.forget_sql(&table, "1", &shipped), "delete from \"s\".\"t\"");
    }
}
