//! The application's own configuration, held against what the next version needs of it.
//!
//! Only declarations of the package are used: nothing of a package that is not installed is run.

mod lines;

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::{SettingRule, SettingSpec};
use crate::system::fs;

use super::preflight::{Finding, required};
use lines::Line;

/// More than a configuration file written by people.
const MOST_BYTES: u64 = 4 << 20;

/// Returns one finding for every key that this version does not take as it is, with file and line.
///
/// A file that is not there has no wrong keys; one that cannot be read is told as such. Values are
/// not shown: a configuration holds secrets.
pub fn findings(settings: &[SettingSpec]) -> Vec<Finding> {
    let mut files: BTreeMap<&Path, Vec<&SettingSpec>> = BTreeMap::new();
    for setting in settings {
        files.entry(&setting.file).or_default().push(setting);
    }
    let mut found = Vec::new();
    for (file, rules) in files {
        if !file.exists() {
            continue;
        }
        match fs::read_text(file, MOST_BYTES) {
            Ok(text) => {
                let read = lines::read(&text);
                found.extend(rules.iter().flat_map(|rule| judge(file, rule, &read)));
            }
            Err(error) => {
                let message = format!("{} cannot be read: {error}", file.display());
                found.push(required(message, "Mend the file."));
            }
        }
    }
    found
}

fn judge(file: &Path, setting: &SettingSpec, lines: &[Line<'_>]) -> Vec<Finding> {
    let (file, key) = (file.display(), &setting.key);
    let there = lines.iter().filter(|line| line.key == *key);
    match &setting.rule {
        SettingRule::Gone(advice) => there
            .map(|line| {
                let message =
                    format!("{file}:{}: the next version does not know {key}", line.number);
                required(message, format!("{advice}."))
            })
            .collect(),
        SettingRule::Needed(advice) => match there.count() {
            0 => {
                let message = format!("{file}: the next version needs {key}, which is not there");
                vec![required(message, format!("{advice}."))]
            }
            _ => Vec::new(),
        },
        SettingRule::OneOf(values) => there
            .filter(|line| !values.iter().any(|value| value == line.value))
            .map(|line| {
                let number = line.number;
                let message = format!("{file}:{number}: the next version does not take this {key}");
                required(message, format!("Write one of {}.", values.join(", ")))
            })
            .collect(),
    }
}
