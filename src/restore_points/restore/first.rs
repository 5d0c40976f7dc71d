//! What has to end well before anything is exchanged, done while the archives are loaded.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::beside::{discard, load_fresh};
use super::job::Job;
use crate::database::dump::most_jobs;
use crate::database::facts;
use crate::error::{Error, Result};
use crate::progress::{Progress, Silent};
use crate::restore_points::store::RestorePoint;
use crate::system::clock;

/// What has to end well before anything takes the place of anything: the copy of the present state.
pub type First<'f> = Box<dyn FnOnce() -> Result<()> + Send + 'f>;

/// Connections that dump and load hold beside those of their workers.
const BESIDE_WORKERS: u64 = 8;

/// How often a load is ended that nobody wants any more.
const AGAIN: Duration = Duration::from_millis(250);

/// Loads the archives beside the present databases, and meanwhile does what comes first. Returns when
/// both have ended; where the first fails, the loads are ended.
pub(super) fn load_all(
    point: &RestorePoint,
    jobs: &[&Job],
    first: Option<First<'_>>,
    left: &mut Vec<String>,
    progress: &dyn Progress,
) -> Result<()> {
    let mut load = || jobs.iter().try_for_each(|job| load_fresh(point, job, left, progress));
    let Some(first) = first else { return load() };
    if !jobs.iter().all(|job| has_room(job)) {
        first()?;
        return load();
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            let done = first();
            // A database without which no load goes on, until none is under way.
            while done.is_err() && !over.load(Ordering::Relaxed) {
                discard(jobs, &Silent);
                clock::pause(AGAIN);
            }
            done
        });
        let loaded = load();
        over.store(true, Ordering::Relaxed);
        first.join().map_err(|_| Error::failed("a thread ended unexpectedly"))?.and(loaded)
    })
}

/// Whether the role has connections for a dump and a load at once: each takes what it finds.
fn has_room(job: &Job) -> bool {
    let wanted = 2 * most_jobs() + BESIDE_WORKERS;
    facts::of(job.database).is_ok_and(|facts| facts.connections_left >= wanted)
}
