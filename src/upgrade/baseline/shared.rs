//! What a baseline holds of units, probes and databases, as the service tells it to others: the same
//! fields before and after an upgrade, so that two answers can be compared.
//!
//! What differs with every start (processes) or every release (versions) stands apart from what
//! should not, so that `compare` of a `[[health]]` probe can select the latter.

use serde_json::{Value, json};

use crate::config::{ProbeSpec, Question};
use crate::database::facts;
use crate::error::Result;
use crate::migrations::{self, State};

use super::record;
use crate::upgrade::gate::Pending;
use crate::upgrade::machine::{Machine, Shipped};

/// Where the service tells whether everything is ready; asked by itself it would never answer.
pub const READINESS: &str = "/api/v1/observability/readiness";

/// Where the service tells which units and databases there are.
pub const SERVICES: &str = "/api/v1/platform/services";

/// Returns units and databases with their state.
pub fn services(machine: &Machine) -> Value {
    let (units, error) = match record::units(machine) {
        Ok(units) => (units, None),
        Err(error) => (std::collections::BTreeMap::new(), Some(error.message())),
    };
    let state: Vec<Value> = units
        .iter()
        .map(|(name, unit)| {
            json!({"name": name, "runs": unit.runs, "state": unit.words, "restarts": unit.restarts})
        })
        .collect();
    let pids: serde_json::Map<String, Value> =
        units.iter().map(|(name, unit)| (name.clone(), json!(unit.main_pid))).collect();
    let databases: Vec<Value> = machine.databases.iter().map(database).collect();
    json!({
        "app": machine.layout.app(),
        "version": machine.version,
        "services": state,
        "databases": databases,
        "processes": pids,
        "error": error,
    })
}

fn database(shipped: &Shipped) -> Value {
    let name = shipped.database.name();
    match look(shipped) {
        Ok((server, found)) => json!({
            "name": name,
            "state": found.state.word(),
            "schema": found.current,
            "head": found.head,
            "server_version": server,
        }),
        Err(error) => json!({"name": name, "state": "unreachable", "error": error.message()}),
    }
}

fn look(shipped: &Shipped) -> Result<(String, migrations::Comparison)> {
    let mut session = shipped.database.connect()?;
    let found = migrations::look(&mut session, &shipped.migrations)?;
    Ok((facts::server_version(&mut session)?, found))
}

/// Whether everything that the application needs is as it should be.
pub struct Readiness {
    /// Whether every check passed, but for probes that only advise.
    pub ready: bool,
    /// The answer.
    pub json: Value,
}

struct Asked {
    name: String,
    required: bool,
    passed: bool,
    said: String,
}

/// Asks gate, units, databases and probes once.
pub fn readiness(machine: &Machine) -> Readiness {
    let mut asked = vec![gate(machine)];
    asked.extend(units(machine));
    asked.extend(machine.databases.iter().map(schema));
    asked.extend(probes(machine));
    let ready = asked.iter().all(|asked| asked.passed || !asked.required);
    let checks: Vec<Value> = asked
        .iter()
        .map(|one| json!({"name": one.name, "required": one.required, "passed": one.passed}))
        .collect();
    let said: serde_json::Map<String, Value> =
        asked.into_iter().map(|one| (one.name, one.said.into())).collect();
    let json = json!({
        "ready": ready,
        "app": machine.layout.app(),
        "version": machine.version,
        "checks": checks,
        "said": said,
    });
    Readiness { ready, json }
}

fn gate(machine: &Machine) -> Asked {
    let (passed, said) = match Pending::read(&machine.layout) {
        Ok(None) => (true, "open".to_owned()),
        Ok(Some(mark)) => (false, format!("closed: the upgrade to {} is not done", mark.to)),
        Err(error) => (false, error.message()),
    };
    Asked { name: "gate".into(), required: true, passed, said }
}

fn units(machine: &Machine) -> Vec<Asked> {
    let required = true;
    match record::units(machine) {
        Ok(units) => units
            .into_iter()
            .map(|(name, unit)| Asked {
                name: format!("unit {name}"),
                required,
                passed: unit.runs,
                said: unit.words,
            })
            .collect(),
        Err(error) => {
            vec![Asked { name: "units".into(), required, passed: false, said: error.message() }]
        }
    }
}

fn schema(shipped: &Shipped) -> Asked {
    let name = format!("database {}", shipped.database.name());
    let (passed, said) = match look(shipped) {
        Ok((_, found)) => {
            let schema = found.current.unwrap_or_else(|| "none".into());
            (found.state == State::Current, format!("{}, schema {schema}", found.state.word()))
        }
        Err(error) => (false, error.message()),
    };
    Asked { name, required: true, passed, said }
}

fn probes(machine: &Machine) -> Vec<Asked> {
    let others: Vec<ProbeSpec> =
        machine.config.probes.iter().filter(|probe| !asks_us(probe)).cloned().collect();
    let required = |place: usize| others.get(place).is_none_or(|probe| probe.required);
    let answers = record::ask(machine, &others);
    answers
        .into_iter()
        .enumerate()
        .map(|(place, (name, state))| Asked {
            name,
            required: required(place),
            passed: state.passed,
            said: state.said,
        })
        .collect()
}

/// Whether a probe asks what is being answered: it would ask for ever.
fn asks_us(probe: &ProbeSpec) -> bool {
    match &probe.question {
        Question::Http { url, .. } => url.contains(READINESS),
        // Units are looked at by themselves.
        Question::Unit(_) => true,
        Question::Tcp(_)
        | Question::WebSocket { .. }
        | Question::Sql { .. }
        | Question::Command(_) => false,
    }
}
