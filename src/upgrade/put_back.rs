//! Puts the data of a restore point back, as a step of a run.

use crate::config::ForeignSessions;
use crate::database::Database;
use crate::database::clients::Clients;
use crate::database::lacking::Owners;
use crate::error::Result;
use crate::restore_points::{self, Kind, Override, RestoreOptions, RestorePoint, Restored};

use super::appliance;
use super::external;
use super::journal::Journal;
use super::machine::Machine;
use super::recover;
use super::step::Step;

/// Puts the data back with every unit down; returns what became of the former data, where we did it
/// and not a command of the operator.
pub fn run(machine: &Machine, journal: &mut Journal, id: &str) -> Result<Option<Restored>> {
    journal.begun(Step::Restore, id)?;
    let _awake = recover::awake(machine);
    let point = machine.store()?.find(id)?;
    if point.manifest().kind == Kind::External {
        external::put_back(machine, &point, Override::No)?;
        journal.done(Step::Restore, id)?;
        return Ok(None);
    }
    let databases = databases(machine, &point)?;
    let options = RestoreOptions {
        foreign: appliance::origin(machine),
        sessions: ForeignSessions::End,
        clock: machine.clock,
        owners: Owners::Kept,
        clients: Clients::default(),
    };
    let restored = restore_points::restore(&point, &databases, &options, &*machine.progress)?;
    journal.done(Step::Restore, id)?;
    Ok(Some(restored))
}

/// The databases that the point holds; of a clone those whose clone is still there, because one that
/// was put back before a kill has become the database.
fn databases<'m>(machine: &'m Machine, point: &RestorePoint) -> Result<Vec<&'m Database>> {
    let held = |name: &str| point.manifest().databases.iter().any(|a| a.name == name);
    let all = machine.databases.iter().map(|shipped| &shipped.database);
    let all: Vec<&Database> = all.filter(|database| held(database.name())).collect();
    if point.manifest().kind != Kind::Clone {
        return Ok(all);
    }
    let there = point.clones_there(&all)?;
    let left: Vec<&Database> =
        all.iter().copied().filter(|d| there.iter().any(|(name, _)| name == d.name())).collect();
    // None at all is said by the restore itself.
    Ok(if left.is_empty() { all } else { left })
}
