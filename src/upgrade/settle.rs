//! What becomes of clones: each is turned into a dump once the services are back, and dropped once
//! that dump is proven and the last upgrade ended well. Leftovers of killed runs go.

use std::collections::BTreeSet;

use crate::database::Database;
use crate::database::clients::Clients;
use crate::database::swap::Server;
use crate::error::Result;
use crate::migrations::DataState;
use crate::restore_points::{Completing, Entry, Kind, RestorePoint, Status, Store};

use super::create_restore_point::LOCK_WAIT;
use super::journal::{self, Record};
use super::machine::Machine;
use super::needed::{LastRun, last_run};

/// What settling came to.
#[derive(Default)]
pub struct Settled {
    /// What could not be done.
    pub problems: Vec<String>,
    /// The backup directory as it was listed, where nothing in it could have changed since.
    pub listed: Option<Vec<Entry>>,
}

/// Makes the dumps that clones still lack, drops the clones that nothing needs any more, and removes
/// what killed runs left; returns what could not be done.
///
/// The caller holds the lock that upgrades and restores share.
pub fn run(machine: &Machine) -> Settled {
    let mut settled = Settled::default();
    let mut note = |done: Result<()>| {
        if let Err(error) = done {
            let why: Vec<&str> = error.details().iter().map(String::as_str).collect();
            settled.problems.push(match why.as_slice() {
                [] => error.message(),
                why => format!("{}: {}", error.message(), why.join("; ")),
            });
        }
    };
    let store = match machine.stored() {
        Ok(Some(store)) => store,
        Ok(None) => return settled,
        Err(error) => {
            note(Err(error));
            return settled;
        }
    };
    note(store.mend_exchanges());
    match store.list() {
        Ok(entries) => {
            let points = with_clones(&entries);
            points.iter().for_each(|id| {
                note(store.find(id).and_then(|point| settle(machine, &store, &point)));
            });
            settled.listed = Some(entries).filter(|_| points.is_empty());
        }
        Err(error) => note(Err(error)),
    }
    note(sweep(machine));
    for problem in &settled.problems {
        machine.progress.warn(problem);
    }
    settled
}

/// Returns the restore points that name clones, oldest first.
fn with_clones(entries: &[Entry]) -> Vec<String> {
    let named = |entry: &&Entry| {
        let manifest = entry.manifest.as_ref().filter(|_| entry.status == Status::Good);
        manifest.is_some_and(|manifest| manifest.clones().next().is_some())
    };
    entries.iter().rev().filter(named).map(|entry| entry.id.clone()).collect()
}

fn settle(machine: &Machine, store: &Store, point: &RestorePoint) -> Result<()> {
    let databases: Vec<&Database> = machine.databases.iter().map(|d| &d.database).collect();
    let known = |name: &str| databases.iter().any(|database| database.name() == name);
    if !point.manifest().databases.iter().all(|archive| known(&archive.name)) {
        // A database that the package no longer has: what is there cannot be looked for.
        return Ok(());
    }
    let well = match last_run(machine)? {
        LastRun::None | LastRun::Well => true,
        LastRun::Unread | LastRun::Open(_) => false,
    };
    let there = point.clones_there(&databases)?;
    match point.manifest().kind {
        Kind::Clone if there.is_empty() => {
            machine.progress.note(&format!("the clone {} is gone", point.id()));
            point.retire()
        }
        _ if !well || there.is_empty() => Ok(()),
        Kind::Clone => {
            if spent(machine, point)? {
                drop_clones(machine, store, point, &databases)?;
                return point.retire();
            }
            machine.progress.step(&format!("making the dump of the clone {}", point.id()));
            let how = Completing {
                reserve: machine.config.policy.reserve,
                lock_wait: LOCK_WAIT,
                clients: Clients::default(),
            };
            let point = store.complete(point, &databases, &how, &*machine.progress)?;
            machine.progress.note(&format!(
                "restore point {} is a dump now: {}, read back and hashed",
                point.id(),
                crate::disk::spoken(point.manifest().bytes)
            ));
            drop_clones(machine, store, &point, &databases)
        }
        Kind::Dump | Kind::External => drop_clones(machine, store, point, &databases),
    }
}

fn drop_clones(
    machine: &Machine,
    store: &Store,
    point: &RestorePoint,
    databases: &[&Database],
) -> Result<()> {
    for name in store.drop_clones(point, databases)? {
        machine.progress.note(&format!("dropped the clone {name}"));
    }
    Ok(())
}

/// A failed attempt that left the data as it was needs no dump of its own: a later attempt ended well,
/// and made a point of the same data.
fn spent(machine: &Machine, point: &RestorePoint) -> Result<bool> {
    let records = journal::history(&machine.layout)?;
    let of_point = |record: &&Record| record.restore_point.as_deref() == Some(point.id());
    let unchanged = |record: &Record| {
        record.finished.is_some()
            && record.outcome.as_deref() != Some("ok")
            && record.data == Some(DataState::Unchanged)
    };
    let Some(own) = records.iter().find(of_point).filter(|record| unchanged(record)) else {
        return Ok(false);
    };
    let needed = |record: &Record| record.way_back.as_deref() == Some(point.id());
    let later = records.iter().any(|record| {
        record.run > own.run
            && record.outcome.as_deref() == Some("ok")
            && record.restore_point.is_some()
    });
    Ok(later && !records.iter().any(needed))
}

/// Drops clones that killed runs left: made by this machine, and named by no restore point.
pub fn sweep(machine: &Machine) -> Result<()> {
    let store = machine.store()?;
    // Read only where a server has what could be a leftover.
    let mut listed: Option<Vec<Entry>> = None;
    let mut journaled: BTreeSet<String> = BTreeSet::new();
    let records = journal::history(&machine.layout)?;
    for record in records.into_iter().chain(journal::read(&machine.layout)?) {
        journaled.extend(record.clones);
    }
    for database in machine.databases.iter().map(|shipped| &shipped.database) {
        let mut server = Server::beside(database)?;
        for found in server.clones_of(database.dbname())? {
            let mark = store.clone_mark(database.dbname());
            // Another host may keep clones of the same database; only what says that it is ours, or
            // what our journal says that we were about to make, is ours.
            let ours = found.mark.map_or(journaled.contains(&found.name), |own| own == mark);
            if !ours {
                continue;
            }
            let entries = match &mut listed {
                Some(entries) => entries,
                none => none.insert(store.list()?),
            };
            let manifests = entries.iter().filter_map(|entry| entry.manifest.as_ref());
            if !manifests.flat_map(|manifest| manifest.clones()).any(|name| name == found.name) {
                server.drop_fresh(&found.name)?;
                machine
                    .progress
                    .note(&format!("dropped {}, left by a run that was killed", found.name));
            }
        }
    }
    Ok(())
}
