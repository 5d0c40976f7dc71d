//! Takes the disk when it is mounted, and lets it go: whose it is, who has it, what it asks for.

use std::os::unix::fs::MetadataExt as _;

use serde::{Deserialize, Serialize};

use super::DataDisk;
use super::decide::{self, Arrival};
use super::lease::Lease;
use super::marker::{self, Marker};
use super::past::{self, Since};
use super::state::{DiskState, DiskUpgrade, Phase};
use crate::disk;
use crate::error::{Context as _, Error, Result};
use crate::outcome::Outcome;
use crate::system::{clock, fs};
use crate::upgrade::gate::{Failed, Pending, opened};
use crate::upgrade::journal;
use crate::upgrade::machine::Machine;
use crate::upgrade::recover;

/// What a person says of a disk that another machine seems to have, or that is there twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nothing: such a disk is left alone.
    Respected,
    /// The other machine has lost its power, or the copy is known: this one takes the disk.
    Taken,
}

/// A disk that was taken.
#[derive(Debug)]
pub struct Attached {
    /// Whose it is.
    pub marker: Marker,
    /// What it asks of this system.
    pub arrival: Arrival,
    /// Version of its data.
    pub state: DiskState,
}

/// What was found when the disk was looked at, until it goes.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    id: String,
    device: u64,
    /// Who took it. While the machine shuts down, a machine-id that was only mounted is gone again.
    machine: String,
}

/// Marks a disk that has no marker as this application's; the data on it is that of the installed
/// version.
pub fn init(machine: &Machine) -> Result<Marker> {
    let disk = required(machine)?;
    if let Some(marker) = Marker::read(&disk.dir)? {
        return Err(Error::new(Outcome::Refused, "the data disk is marked already")
            .detail(marker.told())
            .state("nothing was changed")
            .hint(format!("Run `{}`.", machine.command("disk status"))));
    }
    fs::make_dir(&disk.dir, 0o755)?;
    let marker = Marker::new(machine, uuid_of(machine, &disk))?;
    DiskState::new(machine).write(&disk.dir)?;
    // Last: without a marker it is nobody's disk, and marking it is begun anew.
    marker.write(&disk.dir)?;
    Ok(marker)
}

/// Takes the disk: looks whose it is and who has it, and closes the gate where its data is not that of
/// the installed version.
pub fn run(machine: &Machine, claim: Claim) -> Result<Attached> {
    let disk = required(machine)?;
    let marker = identify(machine, &disk, claim)?;
    let since = admit(machine, &disk, claim)?;
    let state = match DiskState::read(&disk.dir)? {
        Some(state) => state,
        None => {
            let state = DiskState::new(machine);
            state.write(&disk.dir)?;
            state
        }
    };
    // Before the lease is ours: cut off in between, the next look still sees that others had the disk.
    let past = since == Since::Others && past::set_aside(machine, &state, since)?;
    Lease::new(machine).write(&disk.dir)?;
    let arrival = close_gate(machine, &state, past)?;
    // Last: what was taken is not looked at again, and the services may start on it.
    remember(machine, &disk, &marker)?;
    Ok(Attached { marker, arrival, state })
}

/// Lets the disk go: another machine may take it. What cannot be written is told by whoever calls.
pub fn release(machine: &Machine) -> Result<Option<Lease>> {
    let taker = noted(machine).map(|note| note.machine);
    fs::remove_file(&machine.layout.attached_disk())?;
    let disk = required(machine)?;
    let ours =
        |lease: &Lease| lease.is_ours(&machine.layout) || taker.as_ref() == Some(&lease.machine);
    let Some(mut lease) = Lease::read(&disk.dir)?.filter(ours) else { return Ok(None) };
    lease.released = Some(clock::rfc3339(machine.clock.now()));
    lease.write(&disk.dir)?;
    Ok(Some(lease))
}

/// Makes sure that the disk is the one that was looked at when it was mounted; looks where nobody did.
pub(super) fn make_sure(machine: &Machine, disk: &DataDisk) -> Result<()> {
    let found = Marker::read(&disk.dir)?;
    if let (Some(noted), Some(found)) = (noted(machine), &found)
        && noted == note(disk, found, noted.machine.clone())?
    {
        return Ok(());
    }
    run(machine, Claim::Respected).map(drop)
}

fn noted(machine: &Machine) -> Option<Note> {
    let text = fs::read_text(&machine.layout.attached_disk(), marker::MOST_BYTES).ok()?;
    serde_json::from_str(&text).ok()
}

fn required(machine: &Machine) -> Result<DataDisk> {
    super::data_disk(machine)?.ok_or_else(|| {
        let conf = machine.layout.packager_conf();
        Error::config(format!("{} has no data disk", machine.layout.app()))
            .detail(format!("there is no table [appliance] in {}", conf.display()))
            .state("nothing was changed")
    })
}

fn uuid_of(machine: &Machine, disk: &DataDisk) -> Option<String> {
    let mounted = machine.layout.is_live().then(|| disk::mounted_at(&disk.point))??;
    marker::uuid(&mounted)
}

/// Refuses a disk that is not this machine's, by every word there is of it.
fn identify(machine: &Machine, disk: &DataDisk, claim: Claim) -> Result<Marker> {
    let uuid = uuid_of(machine, disk);
    let Some(marker) = Marker::read(&disk.dir)? else {
        return Err(wrong(disk, "it has no marker of ours".to_owned()).hint(format!(
            "If it is the right one and new, run `{}`.",
            machine.command("disk init")
        )));
    };
    if marker.app != machine.layout.app() {
        return Err(wrong(disk, marker.told()));
    }
    if let (Some(noted), Some(found)) = (&marker.uuid, &uuid)
        && noted != found
    {
        let copy = format!("a copy of {} on file system {found}", marker.told());
        return Err(wrong(disk, copy));
    }
    let wanted = machine.config.policy.data_disk_uuid.as_ref();
    if let (Some(wanted), found) = (wanted, uuid.as_ref().or(marker.uuid.as_ref()))
        && found != Some(wanted)
    {
        let conf = machine.layout.operator_conf();
        let told = format!("{}; data_disk_uuid in {} is {wanted}", marker.told(), conf.display());
        return Err(wrong(disk, told));
    }
    let known = fs::read_text(&machine.layout.known_disk(), marker::MOST_BYTES).ok();
    if let Some(known) = known.as_deref().map(str::trim).filter(|known| *known != marker.id) {
        let told = format!("{}; this system had disk {known} before", marker.told());
        let path = machine.layout.known_disk();
        let hint = format!("If it takes the place of that one, run `rm {}`.", path.display());
        return Err(wrong(disk, told).hint(hint));
    }
    if let Some(uuid) = uuid.filter(|_| claim == Claim::Respected) {
        twice(machine, &uuid)?;
    }
    Ok(marker)
}

fn wrong(disk: &DataDisk, told: String) -> Error {
    Error::new(Outcome::Refused, "the disk that is attached is not the data disk of this machine")
        .detail(format!("at {}: {told}", disk.point.display()))
        .state("nothing was changed; the services do not start")
        .hint("Attach the right disk.")
}

fn twice(machine: &Machine, uuid: &str) -> Result<()> {
    let holders = marker::holders(uuid);
    if holders.len() < 2 {
        return Ok(());
    }
    let take = machine.command("disk attach --take");
    Err(Error::new(Outcome::Refused, "the data disk is attached twice, or a copy beside it")
        .detail(format!("{} hold file system {uuid}", holders.join(" and ")))
        .state("nothing was changed; the services do not start")
        .hint(format!("Detach the other one; where they are two ways to one disk, run `{take}`.")))
}

/// Refuses a disk that another machine has; returns who has had it since.
fn admit(machine: &Machine, disk: &DataDisk, claim: Claim) -> Result<Since> {
    let foreign = Lease::read(&disk.dir)?.filter(|lease| !lease.is_ours(&machine.layout));
    let since = if foreign.is_some() { Since::Others } else { Since::Ours };
    if let Some(lease) = foreign.filter(|lease| lease.released.is_none()) {
        match claim {
            Claim::Respected if !kernel_guards(machine, disk) => return Err(lease.refusal(machine)),
            Claim::Respected | Claim::Taken => machine.progress.warn(&format!(
                "the data disk is taken over from {}, which has not let it go",
                lease.host
            )),
        }
    }
    Ok(since)
}

/// Whether the kernel has proved that no other machine has the file system mounted: multiple mount
/// protection of ext4 waits for a sign of life before it mounts.
fn kernel_guards(machine: &Machine, disk: &DataDisk) -> bool {
    let Some(mounted) = machine.layout.is_live().then(|| disk::mounted_at(&disk.point)).flatten()
    else {
        return false;
    };
    mounted.kind == "ext4" && marker::has_mount_protection(&mounted)
}

/// Notes which disk belongs to this system, and that it was looked at.
fn remember(machine: &Machine, disk: &DataDisk, found: &Marker) -> Result<()> {
    fs::make_dir(&machine.layout.upgrade_dir(), 0o755)?;
    fs::replace(&machine.layout.known_disk(), format!("{}\n", found.id).as_bytes(), 0o644)?;
    let path = machine.layout.attached_disk();
    if let Some(dir) = path.parent() {
        fs::make_dir(dir, 0o755)?;
    }
    let taken = note(disk, found, Lease::new(machine).machine)?;
    let text = serde_json::to_vec(&taken).context(|| "cannot write a note".into())?;
    fs::replace(&path, &text, 0o644)
}

fn note(disk: &DataDisk, found: &Marker, machine: String) -> Result<Note> {
    let data = std::fs::metadata(&disk.point)
        .context(|| format!("cannot look at {}", disk.point.display()))?;
    Ok(Note { id: found.id.clone(), device: data.dev(), machine })
}

/// Closes the gate where the data is not that of the installed version; the upgrade unit, which is
/// ordered after this, does what is to be done.
fn close_gate(machine: &Machine, state: &DiskState, past: bool) -> Result<Arrival> {
    let before = Pending::read(&machine.layout)?;
    let arrival = decide::arrival(&machine.version, Some(state), before.as_ref());
    let running = state.upgrade.as_ref().and_then(DiskUpgrade::ran);
    let (from, failed) = match &arrival {
        Arrival::Home => return Ok(arrival),
        Arrival::Back(_) => (machine.version.clone(), None),
        Arrival::Forward => (state.version.clone(), None),
        Arrival::Tried | Arrival::Unprepared | Arrival::Newer(_) => {
            let error = arrival.refusal(machine, Some(state));
            let (outcome, message) = (error.outcome().word().to_owned(), error.message());
            (state.version.clone(), Some(Failed { outcome, message }))
        }
    };
    // It was said of the data that was here before.
    opened::end_for_upgrade(machine);
    // The memory of an attempt that was cut off on this system stays, unless the disk was prepared since:
    // then its data is another, and neither failure nor way back of that attempt is of account.
    let prepared = arrival == Arrival::Forward
        && state.upgrade.as_ref().is_some_and(|upgrade| upgrade.phase == Phase::Prepared);
    let anew = past || prepared;
    if prepared {
        journal::set_aside(&machine.layout)?;
        recover::clear_stuck(machine);
    }
    // A package's scripts know what ran on this system; before the disk came, that was nothing.
    let own = before.filter(|mark| mark.to.order(&machine.version).is_eq());
    let mark = match own.filter(|mark| !anew || mark.family.is_some()) {
        Some(_) if !anew => return Ok(arrival),
        Some(mark) => {
            let running = running.or(mark.running);
            Pending { from: Some(from), running, failed, cut_off: None, stuck: None, ..mark }
        }
        None => {
            let unbooted = running.is_none();
            let new = Pending::new(machine.version.clone(), running, machine.clock);
            Pending { from: Some(from), unbooted, failed, ..new }
        }
    };
    mark.write(&machine.layout)?;
    Ok(arrival)
}
