//! A rehearsal: what is pending is applied to a copy of the operator's own data, and measured.
//!
//! The real database is only dumped from, and not even that where a restore point is given. Nothing of
//! a rehearsal stays: a run that is killed leaves a scratch database and a directory, both known by
//! name, mark and a lock that died with it, and the next one removes them.

mod database;
mod downtime;
mod notes;
mod tool;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::config::secrets;
use crate::database::clients::Clients;
use crate::database::{Database, DatabaseLock, Source as Connection, scratch};
use crate::disk;
use crate::error::{Error, Result};
use crate::migrations::State;
use crate::outcome::Outcome;
use crate::restore_points::{
    Reason, Request, RestorePoint, Room, SchemaNote, ScratchStore, Target,
};
use crate::system::clock;
use crate::system::lock::FileLock;
use crate::system::signals;

use super::create_restore_point::LOCK_WAIT;
use super::identity::must_open;
use super::journal;
use super::machine::{Machine, Shipped};
use super::plan::{self, Decision};
use super::survey::{self, Survey, Surveyed};
use database::told;
pub use database::{Rehearsed, RowChange};
use downtime::expect;
pub use downtime::{Downtime, Part};
pub use notes::{Noted, Rewrite};

/// How often a dump looks whether it stands in the way of an upgrade.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// What is told in the place of a signal when a dump gives way.
const UPGRADE: &str = "the beginning of an upgrade";

/// What the copy is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From<'a> {
    /// A restore point that is taken for this, and removed.
    Fresh,
    /// A restore point that is there.
    Point(&'a str),
}

/// What is rehearsed, and where.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// What the copy is made from.
    pub from: From<'a>,
    /// Variable with the connection string of another server that shall bear the load.
    pub server_env: Option<&'a str>,
}

/// What a rehearsal showed.
#[derive(Debug)]
pub struct Report {
    /// The restore point that was loaded; none where every database is empty.
    pub point: Option<PointNote>,
    /// Each database that something is pending for.
    pub databases: Vec<Rehearsed>,
    /// What the upgrade will take.
    pub downtime: Downtime,
}

/// The restore point of a rehearsal.
#[derive(Debug)]
pub struct PointNote {
    /// Its name.
    pub id: String,
    /// Bytes of its archives.
    pub bytes: u64,
    /// How long it took to make.
    pub duration: Duration,
    /// Whether it was taken for this, and removed.
    pub fresh: bool,
}

/// Rehearses what is pending; nothing where nothing is.
pub fn run(machine: &Machine, wanted: &Wanted<'_>) -> Result<Option<Report>> {
    let _lock = FileLock::try_lock(&machine.layout.rehearsal_lock(), "rehearsal")?;
    let places = places(machine, wanted.server_env)?;
    sweep(machine, &places)?;
    let report = match wanted.from {
        From::Fresh => fresh(machine, &places),
        From::Point(id) => given(machine, &places, id).map(Some),
    };
    report.map_err(told)
}

/// Removes what rehearsals that were killed left; what cannot be looked for now is looked for next time.
pub fn remove_leftovers(machine: &Machine) {
    remove_copies(machine);
    let stored = machine.stored().ok().flatten();
    for name in stored.and_then(|s| s.remove_scratch_leftovers().ok()).unwrap_or_default() {
        machine.progress.note(&format!("removed {name}, left by a run that was killed"));
    }
}

/// The same for databases only.
pub fn remove_copies(machine: &Machine) {
    for Shipped { database, .. } in &machine.databases {
        for name in scratch::drop_scratch_leftovers(database, database).unwrap_or_default() {
            machine.progress.note(&format!("removed {name}, left by a run that was killed"));
        }
    }
}

fn sweep(machine: &Machine, places: &[Database]) -> Result<()> {
    let mut gone = Vec::new();
    for (shipped, place) in machine.databases.iter().zip(places) {
        gone.extend(scratch::drop_scratch_leftovers(&shipped.database, place)?);
    }
    if let Some(store) = machine.stored()? {
        gone.extend(store.remove_scratch_leftovers()?);
    }
    for name in gone {
        machine.progress.note(&format!("removed {name}, left by a run that was killed"));
    }
    Ok(())
}

/// Returns the server of each database's copy: its own, or the one that the operator names.
fn places(machine: &Machine, variable: Option<&str>) -> Result<Vec<Database>> {
    let Some(variable) = variable else {
        return Ok(machine.databases.iter().map(|shipped| shipped.database.clone()).collect());
    };
    let file = machine.layout.secrets();
    let kept = secrets::load(&file)?.values.remove(variable);
    let conninfo = kept.or_else(|| std::env::var(variable).ok()).filter(|text| !text.is_empty());
    let conninfo = conninfo.ok_or_else(|| {
        Error::config(format!("{variable} is not set, so there is no other server"))
            .state("nothing was changed")
            .hint(format!("Set {variable} in {} or in the environment.", file.display()))
    })?;
    let home = std::env::var("HOME").ok().map(|home| ("HOME".to_owned(), home));
    let connection = |name: &str| Connection {
        name: name.to_owned(),
        conninfo: Some(conninfo.clone()),
        environment: home.iter().cloned().collect(),
        ..Connection::default()
    };
    // A file is copied beside itself: no server could bear that load.
    let place = |shipped: &Shipped| match shipped.database.file() {
        Some(_) => Ok(shipped.database.clone()),
        None => Database::resolve(&connection(shipped.database.name())),
    };
    machine.databases.iter().map(place).collect()
}

fn fresh(machine: &Machine, places: &[Database]) -> Result<Option<Report>> {
    let survey = survey::take(machine, None)?;
    match plan::decide(&survey, &machine.config) {
        Decision::Refuse(error) => return Err(error),
        Decision::NothingPending => return Ok(None),
        Decision::Upgrade(_) => {}
    }
    let pending: Vec<(&Surveyed<'_>, &Shipped, &Database)> = survey
        .databases
        .iter()
        .zip(machine.databases.iter().zip(places))
        .map(|(surveyed, (shipped, place))| (surveyed, shipped, place))
        .filter(|(surveyed, ..)| !surveyed.comparison.pending.is_empty())
        .collect();
    for (surveyed, _, place) in &pending {
        let size = surveyed.facts.size;
        let largest = scratch::largest_table(surveyed.database)?.unwrap_or(size);
        check_room(machine, place, size.saturating_add(largest))?;
    }
    let stamp = clock::stamp(machine.clock.now());
    // Dropped last, and with it the restore point.
    let taken = take_point(machine, &survey, &stamp)?;
    let point = taken.as_ref().map(|(_, point)| point);
    let mut databases = Vec::new();
    for (surveyed, shipped, place) in pending {
        let point = point.filter(|_| surveyed.comparison.state != State::Empty);
        databases.push(database::run(machine, shipped, point, place, &stamp)?);
    }
    let source = "measured now, with the services running";
    Ok(Some(report(machine, point, databases, source, true)?))
}

fn given(machine: &Machine, places: &[Database], id: &str) -> Result<Report> {
    let store = machine.stored()?.ok_or_else(|| {
        Error::new(Outcome::Refused, "there is no restore point")
            .hint(format!("Run `{}`.", machine.command("rehearse --fresh")))
    })?;
    let point = store.find(id)?;
    must_open(machine, &point, &format!("rehearse --from-backup {}", point.id()))?;
    point.check(&*machine.progress)?;
    let stamp = clock::stamp(machine.clock.now());
    let mut databases = Vec::new();
    for (shipped, place) in machine.databases.iter().zip(places) {
        let archives = &point.manifest().databases;
        let archive = archives.iter().find(|archive| archive.name == shipped.database.name());
        let Some(archive) = archive else { continue };
        check_room(machine, place, archive.database_bytes.saturating_mul(2))?;
        databases.push(database::run(machine, shipped, Some(&point), place, &stamp)?);
    }
    let source = format!("as restore point {} took", point.id());
    report(machine, Some(&point), databases, &source, false)
}

fn report(
    machine: &Machine,
    point: Option<&RestorePoint>,
    databases: Vec<Rehearsed>,
    source: &str,
    fresh: bool,
) -> Result<Report> {
    let took = |point: &RestorePoint| Duration::from_millis(point.manifest().duration_ms);
    let part = Part {
        what: "restore point",
        time: Some(point.map(took).unwrap_or_default()),
        source: match point {
            Some(_) => source.to_owned(),
            None => "none is needed: the database is empty".into(),
        },
    };
    let migrations = databases.iter().map(|rehearsed| rehearsed.duration).sum();
    let history = journal::history(&machine.layout)?;
    let point = point.map(|point| PointNote {
        id: point.id().to_owned(),
        bytes: point.manifest().bytes,
        duration: took(point),
        fresh,
    });
    Ok(Report { point, databases, downtime: expect(&history, part, migrations) })
}

/// Refuses where the server's disk is known and has no room for the copy and a rewrite in it.
fn check_room(machine: &Machine, place: &Database, needed: u64) -> Result<()> {
    let Some(room) = Room::beside(place)? else {
        machine.progress.note(&format!(
            "about {} are needed on the server's disk; how much is free there is not known",
            disk::spoken(needed)
        ));
        return Ok(());
    };
    let Room { dir, free } = room;
    let reserve = machine.config.policy.reserve;
    if free.bytes >= needed.saturating_add(reserve) {
        return Ok(());
    }
    let shown = dir.display();
    Err(Error::new(Outcome::Refused, format!("not enough free space for a rehearsal in {shown}"))
        .detail(format!(
            "about {} needed for a copy and a rewritten table, {} kept free, {} free",
            disk::spoken(needed),
            disk::spoken(reserve),
            disk::spoken(free.bytes)
        ))
        .hint("Free some space there, or name another server with `--server-env VARIABLE`."))
}

/// Takes the restore point of all databases with something pending; none where all are empty.
fn take_point(
    machine: &Machine,
    survey: &Survey<'_>,
    stamp: &str,
) -> Result<Option<(ScratchStore, RestorePoint)>> {
    let dumped = survey
        .databases
        .iter()
        .filter(|d| !d.comparison.pending.is_empty() && d.comparison.state != State::Empty);
    let targets: Vec<Target<'_>> = dumped
        .map(|d| Target {
            database: d.database,
            schema: SchemaNote {
                head: d.comparison.current.clone(),
                applied: d.applied_versions(),
            },
        })
        .collect();
    if targets.is_empty() {
        return Ok(None);
    }
    let databases: Vec<&Database> = targets.iter().map(|target| target.database).collect();
    let store = machine.store()?;
    let reserve = machine.config.policy.reserve;
    store.estimate(&databases)?.check(&store, reserve)?;
    let scratch = store.scratch(stamp)?;
    machine.progress.step("taking a restore point for the rehearsal; services keep running");
    let request = Request {
        reason: Reason::Manual,
        from_version: survey.from.clone(),
        to_version: Some(survey.version.clone()),
        databases: targets,
        reserve,
        lock_wait: LOCK_WAIT,
        clock: machine.clock,
        clients: Clients::default(),
    };
    let point = giving_way(&databases, || scratch.store().create(&request, &*machine.progress))?;
    Ok(Some((scratch, point)))
}

/// Dumps while nobody upgrades: the locks of a dump would hold up the migrations of an upgrade, on this
/// machine or on another one that shares the database.
fn giving_way<T>(databases: &[&Database], dump: impl FnOnce() -> Result<T>) -> Result<T> {
    let mut sessions = Vec::new();
    for database in databases {
        sessions.push(database.connect()?);
    }
    let upgrades = |sessions: &mut Vec<crate::database::Session>| {
        sessions.iter_mut().any(|session| matches!(DatabaseLock::is_taken(session), Ok(true)))
    };
    if upgrades(&mut sessions) {
        return Err(busy("an upgrade is under way, and a dump would hold it up"));
    }
    let gave_way = AtomicBool::new(false);
    let (stop, stopped): (_, Receiver<()>) = mpsc::channel();
    let result = std::thread::scope(|scope| {
        let gave_way = &gave_way;
        scope.spawn(move || {
            while stopped.recv_timeout(BETWEEN_LOOKS) == Err(RecvTimeoutError::Timeout) {
                if upgrades(&mut sessions) {
                    gave_way.store(true, Ordering::SeqCst);
                    signals::ask(UPGRADE);
                    return;
                }
            }
        });
        // Dropped at the end of this closure, even by a panic: that ends the other thread.
        let _stop = stop;
        dump()
    });
    // Also where the dump was done by then: what follows would find that we were asked to stop.
    if gave_way.load(Ordering::SeqCst) {
        return Err(busy("an upgrade began, and the dump of the rehearsal gave way to it"));
    }
    result
}

fn busy(why: &str) -> Error {
    Error::new(Outcome::Busy, why)
        .hint("Run it again when the upgrade is done, or rehearse from a restore point with `--from-backup`.")
}
