//! An open database file and what can be asked through it.

use std::time::Duration;

use rusqlite::OpenFlags;
use rusqlite::config::DbConfig;

use super::answers::text;
use super::holders::told;
use super::statements::statements;
use super::{Fault, File};
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::system::clock::{self, Deadline};
use crate::system::identity::Identity;
use crate::system::impersonate::with_rights_of;
use crate::system::signals;

/// How long a file that somebody locks is waited for, unless more is asked for.
const USUAL_WAIT: Duration = Duration::from_secs(5);

/// How many instructions SQLite runs between two looks at the signals that we received.
const BETWEEN_LOOKS: i32 = 20_000;

/// What is done about foreign keys while statements run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignKeys {
    /// They are enforced at each statement, and a dropped table deletes what refers to it.
    Enforced,
    /// They are checked at the end, so that tables can be rebuilt under their names.
    Deferred,
}

/// An open database file.
///
/// What is asked runs with the rights of the file's owner, whose files beside it SQLite then makes.
pub struct Connection {
    inner: rusqlite::Connection,
    identity: Option<Identity>,
    file: Option<File>,
    /// Missing rows that rows referred to when the transaction began, where they are not enforced.
    broken: Option<usize>,
}

impl Connection {
    pub(super) fn open(file: &File) -> Result<Self> {
        let identity = file.identity()?;
        let wal = file.beside("-wal").symlink_metadata().is_ok_and(|data| data.len() > 0);
        let path = file.path();
        let open = || -> std::result::Result<_, rusqlite::Error> {
            let both = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let inner = rusqlite::Connection::open_with_flags(path, both)?;
            inner.busy_timeout(Duration::ZERO)?;
            inner.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
            // Whoever only looks leaves what the last writer left; it is the writer's to clear away.
            inner.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, wal)?;
            Ok(inner)
        };
        let opened = with_rights_of(identity.as_ref(), || Ok(open()))?;
        let inner = opened.map_err(|error| file.failed("open", error.into()))?;
        let mut own = Self { inner, identity, file: Some(file.clone()), broken: None };
        // Opening reads nothing: that it is a database, and may be read, is known only now.
        own.patiently(USUAL_WAIT, "select count(*) from sqlite_schema")
            .map_err(|fault| own.refused(fault))?;
        Ok(own)
    }

    /// Stands for a file that is not there: a database without anything in it.
    pub fn empty() -> Result<Self> {
        let inner = rusqlite::Connection::open_in_memory()
            .map_err(|error| Error::failed("cannot begin with SQLite").source(error))?;
        Ok(Self::around(inner))
    }

    /// Stands for a file that nobody writes to, opened already.
    pub(super) fn around(inner: rusqlite::Connection) -> Self {
        Self { inner, identity: None, file: None, broken: None }
    }

    fn refused(&self, fault: Fault) -> Error {
        let path = self.file.as_ref().map(|file| file.path().display().to_string());
        let path = path.unwrap_or_default();
        let attempt = format!("cannot read the database file {path}");
        match fault.code.as_str() {
            "SQLITE_BUSY" => fault.into_error(attempt).outcome_as(Outcome::Unreachable),
            "SQLITE_NOTADB" => fault
                .into_error(attempt)
                .hint("Correct `path` of the database in the packager's upgrade.conf."),
            "SQLITE_CANTOPEN" | "SQLITE_PERM" | "SQLITE_READONLY" => {
                let hint = format!("Look at `ls -l {path}`; its owner opens it, or `user`.");
                fault.into_error(attempt).hint(hint)
            }
            _ => fault.into_error(attempt),
        }
    }

    /// Returns the file, unless it stands for one that is not there.
    pub fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// Returns the connection itself, to copy from or to.
    pub(super) fn inner(&mut self) -> &mut rusqlite::Connection {
        &mut self.inner
    }

    /// Returns with whose rights it is used.
    pub(super) fn rights(&self) -> Option<Identity> {
        self.identity.clone()
    }

    /// Runs one or more statements one after the other, each in a transaction of its own unless one
    /// is open.
    pub fn run(&mut self, sql: &str) -> std::result::Result<(), Fault> {
        self.rows(sql).map(drop)
    }

    /// Runs one or more statements and returns the rows of all of them as text.
    pub fn rows(&mut self, sql: &str) -> std::result::Result<Vec<Vec<Option<String>>>, Fault> {
        let mut rows = Vec::new();
        self.each(sql, |row| rows.push(row))?;
        Ok(rows)
    }

    /// The same, and hands over the rows as they come.
    pub fn each(
        &mut self,
        sql: &str,
        mut take: impl FnMut(Vec<Option<String>>) + Send,
    ) -> std::result::Result<(), Fault> {
        let (inner, file) = (&mut self.inner, self.file.as_ref());
        let take = &mut take;
        let job = move || Ok::<_, Error>(run_all(inner, sql, take));
        let done = with_rights_of(self.identity.as_ref(), job);
        let result = done.unwrap_or_else(|error| Err(Fault::ours(error.message())));
        result.map_err(|mut fault| {
            if fault.is_busy() {
                fault.detail = file.and_then(told);
            }
            fault
        })
    }

    /// Runs statements that wait for a lock at most this long.
    pub fn patiently(
        &mut self,
        wait: Duration,
        sql: &str,
    ) -> std::result::Result<Vec<Vec<Option<String>>>, Fault> {
        let deadline = Deadline::after(wait);
        let mut pause = Duration::from_millis(5);
        loop {
            // Not SQLite's own waiting: ours ends when we are asked to.
            match self.rows(sql) {
                Err(fault)
                    if fault.is_busy() && !deadline.passed() && signals::received().is_none() =>
                {
                    clock::pause(pause.min(deadline.remaining()));
                    pause = (pause * 2).min(Duration::from_millis(100));
                }
                ended => return ended,
            }
        }
    }

    /// Returns the first column of the first row.
    pub fn single(&mut self, sql: &str) -> std::result::Result<Option<String>, Fault> {
        Ok(self.rows(sql)?.into_iter().next().and_then(|row| row.into_iter().next().flatten()))
    }

    /// Ends the work with the file: what lies beside it is applied and cleared away.
    pub(super) fn clear_away(self) {
        let _ = self.inner.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
        // Where another process has it open, the log stays, and that process is found.
        let _ = self.inner.close();
    }

    /// Returns whether no transaction is open.
    pub fn is_outside_transaction(&self) -> bool {
        self.inner.is_autocommit()
    }

    /// Begins to look: nothing can be written until [`Connection::end_looking`].
    pub fn begin_looking(&mut self) -> std::result::Result<(), Fault> {
        self.patiently(USUAL_WAIT, "pragma query_only = on; begin; select 1 from sqlite_schema")
            .map(drop)
    }

    /// Ends a look.
    pub fn end_looking(&mut self) -> std::result::Result<(), Fault> {
        self.run("rollback; pragma query_only = off")
    }

    /// Begins a transaction that writes, once nobody else does; asked to stop, its statements end.
    pub fn begin_writing(
        &mut self,
        wait: Duration,
        keys: ForeignKeys,
    ) -> std::result::Result<(), Fault> {
        // Within a transaction this setting changes nothing.
        self.set_foreign_keys(keys)?;
        self.patiently(wait, "begin immediate")?;
        self.broken = match keys {
            ForeignKeys::Enforced => None,
            // What cannot be checked, such as a reference to no key, is no worse afterwards.
            ForeignKeys::Deferred => self.broken_references().ok().map(|broken| broken.len()),
        };
        self.end_when_asked(true)
    }

    /// Says whether foreign keys are enforced; outside a transaction only.
    pub fn set_foreign_keys(&mut self, keys: ForeignKeys) -> std::result::Result<(), Fault> {
        let on = if keys == ForeignKeys::Enforced { "on" } else { "off" };
        self.run(&format!("pragma foreign_keys = {on}"))
    }

    /// Commits; a reader that stands in the way is waited for this long.
    pub fn commit(&mut self, wait: Duration) -> std::result::Result<(), Fault> {
        self.end_when_asked(false)?;
        self.check_references()?;
        self.patiently(wait, "commit").map(drop)
    }

    /// Takes a transaction back, where one is open.
    pub fn roll_back(&mut self) -> std::result::Result<(), Fault> {
        self.end_when_asked(false)?;
        match self.is_outside_transaction() {
            true => Ok(()),
            false => self.run("rollback"),
        }
    }

    /// Refuses to commit where rows refer to missing ones that did not before.
    fn check_references(&mut self) -> std::result::Result<(), Fault> {
        let Some(before) = self.broken.take() else { return Ok(()) };
        let now = self.broken_references()?;
        if now.len() <= before {
            return Ok(());
        }
        let more = now.len() - before;
        let detail = now.iter().take(5).cloned().collect::<Vec<_>>().join("; ");
        Err(Fault {
            code: "SQLITE_CONSTRAINT".into(),
            detail: Some(detail),
            ..Fault::ours(format!("FOREIGN KEY constraint failed for {more} rows at the end"))
        })
    }

    fn end_when_asked(&mut self, whether: bool) -> std::result::Result<(), Fault> {
        let look = whether.then_some(|| signals::received().is_some());
        Ok(self.inner.progress_handler(BETWEEN_LOOKS, look)?)
    }
}

fn run_all(
    inner: &mut rusqlite::Connection,
    sql: &str,
    take: &mut (dyn FnMut(Vec<Option<String>>) + Send),
) -> std::result::Result<(), Fault> {
    for range in statements(sql) {
        run_one(inner, &sql[range.clone()], take)
            .map_err(|fault| Fault { at: Some(range.start + fault.at.unwrap_or(0)), ..fault })?;
    }
    Ok(())
}

fn run_one(
    inner: &rusqlite::Connection,
    sql: &str,
    take: &mut (dyn FnMut(Vec<Option<String>>) + Send),
) -> std::result::Result<(), Fault> {
    let mut statement = inner.prepare(sql)?;
    let columns = statement.column_count();
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        let cells = (0..columns).map(|at| Ok(text(row.get_ref(at)?)));
        take(cells.collect::<std::result::Result<_, rusqlite::Error>>()?);
    }
    Ok(())
}
