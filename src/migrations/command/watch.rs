//! While the tool runs: whether the lock is still ours, and who stands in the tool's way.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::tool::APPLICATION;
use crate::database::{Blocker, DatabaseLock, SqlError, sessions};
use crate::progress::Progress;

/// Between two looks from the session that holds the lock.
const BETWEEN: Duration = Duration::from_secs(1);

/// Looks until the other end of `stop` is dropped; tells each thing once.
///
/// Who has blocked the tool for this long is ended, where the operator wants that.
pub(super) fn run(
    lock: &Mutex<&mut DatabaseLock>,
    patience: Duration,
    progress: &dyn Progress,
    stop: &Receiver<()>,
) {
    let mut told = Told::default();
    while stop.recv_timeout(BETWEEN) == Err(RecvTimeoutError::Timeout) {
        let Ok(mut lock) = lock.lock() else { return };
        told.look(&mut lock, patience, progress);
    }
}

#[derive(Default)]
struct Told {
    lost: bool,
    /// Server processes that block the tool, with the time at which they were first seen.
    blockers: Vec<(i32, Instant)>,
}

impl Told {
    fn look(&mut self, lock: &mut DatabaseLock, patience: Duration, progress: &dyn Progress) {
        if !matches!(lock.still_held(), Ok(true)) {
            if !std::mem::replace(&mut self.lost, true) {
                // Ending the tool half way would do more harm than a second one that waits for it.
                progress.warn("the lock of the database was lost; the tool is left to its end");
            }
            return;
        }
        let seen = blockers(lock).unwrap_or_default();
        self.blockers.retain(|(pid, _)| seen.iter().any(|(_, blocker)| blocker.pid == *pid));
        for (waiting, blocker) in seen {
            let since =
                self.blockers.iter().find(|(pid, _)| *pid == blocker.pid).map(|(_, at)| *at);
            match since {
                None => {
                    self.blockers.push((blocker.pid, Instant::now()));
                    progress.note(&format!("the tool waits for a lock, blocked by {blocker}"));
                }
                Some(since) if since.elapsed() >= patience => {
                    for ended in lock.end_blockers(waiting, &[blocker]) {
                        progress.note(&ended.to_string());
                    }
                }
                Some(_) => {}
            }
        }
    }
}

/// Returns the sessions that block the tool, each with the tool's session that waits for it.
fn blockers(lock: &mut DatabaseLock) -> Result<Vec<(i32, Blocker)>, SqlError> {
    let sessions = sessions::foreign_sessions(lock.session()).unwrap_or_default();
    let own: Vec<i32> =
        sessions.iter().filter(|s| s.application == APPLICATION).map(|s| s.pid).collect();
    let mut found = Vec::new();
    for pid in &own {
        let blockers = lock.session().blockers_of(*pid)?;
        found.extend(blockers.into_iter().map(|blocker| (*pid, blocker)));
    }
    // One session of the tool that waits for another one is the tool's own business.
    found.retain(|(_, blocker)| !own.contains(&blocker.pid));
    Ok(found)
}
