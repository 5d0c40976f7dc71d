//! The database locks of a run, taken before what was seen of the databases is believed.
//!
//! Another host may be at work on the same database while we look: what is pending then is done a
//! moment later, and what looks half done is being done. Who holds the lock is told, or waited for a
//! moment; then everything is looked at again.

use std::time::Duration;

use crate::database::DatabaseLock;
use crate::error::Result;
use crate::migrations;
use crate::version::Version;

use super::machine::Machine;
use super::survey::{self, Survey};

/// How long another host that migrates the same database is waited for.
pub(super) const WAIT: Duration = Duration::from_secs(5);

/// The held locks, each with the name of its database within the application.
pub struct Locks(Vec<(String, DatabaseLock)>);

impl Locks {
    /// Locks every database that has anything pending or wrong; the others need no lock.
    pub fn take(machine: &Machine, survey: &Survey<'_>) -> Result<Self> {
        let mut locks = Vec::new();
        for surveyed in &survey.databases {
            let found = &surveyed.comparison;
            if !found.pending.is_empty() || !found.problems.is_empty() {
                let lock = DatabaseLock::acquire(surveyed.database, "upgrade", WAIT)?;
                let name = surveyed.database.name().to_owned();
                locks.push((name, lock.on_blockers(machine.on_blockers)));
            }
        }
        Ok(Self(locks))
    }

    /// Looks under the locks, and surveys the machine anew where anything has changed since.
    pub fn look_again<'m>(
        &self,
        machine: &'m Machine,
        from: Option<&Version>,
        survey: Survey<'m>,
    ) -> Result<Survey<'m>> {
        for surveyed in &survey.databases {
            if self.0.iter().any(|(name, _)| name == surveyed.database.name()) {
                let mut session = surveyed.database.connect()?;
                if migrations::look(&mut session, surveyed.shipped)? != surveyed.comparison {
                    return survey::take(machine, from);
                }
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
