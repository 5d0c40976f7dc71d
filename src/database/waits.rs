//! Whom a dump waits for: named while it waits, and again where it has waited in vain.

use std::time::{Duration, Instant};

use super::Database;
use super::blockers::Blocker;
use crate::error::Error;
use crate::progress::Progress;

/// How long a dump may be without a byte before somebody is looked for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks once, while a dump has written nothing, who holds what it needs.
pub(super) struct Waits<'a> {
    database: &'a Database,
    begun: Instant,
    looked: bool,
}

impl<'a> Waits<'a> {
    pub(super) fn new(database: &'a Database) -> Self {
        Self { database, begun: Instant::now(), looked: false }
    }

    /// Tells who is in the way; `written` are the bytes that the dump has so far.
    pub(super) fn look(&mut self, written: u64, progress: &dyn Progress) {
        if self.looked || written > 0 || self.begun.elapsed() < PATIENCE {
            return;
        }
        self.looked = true;
        for holder in holders(self.database) {
            progress.note(&format!("{} waits for {holder}", self.database.name()));
        }
    }
}

/// Adds who holds the lock that a dump waited for in vain.
pub(super) fn explain(error: Error, database: &Database) -> Error {
    // pg_dump waits for its table locks under a statement timeout (--lock-wait-timeout); its workers do
    // not wait where somebody has queued up behind the lock of their leader.
    let told = |text: &str| {
        ["lock timeout", "Query was: LOCK TABLE", "could not obtain lock on relation"]
            .iter()
            .any(|words| text.contains(words))
    };
    if !told(&error.message()) && !error.details().iter().any(|line| told(line)) {
        return error;
    }
    // The transaction of the dump has failed with the statement; a session of its own can ask.
    holders(database).iter().fold(error, |error, holder| error.detail(format!("{LOCKED}{holder}")))
}

/// How a detail begins that says who holds a lock.
const LOCKED: &str = "a table is locked by ";

/// Returns the details of an error that say who holds a lock.
pub fn locked_by(error: &Error) -> Vec<&str> {
    let details = error.details().iter().map(String::as_str);
    details.filter(|line| line.starts_with(LOCKED)).collect()
}

fn holders(database: &Database) -> Vec<Blocker> {
    let asked = database.connect().ok().and_then(|mut session| session.lock_holders().ok());
    asked.unwrap_or_default()
}
