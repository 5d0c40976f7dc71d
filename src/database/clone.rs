//! Clones: copies of a whole database on its own server, made from its files and closed to everybody.
//!
//! A clone takes a fraction of the time of a dump, or none at all where the server copies by reflink.
//! While it is made nobody may be connected to the original; while it lies there nobody may connect to
//! it. It becomes the original by a rename.

use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::facts::{self, RowCount};
use super::roles::acts_for;
use super::session::{Session, SqlError};
use super::sessions::{self, SessionKind};
use super::swap::{Server, literal, quoted};
use super::{Database, scratch};
use crate::error::{Context, Error, Result};
use crate::progress::Progress;
use crate::system::clock::{self, Deadline};
use crate::system::signals;

/// Word in the name of a clone.
pub const WORD: &str = "clone";

/// How long sessions that are just being closed are waited for, such as those of a service that was
/// stopped; the server itself waits as long once more, but looks ten times a second only.
const LEAVING: Duration = Duration::from_secs(5);

/// The first major that can be told to copy files instead of writing them to the log.
const WITH_STRATEGY: u32 = 15;

/// What a clone must be like its original in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looks {
    /// Digest of every definition.
    pub definitions: String,
    /// Rows per table, exact for small ones.
    pub rows: Vec<(String, RowCount)>,
}

/// A database that is named like a clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// Its comment, which says who made it; none where that run was killed before it could.
    pub mark: Option<String>,
}

/// A database that was replaced, and what it is as a clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Former {
    /// Its name since it was replaced.
    pub kept_as: String,
    /// Its name as a clone.
    pub clone: String,
    /// Its comment as a clone.
    pub mark: String,
}

/// Where the server would write a clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Directories of every tablespace that the database lies in.
    pub dirs: Vec<PathBuf>,
    /// Whether the server copies by reflink where the file system can.
    pub reflink: bool,
    /// Size of the database, in bytes.
    pub size: u64,
}

impl Server {
    /// Says why this role cannot clone a database and rename the clone, where it cannot.
    pub fn may_not_clone(&mut self, name: &str) -> Result<Option<String>> {
        let sql = format!(
            "select r.rolsuper or (r.rolcreatedb and {}), r.rolsuper or r.rolcreatedb, r.rolname::text
              from pg_roles r, pg_database d where r.rolname = current_user and d.datname = $1",
            acts_for("d.datdba")
        );
        let Some(row) = self.ask("read the rights of the role", &sql, name)? else {
            return Ok(Some(format!("the server has no database {name}")));
        };
        let role: String = row.get(2);
        Ok(match (row.get::<_, bool>(0), row.get::<_, bool>(1)) {
            (true, _) => self.held(name)?,
            (false, false) => Some(format!("the role {role} may not create databases")),
            (false, true) => Some(format!("the role {role} does not own {name}")),
        })
    }

    /// Names a session of the server's own: nobody may be connected to what is copied, replication comes
    /// back when it is ended, and a worker of an extension may not (that of pg_cron 1.4 does not).
    fn held(&mut self, name: &str) -> Result<Option<String>> {
        let sessions = self.sessions(name)?;
        let stays = sessions.iter().find(|session| session.kind != SessionKind::Client);
        Ok(stays.map(|session| format!("{session} keeps {name} in use")))
    }

    /// Copies a database, closes the copy to everybody and marks it.
    ///
    /// Every session in the original must be gone or going; others that come wait until it is done.
    pub fn make_clone(
        &mut self,
        name: &str,
        clone: &str,
        mark: &str,
        progress: &dyn Progress,
    ) -> Result<()> {
        let failed = || format!("cannot clone the database {name}");
        let major = self.major()?;
        let sql = "select format('owner %I', pg_get_userbyid(datdba)) from pg_database where datname = $1";
        let owner = self.ask("read the owner of the database", sql, name)?;
        let owner = owner.map_or_else(String::new, |row| row.get::<_, String>(0));
        // Only where the server knows it, and can do it on this system.
        let reflink = "select set_config('file_copy_method', 'clone', false) from pg_settings
             where name = 'file_copy_method' and 'clone' = any (enumvals)";
        self.session.run(reflink).context(failed)?;
        self.wait_for_leaving(name)?;
        let strategy = if major >= WITH_STRATEGY { "strategy file_copy" } else { "" };
        let sql = format!(
            "create database {} template {} {strategy} {owner} allow_connections false",
            quoted(clone),
            quoted(name)
        );
        let size =
            self.ask("measure the database", "select pg_database_size($1::name)::int8", name)?;
        let size = size.map(|row| row.get::<_, i64>(0).unsigned_abs());
        self.run_watched(&sql, &format!("cloning {name}"), size, progress).context(failed)?;
        self.close_and_mark(clone, mark)
    }

    /// A backend needs a moment to go after its session was closed.
    fn wait_for_leaving(&mut self, name: &str) -> Result<()> {
        let sql = "select exists (select from pg_stat_activity where datname = $1
             and usesysid is not null and coalesce(backend_type, 'client backend') = 'client backend')";
        let patience = Deadline::after(LEAVING);
        while !patience.passed() {
            let row = self.ask("look for sessions", sql, name)?;
            if !row.is_some_and(|row| row.get(0)) {
                break;
            }
            clock::pause(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Runs a long statement; asked to stop, we end it, and nothing of it remains.
    fn run_watched(
        &mut self,
        sql: &str,
        what: &str,
        size: Option<u64>,
        progress: &dyn Progress,
    ) -> std::result::Result<(), SqlError> {
        let backend = self.session.backend()?;
        let beside = self.database.clone();
        let session: &mut Session = &mut self.session;
        std::thread::scope(|scope| {
            let (done, ended) = mpsc::channel();
            scope.spawn(move || done.send(session.run(sql)));
            loop {
                match ended.recv_timeout(Duration::from_millis(250)) {
                    Ok(ended) => return ended,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => {
                        let message = "the session ended unexpectedly".into();
                        return Err(SqlError::lost(message));
                    }
                }
                progress.alive(what, 0, size);
                if signals::received().is_some()
                    && let Ok(mut other) = Self::beside(&beside)
                {
                    // A statement that is just over is not hit; the next look tries again.
                    let _ = other.session.cancel(backend);
                }
            }
        })
    }

    /// Lets those with a right connect to a clone.
    pub fn open_clone(&mut self, clone: &str) -> Result<()> {
        self.allow(clone, "true")
    }

    /// Lets nobody connect to a clone, and ends who is connected.
    pub fn close_clone(&mut self, clone: &str) -> Result<()> {
        self.allow(clone, "false")?;
        let sessions = self.sessions(clone)?;
        sessions::end_sessions(&mut self.session, &sessions).map(drop)
    }

    fn allow(&mut self, clone: &str, whether: &str) -> Result<()> {
        self.session
            .run(&format!("alter database {} allow_connections {whether}", quoted(clone)))
            .context(|| format!("cannot open or close the database {clone}"))
    }

    /// Makes clones of databases that were replaced: name, comment and that nobody may connect to them,
    /// in one transaction, so that at any instant all of them are clones or none is.
    pub fn become_clones(&mut self, formers: &[Former]) -> Result<()> {
        let mut sql = String::from("begin;");
        for Former { kept_as, clone, mark } in formers {
            self.wait_for_leaving(kept_as)?;
            let (former, clone, mark) = (quoted(kept_as), quoted(clone), literal(mark));
            sql.push_str(&format!(
                "alter database {former} rename to {clone};
                 comment on database {clone} is {mark};
                 alter database {clone} allow_connections false;
                 revoke all on database {clone} from public;"
            ));
        }
        sql.push_str("commit");
        self.session.run(&sql).map_err(|error| {
            let _ = self.session.run("rollback");
            Error::failed("cannot make clones of the databases that were replaced").source(error)
        })
    }

    /// Returns the database beside `name`, named with this word, whose comment says exactly this.
    pub fn noted(&mut self, name: &str, word: &str, note: &str) -> Result<Option<String>> {
        let sql =
            "select shobj_description(oid, 'pg_database') from pg_database where datname = $1";
        for beside in self.named_like(name, word, "true")? {
            let row = self.ask("read the comment on a database", sql, &beside)?;
            let said: Option<String> = row.and_then(|row| row.get(0));
            if said.as_deref() == Some(note) {
                return Ok(Some(beside));
            }
        }
        Ok(None)
    }

    /// Gives a clone what its original has around it: grants, settings, comment; returns what could
    /// not be carried over.
    pub fn dress_clone(&mut self, name: &str, clone: &str) -> Result<Vec<String>> {
        let quoted = quoted(clone);
        self.session
            .run(&format!(
                "comment on database {quoted} is null;
                 grant connect, temporary on database {quoted} to public"
            ))
            .context(|| format!("cannot open the database {clone} to others"))?;
        if self.has(name)? { self.carry_over(name, clone) } else { Ok(Vec::new()) }
    }

    /// Lists the databases that are named like clones of this one.
    pub fn clones_of(&mut self, name: &str) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        for clone in self.named_like(name, WORD, "true")? {
            found.push(Found { mark: self.mark_of(&clone)?, name: clone });
        }
        Ok(found)
    }

    /// Returns the comment of a database, where it has one.
    pub fn mark_of(&mut self, name: &str) -> Result<Option<String>> {
        let sql =
            "select shobj_description(oid, 'pg_database') from pg_database where datname = $1";
        let row = self.ask("read the mark of a database", sql, name)?;
        Ok(row.and_then(|row| row.get(0)))
    }
}

/// Returns where a clone of this database would be written, where that is on this machine and known. One
/// session: it is asked with the services down.
pub fn place(database: &Database) -> Result<Option<Place>> {
    let mut session = database.connect()?;
    facts::unlimited(&mut session, facts::LOCK_WAIT)?;
    let Some(data) = scratch::data_directory_of(&mut session)? else { return Ok(None) };
    let sql = "select pg_tablespace_location(t.oid), exists (select from pg_settings
             where name = 'file_copy_method' and 'clone' = any (enumvals))
          from pg_tablespace t, pg_database d where d.datname = current_database()
           and (t.oid = d.dattablespace
                or d.oid in (select pg_tablespace_databases(t.oid) where t.spcname !~ '^pg_'))";
    let rows = session.rows(sql, &[]).context(|| "cannot ask where the database lies".into())?;
    let reflink = rows.first().is_some_and(|row| row.get(1));
    let dirs = rows.iter().map(|row| match row.get::<_, String>(0) {
        inside if inside.is_empty() => data.join("base"),
        outside => PathBuf::from(outside),
    });
    let dirs = dirs.collect();
    let size = facts::size(&mut session)
        .ok_or_else(|| Error::failed(format!("cannot measure {}", database.described())))?;
    Ok(Some(Place { dirs, reflink, size }))
}

/// Looks at what a clone and its original must have in common.
pub fn looks(database: &Database) -> Result<Looks> {
    let mut session = database.connect()?;
    facts::unlimited(&mut session, facts::LOCK_WAIT)?;
    let definitions = session
        .definitions()
        .context(|| format!("cannot read the definitions of {}", database.described()))?;
    Ok(Looks { definitions, rows: facts::row_counts(&mut session)? })
}

impl Looks {
    /// Says in what a clone differs from its original; statistics may be younger in one of them.
    pub fn differs(&self, other: &Self) -> Option<String> {
        if self.definitions != other.definitions {
            return Some("its definitions differ".into());
        }
        differing_rows(&self.rows, &other.rows)
    }
}

/// Names the first table that is in one list only, or has another number of rows where both counted.
pub fn differing_rows(one: &[(String, RowCount)], other: &[(String, RowCount)]) -> Option<String> {
    let mut others: std::collections::BTreeMap<&str, RowCount> =
        other.iter().map(|(table, rows)| (table.as_str(), *rows)).collect();
    for (table, rows) in one {
        match (rows, others.remove(table.as_str())) {
            (_, None) => return Some(format!("table {table} is in one of them only")),
            (RowCount::Exact(one), Some(RowCount::Exact(other))) if *one != other => {
                return Some(format!(
                    "table {table} has {one} rows in one and {other} in the other"
                ));
            }
            (RowCount::Exact(_) | RowCount::Estimate(_), Some(_)) => {}
        }
    }
    others.first_key_value().map(|(table, _)| format!("table {table} is in one of them only"))
}

/// Says who else is connected to a database and does not go; our own sessions that are still to be
/// closed are left out.
pub fn check_alone(database: &Database, own: &[i32]) -> Result<std::result::Result<(), String>> {
    let mut session = database.connect()?;
    let patience = Deadline::after(LEAVING);
    let others = loop {
        let mut others = sessions::foreign_sessions(&mut session)?;
        others.retain(|other| !own.contains(&other.pid));
        if others.is_empty() {
            return Ok(Ok(()));
        }
        if patience.passed() {
            break others;
        }
        clock::pause(Duration::from_millis(20));
    };
    let named: Vec<String> = others.iter().map(ToString::to_string).collect();
    Ok(Err(format!("{} has other sessions: {}", database.described(), named.join("; "))))
}

impl SqlError {
    fn lost(message: String) -> Self {
        Self { code: None, message, detail: None, hint: None, position: None, about: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_differ_where_both_were_counted_or_a_table_is_missing() {
        let list = |rows: &[(&str, RowCount)]| -> Vec<(String, RowCount)> {
            rows.iter().map(|(table, rows)| ((*table).to_owned(), *rows)).collect()
        };
        let one = list(&[("a", RowCount::Exact(3)), ("b", RowCount::Estimate(100))]);
        assert_eq!(differing_rows(&one, &one), None);
        let other = list(&[("a", RowCount::Exact(3)), ("b", RowCount::Exact(7))]);
        assert_eq!(differing_rows(&one, &other), None);
        for (other, what) in [
            (
                list(&[("a", RowCount::Exact(4)), ("b", RowCount::Estimate(100))]),
                "table a has 3 rows",
            ),
            (list(&[("a", RowCount::Exact(3))]), "table b is in one"),
            (
                list(&[
                    ("a", RowCount::Exact(3)),
                    ("b", RowCount::Exact(1)),
                    ("c", RowCount::Exact(0)),
                ]),
                "table c is in one",
            ),
        ] {
            assert!(
                differing_rows(&one, &other).is_some_and(|text| text.starts_with(what)),
                "{what}"
            );
        }
    }
}
