//! What each migration of a rehearsal did, noted while it ran: time, locks, rewritten tables.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::database::{LockMode, Session, SqlError, TableFile};
use crate::migrations::{Migration, Observer, Place};

/// One migration that was rehearsed.
#[derive(Clone, Debug)]
pub struct Noted {
    /// Version, as its tool writes it.
    pub version: String,
    /// Name.
    pub name: String,
    /// Where it ran.
    pub place: Place,
    /// How long it took.
    pub duration: Duration,
    /// The strongest lock that it took on each table that was there before, beyond reading; those of
    /// a migration outside a transaction are released before anybody can look.
    pub locks: Vec<(String, LockMode)>,
    /// Tables whose rows were written anew into another file.
    pub rewritten: Vec<Rewrite>,
}

/// A table that was written anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// `schema.table`.
    pub table: String,
    /// Bytes that it took before; they stay taken until the transaction ends.
    pub before: u64,
    /// Bytes that it takes now; none after a `TRUNCATE`.
    pub after: u64,
}

/// Looks at the session of the migrations before and after each of them.
#[derive(Default)]
pub(super) struct Notes {
    done: Vec<Noted>,
    tables: BTreeMap<u32, TableFile>,
    bytes: BTreeMap<u32, u64>,
    held: BTreeMap<u32, LockMode>,
}

impl Notes {
    /// Returns what was noted, in the order in which the migrations ran.
    pub(super) fn into_done(self) -> Vec<Noted> {
        self.done
    }

    /// Returns the migrations that ran, for the message about the one that failed.
    pub(super) fn done(&self) -> &[Noted] {
        &self.done
    }

    /// Notes what a command did that applies everything by itself.
    pub(super) fn whole(
        &mut self,
        session: &mut Session,
        command: &str,
        versions: &[String],
        took: Duration,
    ) -> Result<(), SqlError> {
        let rewritten = self.rewrites(session)?;
        self.done.push(Noted {
            version: versions.join(" "),
            name: command.to_owned(),
            place: Place::Alone,
            duration: took,
            locks: Vec::new(),
            rewritten,
        });
        Ok(())
    }

    fn new_locks(&mut self, session: &mut Session) -> Result<Vec<(String, LockMode)>, SqlError> {
        let mut found = Vec::new();
        for (oid, mode) in session.held_locks()? {
            // Nobody else can see a table that this transaction made.
            let Some(table) = self.tables.get(&oid) else { continue };
            let before = self.held.insert(oid, mode).unwrap_or(LockMode::AccessShare);
            if mode > before {
                found.push((table.table.clone(), mode));
            }
        }
        found.sort();
        Ok(found)
    }

    fn rewrites(&mut self, session: &mut Session) -> Result<Vec<Rewrite>, SqlError> {
        let now = session.table_files()?;
        let other = |table: &&TableFile| {
            self.tables.get(&table.oid).is_some_and(|before| before.file != table.file)
        };
        let changed: Vec<TableFile> = now.iter().filter(other).cloned().collect();
        let oids: Vec<u32> = changed.iter().map(|table| table.oid).collect();
        let mut rewritten = Vec::new();
        for (oid, after) in session.table_bytes(&oids)? {
            let before = self.bytes.insert(oid, after).unwrap_or_default();
            if let Some(table) = changed.iter().find(|table| table.oid == oid) {
                rewritten.push(Rewrite { table: table.table.clone(), before, after });
                self.tables.insert(oid, table.clone());
            }
        }
        rewritten.sort_by(|a, b| a.table.cmp(&b.table));
        Ok(rewritten)
    }
}

impl Observer for Notes {
    fn begins(&mut self, session: &mut Session) -> Result<(), SqlError> {
        let tables = session.table_files()?;
        let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
        self.bytes = session.table_bytes(&oids)?.into_iter().collect();
        self.tables = tables.into_iter().map(|table| (table.oid, table)).collect();
        self.held.clear();
        Ok(())
    }

    fn ran(
        &mut self,
        session: &mut Session,
        migration: &Migration,
        took: Duration,
        place: Place,
    ) -> Result<(), SqlError> {
        let locks = match place {
            Place::Transaction => self.new_locks(session)?,
            Place::Alone => Vec::new(),
        };
        let rewritten = self.rewrites(session)?;
        // Taken back and tried again: only the last time counts.
        self.done.retain(|noted| noted.version != migration.version);
        self.done.push(Noted {
            version: migration.version.to_string(),
            name: migration.name.to_string(),
            place,
            duration: took,
            locks,
            rewritten,
        });
        Ok(())
    }
}
