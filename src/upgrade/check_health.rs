//! Proves that the new version serves, with its database, before the run is called a success.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::config::{ProbeSpec, Question};
use crate::database::{Database, Session};
use crate::error::{Error, Result};
use crate::health::{self, Life, Looked, Pace, Report, UnitLook};
use crate::services::{Activity, Load};

use super::hooks;
use super::journal::Journal;
use super::machine::Machine;
use super::start_services::Started;
use super::step::Step;

/// How long all probes together may take where they are asked once.
const GLANCE_LIMIT: Duration = Duration::from_secs(5);

/// Proof that every required probe gave the right answer.
#[derive(Debug)]
pub struct Healthy {
    /// The answers, for the journal and JSON.
    pub report: Report,
}

/// Asks every probe until it is right or its deadline has passed.
pub fn run(machine: &Machine, started: Started, journal: &mut Journal) -> Result<Healthy> {
    let probes = probes(machine, &started);
    if probes.is_empty() {
        machine.progress.note("no service ran before, so no health to prove");
        return Ok(Healthy { report: Report::default() });
    }
    hooks::before(machine, Step::Health, &*journal)?;
    journal.begun(Step::Health, "")?;
    machine.progress.step("proving health");
    let report = prove(machine, &probes, started.at)?;
    let answers: Vec<String> = report.answers.iter().map(ToString::to_string).collect();
    journal.done(Step::Health, answers.join("; "))?;
    hooks::after(machine, Step::Health, &*journal);
    Ok(Healthy { report })
}

/// Asks these probes; `at` is when the units were started.
pub(super) fn prove(machine: &Machine, probes: &[ProbeSpec], at: SystemTime) -> Result<Report> {
    let units = Units(machine);
    let context = health::Context {
        expected_version: Some(machine.version.upstream().to_owned()),
        started: Some(at),
        ..context(&units)
    };
    health::prove(probes, &context, &*machine.progress)
        .map_err(|error| machine.services.unless_going_down(error))
}

/// Asks these probes once, all at the same time; no version is demanded.
pub(super) fn glance(machine: &Machine, probes: &[ProbeSpec]) -> Vec<Looked> {
    health::glance(probes, &context(&Units(machine)), GLANCE_LIMIT)
}

fn context<'a>(units: &'a Units<'_>) -> health::Context<'a> {
    let machine = units.0;
    let databases = machine.databases.iter().map(|shipped| shipped.database.clone()).collect();
    health::Context {
        expected_version: None,
        started: None,
        units,
        connect: Arc::new(connector(databases)),
        secrets: machine.layout.secrets(),
        pace: Pace::default(),
    }
}

/// Returns what is asked of these units alone: the unit itself, and the probes that it answers.
pub(super) fn of_units(machine: &Machine, names: &[String]) -> Vec<ProbeSpec> {
    let own = |probe: &&ProbeSpec| match (&probe.question, &probe.answered_by) {
        (Question::Unit(name), _) | (_, Some(name)) => names.contains(name),
        (_, None) => false,
    };
    let configured: Vec<ProbeSpec> = machine.config.probes.iter().filter(own).cloned().collect();
    with_units(names, configured)
}

/// Returns the configured probes and one for each started unit that has none.
///
/// A unit that the operator had stopped stays stopped: probes are then left out, because nothing is
/// there to answer them.
fn probes(machine: &Machine, started: &Started) -> Vec<ProbeSpec> {
    if started.units.is_empty() {
        return Vec::new();
    }
    let answered =
        |probe: &&ProbeSpec| probe.answered_by.as_ref().is_none_or(|u| started.units.contains(u));
    with_units(&started.units, machine.config.probes.iter().filter(answered).cloned().collect())
}

/// Adds one for each of these units that has none.
fn with_units(names: &[String], configured: Vec<ProbeSpec>) -> Vec<ProbeSpec> {
    let own: BTreeSet<&str> = configured
        .iter()
        .filter_map(|probe| match &probe.question {
            Question::Unit(name) => Some(name.as_str()),
            Question::Tcp(_)
            | Question::Http { .. }
            | Question::WebSocket { .. }
            | Question::Sql { .. }
            | Question::Command(_) => None,
        })
        .collect();
    let missing = names.iter().filter(|name| !own.contains(name.as_str()));
    let units: Vec<ProbeSpec> = missing.map(|name| unit(name)).collect();
    units.into_iter().chain(configured).collect()
}

fn unit(name: &str) -> ProbeSpec {
    ProbeSpec {
        question: Question::Unit(name.to_owned()),
        required: true,
        deadline: Duration::from_secs(60),
        compare: Vec::new(),
        answered_by: None,
    }
}

/// How probes reach a database by its name.
fn connector(databases: Vec<Database>) -> impl Fn(&str) -> Result<Session> {
    move |name| match databases.iter().find(|d| d.name() == name) {
        Some(database) => database.connect(),
        None => Err(Error::config(format!("there is no database {name}"))),
    }
}

/// The units of the machine, as probes ask for them.
struct Units<'m>(&'m Machine);

impl health::Units for Units<'_> {
    fn look(&self, name: &str, _limit: Duration) -> Result<UnitLook> {
        let names = [name.to_owned()];
        let found = self.0.services.look(&names)?.pop();
        let unit = found.ok_or_else(|| Error::failed(format!("{name} is not known")))?;
        let life = match (unit.load, unit.active) {
            (Load::Masked | Load::Unusable, _) => Life::Absent,
            (Load::Loaded, Activity::Up) => Life::Active,
            (Load::Loaded, Activity::Changing) => Life::Changing,
            (Load::Loaded, Activity::Down | Activity::Failed) => Life::Down,
        };
        Ok(UnitLook {
            life,
            words: unit.words,
            main_pid: unit.main_pid.unwrap_or(0),
            restarts: unit.restarts,
        })
    }
}
