//! diesel: a directory `<version>_<name>/` with `up.sql`, maybe `down.sql` and `metadata.toml`; table
//! `__diesel_schema_migrations`, no checksums.
//!
//! Read as diesel 2.3 does: files beside the directories and what begins with a dot are ignored, a
//! directory without `up.sql` is an error. The version is what stands before the first `_`, without
//! its dashes, and is compared as text.

use std::path::Path;

use super::{Older, Rows, Tool, WayBack, as_sent};
use crate::config::Format;
use crate::database::{Session, literal};
use crate::error::Result;
use crate::migrations::files::{self, Entry, bad};
use crate::migrations::history::{AppliedRow, Origin, Run, Table};
use crate::migrations::{Key, Migration, Text};

/// What diesel itself makes in a new project: helper functions. Some projects delete it later.
const INITIAL_SETUP: &str = "00000000000000";

/// How many characters the column takes.
const LONGEST_VERSION: usize = 50;

#[derive(Debug)]
pub(super) struct Diesel;

impl Tool for Diesel {
    fn format(&self) -> Format {
        Format::Diesel
    }

    fn default_table(&self) -> &'static str {
        "__diesel_schema_migrations"
    }

    fn file_names(&self) -> &'static str {
        "a directory named VERSION_NAME with a file up.sql"
    }

    fn read_dir(&self, dir: &Path) -> Result<Vec<Migration>> {
        let mut entries = files::list(dir)?;
        entries.retain(|entry| !entry.is_file());
        files::read_all(entries, read)
    }

    fn sql(&self, migration: &Migration, raw: String) -> String {
        as_sent(&raw, migration.transactional)
    }

    /// `diesel migration run` applies it without a word.
    fn older(&self, _: &Migration) -> Older {
        Older::Applied
    }

    fn create_sql(&self, table: &Table) -> String {
        format!(
            "create table {table} (\
               version character varying(50) primary key not null, \
               run_on timestamp without time zone not null default current_timestamp)"
        )
    }

    fn read_rows(&self, session: &mut Session, table: &Table, shipped: &[Migration]) -> Rows {
        let sql =
            format!("select version, cast(date_trunc('second', run_on) as text) from {table}");
        Ok(rows(session.simple(&sql)?, shipped))
    }

    fn record_sql(&self, table: &Table, runs: &[Run<'_>], _: &Origin) -> String {
        let rows: Vec<String> =
            runs.iter().map(|run| format!("({})", literal(&run.migration.version))).collect();
        format!("insert into {table} (version) values {}", rows.join(","))
    }

    fn way_back(&self, dir: &Path, file: &Migration, _: &str) -> Result<Option<WayBack>> {
        let inside = dir.join(&file.file);
        let down = files::read_beside(&inside.with_file_name("down.sql"))?;
        let down = down.filter(|raw| !raw.trim().is_empty());
        let transactional = file.transactional;
        Ok(down.map(|raw| WayBack { sql: as_sent(&raw, transactional), transactional }))
    }

    fn remove_sql(&self, table: &Table, row: &AppliedRow) -> String {
        format!("delete from {table} where version = {}", literal(&row.version))
    }
}

/// Rows of version and time, without the one by which diesel's own setup is known.
pub(super) fn rows(found: Vec<Vec<Option<String>>>, shipped: &[Migration]) -> Vec<AppliedRow> {
    let mut rows: Vec<AppliedRow> =
        found.into_iter().map(|columns| row(columns, shipped)).collect();
    let known = |key: &Key| shipped.iter().any(|migration| migration.key == *key);
    rows.retain(|row| row.version != INITIAL_SETUP || known(&row.key));
    rows
}

fn row(columns: Vec<Option<String>>, shipped: &[Migration]) -> AppliedRow {
    let mut columns = columns.into_iter();
    let version = columns.next().flatten().unwrap_or_default();
    let key = Key::Text(version.as_str().into());
    // Both are in the order of versions as a rule, and then this costs a few steps for each row.
    let file = shipped
        .binary_search_by(|migration| migration.key.cmp(&key))
        .ok()
        .and_then(|at| shipped.get(at));
    AppliedRow {
        name: file.map(|file| file.name.clone()).unwrap_or_default(),
        key,
        version: version.into(),
        applied_at: columns.next().flatten().map(String::into),
        ..AppliedRow::default()
    }
}

/// Takes version and name out of a directory's name.
fn parse_name(directory: &str) -> Option<(String, &str)> {
    let (version, name) = directory.split_once('_').unwrap_or((directory, ""));
    let version = version.replace('-', "");
    (1..=LONGEST_VERSION).contains(&version.chars().count()).then_some((version, name))
}

/// Returns what `metadata.toml` says of transactions.
///
/// As diesel reads it: no file, or one that cannot be read, means in a transaction; a file without
/// the key means outside.
fn transactional(metadata: Option<&str>) -> bool {
    let Some(Ok(metadata)) = metadata.map(str::parse::<toml::Table>) else { return true };
    match metadata.get("run_in_transaction") {
        Some(toml::Value::Boolean(inside)) => *inside,
        Some(_) => true,
        None => false,
    }
}

fn read(entry: &Entry<'_>) -> Result<Migration> {
    let directory = entry.name();
    let names = "diesel wants a directory named VERSION_NAME, as in 2026-01-01-120000_hosts";
    let Some((version, name)) = parse_name(&directory) else {
        return Err(files::misnamed(entry, names));
    };
    let inside = entry.list()?;
    let file = |name: &str| inside.iter().find(|entry| entry.name() == name);
    let Some(up) = file("up.sql") else {
        return Err(bad(format!("{} has no file up.sql", entry.path().display()))
            .detail("diesel refuses to migrate while such a directory is there")
            .hint(format!("Remove `{}`, or reinstall the package.", entry.path().display())));
    };
    let raw = files::read_raw(up)?;
    let metadata = file("metadata.toml").and_then(|file| files::read_raw(file).ok());
    Ok(Migration {
        key: Key::Text(version.as_str().into()),
        version: version.into(),
        name: name.into(),
        file: up.file.clone(),
        text: Text::in_file(&raw),
        checksum: None,
        transactional: transactional(metadata.as_deref()),
        obstacle: raw.is_empty().then(|| "is empty, which diesel refuses to run".into()),
        ..Migration::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_what_stands_before_the_underscore_without_dashes() {
        let known = |version: &str, name| Some((version.to_owned(), name));
        for (directory, expected) in [
            ("2020-01-31-120000_create_users", known("20200131120000", "create_users")),
            ("00000000000000_diesel_initial_setup", known(INITIAL_SETUP, "diesel_initial_setup")),
            ("001_a", known("001", "a")),
            ("weird", known("weird", "")),
            ("_a", None),
            ("--_a", None),
        ] {
            assert_eq!(parse_name(directory), expected, "{directory}");
        }
        assert_eq!(parse_name(&format!("{}_a", "1".repeat(51))), None);
    }

    #[test]
    fn metadata_without_the_key_means_outside_a_transaction() {
        for (metadata, expected) in [
            (None, true),
            (Some("run_in_transaction = true"), true),
            (Some("run_in_transaction = false\n"), false),
            // The traps of the tool, kept: the default of the key is not that of the file.
            (Some(""), false),
            (Some("# nothing\nother = 1\n"), false),
            (Some("run_in_transaction = \"false\""), true),
            (Some("run_in_transaction: false"), true),
        ] {
            assert_eq!(transactional(metadata), expected, "{metadata:?}");
        }
    }
}
