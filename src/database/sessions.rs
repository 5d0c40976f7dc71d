//! Who else is connected to a database.

use super::session::Session;
use super::{Param, statement_head};
use crate::error::{Context, Result};

/// What a session is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKind {
    /// A program is connected; also where the server does not tell our role.
    Client,
    /// It sends the changes of the database to a reader of a replication slot.
    Sender,
    /// The server fills the database with it, for a subscription.
    Subscriber,
    /// An extension works in it, such as one that runs jobs.
    Worker,
}

/// A session of somebody else in the same database.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// What it is there for.
    pub kind: SessionKind,
    /// Process id of the server process.
    pub pid: i32,
    /// Role that is connected.
    pub user: String,
    /// What the program calls itself.
    pub application: String,
    /// Address, or `local`.
    pub client: String,
    /// What it does, such as `active` or `idle in transaction`.
    pub state: String,
    /// Start of its current state, RFC 3339.
    pub since: String,
    /// The beginning of its last statement on one line, literals replaced.
    pub query_head: String,
}

impl std::fmt::Display for SessionInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match (self.application.as_str(), self.kind) {
            ("", SessionKind::Client) => "unnamed program",
            ("", SessionKind::Sender) => "reader of a replication slot",
            ("", SessionKind::Subscriber) => "worker of a subscription",
            ("", SessionKind::Worker) => "worker of an extension",
            (name, _) => name,
        };
        write!(f, "{name} (pid {}, user {}, {}, {}", self.pid, self.user, self.client, self.state)?;
        // Of a process that has a file open it is not known.
        match self.since.as_str() {
            "" => f.write_str(")"),
            since => write!(f, " since {since})"),
        }
    }
}

/// Lists the sessions of others in the database that the session is connected to.
pub fn foreign_sessions(session: &mut Session) -> Result<Vec<SessionInfo>> {
    if let Some(file) = session.file() {
        return Ok(file.holders());
    }
    sessions_where(session, &format!("a.datname = current_database() and {CLIENT}"), &[])
}

/// A session of a program, as far as the server tells our role.
const CLIENT: &str = "coalesce(a.backend_type, 'client backend') = 'client backend'";

/// A session that somebody has: workers come and go with the database.
pub(super) const SOMEBODY: &str =
    "coalesce(a.backend_type, 'client backend') in ('client backend', 'walsender')";

/// Whoever does not go by itself.
const STAYS: &str = "coalesce(a.backend_type, '') <> 'parallel worker'";

/// Lists the sessions in a database of the same server, by its name: all that keep it from being renamed
/// or copied, and that do not go by themselves. A parallel worker goes with the session that it helps.
pub(super) fn sessions_in(session: &mut Session, dbname: &str) -> Result<Vec<SessionInfo>> {
    sessions_where(session, &format!("a.datname = $1 and {STAYS}"), &[&dbname])
}

/// The same by the number of the database, which it keeps under every name.
pub(super) fn sessions_in_number(session: &mut Session, number: u32) -> Result<Vec<SessionInfo>> {
    sessions_where(session, &format!("a.datid = $1 and {STAYS}"), &[&number])
}

/// Kind and state of a session are hidden from roles that may not see its statement; that it is
/// there, and whose it is, is not. Workers of the server itself have no user.
fn sessions_where(
    session: &mut Session,
    condition: &str,
    parameters: &[&(dyn Param + Sync)],
) -> Result<Vec<SessionInfo>> {
    let sql = format!(
        "select a.pid, coalesce(a.usename::text, ''), coalesce(a.application_name, ''),
            coalesce(host(a.client_addr), 'local'), coalesce(a.state, 'unknown'),
            to_char(coalesce(a.state_change, a.backend_start) at time zone 'UTC',
                    'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),
            left(coalesce(a.query, ''), 2000), a.backend_type
         from pg_stat_activity a
         where {condition} and a.pid <> pg_backend_pid() and a.usesysid is not null
         order by a.pid"
    );
    let rows = session.rows(&sql, parameters).context(|| "cannot list the sessions".into())?;
    Ok(rows
        .iter()
        .map(|row| SessionInfo {
            kind: match row.get::<_, Option<&str>>(7) {
                Some("walsender") => SessionKind::Sender,
                Some(worker) if worker.starts_with("logical replication") => {
                    SessionKind::Subscriber
                }
                Some("client backend") | None => SessionKind::Client,
                Some(_) => SessionKind::Worker,
            },
            pid: row.get(0),
            user: row.get(1),
            application: row.get(2),
            client: row.get(3),
            state: row.get(4),
            since: row.get::<_, Option<String>>(5).unwrap_or_default(),
            query_head: statement_head::head(row.get(6), 60),
        })
        .collect())
}

/// Ends sessions and returns those that could not be ended, each with the server's reason.
pub fn end_sessions(
    session: &mut Session,
    sessions: &[SessionInfo],
) -> Result<Vec<(SessionInfo, String)>> {
    if let Some(file) = session.file() {
        return Err(file.not_ended(sessions));
    }
    let mut left = Vec::new();
    for other in sessions {
        if let Err(error) = session.rows("select pg_terminate_backend($1)", &[&other.pid]) {
            left.push((other.clone(), error.message));
        }
    }
    Ok(left)
}
