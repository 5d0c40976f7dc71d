//! Databases that exist for one rehearsal: private to their owner, marked, and gone afterwards.
//!
//! Whoever makes one holds an advisory lock on its name, in the maintenance database of the server,
//! before it exists. The lock dies with its holder, so a name whose lock is free is a leftover.

use std::path::PathBuf;
use std::time::Duration;

use super::fresh::Owner;
use super::session::{Session, Trouble};
use super::swap::{Server, stamped};
use super::{Database, facts};
use crate::error::{Context, Error, Result};
use crate::outcome::Outcome;

/// Word in the name of a scratch database.
const WORD: &str = "rehearsal";

/// How long a table that somebody keeps locked is waited for, to measure it.
const MEASURE_WAIT: Duration = Duration::from_secs(2);

/// How the comment on a scratch database begins.
const MARK: &str = "openwatch rehearsal of ";

/// A database of one rehearsal; dropping the value drops the database.
pub struct ScratchDatabase {
    /// Holds the lock on the name.
    server: Server,
    database: Database,
    there: bool,
}

impl ScratchDatabase {
    /// Makes an empty database on the server of `place`, with encoding and locale of `like` and the
    /// settings that roles have in it; returns with it what could not be carried over.
    ///
    /// Needs the right to create databases there, and only the right to connect where `like` is.
    pub fn create(like: &Database, place: &Database, stamp: &str) -> Result<(Self, Vec<String>)> {
        let mut server = Server::beside(place)?;
        may_create(&mut server, place)?;
        let name = stamped(like.dbname(), WORD, stamp);
        hold(&mut server, &name)?;
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
        let mut scratch = Self { server, database, there: true };
        let mark = format!("{MARK}{} by pid {}", like.dbname(), std::process::id());
        scratch.server.close_and_mark(&name, &mark)?;
        let left = match same {
            true => scratch.server.carry_settings(like.dbname(), &name)?,
            false => Vec::new(),
        };
        Ok((scratch, left))
    }

    /// Returns the database.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Drops the database, with the sessions in it.
    pub fn remove(mut self) -> Result<()> {
        self.drop_now()
    }

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

impl Drop for ScratchDatabase {
    fn drop(&mut self) {
        if self.there {
            // Nothing more can be done here; a leftover is known by its name, mark and lock.
            let _ = self.drop_now();
        }
    }
}

/// Drops what rehearsals of this database that were killed left on the server of `place`.
pub fn drop_scratch_leftovers(like: &Database, place: &Database) -> Result<Vec<String>> {
    let mut server = Server::beside(place)?;
    let mut dropped = Vec::new();
    for name in server.named_like(like.dbname(), WORD, "true")? {
        if !try_hold(&mut server, &name)? {
            continue;
        }
        // Killed before the mark was there, it has nothing in it; anything else is somebody's own.
        if marked(&mut server, &name)? || empty(&place.with_dbname(&name)) {
            server.drop_fresh(&name)?;
            dropped.push(name.clone());
        }
        let sql = format!("select pg_advisory_unlock({KEY})::text");
        server.ask("let go of a name", &sql, &name)?;
    }
    Ok(dropped)
}

/// The number that an advisory lock on a name has.
const KEY: &str = "hashtextextended('openwatch ' || $1::text, 0)";

fn try_hold(server: &mut Server, name: &str) -> Result<bool> {
    let sql = format!("select pg_try_advisory_lock({KEY})");
    Ok(server.ask("lock a name", &sql, name)?.is_some_and(|row| row.get(0)))
}

fn hold(server: &mut Server, name: &str) -> Result<()> {
    // A limit on idle sessions would end the lock while migrations run.
    let unlimited = "select set_config(name, '0', false)::text from pg_settings
         where name in ('idle_session_timeout', 'idle_in_transaction_session_timeout')";
    server.session.run(unlimited).context(|| "cannot prepare the session".into())?;
    if try_hold(server, name)? {
        return Ok(());
    }
    Err(Error::new(Outcome::Busy, format!("another rehearsal uses the name {name}"))
        .state("this run changed nothing")
        .hint("Run it again."))
}

fn marked(server: &mut Server, name: &str) -> Result<bool> {
    let sql = format!(
        "select coalesce(starts_with(shobj_description(oid, 'pg_database'), '{MARK}'), false)
           from pg_database where datname = $1"
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

fn may_create(server: &mut Server, place: &Database) -> Result<()> {
    let sql = "select rolsuper or rolcreatedb, rolname::text from pg_roles
                where rolname = current_user and $1 <> ''";
    let row = server.ask("read the rights of the role", sql, place.dbname())?;
    let Some(row) = row.filter(|row| !row.get::<_, bool>(0)) else { return Ok(()) };
    let role: String = row.get(1);
    let where_it_is = place.described();
    Err(Error::new(
        Outcome::Refused,
        format!("the role {role} may not create databases on the server of {where_it_is}"),
    )
    .detail("a rehearsal restores into a scratch database and drops it afterwards")
    .state("nothing was changed")
    .hint(format!(
        "Run `ALTER ROLE {role} CREATEDB` as a superuser, or name another server with \
         `--server-env VARIABLE`."
    )))
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

/// Returns where the server keeps its data, where it runs on this machine and the role may know.
pub fn data_directory(database: &Database) -> Result<Option<PathBuf>> {
    let mut session = database.connect()?;
    // A role that may not read the setting is shown no row; an address that is not this machine's
    // says nothing about our disks.
    let sql = "select setting from pg_settings where name = 'data_directory'
         and (inet_server_addr() is null or inet_server_addr() <<= '127.0.0.0/8'
              or inet_server_addr() = '::1')";
    let rows = session.rows(sql, &[]).context(|| "cannot ask where the data lies".into())?;
    let dir = rows.first().and_then(|row| row.get::<_, Option<String>>(0)).map(PathBuf::from);
    Ok(dir.filter(|dir| dir.is_dir()))
}

/// Returns the bytes of the largest table with all that belongs to it, which a rewrite holds twice;
/// none where somebody keeps it locked.
pub fn largest_table(database: &Database) -> Result<Option<u64>> {
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
