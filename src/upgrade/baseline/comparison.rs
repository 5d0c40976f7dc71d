//! The difference between two baselines: for people, for programs, and as a verdict.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::{Check, OnFailure};
use crate::error::Error;
use crate::outcome::Outcome;
use crate::upgrade::machine::Machine;

/// How many changes the journal keeps.
const KEPT: usize = 100;

/// How much a change counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A loss that nobody declared.
    Doubt,
    /// A loss that was declared.
    Expected,
    /// No loss.
    Note,
}

impl Severity {
    /// Returns the word for people and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Doubt => "doubt",
            Self::Expected => "expected",
            Self::Note => "note",
        }
    }
}

/// One thing that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// How much it counts.
    pub severity: Severity,
    /// The word of its check.
    pub check: String,
    /// Name of the database within the application, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// What it is about, as declarations name it.
    pub subject: String,
    /// What happened to it, as one line that stands alone.
    pub what: String,
    /// How it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// How it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The declaration that it is expected by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared: Option<String>,
}

impl Change {
    /// Returns it as one line.
    pub fn told(&self) -> String {
        match &self.database {
            Some(database) => format!("{database}: {}", self.what),
            None => self.what.clone(),
        }
    }

    /// Returns it as JSON shows findings.
    pub fn json(&self) -> Value {
        json!({
            "severity": self.severity.word(),
            "kind": format!("baseline_{}", self.check),
            "database": self.database,
            "message": self.what,
            "hint": format!("If it is meant, declare it: see [[expect]] in upgrade.conf(5), {:?}", self.subject),
        })
    }
}

/// Returns how many losses nobody declared, for people.
pub fn undeclared(losses: u64) -> String {
    format!("{losses} {} that nobody declared", if losses == 1 { "loss" } else { "losses" })
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// The word of the check.
    pub check: String,
    /// Whether nothing was lost, or only what was declared.
    pub passed: bool,
    /// What is not as it was.
    pub changes: Vec<Change>,
    /// How many more there are.
    #[serde(default)]
    pub left_out: usize,
}

/// Two baselines compared, check by check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// Name of the earlier one.
    pub baseline: String,
    /// Version of the application in the earlier one.
    pub version: String,
    /// When the earlier one was recorded, RFC 3339.
    pub taken: String,
    /// When the later one was.
    pub compared: String,
    /// The checks, in their order.
    pub checks: Vec<Checked>,
}

impl Comparison {
    /// Returns every loss that nobody declared.
    pub fn doubts(&self) -> impl Iterator<Item = &Change> {
        let all = self.checks.iter().flat_map(|checked| &checked.changes);
        all.filter(|change| change.severity == Severity::Doubt)
    }

    /// Returns the first check that fails.
    pub fn first_failed(&self) -> Option<&Checked> {
        self.checks.iter().find(|checked| !checked.passed)
    }

    /// Returns whether nothing at all is different.
    pub fn is_same(&self) -> bool {
        self.checks.iter().all(|checked| checked.changes.is_empty())
    }

    /// Returns whether nothing is different but what was declared, and main processes, which every
    /// restart changes.
    pub fn is_as_declared(&self) -> bool {
        let units = Check::Units.word();
        let mut all = self.checks.iter().flat_map(|checked| &checked.changes);
        all.all(|change| match change.severity {
            Severity::Doubt => false,
            Severity::Expected => true,
            Severity::Note => change.check == units,
        })
    }

    /// Returns the failure that this amounts to where one of these checks fails: the first of them.
    pub fn stop(&self, at: &[Check], machine: &Machine) -> Option<Error> {
        let wanted = |checked: &&Checked| at.iter().any(|check| check.word() == checked.check);
        let failed = self.checks.iter().filter(wanted).find(|checked| !checked.passed)?;
        let doubts: Vec<&Change> =
            failed.changes.iter().filter(|c| c.severity == Severity::Doubt).collect();
        let message = match doubts.as_slice() {
            [one] => format!(
                "the comparison of {} with the baseline failed: {}",
                failed.check,
                one.told()
            ),
            several => format!(
                "the comparison of {} with the baseline failed: {} losses that nobody declared",
                failed.check,
                several.len()
            ),
        };
        let error = Error::new(Outcome::Unhealthy, message);
        let listed = doubts.iter().filter(|_| doubts.len() > 1).take(10);
        let error = listed.fold(error, |error, change| error.detail(change.told()));
        let later: Vec<&str> = self
            .checks
            .iter()
            .skip_while(|checked| checked.check != failed.check)
            .skip(1)
            .map(|checked| checked.check.as_str())
            .collect();
        let error = match later.is_empty() {
            true => error,
            false => error.detail(format!("stopped there, before: {}", later.join(", "))),
        };
        let show = machine.command(&format!("baseline compare {}", self.baseline));
        let accept = match machine.config.policy.on_failure {
            OnFailure::Stop => "try again".to_owned(),
            // The data is put back, and the same would happen again.
            OnFailure::Restore => format!("take \"{}\" out of baseline_stop", failed.check),
        };
        Some(error.hint(format!("Look at `{show}`; to accept it, {accept}.")))
    }

    /// Returns it with so few changes that a journal can hold it, doubts before the rest.
    pub fn shortened(&self) -> Self {
        let mut room = KEPT;
        let mut short = self.clone();
        for checked in &mut short.checks {
            checked.changes.sort_by_key(|change| change.severity != Severity::Doubt);
            let kept = checked.changes.len().min(room);
            checked.left_out += checked.changes.len() - kept;
            checked.changes.truncate(kept);
            room -= kept;
        }
        short
    }

    /// Returns it as JSON.
    pub fn json(&self) -> Value {
        let mut json = serde_json::to_value(self).unwrap_or_default();
        json["first_failed"] = self.first_failed().map(|checked| checked.check.clone()).into();
        json["doubts"] = self.doubts().count().into();
        json
    }

    /// Returns it for people, one line for each check and each change.
    pub fn told(&self) -> String {
        let mut lines = vec![format!(
            "baseline {} of version {}, recorded {}, against {}",
            self.baseline, self.version, self.taken, self.compared
        )];
        for checked in &self.checks {
            let doubts = checked.changes.iter().filter(|c| c.severity == Severity::Doubt).count();
            let all = checked.changes.len() + checked.left_out;
            let verdict = match (checked.passed, all) {
                (true, 0) => "same".to_owned(),
                (true, all) => format!("passed, {} different", all),
                (false, all) => format!("FAILED, {doubts} in doubt of {all} different"),
            };
            lines.push(format!("  {:<12} {verdict}", checked.check));
            lines.extend(checked.changes.iter().flat_map(change_lines));
            if checked.left_out > 0 {
                lines.push(format!("    and {} more", checked.left_out));
            }
        }
        lines.join("\n")
    }
}

fn change_lines(change: &Change) -> Vec<String> {
    let mut lines = vec![format!("    {:<8} {}", change.severity.word(), change.told())];
    for (sign, text) in [("-", &change.before), ("+", &change.after)] {
        lines.extend(text.as_ref().map(|text| format!("             {sign} {text}")));
    }
    lines.extend(change.declared.as_ref().map(|by| format!("             declared: {by}")));
    lines
}
