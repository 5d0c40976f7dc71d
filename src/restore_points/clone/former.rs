//! What clones took the place of, as a restore point: the former databases are its clones, and nothing is
//! copied.

use std::time::Duration;

use super::make::archive;
use super::swap::former;
use crate::database::clone::{self, Former};
use crate::database::facts;
use crate::database::swap::Server;
use crate::error::{Error, Result};
use crate::restore_points::create::{Request, no_point};
use crate::restore_points::digest::Sums;
use crate::restore_points::manifest::{Kind, Proof};
use crate::restore_points::store::{RestorePoint, Store};

impl Store {
    /// Publishes a restore point of the databases that the clones of the point `id` took the place of. They
    /// lie on one server, and nobody needs their names any more.
    ///
    /// The point is published first: a clone that no point names is dropped as a leftover, but a point whose
    /// clones are not there only goes, and the databases stay what they were.
    pub fn keep_former(&self, request: &Request<'_>, id: &str) -> Result<RestorePoint> {
        self.publish_former(request, id).map_err(no_point)
    }

    fn publish_former(&self, request: &Request<'_>, id: &str) -> Result<RestorePoint> {
        let Some(first) = request.databases.first() else {
            return Err(Error::failed("no database was replaced"));
        };
        let names = self.clone_names(request)?;
        let draft = self.draft(request, Kind::Clone, Proof::Compared)?;
        let partial = self.partial(&draft)?;
        let (mut archives, mut formers, mut sums) = (Vec::new(), Vec::new(), Sums::default());
        for (target, clone) in request.databases.iter().zip(names) {
            let database = target.database;
            let Some(kept_as) = former(id, database)? else {
                let text = format!("the former database of {} is gone", database.described());
                return Err(Error::failed(text));
            };
            let there = database.with_dbname(&kept_as);
            let mut facts = facts::of(&there)?;
            // Whose data it is, and not where it was when it was looked at.
            database.dbname().clone_into(&mut facts.identity.dbname);
            sums.0.extend(self.note_clone(&partial.dir, database, clone::looks(&there)?)?);
            archives.push(archive(target, &facts, &clone, Duration::ZERO));
            formers.push(Former { kept_as, clone, mark: self.clone_mark(database.dbname()) });
        }
        let mut server = Server::beside(first.database)?;
        let point = self.finish(partial, draft, request, archives, &sums)?;
        let Err(error) = server.become_clones(&formers) else { return Ok(point) };
        // The answer may be lost, and the names tell. Where they cannot be asked, what is so is settled
        // later.
        let done = Server::beside(first.database).and_then(|mut server| {
            formers.iter().try_fold(true, |all, one| Ok(all && server.has(&one.clone)?))
        });
        match done {
            Ok(true) => Ok(point),
            Ok(false) => point.retire().and(Err(error)),
            Err(_) => Err(error),
        }
    }
}
