//! Stops the units in order and proves that nothing of them, and nobody else, writes any more.

use crate::config::ForeignSessions;
use crate::database::{Database, DatabaseLock, sessions};
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::services::Unit;

use super::gate::Pending;
use super::hooks;
use super::journal::Journal;
use super::machine::Machine;
use super::maintenance;
use super::plan::Plan;
use super::preflight::Ready;
use super::step::Step;
use super::survey::Survey;

/// Proof that the application is down and the gate closed.
pub struct Quiesced {
    pub(super) running: Vec<String>,
    pub(super) locks: Vec<DatabaseLock>,
}

impl Quiesced {
    /// Returns the proof for `openwatch migrate`, which refuses while any unit runs.
    pub(super) fn units_already_down(ready: Ready) -> Self {
        Self { running: Vec::new(), locks: ready.locks }
    }

    /// Keeps the locks, and no other session of ours.
    pub(super) fn only_locks(&mut self) {
        self.locks.iter_mut().for_each(DatabaseLock::alone);
    }
}

/// Closes the gate, then stops what runs.
pub fn run(
    machine: &Machine,
    survey: &Survey<'_>,
    plan: &Plan,
    ready: Ready,
    journal: &mut Journal,
) -> Result<Quiesced> {
    let mut quiet = Quiesced { running: plan.running.clone(), locks: ready.locks };
    quiet.only_locks();
    // The mark before the first stop: if we die in between, recovery knows which units ran. The
    // other order could leave a service down with nobody knowing that it had run.
    close_gate(machine, survey)?;
    stop(machine, &survey.units, journal)?;
    for surveyed in &survey.databases {
        if !surveyed.comparison.pending.is_empty() {
            judge_others(machine, surveyed.database, &quiet.locks)?;
        }
    }
    journal.done(Step::Quiesce, "")?;
    hooks::after(machine, Step::Quiesce, &*journal);
    Ok(quiet)
}

/// Begins the step: the maintenance page, then what runs of these units is stopped, in their order.
pub(super) fn stop(machine: &Machine, units: &[Unit], journal: &mut Journal) -> Result<()> {
    let up: Vec<&str> = units.iter().filter(|u| u.is_up()).map(|u| u.name.as_str()).collect();
    journal.begun(Step::Quiesce, up.join(" "))?;
    maintenance::begin(machine);
    for name in up {
        machine.progress.step(&format!("stopping {name}"));
        machine.services.stop(name, &*machine.progress)?;
    }
    Ok(())
}

/// Writes the mark, with what ran; one that has that stays as it is.
pub(super) fn close_gate(machine: &Machine, survey: &Survey<'_>) -> Result<()> {
    let running = Some(survey.running());
    match &survey.pending {
        Some(mark) if mark.running.is_some() => Ok(()),
        Some(mark) => Pending { running, ..mark.clone() }.write(&machine.layout),
        None => {
            let new = Pending::new(survey.version.clone(), running, machine.clock);
            Pending { from: survey.from.clone(), ..new }.write(&machine.layout)
        }
    }
}

/// Sessions that are left belong to somebody whom the service manager does not know.
fn judge_others(machine: &Machine, database: &Database, locks: &[DatabaseLock]) -> Result<()> {
    let mut session = database.connect()?;
    let mut others = sessions::foreign_sessions(&mut session)?;
    others.retain(|other| locks.iter().all(|lock| lock.backend() != other.pid));
    if others.is_empty() {
        return Ok(());
    }
    let named: Vec<String> = others.iter().map(ToString::to_string).collect();
    let message = format!("{} has other sessions: {}", database.described(), named.join("; "));
    match machine.config.policy.foreign_sessions {
        ForeignSessions::Warn => machine.progress.warn(&message),
        ForeignSessions::End => {
            machine.progress.note(&message);
            sessions::end_sessions(&mut session, &others)?;
        }
        ForeignSessions::Refuse => {
            return Err(Error::new(Outcome::Refused, message)
                .hint("End them, or set `foreign_sessions = \"end\"`, then try again."));
        }
    }
    Ok(())
}
