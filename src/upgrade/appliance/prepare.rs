//! Prepares the disk on the old system: a restore point and the upgrade state, which both survive the
//! swap of the system.

use std::path::Path;
use std::time::Duration;

use super::DataDisk;
use super::signature;
use super::state::{DiskState, DiskUpgrade, Phase};
use crate::database::clients::Clients;
use crate::disk;
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::restore_points::{PinNote, Reason, Request};
use crate::system::clock;
use crate::upgrade::create_restore_point::LOCK_WAIT;
use crate::upgrade::gate::Pending;
use crate::upgrade::hold::{Look, Timing};
use crate::upgrade::machine::Machine;
use crate::upgrade::preflight::{self, Finding, from_error, required};
use crate::upgrade::rollback::present::targets;
use crate::upgrade::survey::Survey;
use crate::version::Version;

/// How long the restore point of a preparation is kept at least: longer than any swap takes.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// What is to be prepared.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// Version that the new system brings, where it is known.
    pub to: Option<Version>,
    /// The new system's image, whose signature is verified.
    pub image: Option<&'a Path>,
    /// How long the agreed window is, from now on.
    pub window: Duration,
}

/// What the checks allow.
#[derive(Debug)]
pub struct Admitted {
    disk: DataDisk,
    image: Option<String>,
}

/// Checks what is particular to a disk that is handed on; all findings at once, with those of
/// preflight. Changes nothing.
pub fn check(
    machine: &Machine,
    survey: &Survey<'_>,
    wanted: &Wanted<'_>,
    mut found: Vec<Finding>,
) -> Result<Admitted> {
    let disk = super::data_disk(machine)?.ok_or_else(|| {
        let conf = machine.layout.packager_conf();
        Error::new(Outcome::Usage, "there is no data disk to prepare")
            .detail(format!("there is no table [appliance] in {}", conf.display()))
            .state("nothing was changed")
    })?;
    super::attach::make_sure(machine, &disk)?;
    open_upgrade(machine, &disk, &mut found)?;
    room(machine, &disk, &mut found);
    window(machine, wanted.window, &mut found);
    if !machine.config.policy.backup_dir.starts_with(&disk.point) {
        found.push(required(
            format!(
                "restore points in {} do not travel with the data disk",
                machine.config.policy.backup_dir.display()
            ),
            "Remove `backup_dir` from the operator's upgrade.conf, or set it to a directory there.",
        ));
    }
    let image = match signature::check(machine, wanted.image) {
        Ok(image) => image,
        Err(finding) => {
            found.push(finding);
            None
        }
    };
    match preflight::refusal(&found) {
        Some(error) => Err(error.state(preflight::untouched(survey))),
        None => Ok(Admitted { disk, image }),
    }
}

fn open_upgrade(machine: &Machine, disk: &DataDisk, found: &mut Vec<Finding>) -> Result<()> {
    if Pending::read(&machine.layout)?.is_some() {
        let hint = format!("Run `{}`.", machine.command("status"));
        found.push(required("an upgrade of this system is not done", hint));
    }
    let state = DiskState::read(&disk.dir)?;
    if let Some(state) = state.filter(|state| !state.version.order(&machine.version).is_eq()) {
        let message = format!("the data disk holds data of version {}", state.version);
        found.push(required(message, "Attach it to the system of that version."));
    }
    Ok(())
}

/// Twice the data must be free: the restore point of the preparation, the one that the new system
/// takes, and the copy that a restore loads beside what is there do not shrink together.
fn room(machine: &Machine, disk: &DataDisk, found: &mut Vec<Finding>) {
    let looked = targets(machine, |_| true).and_then(|targets| {
        let all: Vec<_> = targets.iter().map(|target| target.database).collect();
        preflight::looking_at_store(machine, |store| store.estimate(&all))
    });
    let data = match looked {
        Ok(estimate) => estimate.databases,
        Err(error) => return found.push(from_error(&error)),
    };
    match disk::free(&disk.point) {
        Ok(free) if free.bytes >= data.saturating_mul(2) => {}
        Ok(free) => found.push(required(
            format!(
                "less than twice the data is free on the data disk: {} of data, {} free",
                disk::spoken(data),
                disk::spoken(free.bytes)
            ),
            format!("Free some at {}, or make the disk larger.", disk.point.display()),
        )),
        Err(error) => {
            let message = format!("nobody knows what is free at {}: {error}", disk.point.display());
            found.push(required(message, "Look at the disk."));
        }
    }
}

fn window(machine: &Machine, agreed: Duration, found: &mut Vec<Finding>) {
    if machine.timing == Timing::Now {
        return;
    }
    let now = machine.clock.now();
    let look = Look::take(&machine.layout, &machine.config, now);
    let app = machine.layout.app();
    let hint = "Wait for the window, or prepare with `--now`.";
    if let Some(why) = look.why_not() {
        found.push(required(format!("{app} is {why}"), hint));
    } else if let Some(until) = look.open_until()
        && let left = until.duration_since(now).unwrap_or_default()
        && left < agreed
    {
        found.push(required(
            format!(
                "the window that is open closes in {}, and {} were agreed",
                clock::spoken(left),
                clock::spoken(agreed)
            ),
            hint,
        ));
    }
}

/// What a preparation left on the disk.
#[derive(Debug)]
pub struct Prepared {
    /// The restore point, as people say it: `pre-v2.0.0`.
    pub name: String,
    /// Its id.
    pub restore_point: Option<String>,
    /// What the disk says now.
    pub state: DiskState,
}

/// Takes the restore point and writes the state; the services go on running.
pub fn run(
    machine: &Machine,
    survey: &Survey<'_>,
    wanted: &Wanted<'_>,
    admitted: Admitted,
) -> Result<Prepared> {
    let now = machine.clock.now();
    let name = match &wanted.to {
        Some(to) => format!("pre-v{}", to.upstream()),
        None => format!("pre-after-v{}", machine.version.upstream()),
    };
    let restore_point = restore_point(machine, wanted, &name)?;
    let disk = &admitted.disk;
    let mut state = DiskState::read(&disk.dir)?.unwrap_or_else(|| DiskState::new(machine));
    state.upgrade = Some(DiskUpgrade {
        phase: Phase::Prepared,
        to: wanted.to.clone(),
        name: Some(name.clone()),
        restore_point: restore_point.clone(),
        running: survey.running(),
        prepared: Some(clock::rfc3339(now)),
        window_until: now.checked_add(wanted.window).map(clock::rfc3339),
        image: admitted.image,
        ..DiskUpgrade::new(machine.version.clone())
    });
    state.write(&disk.dir)?;
    Ok(Prepared { name, restore_point, state })
}

fn restore_point(machine: &Machine, wanted: &Wanted<'_>, name: &str) -> Result<Option<String>> {
    let databases = targets(machine, |_| true)?;
    if databases.is_empty() {
        return Ok(None);
    }
    let store = machine.store()?;
    let request = Request {
        reason: Reason::Manual,
        from_version: Some(machine.version.clone()),
        to_version: wanted.to.clone(),
        databases,
        reserve: machine.config.policy.reserve,
        lock_wait: LOCK_WAIT,
        clock: machine.clock,
        clients: Clients::default(),
    };
    let point = store.create(&request, &*machine.progress)?;
    let now = machine.clock.now();
    store.pin(point.id(), &PinNote::new(now, now.checked_add(KEPT), Some(name)))?;
    Ok(Some(point.id().to_owned()))
}
