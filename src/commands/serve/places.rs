//! Where work that waits is done: few threads for each kind, so that who asks for much keeps nobody
//! waiting who asks for something else.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// For `/readyz`, by which others judge us.
const READINESS: usize = 2;

/// For looking at the machine; its probes may ask for anything else here.
const MACHINE: usize = 2;

/// For everything else.
const REST: usize = 3;

/// The threads that all of it takes, and one for what is recorded.
pub(super) const THREADS: usize = READINESS + MACHINE + REST + 1;

/// The places of all kinds.
pub(super) struct Places {
    pub(super) readiness: Kind,
    pub(super) machine: Kind,
    pub(super) rest: Kind,
}

/// Work that did not come to its end: a defect of ours.
#[derive(Debug)]
pub(super) struct Broken;

/// The places of one kind.
pub(super) struct Kind(Arc<Semaphore>);

impl Places {
    pub(super) fn new() -> Self {
        let kind = |count| Kind(Arc::new(Semaphore::new(count)));
        Self { readiness: kind(READINESS), machine: kind(MACHINE), rest: kind(REST) }
    }
}

impl Kind {
    /// Works in a thread once a place is free. Who goes away before that has asked for nothing; work
    /// that was begun keeps its place to its end.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Broken> {
        let place = Arc::clone(&self.0).acquire_owned().await;
        let kept = Arc::new(Mutex::new(None));
        let done = Arc::clone(&kept);
        // Boxed, so that the runtime knows one kind of work only, which is less code.
        let work: Box<dyn FnOnce() + Send> = Box::new(move || {
            let _place = place;
            let end = work();
            *done.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
        });
        spawn_blocking(work).await.map_err(|_| Broken)?;
        kept.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or(Broken)
    }
}
