//! What became of an exchange of which nobody answered.

use std::time::Duration;

use super::session::SqlError;
use super::swap::{Exchange, PATIENCE, Server, UNTOUCHED};
use crate::error::{Error, Result};
use crate::system::clock::{self, Deadline};

impl Server {
    /// Asks the server what became of an exchange of which we lost the connection: it may have taken the
    /// `COMMIT` and never answered.
    pub(super) fn was_exchanged(
        &mut self,
        exchanges: &[Exchange],
        backend: i32,
        lost: SqlError,
    ) -> Result<()> {
        let patience = Deadline::after(PATIENCE);
        let error = Error::failed("cannot exchange the databases by renaming them").source(lost);
        let unknown =
            "the data is either that of before or that of the restore point, nothing between";
        loop {
            let asked = Self::beside(&self.database).and_then(|mut server| {
                let exchanged = server.are_exchanged(exchanges, backend)?;
                Ok((server, exchanged))
            });
            match asked {
                // All of them are renamed, or none.
                Ok((server, Some(true))) => {
                    *self = server;
                    return Ok(());
                }
                Ok((_, Some(false))) => return Err(error.state(UNTOUCHED)),
                Ok((_, None)) | Err(_) if !patience.passed() => {
                    clock::pause(Duration::from_millis(200));
                }
                Ok((_, None)) => {
                    return Err(error.detail("the session still works on it").state(unknown));
                }
                Err(away) => return Err(error.detail(away.message()).state(unknown)),
            }
        }
    }

    /// Returns whether databases have their new names; nothing while that session is not over.
    fn are_exchanged(&mut self, exchanges: &[Exchange], backend: i32) -> Result<Option<bool>> {
        let sql = "select 1 from pg_stat_activity where pid = $1::text::int4";
        if self.ask("look for a session", sql, &backend.to_string())?.is_some() {
            return Ok(None);
        }
        for one in exchanges {
            if self.has(&one.fresh)? {
                return Ok(Some(false));
            }
        }
        Ok(Some(true))
    }
}
