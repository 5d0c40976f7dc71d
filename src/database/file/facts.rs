//! What a file and its surroundings say: size, sessions, doubts.

use crate::database::doubts::{Doubt, DoubtKind};
use crate::database::facts::{Facts, Identity};
use crate::database::session::{InFile, SqlError};
use crate::database::sessions::{SessionInfo, SessionKind};
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::sqlite::{Connection, Fault, holders};

/// The number of connections that may be opened, where nothing limits them.
const UNLIMITED: u64 = 100_000;

fn failed(path: &str, attempt: &str) -> impl Fn(Fault) -> Error + use<> {
    let text = format!("cannot {attempt} of the database file {path}");
    move |fault| fault.into_error(text.clone())
}

impl InFile {
    pub(in crate::database) fn facts(&mut self) -> Result<Facts> {
        let failed = failed(&self.path, "read the facts");
        let version = Connection::version(&self.connection).to_owned();
        let seen = self.connection.look().map_err(failed)?;
        let number = |text: &str| text.parse::<u32>().unwrap_or_default();
        let mut parts = version.split('.').map(number);
        let major = parts.next().unwrap_or_default();
        let minor = parts.next().unwrap_or_default();
        Ok(Facts {
            server_version: version,
            major,
            version_num: major * 1_000_000 + minor * 1000,
            in_recovery: false,
            read_only: false,
            size: seen.bytes,
            prepared_transactions: Vec::new(),
            identity: Identity {
                system: None,
                // Another file in its place has another one.
                oid: u32::try_from(seen.inode & u64::from(u32::MAX)).unwrap_or_default(),
                dbname: self.path.clone(),
            },
            wal_position: None,
            rows_written: None,
            counting: None,
            tables: seen.tables,
            connections_left: UNLIMITED,
        })
    }

    pub(in crate::database) fn row_counts(&mut self) -> Result<Vec<(String, u64)>> {
        let failed = failed(&self.path, "count the rows");
        self.connection.row_counts().map_err(failed)
    }

    /// Other processes that have the file open.
    pub(in crate::database) fn holders(&self) -> Vec<SessionInfo> {
        let Some(file) = self.connection.file() else { return Vec::new() };
        let session = |holder: crate::sqlite::Holder| SessionInfo {
            kind: SessionKind::Client,
            pid: holder.pid,
            user: holder.user,
            application: holder.command,
            client: "this machine".into(),
            state: if holder.locks { "holds a lock" } else { "has the file open" }.into(),
            since: String::new(),
            query_head: String::new(),
        };
        holders(file).into_iter().map(session).collect()
    }

    /// Whoever has a file open is a process, and none of ours to end.
    pub(in crate::database) fn not_ended(&self, sessions: &[SessionInfo]) -> Error {
        let text = format!("processes that have {} open are not ended", self.path);
        let error = Error::new(Outcome::Refused, text);
        let named = sessions.iter().map(ToString::to_string);
        named
            .fold(error, Error::detail)
            .hint("Stop them (`systemctl status PID` names the unit), then run this again.")
    }

    pub(in crate::database) fn doubts(&mut self) -> std::result::Result<Vec<Doubt>, SqlError> {
        let of = |fault| SqlError::of_file(fault, "");
        let broken = self.connection.broken_references().map_err(of)?;
        let doubt = |what: String| Doubt {
            kind: DoubtKind::NotValidated,
            what,
            remedy: "PRAGMA foreign_key_check".into(),
        };
        Ok(broken.into_iter().take(10).map(doubt).collect())
    }
}
