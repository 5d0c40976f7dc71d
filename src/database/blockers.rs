//! Who stands in the way of a waiting session.

use std::fmt;

use super::session::{Session, SqlError};

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
        write!(f, ", {} for {} s", self.state, self.age)?;
        if !self.query.is_empty() {
            write!(f, ": {}", self.query)?;
        }
        Ok(())
    }
}

impl Session {
    /// Ends what the session with this process id does now; its transaction fails, the session stays.
    pub fn cancel(&mut self, backend: i32) -> Result<(), SqlError> {
        self.single(&format!("select pg_cancel_backend({backend})")).map(|_| ())
    }

    /// Names the sessions that the session with this process id waits for.
    pub fn blockers_of(&mut self, backend: i32) -> Result<Vec<Blocker>, SqlError> {
        // Literals go first and the rest is cut: statements of others may carry secrets.
        let sql = format!(
            "select b.pid, a.usename, a.application_name, \
               coalesce(a.state, a.backend_type, 'unknown'), \
               greatest(0, extract(epoch from \
                 clock_timestamp() - coalesce(a.xact_start, a.backend_start)))::bigint, \
               left(regexp_replace(regexp_replace(a.query, '''[^'']*(''|$)', '''…''', 'g'), \
                 '\\s+', ' ', 'g'), 80) \
             from unnest(pg_blocking_pids({backend})) as b (pid) \
             left join pg_stat_activity a on a.pid = b.pid order by 5 desc nulls last, 1"
        );
        let rows = self.simple(&sql)?;
        Ok(rows.into_iter().map(blocker).collect())
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
        query: next(),
    }
}
