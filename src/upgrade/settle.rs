//! What becomes of clones: each is turned into a dump once the services are back, and dropped once
//! that dump is proven and the last upgrade ended well. Leftovers of killed runs go.

use std::collections::BTreeSet;

use crate::database::Database;
use crate::database::clients::Clients;
use crate::database::swap::Server;
use crate::error::{Error, Result};
use crate::migrations::DataState;
use crate::restore_points::{Completing, Entry, Kind, Origin, RestorePoint, Status, Store};

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
        let sound = done.is_ok();
        if let Err(error) = done {
            let why: Vec<&str> = error.details().iter().map(String::as_str).collect();
            settled.problems.push(match why.as_slice() {
                [] => error.message(),
                why => format!("{}: {}", error.message(), why.join("; ")),
            });
        }
        sound
    };
    let store = match machine.stored() {
        Ok(Some(store)) => store,
        Ok(None) => return settled,
        Err(error) => {
            note(Err(error));
            return settled;
        }
    };
    // What is not settled may leave a point without its name for a while, and its clones must not be
    // taken for those of nobody.
    let mut sound = true;
    match store.list_mended() {
        Ok(mut entries) => {
            for name in store.remove_listed_leftovers(&mut entries).unwrap_or_default() {
                machine.progress.note(&format!("removed {name}, left by a run that was killed"));
            }
            let points: Vec<&Entry> = with_clones(&entries).collect();
            for entry in &points {
                sound &= note(settle(machine, &store, entry));
            }
            let unchanged = points.is_empty();
            settled.listed = Some(entries).filter(|_| unchanged);
        }
        Err(error) => sound = note(Err(error)),
    }
    if sound {
        note(clear_away(machine, &store));
    }
    for problem in &settled.problems {
        machine.progress.warn(problem);
    }
    settled
}

/// Returns the restore points of our own that name clones, oldest first. Those of another application
/// or host may share the directory, and their clones are theirs to settle.
fn with_clones(entries: &[Entry]) -> impl Iterator<Item = &Entry> {
    entries.iter().rev().filter(|entry| {
        let own = entry.status == Status::Good && entry.origin == Origin::Own;
        let manifest = entry.manifest.as_ref().filter(|_| own);
        manifest.is_some_and(|manifest| manifest.clones().next().is_some())
    })
}

fn settle(machine: &Machine, store: &Store, entry: &Entry) -> Result<()> {
    let point = &store.find(&entry.id)?;
    let databases: Vec<&Database> = machine.databases.iter().map(|d| &d.database).collect();
    let known = |name: &str| databases.iter().any(|database| database.name() == name);
    if !point.manifest().databases.iter().all(|archive| known(&archive.name)) {
        // A database that the package no longer has: what is there cannot be looked for.
        return Ok(());
    }
    match last_run(machine)? {
        LastRun::None | LastRun::Well => {}
        LastRun::Unread | LastRun::Open(_) => return Ok(()),
    }
    if let Some(strange) = point.strange_clone(&databases) {
        let text = format!("restore point {} names {strange:?} as its clone", point.id());
        return Err(Error::failed(text).detail("its database is not one that has such a clone"));
    }
    let there = point.clones_there(&databases)?.len();
    let pinned = entry.pin.as_ref().is_some_and(|pin| pin.holds(machine.clock.now()));
    let all = there == point.manifest().databases.len();
    match (point.manifest().kind, all, pinned) {
        (Kind::Dump | Kind::External, _, _) => drop_clones(machine, store, point, &databases),
        (Kind::Clone, true, true) => complete(machine, store, point, &databases),
        (Kind::Clone, true, false) => {
            if !spent(machine, point)? {
                return complete(machine, store, point, &databases);
            }
            drop_clones(machine, store, point, &databases)?;
            point.retire()
        }
        // It goes by the operator's word alone: `unpin`, `remove`.
        (Kind::Clone, false, true) => Ok(()),
        (Kind::Clone, false, false) => {
            point.check_servers(&databases)?;
            if there > 0 && !is_followed(machine, point)? {
                // One was put back alone; of the others nothing else was ever made.
                machine.progress.warn(&format!(
                    "what is left of restore point {id} has no dump (clones: {there}): it stays until `{}`",
                    machine.command(&format!("backup remove {}", point.id())),
                    id = point.id(),
                ));
                return Ok(());
            }
            let how_many = if there == 0 { "the clone" } else { "a clone" };
            machine.progress.note(&format!("{how_many} of {} is gone", point.id()));
            drop_clones(machine, store, point, &databases)?;
            point.retire()
        }
    }
}

fn complete(
    machine: &Machine,
    store: &Store,
    point: &RestorePoint,
    databases: &[&Database],
) -> Result<()> {
    machine.progress.step(&format!("making the dump of the clone {}", point.id()));
    let how = Completing {
        reserve: machine.config.policy.reserve,
        lock_wait: LOCK_WAIT,
        clients: Clients::default(),
    };
    let point = store.complete(point, databases, &how, &*machine.progress)?;
    machine.progress.note(&format!(
        "restore point {} is a dump now: {}, read back and hashed",
        point.id(),
        crate::disk::spoken(point.manifest().bytes)
    ));
    drop_clones(machine, store, &point, databases)
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
    let unchanged = |record: &Record| {
        record.finished.is_some()
            && record.outcome.as_deref() != Some("ok")
            && record.data == Some(DataState::Unchanged)
    };
    let needed = |record: &Record| record.way_back.as_deref() == Some(point.id());
    let Some(own) = run_of(&records, point).filter(|record| unchanged(record)) else {
        return Ok(false);
    };
    Ok(has_successor(&records, own) && !records.iter().any(needed))
}

/// Returns whether a run after that of this point ended well, with a point of its own.
fn is_followed(machine: &Machine, point: &RestorePoint) -> Result<bool> {
    let records = journal::history(&machine.layout)?;
    Ok(run_of(&records, point).is_some_and(|own| has_successor(&records, own)))
}

fn run_of<'r>(records: &'r [Record], point: &RestorePoint) -> Option<&'r Record> {
    records.iter().find(|record| record.restore_point.as_deref() == Some(point.id()))
}

fn has_successor(records: &[Record], own: &Record) -> bool {
    records.iter().any(|record| {
        record.run > own.run
            && record.taken_back.is_none()
            && record.outcome.as_deref() == Some("ok")
            && record.restore_point.is_some()
    })
}

/// Drops clones that killed runs left: made by this machine, and named by no restore point.
pub fn sweep(machine: &Machine) -> Result<()> {
    let store = machine.store()?;
    store.list_mended()?;
    clear_away(machine, &store)
}

fn clear_away(machine: &Machine, store: &Store) -> Result<()> {
    // Read only where a server has what could be a leftover.
    let mut listed: Option<BTreeSet<String>> = None;
    let history = journal::history(&machine.layout)?;
    let records: Vec<Record> = journal::read(&machine.layout)?.into_iter().chain(history).collect();
    let journaled: BTreeSet<&String> = records.iter().flat_map(|record| &record.clones).collect();
    let needed = needed(&records);
    let all = machine.databases.iter().map(|shipped| &shipped.database);
    for database in all.filter(|database| database.file().is_none()) {
        let mut server = Server::beside(database)?;
        for found in server.clones_of(database.dbname())? {
            let name = found.name.as_str();
            let mark = store.clone_mark(database.dbname());
            // Another host may keep clones of the same database; only what says that it is ours, or
            // what our journal says that we were about to make, is ours.
            let ours = found.mark.map_or(journaled.contains(&found.name), |own| own == mark);
            if !ours || needed.contains(name) {
                continue;
            }
            let named = match &mut listed {
                Some(named) => named,
                none => none.insert(store.named_clones()?),
            };
            if !named.contains(name) {
                server.drop_fresh(name)?;
                machine.progress.note(&format!("dropped {name}, left by a run that was killed"));
            }
        }
    }
    Ok(())
}

/// Returns the clones of restore points that runs published which did not end well, back to the last
/// one that did: where their directory is not there now, such as on a disk that is not mounted, they
/// are the way back all the same.
fn needed(newest_first: &[Record]) -> BTreeSet<&str> {
    let open = newest_first.iter().take_while(|record| record.outcome.as_deref() != Some("ok"));
    let published = open.filter(|record| record.restore_point.is_some());
    published.flat_map(|record| record.clones.iter().map(String::as_str)).collect()
}
