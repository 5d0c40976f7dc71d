//! The end of a failed run: units down, gate closed, data put back where the operator wants it, and
//! a message that says what is true, found out by looking again.

use crate::config::OnFailure;
use crate::database::Database;
use crate::error::Error;
use crate::migrations::{DataState, Why};
use crate::outcome::Outcome;
use crate::system::signals;

use super::apply_migrations;
use super::create_restore_point::Secured;
use super::external;
use super::gate::{self, Pending};
use super::journal::{Journal, Record};
use super::locks::Exchanging;
use super::machine::Machine;
use super::put_back;
use super::recover::facts::Stuck;
use super::recover::stuck;
use super::recover::written::{Since, Watch};
use super::rollback;
use super::step::Step;
use super::survey::Survey;
use super::truth::{self, Aftermath};
use super::ways_out;

/// A step that failed, and where that leaves the data.
pub struct Failed {
    step: Step,
    error: Error,
    after: Aftermath,
    /// Whether the server has no space left, which a restore would need too.
    full: bool,
    /// Units that stay as they run: what failed does not concern them.
    leaves: Vec<String>,
}

impl Failed {
    /// Says that nothing was to be migrated: the data is as it was, whatever failed.
    #[must_use]
    pub fn without_migrations(self) -> Self {
        Self { after: Aftermath::from(DataState::Unchanged), ..self }
    }

    /// Says which units stay as they run.
    #[must_use]
    pub fn leaving(self, units: &[String]) -> Self {
        Self { leaves: units.to_vec(), ..self }
    }

    /// Returns how errors of a step become failures of the run.
    pub fn at(step: Step) -> impl FnOnce(Error) -> Self {
        move |error| Self {
            step,
            error,
            full: false,
            leaves: Vec::new(),
            // Before the migrations nothing has changed; after them everything has, on purpose.
            after: Aftermath::from(match step {
                Step::Preflight
                | Step::Quiesce
                | Step::RestorePoint
                | Step::Switch
                | Step::Migrate => DataState::Unchanged,
                Step::Restore | Step::Package => DataState::Unknown,
                Step::Start | Step::Health => DataState::Partly,
            }),
        }
    }
}

impl From<apply_migrations::Failure> for Failed {
    fn from(failure: apply_migrations::Failure) -> Self {
        let full = failure.why == Why::Space;
        let (error, after, leaves) = (failure.error, failure.after, Vec::new());
        Self { step: Step::Migrate, error, after, full, leaves }
    }
}

/// Between two steps: stops here if a signal asks for it.
pub fn if_asked_to_stop(before: Step) -> Result<(), Failed> {
    let Some(signal) = signals::received() else { return Ok(()) };
    let outcome = match before {
        Step::Preflight | Step::Quiesce | Step::RestorePoint => Outcome::BackupFailed,
        Step::Switch | Step::Migrate | Step::Restore | Step::Package => Outcome::MigrationFailed,
        Step::Start | Step::Health => Outcome::Unhealthy,
    };
    let message = format!(
        "the upgrade was stopped before the step {}: we received {signal}",
        before.spoken()
    );
    Err(Failed::at(before)(Error::new(outcome, message)))
}

/// What the run holds that a failure must name or use.
#[derive(Default)]
pub struct Held {
    point: Option<String>,
    /// The restore point from before an earlier attempt, which left the data half done.
    way_back: Option<String>,
    /// When the gate was opened by hand over what an earlier attempt left.
    opened: Option<String>,
    /// What the migrations left, before any unit was started on it.
    watch: Option<Watch>,
}

impl Held {
    /// Begins with what earlier attempts left.
    pub fn new(journal: &Journal) -> Self {
        let Record { way_back, opened, .. } = journal.record();
        Self { way_back: way_back.clone(), opened: opened.clone(), ..Self::default() }
    }

    /// Remembers the restore point.
    pub fn secure(&mut self, secured: &Secured) {
        self.point = secured.point().map(|point| point.id().to_owned());
    }

    /// Notes what the migrations left, where the data may have to be put back from there.
    pub fn watch(&mut self, machine: &Machine) {
        if machine.config.policy.on_failure != OnFailure::Restore || self.point().is_none() {
            return;
        }
        match Watch::begin(machine) {
            Ok(watch) => self.watch = Some(watch),
            Err(error) => machine.progress.warn(&error.message()),
        }
    }

    /// Returns the restore point that leads back to before the first attempt.
    pub fn point(&self) -> Option<&str> {
        self.way_back.as_deref().or(self.point.as_deref())
    }

    /// Where all attempts together leave the data: one that changed nothing mends nothing.
    fn overall(&self, after: Aftermath) -> Aftermath {
        match (&self.way_back, after.data) {
            (Some(_), DataState::Unchanged) => Aftermath {
                // In which database the earlier attempt failed is not known here.
                data: if after.at.is_some() { DataState::Partly } else { DataState::Unknown },
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
    let interrupted = signals::received();
    signals::hold_off();
    // The gate before the units: nothing may start again what we are about to stop.
    let mut mark = mark(survey, &failed.error, machine);
    if let Some(signal) = interrupted {
        // Cut off by a shutdown or by hand: the next boot goes on, as it does after a power cut.
        mark.failed = None;
        journal.interrupted(signal);
    }
    let closed = mark.write(&machine.layout);
    if let Err(error) = &closed {
        machine.progress.warn(&format!("the gate could not be closed: {}", error.message()));
    }
    if matches!(failed.step, Step::Start | Step::Health) {
        stop_units(machine, &failed.leaves);
    }
    let Failed { step, mut error, after, full, .. } = failed;
    let mut after = held.overall(after);
    // A shutdown does not wait for a restore; whoever goes on later decides. And nothing is put back
    // behind a gate that is open.
    if interrupted.is_none() && closed.is_ok() {
        (error, after) = back_where_wanted(machine, journal, held, (step, full), (error, after));
    }
    if !matches!(step, Step::Start | Step::Health) || after.data != DataState::Partly {
        // What was migrated to its end is not half done, whatever became of the units.
        journal.left(after.data);
    }
    let state = truth::state(machine, survey, held, &after);
    let hint = match interrupted {
        Some(_) => ways_out::on_or_back(machine, survey, held, step, mark.family),
        None => ways_out::forward_or_back(machine, survey, held, after.data, mark.family),
    };
    let own = error.hint_line().map(|hint| format!("{hint} "));
    let mut error = error.state(state).hint(format!("{}{hint}", own.unwrap_or_default()));
    if error.outcome() == Outcome::Stuck && after.data == DataState::Unknown {
        error = stuck::settle(machine, &mark, Stuck::UndoFailed, error);
    }
    if let Err(problem) = journal.close(error.outcome(), Some(&error)) {
        machine.progress.warn(&format!("the journal is not closed: {}", problem.message()));
    }
    super::tell(machine, journal.record());
    let put_back = error.outcome() == Outcome::RolledBack;
    if interrupted.is_none()
        && after.data == DataState::Unchanged
        && (put_back || step == Step::Migrate || machine.tree.is_some())
    {
        rollback::follow_up::order(machine, &mark, held.point().filter(|_| put_back));
    }
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
    // The mark of a script that could not look names none, and the list was written when units were
    // stopped: what was read before that must not take its place.
    let running = mark.running.clone().or_else(|| Some(survey.running()));
    Pending { failed: Some(failed), restoring: None, running, ..mark }
}

pub(super) fn stop_units(machine: &Machine, but: &[String]) {
    for name in machine.config.app.services.iter().filter(|name| !but.contains(name)) {
        machine.progress.step(&format!("stopping {name}"));
        if let Err(error) = machine.services.stop(name, &*machine.progress) {
            machine.progress.warn(&error.message());
        }
    }
}

/// Puts the data back by itself where the operator wants that and nothing is lost by it.
fn back_where_wanted(
    machine: &Machine,
    journal: &mut Journal,
    held: &Held,
    (step, full): (Step, bool),
    (error, after): (Error, Aftermath),
) -> (Error, Aftermath) {
    let left = |why: &str| format!("the data is not put back by itself: {why}");
    let wanted = machine.config.policy.on_failure == OnFailure::Restore
        && after.data != DataState::Unchanged
        && held.point().is_some();
    if !wanted {
        return (error, after);
    }
    // Before it is looked at what was written since: another host may be about to go on from here.
    let _exchanging = match Exchanging::for_point(machine, held.point(), "restore") {
        Ok(exchanging) => exchanging,
        Err(busy) => {
            let error = busy.details().iter().fold(error, Error::detail);
            return (error.detail(left(&busy.message())), after);
        }
    };
    if let Some(why) = why_not_restored(machine, step, held) {
        return (why.into_iter().fold(error, Error::detail), after);
    }
    if left_to_others(machine, held) {
        return (error.detail(left("there is no restore_command")), after);
    }
    if full && !goes_back_by_renaming(machine, held) {
        // Where the statement found no room, a second copy of the database finds none.
        return (error.detail(left("a restore needs space too")), after);
    }
    let (error, data) = put_back(machine, journal, held, error);
    (error, data.into())
}

/// Returns why the data is not put back by itself, with words where somebody might expect it to be.
///
/// Once units were started on the new schema they may have written, and a restore would lose that
/// silently: then the operator decides.
fn why_not_restored(machine: &Machine, step: Step, held: &Held) -> Option<Option<String>> {
    match step {
        Step::Migrate => held.opened.as_ref().map(|at| {
            Some(format!(
                "the data is not put back by itself: the gate was opened by hand at {at}, and what \
                 was written since would be lost"
            ))
        }),
        Step::Start | Step::Health => {
            let since = match (&held.watch, is_down(machine)) {
                (Some(watch), true) => watch.since(machine),
                (Some(_), false) => Since::Something("a unit still runs".into()),
                (None, _) => Since::Something("an earlier attempt started the services".into()),
            };
            match since {
                Since::Nothing => None,
                Since::Something(what) => Some(Some(format!(
                    "the data is not put back by itself: the new schema may hold data of its own \
                     by now ({what})"
                ))),
            }
        }
        Step::Preflight
        | Step::Quiesce
        | Step::RestorePoint
        | Step::Switch
        | Step::Restore
        | Step::Package => Some(None),
    }
}

fn is_down(machine: &Machine) -> bool {
    let units = machine.services.look(&machine.config.app.services);
    units.is_ok_and(|units| units.iter().all(|unit| !unit.is_up()))
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
