//! A restore point made of clones: the locks of the run are let go for it, taken again, and what was
//! decided is looked at again.

use crate::database::{Database, DatabaseLock, clone};
use crate::error::{Error, Result};
use crate::migrations;
use crate::restore_points::{self, Request, RestorePoint};
use crate::system::signals;

use super::journal::Journal;
use super::locks::WAIT;
use super::machine::Machine;
use super::settle;
use super::stop_services::Quiesced;
use super::survey::Survey;

/// A restore point, or in words why no clone could be made; then the data and the locks are as before.
pub(super) type Taken = std::result::Result<RestorePoint, String>;

/// Clones the databases of the request and publishes them as a restore point.
pub(super) fn take(
    machine: &Machine,
    survey: &Survey<'_>,
    request: &Request<'_>,
    quiet: &mut Quiesced,
    journal: &mut Journal,
) -> Result<Taken> {
    let databases: Vec<&Database> =
        request.databases.iter().map(|target| target.database).collect();
    settle::sweep(machine)?;
    let found = restore_points::obstacles(&databases, request.reserve)?;
    if !found.is_empty() {
        return Ok(Err(found.join("; ")));
    }
    let own: Vec<i32> = quiet.locks.iter().map(DatabaseLock::backend).collect();
    for database in &databases {
        if let Err(why) = clone::check_alone(database, &own)? {
            return Ok(Err(why));
        }
    }
    let store = machine.store()?;
    let names = store.clone_names(request)?;
    // Before the first of them is made: whatever a kill leaves is known by this.
    journal.clones(&names)?;
    // A lock is a session in the database, and the server copies none that has one. Who else takes
    // the lock meanwhile is seen right after, and nothing is migrated then.
    quiet.locks.clear();
    let copied = store.copy(request, &names, &*machine.progress);
    lock_again(machine, survey, quiet)?;
    let published =
        copied.and_then(|copied| store.publish_clones(copied, request, &*machine.progress));
    match published {
        Ok(point) => Ok(Ok(point)),
        Err(error) if signals::received().is_some() => Err(error),
        Err(error) => {
            let why = [error.message()].into_iter().chain(error.details().iter().cloned());
            Ok(Err(why.collect::<Vec<_>>().join(": ")))
        }
    }
}

/// Takes the locks of the databases to migrate again, and looks again at what was decided upon.
fn lock_again(machine: &Machine, survey: &Survey<'_>, quiet: &mut Quiesced) -> Result<()> {
    for surveyed in survey.databases.iter().filter(|d| !d.comparison.pending.is_empty()) {
        let lock = DatabaseLock::acquire(surveyed.database, "upgrade", WAIT)?;
        quiet.locks.push(lock.on_blockers(machine.on_blockers));
    }
    for surveyed in survey.databases.iter().filter(|d| !d.comparison.pending.is_empty()) {
        let mut session = surveyed.database.connect()?;
        if migrations::look(&mut session, surveyed.shipped)? != surveyed.comparison {
            let name = surveyed.database.described();
            return Err(Error::failed(format!(
                "somebody else migrated {name} while its clone was made"
            ))
            .hint("Look at `openwatch migrate --status`, then run this again."));
        }
    }
    Ok(())
}
