//! The data half: whether it has to go back, and whether it is back.

use crate::error::Result;
use crate::migrations::{self, DataState, State};
use crate::restore_points::RestorePoint;

use super::super::journal::{self, Direction, Record};
use super::super::machine::Machine;

/// Returns whether every database has the schema that the older version left it with.
///
/// The restore point says which that was; of a database that it does not hold, nothing was pending.
/// Without a point the record of the upgrade says it.
pub fn is_as_before(
    machine: &Machine,
    run: Option<&Record>,
    point: Option<&RestorePoint>,
) -> Result<bool> {
    let untouched = run.is_some_and(|run| run.data == Some(DataState::Unchanged));
    for shipped in &machine.databases {
        let name = shipped.database.name();
        let in_point = point.and_then(|point| {
            point.manifest().databases.iter().find(|archive| archive.name == name)
        });
        let noted = || run?.baseline.as_ref()?.databases.get(name);
        let before = in_point
            .map(|archive| &archive.schema.head)
            .or_else(|| noted().map(|noted| &noted.schema));
        let before = match before {
            Some(before) => before,
            None if point.is_some() => continue,
            None => return Ok(false),
        };
        // Which version a tool says it is at does not tell what it left half done.
        if shipped.migrations.command().is_some() && !untouched {
            return Ok(false);
        }
        let mut session = shipped.database.connect()?;
        if migrations::look(&mut session, &shipped.migrations)?.current != *before {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns whether the schema of any database is no longer the one that this restore point brought.
///
/// Of a tool only another version tells something; what cannot be compared has not moved.
pub fn has_moved_on(machine: &Machine, id: &str) -> Result<bool> {
    let Some(point) = machine.stored()?.and_then(|store| store.find(id).ok()) else {
        return Ok(false);
    };
    for shipped in &machine.databases {
        let mut archives = point.manifest().databases.iter();
        let Some(archive) = archives.find(|archive| archive.name == shipped.database.name()) else {
            continue;
        };
        let mut session = shipped.database.connect()?;
        let found = migrations::look(&mut session, &shipped.migrations)?.current;
        let told = shipped.migrations.command().is_none() || found.is_some();
        if told && found != archive.schema.head {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns whether the data is as before the upgrade that made this restore point, which is gone by
/// now: what the upgrade had noted is asked. Where nothing can be compared, the restore that was begun
/// is believed.
pub fn was_led_back_by(machine: &Machine, id: &str) -> Result<bool> {
    let made = |run: &Record| {
        run.direction == Direction::Forward && run.restore_point.as_deref() == Some(id)
    };
    let run = journal::history(&machine.layout)?.into_iter().find(made);
    let Some(noted) = run.and_then(|run| run.baseline) else { return Ok(true) };
    for shipped in &machine.databases {
        let Some(before) = noted.databases.get(shipped.database.name()) else { continue };
        if shipped.migrations.command().is_some() {
            continue;
        }
        let mut session = shipped.database.connect()?;
        if migrations::look(&mut session, &shipped.migrations)?.current != before.schema {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns what is wrong with the schema for the installed program; nothing where both agree.
pub fn disagreement(machine: &Machine) -> Result<Option<String>> {
    for shipped in &machine.databases {
        let wait = machine.config.policy.database_wait;
        let mut session = machine.connect_waiting(&shipped.database, wait)?;
        let found = migrations::look_for_pending(&mut session, &shipped.migrations)?;
        match found.state {
            State::Current | State::Empty => {}
            // A tool that cannot be asked says nothing, neither yes nor no.
            State::Unknown if found.problems.is_empty() => {}
            State::Pending | State::Ahead | State::Divergent | State::Missing | State::Unknown => {
                return Ok(Some(format!(
                    "the schema of {} is {} for program {}",
                    shipped.database.described(),
                    found.state.word(),
                    machine.version
                )));
            }
        }
    }
    Ok(None)
}
