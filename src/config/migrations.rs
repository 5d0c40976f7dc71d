//! `migrations` of one database: files in the format of a tool, or a command of the application.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::notes::{Notes, shown};
use super::section::{Section, Value};
use super::values::{choice, path};
use super::{CommandSpec, command};
use crate::layout::Layout;

/// Where migrations come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MigrationsSpec {
    /// Files that we read, apply and record ourselves.
    Files(FilesSpec),
    /// The application's own tool, run under our protection.
    Command(CommandSpec),
}

impl MigrationsSpec {
    /// Returns the directory of files, where there is one.
    pub fn dir(&self) -> Option<&PathBuf> {
        match self {
            Self::Files(files) => Some(&files.dir),
            Self::Command(_) => None,
        }
    }

    /// Takes every path below `link` from `tree` instead.
    pub(super) fn move_into(&mut self, link: &Path, tree: &Path) {
        let moved = |path: &mut PathBuf| {
            if let Ok(rest) = path.strip_prefix(link) {
                *path = tree.join(rest);
            }
        };
        match self {
            Self::Files(files) => moved(&mut files.dir),
            Self::Command(command) => {
                let words = [Some(&mut command.apply), command.status.as_mut()];
                for list in words.into_iter().chain([command.version.as_mut()]).flatten() {
                    for word in list {
                        let mut path = PathBuf::from(&*word);
                        moved(&mut path);
                        *word = path.to_string_lossy().into_owned();
                    }
                }
                if let Some(directory) = &mut command.directory {
                    moved(directory);
                }
            }
        }
    }

    /// Returns the directory of files to change it, where there is one.
    pub fn dir_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::Files(files) => Some(&mut files.dir),
            Self::Command(_) => None,
        }
    }
}

/// Files and how they are read and recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesSpec {
    /// The tool whose names, directives and history table they have; none asks the database, which
    /// has the table of one (`format = "auto"`).
    pub format: Option<Format>,
    /// The directory that holds them.
    pub dir: PathBuf,
    /// The history table, where it is not the one that the tool uses by itself.
    pub table: Option<TableName>,
    /// Checksums of other texts of a migration that the packager vouches for, by version.
    pub accepted_checksums: BTreeMap<String, Vec<String>>,
    /// Versions that were shipped once and taken out on purpose.
    pub removed: Vec<String>,
}

impl FilesSpec {
    /// Files of a format with its usual history table.
    pub fn new(format: Format, dir: impl Into<PathBuf>) -> Self {
        let (accepted_checksums, removed) = (BTreeMap::new(), Vec::new());
        let format = Some(format);
        Self { format, dir: dir.into(), table: None, accepted_checksums, removed }
    }
}

/// The name of a history table as the packager writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableName {
    /// The schema; without one the search path of the connection decides.
    pub schema: Option<String>,
    /// The table, as the catalogue has it: case counts, nothing is quoted.
    pub name: String,
}

/// A way of naming and recording migrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Ours: `NNNN_name.sql`, table `openwatch_schema_history`, SHA-256.
    Plain,
    /// pressly/goose: one file with both directions, table `goose_db_version`.
    Goose,
    /// golang-migrate/migrate: two files each, one row in `schema_migrations`.
    GolangMigrate,
    /// amacneil/dbmate: one file with both directions, a row each in `schema_migrations`.
    Dbmate,
    /// sqlx: `INTEGER_NAME.sql`, table `_sqlx_migrations`, SHA-384.
    Sqlx,
    /// diesel: directories with `up.sql`, table `__diesel_schema_migrations`.
    Diesel,
    /// refinery: `VINTEGER__NAME.sql`, table `refinery_schema_history`, SipHash-1-3.
    Refinery,
    /// refinery where the application builds it with the feature `int8-versions`.
    RefineryInt8,
    /// Flyway: `V1__name.sql` and `R__name.sql`, a row each in `flyway_schema_history`.
    Flyway,
}

/// The word that leaves the choice of the format to the database.
pub(super) const AUTO: &str = "auto";

impl Format {
    /// Every format, ours first.
    pub const ALL: &[Self] = &[
        Self::Plain,
        Self::Goose,
        Self::GolangMigrate,
        Self::Dbmate,
        Self::Sqlx,
        Self::Diesel,
        Self::Refinery,
        Self::RefineryInt8,
        Self::Flyway,
    ];

    /// Returns the word of the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Goose => "goose",
            Self::GolangMigrate => "golang-migrate",
            Self::Dbmate => "dbmate",
            Self::Sqlx => "sqlx",
            Self::Diesel => "diesel",
            Self::Refinery => "refinery",
            Self::RefineryInt8 => "refinery-int8",
            Self::Flyway => "flyway",
        }
    }
}

/// Reads the table `migrations`.
pub(super) fn read(
    mut table: Section<'_>,
    layout: &Layout,
    notes: &mut Notes,
) -> Option<MigrationsSpec> {
    let place = table.place().clone();
    let apply = table.take("command");
    let of = |keys: &[&'static str]| keys.iter().copied().find(|key| table.has(key));
    let files = of(&["format", "dir", "table", "accepted_checksums", "removed"]);
    let others = of(command::KEYS);
    let both = match (&apply, files, others) {
        (Some(_), Some(key), _) => Some(("command", key)),
        (None, Some(key), Some(other)) => Some((other, key)),
        (None, None, Some(other)) => {
            let message = format!("database.migrations has {other}, but no command that migrates");
            let fix = "write `command = [\"/usr/bin/app\", \"migrate\"]` in it";
            notes.problem(&place, message, fix);
            return None;
        }
        (Some(_), None, _) | (None, _, None) => None,
    };
    if let Some((one, other)) = both {
        let message = format!(
            "database.migrations has both {one} and {other}: either files or a command migrate"
        );
        notes.problem(&place, message, "remove one of the two");
        return None;
    }
    let spec = match apply {
        Some(apply) => command::read(apply, &mut table, notes).map(MigrationsSpec::Command),
        None => files_spec(&mut table, layout, notes).map(MigrationsSpec::Files),
    };
    table.finish(notes);
    spec
}

fn files_spec(table: &mut Section<'_>, layout: &Layout, notes: &mut Notes) -> Option<FilesSpec> {
    let place = table.place().clone();
    let format = match table.take("format") {
        Some(value) => {
            let known = Format::ALL.iter().map(|format| (format.word(), Some(*format)));
            let words: Vec<(&str, Option<Format>)> = known.chain([(AUTO, None)]).collect();
            choice(value, &words, notes)
        }
        None => {
            let fix = "write `format = \"plain\"` in it";
            notes.problem(&place, "database.migrations.format is missing", fix);
            None
        }
    };
    let default = layout.migrations_dir();
    let dir = match table.take("dir") {
        Some(value) => path(value, &default, notes),
        None => {
            let fix = format!("write `dir = \"{}\"` in it", default.display());
            notes.problem(&place, "database.migrations.dir is missing", &fix);
            None
        }
    };
    let name = match table.take("table") {
        Some(value) => Some(table_name(value, notes)?),
        None => None,
    };
    let accepted_checksums = match table.take("accepted_checksums") {
        Some(value) => accepted(value, notes)?,
        None => BTreeMap::new(),
    };
    let removed = match table.take("removed") {
        Some(value) => texts(value, "[\"0003\"]", notes)?,
        None => Vec::new(),
    };
    Some(FilesSpec { format: format?, dir: dir?, table: name, accepted_checksums, removed })
}

/// Reads `{ "0007" = ["checksum"] }`.
fn accepted(value: Value<'_>, notes: &mut Notes) -> Option<BTreeMap<String, Vec<String>>> {
    let table = value.table("database.migrations.accepted_checksums", notes)?;
    let mut all = BTreeMap::new();
    for (version, value) in table.all() {
        all.insert(version, texts(value, "[\"checksum\"]", notes)?);
    }
    Some(all)
}

/// Reads a list of texts, none of them empty.
fn texts(value: Value<'_>, example: &str, notes: &mut Notes) -> Option<Vec<String>> {
    let mut found = Vec::new();
    for entry in value.list(example, notes)? {
        let (name, place) = (entry.name.clone(), entry.place.clone());
        let text = entry.text("\"0003\"", notes)?;
        if text.trim().is_empty() {
            notes.problem(&place, format!("{name} is empty"), "remove it");
            return None;
        }
        found.push(text);
    }
    Some(found)
}

/// Reads `name` or `schema.name`.
fn table_name(value: Value<'_>, notes: &mut Notes) -> Option<TableName> {
    let (name, place) = (value.name.clone(), value.place.clone());
    let text = value.text("\"schema_migrations\"", notes)?;
    let (schema, table) = match text.split_once('.') {
        Some((schema, table)) => (Some(schema), table),
        None => (None, text.as_str()),
    };
    // A server cuts longer names off, and would then not find what it was asked for.
    let legal = |part: &str| {
        (1..=63).contains(&part.len())
            && !part.chars().any(|c| c.is_control() || c == '.' || c == '"' || c == '\'')
    };
    if legal(table) && schema.is_none_or(legal) {
        return Some(TableName { schema: schema.map(str::to_owned), name: table.to_owned() });
    }
    let message = format!("{name} {} is not the name of a table", shown(&text));
    notes.write_instead(&place, message, "table = \"schema_migrations\"");
    None
}
