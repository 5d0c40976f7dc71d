//! Putting the data of a restore point back, without destroying the present data first.
//!
//! Everything is loaded and compared before anything is exchanged; the exchange is a rename. The
//! former databases stay under another name.

use std::path::Path;
use std::time::Duration;

use super::create::host;
use super::load::Load;
use super::manifest::{Archive, Contents};
use super::store::{PARTIAL, RestorePoint};
use crate::config::ForeignSessions;
use crate::database::clients::{Client, Clients};
use crate::database::restore::Manner;
use crate::database::swap::{End, Exchange, Rights, Server, stamped};
use crate::database::{Database, facts, in_place};
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::system::clock::{self, Clock};
use crate::system::fs;

/// Word in the name of a database that was replaced.
const REPLACED: &str = "replaced";

/// Word in the name of a database that is being loaded.
const RESTORING: &str = "restoring";

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
    /// What happens to sessions of other users on the present database: ended, or the restore
    /// refuses and names them. Those of our own role are always ended.
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
    /// Name on the server that the former database has now; `None` where there was none or where
    /// it was overwritten in place, in one transaction.
    pub kept_as: Option<String>,
}

/// What a restore did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Where the former data is.
    pub replaced: Vec<Replaced>,
    /// What was taken away.
    pub loss: Vec<Loss>,
    /// Statements that carry over what the role had no right to, for somebody who has it.
    pub left: Vec<String>,
}

impl RestorePoint {
    /// Returns what putting this point back would take away from a database.
    pub fn loss(&self, database: &Database, clock: Clock) -> Result<Loss> {
        let archive = self.archive(database.name())?;
        let created = clock::parse_rfc3339(&self.manifest().created);
        let age =
            created.and_then(|then| clock.now().duration_since(then).ok()).unwrap_or_default();
        let mut loss =
            Loss { database: archive.name.clone(), age, wal_bytes: None, rows_written: None };
        // A database that is gone has nothing to lose.
        let Ok(now) = facts::of(database) else {
            return Ok(loss);
        };
        if now.identity.system == archive.identity.system {
            let since = |now: Option<u64>, then: Option<u64>| now?.checked_sub(then?);
            loss.wal_bytes = since(now.wal_position, archive.wal_position);
            // Another database of the same name has statistics of its own.
            if now.identity.oid == archive.identity.oid {
                loss.rows_written = since(now.rows_written, archive.rows_written);
            }
        }
        Ok(loss)
    }

    /// Says what about this point belongs to somebody else.
    fn check_origin(&self, database: &Database) -> Result<()> {
        let archive = self.archive(database.name())?;
        let manifest = self.manifest();
        let mut differs = Vec::new();
        let mut compare = |what: &str, then: &str, now: &str| {
            if then != now {
                differs.push(format!("{what} {then} instead of {now}"));
            }
        };
        compare("application", &manifest.app, &self.app);
        compare("host", &manifest.host, &host());
        compare("database", &archive.identity.dbname, database.dbname());
        let now = facts::of(database);
        if let (Some(then), Ok(Some(now))) =
            (&archive.identity.system, now.map(|facts| facts.identity.system))
        {
            compare("server", then, &now);
        }
        if differs.is_empty() {
            return Ok(());
        }
        Err(refused(format!("restore point {} was made elsewhere", self.id()))
            .detail(differs.join(", "))
            .hint(format!(
                "If it is the right one, run `openwatch restore {} --force-foreign`.",
                self.id()
            )))
    }
}

fn refused(text: String) -> Error {
    Error::new(Outcome::Refused, text).state("nothing was changed")
}

/// One database on its way.
struct Job<'a> {
    database: &'a Database,
    archive: &'a Archive,
    contents: Contents,
    client: Client,
    rights: Rights,
    exchange: Exchange,
}

/// Puts the data of a restore point back into these databases, all of them or none.
///
/// The services are down and the caller holds the lock. Each archive is loaded into a new database
/// and compared; only then all are exchanged by renaming. Where the role may not create databases,
/// the content is replaced inside the present one, in one transaction.
pub fn restore(
    point: &RestorePoint,
    databases: &[&Database],
    options: &RestoreOptions,
    progress: &dyn Progress,
) -> Result<Restored> {
    if options.foreign == Override::No {
        databases.iter().try_for_each(|database| point.check_origin(database))?;
    }
    point.check(progress)?;
    let stamp = clock::stamp(options.clock.now());
    let jobs = databases
        .iter()
        .map(|database| prepare(point, database, options, &stamp))
        .collect::<Result<Vec<_>>>()?;
    let loss = databases
        .iter()
        .map(|database| point.loss(database, options.clock))
        .collect::<Result<Vec<_>>>()?;
    let (in_place, exchanged): (Vec<&Job>, Vec<&Job>) =
        jobs.iter().partition(|job| matches!(job.rights, Rights::InPlaceOnly(_)));
    let end = match options.sessions {
        ForeignSessions::End => End::All,
        ForeignSessions::Warn | ForeignSessions::Refuse => End::Own,
    };
    let mut left = Vec::new();
    let ended = exchanged
        .iter()
        .try_for_each(|job| load_fresh(point, job, &mut left, progress))
        .and_then(|()| overwrite_all(point, &in_place, &stamp, progress))
        .and_then(|()| exchange(&exchanged, end, progress));
    if let Err(error) = ended {
        discard(&exchanged, progress);
        return Err(truthful(error, &in_place, &exchanged));
    }
    let replaced = jobs
        .iter()
        .map(|job| Replaced {
            database: job.archive.name.clone(),
            kept_as: match job.rights {
                Rights::Exchange => job.exchange.kept_as.clone(),
                Rights::InPlaceOnly(_) => None,
            },
        })
        .collect();
    Ok(Restored { replaced, loss, left })
}

fn prepare<'a>(
    point: &'a RestorePoint,
    database: &'a Database,
    options: &RestoreOptions,
    stamp: &str,
) -> Result<Job<'a>> {
    let archive = point.archive(database.name())?;
    let contents = point.contents(&archive.name)?;
    let name = database.dbname();
    let mut server = Server::beside(database)?;
    let present = server.has(name)?;
    let rights = server.rights(name, &contents.extensions)?;
    if present {
        let facts = facts::of(database)?;
        if !facts.prepared_transactions.is_empty() {
            return Err(refused(format!("{} has prepared transactions", database.described()))
                .detail(facts.prepared_transactions.join(", "))
                .hint("Commit or roll them back, then try again."));
        }
    } else if let Rights::InPlaceOnly(why) = &rights {
        return Err(refused(format!("{} does not exist and {why}", database.described())));
    }
    let client = options.clients.choose_for_restore(server.major()?, &archive.client_version)?;
    let exchange = Exchange {
        name: name.to_owned(),
        fresh: stamped(name, RESTORING, stamp),
        kept_as: present.then(|| stamped(name, REPLACED, stamp)),
    };
    Ok(Job { database, archive, contents, client, rights, exchange })
}

fn load_fresh(
    point: &RestorePoint,
    job: &Job,
    left: &mut Vec<String>,
    progress: &dyn Progress,
) -> Result<()> {
    let Exchange { name, fresh, kept_as } = &job.exchange;
    let mut server = Server::beside(job.database)?;
    for leftover in server.drop_leftovers(name, RESTORING)? {
        progress.note(&format!("removed {leftover}, left by a restore that was killed"));
    }
    server.create_like(name, fresh)?;
    let load = Load {
        archive: job.archive,
        contents: &job.contents,
        client: &job.client,
        manner: Manner::Whole,
    };
    point.fill(&job.database.with_dbname(fresh), &load, progress)?;
    if kept_as.is_some() {
        // The session beside may have been cut while the load ran for hours.
        left.extend(Server::beside(job.database)?.carry_over(name, fresh)?);
    }
    Ok(())
}

/// In place there is one transaction per database, so a later failure cannot undo an earlier one.
fn overwrite_all(
    point: &RestorePoint,
    jobs: &[&Job],
    stamp: &str,
    progress: &dyn Progress,
) -> Result<()> {
    let mut done: Vec<&str> = Vec::new();
    for job in jobs {
        overwrite(point, job, stamp, progress).map_err(|error| match done.is_empty() {
            true => error,
            false => {
                let state = format!("{} is restored; others are not", done.join(", "));
                error.outcome_as(Outcome::Stuck).state(state)
            }
        })?;
        done.push(&job.archive.name);
    }
    Ok(())
}

fn overwrite(point: &RestorePoint, job: &Job, stamp: &str, progress: &dyn Progress) -> Result<()> {
    if let Rights::InPlaceOnly(why) = &job.rights {
        progress.note(&format!("restoring in place, in one transaction: {why}"));
    }
    let parent = point.dir().parent().unwrap_or(Path::new("/"));
    let work = parent.join(format!("{PARTIAL}{stamp}-restore-{}", job.archive.name));
    fs::make_new_dir(&work, 0o700)?;
    let archive = point.dir().join(&job.archive.name);
    Server::beside(job.database)?.end_own(job.database.dbname())?;
    let ended = in_place::restore_in_place(
        job.database,
        &job.client,
        &archive,
        &job.contents.rows,
        &work,
        progress,
    );
    let _ = fs::remove_tree(&work);
    ended
}

/// Databases of one server are exchanged together, in one transaction.
fn exchange(jobs: &[&Job], end: End, progress: &dyn Progress) -> Result<()> {
    let mut done: Vec<&str> = Vec::new();
    let mut rest: Vec<&Job> = jobs.to_vec();
    while let Some(first) = rest.first().copied() {
        let (same, others): (Vec<&Job>, Vec<&Job>) = rest.iter().copied().partition(|job| {
            std::ptr::eq::<Job>(*job, first) || job.database.same_server(first.database)
        });
        let exchanges: Vec<Exchange> = same.iter().map(|job| job.exchange.clone()).collect();
        let ended =
            Server::beside(first.database).and_then(|mut server| server.exchange(&exchanges, end));
        if let Err(error) = ended {
            return Err(match done.is_empty() {
                true => error,
                false => error.outcome_as(Outcome::Stuck).state(format!(
                    "{} is restored, {} is not: they lie on different servers",
                    done.join(", "),
                    rest.iter().map(|job| job.archive.name.as_str()).collect::<Vec<_>>().join(", ")
                )),
            });
        }
        for job in same {
            progress.note(&format!("{} is restored", job.database.described()));
            done.push(&job.archive.name);
        }
        rest = others;
    }
    Ok(())
}

/// Removes what was loaded in vain; a leftover is known by its name and removed next time.
fn discard(jobs: &[&Job], progress: &dyn Progress) {
    for job in jobs {
        let dropped = Server::beside(job.database)
            .and_then(|mut server| server.drop_fresh(&job.exchange.fresh));
        if let Err(error) = dropped {
            progress.warn(&error.message());
        }
    }
}

/// Everything up to the first exchange leaves the present data alone.
fn truthful(error: Error, in_place: &[&Job], exchanged: &[&Job]) -> Error {
    match error.state_line() {
        Some(_) => error,
        None if in_place.is_empty() || exchanged.is_empty() => {
            error.state("the present data is untouched")
        }
        None => error.state("databases restored in place may hold the data of the restore point"),
    }
}
