//! The database locks of a run, taken before what was seen of the databases is believed.
//!
//! Another host may be at work on the same database while we look: what is pending then is done a
//! moment later, and what looks half done is being done. Who holds the lock is told and waited for;
//! then everything is looked at again.

use std::time::Duration;

use crate::database::{Database, DatabaseLock, ExchangeLock, Session};
use crate::error::Result;
use crate::migrations;
use crate::outcome::Outcome;
use crate::restore_points::Kind;
use crate::system::clock::Deadline;
use crate::system::signals;
use crate::version::Version;

use super::journal::Record;
use super::machine::Machine;
use super::recover::decide::Data;
use super::survey::{self, Survey};
use super::telling;

/// How long one attempt at the lock takes before whoever holds it is told.
pub(super) const WAIT: Duration = Duration::from_secs(5);

/// Takes the lock of a database; another host that upgrades it is named, and waited for.
///
/// Its upgrade is ours as well: once it is done, nothing is left here but to start.
fn acquire(
    machine: &Machine,
    database: &Database,
    mut beside: Option<Session>,
    limit: Duration,
) -> Result<DatabaseLock> {
    let deadline = Deadline::after(limit);
    let mut told = false;
    loop {
        let wait = WAIT.min(deadline.remaining());
        let error = match DatabaseLock::acquire_beside(beside.take(), database, "upgrade", wait) {
            Err(error) if error.outcome() == Outcome::Busy => error,
            ended => return ended,
        };
        if deadline.passed() || signals::received().is_some() {
            return Err(error);
        }
        if !told {
            telling::waiting_for_host(machine, database, &error, limit);
            told = true;
        }
        machine.progress.alive(
            &format!("waiting for the host that upgrades {}", database.described()),
            limit.saturating_sub(deadline.remaining()).as_secs(),
            Some(limit.as_secs()),
        );
    }
}

/// The held locks, each with the name of its database within the application.
pub struct Locks(Vec<(String, DatabaseLock)>);

impl Locks {
    /// Locks every database that has anything pending or wrong, waiting this long for another host;
    /// the others need no lock. The sessions of the survey stay beside the locks.
    pub fn take(
        machine: &Machine,
        survey: &Survey<'_>,
        sessions: Vec<Session>,
        limit: Duration,
    ) -> Result<Self> {
        let mut locks = Vec::new();
        for (surveyed, session) in survey.databases.iter().zip(sessions) {
            if surveyed.comparison.has_work_or_problem() {
                let lock = acquire(machine, surveyed.database, Some(session), limit)?;
                let name = surveyed.database.name().to_owned();
                locks.push((name, lock.on_blockers(machine.on_blockers)));
            }
        }
        Ok(Self(locks))
    }

    /// Looks under the locks, and surveys the machine anew where anything has changed since.
    pub fn look_again<'m>(
        &mut self,
        machine: &'m Machine,
        from: Option<&Version>,
        survey: Survey<'m>,
    ) -> Result<Survey<'m>> {
        for surveyed in &survey.databases {
            let name = surveyed.database.name();
            let Some((_, lock)) = self.0.iter_mut().find(|(of, _)| of == name) else { continue };
            let session = lock.beside(surveyed.database)?;
            let (comparison, history) = migrations::look_and_print(session, surveyed.shipped)?;
            if comparison != surveyed.comparison || history != surveyed.history {
                return survey::take(machine, from);
            }
        }
        Ok(survey)
    }

    /// Returns the locks of the databases that have migrations pending, in their order.
    pub(super) fn of_pending(self, survey: &Survey<'_>) -> Vec<DatabaseLock> {
        let pending = |name: &str| {
            survey
                .databases
                .iter()
                .any(|d| d.database.name() == name && !d.comparison.pending.is_empty())
        };
        self.0.into_iter().filter(|(name, _)| pending(name)).map(|(_, lock)| lock).collect()
    }
}

/// The held locks of databases whose data is put back: no host migrates them meanwhile.
pub struct Exchanging(#[expect(dead_code, reason = "held, not used")] Vec<ExchangeLock>);

impl Exchanging {
    /// Locks these databases against every other host; whoever is at work on one of them is named.
    pub fn take<'d>(
        databases: impl IntoIterator<Item = &'d Database>,
        doing: &str,
    ) -> Result<Self> {
        let locks = databases.into_iter().map(|one| ExchangeLock::acquire(one, doing, WAIT));
        Ok(Self(locks.filter_map(Result::transpose).collect::<Result<_>>()?))
    }

    /// Locks every database of the application for this restore point. None for one that a command of
    /// the operator puts back: it may stop the server, which then would wait for our session.
    pub fn for_point(machine: &Machine, id: Option<&str>, doing: &str) -> Result<Self> {
        let point = id.and_then(|id| machine.store().ok()?.find(id).ok());
        match point.map(|point| point.manifest().kind) {
            Some(Kind::External) => Ok(Self(Vec::new())),
            Some(Kind::Dump | Kind::Clone) | None => {
                Self::take(machine.databases.iter().map(|shipped| &shipped.database), doing)
            }
        }
    }

    /// The same for going back from this run; none where the data stays as it is.
    pub fn for_going_back(
        machine: &Machine,
        last: Option<&Record>,
        data: Data,
    ) -> Result<Option<Self>> {
        match data {
            Data::PutBack => {
                Self::for_point(machine, last.and_then(Record::first_point), "undo").map(Some)
            }
            Data::Stays => Ok(None),
        }
    }
}
