//! `migrations` by a command: the application's own migration tool.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::notes::{Notes, shown};
use super::packager::word;
use super::section::{Section, Value};
use super::values::{Zero, duration, path};

/// The application's own migration tool; argument lists, run without a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandSpec {
    /// Applies everything that is pending.
    pub apply: Vec<String>,
    /// Tells whether something is pending.
    pub status: Option<Vec<String>>,
    /// What its answer means.
    pub rule: StatusRule,
    /// Prints the version of the schema.
    pub version: Option<Vec<String>>,
    /// System user to run as.
    pub user: Option<String>,
    /// Directory to run in.
    pub directory: Option<PathBuf>,
    /// Variables that it gets beside those of the database.
    pub environment: BTreeMap<String, String>,
    /// The variable in which it also gets the connection string as it is written.
    pub url_variable: Option<String>,
    /// How long it may take.
    pub timeout: Option<Duration>,
}

/// What the answer of a status command means; exit status 0 without a pending line is "nothing".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusRule {
    /// The exit status that means pending.
    pub pending_exit: Option<i32>,
    /// How lines begin that name a pending migration.
    pub pending_lines: Option<String>,
    /// How lines begin that name an applied migration.
    pub applied_lines: Option<String>,
}

/// Keys that only a command has.
pub(super) const KEYS: &[&str] = &[
    "status_command",
    "version_command",
    "pending_exit",
    "pending_lines",
    "applied_lines",
    "user",
    "directory",
    "environment",
    "url_variable",
    "timeout",
];

/// The exit status that means pending where the packager says nothing of it: Django, Rails and most
/// programs of one's own.
const PENDING: i32 = 1;

/// Reads the keys beside `command`; every wrong one is noted, so that all are mended in one go.
pub(super) fn read(
    apply: Value<'_>,
    table: &mut Section<'_>,
    notes: &mut Notes,
) -> Option<CommandSpec> {
    let apply = words(apply, notes);
    let status = optional(table, "status_command", notes, words);
    let version = optional(table, "version_command", notes, words);
    let rule = rule(table, status != Some(None), notes);
    let user = optional(table, "user", notes, |value, notes| word(value, "\"app\"", notes));
    let directory = optional(table, "directory", notes, |value, notes| {
        path(value, std::path::Path::new("/srv/app"), notes)
    });
    let environment = optional(table, "environment", notes, environment);
    let url_variable = optional(table, "url_variable", notes, variable);
    let timeout = optional(table, "timeout", notes, |value, notes| {
        duration(value, Zero::Refused, "1h", notes)
    });
    Some(CommandSpec {
        apply: apply?,
        status: status?,
        rule: rule?,
        version: version?,
        user: user?,
        directory: directory?,
        environment: environment?.unwrap_or_default(),
        url_variable: url_variable?,
        timeout: timeout?,
    })
}

/// Reads a key that may be left out; none where it is there and wrong.
pub(super) fn optional<'a, T>(
    table: &mut Section<'a>,
    key: &str,
    notes: &mut Notes,
    read: impl FnOnce(Value<'a>, &mut Notes) -> Option<T>,
) -> Option<Option<T>> {
    match table.take(key) {
        Some(value) => read(value, notes).map(Some),
        None => Some(None),
    }
}

/// Reads an argument list whose first entry is a program: an absolute path, or a name to look for.
fn words(value: Value<'_>, notes: &mut Notes) -> Option<Vec<String>> {
    const EXAMPLE: &str = "[\"/usr/bin/app\", \"migrate\"]";
    arguments(value, EXAMPLE, "/", notes)
}

/// Reads an argument list whose first entry is a program: a plain name, or a path that begins with `/`
/// or with `below`.
pub(super) fn arguments(
    value: Value<'_>,
    example: &str,
    below: &str,
    notes: &mut Notes,
) -> Option<Vec<String>> {
    let (name, place) = (value.name.clone(), value.place.clone());
    let mut words = Vec::new();
    for entry in value.list(example, notes)? {
        words.push(entry.text(example, notes)?);
    }
    let is_path = |word: &str| word.starts_with('/') || word.starts_with(below);
    let reason = match words.first() {
        None => "is an empty list; its first entry is a program".to_owned(),
        Some(first) if first.is_empty() => "begins with an empty word".to_owned(),
        Some(first) if first.contains('/') && !is_path(first) => {
            format!("must begin with an absolute path or a plain name, not {}", shown(first))
        }
        Some(_) if words.iter().any(|word| word.contains('\0')) => {
            "contains a NUL character".to_owned()
        }
        Some(_) => return Some(words),
    };
    let fix = "write the program and its arguments, each in double quotes";
    notes.problem(&place, format!("{name} {reason}"), fix);
    None
}

fn rule(table: &mut Section<'_>, asked: bool, notes: &mut Notes) -> Option<StatusRule> {
    let place = table.place().clone();
    let given = ["pending_exit", "pending_lines", "applied_lines"];
    let first = given.into_iter().find(|key| table.has(key));
    let exit = optional(table, "pending_exit", notes, exit_status);
    let pending = optional(table, "pending_lines", notes, prefix);
    let applied = optional(table, "applied_lines", notes, prefix);
    let (exit, pending_lines, applied_lines) = (exit?, pending?, applied?);
    if let Some(key) = first.filter(|_| !asked) {
        let message = format!("database.migrations has {key}, but no status_command");
        let fix = "write `status_command = [\"/usr/bin/app\", \"status\"]` in it";
        notes.problem(&place, message, fix);
        return None;
    }
    if exit.is_none() && pending_lines.is_some() && applied_lines.is_none() {
        // A program that one day writes its list in another way would have nothing pending for ever.
        let message = "database.migrations.pending_lines alone cannot tell \
                       \"nothing is pending\" from an answer that is not understood";
        let fix = "write `applied_lines = \"…\"` beside it, or `pending_exit = 1`";
        notes.problem(&place, message, fix);
        return None;
    }
    let pending_exit = match (&exit, &pending_lines) {
        (None, None) => Some(PENDING),
        (exit, _) => *exit,
    };
    Some(StatusRule { pending_exit, pending_lines, applied_lines })
}

/// 126 and 127 are what a program that could not be started ends with.
fn exit_status(value: Value<'_>, notes: &mut Notes) -> Option<i32> {
    let found = value.as_integer().and_then(|number| i32::try_from(number).ok());
    let found = found.filter(|number| (1..=255).contains(number) && ![126, 127].contains(number));
    if found.is_none() {
        let message = format!("{} is not an exit status that can mean pending", value.name);
        notes.problem(&value.place, message, "write a whole number from 1 to 125, or 128 to 255");
    }
    found
}

/// How a line begins, without the white space before it.
fn prefix(value: Value<'_>, notes: &mut Notes) -> Option<String> {
    let (name, place) = (value.name.clone(), value.place.clone());
    let text = value.text("\"[ ]\"", notes)?;
    if text.trim_start() == text && !text.is_empty() && !text.contains(char::is_control) {
        return Some(text);
    }
    let message = format!("{name} {} is not how a line begins", shown(&text));
    notes.problem(
        &place,
        message,
        "write its first characters, such as \"[ ]\", without space before",
    );
    None
}

fn variable(value: Value<'_>, notes: &mut Notes) -> Option<String> {
    let (name, place) = (value.name.clone(), value.place.clone());
    let text = value.text("\"DATABASE_URL\"", notes)?;
    if super::secrets::name_is_valid(&text) && !text.starts_with("PG") {
        return Some(text);
    }
    // The value is not shown: a connection string is often written here by mistake.
    let message = format!("{name} is not the name of a variable that the tool may read");
    notes.problem(&place, message, "name the variable, such as \"DATABASE_URL\", not its value");
    None
}

fn environment(value: Value<'_>, notes: &mut Notes) -> Option<BTreeMap<String, String>> {
    let table = value.table("database.migrations.environment", notes)?;
    let mut all = BTreeMap::new();
    for (key, value) in table.all() {
        let (name, place) = (value.name.clone(), value.place.clone());
        if !super::secrets::name_is_valid(&key) {
            let message = format!("{name} is not the name of a variable");
            notes.problem(&place, message, "write letters, digits and `_`, no digit first");
            return None;
        }
        if key.starts_with("PG") {
            let message = format!("{name} is set by openwatch from the connection of the database");
            notes.problem(&place, message, "remove it");
            return None;
        }
        let text = value.text("\"value\"", notes)?;
        if text.contains('\0') {
            let message = format!("{name} contains a NUL character");
            notes.problem(&place, message, "remove it");
            return None;
        }
        all.insert(key, text);
    }
    Some(all)
}
