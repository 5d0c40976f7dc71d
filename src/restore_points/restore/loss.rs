//! What putting a restore point back takes away.

use std::time::Duration;

use crate::database::replication::replication;
use crate::database::{Database, facts, sessions};
use crate::disk;
use crate::error::Result;
use crate::restore_points::store::RestorePoint;
use crate::system::clock::{self, Clock};

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
    /// Whether somebody is connected, who may not have told the server yet what it wrote.
    pub may_be_more: bool,
    /// Replication slots and subscriptions, which do not follow the data.
    pub replication: Vec<String>,
}

impl Loss {
    /// Says it, before anything happens.
    pub fn told(&self) -> String {
        let mut parts = vec![format!("the restore point is {} old", clock::spoken(self.age))];
        // None that was counted, where more may come, is no number.
        let counted = self.rows_written.filter(|rows| *rows > 0 || !self.may_be_more);
        parts.extend(counted.map(|rows| format!("{rows} rows written since")));
        parts.extend(self.wal_bytes.map(|bytes| {
            format!("{} of write-ahead log of the whole server since", disk::spoken(bytes))
        }));
        if !self.replication.is_empty() {
            parts.push(format!("left behind: {}", self.replication.join(", ")));
        }
        format!("{}: {}", self.database, parts.join(", "))
    }
}

impl RestorePoint {
    /// Returns what putting this point back would take away from a database.
    pub fn loss(&self, database: &Database, clock: Clock) -> Result<Loss> {
        let archive = self.archive(database.name())?;
        let created = clock::parse_rfc3339(&self.manifest().created);
        let age =
            created.and_then(|then| clock.now().duration_since(then).ok()).unwrap_or_default();
        let mut loss = Loss {
            database: archive.name.clone(),
            age,
            wal_bytes: None,
            rows_written: None,
            may_be_more: true,
            replication: Vec::new(),
        };
        let Ok(now) = facts::of(database) else {
            // A database that is gone has nothing to lose, and of one that cannot be read nothing is
            // known; a server that is away, or refuses us, is an error of its own.
            database.exists()?;
            return Ok(loss);
        };
        if now.identity.system == archive.identity.system {
            let since = |now: Option<u64>, then: Option<u64>| now?.checked_sub(then?);
            loss.wal_bytes = since(now.wal_position, archive.wal_position);
            // Another database of the same name has statistics of its own, and a count that began anew is none.
            let same = now.identity.oid == archive.identity.oid
                && archive.counting.is_some()
                && archive.counting == now.counting;
            if same {
                loss.rows_written = since(now.rows_written, archive.rows_written);
                let others = sessions::foreign_sessions(&mut database.connect()?)?;
                loss.may_be_more = !others.is_empty();
            }
        }
        if database.file().is_none() {
            let hanging = replication(&mut database.connect()?, database.dbname())?;
            loss.replication = hanging.named();
        }
        Ok(loss)
    }
}
