//! The old system has its disk back: the data as it was, and the services on it, by itself.

use super::DataDisk;
use super::state::{DiskState, DiskUpgrade};
use crate::error::{Error, Result};
use crate::migrations::{DataState, State};
use crate::outcome::Outcome;
use crate::system::clock;
use crate::upgrade::gate::{Pending, opened};
use crate::upgrade::identity;
use crate::upgrade::journal::{self, Direction, Record};
use crate::upgrade::machine::Machine;
use crate::upgrade::recover::decide::Data;
use crate::upgrade::recover::facts::Stuck;
use crate::upgrade::recover::undo::{self, Fit};
use crate::upgrade::recover::{self, stuck};
use crate::upgrade::survey::{self, Survey};
use crate::upgrade::{Success, Work};

/// Says no where going back failed, or was cut off too often in the same step: each boot would do it
/// again, and keep one more copy of the data.
pub(super) fn admit(machine: &Machine) -> Result<()> {
    recover::refuse_stuck(machine)?;
    let last = journal::read(&machine.layout)?;
    if last.is_some_and(|last| last.direction == Direction::Back) {
        recover::attempts::count(machine)?;
    }
    let Some(mark) = Pending::read(&machine.layout)? else { return Ok(()) };
    match &mark.cut_off {
        Some(cut_off) if cut_off.count >= machine.config.policy.attempts => {
            let message = format!(
                "going back was interrupted {} times in a row in the same step ({})",
                cut_off.count,
                cut_off.step.spoken()
            );
            let error =
                Error::new(Outcome::Stuck, message).state("nothing was tried; the gate is closed");
            Err(stuck::settle(machine, &mark, Stuck::CutOffAgain, error))
        }
        Some(_) | None => Ok(()),
    }
}

/// What was put back is not data of this version. Tried again it would be no other: a person is needed.
fn of_another(
    machine: &Machine,
    mark: &Pending,
    upgrade: &DiskUpgrade,
    point: Option<&str>,
) -> Error {
    let (mine, point) = (&machine.version, point.unwrap_or("of the disk"));
    let error = Error::new(
        Outcome::Stuck,
        format!("restore point {point} was put back, and is not data of {mine}"),
    )
    .state("the gate stays closed");
    let prepared = upgrade.restore_point.as_deref().filter(|id| *id != point);
    let error = prepared.into_iter().fold(error, |error, id| {
        let restore = identity::restore_command(machine, id);
        error.detail(format!("preparing took restore point {id}, which `{restore}` puts back"))
    });
    stuck::settle(machine, mark, Stuck::UndoFailed, error)
}

/// Puts the data back where another version may have changed it, and starts what ran before.
pub(super) fn run(machine: &Machine, disk: &DataDisk, upgrade: &DiskUpgrade) -> Result<Success> {
    let to = upgrade.to.as_ref().map_or("another version".to_owned(), ToString::to_string);
    let why = upgrade.message.as_ref().map_or(String::new(), |why| format!(": {why}"));
    machine.progress.note(&format!(
        "the data disk says that the upgrade to {to} {}{why}; going back to {}",
        match &upgrade.outcome {
            Some(outcome) => format!("ended as {outcome}"),
            None => "was begun and never ended".to_owned(),
        },
        machine.version
    ));
    // What ran is the disk's word: on this system nothing has been started yet, unless its own package made
    // the attempt. How often it was cut off is this system's.
    let before = Pending::read(&machine.layout)?;
    let known = before.as_ref().and_then(|mark| mark.running.clone());
    let running = upgrade.ran().or_else(|| known.filter(|running| !running.is_empty()));
    let started = running.as_ref().is_some_and(|running| !running.is_empty());
    let mark = Pending {
        from: Some(machine.version.clone()),
        cut_off: before.and_then(|mark| mark.cut_off),
        unbooted: running.is_none(),
        ..Pending::new(machine.version.clone(), running, machine.clock)
    };
    mark.write(&machine.layout)?;
    opened::end_for_upgrade(machine);
    let survey = survey::take(machine, Some(&machine.version))?;
    let (data, point) = way(machine, &survey, upgrade)?;
    let now = machine.clock.now();
    let mut record = Record::new(clock::stamp(now), clock::rfc3339(now), &survey);
    // The disk's word, and nothing that an earlier run of this system left half done.
    (record.way_back, record.restore_point) = (None, point);
    let undone = undo::run(machine, &survey, Some(&record), data)?;
    if undone.fit == Fit::Other {
        return Err(of_another(machine, &mark, upgrade, undone.restore_point.as_deref()));
    }
    if let Some(mut state) = DiskState::read(&disk.dir)? {
        state.went_back(machine);
        state.write(&disk.dir)?;
    }
    let (from, to) = (upgrade.to.clone(), machine.version.clone());
    let success = Success::without_migrations(Work::WentBack, from, to, started);
    Ok(Success { restore_point: undone.restore_point, ..success })
}

/// Returns whether the data has to be put back, and from where.
///
/// The point that the new system took right before it migrated has everything that the old one wrote
/// after preparing; the one of the preparation is the second choice.
fn way(
    machine: &Machine,
    survey: &Survey<'_>,
    upgrade: &DiskUpgrade,
) -> Result<(Data, Option<String>)> {
    let ours = survey.databases.iter().all(|found| found.comparison.state == State::Current);
    // Nothing is migrated before its restore point is noted on the disk.
    let untouched = upgrade.data == Some(DataState::Unchanged) || upgrade.way_back.is_none();
    if ours && untouched {
        return Ok((Data::Stays, None));
    }
    let store = machine.store()?;
    let wanted = [&upgrade.way_back, &upgrade.restore_point].into_iter().flatten();
    match wanted.clone().find(|id| store.find(id).is_ok()) {
        Some(id) => Ok((Data::PutBack, Some(id.clone()))),
        None => {
            let named: Vec<&str> = wanted.map(String::as_str).collect();
            Err(Error::new(Outcome::Stuck, "the data disk cannot be taken back: no restore point")
                .detail(match named.as_slice() {
                    [] => "none was taken".to_owned(),
                    named => format!("{} is not there any more", named.join(", ")),
                })
                .state("nothing was changed; the gate is closed")
                .hint(format!("Run `{}`.", machine.command("backup list"))))
        }
    }
}
