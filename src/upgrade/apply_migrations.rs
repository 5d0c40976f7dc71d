//! Applies what is pending, database by database in declared order.

use crate::error::Error;
use crate::migrations::{self, DataState, How, Why};
use crate::outcome::Outcome;

use super::after_step;
use super::create_restore_point::Secured;
use super::hooks;
use super::journal::Journal;
use super::machine::Machine;
use super::step::Step;
use super::stop_services::Quiesced;
use super::survey::Survey;
use super::truth::Aftermath;

/// Proof that every database has exactly the schema that the installed program needs.
#[derive(Debug)]
pub struct Migrated {
    _private: (),
}

/// A migration that failed, and where that leaves the data of all databases.
#[derive(Debug)]
pub struct Failure {
    /// What failed.
    pub error: Error,
    /// Whether anything of this run is in any database.
    pub after: Aftermath,
    /// The class of what failed.
    pub why: Why,
}

impl From<Error> for Failure {
    /// A failure before the first database is reached; of a later one `Reached` tells.
    fn from(error: Error) -> Self {
        Self { error, after: DataState::Unchanged.into(), why: Why::Refused }
    }
}

/// How far a run has come, for what fails between the migrations and not in them.
#[derive(Clone, Copy, Debug)]
struct Reached<'s> {
    /// What this run left in all databases so far.
    data: DataState,
    /// The first database that has nothing of it yet.
    next: Option<&'s str>,
}

impl Reached<'_> {
    /// Returns how an error becomes a failure here.
    fn failed(self) -> impl FnOnce(Error) -> Failure {
        // Nothing of this run: which database holds what an earlier attempt left is not known then.
        let next = self.next.filter(|_| self.data != DataState::Unchanged).map(str::to_owned);
        let after =
            Aftermath { data: self.data, at: next.map(|name| (name, DataState::Unchanged)) };
        |error| Failure { error, after, why: Why::Refused }
    }
}

/// Applies all pending migrations; without a [`Secured`] this cannot be called.
pub fn run(
    machine: &Machine,
    survey: &Survey<'_>,
    quiet: &mut Quiesced,
    secured: &Secured,
    journal: &mut Journal,
) -> Result<Migrated, Failure> {
    hooks::before(machine, Step::Migrate, &*journal)?;
    let mut before = DataState::Unchanged;
    let mut locks = quiet.locks.iter_mut();
    let mut todo = survey.databases.iter().filter(|d| !d.comparison.pending.is_empty()).peekable();
    while let Some(surveyed) = todo.next() {
        let name = surveyed.database.name();
        let reached = Reached { data: before, next: Some(name) };
        let pending: Vec<&str> =
            surveyed.comparison.pending.iter().map(|p| p.version.as_str()).collect();
        journal
            .begun(Step::Migrate, format!("{name}: {}", pending.join(" ")))
            .map_err(reached.failed())?;
        machine.progress.step(&format!(
            "applying {} to {}",
            spoken(&pending),
            surveyed.database.described()
        ));
        let lock = locks
            .next()
            .ok_or_else(|| Error::new(Outcome::Failed, "a database to migrate is not locked"))
            .map_err(reached.failed())?;
        let how = How {
            lock_timeout: machine.config.policy.lock_timeout,
            reconnect_within: machine.config.policy.database_wait,
            restore_point: secured.point().map(|point| point.id().to_owned()),
            product_version: survey.version.to_string(),
            lock: &mut *lock,
            // The survey looked under this lock, or again under it.
            said_pending: Some(&surveyed.comparison.pending),
        };
        let done = migrations::apply(surveyed.database, surveyed.shipped, how, &*machine.progress);
        let ended: Vec<String> = lock.take_ended().iter().map(ToString::to_string).collect();
        if let Err(error) = journal.ended_sessions(&ended) {
            // They are told already; what became of the migrations counts for more.
            machine.progress.warn(&error.message());
        }
        match done {
            Ok(applied) => {
                before = DataState::Partly;
                let note = format!("{name}: {}", applied.versions.join(" "));
                let next = todo.peek().map(|next| next.database.name());
                let reached = Reached { data: before, next };
                // It is committed: a note that cannot be written takes nothing of it back.
                journal.migrated(name, note, applied.history).map_err(reached.failed())?;
                after_step::migrate(machine, survey, surveyed, journal)
                    .map_err(reached.failed())?;
            }
            Err(failure) => {
                let data = match (before, failure.data) {
                    (DataState::Unchanged, data) => data,
                    (earlier, DataState::Unchanged) => earlier,
                    (DataState::Partly | DataState::Unknown, data) => data,
                };
                let mut error = ended.into_iter().fold(failure.error, Error::detail);
                // The state of the whole machine takes the place of the state of this database.
                let partly = data != DataState::Unchanged;
                if let Some(state) = error.state_line().filter(|_| partly).map(str::to_owned) {
                    error = error.detail(state);
                }
                let at = Some((name.to_owned(), failure.data));
                return Err(Failure { error, after: Aftermath { data, at }, why: failure.why });
            }
        }
    }
    hooks::after(machine, Step::Migrate, &*journal);
    Ok(Migrated { _private: () })
}

fn spoken(pending: &[&str]) -> String {
    match pending {
        [migrations::ALL] => "what is pending".into(),
        [_] => "1 migration".into(),
        several => format!("{} migrations", several.len()),
    }
}
