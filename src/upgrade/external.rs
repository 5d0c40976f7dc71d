//! Going back to what a command of the operator made: by another command, never by us.

use crate::database::Database;
use crate::error::{Error, Result};
use crate::migrations::{self, State};
use crate::outcome::Outcome;
use crate::restore_points::{Hook, Kind, Override, RestorePoint};

use super::gate::Pending;
use super::gate_of_restore::mark;
use super::identity;
use super::machine::Machine;
use super::maintenance;

/// Whether the schema that came back is the one that the installed program needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It is.
    Program,
    /// It is that of another version: the gate stays closed.
    Other,
}

/// Has the operator's command put a point back, with the gate closed, and looks at the schema.
///
/// The services are down and the caller holds the lock.
pub fn put_back(machine: &Machine, point: &RestorePoint, foreign: Override) -> Result<Fit> {
    let spec = &machine.config.policy.restore_point;
    let Some(command) = &spec.restore_command else {
        return Err(left_to_others(machine, point));
    };
    let databases: Vec<&Database> = machine.databases.iter().map(|d| &d.database).collect();
    let databases: Vec<&Database> =
        databases.into_iter().filter(|database| schema(point, database).is_some()).collect();
    if foreign == Override::No {
        point.check_origins(&databases)?;
    }
    let before = Pending::read(&machine.layout)?;
    let of_upgrade = before.as_ref().is_some_and(|mark| !mark.is_of_restore());
    if before.is_none() {
        // Killed half way, the data is neither this nor that: nothing may start on it.
        mark(machine, point).write(&machine.layout)?;
    }
    let hook = Hook { command, limit: spec.restore_timeout };
    let identifier = point.identifier().unwrap_or_default();
    machine.progress.step(&format!("having {} put back {identifier}", command[0]));
    point.put_back_by(hook, &*machine.progress)?;
    let mut fit = Fit::Program;
    for shipped in &machine.databases {
        let Some(wanted) = schema(point, &shipped.database) else { continue };
        let wait = machine.config.policy.database_wait;
        let mut session = machine.connect_waiting(&shipped.database, wait).map_err(|error| {
            error.state(format!("{} has ended well; the gate is closed", command[0]))
        })?;
        let found = migrations::look(&mut session, &shipped.migrations)?;
        if found.current != wanted {
            return Err(other_schema(point, &shipped.database, &found.current, &wanted));
        }
        if found.state != State::Current {
            fit = Fit::Other;
        }
    }
    if !of_upgrade && fit == Fit::Program {
        Pending::clear(&machine.layout)?;
        maintenance::end(machine);
    }
    Ok(fit)
}

/// The schema that a database had when the point was made; none where the point does not hold it.
fn schema(point: &RestorePoint, database: &Database) -> Option<Option<String>> {
    let all = &point.manifest().databases;
    let own = all.iter().find(|archive| archive.name == database.name())?;
    Some(own.schema.head.clone())
}

fn left_to_others(machine: &Machine, point: &RestorePoint) -> Error {
    let identifier = point.identifier().unwrap_or_default();
    let text =
        format!("restore point {} is {identifier}, which is not ours to put back", point.id());
    Error::new(Outcome::Refused, text)
        .detail("its command made it, and there is no restore_command in the operator's upgrade.conf")
        .state("nothing was changed")
        .hint(format!(
            "Put {identifier} back with the tool that made it, while the services are down, then run \
             `{}`.",
            machine.command("migrate --status")
        ))
}

fn other_schema(
    point: &RestorePoint,
    database: &Database,
    found: &Option<String>,
    wanted: &Option<String>,
) -> Error {
    let word = |schema: &Option<String>| schema.clone().unwrap_or_else(|| "none".into());
    let text = format!(
        "{} is at schema {} and not at {}, as it was when restore point {} was made",
        database.described(),
        word(found),
        word(wanted),
        point.id()
    );
    Error::new(Outcome::Stuck, text)
        .detail("restore_command ended well, and yet this is not the data of that time")
        .state("the gate is closed; the data is what restore_command left")
        .hint("Look at `openwatch migrate --status` and at what restore_command did.")
}

/// Says how to go back to a restore point: the command to paste, or what somebody else has to do.
pub(super) fn way_back(machine: &Machine, id: &str) -> String {
    match found(machine, id) {
        Some(point) if is_left_to_others(machine, &point) => format!(
            "put back {} with the tool that made it",
            point.identifier().unwrap_or_default()
        ),
        Some(_) | None => format!("`{}`", identity::restore_command(machine, id)),
    }
}

/// Returns whether the restore point of this name is one that only somebody else can put back.
pub(super) fn is_put_back_by_others(machine: &Machine, id: &str) -> bool {
    found(machine, id).is_some_and(|point| is_left_to_others(machine, &point))
}

fn found(machine: &Machine, id: &str) -> Option<RestorePoint> {
    machine.store().and_then(|store| store.find(id)).ok()
}

/// Returns whether nobody has told us how to put a point back that a command made.
pub(super) fn is_left_to_others(machine: &Machine, point: &RestorePoint) -> bool {
    point.manifest().kind == Kind::External
        && machine.config.policy.restore_point.restore_command.is_none()
}
