//! Putting the data of a restore point back, without destroying the present data first.

use std::time::Duration;

use super::store::RestorePoint;
use crate::config::ForeignSessions;
use crate::database::Database;
use crate::database::clients::Clients;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::system::clock::Clock;

/// Whether a restore point of another application, host or database is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Override {
    /// It is refused.
    No,
    /// The operator said so, with `--force-foreign`.
    AcceptForeign,
}

/// How data is put back.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// Whether a point made elsewhere is accepted.
    pub foreign: Override,
    /// What happens to sessions of other users on the present database; our own are ended.
    pub sessions: ForeignSessions,
    /// Time of the names of replaced databases.
    pub clock: Clock,
    /// Where client programs are looked for.
    pub clients: Clients,
}

/// What a restore takes away: how old the point is, and what was written since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Name of the database within the application.
    pub database: String,
    /// Time since the dump began.
    pub age: Duration,
    /// Bytes of write-ahead log since, of the whole server; `None` on another server.
    pub wal_bytes: Option<u64>,
    /// Rows inserted, updated and deleted in this database since, where its statistics tell.
    pub rows_written: Option<u64>,
}

/// Where the former data of a database is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Name of the database within the application.
    pub database: String,
    /// Name on the server that the former database has now; `None` where it was overwritten in
    /// place, in one transaction.
    pub kept_as: Option<String>,
}

/// What a restore did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Where the former data is.
    pub replaced: Vec<Replaced>,
    /// What was taken away.
    pub loss: Vec<Loss>,
}

/// Puts the data of a restore point back into these databases.
pub fn restore(
    point: &RestorePoint,
    databases: &[&Database],
    options: &RestoreOptions,
    progress: &dyn Progress,
) -> Result<Restored> {
    let _ = (databases, options, progress);
    Err(Error::failed(format!("cannot restore {}", point.id())))
}
