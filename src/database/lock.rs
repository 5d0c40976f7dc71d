//! The lock that keeps two runs off one database, wherever they run.
//!
//! It is an advisory lock of a session of its own, which does nothing else: no migration can release
//! it by mistake. The second session, by which a pooler is recognised, may stay beside it for what is
//! done under the lock. It is polled with short statements, because a session that waits for an advisory
//! lock holds a snapshot, and a concurrent index build in the holder would wait for that snapshot.

use std::time::Duration;

use super::Database;
use super::blockers::{Blocker, Ended, OnBlockers};
use super::exchange_lock::ExchangeLock;
use super::holder::{Holder, granted};
use super::session::{Session, SqlError};
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::sqlite;
use crate::system::clock::{self, Deadline};

/// The key: the letters `openwatc` as one number; it counts within one database only.
pub(super) const KEY: i64 = 0x6f70_656e_7761_7463;

/// How long we wait between two attempts.
const BETWEEN: Duration = Duration::from_millis(100);

/// A held lock; dropping it, or dying, releases it.
pub struct DatabaseLock {
    session: Session,
    beside: Option<Session>,
    backend: i32,
    /// When its server was started, by which other sessions are known to be on the same.
    started: String,
    described: String,
    on_blockers: OnBlockers,
    ended: Vec<Ended>,
}

impl DatabaseLock {
    /// Begins to connect for a lock that is taken soon. A server process takes several times as long
    /// for its first look at the tables of locks and sessions as for the next, so that is done by then.
    pub fn begin(database: &Database) {
        let dbname = database.dbname().to_owned();
        database.connect_ahead_and(move |session| {
            let _ = ExchangeLock::holder(session, &dbname);
        });
    }

    /// Takes the lock, trying for this long; the loser is told who holds it, or who puts data back.
    ///
    /// `doing` is shown to others, such as `upgrade`.
    pub fn acquire(database: &Database, doing: &str, wait: Duration) -> Result<Self> {
        let mut lock = Self::acquire_beside(None, database, doing, wait)?;
        lock.alone();
        Ok(lock)
    }

    /// The same, and a session stays beside the lock: this one, which has looked and changed no setting,
    /// or a new one.
    pub fn acquire_beside(
        mut beside: Option<Session>,
        database: &Database,
        doing: &str,
        wait: Duration,
    ) -> Result<Self> {
        let deadline = Deadline::after(wait);
        let mut putting_back: Option<String> = None;
        loop {
            let attempt = Self::attempt(beside.take(), database, doing, deadline);
            let found = attempt.and_then(|mut lock| {
                let seen = match database.file() {
                    Some(_) => Ok(None),
                    None => ExchangeLock::holder(&mut lock.session, database.dbname()),
                };
                Ok((seen.map_err(|error| failed(&lock.described, error))?, lock))
            });
            match found {
                Ok((None, lock)) => return Ok(lock),
                Ok((Some(holder), lock)) => {
                    // Whoever puts data back waits for it.
                    drop(lock);
                    putting_back = Some(holder);
                }
                // The exchange ends every session in the database, ours among them.
                Err(_) if putting_back.is_some() && !deadline.passed() => {}
                Err(error) => return Err(error),
            }
            if deadline.passed() {
                let what = format!("the lock of {}", database.described());
                return Err(busy(&what, putting_back));
            }
            clock::pause(BETWEEN.min(deadline.remaining()));
        }
    }

    fn attempt(
        beside: Option<Session>,
        database: &Database,
        doing: &str,
        deadline: Deadline,
    ) -> Result<Self> {
        let described = database.described();
        if database.file().is_some() {
            // A file is of one machine, where the lock of the run keeps all others off; and whoever
            // writes is kept out by the transaction itself.
            let session = Session::in_file(sqlite::Connection::empty()?, database.dbname());
            let (on_blockers, ended) = (OnBlockers::Tell, Vec::new());
            let started = String::new();
            let beside = None;
            return Ok(Self {
                session,
                beside,
                backend: 0,
                started,
                described,
                on_blockers,
                ended,
            });
        }
        let mut session = database.connect()?;
        let failed = |error: SqlError| failed(&described, error);
        prepare(&mut session, doing).map_err(failed)?;
        let mut beside = alive(beside).map_or_else(|| database.connect(), Ok)?;
        let (backend, started) = refuse_pooler(&described, &mut session, &mut beside)?;
        if !poll(&mut session, KEY, deadline).map_err(failed)? {
            return Err(held(&mut session, KEY, &format!("the lock of {described}")));
        }
        let (on_blockers, ended) = (OnBlockers::Tell, Vec::new());
        let beside = Some(beside);
        let mut lock = Self { session, beside, backend, started, described, on_blockers, ended };
        lock.check()?;
        Ok(lock)
    }

    /// Returns the session beside the lock, to look; a new one where it was let go, or has ended.
    pub fn beside(&mut self, database: &Database) -> Result<&mut Session> {
        let session = match alive(self.beside.take()) {
            Some(session) => session,
            None => self.on_the_same(database.connect()?)?,
        };
        Ok(self.beside.insert(session))
    }

    /// Gives the session beside the lock away, to write; a new one where it was let go, or has ended.
    pub fn take_beside(&mut self, database: &Database) -> Result<Session> {
        match alive(self.beside.take()) {
            Some(session) => Ok(session),
            None => self.on_the_same(database.connect_to_write()?),
        }
    }

    /// Refuses a new session on another server than the one where the lock is: of a list, the next
    /// server answers where the first does not.
    fn on_the_same(&self, mut session: Session) -> Result<Session> {
        if session.file().is_some() {
            return Ok(session);
        }
        match session.far_end_after("") {
            Ok((_, started)) if started == self.started => Ok(session),
            Ok(_) => Err(another_server(&self.described)),
            Err(error) => Err(unlocked(&self.described, error)),
        }
    }

    /// Lets the session beside the lock go: while others are judged, and while the data is copied,
    /// nobody of ours is connected without a need.
    pub fn alone(&mut self) {
        self.beside = None;
    }

    /// Takes further advisory locks in the same session, trying for this long; all or none.
    ///
    /// Those of another migration tool, so that it and we never run at once.
    pub fn also(&mut self, keys: &[i64], of: &str, wait: Duration) -> Result<()> {
        let deadline = Deadline::after(wait);
        for (taken, key) in keys.iter().enumerate() {
            let had = poll(&mut self.session, *key, deadline);
            if had.as_ref().is_ok_and(|had| *had) {
                continue;
            }
            self.give_back(&keys[..taken]);
            return Err(match had {
                Err(error) => failed(&self.described, error),
                Ok(_) => held(
                    &mut self.session,
                    *key,
                    &format!("the lock of {of} on {}", self.described),
                ),
            });
        }
        Ok(())
    }

    /// Releases what [`DatabaseLock::also`] took; a session that is gone has released it already.
    pub fn give_back(&mut self, keys: &[i64]) {
        for key in keys {
            let _ = self.session.run(&format!("select pg_advisory_unlock({key})"));
        }
    }

    /// Returns whether anybody holds the lock of the database that this session is connected to.
    pub fn is_taken(session: &mut Session) -> std::result::Result<bool, SqlError> {
        if session.file().is_some() {
            return Ok(false);
        }
        let sql = format!("select exists (select {})", granted(KEY));
        Ok(session.single(&sql)?.as_deref() == Some("t"))
    }

    /// Returns whether the lock is still held, and by the same server process as at first.
    pub fn still_held(&mut self) -> std::result::Result<bool, SqlError> {
        if self.session.file().is_some() {
            return Ok(true);
        }
        let sql = format!(
            "select pg_backend_pid() = {} and exists (select {} and pid = {0})",
            self.backend,
            granted(KEY),
        );
        Ok(self.session.single(&sql)?.as_deref() == Some("t"))
    }

    /// Fails, with the reason, unless the lock is still held.
    pub fn check(&mut self) -> Result<()> {
        let lost = Error::failed(format!("the lock of {} was lost", self.described));
        match self.still_held() {
            Ok(true) => Ok(()),
            Ok(false) => Err(lost.detail(
                "another server process answers than the one that took the lock, \
                 or somebody released it",
            )),
            Err(error) => Err(lost.source(error)),
        }
        .map_err(|error: Error| {
            error.hint("Look for a connection pooler or a restarted server, then run this again.")
        })
    }

    /// Returns the session, for short statements only; a long one would hold up others.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Says what is done about sessions that block a migration under this lock.
    #[must_use]
    pub fn on_blockers(mut self, on_blockers: OnBlockers) -> Self {
        self.on_blockers = on_blockers;
        self
    }

    /// Ends those of these sessions that the session with this process id still waits for, if that
    /// is wanted; returns what is new about them.
    pub fn end_blockers(&mut self, backend: i32, blockers: &[Blocker]) -> Vec<Ended> {
        let mut new = Vec::new();
        if self.on_blockers == OnBlockers::Tell {
            return new;
        }
        for blocker in blockers {
            // One that may not be ended is told once; one that is being ended needs a moment.
            if self.ended.iter().any(|before| before.blocker.same_session(blocker)) {
                continue;
            }
            if let Some(ended) = self.session.end_blocker(backend, blocker) {
                self.ended.push(ended.clone());
                new.push(ended);
            }
        }
        new
    }

    /// Returns every session that was ended under this lock, and those that refused, and forgets them.
    pub fn take_ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    /// Returns the process id of the session that holds the lock.
    pub fn backend(&self) -> i32 {
        self.backend
    }
}

/// Tries to take a lock with short statements until the deadline; returns whether it was had.
fn poll(
    session: &mut Session,
    key: i64,
    deadline: Deadline,
) -> std::result::Result<bool, SqlError> {
    loop {
        let sql = format!("select pg_try_advisory_lock({key})");
        if session.single(&sql)?.as_deref() == Some("t") {
            return Ok(true);
        }
        if deadline.passed() {
            return Ok(false);
        }
        clock::pause(BETWEEN.min(deadline.remaining()));
    }
}

/// Makes a session one that holds locks, and says who we are.
pub(super) fn prepare(session: &mut Session, doing: &str) -> std::result::Result<(), SqlError> {
    let name = format!("openwatch {doing}, {}", place());
    // A limit on idle sessions, set for the role's daily work, would end the lock.
    session.lift(&format!(
        "set application_name = '{}'; set statement_timeout = 0; \
         select set_config('idle_session_timeout', '0', false) \
         where current_setting('idle_session_timeout', true) is not null",
        name.replace('\'', "").chars().take(63).collect::<String>()
    ))?;
    // While a dump runs the lock's session is silent; if our machine goes away meanwhile, the
    // server must notice and free the lock.
    session.patience()?;
    Ok(())
}

/// A session that waited may have been ended meanwhile: by a limit of its role, with its server.
fn alive(session: Option<Session>) -> Option<Session> {
    session.and_then(|mut session| session.is_answered().then_some(session))
}

/// Two connections that meet in one server process, or one that changes its process, are a pooler
/// that hands out server processes per transaction: a lock there belongs to nobody. Two connections to
/// two servers are no better. Returns the process id of the first, and when its server was started.
fn refuse_pooler(
    described: &str,
    session: &mut Session,
    other: &mut Session,
) -> Result<(i32, String)> {
    let failed = |error: SqlError| failed(described, error);
    let (own, started) = session.far_end_after("").map_err(failed)?;
    for _ in 0..2 {
        // Inside a transaction the other connection keeps its server process.
        let begin = "begin; set local idle_in_transaction_session_timeout = 0";
        let (met, there) = other.far_end_after(begin).map_err(failed)?;
        let same = met == own || session.backend().map_err(failed)? != own;
        other.run("rollback").map_err(failed)?;
        if there != started {
            return Err(another_server(described).state("nothing was changed"));
        }
        if same {
            return Err(Error::config(format!(
                "{described} is behind a pooler that shares server processes between connections"
            ))
            .detail("locks and settings of a session do not hold there")
            .state("nothing was changed")
            .hint("Connect to the server itself, or set the pooler to session mode."));
        }
    }
    Ok((own, started))
}

fn another_server(described: &str) -> Error {
    Error::config(format!("two sessions of {described} are on two servers"))
        .detail("a lock on one of them keeps nobody off the other")
        .hint("Name the one server that is meant in the connection, then run this again.")
}

fn held(session: &mut Session, key: i64, what: &str) -> Error {
    let holder = Holder::here(key);
    // The holder may end at this very instant; without a name the message still stands.
    busy(what, holder.find(session).ok().flatten())
}

pub(super) fn busy(what: &str, holder: Option<String>) -> Error {
    let error = Error::new(Outcome::Busy, format!("another run holds {what}"))
        .state("this run changed nothing")
        .hint("Wait for it, then run this again.");
    match holder {
        Some(holder) => error.detail(format!("held by {holder}")),
        None => error,
    }
}

pub(super) fn failed(described: &str, error: SqlError) -> Error {
    unlocked(described, error).state("nothing was changed")
}

fn unlocked(described: &str, error: SqlError) -> Error {
    let lost = error.trouble() == super::Trouble::ConnectionLost;
    let outcome = if lost { Outcome::Unreachable } else { Outcome::Failed };
    Error::new(outcome, format!("cannot lock {described}")).source(error)
}

/// Where this program runs, for the application name.
fn place() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("pid {} on {host}", std::process::id())
}
