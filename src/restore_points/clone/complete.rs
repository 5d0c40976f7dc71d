//! The dump that is made from clones, under the same name as the point that they are.

use std::path::Path;
use std::time::Instant;

use super::make::rows_sum;
use super::named::clone_of;
use crate::database::clone::{self, differing_rows};
use crate::database::swap::Server;
use crate::database::{Database, clients::Clients};
use crate::error::{Context as _, Error, Result};
use crate::progress::Progress;
use crate::restore_points::create::{Draft, Place, Request, Target};
use crate::restore_points::digest::Sums;
use crate::restore_points::entry::{Entry, Status};
use crate::restore_points::manifest::{Archive, Kind, Proof};
use crate::restore_points::prune::hide;
use crate::restore_points::store::{PARTIAL, RestorePoint, Store};
use crate::system::clock::Clock;
use crate::system::fs;

/// How the dump of a clone is made.
#[derive(Clone, Debug)]
pub struct Completing {
    /// Free space that must be left, in bytes.
    pub reserve: u64,
    /// How long a lock that somebody holds on a table is waited for.
    pub lock_wait: std::time::Duration,
    /// Where client programs are looked for.
    pub clients: Clients,
}

impl Store {
    /// Dumps the clones of a restore point and proves the archives; the point then holds them, under
    /// its own name, and tells the time at which the clones were made.
    pub fn complete(
        &self,
        point: &RestorePoint,
        databases: &[&Database],
        how: &Completing,
        progress: &dyn Progress,
    ) -> Result<RestorePoint> {
        let manifest = point.manifest();
        let mut clones = Vec::new();
        for archive in &manifest.databases {
            let database = databases.iter().find(|database| database.name() == archive.name);
            let clone = clone_of(archive, databases);
            let (Some(database), Some(clone)) = (database, clone) else {
                return Err(Error::failed(format!(
                    "restore point {} has no clone of {} that is known here",
                    point.id(),
                    archive.name
                )));
            };
            clones.push(database.with_dbname(clone));
        }
        let all: Vec<&Database> = clones.iter().collect();
        let targets = clones.iter().zip(&manifest.databases);
        let request = Request {
            reason: manifest.reason,
            from_version: manifest.from_version.clone(),
            to_version: manifest.to_version.clone(),
            databases: targets
                .map(|(database, archive)| Target { database, schema: archive.schema.clone() })
                .collect(),
            reserve: how.reserve,
            lock_wait: how.lock_wait,
            clock: Clock::System,
            clients: how.clients.clone(),
        };
        let opened = all.iter().try_for_each(|clone| {
            Server::beside(clone).and_then(|mut server| server.open_clone(clone.dbname()))
        });
        let done = opened
            .and_then(|()| self.estimate(&all)?.check(self, how.reserve))
            .and_then(|()| self.dump_clones(point, &request, progress));
        for clone in &all {
            let closed =
                Server::beside(clone).and_then(|mut server| server.close_clone(clone.dbname()));
            if let Err(error) = closed {
                progress.warn(&error.message());
            }
        }
        done
    }

    fn dump_clones(
        &self,
        point: &RestorePoint,
        request: &Request<'_>,
        progress: &dyn Progress,
    ) -> Result<RestorePoint> {
        let manifest = point.manifest();
        let draft = Draft {
            id: manifest.id.clone(),
            sequence: manifest.sequence,
            created: manifest.created.clone(),
            begun: Instant::now(),
            kind: Kind::Dump,
            identifier: None,
            proof: Proof::ReadBack,
            place: Place::Exchange,
            encryption: self.encryption()?,
        };
        // Left by a run that was killed; whoever else would write it waits for our lock.
        fs::remove_tree(&self.dir().join(format!("{PARTIAL}{}", draft.id)))?;
        let partial = self.partial(&draft)?;
        let mut archives = Vec::new();
        let mut sums = Sums::default();
        for (target, cloned) in request.databases.iter().zip(&manifest.databases) {
            let rows = clone::looks(target.database)?.rows;
            let noted = point.contents(&cloned.name)?;
            let why = match &noted.rows_sum {
                Some(sum) => (*sum != rows_sum(&rows)?).then(|| "its tables or rows differ".into()),
                None => differing_rows(&noted.rows, &rows),
            };
            if let Some(why) = why {
                let clone = target.database.described();
                return Err(Error::failed(format!("{clone} is not what it was")).detail(why));
            }
            let (archive, mut more) = self.archive(&partial.dir, target, request, progress)?;
            if let Some(recorded) = self.carry_globals(&partial.dir, point, &cloned.name)? {
                more.0.retain(|(name, _)| *name != recorded.0);
                more.0.push(recorded);
            }
            // The data is that of the original at the time of the clone.
            archives.push(Archive {
                identity: cloned.identity.clone(),
                database_bytes: cloned.database_bytes,
                wal_position: cloned.wal_position,
                rows_written: cloned.rows_written,
                counting: cloned.counting.clone(),
                clone: cloned.clone.clone(),
                ..archive
            });
            sums.0.extend(more.0);
        }
        sums.0.extend(self.carry_travelling(&partial.dir, point)?);
        self.finish(partial, draft, request, archives, &sums)
    }

    /// Drops the clones of a restore point from their servers; returns the names of those that were
    /// there.
    pub fn drop_clones(
        &self,
        point: &RestorePoint,
        databases: &[&Database],
    ) -> Result<Vec<String>> {
        let mut dropped = Vec::new();
        for (name, clone) in point.clones_there(databases)? {
            if let Some(database) = databases.iter().find(|database| database.name() == name) {
                Server::beside(database)?.drop_fresh(&clone)?;
                dropped.push(clone);
            }
        }
        Ok(dropped)
    }

    /// Lists the directory, once what a kill between two renames left aside is back in its place, on a
    /// file system that cannot exchange two directories at once.
    pub fn list_mended(&self) -> Result<Vec<Entry>> {
        let entries = self.list()?;
        let mut moved = false;
        // By name alone: no manifest tells whether a rename is missing.
        for entry in entries.iter().filter(|entry| entry.status == Status::Partial) {
            let named = entry.id.strip_prefix(PARTIAL);
            let Some(id) = named.and_then(|id| id.strip_suffix(fs::EXCHANGED)) else { continue };
            let place = self.dir().join(id);
            if place.symlink_metadata().is_err() {
                fs::rename(&entry.path, &place).map_err(|error| {
                    Error::failed(format!("cannot put back {}", place.display())).source(error)
                })?;
                moved = true;
            }
        }
        if moved { self.list() } else { Ok(entries) }
    }
}

impl RestorePoint {
    /// Removes a restore point that names clones only, none of which is there any more, and its pin: cut
    /// short at any instant, it is whole under its name, or none any more.
    pub fn retire(&self) -> Result<()> {
        let hidden = hide(self.dir(), self.id())?;
        let place = self.dir().parent().unwrap_or(Path::new("/"));
        fs::sync_dir(place).context(|| format!("cannot sync {}", place.display()))?;
        self.forget_pin()?;
        fs::remove_tree(&hidden)
    }
}
