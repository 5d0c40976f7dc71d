//! The old system has its disk back: the data as it was, and the services on it, by itself.

use super::DataDisk;
use super::state::{DiskState, DiskUpgrade};
use crate::error::{Error, Result};
use crate::migrations::{DataState, State};
use crate::outcome::Outcome;
use crate::system::clock;
use crate::upgrade::gate::Pending;
use crate::upgrade::journal::Record;
use crate::upgrade::machine::Machine;
use crate::upgrade::recover::decide::Data;
use crate::upgrade::recover::undo::{self, Fit};
use crate::upgrade::survey::{self, Survey};
use crate::upgrade::{Success, Work};

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
    // What ran is the disk's word: on this system nothing has been started yet.
    let mark = Pending {
        from: Some(machine.version.clone()),
        ..Pending::new(machine.version.clone(), Some(upgrade.running.clone()), machine.clock)
    };
    mark.write(&machine.layout)?;
    let survey = survey::take(machine, Some(&machine.version))?;
    let (data, point) = way(machine, &survey, upgrade)?;
    let now = machine.clock.now();
    let mut record = Record::new(clock::stamp(now), clock::rfc3339(now), &survey);
    // The disk's word, and nothing that an earlier run of this system left half done.
    (record.way_back, record.restore_point) = (None, point);
    let undone = undo::run(machine, &survey, Some(&record), data)?;
    if undone.fit == Fit::Other {
        return Err(undone.rolled_back(machine));
    }
    if let Some(mut state) = DiskState::read(&disk.dir)? {
        state.went_back(machine);
        state.write(&disk.dir)?;
    }
    let (from, to) = (upgrade.to.clone(), machine.version.clone());
    let started = !upgrade.running.is_empty();
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
