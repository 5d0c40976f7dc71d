//! `openwatch preflight`: everything that an upgrade needs, checked now; changes nothing.
//!
//! What is checked is the *next* upgrade: the installed package's schema must be in order and a
//! restore point must be possible, whether or not anything is pending today.

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::migrations::State;
use crate::outcome::Outcome;
use crate::upgrade::ahead::Space;
use crate::upgrade::hold::Look;
use crate::upgrade::machine::Machine;
use crate::upgrade::plan::{self, DatabasePlan, Decision, Plan, Protection};
use crate::upgrade::preflight::{self, Severity};
use crate::upgrade::rehearsal;
use crate::upgrade::survey::{self, Survey};
use crate::upgrade::together;

use super::backup::warn_of_unreadable;
use super::upgrade::{findings_json, plan_json, told};
use super::{Reply, about};

/// Checks everything and says all that was found.
pub fn run(machine: &Machine) -> Result<Reply> {
    rehearsal::remove_leftovers(machine);
    // Not what the package's own script asks for: in the middle of a run the set is always unequal.
    together::admit(machine)?;
    let survey = survey::take_for_next(machine)?;
    let found = check(machine, &survey)?;
    if let Some(store) = machine.stored()? {
        warn_of_unreadable(machine, &store.list()?);
    }
    let mut lines: Vec<String> = survey
        .databases
        .iter()
        .map(|d| {
            format!(
                "{}: schema {}, server {}",
                d.database.described(),
                d.comparison.current.as_deref().unwrap_or("none"),
                d.facts.server_version
            )
        })
        .collect();
    let mut json = json!({"findings": findings_json(&found)});
    let mut planned = next(machine, &survey);
    // Of the installed package what is pending belongs to the upgrade that waits.
    if machine.looked_into.is_some() {
        match plan::decide(&survey, &machine.config) {
            Decision::Upgrade(plan) => {
                lines.extend(told(machine, &survey, &plan));
                json["plan"] = plan_json(machine, &survey, &plan);
                planned = plan;
            }
            // Refused above.
            Decision::NothingPending | Decision::Refuse(_) => {}
        }
    }
    json["space"] = Space::of(machine, &survey, &planned).map_or(Value::Null, |space| {
        json!({
            "directory": space.directory, "restore_point_bytes": space.needed,
            "reserve_bytes": space.reserve, "free_bytes": space.free,
            "database_bytes": space.databases,
        })
    });
    lines.extend(found.iter().map(|finding| format!("warning: {}", finding.message)));
    let look = Look::take(&machine.layout, &machine.config, machine.clock.now());
    lines.push(match look.why_not() {
        None => "an upgrade can begin".into(),
        Some(why) => format!("an upgrade could begin, but {} is {why}", machine.layout.app()),
    });
    (json["hold"], json["window"]) = look.json();
    Ok(about(machine, Reply::ok(lines.join("\n"), json)))
}

/// Returns the advisory findings, or the refusal that the required ones amount to.
pub(super) fn check(machine: &Machine, survey: &Survey<'_>) -> Result<Vec<preflight::Finding>> {
    if let Decision::Refuse(error) = plan::decide(survey, &machine.config) {
        return Err(error.outcome_as(Outcome::Refused));
    }
    let found = preflight::findings(machine, survey, &next(machine, survey));
    match preflight::refusal(&found) {
        Some(error) => Err::<Vec<_>, Error>(error.state(preflight::untouched(survey))),
        None => Ok(found.into_iter().filter(|f| f.severity == Severity::Advisory).collect()),
    }
}

/// The plan of an upgrade that would migrate every database.
pub(super) fn next(machine: &Machine, survey: &Survey<'_>) -> Plan {
    let protection = |state: State| match state {
        State::Empty => Protection::Empty,
        _ if !machine.config.policy.auto_backup => Protection::SwitchedOff,
        _ => Protection::by(machine.config.policy.restore_point.method),
    };
    let databases = survey
        .databases
        .iter()
        .map(|d| DatabasePlan {
            name: d.database.name().to_owned(),
            protection: protection(d.comparison.state),
            pending: Vec::new(),
        })
        .collect();
    Plan { running: survey.running(), databases }
}
