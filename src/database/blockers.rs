//! Who stands in the way of a waiting session, and ending them where the operator asked for it.

use std::fmt;

use super::session::{Session, SqlError};
use super::statement_head;

/// How much of a statement is shown.
const SHOWN: usize = 80;

/// What is done about sessions that hold a lock which a migration needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBlockers {
    /// They are named, and waited for.
    #[default]
    Tell,
    /// They are ended once a lock was not had in time.
    End,
}

/// A session that another one waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// Its process id on the server; 0 is a prepared transaction.
    pub pid: i32,
    /// The role that it is connected as.
    pub user: String,
    /// What the application calls itself.
    pub application: String,
    /// What it does, in the server's word, such as `idle in transaction`.
    pub state: String,
    /// Age of its transaction in seconds.
    pub age: u64,
    /// The beginning of its last statement, literals replaced.
    pub query: String,
    /// Why it is never ended, where that is so.
    pub spared: Option<&'static str>,
}

impl Blocker {
    /// Returns whether both are the same session; process ids are used again.
    pub(super) fn same_session(&self, other: &Self) -> bool {
        (self.pid, &self.user, &self.application) == (other.pid, &other.user, &other.application)
    }
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pid == 0 {
            return f.write_str("a prepared transaction (see pg_prepared_xacts)");
        }
        write!(f, "pid {}", self.pid)?;
        for (what, text) in [("user", &self.user), ("application", &self.application)] {
            if !text.is_empty() {
                write!(f, ", {what} {text}")?;
            }
        }
        if self.state.is_empty() {
            return f.write_str(", whose work this role may not see (grant it pg_monitor)");
        }
        write!(f, ", {} for {} s", self.state, self.age)?;
        if !self.query.is_empty() {
            write!(f, ": {}", self.query)?;
        }
        Ok(())
    }
}

/// What became of the attempt to end a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The session.
    pub blocker: Blocker,
    /// Why it goes on, where it does.
    pub refused: Option<String>,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.refused {
            None => write!(f, "ended {}", self.blocker),
            Some(why) => write!(f, "could not end {}: {why}", self.blocker),
        }
    }
}

impl Session {
    /// Ends what the session with this process id does now; its transaction fails, the session stays.
    pub fn cancel(&mut self, backend: i32) -> Result<(), SqlError> {
        if self.file().is_some() {
            // The statement looks by itself whether it shall end.
            return Ok(());
        }
        self.single(&format!("select pg_cancel_backend({backend})")).map(|_| ())
    }

    /// Names the sessions that the session with this process id waits for.
    pub fn blockers_of(&mut self, backend: i32) -> Result<Vec<Blocker>, SqlError> {
        self.blockers(&format!("select unnest(pg_blocking_pids({backend}))"))
    }

    /// Names the sessions that let no reader into a table of this database: those that hold the lock,
    /// those that wait for it, since who comes after them waits too, and whom these wait for.
    pub fn lock_holders(&mut self) -> Result<Vec<Blocker>, SqlError> {
        self.blockers(
            "with wanted as (select distinct coalesce(l.pid, 0) as pid from pg_locks l \
               where l.locktype = 'relation' and l.mode = 'AccessExclusiveLock' \
                 and l.pid is distinct from pg_backend_pid() and l.database = \
                   (select oid from pg_database where datname = current_database())) \
             select pid from wanted union \
             select unnest(pg_blocking_pids(pid)) from wanted where pid > 0",
        )
    }

    fn blockers(&mut self, pids: &str) -> Result<Vec<Blocker>, SqlError> {
        if self.file().is_some() {
            // Named with the answer that the file is locked.
            return Ok(Vec::new());
        }
        // A role that may not see the work of others gets neither state nor age nor kind.
        let sql = format!(
            "select b.pid, a.usename, a.application_name, \
               case when a.usesysid is null then a.backend_type else a.state end, \
               greatest(0, extract(epoch from \
                 clock_timestamp() - coalesce(a.xact_start, a.backend_start)))::bigint, \
               case when a.state is not null then left(a.query, 2000) end, \
               case when b.pid = 0 then 'prepared' when a.pid is null then 'gone' \
                 when a.usesysid is null then 'server' \
                 when b.pid in (select pid from pg_stat_get_wal_senders()) then 'sender' \
                 when coalesce(a.backend_type, 'client backend') <> 'client backend' \
                   then 'server' end \
             from ({pids}) as b (pid) \
             left join pg_stat_activity a on a.pid = b.pid order by 5 desc nulls last, 1"
        );
        let rows = self.simple(&sql)?;
        Ok(rows.into_iter().map(blocker).collect())
    }

    /// Ends a session, if the session with process id `backend` waits for it at this moment.
    ///
    /// Returns nothing where it does not wait for it any more. What belongs to the server itself is
    /// left alone: a vacuum against wraparound must end, a standby must not lose its stream.
    pub fn end_blocker(&mut self, backend: i32, blocker: &Blocker) -> Option<Ended> {
        let ended = |refused| Some(Ended { blocker: blocker.clone(), refused });
        if let Some(why) = blocker.spared {
            return ended(Some(why.into()));
        }
        // One statement: by the next one, the number may be another session's.
        let sql = format!(
            "select pg_terminate_backend(pid) from unnest(pg_blocking_pids({backend})) as b (pid) \
             where pid = {}",
            blocker.pid
        );
        match self.single(&sql) {
            Ok(Some(done)) if done == "t" => ended(None),
            Ok(_) => None,
            Err(error) => ended(Some(error.message)),
        }
    }
}

fn blocker(columns: Vec<Option<String>>) -> Blocker {
    let mut columns = columns.into_iter().map(Option::unwrap_or_default);
    let mut next = || columns.next().unwrap_or_default();
    Blocker {
        pid: next().parse().unwrap_or_default(),
        user: next(),
        application: next(),
        state: next(),
        age: next().parse().unwrap_or_default(),
        query: statement_head::head(&next(), SHOWN),
        spared: match next().as_str() {
            "prepared" => Some("it has no session; finish it with ROLLBACK PREPARED"),
            "server" => Some("it is a process of the server itself"),
            "sender" => Some("it feeds a standby or a subscriber"),
            _ => None,
        },
    }
}
