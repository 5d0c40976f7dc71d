//! A run: which migrations share a transaction, when that has to change, and what is reported.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::broken::{Broken, report};
use super::chain::Chain;
use super::command;
use super::compare::{ByKey, pending_of};
use super::failure::Failure;
use super::fingerprint::{HistoryPrint, of_files};
use super::formats::LockGround;
use super::grouping::{Segment, Shape, fall_back, segments};
use super::history::{Origin, Table};
use super::look::{Seen, home, see};
use super::watch::Watch;
use super::{Key, Migration, Pending};
use crate::database::{
    Blocker, Database, DatabaseLock, Limits, ServerProcess, Session, SqlError, Trouble,
};
use crate::error::Error;
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::system::clock::{self, Deadline};

/// How a run is to be done.
pub struct How<'a> {
    /// How long a migration waits for a lock before its transaction is tried again.
    ///
    /// It is tried [`TRIES`] times in all, with growing pauses between.
    pub lock_timeout: Duration,
    /// How long a lost database is waited for, to find out what became of the last step.
    pub reconnect_within: Duration,
    /// The restore point that was taken before, for the history table.
    pub restore_point: Option<String>,
    /// Version of the package, for the history table.
    pub product_version: String,
    /// The held lock of this database.
    pub lock: &'a mut DatabaseLock,
    /// What an application's own tool said is pending since the lock is held; it is asked, where nobody
    /// did. Of files the history is read in any case.
    pub said_pending: Option<&'a [Pending]>,
}

/// Looks on while migrations run, from their own session.
///
/// What it asks runs inside the transaction of the migrations: an error there ends them.
pub trait Observer {
    /// A transaction, or a statement outside one, begins; what was seen of those in it before is void.
    fn begins(&mut self, session: &mut Session) -> Result<(), SqlError>;

    /// A migration ran; where it runs inside a transaction, that is still open.
    fn ran(
        &mut self,
        session: &mut Session,
        migration: &Migration,
        took: Duration,
        place: Place,
    ) -> Result<(), SqlError>;
}

/// Where a migration ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Inside a transaction, which is still open.
    Transaction,
    /// Outside a transaction; what it held is released.
    Alone,
}

/// How the migrations of a run were grouped into transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All in one.
    All,
    /// One each.
    Each,
    /// Several groups.
    Batches,
}

/// A run that succeeded.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The versions that this run applied, in order.
    pub versions: Vec<String>,
    /// How they were grouped.
    pub mode: Mode,
    /// What the history says then; none where it could not be read.
    pub history: Option<HistoryPrint>,
    /// How long it took.
    pub duration: Duration,
}

/// How often a transaction is tried that did not get its locks.
pub const TRIES: u32 = 5;

/// How long a server may be silent before that is told, at most.
const SILENCE: Duration = Duration::from_secs(30);

/// What the steps of one run share.
pub(super) struct Runner<'a> {
    pub(super) database: &'a Database,
    pub(super) session: Session,
    pub(super) backend: ServerProcess,
    pub(super) limits: Limits,
    pub(super) lock_timeout: Duration,
    pub(super) reconnect_within: Duration,
    pub(super) chain: &'a Chain,
    /// The history table.
    pub(super) table: Table,
    /// Whether the history table has to be made.
    pub(super) create: bool,
    pub(super) origin: Origin,
    /// How many migrations are committed.
    pub(super) done: usize,
    pub(super) watch: &'a Watch<'a>,
    pub(super) observer: Option<&'a mut dyn Observer>,
    pub(super) progress: &'a dyn Progress,
}

impl Runner<'_> {
    /// Goes on with another connection.
    pub(super) fn adopt(&mut self, mut session: Session) -> Result<(), SqlError> {
        let limits = Limits::for_session(&mut session, self.lock_timeout)?;
        self.limits = limits.with_foreign_keys(self.chain.tool.foreign_keys());
        self.backend = session.server_process()?;
        self.watch.follow(self.backend.pid);
        self.session = session;
        Ok(())
    }

    /// Reads what the history says, after whatever the last file set for its session.
    fn left_behind(&mut self) -> Option<HistoryPrint> {
        self.session.reset_script(&self.limits).ok()?;
        of_files(&mut self.session, self.chain, &[]).ok()
    }

    /// Tells the observer that something begins.
    pub(super) fn observed_begin(&mut self) -> Result<(), SqlError> {
        match &mut self.observer {
            Some(observer) => observer.begins(&mut self.session),
            None => Ok(()),
        }
    }

    /// Tells the observer that a migration ran.
    pub(super) fn observed(
        &mut self,
        migration: &Migration,
        took: Duration,
        place: Place,
    ) -> Result<(), SqlError> {
        match &mut self.observer {
            Some(observer) => observer.ran(&mut self.session, migration, took, place),
            None => Ok(()),
        }
    }
}

/// Applies everything that is pending, under a lock that the caller holds.
pub fn apply(
    database: &Database,
    chain: &Chain,
    how: How<'_>,
    progress: &dyn Progress,
) -> Result<Applied, Failure> {
    apply_observed(database, chain, how, None, progress)
}

/// Does what [`apply`] does while somebody looks on; a command of the application's own cannot be
/// looked on at.
pub fn apply_observed(
    database: &Database,
    chain: &Chain,
    how: How<'_>,
    observer: Option<&mut dyn Observer>,
    progress: &dyn Progress,
) -> Result<Applied, Failure> {
    if let Some(command) = chain.command() {
        return command::apply(database, command, how, progress);
    }
    // The dump before may have taken hours.
    how.lock.check().map_err(Failure::refused)?;
    let mut session = how.lock.take_beside(database).map_err(Failure::refused)?;
    let seen = see_settled(&mut session, chain, how.reconnect_within).map_err(Failure::refused)?;
    let keys = match home(chain, &seen.ground) {
        Ok(table) => {
            chain.tool.lock_keys(LockGround { dbname: &seen.ground.dbname, table: &table })
        }
        Err(error) => return Err(Failure::refused(error)),
    };
    if keys.is_empty() {
        return apply_seen(database, session, chain, seen, how, observer, progress);
    }
    let lock = how.lock;
    lock.also(&keys, chain.format().word(), how.lock_timeout).map_err(Failure::refused)?;
    // What the tool did until then has to be seen: lock, then look.
    let again = see(&mut session, chain).map_err(Failure::refused);
    let result = again.and_then(|seen| {
        let how = How { lock: &mut *lock, ..how };
        apply_seen(database, session, chain, seen, how, observer, progress)
    });
    // The application, started next, may bring its own tool, which would wait for its lock.
    lock.give_back(&keys);
    result
}

/// Looks once nothing of an earlier run is at work any more.
///
/// We hold the lock, so whoever began that work is gone; what it has not committed is taken back.
fn see_settled(
    session: &mut Session,
    chain: &Chain,
    within: Duration,
) -> crate::error::Result<Seen> {
    let deadline = Deadline::after(within);
    loop {
        let seen = see(session, chain)?;
        let Some(orphan) = &seen.orphan else { return Ok(seen) };
        if deadline.passed() {
            return Ok(seen);
        }
        // Without the right to end it, it is waited for: it looks every second whether we listen.
        let _ = session.end_process(orphan);
        clock::pause(Duration::from_millis(100));
    }
}

fn apply_seen(
    database: &Database,
    mut session: Session,
    chain: &Chain,
    seen: Seen,
    how: How<'_>,
    observer: Option<&mut dyn Observer>,
    progress: &dyn Progress,
) -> Result<Applied, Failure> {
    let begun = Instant::now();
    if let Some(refusal) = seen.comparison.refusal(Outcome::Refused) {
        return Err(Failure::refused(refusal));
    }
    let table = home(chain, &seen.ground).map_err(Failure::refused)?;
    let pending = pending_of(chain, &ByKey::of(&seen.rows));
    let How { lock_timeout, reconnect_within, restore_point, product_version, lock, .. } = how;
    let (backend, limits) = session
        .server_process()
        .and_then(|process| {
            let limits = Limits::for_session(&mut session, lock_timeout)?;
            Ok((process, limits.with_foreign_keys(chain.tool.foreign_keys())))
        })
        .map_err(|error| {
            Failure::refused(Error::failed("cannot prepare the migrations").source(error))
        })?;
    for limit in limits.lifted() {
        progress.note(limit);
    }
    let watch = Watch::new(lock, progress, pending.len());
    watch.follow(backend.pid);
    let create = seen.ground.history.is_none();
    // Hours may follow, and of ten thousand migrations what was seen is megabytes.
    drop(seen);
    let origin = Origin { product_version, restore_point };
    let runner = Runner {
        database,
        session,
        backend,
        limits,
        lock_timeout,
        reconnect_within,
        chain,
        table,
        create,
        origin,
        done: 0,
        watch: &watch,
        // Only a new coercion shortens the lifetime inside.
        observer: match observer {
            Some(observer) => Some(observer),
            None => None,
        },
        progress,
    };
    let (stop, stopped) = mpsc::channel();
    let (end, ended) = mpsc::channel();
    let (mode, history) = std::thread::scope(|scope| {
        let watch = &watch;
        scope.spawn(move || watch.run(&stopped, lock_timeout));
        scope.spawn(move || watch.pulse(&ended, reconnect_within.min(SILENCE)));
        // Dropped at the end of this closure, even by a panic: that ends the other threads.
        let _stop = (stop, end);
        run(runner, &pending)
    })?;
    let versions = pending.iter().map(|migration| migration.version.to_string()).collect();
    Ok(Applied { versions, mode, history, duration: begun.elapsed() })
}

fn run<'a>(
    mut runner: Runner<'a>,
    pending: &[&'a Migration],
) -> Result<(Mode, Option<HistoryPrint>), Failure> {
    let mut shape = Shape::for_count(pending.len());
    let mut alone: BTreeSet<Key> =
        pending.iter().filter(|m| !m.transactional).map(|m| m.key.clone()).collect();
    let mut commits = 0_usize;
    while runner.done < pending.len() {
        for segment in segments(&pending[runner.done..], shape, &alone) {
            let result = match &segment {
                Segment::Together(group) => {
                    with_retries(&mut runner, |runner| runner.together(group))
                }
                Segment::Alone(migration) => {
                    with_retries(&mut runner, |runner| runner.alone(migration))
                }
            };
            match result {
                Ok(()) => {
                    commits += 1;
                    runner.done += match &segment {
                        Segment::Together(group) => group.len(),
                        Segment::Alone(_) => 1,
                    };
                }
                Err(failed) => {
                    let (broken, blockers) = *failed;
                    match fall_back(shape, &broken, &mut alone) {
                        Some((next, note)) => {
                            runner.progress.note(&note);
                            shape = next;
                        }
                        None => return Err(report(&runner, pending, broken, &blockers)),
                    }
                    break;
                }
            }
        }
    }
    let mode = match (commits, shape) {
        (..=1, _) => Mode::All,
        (_, Shape::Each) => Mode::Each,
        (_, Shape::All | Shape::Batches(_)) => Mode::Batches,
    };
    Ok((mode, runner.left_behind()))
}

/// Tries again while locks are not to be had; the pauses grow and differ between runners.
fn with_retries<'a>(
    runner: &mut Runner<'a>,
    mut step: impl FnMut(&mut Runner<'a>) -> Result<(), Broken<'a>>,
) -> Result<(), Box<(Broken<'a>, Vec<Blocker>)>> {
    let mut attempt = 1;
    loop {
        runner.watch.take_blockers();
        let Err(broken) = step(runner) else { return Ok(()) };
        let blockers = runner.watch.take_blockers();
        let again = broken.trouble() == Some(Trouble::Lock) && !broken.indeterminate;
        if !again || attempt == TRIES {
            return Err(Box::new((broken, blockers)));
        }
        let who = blockers.first().map_or(String::new(), |b| format!(", blocked by {b}"));
        runner
            .progress
            .note(&format!("no lock in time{who}; attempt {attempt} of {TRIES} taken back"));
        runner.watch.waited_in_vain();
        clock::pause(pause_before(attempt, runner.lock_timeout, runner.backend.pid));
        if let Err(error) = runner.watch.check_lock() {
            return Err(Box::new((Broken::of_lock(error), blockers)));
        }
        attempt += 1;
    }
}

/// Doubles with every attempt, from a quarter of the lock timeout; up to a quarter more by chance.
fn pause_before(attempt: u32, lock_timeout: Duration, salt: i32) -> Duration {
    let base = (lock_timeout / 4).clamp(Duration::from_millis(20), Duration::from_secs(2));
    let pause = base * 2_u32.pow(attempt.min(6) - 1);
    // Two runners have different server processes, and that is all the chance that is needed.
    pause + pause / 4 * (salt.unsigned_abs() % 16) / 16
}
