//! What was so before the first change, kept to compare with what is so afterwards.
//!
//! A baseline is a file of its own, because it grows with the schema and the journal is written anew
//! at every mark. It holds no row of any table. A comparison is a list of checks, each of which passes
//! or fails as a whole: losses that nobody declared make it fail, everything else is only told.

mod comparison;
mod difference;
mod expected;
mod objects;
mod record;
pub mod settled;
pub mod shared;
pub mod stored;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};

use crate::config::Check;
use crate::database::facts::RowCount;
use crate::error::{Error, Result};
use crate::migrations::{DataState, Why};
use crate::outcome::Outcome;
use crate::system::clock;

pub use comparison::{Change, Checked, Comparison, Severity, undeclared};
pub use difference::compare;
pub use expected::Expectations;

use super::apply_migrations::Failure;
use super::journal::{self, Journal};
use super::machine::Machine;
use super::survey::Survey;
use stored::Reason;

/// Format of the file; one of another format is not compared.
pub const FORMAT: u32 = 1;

/// What was so at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// Format of this file.
    pub format: u32,
    /// Its name on this machine.
    pub name: String,
    /// Application.
    pub app: String,
    /// Version of the installed package, or of the one before where an upgrade recorded it.
    pub version: String,
    /// When it was recorded, RFC 3339.
    pub taken: String,
    /// Who recorded it.
    pub reason: Reason,
    /// Each unit by its name.
    pub units: BTreeMap<String, UnitState>,
    /// Each probe by its name in messages.
    pub probes: BTreeMap<String, ProbeState>,
    /// Each database by its name within the application.
    pub databases: BTreeMap<String, DatabaseState>,
}

/// What a unit was doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitState {
    /// Whether it ran, or came up.
    pub runs: bool,
    /// Whether the operator masked it: then it stays down, and that is no loss.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub masked: bool,
    /// The service manager's own words.
    pub words: String,
    /// Main process, where there is one.
    pub main_pid: Option<u32>,
    /// How often the service manager restarted it by itself.
    pub restarts: u32,
}

/// What a probe was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeState {
    /// Whether it was the right answer.
    pub passed: bool,
    /// The answer, shortened.
    pub said: String,
    /// HTTP status.
    #[serde(default)]
    pub status: Option<u16>,
    /// The version that the body names.
    #[serde(default)]
    pub version: Option<String>,
    /// Selected parts of the body by their JSON pointers, shortened.
    #[serde(default)]
    pub selected: BTreeMap<String, String>,
}

/// What stood in one database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseState {
    /// Newest applied migration.
    pub schema: Option<String>,
    /// Version of the server.
    pub server_version: String,
    /// Settings of the server that matter.
    pub settings: BTreeMap<String, String>,
    /// SHA-256 over all definitions.
    pub fingerprint: String,
    /// Definitions by kind and name.
    pub objects: BTreeMap<String, String>,
    /// Rows per table.
    pub rows: BTreeMap<String, RowCount>,
    /// Last value of each sequence.
    pub sequences: BTreeMap<String, i64>,
    /// Indexes that are not used.
    pub invalid_indexes: BTreeSet<String>,
    /// Constraints that older rows are not checked against.
    pub not_validated: BTreeSet<String>,
    /// Versions of the rules by which text is sorted.
    pub collations: BTreeMap<String, String>,
}

/// What the journal keeps of a baseline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// Name of the file; none in journals of before it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// State of each unit in words.
    pub units: Vec<String>,
    /// Each database by its name within the application.
    pub databases: BTreeMap<String, NotedDatabase>,
}

/// What the journal keeps of one database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotedDatabase {
    /// Newest applied migration.
    pub schema: Option<String>,
}

/// Reads a field that a newer program may have filled with more than this one understands: then there
/// is none, and the rest of the file counts.
pub(super) fn lenient<'d, D, T>(deserializer: D) -> std::result::Result<Option<T>, D::Error>
where
    D: Deserializer<'d>,
    T: serde::de::DeserializeOwned,
{
    let value = Option::<serde_json::Value>::deserialize(deserializer)?;
    Ok(value.and_then(|value| serde_json::from_value(value).ok()))
}

/// Records what is so before the first change, read-only. Where it cannot be recorded the upgrade goes
/// on with a warning, unless the operator wants it to stop at differences.
pub fn begin(machine: &Machine, survey: &Survey<'_>) -> Result<Option<Noted>> {
    let schema = |d: &super::survey::Surveyed<'_>| {
        let noted = NotedDatabase { schema: d.comparison.current.clone() };
        (d.database.name().to_owned(), noted)
    };
    let noted = Noted {
        name: None,
        units: survey.units.iter().map(|unit| unit.spoken()).collect(),
        databases: survey.databases.iter().map(schema).collect(),
    };
    let recorded = match of_first_attempt(machine) {
        Some(name) => Ok(name),
        None => record_for(machine, survey),
    };
    match recorded {
        Ok(name) => Ok(Some(Noted { name: Some(name), ..noted })),
        Err(error) if machine.config.policy.baseline_stop.is_empty() => {
            machine.progress.warn(&format!("no baseline: {}", error.message()));
            Ok(Some(noted))
        }
        Err(error) => Err(Error::new(
            Outcome::Refused,
            format!("there is no baseline to compare with: {}", error.message()),
        )
        .state("nothing was changed")
        .hint("Mend this, or take baseline_stop out of the operator's upgrade.conf.")),
    }
}

/// The baseline of an attempt at this version that did not end well: what it left behind is no
/// measure, what was before it is. One that was stopped by its comparison is accepted by trying again.
fn of_first_attempt(machine: &Machine) -> Option<String> {
    let last = journal::read(&machine.layout).ok().flatten()?;
    let again = last.outcome.as_deref() != Some(Outcome::Ok.word())
        && last.comparison.is_none()
        && last.to.order(&machine.version).is_eq();
    let name = last.baseline.filter(|_| again)?.name?;
    stored::read(&machine.layout, &name).is_ok().then_some(name)
}

fn record_for(machine: &Machine, survey: &Survey<'_>) -> Result<String> {
    let name = stored::unused(&machine.layout, &clock::stamp(machine.clock.now()));
    let mut baseline = record::take(machine, &name, Reason::Upgrade)?;
    if let Some(from) = &survey.from {
        baseline.version = from.to_string();
    }
    // After a failure the units are down; what ran when it began is what must run again.
    for name in survey.running() {
        if let Some(unit) = baseline.units.get_mut(&name) {
            unit.runs = true;
        }
    }
    for surveyed in &survey.databases {
        if let Some(found) = baseline.databases.get_mut(surveyed.database.name()) {
            found.schema = surveyed.comparison.current.clone();
        }
    }
    stored::write(&machine.layout, &baseline)?;
    if let Err(error) = stored::prune(&machine.layout) {
        machine.progress.warn(&error.message());
    }
    Ok(name)
}

/// Records a baseline because somebody asked for it.
pub fn record(machine: &Machine, name: &str) -> Result<Baseline> {
    record::take(machine, name, Reason::Manual)
}

fn before(machine: &Machine, journal: &Journal) -> Option<Result<Baseline>> {
    let name = journal.record().baseline.as_ref()?.name.as_ref()?;
    Some(stored::read(&machine.layout, name))
}

/// Stops between the migrations and the start of the services, where the operator wants it: nothing
/// has been written on the new schema yet, so that a loss can still be put back.
pub fn hold_data(machine: &Machine, journal: &mut Journal) -> std::result::Result<(), Failure> {
    let stops = &machine.config.policy.baseline_stop;
    if !stops.iter().any(|check| check.is_of_data()) {
        return Ok(());
    }
    machine.progress.step("comparing with the baseline");
    let Some(before) = before(machine, journal) else { return Ok(()) };
    let compared = before.and_then(|before| {
        let after = record::data(machine, "", Reason::Upgrade)?;
        let expectations = Expectations::since(machine, &before);
        let data: Vec<Check> = Check::ALL.into_iter().filter(|check| check.is_of_data()).collect();
        Ok(compare(&before, &after, &data, &expectations))
    });
    let error = match compared {
        Ok(compared) => {
            let stop = compared.stop(stops, machine);
            if stop.is_some() {
                journal.compared(compared.shortened());
            }
            stop
        }
        Err(error) => Some(error.outcome_as(Outcome::Unhealthy)),
    };
    match error {
        None => Ok(()),
        Some(error) => Err(Failure { error, after: DataState::Partly.into(), why: Why::Refused }),
    }
}

/// Compares what is so now, with the services back, and keeps the difference in the journal; where
/// the operator wants it, a check that fails is the end of the run.
pub fn close(machine: &Machine, journal: &mut Journal) -> Result<()> {
    let before = before(machine, journal);
    let compared = record::take(machine, "", Reason::Upgrade).and_then(|after| {
        let compare = |before: Baseline| {
            let expectations = Expectations::since(machine, &before);
            compare(&before, &after, &Check::ALL, &expectations)
        };
        let compared = before.transpose()?.map(compare);
        Ok((compared, after))
    });
    let (compared, after) = match compared {
        Ok(looked) => looked,
        Err(error) => {
            let told = format!("the baseline could not be compared: {}", error.message());
            machine.progress.warn(&told);
            return Ok(());
        }
    };
    if let Some(compared) = compared {
        for change in compared.doubts() {
            machine.progress.warn(&change.told());
        }
        let stop = compared.stop(&machine.config.policy.baseline_stop, machine);
        journal.compared(compared.shortened());
        stop.map_or(Ok(()), Err)?;
    }
    // Only what is accepted becomes the measure for what comes later.
    if let Err(error) = settled::keep(machine, &after) {
        machine.progress.warn(&error.message());
    }
    Ok(())
}
