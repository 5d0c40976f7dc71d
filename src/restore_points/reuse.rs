//! Using the restore point of a failed attempt again, where nothing was written since.

use super::create::{Request, Target};
use super::manifest::Archive;
use super::store::{RestorePoint, Store};
use super::travelling::Now;
use super::verify;
use crate::database::{facts, moment};
use crate::error::Result;
use crate::progress::Progress;

impl Store {
    /// Returns a point that an earlier attempt at the same upgrade made, where another one would hold
    /// the same: nothing was written on its servers since, and every byte of it is still there.
    ///
    /// What is not known counts as written.
    pub fn reusable(
        &self,
        id: &str,
        request: &Request<'_>,
        progress: &dyn Progress,
    ) -> Result<Option<RestorePoint>> {
        let entry = self.entry(id)?;
        let Some(manifest) = entry.manifest.as_ref().filter(|_| entry.is_relied_on()) else {
            return Ok(None);
        };
        let same = manifest.reason == request.reason
            && manifest.from_version == request.from_version
            && manifest.to_version == request.to_version
            && manifest.encryption.is_some() == self.keyring().encrypts()
            && manifest.databases.len() == request.databases.len();
        if !same {
            return Ok(None);
        }
        for target in &request.databases {
            let found = manifest.databases.iter().find(|one| one.name == target.database.name());
            match found {
                Some(archive) if holds(archive, target)? => {}
                Some(_) | None => return Ok(None),
            }
        }
        let point = self.find(id)?;
        if !self.carries_the_same(&point)? {
            return Ok(None);
        }
        let (mut done, total) = (0, Some(point.manifest().bytes));
        let whole = verify::check_files(point.dir(), point.manifest(), |bytes| {
            done += bytes;
            progress.alive("checking the restore point", done, total);
        });
        Ok(whole.is_ok().then_some(point))
    }

    /// Where files travel with restore points, they must be what they were; of an encrypted point nobody
    /// here can read the list.
    fn carries_the_same(&self, point: &RestorePoint) -> Result<bool> {
        let wanted = self.travelling.paths().count();
        if point.is_encrypted() {
            return Ok(wanted == 0);
        }
        let carried = point.carried()?;
        Ok(carried.len() == wanted && carried.iter().all(|one| one.now() == Now::Same))
    }
}

fn holds(archive: &Archive, target: &Target<'_>) -> Result<bool> {
    let Some(then) = &archive.moment else { return Ok(false) };
    let mut session = target.database.connect()?;
    let facts = facts::facts(&mut session)?;
    Ok(archive.identity == facts.identity
        && archive.identity.system.is_some()
        && archive.schema == target.schema
        && archive.server_version == facts.server_version
        && moment::is_unwritten_since(&mut session, then)?)
}
