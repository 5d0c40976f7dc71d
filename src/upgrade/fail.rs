//! The end of a failed run: units down, gate closed, data put back where the operator wants it, and
//! a message that says what is true, found out by looking again.

use crate::config::OnFailure;
use crate::database::Database;
use crate::error::Error;
use crate::migrations::{DataState, Why};
use crate::outcome::Outcome;
use crate::package::Family;
use crate::system::signals;

use super::apply_migrations;
use super::create_restore_point::Secured;
use super::external;
use super::gate::{self, Pending};
use super::journal::Journal;
use super::machine::Machine;
use super::put_back;
use super::step::Step;
use super::survey::Survey;
use super::truth::{self, Aftermath};

/// A step that failed, and where that leaves the data.
pub struct Failed {
    step: Step,
    error: Error,
    after: Aftermath,
    /// Whether the server has no space left, which a restore would need too.
    full: bool,
}

impl Failed {
    /// Returns how errors of a step become failures of the run.
    pub fn at(step: Step) -> impl FnOnce(Error) -> Self {
        move |error| Self {
            step,
            error,
            full: false,
            // Before the migrations nothing has changed; after them everything has, on purpose.
            after: Aftermath::from(match step {
                Step::Preflight | Step::Quiesce | Step::RestorePoint | Step::Migrate => {
                    DataState::Unchanged
                }
                Step::Restore | Step::Package => DataState::Unknown,
                Step::Start | Step::Health => DataState::Partly,
            }),
        }
    }
}

impl From<apply_migrations::Failure> for Failed {
    fn from(failure: apply_migrations::Failure) -> Self {
        let full = failure.why == Why::Space;
        Self { step: Step::Migrate, error: failure.error, after: failure.after, full }
    }
}

/// What the run holds that a failure must name or use.
#[derive(Default)]
pub struct Held {
    point: Option<String>,
    /// The restore point from before an earlier attempt, which left the data half done.
    way_back: Option<String>,
}

impl Held {
    /// Begins with what earlier attempts left.
    pub fn new(journal: &Journal) -> Self {
        Self { point: None, way_back: journal.record().way_back.clone() }
    }

    /// Remembers the restore point.
    pub fn secure(&mut self, secured: &Secured) {
        self.point = secured.point().map(|point| point.id().to_owned());
    }

    /// Returns the restore point that leads back to before the first attempt.
    pub fn point(&self) -> Option<&str> {
        self.way_back.as_deref().or(self.point.as_deref())
    }

    /// Where all attempts together leave the data: one that changed nothing mends nothing.
    fn overall(&self, after: Aftermath) -> Aftermath {
        match (&self.way_back, after.data) {
            (Some(_), DataState::Unchanged) => Aftermath {
                data: DataState::Partly,
                at: after.at.map(|(name, _)| (name, DataState::Partly)),
            },
            (Some(_), DataState::Partly | DataState::Unknown) | (None, _) => after,
        }
    }
}

/// Closes a failed run and returns the message for the operator.
pub fn close(
    machine: &Machine,
    survey: &Survey<'_>,
    journal: &mut Journal,
    held: &Held,
    failed: Failed,
) -> Error {
    let interrupted = signals::received().is_some();
    signals::hold_off();
    // The gate before the units: nothing may start again what we are about to stop.
    let mut mark = mark(survey, &failed.error, machine);
    if interrupted {
        // Cut off by a shutdown or by hand: the next boot goes on, as it does after a power cut.
        mark.failed = None;
    }
    if let Err(error) = mark.write(&machine.layout) {
        machine.progress.warn(&format!("the gate could not be closed: {}", error.message()));
    }
    if matches!(failed.step, Step::Start | Step::Health) {
        stop_units(machine);
    }
    let Failed { step, mut error, after, full } = failed;
    let mut after = held.overall(after);
    if should_restore(machine, step, after.data, held) {
        if left_to_others(machine, held) {
            error = error.detail("the data is not put back by itself: there is no restore_command");
        } else if full && !goes_back_by_renaming(machine, held) {
            // Where the statement found no room, a second copy of the database finds none.
            error = error.detail("the data is not put back by itself: a restore needs space too");
        } else {
            let data;
            (error, data) = put_back(machine, journal, held, error);
            after = data.into();
        }
    }
    if !matches!(step, Step::Start | Step::Health) {
        // What was migrated to its end is not half done, whatever became of the units.
        journal.left(after.data);
    }
    let state = truth::state(machine, survey, held, &after);
    let hint = ways_out(machine, survey, held, after.data, mark.family);
    let own = error.hint_line().map(|hint| format!("{hint} "));
    let error = error.state(state).hint(format!("{}{hint}", own.unwrap_or_default()));
    if let Err(problem) = journal.close(error.outcome(), Some(&error)) {
        machine.progress.warn(&format!("the journal is not closed: {}", problem.message()));
    }
    super::tell(machine, journal.record());
    error
}

/// Completes a failed `openwatch migrate` with what is true and the ways out.
pub fn told(
    machine: &Machine,
    survey: &Survey<'_>,
    held: &Held,
    journal: &mut Journal,
    failure: apply_migrations::Failure,
) -> Error {
    let after = held.overall(failure.after);
    journal.left(after.data);
    let back = match (held.point(), after.data) {
        (Some(id), DataState::Partly | DataState::Unknown) => {
            format!("; to go back, {}", external::way_back(machine, id))
        }
        (None, _) | (_, DataState::Unchanged) => String::new(),
    };
    let forward = format!("Mend the cause and run `{}`{back}.", machine.command("migrate"));
    let own = failure.error.hint_line().map(|hint| format!("{hint} ")).unwrap_or_default();
    failure.error.state(truth::state(machine, survey, held, &after)).hint(own + &forward)
}

fn mark(survey: &Survey<'_>, error: &Error, machine: &Machine) -> Pending {
    let failed = gate::Failed { outcome: error.outcome().word().into(), message: error.message() };
    let mark = survey.pending.clone().unwrap_or_else(|| Pending {
        from: survey.from.clone(),
        ..Pending::new(survey.version.clone(), Some(survey.running()), machine.clock)
    });
    Pending { failed: Some(failed), ..mark }
}

fn stop_units(machine: &Machine) {
    for name in &machine.config.app.services {
        machine.progress.step(&format!("stopping {name}"));
        if let Err(error) = machine.services.stop(name, &*machine.progress) {
            machine.progress.warn(&error.message());
        }
    }
}

/// Returns whether the data is put back by itself.
///
/// Only after a failed migration: once units were started on the new schema they may have written,
/// and a restore would lose that silently. Then the operator decides.
fn should_restore(machine: &Machine, step: Step, data: DataState, held: &Held) -> bool {
    machine.config.policy.on_failure == OnFailure::Restore
        && step == Step::Migrate
        && data != DataState::Unchanged
        && held.point().is_some()
}

fn left_to_others(machine: &Machine, held: &Held) -> bool {
    let point = machine.store().and_then(|store| store.find(held.point().unwrap_or_default()));
    point.is_ok_and(|point| external::is_left_to_others(machine, &point))
}

/// A clone that is there takes the place of the database and needs no space.
fn goes_back_by_renaming(machine: &Machine, held: &Held) -> bool {
    let databases: Vec<&Database> = machine.databases.iter().map(|d| &d.database).collect();
    let point = machine.store().and_then(|store| store.find(held.point().unwrap_or_default()));
    point.is_ok_and(|point| {
        let all = point.manifest().databases.len();
        point.clones_there(&databases).is_ok_and(|there| there.len() == all)
    })
}

fn put_back(
    machine: &Machine,
    journal: &mut Journal,
    held: &Held,
    cause: Error,
) -> (Error, DataState) {
    let id = held.point().unwrap_or_default();
    machine.progress.step(&format!("putting the data back from restore point {id}"));
    match put_back::run(machine, journal, id) {
        Ok(_) => (cause.outcome_as(Outcome::RolledBack), DataState::Unchanged),
        Err(error) => {
            let cause = cause
                .detail(format!("putting the data back failed too: {}", error.message()))
                .outcome_as(Outcome::Stuck);
            (cause, DataState::Unknown)
        }
    }
}

/// Names the way forward and the way back, as commands to paste.
fn ways_out(
    machine: &Machine,
    survey: &Survey<'_>,
    held: &Held,
    data: DataState,
    family: Option<Family>,
) -> String {
    let forward = format!("Mend the cause and run `{}`", retry_command(machine, family));
    let package = |from: &crate::version::Version| {
        let app = machine.layout.app();
        match family {
            Some(Family::Deb) => format!("`apt-get install --allow-downgrades {app}={from}`"),
            Some(Family::Rpm) => format!("`dnf downgrade {app}-{from}`"),
            None => format!("install version {from}"),
        }
    };
    let restore = match (held.point(), data) {
        (Some(id), DataState::Partly | DataState::Unknown) => Some(external::way_back(machine, id)),
        (None, _) | (_, DataState::Unchanged) => None,
    };
    let back = match (restore, survey.from.as_ref().map(package)) {
        (Some(restore), Some(package)) => format!("; to go back, {restore}, then {package}."),
        (Some(restore), None) => format!("; to go back, {restore}."),
        (None, Some(package)) => format!("; to go back, {package}."),
        (None, None) => ".".into(),
    };
    forward + &back
}

/// Returns the command that tries the upgrade again and repairs the package's own state.
pub fn retry_command(machine: &Machine, family: Option<Family>) -> String {
    match family {
        Some(family) => family.retry_command(machine.layout.app()),
        None => machine.command("upgrade --retry"),
    }
}
