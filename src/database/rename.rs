//! Databases exchanged by their names, in one transaction, with the sessions in the way ended.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use super::Database;
use super::session::{Session, SqlError};
use super::sessions::{self, SessionKind};
use super::swap::{End, Exchange, PATIENCE, Server, UNTOUCHED, literal, quoted};
use crate::error::{Context, Error, Result};
use crate::outcome::Outcome;
use crate::system::clock::{self, Deadline};

/// How long a rename may take before somebody must be in the way of it.
const UNDISTURBED: Duration = Duration::from_millis(200);

/// A database that nobody may be in while it is renamed. By its number: in the moment of the exchange
/// its name becomes that of another one, whose sessions are nobody's business.
struct Cleared {
    number: u32,
    name: String,
    end: End,
}

impl Server {
    /// Renames all databases in one transaction; sessions in the way are ended as far as allowed,
    /// those that may not be ended are named.
    pub fn exchange(&mut self, exchanges: &[Exchange], end: End) -> Result<()> {
        let sql = renaming(exchanges);
        let patience = Deadline::after(PATIENCE);
        let backend = self.session.backend().context(|| "cannot read the session".into())?;
        let own = self.own_role()?;
        let (mut present, mut fresh) = (Vec::new(), Vec::new());
        for one in exchanges {
            present.extend(self.in_the_way(&one.name, end)?);
            fresh.extend(self.in_the_way(&one.fresh, End::All)?);
        }
        loop {
            for one in present.iter().chain(&fresh) {
                clear(&mut self.session, &self.database, &own, one)?;
            }
            match self.rename(&sql, &own, &present) {
                Ok(()) => return Ok(()),
                Err(error) if self.session.is_closed() => {
                    return self.was_exchanged(exchanges, backend, error);
                }
                Err(error) => {
                    let _ = self.session.run("rollback");
                    let in_use = error.code.as_deref() == Some("55006");
                    if !in_use || patience.passed() {
                        return Err(Error::failed(
                            "cannot exchange the databases by renaming them",
                        )
                        .source(error)
                        .state(UNTOUCHED));
                    }
                    clock::pause(Duration::from_millis(200));
                }
            }
        }
    }

    /// Ends who is in the way of an exchange that comes later, as far as allowed, and names who may not
    /// be ended.
    pub fn make_way(&mut self, exchange: &Exchange, end: End) -> Result<()> {
        let own = self.own_role()?;
        match self.in_the_way(&exchange.name, end)? {
            Some(one) => clear(&mut self.session, &self.database, &own, &one),
            None => Ok(()),
        }
    }

    fn in_the_way(&mut self, name: &str, end: End) -> Result<Option<Cleared>> {
        let sql = "select oid from pg_database where datname = $1";
        let row = self.ask("look for a database", sql, name)?;
        Ok(row.map(|row| Cleared { number: row.get(0), name: name.to_owned(), end }))
    }

    /// Runs the exchange, while a second session ends who came in before it: into the databases that are
    /// replaced. Whoever is seen in one that takes their place may have come after the commit already,
    /// and is at home there.
    ///
    /// A rename locks the database, which lets nobody else in, and then waits five seconds for those who
    /// are (`RenameDatabase` and `CountOtherDBBackends`, PostgreSQL 13 to 18). That nobody is in it when
    /// the rename begins cannot be had by ending sessions before: a worker of a subscription that is ended
    /// is started again at once, and may be in before us every time.
    fn rename(
        &mut self,
        sql: &str,
        own: &str,
        present: &[Cleared],
    ) -> std::result::Result<(), SqlError> {
        let done = AtomicBool::new(false);
        let Self { session, database } = self;
        let database = &*database;
        thread::scope(|scope| {
            let beside = scope.spawn(|| end_meanwhile(database, own, present, &done));
            let _done = Done(&done, beside.thread().clone());
            session.run(sql)
        })
    }
}

/// Says that the rename is over, however it ends.
struct Done<'a>(&'a AtomicBool, Thread);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
        self.1.unpark();
    }
}

/// What cannot be ended here is named by the next attempt.
fn end_meanwhile(database: &Database, own: &str, present: &[Cleared], done: &AtomicBool) {
    let mut beside = None;
    loop {
        thread::park_timeout(UNDISTURBED);
        if done.load(Ordering::Acquire) {
            return;
        }
        beside = beside.or_else(|| Server::beside(database).ok());
        if let Some(server) = &mut beside {
            for one in present {
                let _ = clear(&mut server.session, database, own, one);
            }
        }
    }
}

/// Ends the sessions in a database that may be ended; refuses when others are left.
fn clear(session: &mut Session, database: &Database, own: &str, one: &Cleared) -> Result<()> {
    let (ours, others): (Vec<_>, Vec<_>) =
        sessions::sessions_in_number(session, one.number)?.into_iter().partition(|session| {
            let comes_back = matches!(session.kind, SessionKind::Subscriber | SessionKind::Worker);
            one.end == End::All || comes_back || session.user == own
        });
    let mut left: Vec<String> = others.iter().map(ToString::to_string).collect();
    for (session, why) in sessions::end_sessions(session, &ours)? {
        left.push(format!("{session}: {why}"));
    }
    if left.is_empty() {
        return Ok(());
    }
    let what = database.with_dbname(&one.name).described();
    let error = Error::new(Outcome::Refused, format!("other sessions are connected to {what}"));
    let error = left.into_iter().fold(error, Error::detail);
    Err(error.state(UNTOUCHED))
}

fn renaming(exchanges: &[Exchange]) -> String {
    let mut sql = String::from("begin;");
    for one in exchanges {
        if let Some(kept_as) = &one.kept_as {
            sql.push_str(&format!(
                "alter database {} rename to {};",
                quoted(&one.name),
                quoted(kept_as)
            ));
            if let Some(note) = &one.note {
                sql.push_str(&format!(
                    "comment on database {} is {};",
                    quoted(kept_as),
                    literal(note)
                ));
            }
        }
        sql.push_str(&format!(
            "alter database {} rename to {};",
            quoted(&one.fresh),
            quoted(&one.name)
        ));
    }
    sql.push_str("commit");
    sql
}
