//! `[[setting]]` of the packager's half: what this version needs of the application's own
//! configuration, so that a file which was right for the version before is found wrong in time.

use std::path::{Path, PathBuf};

use super::notes::{Notes, shown};
use super::section::{Section, Value};
use super::values::path;

/// One `[[setting]]`: a rule about one key of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingSpec {
    /// The application's configuration file.
    pub file: PathBuf,
    /// The key; with its section before it where the file has sections, as `listen.port`.
    pub key: String,
    /// What this version demands of it.
    pub rule: SettingRule,
}

/// What a version demands of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingRule {
    /// It is not known any more; the text says what takes its place.
    Gone(String),
    /// It must be there; the text says what to write.
    Needed(String),
    /// Its value is one of these, where it is there at all.
    OneOf(Vec<String>),
}

impl SettingRule {
    /// Returns the rule as the key of the configuration and its value.
    pub fn told(&self) -> String {
        match self {
            Self::Gone(advice) => format!("gone = {advice:?}"),
            Self::Needed(advice) => format!("needed = {advice:?}"),
            Self::OneOf(values) => format!("one_of = {values:?}"),
        }
    }
}

/// The rules, one of which each table has.
const RULES: [&str; 3] = ["gone", "needed", "one_of"];

/// Reads all `[[setting]]` tables.
pub(super) fn read(value: Value<'_>, notes: &mut Notes) -> Vec<SettingSpec> {
    let tables = value.tables("setting", notes);
    tables.into_iter().filter_map(|table| setting(table, notes)).collect()
}

fn setting(mut table: Section<'_>, notes: &mut Notes) -> Option<SettingSpec> {
    let place = table.place().clone();
    let missing = |name: &str, example: &str, notes: &mut Notes| {
        let message = format!("setting.{name} is missing");
        notes.problem(&place, message, &format!("write `{name} = {example}` below it"));
    };
    let file = table.take("file").map(|v| path(v, Path::new("/etc/app/app.conf"), notes));
    if file.is_none() {
        missing("file", "\"/etc/app/app.conf\"", notes);
    }
    let key = table.take("key").map(|value| text(value, "\"listen.port\"", notes));
    if key.is_none() {
        missing("key", "\"listen.port\"", notes);
    }
    let asked: Vec<(&str, Value<'_>)> =
        RULES.into_iter().filter_map(|rule| table.take(rule).map(|value| (rule, value))).collect();
    let several = asked.len() > 1;
    let rule = asked.into_iter().next().map(|(rule, value)| read_rule(rule, value, notes));
    if rule.is_none() || several {
        let message = "setting must say exactly one of `gone`, `needed` and `one_of`";
        notes.problem(&place, message, "write `gone = \"what takes its place\"` below it");
    }
    table.finish(notes);
    Some(SettingSpec { file: file??, key: key??, rule: rule?? })
}

fn read_rule(rule: &str, value: Value<'_>, notes: &mut Notes) -> Option<SettingRule> {
    match rule {
        "gone" => text(value, "\"listen.address takes its place\"", notes).map(SettingRule::Gone),
        "needed" => text(value, "\"listen.address = 0.0.0.0:80\"", notes).map(SettingRule::Needed),
        _ => {
            let entries = value.list("[\"fast\", \"safe\"]", notes)?;
            let mut values = Vec::new();
            for entry in entries {
                values.push(text(entry, "\"fast\"", notes)?);
            }
            Some(SettingRule::OneOf(values))
        }
    }
}

fn text(value: Value<'_>, example: &str, notes: &mut Notes) -> Option<String> {
    let (name, place) = (value.name.clone(), value.place.clone());
    let found = value.text(example, notes)?;
    if !found.trim().is_empty() && !found.chars().any(char::is_control) {
        return Some(found);
    }
    let message = format!("{name} {} is empty or holds a control character", shown(&found));
    notes.problem(&place, message, &format!("write a text such as {example}"));
    None
}
