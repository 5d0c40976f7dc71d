//! While the tool runs: whether the lock is still ours, and who stands in the tool's way.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::tool::APPLICATION;
use crate::database::{DatabaseLock, SqlError, facts};
use crate::progress::Progress;

/// Between two looks from the session that holds the lock.
const BETWEEN: Duration = Duration::from_secs(3);

/// Looks until the other end of `stop` is dropped; tells each thing once.
pub(super) fn run(lock: &Mutex<&mut DatabaseLock>, progress: &dyn Progress, stop: &Receiver<()>) {
    let mut told = Told::default();
    while stop.recv_timeout(BETWEEN) == Err(RecvTimeoutError::Timeout) {
        let Ok(mut lock) = lock.lock() else { return };
        told.look(&mut lock, progress);
    }
}

#[derive(Default)]
struct Told {
    lost: bool,
    blockers: Vec<i32>,
}

impl Told {
    fn look(&mut self, lock: &mut DatabaseLock, progress: &dyn Progress) {
        if !matches!(lock.still_held(), Ok(true)) {
            if !std::mem::replace(&mut self.lost, true) {
                // Ending the tool half way would do more harm than a second one that waits for it.
                progress.warn("the lock of the database was lost; the tool is left to its end");
            }
            return;
        }
        for blocker in blockers(lock).unwrap_or_default() {
            if !self.blockers.contains(&blocker.pid) {
                self.blockers.push(blocker.pid);
                progress.note(&format!("the tool waits for a lock, blocked by {blocker}"));
            }
        }
    }
}

fn blockers(lock: &mut DatabaseLock) -> Result<Vec<crate::database::Blocker>, SqlError> {
    let sessions = facts::foreign_sessions(lock.session()).unwrap_or_default();
    let own: Vec<i32> =
        sessions.iter().filter(|s| s.application == APPLICATION).map(|s| s.pid).collect();
    let mut found = Vec::new();
    for pid in &own {
        found.extend(lock.session().blockers_of(*pid)?);
    }
    // One session of the tool that waits for another one is the tool's own business.
    found.retain(|blocker| !own.contains(&blocker.pid));
    Ok(found)
}
