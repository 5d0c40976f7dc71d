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
    /// A failure before the first statement.
    fn from(error: Error) -> Self {
        Self { error, after: DataState::Unchanged.into(), why: Why::Refused }
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
    for surveyed in survey.databases.iter().filter(|d| !d.comparison.pending.is_empty()) {
        let name = surveyed.database.name();
        let pending: Vec<&str> =
            surveyed.comparison.pending.iter().map(|p| p.version.as_str()).collect();
        journal.begun(Step::Migrate, format!("{name}: {}", pending.join(" ")))?;
        machine.progress.step(&format!(
            "applying {} to {}",
            spoken(&pending),
            surveyed.database.described()
        ));
        let lock = locks.next().ok_or_else(|| {
            Error::new(Outcome::Failed, "a database to migrate is not locked")
                .state("nothing was changed")
        })?;
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
                journal.migrated(name, note, applied.history)?;
                after_step::migrate(machine, survey, surveyed, journal)?;
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
