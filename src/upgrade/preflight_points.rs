//! What preflight looks at in each kind of restore point: whether it can be made, and put back.

use crate::config::{Method, OnFailure};
use crate::database::lacking::{Lacking, Owners};
use crate::database::swap::Server;
use crate::database::{Database, globals};
use crate::error::Result;
use crate::restore_points;
use crate::system::process;

use super::machine::Machine;
use super::plan::{Plan, Protection};
use super::preflight::{Finding, advisory, from_error, required};
use super::survey::Survey;

/// Adds what stands in the way of the restore point that the operator wants.
pub(super) fn look(machine: &Machine, survey: &Survey<'_>, plan: &Plan, found: &mut Vec<Finding>) {
    let of = |protection: Protection| -> Vec<&Database> {
        let planned = |name: &str| {
            plan.databases.iter().any(|d| d.name == name && d.protection == protection)
        };
        let all = survey.databases.iter().map(|surveyed| surveyed.database);
        all.filter(|database| planned(database.name())).collect()
    };
    match machine.config.policy.restore_point.method {
        Method::Dump => found.extend(restorable(machine, &of(Protection::Dump))),
        Method::Clone => clone(machine, &of(Protection::Clone), found),
        Method::External if of(Protection::External).is_empty() => {}
        Method::External => external(machine, found),
    }
}

/// Asks of the present server what a restore will ask of it: whose the objects are, and what they need.
/// What cannot be looked at now is told by the restore.
fn restorable(machine: &Machine, databases: &[&Database]) -> Option<Finding> {
    let look = |database: &Database| -> Result<Lacking> {
        let wants = globals::of(database)?;
        Server::beside(database)?.lacking(&wants, database.dbname(), Owners::Kept)
    };
    let (mut names, mut all) = (Vec::new(), Lacking::default());
    for database in databases.iter().filter(|database| database.file().is_none()) {
        if let Ok(lacking) = look(database)
            && !lacking.hindrances.is_empty()
        {
            names.push(database.described());
            all.add(lacking);
        }
    }
    if names.is_empty() {
        return None;
    }
    let message = format!(
        "a restore point of {} could not be put back as it is: {}",
        names.join(", "),
        [&all.hindrances[..], &all.statements].concat().join("; ")
    );
    let way = format!("put it back by `{}`", machine.command("restore --no-owner"));
    Some(match machine.config.policy.on_failure {
        OnFailure::Stop => advisory(format!("{message}. {}", all.hint(&way))),
        OnFailure::Restore => {
            required(message, all.hint(&format!("set `on_failure = \"stop\"` and {way}")))
        }
    })
}

/// Advisory: where no clone can be made, a dump protects as well.
fn clone(machine: &Machine, databases: &[&Database], found: &mut Vec<Finding>) {
    match restore_points::obstacles(databases, machine.config.policy.reserve) {
        Ok(reasons) if reasons.is_empty() => {}
        Ok(reasons) => found.push(advisory(format!(
            "no clone can be made, so a dump keeps the services down longer: {}",
            reasons.join("; ")
        ))),
        Err(error) => found.push(advisory(error.message())),
    }
}

fn external(machine: &Machine, found: &mut Vec<Finding>) {
    let spec = &machine.config.policy.restore_point;
    let program = spec.command.iter().flatten().next();
    if let Some(program) = program
        && process::find_in(program, "/").is_none()
    {
        found.push(required(
            format!("restore_point_command {program} is no program that can be run"),
            "Install it, or correct the key in the operator's upgrade.conf.",
        ));
    }
    // What it prints is kept in the backup directory.
    if let Err(error) = machine.store().and_then(|store| store.probe()) {
        found.push(from_error(&error));
    }
    if spec.restore_command.is_none() {
        found.push(advisory(
            "there is no restore_command: going back to what restore_point_command makes is up to you",
        ));
    }
}
