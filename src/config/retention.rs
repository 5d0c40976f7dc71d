//! How long and how many restore points are kept, and how the files say so.
//!
//! A value that makes no sense never removes anything and never fails an upgrade: everything is kept,
//! and a warning says so, until the value is mended.

use super::notes::Notes;
use super::section::{Section, Value};
use super::values::parse_size;

/// Keep every restore point: what a number of points that makes no sense means.
const KEEP_ALL: u32 = u32::MAX;

/// The word that takes back what an earlier file said about the size.
pub(super) const NO_LIMIT: &str = "none";

/// How long and how many restore points are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Age in days from which a point may go; `None` where the value made no sense.
    pub days: Option<u32>,
    /// Newest good points that stay whatever their age; at least 1, the largest number where the
    /// value made no sense.
    pub keep: u32,
    /// Bytes that all points may take together.
    pub max_bytes: Stated<u64>,
    /// What differs for points of upgrades.
    pub upgrade: Rule,
    /// What differs for points that an operator asked for.
    pub manual: Rule,
    /// What differs for points that keep the present state before a restore.
    pub before_restore: Rule,
    /// What differs for points of what a step left.
    pub after_step: Rule,
}

/// What differs for the restore points of one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Age in days from which they may go, in the place of the one for all.
    pub days: Stated<u32>,
    /// Newest good ones of this reason that stay whatever their age, besides those of all reasons.
    pub keep: Stated<u32>,
}

/// A value that need not be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stated<T> {
    /// Nobody said anything.
    #[default]
    Unset,
    /// What was said.
    Value(T),
    /// What was said makes no sense.
    Nonsense,
}

impl<T: Copy> Stated<T> {
    /// Returns the value where one was said that makes sense.
    pub fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Unset | Self::Nonsense => None,
        }
    }

    fn is_nonsense(self) -> bool {
        matches!(self, Self::Nonsense)
    }
}

impl Retention {
    /// Returns a retention of days and number, without a limit of size and without rules.
    pub fn new(days: Option<u32>, keep: u32) -> Self {
        let rule = Rule::default();
        let (upgrade, manual, before_restore, after_step) = (rule, rule, rule, rule);
        let max_bytes = Stated::Unset;
        Self { days, keep, max_bytes, upgrade, manual, before_restore, after_step }
    }

    /// Returns whether some value makes no sense, so that no restore point may go.
    pub fn keeps_everything(&self) -> bool {
        let rules = [self.upgrade, self.manual, self.before_restore, self.after_step];
        self.days.is_none()
            || self.keep == KEEP_ALL
            || self.max_bytes.is_nonsense()
            || rules.iter().any(|rule| rule.days.is_nonsense() || rule.keep.is_nonsense())
    }

    /// Returns the age in days from which a database that a restore replaced may go; none where all
    /// stay.
    pub fn days_of_replaced(&self) -> Option<u32> {
        self.before_restore.days.value().or(self.days).filter(|_| !self.keeps_everything())
    }

    /// Returns the rules that differ, under the word of their reason in the files.
    pub fn rules(&self) -> [(&'static str, Rule); 4] {
        [
            ("upgrade", self.upgrade),
            ("manual", self.manual),
            ("before_restore", self.before_restore),
            ("after_step", self.after_step),
        ]
    }

    /// Reads the keys that stand at the top of a file, and the tables below `retention`.
    pub(super) fn read(&mut self, top: &mut Section<'_>, notes: &mut Notes) {
        if let Some(value) = top.take("backup_retention_days") {
            self.days = number(&value, notes).value();
        }
        if let Some(value) = top.take("backup_keep") {
            self.keep = number(&value, notes).value().unwrap_or(KEEP_ALL);
        }
        if let Some(value) = top.take("backup_max_bytes") {
            self.max_bytes = bytes(&value, notes);
        }
        let Some(value) = top.take("retention") else { return };
        if !value.is_table() {
            let reason = format!("is {}, not a table", value.kind());
            self.upgrade.days = nonsense(&value, &reason, notes);
            return;
        }
        let Some(mut table) = value.table("retention", notes) else { return };
        for (reason, section, rule) in [
            ("upgrade", "retention.upgrade", &mut self.upgrade),
            ("manual", "retention.manual", &mut self.manual),
            ("before_restore", "retention.before_restore", &mut self.before_restore),
            ("after_step", "retention.after_step", &mut self.after_step),
        ] {
            let Some(value) = table.take(reason) else { continue };
            if !value.is_table() {
                let reason = format!("is {}, not a table", value.kind());
                rule.days = nonsense(&value, &reason, notes);
                continue;
            }
            let Some(mut table) = value.table(section, notes) else { continue };
            if let Some(value) = table.take("days") {
                rule.days = number(&value, notes);
            }
            if let Some(value) = table.take("keep") {
                rule.keep = number(&value, notes);
            }
            table.finish(notes);
        }
        table.finish(notes);
    }
}

/// Reads a number of days or of restore points.
fn number(value: &Value<'_>, notes: &mut Notes) -> Stated<u32> {
    let reason = match value.as_integer() {
        Some(0) => "is 0".to_owned(),
        Some(number) if number < 0 => "is negative".to_owned(),
        Some(number) => match u32::try_from(number) {
            Ok(found) => return Stated::Value(found),
            Err(_) => "is too large".to_owned(),
        },
        None if value.is_integer() => "is too large".to_owned(),
        None => format!("is {}, not a whole number", value.kind()),
    };
    nonsense(value, &reason, notes)
}

/// Reads the size that all restore points may have together.
fn bytes(value: &Value<'_>, notes: &mut Notes) -> Stated<u64> {
    if value.as_text() == Some(NO_LIMIT) {
        return Stated::Unset;
    }
    let found = match (value.as_integer(), value.as_text()) {
        (Some(number), _) => u64::try_from(number).map_err(|_| "is negative".to_owned()),
        (None, Some(text)) => parse_size(text).ok_or_else(|| "is not a size".to_owned()),
        (None, None) if value.is_integer() => Err("is too large".to_owned()),
        (None, None) => Err(format!("is {}, not a size", value.kind())),
    };
    match found {
        Ok(0) => nonsense(value, "is 0", notes),
        Ok(bytes) => Stated::Value(bytes),
        Err(reason) => nonsense(value, &reason, notes),
    }
}

fn nonsense<T>(value: &Value<'_>, reason: &str, notes: &mut Notes) -> Stated<T> {
    let message = format!("{} {reason}; every restore point is kept", value.name);
    notes.warn(&value.place, &message);
    Stated::Nonsense
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_that_makes_no_sense_keeps_replaced_databases_too() {
        let sound = Retention::new(Some(30), 3);
        assert_eq!(sound.days_of_replaced(), Some(30));
        let days = Rule { days: Stated::Value(7), ..Rule::default() };
        assert_eq!(Retention { before_restore: days, ..sound }.days_of_replaced(), Some(7));
        let ninety = Rule { days: Stated::Nonsense, ..Rule::default() };
        for nonsense in [
            Retention { before_restore: ninety, ..sound },
            Retention { manual: ninety, before_restore: days, ..sound },
            Retention { keep: KEEP_ALL, ..sound },
            Retention { max_bytes: Stated::Nonsense, ..sound },
            Retention { days: None, before_restore: days, ..sound },
        ] {
            assert_eq!(nonsense.days_of_replaced(), None, "{nonsense:?}");
        }
    }
}
