//! dbmate: `NNNN_name.sql` with `-- migrate:up` and `-- migrate:down`, a row for each version.
//!
//! Versions are text: `1` and `001` are two of them. Order is that of file names. Read from
//! `pkg/dbmate/migration.go`, `pkg/dbmate/db.go` and `pkg/driver/postgres/postgres.go`, and compared
//! with the program.

use std::collections::HashMap;
use std::path::Path;

use super::{Older, Rows, Tool, WayBack};
use crate::config::Format;
use crate::database::{Session, literal, quoted};
use crate::error::Result;
use crate::migrations::files::{self, Entry, only_lines};
use crate::migrations::history::{AppliedRow, Origin, Run, Table};
use crate::migrations::{Key, Migration, Text};

#[derive(Debug)]
pub(super) struct Dbmate;

impl Tool for Dbmate {
    fn format(&self) -> Format {
        Format::Dbmate
    }

    fn default_table(&self) -> &'static str {
        "schema_migrations"
    }

    fn file_names(&self) -> &'static str {
        "a file whose name begins with digits and ends with .sql"
    }

    fn read_dir(&self, dir: &Path) -> Result<Vec<Migration>> {
        // dbmate skips every other file too.
        let mut entries = files::list(dir)?;
        entries.retain(|entry| !entry.is_dir() && parse_name(&entry.name()).is_some());
        let read = files::read_all(entries, read)?;
        Ok(read.into_iter().flatten().collect())
    }

    fn sql(&self, _: &Migration, raw: String) -> String {
        // Sent with the line ends that it has: they are part of function bodies.
        let Sections { up, down, .. } = sections(&raw).unwrap_or_default();
        only_lines(&raw, |line| line > up && line < down)
    }

    /// Only `--strict` forbids it there, which is off unless it is asked for.
    fn older(&self, _: &Migration) -> Older {
        Older::Applied
    }

    fn create_sql(&self, table: &Table) -> String {
        // dbmate makes a schema that is missing; asking for one that is there needs a right.
        format!(
            "do $make$ begin if to_regnamespace({}) is null then \
               create schema {}; end if; end $make$;\
             create table if not exists {table} (version varchar primary key)",
            literal(&quoted(&table.schema)),
            quoted(&table.schema),
        )
    }

    fn read_rows(&self, session: &mut Session, table: &Table, shipped: &[Migration]) -> Rows {
        let files: HashMap<&str, &Migration> =
            shipped.iter().map(|file| (file.version.as_str(), file)).collect();
        let rows = session.simple(&format!("select version from {table}"))?;
        let row = |columns: Vec<Option<String>>| {
            let version = columns.into_iter().next().flatten().unwrap_or_default();
            let file = files.get(version.as_str());
            AppliedRow {
                key: file
                    .map_or_else(|| Key::Text(version.as_str().into()), |file| file.key.clone()),
                name: file.map(|file| file.name.clone()).unwrap_or_default(),
                version: version.into(),
                ..AppliedRow::default()
            }
        };
        Ok(rows.into_iter().map(row).collect())
    }

    fn record_sql(&self, table: &Table, runs: &[Run<'_>], _: &Origin) -> String {
        let rows: Vec<String> =
            runs.iter().map(|run| format!("({})", literal(&run.migration.version))).collect();
        format!("insert into {table} (version) values {}", rows.join(","))
    }

    fn way_back(&self, _: &Path, _: &Migration, raw: &str) -> Result<Option<WayBack>> {
        let Ok(Sections { down, .. }) = sections(raw) else { return Ok(None) };
        let options = raw.lines().nth(down).and_then(|line| directive(line, "down"));
        let off = |option: &str| option == "transaction:false";
        let transactional = !options.unwrap_or_default().split_whitespace().any(off);
        let sql = only_lines(raw, |line| line > down);
        let is_sql = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with("--");
        Ok(sql.lines().any(is_sql).then_some(WayBack { sql, transactional }))
    }

    fn remove_sql(&self, table: &Table, row: &AppliedRow) -> String {
        format!("delete from {table} where version = {}", literal(&row.version))
    }
}

/// Takes the version and the rest out of a file name: `^(\d+).*\.sql$`.
fn parse_name(file: &str) -> Option<(&str, &str)> {
    let stem = file.strip_suffix(".sql")?;
    let digits = stem.bytes().take_while(u8::is_ascii_digit).count();
    let (version, rest) = stem.split_at(digits);
    (digits > 0).then(|| (version, rest.strip_prefix('_').unwrap_or(rest)))
}

fn read(entry: &Entry<'_>) -> Result<Option<Migration>> {
    let file = entry.name();
    let Some((version, name)) = parse_name(&file) else { return Ok(None) };
    let raw = files::read_raw(entry)?;
    let sections = sections(&raw);
    Ok(Some(Migration {
        version: version.into(),
        name: name.into(),
        key: Key::Text(file.as_ref().into()),
        file: entry.file.clone(),
        text: Text::in_file(&raw),
        checksum: None,
        transactional: sections.as_ref().is_ok_and(|sections| sections.transactional),
        obstacle: sections.err().map(Box::from),
        ..Migration::default()
    }))
}

/// The lines of the two directives, counted from 0.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sections {
    up: usize,
    down: usize,
    transactional: bool,
}

/// Finds the sections, or says why dbmate would not run the file.
fn sections(text: &str) -> std::result::Result<Sections, &'static str> {
    let lines: Vec<&str> = text.lines().collect();
    let of = |word: &str| -> Vec<usize> {
        (0..lines.len()).filter(|at| directive(lines[*at], word).is_some()).collect()
    };
    let (ups, downs) = (of("up"), of("down"));
    let up = *ups.first().ok_or("has no line `-- migrate:up`")?;
    let is_sql = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("--");
    if downs.first().is_some_and(|down| *down < up) {
        return Err("has `-- migrate:down` before `-- migrate:up`");
    }
    if lines[..up].iter().any(is_sql) {
        return Err("has statements before `-- migrate:up`");
    }
    if ups.len() > 1 || downs.len() > 1 {
        // dbmate records the version once for each, which its primary key refuses.
        return Err("has more than one section of a kind, which dbmate cannot record");
    }
    let down = *downs.first().ok_or("has no line `-- migrate:down`")?;
    let options = directive(lines[up], "up").unwrap_or_default();
    let off = |option: &str| option == "transaction:false";
    Ok(Sections { up, down, transactional: !options.split_whitespace().any(off) })
}

/// Returns the options behind `-- migrate:WORD`, where the line is one.
fn directive<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    let rest = line.strip_prefix("--")?.trim_start().strip_prefix("migrate:")?;
    let options = rest.strip_prefix(word)?;
    (options.is_empty() || options.starts_with(char::is_whitespace)).then(|| options.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_with_digits_and_nothing_else_is_a_migration() {
        assert_eq!(parse_name("20260101_users.sql"), Some(("20260101", "users")));
        assert_eq!(parse_name("001.sql"), Some(("001", "")));
        assert_eq!(parse_name("1users.sql"), Some(("1", "users")));
        for name in ["users.sql", "v1_users.sql", "1_users.SQL", "1_users.sql~", ".sql", ""] {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }

    #[test]
    fn sections_are_found_as_dbmate_finds_them() {
        let found = |text: &str| sections(text).map(|s| (s.up, s.down, s.transactional));
        assert_eq!(found("-- migrate:up\nx\n-- migrate:down\n"), Ok((0, 2, true)));
        assert_eq!(found("--migrate:up\n--   migrate:down x"), Ok((0, 1, true)));
        assert_eq!(
            found("-- why\n\n-- migrate:up transaction:false\nx\n-- migrate:down"),
            Ok((2, 4, false))
        );
        // `transaction: false` is two words to dbmate, and neither of them means anything.
        assert_eq!(found("-- migrate:up transaction: false\n-- migrate:down"), Ok((0, 1, true)));
        // Not at the beginning of a line, or longer than the word: a comment.
        assert_eq!(found(" -- migrate:up\n"), Err("has no line `-- migrate:up`"));
        assert_eq!(found("-- migrate:upper\n"), Err("has no line `-- migrate:up`"));
        assert!(found("-- migrate:up\nselect 1;\n").is_err());
        assert!(found("select 1;\n-- migrate:up\n-- migrate:down\n").is_err());
        assert!(found("-- migrate:down\n-- migrate:up\n").is_err());
        assert!(found("-- migrate:up\n-- migrate:down\n-- migrate:up\n-- migrate:down").is_err());
    }
}
