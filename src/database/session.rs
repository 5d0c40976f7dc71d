//! A connected session and what can be asked through it.

use std::fmt;
use std::time::Duration;

pub use postgres::Row;
pub use postgres::types::ToSql as Param;

use super::driver::{Connection, Unanswered};
use super::file::Dialect;
use crate::sqlite;

/// How long a session that was left alone may take to say that it is there.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// A connection to one database.
pub struct Session {
    inner: Inner,
}

enum Inner {
    Server {
        connection: Box<Connection>,
        /// Settings by which the server notices that we are gone.
        patience: String,
    },
    File(Box<InFile>),
}

/// What is asked of a file alone.
pub(super) struct InFile {
    pub(super) connection: sqlite::Connection,
    /// The path that the configuration names.
    pub(super) path: String,
}

/// What the server, or the connection to it, said against a statement.
#[derive(Clone, Debug)]
pub struct SqlError {
    /// SQLSTATE, or the name of a result code of SQLite; none when the connection failed rather than the statement.
    pub code: Option<String>,
    /// The server's primary message, or what happened to the connection.
    pub message: String,
    /// The server's detail.
    pub detail: Option<String>,
    /// The server's hint.
    pub hint: Option<String>,
    /// Where in the text that was sent the error lies, in characters, from 1.
    pub position: Option<u32>,
    /// What the error is about, where the server says so: constraint, table, column, call stack.
    pub about: Option<String>,
}

/// What an error means for a run of migrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The connection is gone, or the server ended it: what became of the statement is not known.
    ConnectionLost,
    /// A lock was not had in time, or two waited for each other: trying again may help.
    Lock,
    /// The statement refuses to run inside a transaction block.
    NeedsNoTransaction,
    /// The statement needs what an earlier one did to be committed first.
    NeedsCommit,
    /// The transaction holds more locks than the server has room for.
    LockMemory,
    /// The server has no space left.
    Space,
    /// Anything else: the statement is wrong.
    Other,
}

impl SqlError {
    /// Says what this error means for a run of migrations.
    pub fn trouble(&self) -> Trouble {
        match self.code.as_deref() {
            None => Trouble::ConnectionLost,
            Some("SQLITE_BUSY" | "SQLITE_LOCKED") => Trouble::Lock,
            Some("SQLITE_FULL") => Trouble::Space,
            Some("SQLITE_ERROR") if self.is_about_the_transaction() => Trouble::NeedsNoTransaction,
            Some("55P03" | "40P01") => Trouble::Lock,
            Some("25001") => Trouble::NeedsNoTransaction,
            // Unsafe use of a new enum value; pending trigger events.
            Some("55P04" | "55006") => Trouble::NeedsCommit,
            Some("53200") => Trouble::LockMemory,
            Some("53100") => Trouble::Space,
            // The server ended the session for idling inside a transaction, or for its length.
            Some("25P03" | "25P04") => Trouble::ConnectionLost,
            // Administrator, crash and recovery; 57P04 is a dropped database, 57P05 an idle timeout.
            Some(code) if code.starts_with("08") || code.starts_with("57P0") => {
                Trouble::ConnectionLost
            }
            Some(_) => Trouble::Other,
        }
    }

    /// Returns whether the statement was ended from outside: by us, an administrator or a limit.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.code.as_deref(), Some("57014" | "SQLITE_INTERRUPT"))
    }

    /// SQLite has no code of its own for what it runs outside a transaction alone, such as `VACUUM`.
    fn is_about_the_transaction(&self) -> bool {
        ["within a transaction", "inside a transaction"].iter().any(|w| self.message.contains(w))
    }

    /// Returns the code as people read it, with the name of the list that it is in.
    pub fn code_told(&self) -> Option<String> {
        let code = self.code.as_ref()?;
        Some(if code.starts_with("SQLITE_") { code.clone() } else { format!("SQLSTATE {code}") })
    }

    /// Takes over what SQLite said against a text.
    pub(super) fn of_file(fault: sqlite::Fault, sql: &str) -> Self {
        let character = |at: usize| {
            let before = sql.get(..at).map_or(0, |before| before.chars().count());
            u32::try_from(before + 1).unwrap_or(u32::MAX)
        };
        Self {
            position: fault.at.map(character),
            code: Some(fault.code),
            message: fault.message,
            detail: fault.detail,
            hint: None,
            about: None,
        }
    }

    /// What is asked of a server, and cannot be of a file.
    fn of_servers_only() -> Self {
        let message = "this is asked of a server, and the database is a file".to_owned();
        let code = Some("SQLITE_MISUSE".to_owned());
        Self { code, message, detail: None, hint: None, position: None, about: None }
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.code_told() {
            Some(code) => write!(f, " ({code})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SqlError {}

impl From<postgres::Error> for SqlError {
    /// Takes the text from the source: `Display` of the crate's error says only `db error`.
    fn from(error: postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) => Self {
                code: Some(db.code().code().to_owned()),
                message: db.message().to_owned(),
                detail: db.detail().map(str::to_owned),
                hint: db.hint().map(str::to_owned),
                position: match db.position() {
                    Some(postgres::error::ErrorPosition::Original(position)) => Some(*position),
                    Some(postgres::error::ErrorPosition::Internal { .. }) | None => None,
                },
                about: about(db),
            },
            None => {
                let mut message = error.to_string();
                if let Some(source) = std::error::Error::source(&error) {
                    message = format!("{message}: {source}");
                }
                Self { code: None, message, detail: None, hint: None, position: None, about: None }
            }
        }
    }
}

impl From<Unanswered> for SqlError {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Driver(error) => error.into(),
            // The code of the server for a question that was ended from outside.
            Unanswered::Interrupted(signal) => Self {
                code: Some("57014".to_owned()),
                message: format!("interrupted by {signal}"),
                detail: None,
                hint: None,
                position: None,
                about: None,
            },
        }
    }
}

fn about(db: &postgres::error::DbError) -> Option<String> {
    let named = [
        ("constraint", db.constraint()),
        ("table", db.table()),
        ("column", db.column()),
        ("context", db.where_()),
    ];
    let parts: Vec<String> = named
        .into_iter()
        .filter_map(|(what, name)| Some(format!("{what} {}", name?.replace('\n', "; "))))
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

impl Session {
    pub(super) fn new(connection: Connection, patience: String) -> Self {
        Self { inner: Inner::Server { connection: Box::new(connection), patience } }
    }

    pub(super) fn in_file(connection: sqlite::Connection, path: &str) -> Self {
        let path = path.to_owned();
        Self { inner: Inner::File(Box::new(InFile { connection, path })) }
    }

    /// Returns the file, where the session is one with a file.
    pub(super) fn file(&mut self) -> Option<&mut InFile> {
        match &mut self.inner {
            Inner::Server { .. } => None,
            Inner::File(file) => Some(file),
        }
    }

    /// Returns the language of its statements.
    pub fn dialect(&self) -> Dialect {
        match &self.inner {
            Inner::Server { .. } => Dialect::PostgreSql,
            Inner::File(_) => Dialect::Sqlite,
        }
    }

    pub(super) fn connection(&mut self) -> Result<&mut Connection, SqlError> {
        match &mut self.inner {
            Inner::Server { connection, .. } => Ok(connection),
            Inner::File(_) => Err(SqlError::of_servers_only()),
        }
    }

    /// Returns the settings by which the server notices within a minute that our machine is gone;
    /// none where it cannot do that, or where the connection does not leave this machine.
    ///
    /// Left to itself a server keeps a session, with its locks, for two hours after the machine at
    /// the other end has vanished without a word.
    pub(super) fn patience(&mut self) -> Result<String, SqlError> {
        let sql = match &self.inner {
            Inner::Server { patience, .. } => patience.clone(),
            Inner::File(_) => String::new(),
        };
        if sql.is_empty() || self.single("select inet_client_addr()")?.is_none() {
            return Ok(String::new());
        }
        Ok(if self.run(&sql).is_ok() { sql } else { String::new() })
    }

    /// Sends one or more statements as they are; several without `BEGIN` are one transaction.
    pub fn run(&mut self, sql: &str) -> Result<(), SqlError> {
        match &mut self.inner {
            Inner::Server { connection, .. } => {
                connection.batch_execute(sql).map_err(SqlError::from)
            }
            Inner::File(file) => {
                file.connection.run(sql).map_err(|fault| SqlError::of_file(fault, sql))
            }
        }
    }

    /// Sends the statements that lift the limits of a session, again where a limit cancelled just them:
    /// on a busy server one of some milliseconds does. A transaction that they open is opened anew.
    pub(super) fn lift(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, SqlError> {
        let mut again = 0..20;
        loop {
            match self.simple(sql) {
                Err(error)
                    if error.is_cancelled() && !self.is_closed() && again.next().is_some() =>
                {
                    let _ = self.run("rollback");
                }
                answer => return answer,
            }
        }
    }

    /// Runs one statement with parameters and returns its rows.
    pub fn rows(
        &mut self,
        sql: &str,
        parameters: &[&(dyn Param + Sync)],
    ) -> Result<Vec<Row>, SqlError> {
        self.connection()?.query(sql, parameters).map_err(SqlError::from)
    }

    /// Runs one statement with parameters and returns how many rows it changed.
    pub fn execute(
        &mut self,
        sql: &str,
        parameters: &[&(dyn Param + Sync)],
    ) -> Result<u64, SqlError> {
        self.connection()?.execute(sql, parameters).map_err(SqlError::from)
    }

    /// Sends one or more statements as they are and returns the rows of all of them as text.
    pub fn simple(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, SqlError> {
        let connection = match &mut self.inner {
            Inner::Server { connection, .. } => connection,
            Inner::File(file) => {
                return file.connection.rows(sql).map_err(|fault| SqlError::of_file(fault, sql));
            }
        };
        let messages = connection.simple_query(sql).map_err(SqlError::from)?;
        let mut rows = Vec::new();
        for message in messages {
            if let postgres::SimpleQueryMessage::Row(row) = message {
                rows.push((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect());
            }
        }
        Ok(rows)
    }

    /// Runs one statement without parameters and hands over its rows as they come: a long answer is
    /// never held as a whole. Its columns are text and not null.
    pub fn each<const N: usize>(
        &mut self,
        sql: &str,
        mut take: impl FnMut([&str; N]),
    ) -> Result<(), SqlError> {
        let connection = match &mut self.inner {
            Inner::Server { connection, .. } => connection,
            Inner::File(file) => {
                let rows = file.connection.rows(sql).map_err(|e| SqlError::of_file(e, sql))?;
                for row in &rows {
                    let cell = |at: usize| row.get(at).and_then(Option::as_deref).unwrap_or("");
                    take(std::array::from_fn(cell));
                }
                return Ok(());
            }
        };
        let each = connection.each(sql, |row| {
            let mut columns = [""; N];
            for (at, column) in columns.iter_mut().enumerate() {
                *column = row.try_get(at)?;
            }
            take(columns);
            Ok(())
        });
        each.map_err(SqlError::from)
    }

    /// Runs one statement and returns the first column of its first row as text, if there is one.
    pub fn single(&mut self, sql: &str) -> Result<Option<String>, SqlError> {
        Ok(self.simple(sql)?.into_iter().next().and_then(|row| row.into_iter().next().flatten()))
    }

    /// Returns the process id of the server's side of this connection.
    pub fn backend(&mut self) -> Result<i32, SqlError> {
        if self.file().is_some() {
            return Ok(0);
        }
        let text = self.single("select pg_backend_pid()")?;
        Ok(text.and_then(|text| text.parse().ok()).unwrap_or_default())
    }

    /// Returns the same, and when the server was started, behind other statements in one message.
    ///
    /// No two servers are started in one microsecond. Their addresses tell less: one server may have
    /// several, and none on a socket.
    pub(super) fn far_end_after(&mut self, statements: &str) -> Result<(i32, String), SqlError> {
        let own = "select pg_backend_pid(), extract(epoch from pg_postmaster_start_time())";
        let rows = self.simple(&format!("{statements};{own}"))?;
        let mut row = rows.into_iter().next().unwrap_or_default().into_iter().flatten();
        let backend = row.next().and_then(|text| text.parse().ok()).unwrap_or_default();
        Ok((backend, row.next().unwrap_or_default()))
    }

    /// Returns whether the server still answers; a file is opened anew, because it may be another by now.
    pub(super) fn is_answered(&mut self) -> bool {
        match &mut self.inner {
            Inner::Server { connection, .. } => connection.is_answered(ANSWERS_WITHIN),
            Inner::File(_) => false,
        }
    }

    /// Returns whether the connection is known to be gone.
    pub fn is_closed(&self) -> bool {
        match &self.inner {
            Inner::Server { connection, .. } => connection.is_closed(),
            Inner::File(_) => false,
        }
    }
}
