//! Running files of SQL: settings put back before each, the transaction proved to be still ours.
//!
//! Reset, proof and file travel in one message, and the next message is on its way while the server runs
//! the one before. Error positions are counted in the file, not in the message.

use std::time::Duration;

use super::driver::Connection;
use super::session::{Session, SqlError};
use crate::sqlite::ForeignKeys;

/// The settings under which files run.
#[derive(Clone, Debug)]
pub struct Limits {
    reset: String,
    lifted: Vec<String>,
    /// How long a lock is waited for.
    wait: Duration,
    /// What is done about the foreign keys of a file.
    keys: ForeignKeys,
}

/// Proof of one transaction: its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    transaction: String,
}

/// A file that was sent.
pub struct Sent {
    /// Characters that went before it in its message.
    before: usize,
    /// How it ended, where it could only be waited for.
    ended: Option<Result<(), ScriptError>>,
}

/// The server's side of one session; after a restart another one may have the same number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerProcess {
    /// Process id on the server.
    pub pid: i32,
    /// When it began, as the server writes it.
    since: String,
}

impl ServerProcess {
    /// Names a process as it was noted down.
    pub fn new(pid: i32, since: &str) -> Self {
        Self { pid, since: since.to_owned() }
    }

    /// Returns when it began, as the server writes it.
    pub fn since(&self) -> &str {
        &self.since
    }
}

/// What became of a transaction whose end was not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is in the database.
    Committed,
    /// Nothing of it is in the database.
    RolledBack,
    /// The server still works on it.
    InProgress,
    /// The server cannot tell any more.
    Forgotten,
}

/// Why a file did not run to its end.
#[derive(Clone, Debug)]
pub enum ScriptError {
    /// The file before this one ended the transaction, so that nothing of this one was run.
    TransactionEnded,
    /// The server said no.
    Sql(SqlError),
}

impl From<SqlError> for ScriptError {
    fn from(error: SqlError) -> Self {
        Self::Sql(error)
    }
}

/// What the proof makes the server say when the transaction is another one.
const ENDED: &str = "openwatch:transaction-ended";

impl Limits {
    /// Prepares the settings: locks are waited for this long, nothing else has a limit.
    ///
    /// Limits that an administrator gave the role for its daily work are lifted, as `pg_dump` lifts
    /// them; a migration may take hours.
    pub fn for_session(session: &mut Session, lock_timeout: Duration) -> Result<Self, SqlError> {
        let (wait, keys) = (lock_timeout, ForeignKeys::Deferred);
        if session.file().is_some() {
            return Ok(Self { reset: String::new(), lifted: Vec::new(), wait, keys });
        }
        let (lifted, version) = lifted_and_version(session)?;
        let mut off = vec!["statement_timeout", "idle_in_transaction_session_timeout"];
        if version >= 140_000 {
            off.push("idle_session_timeout");
        }
        if version >= 170_000 {
            off.push("transaction_timeout");
        }
        // A run that was killed must not leave its statement running for hours, with its locks: the
        // server looks whether we are still there. Not every server system can (14 and newer, Linux).
        let watched = "set client_connection_check_interval=1000;";
        let watched = if session.run(watched).is_ok() { watched } else { "" };
        let patience = session.patience()?;
        // The server takes zero for "no limit", which nobody means by a short time.
        let millis = lock_timeout.as_millis().clamp(1, 2_000_000_000);
        let mut reset = "reset session authorization;reset role;reset all;discard temp;".to_owned();
        reset.push_str(watched);
        reset.push_str(&patience);
        for name in off {
            reset.push_str(&format!("set {name}=0;"));
        }
        reset
            .push_str(&format!("set lock_timeout={millis};set default_transaction_read_only=off;"));
        // Files are split, and their texts quoted, as every server reads them by default.
        reset.push_str("set standard_conforming_strings=on;");
        Ok(Self { reset, lifted, wait, keys })
    }

    /// Says what is done about foreign keys where the database is a file.
    #[must_use]
    pub fn with_foreign_keys(self, keys: ForeignKeys) -> Self {
        Self { keys, ..self }
    }

    /// Returns what role, database or server have set and what does not hold here, each as a
    /// sentence.
    pub fn lifted(&self) -> &[String] {
        &self.lifted
    }
}

/// What an administrator may have set for daily work, and the value that means nothing was.
const DAILY: &[(&str, &str)] = &[
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("transaction_timeout", "0"),
    ("default_transaction_read_only", "off"),
    ("standard_conforming_strings", "on"),
];

/// Names the settings of a new session that files do not run under, and the version of the server as
/// one number.
fn lifted_and_version(session: &mut Session) -> Result<(Vec<String>, u32), SqlError> {
    let names = DAILY.iter().map(|(name, _)| *name).chain(["server_version_num"]);
    let values: Vec<String> =
        names.map(|name| format!("current_setting('{name}', true)")).collect();
    // One cheap question, and the limit on questions is lifted with it.
    let sql = format!("select {};set statement_timeout=0", values.join(","));
    let mut row = session.lift(&sql)?.into_iter().next().unwrap_or_default();
    let version = row.pop().flatten().and_then(|version| version.parse().ok()).unwrap_or_default();
    let sentence = |((name, usual), value): (&(&str, &str), Option<String>)| {
        let value = value.filter(|value| value != usual)?;
        Some(format!(
            "{name} = {value}, which role, database or server set, does not hold during migrations"
        ))
    };
    Ok((DAILY.iter().zip(row).filter_map(sentence).collect(), version))
}

impl Session {
    /// Opens a transaction for files and takes its id.
    pub fn begin_script(&mut self, limits: &Limits) -> Result<Mark, SqlError> {
        if let Some(file) = self.file() {
            file.begin_script(limits.wait, limits.keys)?;
            return Ok(Mark { transaction: String::new() });
        }
        // The role's own default may be read-only or serializable. The settings come second: they
        // would take the snapshot that `begin isolation level` must precede.
        let transaction = self.single(&format!(
            "begin isolation level read committed, read write;{}select txid_current()",
            limits.reset
        ))?;
        Ok(Mark { transaction: transaction.unwrap_or_default() })
    }

    /// Runs a whole file inside the transaction, after proving that it is still the same one.
    pub fn run_script(
        &mut self,
        mark: &Mark,
        limits: &Limits,
        sql: &str,
    ) -> Result<(), ScriptError> {
        let sent = self.send_script(mark, limits, sql);
        self.end_script(sent)
    }

    /// Sends a whole file, to be run as [`Session::run_script`] does, and does not wait for its end. The
    /// next one may be sent meanwhile: where this one fails or ends the transaction, the proof of the
    /// next fails, and nothing of it is run.
    pub fn send_script(&mut self, mark: &Mark, limits: &Limits, sql: &str) -> Sent {
        let Ok(connection) = self.connection() else {
            let ended = self.file().map_or(Ok(()), |file| file.run_script(sql));
            return Sent { before: 0, ended: Some(ended) };
        };
        let mut text = String::with_capacity(sql.len() + 512);
        text.push_str(&mark.proof());
        text.push('\n');
        let before = text.chars().count();
        text.push_str(sql);
        // Behind the file, not in front of the next: a message is converted and read as a whole before any
        // of it runs, so that encoding and strings of the next one are those that stand when it comes.
        text.push_str("\n;");
        text.push_str(&limits.reset);
        connection.send(text);
        Sent { before, ended: None }
    }

    /// Waits for the end of the first file that was sent and not waited for.
    pub fn end_script(&mut self, sent: Sent) -> Result<(), ScriptError> {
        if let Some(ended) = sent.ended {
            return ended;
        }
        let answer = self.connection().map(Connection::answer)?;
        answer.map_err(|error| in_file(error.into(), sent.before))
    }

    /// Puts the settings back to those under which files run.
    pub fn reset_script(&mut self, limits: &Limits) -> Result<(), SqlError> {
        self.run(&limits.reset)
    }

    /// Runs statements under the settings of files; they are one transaction of their own.
    pub fn run_alone(&mut self, limits: &Limits, statements: &str) -> Result<(), SqlError> {
        // The reset comes first, by itself: `discard temp` ends no transaction, but needs none.
        if let Some(file) = self.file() {
            return file.run_alone(limits.wait, limits.keys, statements);
        }
        self.reset_script(limits)?;
        self.run(statements)
    }

    /// Commits the transaction; the proof came with the last thing that ran in it.
    pub fn commit_script(&mut self) -> Result<(), SqlError> {
        match self.file() {
            Some(file) => file.commit_script(),
            None => self.run("commit"),
        }
    }

    /// Takes the transaction back, with what was sent and not waited for; without one this does nothing.
    pub fn roll_back_script(&mut self) -> Result<(), SqlError> {
        if let Some(file) = self.file() {
            return file.roll_back_script();
        }
        self.connection()?.forget();
        self.run("rollback")
    }

    /// Asks what became of a transaction; any session of the database may ask.
    pub fn fate(&mut self, mark: &Mark) -> Result<Fate, SqlError> {
        if self.file().is_some() {
            // A transaction of a process that is gone is no more; ours is told by its end.
            return Ok(Fate::Forgotten);
        }
        let word = self.single(&format!("select txid_status({})", mark.transaction))?;
        Ok(match word.as_deref() {
            Some("committed") => Fate::Committed,
            Some("aborted") => Fate::RolledBack,
            Some("in progress") => Fate::InProgress,
            Some(_) | None => Fate::Forgotten,
        })
    }

    /// Says which process on the server works for this session.
    pub fn server_process(&mut self) -> Result<ServerProcess, SqlError> {
        if self.file().is_some() {
            return Ok(ServerProcess::default());
        }
        let sql = "select pid, backend_start from pg_stat_get_activity(pg_backend_pid())";
        let mut row = self.simple(sql)?.into_iter().next().unwrap_or_default().into_iter();
        let pid = row.next().flatten().and_then(|pid| pid.parse().ok()).unwrap_or_default();
        Ok(ServerProcess { pid, since: row.next().flatten().unwrap_or_default() })
    }

    /// Ends a process of ours that outlived its connection, if the server still has it.
    ///
    /// What it has committed stays; what it has not is taken back now, and not when it notices.
    pub fn end_process(&mut self, process: &ServerProcess) -> Result<(), SqlError> {
        if self.file().is_some() {
            return Ok(());
        }
        let ServerProcess { pid, since } = process;
        self.single(&format!(
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where pid = {pid} and backend_start = '{since}'"
        ))
        .map(drop)
    }

    /// Returns whether the server still has this process.
    pub fn still_there(&mut self, process: &ServerProcess) -> Result<bool, SqlError> {
        if self.file().is_some() {
            return Ok(false);
        }
        let ServerProcess { pid, since } = process;
        let sql = format!(
            "select 1 from pg_stat_activity where pid = {pid} and backend_start = '{since}'"
        );
        Ok(self.single(&sql)?.is_some())
    }
}

impl Mark {
    /// A statement that fails unless this transaction is the present one.
    fn proof(&self) -> String {
        // The cast is none of a constant, so that no planner tries it before the transaction is known. To
        // make the text with an operator costs the server as much again.
        format!(
            "select cast(case txid_current_if_assigned() when {} then '0' else '{ENDED}' end as integer);",
            self.transaction
        )
    }
}

fn in_file(mut error: SqlError, before: usize) -> ScriptError {
    if error.code.as_deref() == Some("22P02") && error.message.contains(ENDED) {
        return ScriptError::TransactionEnded;
    }
    let before = u32::try_from(before).unwrap_or(u32::MAX);
    error.position = error.position.and_then(|at| at.checked_sub(before)).filter(|at| *at > 0);
    ScriptError::Sql(error)
}
