//! A connected session and what can be asked through it.

use std::fmt;

pub use postgres::Row;
pub use postgres::types::ToSql as Param;

/// A connection to one database.
pub struct Session {
    client: postgres::Client,
}

/// What the server, or the connection to it, said against a statement.
#[derive(Clone, Debug)]
pub struct SqlError {
    /// SQLSTATE; none when the connection failed rather than the statement.
    pub code: Option<String>,
    /// The server's primary message, or what happened to the connection.
    pub message: String,
    /// The server's detail.
    pub detail: Option<String>,
    /// The server's hint.
    pub hint: Option<String>,
    /// Where in the text that was sent the error lies, in characters, from 1.
    pub position: Option<u32>,
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.code {
            Some(code) => write!(f, " (SQLSTATE {code})"),
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
            },
            None => {
                let mut message = error.to_string();
                if let Some(source) = std::error::Error::source(&error) {
                    message = format!("{message}: {source}");
                }
                Self { code: None, message, detail: None, hint: None, position: None }
            }
        }
    }
}

impl Session {
    pub(super) fn new(client: postgres::Client) -> Self {
        Self { client }
    }

    /// Sends one or more statements as they are; several without `BEGIN` are one transaction.
    pub fn run(&mut self, sql: &str) -> Result<(), SqlError> {
        self.client.batch_execute(sql).map_err(SqlError::from)
    }

    /// Runs one statement with parameters and returns its rows.
    pub fn rows(
        &mut self,
        sql: &str,
        parameters: &[&(dyn Param + Sync)],
    ) -> Result<Vec<Row>, SqlError> {
        self.client.query(sql, parameters).map_err(SqlError::from)
    }

    /// Runs one statement with parameters and returns how many rows it changed.
    pub fn execute(
        &mut self,
        sql: &str,
        parameters: &[&(dyn Param + Sync)],
    ) -> Result<u64, SqlError> {
        self.client.execute(sql, parameters).map_err(SqlError::from)
    }
}
