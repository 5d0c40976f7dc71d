//! refinery: `V<integer>__<word>.sql` and `U<integer>__<word>.sql` at any depth; table
//! `refinery_schema_history`, SipHash-1-3.
//!
//! Read as refinery 0.10 does: what is named otherwise is ignored. The checksum covers name, version
//! and text, and the version with 4 or 8 bytes, as the application was built; hence two formats. `U`
//! files may be applied after newer ones; the table does not keep the letter.

use std::hash::Hasher as _;
use std::path::Path;

use siphasher::sip::SipHasher13;
use smol_str::SmolStr;

use super::{Older, Rows, Tool, as_sent};
use crate::config::Format;
use crate::database::{Session, literal};
use crate::error::Result;
use crate::migrations::files::{self, Entry, bad};
use crate::migrations::history::{AppliedRow, Origin, Run, Table};
use crate::migrations::{Key, Migration, Text};

/// refinery as it is built by default, or with its feature `int8-versions`.
#[derive(Debug)]
pub(super) enum Refinery {
    Int4,
    Int8,
}

impl Tool for Refinery {
    fn format(&self) -> Format {
        match self {
            Self::Int4 => Format::Refinery,
            Self::Int8 => Format::RefineryInt8,
        }
    }

    fn default_table(&self) -> &'static str {
        "refinery_schema_history"
    }

    fn file_names(&self) -> &'static str {
        "a file named VINTEGER__NAME.sql or UINTEGER__NAME.sql"
    }

    fn read_dir(&self, dir: &Path) -> Result<Vec<Migration>> {
        let mut entries = Vec::new();
        collect(files::list(dir)?, &mut entries)?;
        files::read_all(entries, |entry| self.read(entry))
    }

    fn sql(&self, migration: &Migration, raw: String) -> String {
        as_sent(&raw, migration.transactional)
    }

    /// `V` is refused as by the library; the command line only logs an error, and leaves it out.
    fn older(&self, migration: &Migration) -> Older {
        let name = migration.file.file_name().unwrap_or_default().as_encoded_bytes();
        if name.starts_with(b"U") { Older::Applied } else { Older::Refused }
    }

    fn checksum(&self, migration: &Migration, raw: &str) -> Option<String> {
        let Key::Number(number) = migration.key else { return None };
        Some(self.hash(&migration.name, number, raw))
    }

    fn create_sql(&self, table: &Table) -> String {
        let version = match self {
            Self::Int4 => "integer",
            Self::Int8 => "bigint",
        };
        format!(
            "create table {table} (\
               version {version} primary key, \
               name character varying(255), \
               applied_on character varying(255), \
               checksum character varying(255))"
        )
    }

    fn read_rows(&self, session: &mut Session, table: &Table, _: &[Migration]) -> Rows {
        let sql = format!("select version, name, checksum, applied_on from {table}");
        Ok(session.simple(&sql)?.into_iter().map(row).collect())
    }

    fn record_sql(&self, table: &Table, runs: &[Run<'_>], _: &Origin) -> String {
        // refinery panics over a time that is not RFC 3339.
        let now = "to_char(clock_timestamp() at time zone 'UTC', \
                   'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
        let rows: Vec<String> = runs
            .iter()
            .map(|run| {
                let Migration { version, name, checksum, .. } = run.migration;
                let checksum = checksum.as_deref().unwrap_or_default();
                format!("({version},{},{now},'{checksum}')", literal(name))
            })
            .collect();
        format!(
            "insert into {table} (version, name, applied_on, checksum) values {}",
            rows.join(",")
        )
    }

    fn repair_sql(&self, table: &Table, row: &AppliedRow, file: &Migration) -> Option<String> {
        Some(format!(
            "update {table} set checksum = '{}', name = {} where version = {}",
            file.checksum.as_deref().unwrap_or_default(),
            literal(&file.name),
            row.version.parse().unwrap_or(-1_i64)
        ))
    }

    fn remove_sql(&self, table: &Table, row: &AppliedRow) -> String {
        format!("delete from {table} where version = {}", row.version.parse().unwrap_or(-1_i64))
    }
}

impl Refinery {
    fn read(&self, entry: &Entry<'_>) -> Result<Migration> {
        let file = entry.name();
        let Some(name) = Name::parse(&file) else {
            return Err(files::misnamed(entry, self.file_names()));
        };
        if name.prefix == '|' {
            return Err(files::misnamed(entry, "refinery crashes over a name that begins with |"));
        }
        let number = name.version.parse::<u64>().ok().filter(|number| *number <= self.largest());
        let Some(number) = number else { return Err(self.bad_version(entry, &name)) };
        let migration = Migration {
            version: number.to_string().into(),
            name: name.name.into(),
            key: Key::Number(number),
            file: entry.file.clone(),
            transactional: true,
            ..Migration::default()
        };
        if name.rust {
            // The checksum is that of a text which only the application can make.
            let only = "is written in Rust, and only the application itself can run it";
            return Ok(Migration { obstacle: Some(only.into()), ..migration });
        }
        let raw = files::read_raw(entry)?;
        let checksum = Some(self.hash(name.name, number, &raw).into());
        Ok(Migration { checksum, text: Text::in_file(&raw), ..migration })
    }

    fn largest(&self) -> u64 {
        match self {
            Self::Int4 => i32::MAX.unsigned_abs().into(),
            Self::Int8 => i64::MAX.unsigned_abs(),
        }
    }

    fn bad_version(&self, entry: &Entry<'_>, name: &Name<'_>) -> crate::error::Error {
        let error = bad(format!("refinery takes no version {}", name.version)).detail(format!(
            "{}: an integer up to {}",
            entry.path().display(),
            self.largest()
        ));
        let of_8_bytes =
            name.version.parse::<u64>().is_ok_and(|number| Self::Int8.largest() >= number);
        match self {
            Self::Int4 if of_8_bytes => error.hint(
                "If the application is built with the feature int8-versions, \
                 write `format = \"refinery-int8\"`.",
            ),
            Self::Int4 | Self::Int8 => error.hint("Give the file another version."),
        }
    }

    /// What Rust hashes for a text, an integer and a text, with both keys 0.
    fn hash(&self, name: &str, version: u64, text: &str) -> String {
        let mut hasher = SipHasher13::new();
        let bytes = version.to_le_bytes();
        hasher.write(name.as_bytes());
        hasher.write(b"\xff");
        hasher.write(match self {
            Self::Int4 => &bytes[..4],
            Self::Int8 => &bytes,
        });
        hasher.write(text.as_bytes());
        hasher.write(b"\xff");
        hasher.finish().to_string()
    }
}

/// Looks below directories too; a link to a directory is not followed.
fn collect<'d>(entries: Vec<Entry<'d>>, found: &mut Vec<Entry<'d>>) -> Result<()> {
    for entry in entries {
        if entry.is_dir() {
            collect(entry.list()?, found)?;
        } else if Name::parse(&entry.name()).is_some() {
            found.push(entry);
        }
    }
    Ok(())
}

fn row(columns: Vec<Option<String>>) -> AppliedRow {
    let mut columns = columns.into_iter();
    let version = columns.next().flatten().unwrap_or_default();
    AppliedRow {
        key: Key::Number(version.parse().unwrap_or(u64::MAX)),
        version: version.into(),
        name: columns.next().flatten().unwrap_or_default().into(),
        checksum: columns.next().flatten().map(SmolStr::from),
        applied_at: columns.next().flatten().map(String::into),
        ..AppliedRow::default()
    }
}

/// A file name that refinery takes for a migration, right or wrong.
#[derive(Debug, PartialEq, Eq)]
struct Name<'a> {
    /// `V` or `U`; the tool's pattern lets a `|` through, and then it crashes.
    prefix: char,
    /// Digits, maybe with digits behind a dot.
    version: &'a str,
    name: &'a str,
    rust: bool,
}

impl<'a> Name<'a> {
    fn parse(file: &'a str) -> Option<Self> {
        let (stem, suffix) = file.rsplit_once('.')?;
        let prefix = stem.chars().next().filter(|first| "VU|".contains(*first))?;
        let (version, name) = stem[1..].split_once("__")?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let numbers = match version.split_once('.') {
            Some((whole, part)) => digits(whole) && digits(part),
            None => digits(version),
        };
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let fits = numbers && !name.is_empty() && name.chars().all(word);
        let rust = match suffix {
            "sql" => false,
            "rs" => true,
            _ => return None,
        };
        fits.then_some(Self { prefix, version, name, rust })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_refinery_reads_them() {
        let known = |prefix, version, name| Some(Name { prefix, version, name, rust: false });
        for (file, expected) in [
            ("V1__init.sql", known('V', "1", "init")),
            ("U0012__late_one.sql", known('U', "0012", "late_one")),
            ("V1___a.sql", known('V', "1", "_a")),
            ("V1.5__half.sql", known('V', "1.5", "half")),
            ("|1__a.sql", known('|', "1", "a")),
            ("V1__grün.sql", known('V', "1", "grün")),
            // Ignored, whatever somebody meant.
            ("V1_init.sql", None),
            ("V1__two-words.sql", None),
            ("V1__a.b.sql", None),
            ("V1__.sql", None),
            ("V1__a.SQL", None),
            ("v1__a.sql", None),
            ("V1.5.2__a.sql", None),
            ("R__views.sql", None),
            ("README.md", None),
        ] {
            assert_eq!(Name::parse(file), expected, "{file}");
        }
        assert!(Name::parse("V2__code.rs").is_some_and(|name| name.rust));
    }

    #[test]
    fn the_checksum_covers_name_version_and_bytes() {
        let sample = "create table a(i int);\nselect 1;\n";
        let crlf = sample.replace('\n', "\r\n");
        assert_eq!(Refinery::Int4.hash("init", 1, sample), "15067390985275287123");
        assert_eq!(Refinery::Int8.hash("init", 1, sample), "12529300623453066795");
        assert_eq!(Refinery::Int4.hash("init", 1, &crlf), "10738982519683323901");
        assert_ne!(Refinery::Int4.hash("init", 2, sample), "15067390985275287123");
        assert_ne!(Refinery::Int4.hash("other", 1, sample), "15067390985275287123");
    }
}
