//! The second pair of eyes: whether the lock is still ours, who blocks us, a sign of life.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::database::{Blocker, DatabaseLock};
use crate::error::Result;
use crate::progress::Progress;
use crate::system::{clock, signals};

/// Looks at a run from the session that holds the lock, while the run's own session is busy.
pub(super) struct Watch<'a> {
    lock: Mutex<&'a mut DatabaseLock>,
    progress: &'a dyn Progress,
    total: u64,
    backend: AtomicI32,
    done: AtomicU64,
    lost: AtomicBool,
    undoable: AtomicBool,
    /// A lock was not had in time once: who blocks may be ended, where the operator wants that.
    waited: AtomicBool,
    now: Mutex<String>,
    blockers: Mutex<Vec<Blocker>>,
    /// When the server was asked something that it has not answered yet.
    asked: Mutex<Option<Instant>>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        lock: &'a mut DatabaseLock,
        progress: &'a dyn Progress,
        total: usize,
    ) -> Self {
        Self {
            lock: Mutex::new(lock),
            progress,
            total: total as u64,
            backend: AtomicI32::new(0),
            done: AtomicU64::new(0),
            lost: AtomicBool::new(false),
            undoable: AtomicBool::new(false),
            waited: AtomicBool::new(false),
            now: Mutex::default(),
            blockers: Mutex::default(),
            asked: Mutex::default(),
        }
    }

    /// Watches until the other end of `stop` is dropped.
    pub(super) fn run(&self, stop: &Receiver<()>, lock_timeout: Duration) {
        // Several looks before a lock wait ends, so that the blocker is still there to be named.
        let every = (lock_timeout / 4).clamp(Duration::from_millis(20), Duration::from_secs(1));
        while stop.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
            *guard(&self.asked) = Some(Instant::now());
            self.look();
            *guard(&self.asked) = None;
        }
    }

    /// Gives signs of life until the other end of `stop` is dropped, also while a server that is
    /// stopped or out of reach answers nobody; that is told once it has lasted this long.
    pub(super) fn pulse(&self, stop: &Receiver<()>, silence: Duration) {
        let every = (silence / 2).clamp(Duration::from_millis(100), Duration::from_secs(1));
        let mut told = false;
        while stop.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
            let asked = *guard(&self.asked);
            let silent = asked.is_some_and(|asked| asked.elapsed() >= silence);
            if silent && !told {
                let silence = clock::spoken(silence);
                self.progress.warn(&format!(
                    "the server has not answered for {silence}; it is waited for, and no step is lost"
                ));
            } else if told && !silent {
                self.progress.note("the server answers again");
            }
            told = silent;
            let now = guard(&self.now).clone();
            self.progress.alive(&now, self.done.load(Ordering::SeqCst), Some(self.total));
        }
    }

    fn look(&self) {
        let mut lock = guard(&self.lock);
        if !matches!(lock.still_held(), Ok(true)) {
            self.lost.store(true, Ordering::SeqCst);
            return;
        }
        let backend = self.backend.load(Ordering::SeqCst);
        if self.undoable.load(Ordering::SeqCst) && signals::received().is_some() {
            // A statement that is just over is not hit; the next look tries again.
            let _ = lock.session().cancel(backend);
        }
        let seen = lock.session().blockers_of(backend).unwrap_or_default();
        if self.waited.load(Ordering::SeqCst) {
            for ended in lock.end_blockers(backend, &seen) {
                self.progress.warn(&format!("{ended}"));
            }
        }
        drop(lock);
        if !seen.is_empty() {
            *guard(&self.blockers) = seen;
        }
    }

    /// Says that a lock was not had in time.
    pub(super) fn waited_in_vain(&self) {
        self.waited.store(true, Ordering::SeqCst);
    }

    /// Says which server process works for the run.
    pub(super) fn follow(&self, backend: i32) {
        self.backend.store(backend, Ordering::SeqCst);
    }

    /// Says what runs now, and how many migrations are behind us.
    pub(super) fn now(&self, label: String, done: usize) {
        *guard(&self.now) = label;
        self.done.store(done as u64, Ordering::SeqCst);
    }

    /// A transaction runs: asked to stop, we end it, and nothing of it remains.
    pub(super) fn undoable(&self) {
        self.undoable.store(true, Ordering::SeqCst);
    }

    /// What runs leaves traces when it is cut off: asked to stop, we let it come to its end.
    pub(super) fn not_undoable(&self) {
        self.undoable.store(false, Ordering::SeqCst);
    }

    /// Returns whether the lock was seen lost; costs nothing.
    pub(super) fn lock_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    /// Asks the server now whether the lock is still held.
    pub(super) fn check_lock(&self) -> Result<()> {
        guard(&self.lock).check()
    }

    /// Returns who was last seen blocking, and forgets them.
    pub(super) fn take_blockers(&self) -> Vec<Blocker> {
        std::mem::take(&mut *guard(&self.blockers))
    }
}

/// What the other thread left behind is usable even if it panicked.
fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
