//! An appliance with a separate data disk: whole system images hand the disk on to each other.
//!
//! What belongs to the data lies on the disk: whose disk it is ([`marker`]), who has it ([`lease`]),
//! whose version the data is and what an upgrade did to it ([`state`]), the restore points. What belongs
//! to a run (mark, journal, history) stays with the system that ran. [`decide`] tells a system that
//! finds the disk what it is to do; it is pure. docs/design/0034 says why it is cut like this.

pub mod attach;
pub mod decide;
mod going_back;
pub mod lease;
pub mod marker;
mod past;
pub mod prepare;
pub mod signature;
pub mod state;

use std::path::{Path, PathBuf};

use crate::config::Appliance;
use crate::disk;
use crate::error::{Error, Result};
use crate::migrations::{self, DataState, State};
use crate::outcome::Outcome;
use crate::services::Unit;
use crate::system::clock;

use super::gate::Pending;
use super::hold::Timing;
use super::journal::{Direction, Record};
use super::machine::Machine;
use super::recover;
use super::{Again, Success};
use crate::restore_points::Override;

use self::decide::Arrival;
use self::past::Since;
use self::state::{DiskState, Phase};

/// The data disk of this machine, attached and known.
#[derive(Debug)]
pub struct DataDisk {
    /// Where it is mounted.
    pub point: PathBuf,
    /// The directory on it that is ours.
    pub dir: PathBuf,
}

/// Returns the data disk where the application has one; refuses where it is not attached.
pub fn data_disk(machine: &Machine) -> Result<Option<DataDisk>> {
    let Some(appliance) = &machine.config.appliance else { return Ok(None) };
    let disk = DataDisk { point: appliance.data_disk.clone(), dir: appliance.dir(&machine.layout) };
    // Below another root nothing is mounted: images are built there, and tests run there.
    if machine.layout.is_live() && disk::mounted_at(&disk.point).is_none() {
        return Err(absent(machine, appliance));
    }
    Ok(Some(disk))
}

/// Refuses where the data disk is away, or is there and was not taken; changes nothing.
pub fn check_taken(machine: &Machine) -> Result<()> {
    let Some(disk) = data_disk(machine)? else { return Ok(()) };
    if machine.layout.attached_disk().exists() {
        return Ok(());
    }
    Err(Error::new(Outcome::Refused, "the data disk is attached and was not taken")
        .detail(format!("at {}; its unit is {}", disk.point.display(), machine.layout.disk_unit()))
        .state("nothing was changed; the services do not start")
        .hint(format!("Run `{}`, which says why.", machine.command("disk attach"))))
}

fn absent(machine: &Machine, appliance: &Appliance) -> Error {
    let point = appliance.data_disk.display();
    Error::new(Outcome::Refused, "the data disk is not attached")
        .detail(format!("nothing is mounted at {point}"))
        .state(format!(
            "nothing was changed; {} does not start without the disk, and starts by itself when it \
             is mounted",
            machine.layout.app()
        ))
        .hint(format!("Attach the disk, or run `mount {point}`."))
}

/// What a run of the engine does next.
pub(super) enum Course {
    /// The upgrade of this machine, as ever.
    Usual,
    /// The data was put back, and the services run.
    WentBack(Box<Success>),
}

/// Looks at what the disk says before a run decides anything; the caller holds the lock.
///
/// Forward, the disk says so durably before the first change: whoever gets it next knows that this
/// version has tried.
pub(super) fn begin(machine: &Machine, again: Again) -> Result<Course> {
    let Some(disk) = data_disk(machine)? else { return Ok(Course::Usual) };
    attach::make_sure(machine, &disk)?;
    let state = DiskState::read(&disk.dir)?;
    let mark = Pending::read(&machine.layout)?;
    let arrival = decide::arrival(&machine.version, state.as_ref(), mark.as_ref());
    if arrival == Arrival::Forward && again == Again::No {
        within_window(machine, state.as_ref())?;
    }
    match (arrival, again) {
        (Arrival::Home, _) => Ok(Course::Usual),
        (Arrival::Forward, _)
        | (Arrival::Tried | Arrival::Unprepared, Again::Yes | Again::Adopting) => {
            let mut state = state.unwrap_or_else(|| DiskState::new(machine));
            // Before the disk says that this version begins: that hides which attempt it told of.
            past::set_aside(machine, &state, Since::Ours)?;
            state.begin(machine, running(machine, mark.as_ref())?);
            state.write(&disk.dir)?;
            Ok(Course::Usual)
        }
        (Arrival::Back(back), again) => {
            // Going back that failed, or is cut off again and again, is not tried at each boot.
            match again {
                Again::No => going_back::admit(machine)?,
                Again::Yes | Again::Adopting => recover::attempts::forget(machine)?,
            }
            let success = going_back::run(machine, &disk, &back)?;
            Ok(Course::WentBack(Box::new(success)))
        }
        (arrival @ (Arrival::Tried | Arrival::Unprepared | Arrival::Newer(_)), _) => {
            Err(arrival.refusal(machine, state.as_ref()))
        }
    }
}

/// Returns the units that ran: by the mark, or those that run now.
fn running(machine: &Machine, mark: Option<&Pending>) -> Result<Vec<String>> {
    if let Some(known) =
        mark.and_then(|mark| mark.running.clone()).filter(|known| !known.is_empty())
    {
        return Ok(known);
    }
    let units = machine.services.look(&machine.config.app.services)?;
    Ok(units.into_iter().filter(Unit::is_up).map(|unit| unit.name).collect())
}

/// Refuses to begin behind the window that was agreed; what has begun is finished at any time.
fn within_window(machine: &Machine, state: Option<&DiskState>) -> Result<()> {
    let upgrade = state.and_then(|state| state.upgrade.as_ref());
    let waiting = upgrade.filter(|upgrade| upgrade.phase == Phase::Prepared);
    let Some(until) = waiting.and_then(|upgrade| upgrade.window_until.as_deref()) else {
        return Ok(());
    };
    let over = clock::parse_rfc3339(until).is_some_and(|until| until < machine.clock.now());
    if !over || machine.timing == Timing::Now {
        return Ok(());
    }
    let now = machine.command("upgrade --now");
    Err(Error::new(Outcome::Refused, format!("the agreed window is over since {until}"))
        .state("nothing was changed; the gate is closed")
        .hint(format!("Give the disk back to the old system, or run `{now}`.")))
}

/// Goes back to what the disk's data was before another version tried, because a person says so.
pub(super) fn undo(machine: &Machine) -> Result<Option<Success>> {
    let Some(disk) = data_disk(machine)? else { return Ok(None) };
    attach::make_sure(machine, &disk)?;
    let state = DiskState::read(&disk.dir)?;
    let mark = Pending::read(&machine.layout)?;
    match decide::arrival(&machine.version, state.as_ref(), mark.as_ref()) {
        Arrival::Back(back) | Arrival::Newer(back) => {
            recover::attempts::forget(machine)?;
            going_back::run(machine, &disk, &back).map(Some)
        }
        Arrival::Forward | Arrival::Tried | Arrival::Unprepared => {
            if let Some(state) = &state {
                past::set_aside(machine, state, Since::Ours)?;
            }
            Ok(None)
        }
        Arrival::Home => Ok(None),
    }
}

/// Notes the restore point of the run on the disk, before anything is migrated: the system that gets
/// the disk next goes back by it.
pub(super) fn secured(machine: &Machine, record: &Record) -> Result<()> {
    let Some(disk) = data_disk(machine)? else { return Ok(()) };
    let Some(mut state) = DiskState::read(&disk.dir)? else { return Ok(()) };
    if let Some(upgrade) = &mut state.upgrade
        && upgrade.phase == Phase::Begun
    {
        if upgrade.way_back.is_none() {
            upgrade.way_back = record.first_point().map(str::to_owned);
        }
        upgrade.newest_point.clone_from(&record.restore_point);
        state.write(&disk.dir)?;
    }
    Ok(())
}

/// Notes on the disk that its data is as it was before the upgrade, before anything is started on it:
/// from there on somebody writes, and nobody may put the same point back a second time by himself.
pub(super) fn data_is_back(machine: &Machine, record: &Record) -> Result<()> {
    let Some(disk) = data_disk(machine)? else { return Ok(()) };
    let Some(mut state) = DiskState::read(&disk.dir)? else { return Ok(()) };
    let Some(upgrade) = &mut state.upgrade else { return Ok(()) };
    let ours = upgrade.to.as_ref().is_some_and(|to| to.order(&machine.version).is_eq());
    match upgrade.phase {
        // An upgrade to this version that proved its health is not what was undone.
        Phase::Done if ours => Ok(()),
        // Where it began is not where the first attempt began.
        Phase::Begun | Phase::Failed if ours && !upgrade.is_first(record) => Ok(()),
        Phase::Begun | Phase::Failed | Phase::Done => {
            upgrade.data = Some(DataState::Unchanged);
            state.write(&disk.dir)
        }
        Phase::Prepared | Phase::WentBack => Ok(()),
    }
}

/// Notes on the disk that a person has put back data which this version knows, whichever restore point it
/// is from: what another version left is gone, and nobody puts another point over this one by himself.
///
/// Data that this version does not know, or of one database among several, leaves the way back as it is.
pub(super) fn put_back_by_hand(machine: &Machine) -> Result<()> {
    let Some(disk) = data_disk(machine)? else { return Ok(()) };
    let Some(mut state) = DiskState::read(&disk.dir)? else { return Ok(()) };
    let mark = Pending::read(&machine.layout)?;
    match decide::arrival(&machine.version, Some(&state), mark.as_ref()) {
        Arrival::Back(_) | Arrival::Newer(_) => {}
        Arrival::Home | Arrival::Forward | Arrival::Tried | Arrival::Unprepared => return Ok(()),
    }
    for shipped in &machine.databases {
        let mut session = shipped.database.connect()?;
        let found = migrations::look_for_pending(&mut session, &shipped.migrations)?;
        if found.state != State::Current {
            return Ok(());
        }
    }
    if let Some(upgrade) = &mut state.upgrade {
        upgrade.data = Some(DataState::Unchanged);
    }
    state.write(&disk.dir)
}

/// Notes on the disk that a rollback has led data and program of this version together, before anything is
/// started on them: the attempt that the disk told of is over, and its restore point is nobody's way any more.
pub(super) fn rolled_back(machine: &Machine) -> Result<()> {
    let Some(disk) = data_disk(machine)? else { return Ok(()) };
    let Some(mut state) = DiskState::read(&disk.dir)? else { return Ok(()) };
    let home = state.version.order(&machine.version).is_eq();
    let prepared = state.upgrade.as_ref().is_some_and(|upgrade| upgrade.phase == Phase::Prepared);
    // Nothing has begun: what this version prepared still holds.
    if home && prepared {
        return Ok(());
    }
    state.went_back(machine);
    state.write(&disk.dir)
}

/// Notes on the disk how a run ended; what cannot be written any more is told.
pub(super) fn ended(machine: &Machine, record: &Record) {
    let note = || -> Result<()> {
        let Some(disk) = data_disk(machine)? else { return Ok(()) };
        let Some(mut state) = DiskState::read(&disk.dir)? else { return Ok(()) };
        // Going back on this disk is noted by whoever goes back; what is left is a version that took back
        // its own attempt.
        let attempted = state.upgrade.as_ref().and_then(|upgrade| upgrade.to.as_ref());
        let own = attempted.is_some_and(|to| to.order(&machine.version).is_eq())
            && !state.version.order(&machine.version).is_eq();
        if record.direction == Direction::Back && !own {
            return Ok(());
        }
        if record.interrupted.is_some() {
            return Ok(());
        }
        // A run of the version that the data belongs to leaves the preparation of the next one alone, and
        // what became of the last one.
        let settled = state.upgrade.as_ref().is_some_and(|upgrade| match upgrade.phase {
            Phase::Prepared | Phase::Done | Phase::WentBack => true,
            Phase::Begun | Phase::Failed => false,
        });
        if settled && state.version.order(&machine.version).is_eq() {
            return Ok(());
        }
        state.end(machine, record);
        state.write(&disk.dir)
    };
    if let Err(error) = note() {
        let warning = format!("the data disk does not say how the run ended: {}", error.message());
        machine.progress.warn(&warning);
    }
}

/// Returns the restore points that the disk's open upgrade needs, whichever system is asked. What the disk
/// tells may be of a later form, or damaged: then nobody knows.
pub(super) fn needed(machine: &Machine) -> Result<Vec<String>> {
    let Some(disk) = data_disk(machine).ok().flatten() else { return Ok(Vec::new()) };
    let upgrade = DiskState::read(&disk.dir)?.and_then(|state| state.upgrade);
    let open = upgrade.filter(|upgrade| match upgrade.phase {
        Phase::Prepared | Phase::Begun | Phase::Failed | Phase::Done => true,
        Phase::WentBack => false,
    });
    Ok(open
        .into_iter()
        .flat_map(|upgrade| [upgrade.restore_point, upgrade.way_back])
        .flatten()
        .collect())
}

/// Returns whether restore points of another host are as good as our own: they are where they lie on
/// a data disk, which is told from others by its marker.
pub(super) fn origin(machine: &Machine) -> Override {
    let on_disk = |dir: &Path| machine.config.policy.backup_dir.starts_with(dir);
    match data_disk(machine) {
        Ok(Some(disk)) if on_disk(&disk.point) => Override::AcceptForeign,
        Ok(Some(_) | None) | Err(_) => Override::No,
    }
}
