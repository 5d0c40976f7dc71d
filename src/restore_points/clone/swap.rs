//! Going back by renaming: the clone becomes the database, the database is kept under another name.

use std::time::SystemTime;

use crate::database::Database;
use crate::database::swap::{Exchange, Rights, Server};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::restore_points::manifest::Kind;
use crate::restore_points::restore::{
    REPLACED, Replaced, RestoreOptions, Restored, Swap, check_prepared, exchange, refused,
};
use crate::restore_points::store::RestorePoint;

/// One database and the two names that are exchanged.
struct Rename<'a> {
    database: &'a Database,
    exchange: Exchange,
}

impl Rename<'_> {
    fn swap(&self) -> Swap<'_> {
        let clone = &self.exchange.fresh;
        let told = format!("{clone} is {} now", self.database.described());
        Swap { database: self.database, exchange: &self.exchange, told }
    }
}

/// Puts the clones of a point in the place of these databases, where all of them are there; the
/// archives are not touched, and nothing is copied.
///
/// Returns nothing where the point has to be put back from its archives.
pub(in crate::restore_points) fn by_renaming(
    point: &RestorePoint,
    databases: &[&Database],
    options: &RestoreOptions,
    progress: &dyn Progress,
) -> Result<Option<Restored>> {
    if point.manifest().clones().next().is_none() {
        return Ok(None);
    }
    let there = point.clones_there(databases)?;
    let clone_of = |database: &Database| {
        there.iter().find(|(name, _)| name == database.name()).map(|(_, clone)| clone.clone())
    };
    if let Some(gone) = databases.iter().find(|database| clone_of(database).is_none()) {
        return match point.manifest().kind {
            Kind::Dump => Ok(None),
            Kind::Clone | Kind::External => Err(no_clone(point, gone)),
        };
    }
    let now = options.clock.now();
    let mut renames = Vec::new();
    for database in databases {
        let Some(clone) = clone_of(database) else { continue };
        renames.push(Rename { database, exchange: prepare(point, database, clone, now)? });
    }
    let loss = databases
        .iter()
        .map(|database| point.loss(database, options.clock))
        .collect::<Result<Vec<_>>>()?;
    let mut left = Vec::new();
    let ended = renames
        .iter()
        .try_for_each(|rename| {
            let mut server = Server::beside(rename.database)?;
            left.extend(server.dress_clone(&rename.exchange.name, &rename.exchange.fresh)?);
            server.open_clone(&rename.exchange.fresh)
        })
        .and_then(|()| {
            let swaps: Vec<Swap> = renames.iter().map(Rename::swap).collect();
            exchange(&swaps, options.end(), progress)
        });
    if let Err(error) = ended {
        close_again(&renames, progress);
        return Err(match error.state_line() {
            Some(_) => error,
            None => error.state("the present data is untouched"),
        });
    }
    // The data is back whatever the server answers now; a point that stays is settled later.
    let all_gone = point.clones_there(databases).is_ok_and(|there| there.is_empty());
    if point.manifest().kind == Kind::Clone && all_gone {
        used_up(point, databases.len(), progress);
    }
    let replaced = renames.iter().map(|rename| Replaced {
        database: rename.database.name().to_owned(),
        kept_as: rename.exchange.kept_as.clone(),
    });
    Ok(Some(Restored { replaced: replaced.collect(), loss, left }))
}

fn no_clone(point: &RestorePoint, database: &Database) -> Error {
    let (id, name) = (point.id(), database.name());
    let why = match point.strange_clone(&[database]) {
        Some(clone) => format!("{clone:?} is not the name of a clone of {}", database.dbname()),
        None => "it was put back before, or somebody dropped it".into(),
    };
    refused(format!("restore point {id} is a clone, and its clone of {name} is gone"))
        .detail(why)
        .hint("List the others with `openwatch backup list`.")
}

fn prepare(
    point: &RestorePoint,
    database: &Database,
    clone: String,
    now: SystemTime,
) -> Result<Exchange> {
    let name = database.dbname();
    let mut server = Server::beside(database)?;
    if let Rights::InPlaceOnly(why) = server.rights(name, &[])? {
        return Err(refused(format!("the clone of {} cannot be renamed", database.described()))
            .detail(why)
            .hint("Grant the role of the connection string that right, then try again."));
    }
    let present = server.has(name)?;
    if present {
        check_prepared(database)?;
    }
    let kept_as = present.then(|| server.free_name(name, REPLACED, now)).transpose()?;
    Ok(Exchange { name: name.to_owned(), fresh: clone, kept_as, note: Some(note(point.id())) })
}

/// A clone that was not exchanged after all is closed again; it is named by its point as before.
fn close_again(renames: &[Rename<'_>], progress: &dyn Progress) {
    for rename in renames {
        let closed = Server::beside(rename.database).and_then(|mut server| {
            match server.has(&rename.exchange.fresh)? {
                true => server.close_clone(&rename.exchange.fresh),
                false => Ok(()),
            }
        });
        if let Err(error) = closed {
            progress.warn(&error.message());
        }
    }
}

/// The clones are databases now, so that nothing is left that the point could name.
fn used_up(point: &RestorePoint, databases: usize, progress: &dyn Progress) {
    if point.manifest().databases.len() > databases {
        return;
    }
    if let Err(error) = point.retire() {
        progress.warn(&format!("restore point {} is used up: {}", point.id(), error.message()));
    }
}

/// What the comment on a database says that a clone of this point took the place of.
fn note(id: &str) -> String {
    format!("openwatch: replaced by restore point {id}")
}

/// Returns the database that a clone of this point took the place of, where it is beside still; the
/// point itself may be gone.
pub fn former(id: &str, database: &Database) -> Result<Option<String>> {
    Server::beside(database)?.noted(database.dbname(), REPLACED, &note(id))
}

impl RestorePoint {
    /// Returns what a restore that was cut off had done already: the clones of all these databases
    /// are gone, and the former databases say that they took their place.
    pub fn put_back_before(&self, databases: &[&Database]) -> Result<Option<Vec<Replaced>>> {
        if self.manifest().kind != Kind::Clone || !self.clones_there(databases)?.is_empty() {
            return Ok(None);
        }
        let mut replaced = Vec::new();
        for database in databases {
            let Some(kept_as) = former(self.id(), database)? else { return Ok(None) };
            let database = database.name().to_owned();
            replaced.push(Replaced { database, kept_as: Some(kept_as) });
        }
        Ok(Some(replaced))
    }
}
