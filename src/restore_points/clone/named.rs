//! Which databases on a server are the clones of a restore point: the manifest is a claim only, and
//! whoever wrote it must not choose what is dropped, or becomes the database.

use std::collections::BTreeSet;
use std::io;

use super::WORD;
use super::make::mark_head;
use crate::database::swap::{Server, stamped};
use crate::database::{Database, facts};
use crate::error::{Error, Result};
use crate::restore_points::entry::Status;
use crate::restore_points::manifest::{Archive, Kind, MANIFEST, Manifest, read_manifest};
use crate::restore_points::restore::refused;
use crate::restore_points::store::{PARTIAL, RestorePoint, Store};
use crate::system::{clock, fs};

/// A database that has the name of a clone of the point.
struct Seen {
    database: String,
    clone: String,
    /// Its comment, where that is not the one that the point's own clones have.
    foreign: Option<String>,
}

/// Returns whether a clone of this database can have that name.
fn is_named_like_a_clone(dbname: &str, clone: &str) -> bool {
    let stamp = clone.rsplit('_').next().unwrap_or_default();
    clock::parse_stamp(stamp).is_some() && stamped(dbname, WORD, stamp) == clone
}

/// Returns the clone of a database that the manifest names, where it can be one.
pub(super) fn clone_of<'m>(archive: &'m Archive, databases: &[&Database]) -> Option<&'m str> {
    let database = databases.iter().find(|database| database.name() == archive.name)?;
    archive.clone.as_deref().filter(|clone| is_named_like_a_clone(database.dbname(), clone))
}

impl RestorePoint {
    /// Returns a name in the manifest that no clone of its database can have: somebody else wrote it, or
    /// the database has another name on the server now.
    pub fn strange_clone(&self, databases: &[&Database]) -> Option<&str> {
        let archives = self.manifest().databases.iter();
        let named = archives.filter(|archive| archive.clone.is_some());
        let strange = named.filter(|archive| clone_of(archive, databases).is_none());
        strange.filter_map(|archive| archive.clone.as_deref()).next()
    }

    /// Returns which of the clones that belong to this point are still on their servers, by the name
    /// of their database within the application; an error where a server cannot be asked, and where
    /// the point is nothing but clones of which one was marked by somebody else.
    pub fn clones_there(&self, databases: &[&Database]) -> Result<Vec<(String, String)>> {
        let mut there = Vec::new();
        for Seen { database, clone, foreign } in self.seen(databases)? {
            match (foreign, self.manifest().kind) {
                (None, _) => there.push((database, clone)),
                (Some(_), Kind::Dump | Kind::External) => {}
                (Some(mark), Kind::Clone) => {
                    let text =
                        format!("the database {clone} was not made by restore point {}", self.id());
                    return Err(refused(text).detail(format!("its comment is {mark:?}")));
                }
            }
        }
        Ok(there)
    }

    fn seen(&self, databases: &[&Database]) -> Result<Vec<Seen>> {
        let manifest = self.manifest();
        let mut seen = Vec::new();
        for archive in &manifest.databases {
            let database = databases.iter().find(|database| database.name() == archive.name);
            let (Some(clone), Some(database)) = (clone_of(archive, databases), database) else {
                continue;
            };
            let mut server = Server::beside(database)?;
            if !server.has(clone)? {
                continue;
            }
            // One without a comment was on its way back when that run was killed.
            let head = mark_head(database.dbname(), &manifest.app, &manifest.host);
            let foreign = server.mark_of(clone)?.filter(|mark| !mark.starts_with(&head));
            let database = archive.name.clone();
            seen.push(Seen { database, clone: clone.to_owned(), foreign });
        }
        Ok(seen)
    }

    /// Refuses where it is not sure that the clones were made on the servers that are asked now: on
    /// another one they are not gone, they were never there.
    pub fn check_servers(&self, databases: &[&Database]) -> Result<()> {
        for archive in &self.manifest().databases {
            let database = databases.iter().find(|database| database.name() == archive.name);
            let now = database.map(|database| facts::of(database)).transpose()?;
            let now = now.and_then(|facts| facts.identity.system);
            if now.is_none() || now != archive.identity.system {
                let text = format!(
                    "the clone of {} is not there, but restore point {} may be of another server",
                    archive.name,
                    self.id()
                );
                return Err(refused(text));
            }
        }
        Ok(())
    }
}

impl Store {
    /// Returns every clone that a restore point of this directory names; an error where that is not
    /// known, because a manifest that cannot be read may name any.
    pub fn named_clones(&self) -> Result<BTreeSet<String>> {
        let mut named = BTreeSet::new();
        for entry in self.list()? {
            let (id, what) = match entry.status {
                // Left aside by a kill between two renames.
                Status::Partial | Status::Busy => {
                    let rest = entry.id.strip_prefix(PARTIAL);
                    let Some(id) = rest.and_then(|rest| rest.strip_suffix(fs::EXCHANGED)) else {
                        continue;
                    };
                    (id.to_owned(), read_manifest(&entry.path))
                }
                Status::Foreign | Status::Removing => continue,
                Status::Good | Status::Damaged(_) | Status::NotUnderstood(_) => {
                    if let Some(manifest) = &entry.manifest {
                        named.extend(manifest.clones().map(str::to_owned));
                        continue;
                    }
                    (entry.id.clone(), read_manifest(&entry.path))
                }
            };
            match what.map(|text| Manifest::parse(&text, Some(&id))) {
                Ok(Ok(manifest)) => named.extend(manifest.clones().map(str::to_owned)),
                // The manifest is the first thing that a removal takes.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Ok(Err(fault)) => return Err(unknown(&entry.id, &fault.told())),
                Err(error) => return Err(unknown(&entry.id, &error.to_string())),
            }
        }
        Ok(named)
    }
}

fn unknown(id: &str, why: &str) -> Error {
    Error::failed("no clone is cleared away")
        .detail(format!("the {MANIFEST} of restore point {id} cannot be read: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clone_of_that_very_database_is_named_like_one() {
        let is = is_named_like_a_clone;
        assert!(is("app", "app_clone_20261120T131502Z"));
        let long = "x".repeat(63);
        assert!(is(&long, &stamped(&long, WORD, "20261120T131502Z")));
        for name in [
            "app",
            "postgres",
            "app_clone_",
            "app_clone_20261320T131502Z",
            "app_replaced_20261120T131502Z",
            "other_clone_20261120T131502Z",
            "app_clone_20261120T131502Z_",
            "app_clone_\"; drop database app; --_20261120T131502Z",
            "",
        ] {
            assert!(!is("app", name), "{name}");
        }
    }
}
