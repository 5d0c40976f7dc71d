//! Taking a baseline: everything is only looked at, and no row is read for anything but counting.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::{ProbeSpec, Question};
use crate::database::{Session, SqlError, facts};
use crate::error::{Error, Result};
use crate::health::Looked;
use crate::migrations;
use crate::services::Load;
use crate::system::clock;

use super::settled::Definitions;
use super::stored::Reason;
use super::{Baseline, DatabaseState, FORMAT, ProbeState, UnitState};
use crate::upgrade::check_health;
use crate::upgrade::machine::{Machine, Shipped};

/// How long a locked table is waited for; without it there is no baseline, and the run goes on.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Looks at everything.
pub(super) fn take(machine: &Machine, name: &str, reason: Reason) -> Result<Baseline> {
    let mut baseline = data(machine, name, reason)?;
    baseline.units = units(machine)?;
    baseline.probes = probes(machine);
    Ok(baseline)
}

/// Looks at the databases alone.
pub(super) fn data(machine: &Machine, name: &str, reason: Reason) -> Result<Baseline> {
    let databases = machine
        .databases
        .iter()
        .map(|shipped| {
            let name = shipped.database.name().to_owned();
            Ok((name, database(shipped)?))
        })
        .collect::<Result<BTreeMap<_, _>>>()?;
    Ok(Baseline {
        format: FORMAT,
        name: name.to_owned(),
        app: machine.layout.app().to_owned(),
        version: machine.version.to_string(),
        taken: clock::rfc3339(machine.clock.now()),
        reason,
        units: BTreeMap::new(),
        probes: BTreeMap::new(),
        databases,
    })
}

fn database(shipped: &Shipped) -> Result<DatabaseState> {
    let mut session = shipped.database.connect()?;
    facts::unlimited(&mut session, LOCK_WAIT)?;
    let catalogue = session.catalogue().map_err(|error| unread(shipped, error))?;
    let condition = session.condition().map_err(|error| unread(shipped, error))?;
    let rows = facts::row_counts(&mut session)?;
    Ok(DatabaseState {
        schema: newest(&mut session, shipped),
        server_version: condition.server_version,
        settings: condition.settings,
        fingerprint: catalogue.fingerprint,
        objects: catalogue.objects,
        rows: rows.into_iter().collect(),
        sequences: condition.sequences,
        invalid_indexes: condition.invalid_indexes,
        not_validated: condition.not_validated,
        collations: condition.collations,
    })
}

/// Reads the definitions of one database, and nothing of its rows.
pub(super) fn definitions(shipped: &Shipped) -> Result<Definitions> {
    let mut session = shipped.database.connect()?;
    facts::unlimited(&mut session, LOCK_WAIT)?;
    let catalogue = session.catalogue().map_err(|error| unread(shipped, error))?;
    Ok(Definitions {
        schema: newest(&mut session, shipped),
        fingerprint: catalogue.fingerprint,
        objects: catalogue.objects,
    })
}

fn unread(shipped: &Shipped, error: SqlError) -> Error {
    Error::failed(format!("cannot read the catalogue of {}", shipped.database.described()))
        .source(error)
}

/// Asks files and history only: the application's own tool is a program, and a look must not run it.
fn newest(session: &mut Session, shipped: &Shipped) -> Option<String> {
    match shipped.migrations.command() {
        Some(_) => None,
        None => migrations::look(session, &shipped.migrations).ok()?.current,
    }
}

pub(super) fn units(machine: &Machine) -> Result<BTreeMap<String, UnitState>> {
    let found = machine.services.look(&machine.config.app.services)?;
    Ok(found
        .into_iter()
        .map(|unit| {
            let state = UnitState {
                runs: unit.is_up(),
                masked: unit.load == Load::Masked,
                words: unit.words,
                main_pid: unit.main_pid,
                restarts: unit.restarts,
            };
            (unit.name, state)
        })
        .collect())
}

fn probes(machine: &Machine) -> BTreeMap<String, ProbeState> {
    let asked: Vec<ProbeSpec> = machine
        .config
        .probes
        .iter()
        // Units are looked at by themselves.
        .filter(|probe| !matches!(probe.question, Question::Unit(_)))
        .cloned()
        .collect();
    ask(machine, &asked).into_iter().collect()
}

/// Asks these probes once, in their order.
pub(super) fn ask(machine: &Machine, asked: &[ProbeSpec]) -> Vec<(String, ProbeState)> {
    check_health::glance(machine, asked).into_iter().map(probe).collect()
}

fn probe(Looked { answer, seen }: Looked) -> (String, ProbeState) {
    let state = ProbeState {
        passed: answer.passed,
        said: answer.last,
        status: seen.as_ref().map(|seen| seen.status),
        version: seen.as_ref().and_then(|seen| seen.version.clone()),
        selected: seen.map(|seen| seen.selected).unwrap_or_default(),
    };
    (answer.probe, state)
}
