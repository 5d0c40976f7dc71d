//! The service's database: two sessions that are opened again after they broke.

use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use serde::Serialize;

use crate::database::{Database, Row, Session, SqlError};
use crate::error::{Error, Result};
use crate::migrations::{self, Chain, Comparison, State};
use crate::outcome::Outcome;
use crate::system::clock::{self, Deadline};

/// How long a question waits for the one before it.
const TURN: Duration = Duration::from_secs(2);

/// How many sessions of one kind that never answered are left behind; then nothing new is begun.
const MOST_LEFT: usize = 16;

/// The database of the service.
pub(super) struct Store {
    migrations: Arc<Chain>,
    /// Looks at the schema alone, so that a table that somebody has locked keeps no readiness.
    looking: Line,
    asking: Line,
}

/// Questions that take turns with one session.
struct Line {
    database: Database,
    /// How long the server may work on one statement. Requests give up after some seconds; statements
    /// must not go on behind them.
    statement: Duration,
    /// How long an answer may take. What the server has not ended by itself hangs on the way.
    answer: Duration,
    session: Mutex<Option<Session>>,
    /// Held by each question that is under way, in turn or left behind.
    under_way: Arc<()>,
}

/// Whether the database can be used now, as `/readyz` tells it.
#[derive(Serialize)]
pub(super) struct Readiness {
    pub(super) ready: bool,
    /// The schema's state in one word; `unreachable` where it could not be looked at.
    pub(super) state: &'static str,
    /// The newest applied migration.
    pub(super) schema: Option<String>,
    /// The newest shipped migration.
    pub(super) head: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

/// A host that reports in, or this one.
pub(super) struct Host {
    pub(super) name: String,
    pub(super) app: String,
    pub(super) version: Option<String>,
    pub(super) schema: Option<String>,
    /// When it was last heard of, RFC 3339.
    pub(super) seen: String,
    /// How its last upgrade ended.
    pub(super) outcome: Option<String>,
    /// When that was, RFC 3339.
    pub(super) ended: Option<String>,
}

/// An upgrade of a host.
pub(super) struct Report {
    pub(super) host: String,
    pub(super) app: String,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) outcome: String,
    /// When it ended, RFC 3339.
    pub(super) ended: Option<String>,
    pub(super) message: String,
}

fn unasked(error: SqlError) -> Error {
    Error::new(Outcome::Unreachable, "the database was not asked").source(error)
}

impl Readiness {
    /// Says that the database could not be asked.
    pub(super) fn unreachable(reason: impl Into<String>) -> Self {
        Self {
            ready: false,
            state: "unreachable",
            schema: None,
            head: None,
            reason: Some(reason.into()),
        }
    }
}

impl Store {
    pub(super) fn new(database: Database, migrations: Chain) -> Self {
        let line = |statement, answer| Line {
            database: database.clone(),
            statement: Duration::from_secs(statement),
            answer: Duration::from_secs(answer),
            session: Mutex::new(None),
            under_way: Arc::default(),
        };
        Self { migrations: Arc::new(migrations), looking: line(8, 10), asking: line(20, 25) }
    }

    /// Works with the session, in a new one when the old one broke; work may be begun twice.
    pub(super) fn with<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut Session) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.asking.with(work)
    }

    /// Compares the schema with the shipped migrations.
    pub(super) fn compare(&self) -> Result<Comparison> {
        let migrations = Arc::clone(&self.migrations);
        self.looking.with(move |session| migrations::look(session, &migrations))
    }

    /// Looks whether the database can be used.
    pub(super) fn look(&self) -> Readiness {
        match self.compare() {
            Ok(comparison) => Readiness {
                ready: comparison.state == State::Current,
                state: comparison.state.word(),
                reason: (comparison.state != State::Current).then(|| wrong(&comparison)),
                schema: comparison.current,
                head: comparison.head,
            },
            Err(error) => Readiness::unreachable(error.message()),
        }
    }

    /// Lists the hosts that are known, the last seen first.
    pub(super) fn hosts(&self) -> Result<Vec<Host>> {
        const SQL: &str = "select name, app, version, schema_version, \
             to_char(last_seen at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), \
             last_outcome::text, \
             to_char(last_upgrade_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') \
             from host_overview order by last_seen desc, name limit 500";
        let rows = self.with(|session| session.rows(SQL, &[]).map_err(unasked))?;
        let host = |row: &Row| {
            Some(Host {
                name: row.try_get(0).ok()?,
                app: row.try_get(1).ok()?,
                version: row.try_get(2).ok()?,
                schema: row.try_get(3).ok()?,
                seen: row.try_get(4).ok()?,
                outcome: row.try_get(5).ok()?,
                ended: row.try_get(6).ok()?,
            })
        };
        Ok(rows.iter().filter_map(host).collect())
    }

    /// Lists the newest upgrades of all hosts.
    pub(super) fn reports(&self) -> Result<Vec<Report>> {
        const SQL: &str = "select h.name, h.app, r.from_version, r.to_version, r.outcome::text, \
             to_char(r.finished_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), r.message \
             from upgrade_reports r join hosts h on h.id = r.host_id \
             order by coalesce(r.finished_at, r.received_at) desc, r.id desc limit 50";
        let rows = self.with(|session| session.rows(SQL, &[]).map_err(unasked))?;
        let report = |row: &Row| {
            Some(Report {
                host: row.try_get(0).ok()?,
                app: row.try_get(1).ok()?,
                from: row.try_get(2).ok()?,
                to: row.try_get(3).ok()?,
                outcome: row.try_get(4).ok()?,
                ended: row.try_get(5).ok()?,
                message: row.try_get(6).ok()?,
            })
        };
        Ok(rows.iter().filter_map(report).collect())
    }
}

impl Line {
    fn with<T: Send + 'static>(
        &self,
        mut work: impl FnMut(&mut Session) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut held = self.turn()?;
        if Arc::strong_count(&self.under_way) > MOST_LEFT {
            let what = format!("the database has not answered {MOST_LEFT} earlier questions");
            return Err(Error::new(Outcome::Unreachable, what));
        }
        let (before, under_way) = (held.take(), Arc::clone(&self.under_way));
        let (database, statement) = (self.database.clone(), self.statement);
        // In a thread of its own: a session whose way to the server is dead may never come back.
        let answered = clock::within(self.answer, move || {
            let _under_way = under_way;
            if let Some(mut session) = before {
                let answer = work(&mut session);
                // A server that was restarted has ended our session; that failure tells nothing yet.
                if answer.is_ok() || session.run("rollback").is_ok() {
                    return (Some(session), answer);
                }
            }
            match open(&database, statement) {
                Ok(mut session) => {
                    let answer = work(&mut session);
                    let whole = answer.is_ok() || session.run("rollback").is_ok();
                    (whole.then_some(session), answer)
                }
                Err(error) => (None, Err(error)),
            }
        });
        let (session, answer) = answered.unwrap_or_else(|| {
            let what = format!("the database gave no answer within {}", clock::spoken(self.answer));
            (None, Err(Error::new(Outcome::Unreachable, what)))
        });
        *held = session;
        answer
    }

    fn turn(&self) -> Result<MutexGuard<'_, Option<Session>>> {
        let deadline = Deadline::after(TURN);
        loop {
            match self.session.try_lock() {
                Ok(held) => return Ok(held),
                // A panic left no session behind: it is taken out while it is used.
                Err(TryLockError::Poisoned(held)) => return Ok(held.into_inner()),
                Err(TryLockError::WouldBlock) if deadline.passed() => {
                    let what = "the database has not answered an earlier question yet";
                    return Err(Error::new(Outcome::Unreachable, what));
                }
                Err(TryLockError::WouldBlock) => clock::pause(Duration::from_millis(5)),
            }
        }
    }
}

fn open(database: &Database, statement: Duration) -> Result<Session> {
    let mut session = database.connect()?;
    session
        .run(&format!(
            "set application_name = 'openwatch serve'; set statement_timeout = '{}s'",
            statement.as_secs()
        ))
        .map_err(|error| {
            Error::new(Outcome::Unreachable, "cannot use the database").source(error)
        })?;
    Ok(session)
}

/// Says what is wrong with a schema that is not current.
pub(super) fn wrong(comparison: &Comparison) -> String {
    const MOST: usize = 3;
    if let Some(problem) = comparison.problems.first() {
        return problem.what.clone();
    }
    let names: Vec<String> =
        comparison.pending.iter().map(|p| format!("{}_{}", p.version, p.name)).collect();
    let listed = match names.len() {
        0..=MOST => names.join(", "),
        count => format!("{} and {} more", names[..MOST].join(", "), count - MOST),
    };
    match comparison.state {
        State::Empty => "the database is empty".to_owned(),
        State::Pending if names.len() == 1 => format!("migration {listed} is pending"),
        State::Pending => format!("{} migrations are pending: {listed}", names.len()),
        State::Current | State::Ahead | State::Divergent | State::Missing | State::Unknown => {
            format!("the schema is {}", comparison.state.word())
        }
    }
}
