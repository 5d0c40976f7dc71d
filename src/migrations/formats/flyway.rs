//! Flyway: `V1.2__name.sql` once, `R__name.sql` again when it changed, table `flyway_schema_history`.
//!
//! Read from Flyway's `PostgreSQLDatabase`, `JdbcTableSchemaHistory`, `MigrationInfoImpl` and
//! `PostgreSQLAdvisoryLockTemplate`. What its paid editions do (undo, baseline scripts, conditions) is
//! left out or refused, as the free one does.

use std::borrow::Cow;
use std::path::Path;

use smol_str::SmolStr;

use super::flyway_files::{parts, read_dir};
use super::{LockGround, OwnMarks, Rows, Tool, as_sent};
use crate::config::Format;
use crate::database::{Session, literal, quoted};
use crate::error::Result;
use crate::migrations::history::{AppliedRow, Evidence, Origin, RowState, Run, Table};
use crate::migrations::{Key, Migration};

#[derive(Debug)]
pub(super) struct Flyway;

/// The letters `Flyway` as one number; the table's name is added.
const LOCK: i64 = 0x466c_7977_6179;

/// Rows that say nothing about one migration.
const MARKERS: &str = "'SCHEMA', 'BASELINE', 'INIT', 'DELETE'";

impl Tool for Flyway {
    fn format(&self) -> Format {
        Format::Flyway
    }

    fn default_table(&self) -> &'static str {
        "flyway_schema_history"
    }

    fn file_names(&self) -> &'static str {
        "a file named V1__name.sql or R__name.sql"
    }

    fn read_dir(&self, dir: &Path) -> Result<Vec<Migration>> {
        read_dir(dir)
    }

    fn sql(&self, migration: &Migration, raw: String) -> String {
        as_sent(&raw, migration.transactional)
    }

    fn create_sql(&self, table: &Table) -> String {
        let key = quoted(&format!("{}_pk", table.name));
        let index = quoted(&format!("{}_s_idx", table.name));
        format!(
            "create table {table} (\
               installed_rank int not null, \
               version varchar(50), \
               description varchar(200) not null, \
               type varchar(20) not null, \
               script varchar(1000) not null, \
               checksum integer, \
               installed_by varchar(100) not null, \
               installed_on timestamp not null default now(), \
               execution_time integer not null, \
               success boolean not null);\
             alter table {table} add constraint {key} primary key (installed_rank);\
             create index {index} on {table} (success)"
        )
    }

    fn read_rows(&self, session: &mut Session, table: &Table, shipped: &[Migration]) -> Rows {
        let sql = format!(
            "select version, description, type, checksum, \
             cast(date_trunc('second', installed_on) as text), success \
             from {table} order by installed_rank"
        );
        Ok(live(session.simple(&sql)?, shipped))
    }

    fn record_sql(&self, table: &Table, runs: &[Run<'_>], _: &Origin) -> String {
        insert_sql(table, runs, "true")
    }

    /// One row, as `flyway baseline` writes it: what lies below it is neither run nor compared.
    fn baseline_sql(&self, table: &Table, runs: &[Run<'_>], _: &Origin) -> String {
        let newest = runs.last().map_or("0", |run| run.migration.version.as_str());
        format!(
            "insert into {table} (installed_rank, version, description, type, script, checksum, \
             installed_by, execution_time, success) \
             select coalesce(max(installed_rank), 0) + 1, {}, '<< Flyway Baseline >>', 'BASELINE', \
             '<< Flyway Baseline >>', null, current_user, 0, true from {table}",
            literal(newest)
        )
    }

    /// As `flyway repair` does: checksum and description of the file.
    fn repair_sql(&self, table: &Table, row: &AppliedRow, file: &Migration) -> Option<String> {
        Some(format!(
            "update {table} set checksum = {}, description = {}, script = {} \
             where {} and success and type not in ({MARKERS})",
            file.checksum.as_deref().unwrap_or("null"),
            literal(&shortened(&file.name)),
            literal(&script(file)),
            which(&row.key, &row.version)
        ))
    }

    fn remove_sql(&self, table: &Table, row: &AppliedRow) -> String {
        let which = which(&row.key, &row.version);
        format!("delete from {table} where {which} and type not in ({MARKERS})")
    }

    fn own_marks(&self) -> Option<&dyn OwnMarks> {
        Some(self)
    }

    fn begun(&self) -> &'static str {
        "failed, or was begun outside a transaction and its end is not known"
    }

    fn lock_keys(&self, ground: LockGround<'_>) -> Vec<i64> {
        vec![LOCK + i64::from(java_hash(&ground.table.to_string()))]
    }
}

/// Flyway refuses to go past a row without success: it must not run the file from its beginning while
/// we are half-way through it.
impl OwnMarks for Flyway {
    fn begin_sql(&self, table: &Table, run: &Run<'_>, _: &Origin) -> String {
        insert_sql(table, std::slice::from_ref(run), "false")
    }

    fn finish_sql(&self, table: &Table, run: &Run<'_>) -> String {
        let migration = run.migration;
        format!(
            "update {table} set success = true, installed_on = now(), execution_time = {}, \
             checksum = {} where {} and not success",
            run.duration.as_millis(),
            migration.checksum.as_deref().unwrap_or("null"),
            which(&migration.key, &migration.version)
        )
    }

    fn forget_sql(&self, table: &Table, version: &str, shipped: &[Migration]) -> String {
        let file = shipped.iter().find(|migration| migration.version == version);
        let key = file.map_or_else(|| key_of(Some(version), ""), |file| file.key.clone());
        format!("delete from {table} where {} and not success", which(&key, version))
    }
}

/// The condition that means the rows of one migration.
fn which(key: &Key, version: &str) -> String {
    match key {
        Key::Repeatable(description) => {
            format!("version is null and description = {}", literal(&shortened(description)))
        }
        Key::Number(_) | Key::Parts(_) | Key::Text(_) => format!("version = {}", literal(version)),
    }
}

fn insert_sql(table: &Table, runs: &[Run<'_>], success: &str) -> String {
    let row = |(index, run): (usize, &Run<'_>)| {
        let migration = run.migration;
        let (version, description) = match &migration.key {
            Key::Repeatable(description) => ("null".to_owned(), &**description),
            Key::Number(_) | Key::Parts(_) | Key::Text(_) => {
                (literal(&migration.version), migration.name.as_str())
            }
        };
        format!(
            "((select coalesce(max(installed_rank), 0) from {table}) + {}, {version}, {}, 'SQL', {}, \
             {}, current_user, {}, {success})",
            index + 1,
            literal(&shortened(description)),
            literal(&script(migration)),
            migration.checksum.as_deref().unwrap_or("null"),
            run.duration.as_millis(),
        )
    };
    let rows: Vec<String> = runs.iter().enumerate().map(row).collect();
    format!(
        "insert into {table} (installed_rank, version, description, type, script, checksum, \
         installed_by, execution_time, success) values {}",
        rows.join(",")
    )
}

/// The file as Flyway records it: its path below the directory.
fn script(migration: &Migration) -> Cow<'_, str> {
    migration.file.to_string_lossy()
}

/// A description as it fits into its column.
fn shortened(description: &str) -> String {
    if description.chars().count() <= 200 {
        return description.to_owned();
    }
    description.chars().take(197).collect::<String>() + "..."
}

fn key_of(version: Option<&str>, description: &str) -> Key {
    match version {
        None => Key::Repeatable(description.into()),
        Some(version) => match parts(version) {
            Some(parts) => Key::Parts(parts),
            None => Key::Text(version.into()),
        },
    }
}

/// What is applied, after everything that later rows say about earlier ones.
fn live(rows: Vec<Vec<Option<String>>>, shipped: &[Migration]) -> Vec<AppliedRow> {
    let mut live: Vec<AppliedRow> = Vec::new();
    let mut baseline: Option<Key> = None;
    for row in rows {
        let mut columns = row.into_iter();
        let mut next = || columns.next().flatten();
        let (version, description, kind) = (next(), next().unwrap_or_default(), next());
        let (checksum, applied_at, success) = (next(), next(), next());
        let kind = kind.unwrap_or_default();
        let key = key_of(version.as_deref(), &description);
        let success = success.as_deref() == Some("t");
        if kind == "SCHEMA" {
            continue;
        }
        if kind == "INIT" || kind.ends_with("BASELINE") {
            if success && baseline.as_ref().is_none_or(|newest| *newest < key) {
                baseline = Some(key);
            }
            continue;
        }
        // Of several rows of one migration the newest counts.
        live.retain(|earlier| earlier.key != key);
        if success && (kind == "DELETE" || kind.starts_with("UNDO_")) {
            continue;
        }
        let file = shipped.iter().find(|file| file.key == key);
        let name = if version.is_some() { description.as_str().into() } else { SmolStr::default() };
        let unshipped =
            || version.unwrap_or_else(|| format!("R__{}", description.replace(' ', "_"))).into();
        live.push(AppliedRow {
            version: file.map_or_else(unshipped, |file| file.version.clone()),
            key,
            name,
            checksum: checksum.map(SmolStr::from),
            state: if success { RowState::Applied } else { RowState::Started },
            applied_at: applied_at.map(String::into),
            ..AppliedRow::default()
        });
    }
    if let Some(baseline) = baseline {
        below(&mut live, &baseline, shipped);
    }
    live
}

/// What a database had before Flyway came to it: nothing below a baseline is run, or compared.
fn below(live: &mut Vec<AppliedRow>, baseline: &Key, shipped: &[Migration]) {
    for row in live.iter_mut().filter(|row| row.key <= *baseline) {
        row.checksum = None;
    }
    let covered = shipped.iter().filter(|file| file.key <= *baseline);
    let missing: Vec<AppliedRow> = covered
        .filter(|file| !live.iter().any(|row| row.key == file.key))
        .map(|file| AppliedRow {
            key: file.key.clone(),
            version: file.version.clone(),
            name: file.name.clone(),
            evidence: Evidence::Assumed,
            ..AppliedRow::default()
        })
        .collect();
    live.extend(missing);
}

/// `String.hashCode` of Java.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16()
        .fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(
        version: Option<&str>,
        description: &str,
        kind: &str,
        success: bool,
    ) -> Vec<Option<String>> {
        let text = |text: &str| Some(text.to_owned());
        vec![
            version.map(str::to_owned),
            text(description),
            text(kind),
            text("7"),
            text("2026-01-01 00:00:00"),
            text(if success { "t" } else { "f" }),
        ]
    }

    fn seen(rows: Vec<Vec<Option<String>>>, shipped: &[&str]) -> Vec<String> {
        let shipped: Vec<Migration> = shipped
            .iter()
            .map(|version| Migration {
                version: (*version).into(),
                key: key_of(Some(version), ""),
                ..Migration::default()
            })
            .collect();
        let mut seen: Vec<String> = live(rows, &shipped)
            .iter()
            .map(|row| format!("{} {:?} {:?}", row.version, row.state, row.evidence))
            .collect();
        seen.sort();
        seen
    }

    #[test]
    fn the_lock_is_flyways() {
        let table = Table { schema: "public".into(), name: "flyway_schema_history".into() };
        let keys = Flyway.lock_keys(LockGround { dbname: "openwatch", table: &table });
        assert_eq!(keys, [77_433_833_903_597]);
        assert_eq!(java_hash("größe\u{ffff}"), {
            let of = |hash: i64, unit: i64| (hash * 31 + unit) as i32 as i64;
            "größe\u{ffff}".chars().fold(0_i64, |hash, c| of(hash, i64::from(u32::from(c)))) as i32
        });
    }

    #[test]
    fn later_rows_say_what_became_of_earlier_ones() {
        let rows = vec![
            row(None, "<< Flyway Schema Creation >>", "SCHEMA", true),
            row(Some("1"), "init", "SQL", true),
            row(Some("1.1"), "undone", "SQL", true),
            row(Some("1.1"), "undone", "UNDO_SQL", true),
            row(Some("2"), "deleted", "SQL", true),
            row(Some("2.0"), "deleted", "DELETE", true),
            row(None, "views", "SQL", true),
            row(None, "views", "SQL", true),
            row(Some("3"), "broken", "SQL", false),
            row(Some("4"), "in java", "JDBC", true),
        ];
        assert_eq!(
            seen(rows, &["1", "2"]),
            [
                "1 Applied Recorded",
                "3 Started Recorded",
                "4 Applied Recorded",
                "R__views Applied Recorded"
            ]
        );
    }

    #[test]
    fn what_a_baseline_covers_is_assumed() {
        let rows = vec![
            row(Some("2"), "<< Flyway Baseline >>", "BASELINE", true),
            row(Some("3"), "c", "SQL", true),
        ];
        assert_eq!(
            seen(rows, &["1", "1.5", "2.0", "3", "4"]),
            [
                "1 Applied Assumed",
                "1.5 Applied Assumed",
                "2.0 Applied Assumed",
                "3 Applied Recorded"
            ]
        );
    }

    #[test]
    fn long_descriptions_are_shortened_as_flyway_shortens_them() {
        assert_eq!(shortened(&"ä".repeat(200)), "ä".repeat(200));
        assert_eq!(shortened(&"ä".repeat(201)), "ä".repeat(197) + "...");
    }
}
