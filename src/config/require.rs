//! `[[require]]`: what the machine must have before an upgrade.

use std::path::{Path, PathBuf};

use super::command::{arguments, optional};
use super::notes::{Notes, shown};
use super::section::{Section, Value};
use super::values::{place, size};
use crate::version::Version;

/// One `[[require]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequireSpec {
    /// What has to be there.
    pub what: Requirement,
    /// Whether its lack stops an upgrade; others are only told.
    pub required: bool,
    /// What to do about it, in the packager's words.
    pub hint: Option<String>,
}

/// What has to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// A program that runs, and prints a version that is not older.
    Program {
        /// The program and its arguments.
        command: Vec<String>,
        /// The oldest version that will do; none where running is enough.
        at_least: Option<Version>,
    },
    /// Free space.
    Free {
        /// Bytes.
        bytes: u64,
        /// Where, or its nearest parent that exists.
        path: PathBuf,
    },
}

/// Reads all `[[require]]` tables.
pub(super) fn read(value: Value<'_>, notes: &mut Notes) -> Vec<RequireSpec> {
    let tables = value.tables("require", notes);
    tables.into_iter().filter_map(|table| require(table, notes)).collect()
}

fn require(mut table: Section<'_>, notes: &mut Notes) -> Option<RequireSpec> {
    let place = table.place().clone();
    let what = match (table.take("command"), table.take("free")) {
        (Some(value), None) => program(value, &mut table, notes),
        (None, Some(value)) => free(value, &mut table, notes),
        (None, None) => {
            let fix = "write `command` or `free` below it";
            notes.problem(&place, "require names nothing that has to be there", fix);
            None
        }
        (Some(_), Some(_)) => {
            let message = "require names several things: command, free";
            notes.problem(&place, message, "write a [[require]] table for each");
            None
        }
    };
    let required = optional(&mut table, "required", notes, |value, notes| value.flag(true, notes));
    let hint = optional(&mut table, "hint", notes, |value, notes| {
        value.text("\"Run `apt-get install python3`.\"", notes)
    });
    if what.is_some() {
        for (key, beside) in [("at_least", "command"), ("path", "free")] {
            if let Some(value) = table.take(key) {
                let message = format!("{} has a meaning beside `{beside}` only", value.name);
                notes.problem(&value.place, message, "remove it");
            }
        }
    }
    table.finish(notes);
    Some(RequireSpec { what: what?, required: required?.unwrap_or(true), hint: hint? })
}

fn program(value: Value<'_>, table: &mut Section<'_>, notes: &mut Notes) -> Option<Requirement> {
    let command = arguments(value, "[\"python3\", \"--version\"]", "/", notes);
    let at_least = optional(table, "at_least", notes, at_least);
    Some(Requirement::Program { command: command?, at_least: at_least? })
}

fn at_least(value: Value<'_>, notes: &mut Notes) -> Option<Version> {
    let (name, place) = (value.name.clone(), value.place.clone());
    let text = value.text("\"3.8\"", notes)?;
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if text.split('.').all(is_number) {
        return Some(Version::new(text));
    }
    let message = format!("{name} {} is not numbers with dots between", shown(&text));
    notes.write_instead(&place, message, "at_least = \"3.8\"");
    None
}

fn free(value: Value<'_>, table: &mut Section<'_>, notes: &mut Notes) -> Option<Requirement> {
    let bytes = size(value, "1GB", notes);
    let path =
        optional(table, "path", notes, |value, notes| place(value, Path::new("/srv"), notes));
    Some(Requirement::Free { bytes: bytes?, path: path?.unwrap_or_else(|| "/".into()) })
}
