//! `kind = "sqlite"`: a database that is a file.

use std::path::{Path, PathBuf};

use super::notes::{Notes, Place};
use super::section::Section;
use super::values::{choice, path};
use super::{Format, MigrationsSpec};

/// What a database is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    PostgreSql,
    Sqlite,
}

/// Keys of a connection, which a file has none of.
const OF_SERVERS: [&str; 2] = ["url_env", "service"];

/// Reads the keys of a database that is a file; none where it is on a server.
pub(super) fn read(table: &mut Section<'_>, notes: &mut Notes) -> Option<PathBuf> {
    let place = table.place().clone();
    let words = [("postgresql", Kind::PostgreSql), ("sqlite", Kind::Sqlite)];
    let kind = match table.take("kind") {
        None => Kind::PostgreSql,
        Some(value) => choice(value, &words, notes).unwrap_or(Kind::PostgreSql),
    };
    let example = Path::new("/var/lib/app/app.db");
    let at = table.take("path");
    match (kind, at) {
        (Kind::PostgreSql, None) => None,
        (Kind::PostgreSql, Some(value)) => {
            let message = "database.path is set, and only a database of kind \"sqlite\" is a file";
            notes.problem(
                &value.place,
                message,
                "write `kind = \"sqlite\"` below it, or remove it",
            );
            None
        }
        (Kind::Sqlite, at) => {
            for key in OF_SERVERS {
                if let Some(value) = table.take(key) {
                    let message = format!(
                        "database.{key} is set, and a database of kind \"sqlite\" has no connection"
                    );
                    notes.problem(&value.place, message, "remove it; `path` names the file");
                }
            }
            let Some(value) = at else {
                let fix = format!("write `path = \"{}\"` below it", example.display());
                notes.problem(&place, "database.path is missing: it names the file", &fix);
                return None;
            };
            path(value, example, notes)
        }
    }
}

/// Refuses what the tool of a format does on a server alone.
pub(super) fn check_migrations(spec: &MigrationsSpec, place: &Place, notes: &mut Notes) {
    let MigrationsSpec::Files(files) = spec else { return };
    if files.format == Some(Format::Flyway) {
        let message = "database.migrations.format \"flyway\" is not taken for a database of kind \
                       \"sqlite\"";
        notes.problem(place, message, "run Flyway itself, as `command`");
    }
    if files.table.as_ref().is_some_and(|table| table.schema.is_some()) {
        let message = "database.migrations.table names a schema, and a file has none";
        notes.problem(place, message, "name the table alone");
    }
}
