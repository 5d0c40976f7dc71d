//! Running files of SQL in one transaction of a file.

use std::time::Duration;

use crate::database::scripts::ScriptError;
use crate::database::session::{InFile, SqlError};
use crate::sqlite::ForeignKeys;

/// How long a reader may keep a transaction from its commit.
const COMMIT_WAIT: Duration = Duration::from_secs(30);

impl InFile {
    pub(in crate::database) fn begin_script(
        &mut self,
        wait: Duration,
        keys: ForeignKeys,
    ) -> Result<(), SqlError> {
        self.connection.begin_writing(wait, keys).map_err(|fault| SqlError::of_file(fault, ""))
    }

    pub(in crate::database) fn run_script(&mut self, sql: &str) -> Result<(), ScriptError> {
        if self.connection.is_outside_transaction() {
            return Err(ScriptError::TransactionEnded);
        }
        self.connection.run(sql).map_err(|fault| ScriptError::Sql(SqlError::of_file(fault, sql)))
    }

    pub(in crate::database) fn run_alone(
        &mut self,
        wait: Duration,
        keys: ForeignKeys,
        sql: &str,
    ) -> Result<(), SqlError> {
        self.begin_script(wait, keys)?;
        let ran = self.connection.run(sql).map_err(|fault| SqlError::of_file(fault, sql));
        match ran {
            Ok(()) => self.commit_script(),
            Err(error) => self.roll_back_script().and(Err(error)),
        }
    }

    pub(in crate::database) fn commit_script(&mut self) -> Result<(), SqlError> {
        self.connection.commit(COMMIT_WAIT).map_err(|fault| SqlError::of_file(fault, ""))
    }

    pub(in crate::database) fn roll_back_script(&mut self) -> Result<(), SqlError> {
        self.connection.roll_back().map_err(|fault| SqlError::of_file(fault, ""))
    }
}
