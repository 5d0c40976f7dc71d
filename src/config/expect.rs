//! `[[expect]]` of the packager's half: what a comparison with the baseline may find; and
//! `baseline_stop` of the operator's half: at which checks an upgrade stops.

use super::DatabaseSpec;
use super::notes::{Notes, shown};
use super::section::{Section, Value};
use super::values::choice;

/// One check of a comparison, which passes or fails as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// Version and settings of the server.
    Server,
    /// The rules by which text is sorted.
    Collations,
    /// Definitions of all objects.
    Schema,
    /// Constraints that older rows are not checked against.
    Constraints,
    /// Indexes that are not used.
    Indexes,
    /// Rows per table.
    Rows,
    /// How far sequences have come.
    Sequences,
    /// State of the units.
    Units,
    /// Answers of the probes.
    Probes,
}

impl Check {
    /// Every check, in the order in which they are compared.
    pub const ALL: [Self; 9] = [
        Self::Server,
        Self::Collations,
        Self::Schema,
        Self::Constraints,
        Self::Indexes,
        Self::Rows,
        Self::Sequences,
        Self::Units,
        Self::Probes,
    ];

    /// Returns the word of the configuration, of JSON and of the terminal.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Collations => "collations",
            Self::Schema => "schema",
            Self::Constraints => "constraints",
            Self::Indexes => "indexes",
            Self::Rows => "rows",
            Self::Sequences => "sequences",
            Self::Units => "units",
            Self::Probes => "probes",
        }
    }

    /// Returns whether it is about the databases alone, so that it can be made with the services down.
    pub const fn is_of_data(self) -> bool {
        !matches!(self, Self::Units | Self::Probes)
    }
}

/// One `[[expect]]`: a change that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectSpec {
    /// The change.
    pub change: Expected,
    /// The database that it happens in; none for any.
    pub database: Option<String>,
    /// The migration that makes it; without one it is expected in every comparison.
    pub migration: Option<String>,
}

/// A change that is meant; names are as the catalogue writes them, and `*` stands for any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// An object with what belongs to it is gone, such as `table public.sessions`.
    Gone(String),
    /// An object has another name.
    Renamed {
        /// Kind and name before.
        from: String,
        /// Name afterwards.
        to: String,
    },
    /// A table holds fewer rows.
    FewerRows(String),
    /// Anything else differs in what a comparison names so.
    Changed(String),
    /// A probe answers something else.
    Answer(String),
}

impl Expected {
    /// Returns the declaration as it is written.
    pub fn told(&self) -> String {
        match self {
            Self::Gone(what) => format!("gone = \"{what}\""),
            Self::Renamed { from, to } => format!("renamed = \"{from}\", to = \"{to}\""),
            Self::FewerRows(table) => format!("fewer_rows = \"{table}\""),
            Self::Changed(what) => format!("changed = \"{what}\""),
            Self::Answer(probe) => format!("answer = \"{probe}\""),
        }
    }
}

/// Kinds of objects, as the catalogue's names of them begin.
pub const OBJECT_KINDS: &[&str] = &[
    "materialized view",
    "foreign table",
    "event trigger",
    "default rights",
    "aggregate",
    "column",
    "comment",
    "constraint",
    "extension",
    "function",
    "grants",
    "index",
    "policy",
    "procedure",
    "publication",
    "rule",
    "schema",
    "sequence",
    "statistics",
    "table",
    "trigger",
    "type",
    "view",
];

/// The kinds of changes, one of which each table has.
const KINDS: [&str; 5] = ["gone", "renamed", "fewer_rows", "changed", "answer"];

/// Reads all `[[expect]]` tables.
pub(super) fn read(
    value: Value<'_>,
    databases: &[DatabaseSpec],
    notes: &mut Notes,
) -> Vec<ExpectSpec> {
    let tables = value.tables("expect", notes);
    tables.into_iter().filter_map(|table| expect(table, databases, notes)).collect()
}

fn expect(
    mut table: Section<'_>,
    databases: &[DatabaseSpec],
    notes: &mut Notes,
) -> Option<ExpectSpec> {
    let place = table.place().clone();
    let mut asked: Vec<(&str, Value<'_>)> =
        KINDS.into_iter().filter_map(|kind| table.take(kind).map(|value| (kind, value))).collect();
    let change = match asked.len() {
        1 => {
            let (kind, value) = asked.remove(0);
            change(kind, value, &mut table, notes)
        }
        0 => {
            let fix = "write `gone`, `renamed`, `fewer_rows`, `changed` or `answer` below it";
            notes.problem(&place, "expect names no change", fix);
            None
        }
        _ => {
            let kinds: Vec<&str> = asked.iter().map(|(kind, _)| *kind).collect();
            let message = format!("expect names several changes: {}", kinds.join(", "));
            notes.problem(&place, message, "write an [[expect]] table for each");
            None
        }
    };
    if let Some(stray) = table.take("to") {
        let message = format!("{} has a meaning beside `renamed` only", stray.name);
        notes.problem(&stray.place, message, "remove it");
    }
    let database = table.take("database").map(|value| named(value, databases, notes));
    let migration = table.take("migration").map(|value| text(value, "\"0035\"", notes));
    table.finish(notes);
    Some(ExpectSpec {
        change: change?,
        database: database.map_or(Some(None), |found| found.map(Some))?,
        migration: migration.map_or(Some(None), |found| found.map(Some))?,
    })
}

fn change(
    kind: &str,
    value: Value<'_>,
    table: &mut Section<'_>,
    notes: &mut Notes,
) -> Option<Expected> {
    const OBJECT: &str = "\"table public.sessions\"";
    let place = value.place.clone();
    Some(match kind {
        "gone" => Expected::Gone(object(value, OBJECT, notes)?),
        "renamed" => {
            let from = object(value, OBJECT, notes)?;
            let Some(to) = table.take("to") else {
                let fix = "write `to = \"public.user_sessions\"` below it";
                notes.problem(&place, "expect.to is missing: the name afterwards", fix);
                return None;
            };
            Expected::Renamed { from, to: text(to, "\"public.user_sessions\"", notes)? }
        }
        "fewer_rows" => Expected::FewerRows(text(value, "\"public.sessions\"", notes)?),
        "changed" => Expected::Changed(text(value, "\"index public.sessions_at\"", notes)?),
        _ => Expected::Answer(text(value, "\"http http://127.0.0.1:8080/*\"", notes)?),
    })
}

/// Reads kind and name of an object; a kind that no comparison knows would never match.
fn object(value: Value<'_>, example: &str, notes: &mut Notes) -> Option<String> {
    let (name, place) = (value.name.clone(), value.place.clone());
    let found = text(value, example, notes)?;
    let known = |kind: &&str| {
        found.strip_prefix(*kind).is_some_and(|rest| rest.starts_with(' ') && rest.len() > 1)
    };
    if OBJECT_KINDS.iter().any(known) {
        return Some(found);
    }
    let message = format!("{name} {} does not begin with a kind of object", shown(&found));
    let kinds = OBJECT_KINDS.join(", ");
    notes.problem(&place, message, &format!("write one of {kinds}, and the name after it"));
    None
}

fn text(value: Value<'_>, example: &str, notes: &mut Notes) -> Option<String> {
    let (name, place) = (value.name.clone(), value.place.clone());
    let found = value.text(example, notes)?;
    if !found.trim().is_empty() && !found.chars().any(char::is_control) {
        return Some(found);
    }
    notes.write_instead(&place, format!("{name} is empty"), &format!("{name} = {example}"));
    None
}

fn named(value: Value<'_>, databases: &[DatabaseSpec], notes: &mut Notes) -> Option<String> {
    let place = value.place.clone();
    let name = value.text("\"main\"", notes)?;
    if databases.iter().any(|known| known.name == name) {
        return Some(name);
    }
    let message = format!("expect.database {} is no [[database]]", shown(&name));
    notes.problem(&place, message, "write the name of a [[database]]");
    None
}

/// Reads the checks at which an upgrade stops.
pub(super) fn checks(value: Value<'_>, notes: &mut Notes) -> Option<Vec<Check>> {
    let words = Check::ALL.map(|check| (check.word(), check));
    let mut found = Vec::new();
    for entry in value.list("[\"schema\", \"rows\"]", notes)? {
        let check = choice(entry, &words, notes)?;
        if !found.contains(&check) {
            found.push(check);
        }
    }
    found.sort();
    Some(found)
}
