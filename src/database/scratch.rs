//! Databases that exist for one rehearsal, or for one trial of a restore point: private to their owner,
//! marked, and gone afterwards.
//!
//! Whoever makes one holds an advisory lock on its name, in the maintenance database of the server,
//! before it exists. The lock dies with its holder, so a name whose lock is free is a leftover.

use std::path::PathBuf;
use std::time::Duration;

use super::fresh::Owner;
use super::session::{Session, Trouble};
use super::swap::{Server, bound, stamped};
use super::{Database, facts};
use crate::error::{Context, Error, Result};
use crate::outcome::Outcome;
use crate::sqlite::ScratchFile;

/// What a scratch database is for; its name and the comment on it say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Migrations are rehearsed in it.
    Rehearsal,
    /// A restore point is loaded into it, to prove that it can be.
    Trial,
}

impl Purpose {
    const ALL: [Self; 2] = [Self::Rehearsal, Self::Trial];

    /// Returns the word in the name of the database.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Rehearsal => "rehearsal",
            Self::Trial => "trial",
        }
    }

    /// Returns how the comment on the database begins.
    fn mark(self) -> String {
        format!("openwatch {} of ", self.word())
    }
}

/// A database that was made on a server; dropping the value drops the database.
struct OnServer {
    /// Holds the lock on the name.
    server: Server,
    database: Database,
    there: bool,
}

impl OnServer {
    fn drop_now(&mut self) -> Result<()> {
        let name = self.database.dbname();
        let dropped = self.server.drop_fresh(name).or_else(|_| {
            // The session that made it may have been cut while migrations ran for hours.
            Server::beside(&self.database).and_then(|mut server| server.drop_fresh(name))
        });
        if dropped.is_ok() {
            self.there = false;
        }
        dropped
    }
}

impl Drop for OnServer {
    fn drop(&mut self) {
        if self.there {
            // Nothing more can be done here; a leftover is known by its name, mark and lock.
            let _ = self.drop_now();
        }
    }
}

/// Why a role cannot have a scratch database, and what would change that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hindrance {
    /// Why, as a clause.
    pub why: String,
    /// What a superuser could do about it, as the beginning of a sentence.
    pub remedy: Option<String>,
}

/// How long a table that somebody keeps locked is waited for, to measure it.
const MEASURE_WAIT: Duration = Duration::from_secs(2);

/// A database for one purpose; dropping the value drops the database.
pub struct ScratchDatabase {
    database: Database,
    place: Place,
}

/// Where it is, with what keeps others from taking it for a leftover.
enum Place {
    /// On a server.
    Server(Box<OnServer>),
    /// In a file beside that of the application.
    File(ScratchFile),
}

impl ScratchDatabase {
    /// Makes an empty database on the server of `place`, with encoding and locale of `like` and the
    /// settings that roles have in it; returns with it what could not be carried over.
    ///
    /// Needs the right to create databases there, and only the right to connect where `like` is.
    pub fn create(
        like: &Database,
        place: &Database,
        stamp: &str,
        purpose: Purpose,
    ) -> Result<(Self, Vec<String>)> {
        if let Some(file) = place.file() {
            let scratch = file.scratch(purpose.word(), stamp)?;
            let database = place.with_dbname(&scratch.path().display().to_string());
            return Ok((Self { database, place: Place::File(scratch) }, Vec::new()));
        }
        let mut server = Server::beside(place)?;
        may_create(&mut server, place, purpose)?;
        let name = stamped(like.dbname(), purpose.word(), stamp);
        hold(&mut server, &name, purpose)?;
        let same = like.same_server(place);
        let options = match same {
            true => server.options_of(like.dbname(), Owner::KeptWhereAllowed)?,
            // Roles and tablespaces are of the server; where the original is away, so is its locale.
            false => Server::beside(like)
                .and_then(|mut there| there.locale_of(like.dbname()))
                .unwrap_or_default(),
        };
        server.create(&name, &options).map_err(|error| error.state("nothing was changed"))?;
        let database = place.with_dbname(&name);
        let mut made = OnServer { server, database: database.clone(), there: true };
        let (mark, pid) = (purpose.mark(), std::process::id());
        let mark = format!("{mark}{} by pid {pid}", like.dbname());
        made.server.close_and_mark(&name, &mark)?;
        let left = match same {
            true => made.server.carry_settings(like.dbname(), &name)?,
            false => Vec::new(),
        };
        Ok((Self { database, place: Place::Server(Box::new(made)) }, left))
    }

    /// Returns the database.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Returns the file that takes a copy of the application's file, where the database is one.
    pub fn file(&self) -> Option<&ScratchFile> {
        match &self.place {
            Place::Server(_) => None,
            Place::File(file) => Some(file),
        }
    }

    /// Drops the database, with the sessions in it.
    pub fn remove(self) -> Result<()> {
        match self.place {
            Place::Server(mut made) => made.drop_now(),
            Place::File(file) => file.remove(),
        }
    }
}

/// Drops what runs of any purpose that were killed left of this database on the server of `place`.
pub fn drop_scratch_leftovers(like: &Database, place: &Database) -> Result<Vec<String>> {
    let mut dropped = Vec::new();
    if let Some(file) = place.file() {
        for purpose in Purpose::ALL {
            dropped.extend(file.drop_scratch(purpose.word())?);
        }
        return Ok(dropped);
    }
    let mut server = Server::beside(place)?;
    for purpose in Purpose::ALL {
        for name in server.named_like(like.dbname(), purpose.word(), "true")? {
            if !try_hold(&mut server, &name)? {
                continue;
            }
            // Killed before the mark was there, it has nothing in it; anything else is somebody's own.
            if marked(&mut server, &name, purpose)? || empty(&place.with_dbname(&name)) {
                server.drop_fresh(&name)?;
                dropped.push(name.clone());
            }
            let sql = format!("select pg_advisory_unlock({KEY})::text");
            server.ask("let go of a name", &sql, &name)?;
        }
    }
    Ok(dropped)
}

/// The number that an advisory lock on a name has.
const KEY: &str = "hashtextextended('openwatch ' || $1::text, 0)";

fn try_hold(server: &mut Server, name: &str) -> Result<bool> {
    let sql = format!("select pg_try_advisory_lock({KEY})");
    Ok(server.ask("lock a name", &sql, name)?.is_some_and(|row| row.get(0)))
}

fn hold(server: &mut Server, name: &str, purpose: Purpose) -> Result<()> {
    // A limit on idle sessions would end the lock while migrations run.
    let unlimited = "select set_config(name, '0', false)::text from pg_settings
         where name in ('idle_session_timeout', 'idle_in_transaction_session_timeout')";
    server.session.run(unlimited).context(|| "cannot prepare the session".into())?;
    if try_hold(server, name)? {
        return Ok(());
    }
    Err(Error::new(Outcome::Busy, format!("another {} uses the name {name}", purpose.word()))
        .state("this run changed nothing")
        .hint("Run it again."))
}

fn marked(server: &mut Server, name: &str, purpose: Purpose) -> Result<bool> {
    let sql = format!(
        "select coalesce(starts_with(shobj_description(oid, 'pg_database'), '{}'), false)
           from pg_database where datname = $1",
        purpose.mark()
    );
    Ok(server.ask("read the mark of a database", &sql, name)?.is_some_and(|row| row.get(0)))
}

fn empty(database: &Database) -> bool {
    let look = || -> Result<bool> {
        let mut session: Session = database.connect()?;
        Ok(facts::tables(&mut session)?.is_empty())
    };
    look().unwrap_or(false)
}

fn may_create(server: &mut Server, place: &Database, purpose: Purpose) -> Result<()> {
    let Some(Hindrance { why, remedy }) = right_to_create(server, place)? else { return Ok(()) };
    let error =
        Error::new(Outcome::Refused, format!("{why} on the server of {}", place.described()))
            .state("nothing was changed");
    Err(match purpose {
        Purpose::Rehearsal => error
            .detail("a rehearsal restores into a scratch database and drops it afterwards")
            .hint(match remedy {
                Some(remedy) => {
                    format!("{remedy}, or name another server with `--server-env VARIABLE`.")
                }
                None => "Name another server with `--server-env VARIABLE`.".into(),
            }),
        Purpose::Trial => {
            let error =
                error.detail("a restore point is proven by loading it into a scratch database");
            remedy.into_iter().fold(error, |error, remedy| error.hint(format!("{remedy}.")))
        }
    })
}

fn right_to_create(server: &mut Server, place: &Database) -> Result<Option<Hindrance>> {
    let sql = "select rolsuper or rolcreatedb, rolname::text, quote_ident(rolname) from pg_roles
                where rolname = current_user and $1 <> ''";
    let row = server.ask("read the rights of the role", sql, place.dbname())?;
    Ok(row.filter(|row| !row.get::<_, bool>(0)).map(|row| Hindrance {
        why: format!("the role {} may not create databases", row.get::<_, String>(1)),
        remedy: Some(format!(
            "Run `ALTER ROLE {} CREATEDB` as a superuser",
            row.get::<_, String>(2)
        )),
    }))
}

/// Says why our role cannot load a dump with these extensions into a scratch database on the server of
/// `place`; nothing where it can.
pub fn hindrance(place: &Database, extensions: &[String]) -> Result<Option<Hindrance>> {
    if place.file().is_some() {
        return Ok(None);
    }
    let mut server = Server::beside(place)?;
    if let Some(found) = right_to_create(&mut server, place)? {
        return Ok(Some(found));
    }
    let not_creatable = server.not_creatable(extensions)?;
    let why = not_creatable.map(|names| format!("the role may not create the extension {names}"));
    Ok(why.or_else(|| bound(extensions)).map(|why| Hindrance { why, remedy: None }))
}

impl Server {
    /// Returns encoding and locale only: what another server may have as well.
    fn locale_of(&mut self, name: &str) -> Result<String> {
        let sql = "select format('encoding %L lc_collate %L lc_ctype %L',
                pg_encoding_to_char(encoding), datcollate, datctype)
             from pg_database where datname = $1";
        let row = self.ask("read the locale of the database", sql, name)?;
        Ok(row.map_or_else(String::new, |row| row.get(0)))
    }
}

/// Returns where the server keeps the data of a database and of copies of it, where it runs on this
/// machine and the role may know.
pub fn data_directory(database: &Database) -> Result<Option<PathBuf>> {
    if let Some(file) = database.file() {
        return Ok(Some(file.dir().to_owned()).filter(|dir| dir.is_dir()));
    }
    data_directory_of(&mut database.connect()?)
}

/// The same, through a session in the database.
pub(super) fn data_directory_of(session: &mut Session) -> Result<Option<PathBuf>> {
    // A role that may not read the setting is shown no row; an address that is not this machine's
    // says nothing about our disks. A copy is made in the tablespace of the original.
    let sql = "select coalesce(
             (select nullif(pg_tablespace_location(dattablespace), '') from pg_database
               where datname = current_database()),
             (select setting from pg_settings where name = 'data_directory'))
         where inet_server_addr() is null or inet_server_addr() <<= '127.0.0.0/8'
            or inet_server_addr() = '::1'";
    let rows = session.rows(sql, &[]).context(|| "cannot ask where the data lies".into())?;
    let dir = rows.first().and_then(|row| row.get::<_, Option<String>>(0)).map(PathBuf::from);
    Ok(dir.filter(|dir| dir.is_dir()))
}

/// Returns the bytes of write-ahead log that a load may leave on the server's disk before the next
/// checkpoint takes them away.
pub fn log_bytes(database: &Database) -> Result<u64> {
    if database.file().is_some() {
        return Ok(0);
    }
    let mut session = database.connect()?;
    let sql = "select pg_size_bytes(current_setting('max_wal_size'))";
    let rows =
        session.rows(sql, &[]).context(|| "cannot read the settings of the server".into())?;
    Ok(rows.first().map_or(0, |row| row.get::<_, i64>(0).unsigned_abs()))
}

/// Returns the bytes of the largest table with all that belongs to it, which a rewrite holds twice;
/// none where somebody keeps it locked.
pub fn largest_table(database: &Database) -> Result<Option<u64>> {
    if database.file().is_some() {
        return Ok(None);
    }
    let mut session = database.connect()?;
    facts::unlimited(&mut session, MEASURE_WAIT)?;
    let sql = "select coalesce(max(pg_total_relation_size(c.oid)), 0)::int8 from pg_class c
         join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'm') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'";
    match session.rows(sql, &[]) {
        Ok(rows) => Ok(rows.first().map(|row| row.get::<_, i64>(0).unsigned_abs())),
        Err(error) if error.trouble() == Trouble::Lock => Ok(None),
        Err(error) => Err(Error::failed("cannot measure the tables").source(error)),
    }
}
