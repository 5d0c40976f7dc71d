//! The files of Flyway: names, side files, checksums.
//!
//! Read from Flyway's `ResourceNameParser`, `MigrationVersion`, `ChecksumCalculator`,
//! `SqlScriptMetadata` and `PostgreSQLParser`; prefixes, separator and suffix are its defaults.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::as_sent;
use crate::error::Result;
use crate::migrations::files::{self, Entry, bad};
use crate::migrations::script::scan;
use crate::migrations::script::tokens::{Kind, Tokens};
use crate::migrations::{Key, Migration, Text};

/// Files named after these run around a migration; what they do cannot be left out in silence.
const CALLBACKS: &[&str] = &[
    "beforeConnect",
    "afterConnect",
    "createSchema",
    "beforeCreateSchema",
    "beforeMigrate",
    "beforeEachMigrate",
    "beforeEachMigrateStatement",
    "afterEachMigrateStatement",
    "afterEachMigrateStatementError",
    "afterEachMigrate",
    "afterEachMigrateError",
    "beforeRepeatables",
    "afterVersioned",
    "afterMigrateApplied",
    "afterMigrate",
    "afterMigrateError",
    "afterMigrateOperationFinish",
    "beforeValidate",
    "afterValidate",
    "afterValidateError",
    "beforeScriptExecute",
    "beforeScriptExecution",
];

/// Files named after these belong to commands that are not run here.
const OTHER_COMMANDS: &[&str] = &["Clean", "Undo", "EachUndo", "Baseline", "Repair", "Info"];

/// What a name says that a file is.
#[derive(Debug, PartialEq, Eq)]
enum Named<'a> {
    Versioned {
        version: &'a str,
        description: &'a str,
    },
    Repeatable {
        description: &'a str,
    },
    /// Holds all migrations up to a version, for new databases.
    Baseline {
        version: &'a str,
    },
    Callback,
    /// Takes a migration back, or is run by another command.
    NotRun,
}

/// Reads a directory and those below it, as Flyway does.
pub(super) fn read_dir(dir: &Path) -> Result<Vec<Migration>> {
    let mut entries = Vec::new();
    walk(files::list(dir)?, &mut entries)?;
    let sides: BTreeMap<PathBuf, &Entry<'_>> = entries
        .iter()
        .filter(|entry| entry.name().ends_with(".conf"))
        .map(|entry| (entry.file.with_extension(""), entry))
        .collect();
    let mut all = Vec::new();
    let mut baseline: Option<(Key, &Entry<'_>)> = None;
    for entry in entries.iter().filter(|entry| files::has_suffix(&entry.name(), ".sql")) {
        let side = sides.get(&entry.file).copied();
        match named(&entry.name()) {
            Some(Named::Versioned { version, description }) => {
                let version = version.replace('_', ".");
                let key = Key::Parts(parts(&version).unwrap_or_default());
                let (version, name) = (version.into(), described(description).into());
                let named = Migration { version, name, key, ..Migration::default() };
                all.push(migration(entry, side, named)?);
            }
            Some(Named::Repeatable { description }) => {
                let version = format!("R__{description}").into();
                let key = Key::Repeatable(described(description).into());
                let named = Migration { version, key, ..Migration::default() };
                all.push(migration(entry, side, named)?);
            }
            Some(Named::Baseline { version }) => {
                let key = Key::Parts(parts(&version.replace('_', ".")).unwrap_or_default());
                if baseline.as_ref().is_none_or(|(newest, _)| *newest < key) {
                    baseline = Some((key, entry));
                }
            }
            Some(Named::Callback) => return Err(callback(entry)),
            Some(Named::NotRun) => {}
            None => {
                return Err(files::misnamed(
                    entry,
                    "V, a version, two underscores and a description, as in V1.2__hosts.sql; \
                     or R__ and a description",
                ));
            }
        }
    }
    if let Some((key, entry)) = baseline
        && !all.iter().any(|migration| migration.key <= key)
    {
        return Err(bad(format!(
            "{} stands for migrations that are not shipped",
            entry.path().display()
        ))
        .detail("a new database would have to begin with it, which only Flyway's paid editions do")
        .hint("Ship the migrations that it stands for as well."));
    }
    Ok(all)
}

fn walk<'d>(entries: Vec<Entry<'d>>, found: &mut Vec<Entry<'d>>) -> Result<()> {
    for entry in entries {
        if entry.is_dir() && !files::has_suffix(&entry.name(), ".sql") {
            walk(entry.list()?, found)?;
        } else {
            found.push(entry);
        }
    }
    Ok(())
}

fn callback(entry: &Entry<'_>) -> crate::error::Error {
    bad(format!("{} is a callback, which only Flyway runs", entry.path().display()))
        .detail("what it does around a migration cannot be left out")
        .hint("Write its statements into a migration (R__… runs again when it changed).")
}

/// Tells what a file is by its name; prefixes are tried from the longest.
fn named(file: &str) -> Option<Named<'_>> {
    let stem = file.strip_suffix(".sql")?;
    let event = stem.split_once("__").map_or(stem, |(event, _)| event);
    if CALLBACKS.contains(&event) {
        return Some(Named::Callback);
    }
    let around = event.strip_prefix("before").or_else(|| event.strip_prefix("after"));
    let command = around.map(|rest| rest.trim_end_matches("Error").trim_end_matches("Statement"));
    if command.is_some_and(|command| OTHER_COMMANDS.contains(&command)) {
        return Some(Named::NotRun);
    }
    let (prefix, rest) = stem.split_at_checked(1)?;
    let (version, description) = rest.split_once("__").unwrap_or((rest, ""));
    let versioned = parts(&version.replace('_', ".")).is_some();
    match prefix {
        "V" if versioned => Some(Named::Versioned { version, description }),
        "B" if versioned => Some(Named::Baseline { version }),
        "U" if versioned => Some(Named::NotRun),
        "R" if version.is_empty() && !description.is_empty() => {
            Some(Named::Repeatable { description })
        }
        _ => None,
    }
}

/// Underscores of a file name are spaces in the history table.
fn described(name: &str) -> String {
    name.replace('_', " ")
}

/// Takes a version apart; zeros at its end do not count.
pub(super) fn parts(version: &str) -> Option<Box<[u64]>> {
    let mut parts = Vec::new();
    for part in version.split('.') {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        parts.push(part.parse::<u64>().ok().filter(|_| digits)?);
    }
    while parts.len() > 1 && parts.last() == Some(&0) {
        parts.pop();
    }
    Some(parts.into())
}

fn migration(entry: &Entry<'_>, side: Option<&Entry<'_>>, named: Migration) -> Result<Migration> {
    let raw = files::read_raw(entry)?;
    let side = match side {
        Some(side) => Side::read(&files::read_raw(side)?),
        None => Side::default(),
    };
    let transactional = side.in_transaction.unwrap_or_else(|| !runs_alone(&raw));
    let sql = as_sent(&raw, transactional);
    let placeholder = sql.find("${").filter(|_| side.placeholders != Some(false)).map(|at| {
        let name: String = sql[at..].chars().take_while(|c| *c != '\n').take(40).collect();
        let name = name.split_inclusive('}').next().unwrap_or_default();
        format!("has the placeholder {name}, which only Flyway's own configuration can fill")
    });
    Ok(Migration {
        file: entry.file.clone(),
        text: Text::in_file(&raw),
        checksum: Some(checksum(&raw).to_string().into()),
        transactional,
        obstacle: side.obstacle.or(placeholder).map(String::into),
        ..named
    })
}

/// CRC-32 of the lines without their ends, as the signed number that Java has.
pub(super) fn checksum(raw: &str) -> i32 {
    let mut hasher = crc32fast::Hasher::new();
    for line in raw.strip_prefix('\u{feff}').unwrap_or(raw).split(['\n', '\r']) {
        hasher.update(line.as_bytes());
    }
    hasher.finalize().cast_signed()
}

/// What `FILE.sql.conf` says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Side {
    in_transaction: Option<bool>,
    placeholders: Option<bool>,
    obstacle: Option<String>,
}

impl Side {
    fn read(text: &str) -> Self {
        let mut side = Self::default();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            let (key, value) = (key.trim(), value.trim());
            let truth = value.to_ascii_lowercase().parse::<bool>().ok();
            match (key, truth) {
                ("executeInTransaction", Some(truth)) => side.in_transaction = Some(truth),
                ("placeholderReplacement", Some(truth)) => side.placeholders = Some(truth),
                ("encoding", _) if value.eq_ignore_ascii_case("UTF-8") => {}
                ("shouldExecute", Some(true)) => {}
                _ => {
                    let why =
                        format!("has {key} = {value} in its .conf, which is not followed here");
                    side.obstacle.get_or_insert(why);
                }
            }
        }
        side
    }
}

/// Whether Flyway finds a statement by which it runs the whole file without a transaction.
fn runs_alone(sql: &str) -> bool {
    const SIGNS: &[&str] = &[
        "CONCURRENTLY",
        "VACUUM",
        "DATABASE",
        "TABLESPACE",
        "SUBSCRIPTION",
        "SYSTEM",
        "REINDEX",
        "DISCARD",
    ];
    let upper = sql.to_ascii_uppercase();
    SIGNS.iter().any(|sign| upper.contains(sign))
        && scan(sql).statements.into_iter().any(|range| is_alone(&sql[range]))
}

fn is_alone(statement: &str) -> bool {
    let words: Vec<String> = Tokens::of(statement)
        .take_while(|token| token.kind == Kind::Word)
        .take(4)
        .map(|token| statement[token.range].to_ascii_uppercase())
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    matches!(
        words.as_slice(),
        ["CREATE" | "DROP", "DATABASE" | "TABLESPACE" | "SUBSCRIPTION", ..]
            | ["ALTER", "SYSTEM", ..]
            | ["CREATE" | "DROP", "INDEX", "CONCURRENTLY", ..]
            | ["CREATE", "UNIQUE", "INDEX", "CONCURRENTLY"]
            | ["REINDEX", "SCHEMA" | "DATABASE" | "SYSTEM", ..]
            | ["REINDEX", "VERBOSE", "SCHEMA" | "DATABASE" | "SYSTEM", ..]
            | ["VACUUM", ..]
            | ["DISCARD", "ALL", ..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_read_as_flyway_reads_them() {
        let versioned = |version, description| Some(Named::Versioned { version, description });
        for (file, what) in [
            ("V1__init.sql", versioned("1", "init")),
            ("V1_2__add_hosts__now.sql", versioned("1_2", "add_hosts__now")),
            ("V2024.01.05.1__a b.sql", versioned("2024.01.05.1", "a b")),
            ("V3.sql", versioned("3", "")),
            ("V4__.sql", versioned("4", "")),
            ("R__views.sql", Some(Named::Repeatable { description: "views" })),
            ("B7__all.sql", Some(Named::Baseline { version: "7" })),
            ("U1__init.sql", Some(Named::NotRun)),
            ("beforeMigrate.sql", Some(Named::Callback)),
            ("afterMigrate__grants.sql", Some(Named::Callback)),
            ("afterMigrateApplied.sql", Some(Named::Callback)),
            ("beforeClean.sql", Some(Named::NotRun)),
            ("afterEachUndoStatementError.sql", Some(Named::NotRun)),
            ("afterMigrateX.sql", None),
            ("V1_init.sql", None),
            ("Va__x.sql", None),
            ("V1..2__x.sql", None),
            ("V__x.sql", None),
            ("R1__x.sql", None),
            ("R__.sql", None),
            ("v1__x.sql", None),
            ("V1__x.SQL", None),
            ("hosts.sql", None),
            ("ä.sql", None),
        ] {
            assert_eq!(named(file), what, "{file}");
        }
    }

    #[test]
    fn versions_are_numbers_between_dots_without_zeros_at_the_end() {
        assert_eq!(parts("1.0.0"), Some([1].into()));
        assert_eq!(parts("001.010"), Some([1, 10].into()));
        assert_eq!(parts("0"), Some([0].into()));
        assert!(parts("1.9") < parts("1.10") && parts("1") < parts("1.0.1"));
        assert_eq!((parts(""), parts("1."), parts("+1"), parts("1.x")), (None, None, None, None));
    }

    #[test]
    fn the_checksum_is_flyways() {
        let sample = "create table a(i int);\nselect 1;\n";
        assert_eq!(checksum(sample), 311_595_440);
        assert_eq!(checksum(&sample.replace('\n', "\r\n")), 311_595_440);
        assert_eq!(checksum(&format!("\u{feff}{}", sample.trim_end())), 311_595_440);
        assert_eq!(checksum("create table größe (id int);\n\n-- ende\n"), -754_683_949);
        assert_eq!(checksum(""), 0);
    }

    #[test]
    fn side_files_are_followed_or_stand_in_the_way() {
        let side =
            Side::read("# why\nexecuteInTransaction = FALSE\nplaceholderReplacement=false\n");
        assert_eq!((side.in_transaction, side.placeholders), (Some(false), Some(false)));
        assert_eq!(Side::read("encoding=utf-8\nshouldExecute=true"), Side::default());
        for text in
            ["shouldExecute=${x}==1", "encoding=latin1", "executeInTransaction=perhaps", "x"]
        {
            assert!(Side::read(text).obstacle.is_some(), "{text}");
        }
    }

    #[test]
    fn flyway_itself_finds_what_runs_without_a_transaction() {
        for sql in [
            "create unique index concurrently i on a (b)",
            "-- x\ndrop index concurrently i",
            "select 1; VACUUM;",
            "create database x",
            "reindex verbose schema x",
            "alter system set a = 1",
        ] {
            assert!(runs_alone(sql), "{sql}");
        }
        for sql in ["create index i on a (b)", "select 'vacuum'", "alter type t add value 'system'"]
        {
            assert!(!runs_alone(sql), "{sql}");
        }
    }

    proptest! {
        #[test]
        fn no_file_name_makes_the_reader_panic(name in any::<String>()) {
            let _ = named(&name);
            let _ = named(&format!("{name}.sql"));
        }

        #[test]
        fn line_ends_never_count(lines in prop::collection::vec("[^\r\n]{0,12}", 0..6)) {
            let (unix, other) = (lines.join("\n"), lines.join("\r\n"));
            prop_assert_eq!(checksum(&unix), checksum(&other));
        }
    }
}
