//! Making clones, comparing them, and publishing them as a restore point.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use super::WORD;
use crate::database::Database;
use crate::database::clone::{self, Looks};
use crate::database::facts::{self, Facts, RowCount};
use crate::database::swap::{Server, stamped};
use crate::error::{Context, Error, Result};
use crate::progress::Progress;
use crate::restore_points::archive::{contents_name, of_no_file};
use crate::restore_points::create::{Request, Target, host};
use crate::restore_points::digest::{self, Sums};
use crate::restore_points::manifest::{Archive, Contents, Kind, Proof};
use crate::restore_points::store::{RestorePoint, Store};
use crate::system::{clock, fs};

/// Clones that lie on their servers and are dropped again unless they are published.
pub struct Copied<'a> {
    items: Vec<Item<'a>>,
    begun: Instant,
    published: bool,
}

struct Item<'a> {
    target: Target<'a>,
    clone: String,
    /// Of the original, right before.
    facts: Facts,
    took: Duration,
}

/// How the comment of a clone begins; the directory follows, which an operator may move.
pub(super) fn mark_head(dbname: &str, app: &str, host: &str) -> String {
    format!("openwatch clone of {dbname} for {app} on {host} in ")
}

impl Store {
    /// Returns the names that clones of these databases will have, before any of them is made.
    pub fn clone_names(&self, request: &Request<'_>) -> Result<Vec<String>> {
        let mut at = request.clock.now();
        // A clone that became the database leaves its name to nobody before its point goes. What a manifest
        // names that cannot be read leads back nowhere.
        let entries = self.list()?;
        let known = entries.iter().filter_map(|entry| entry.manifest.as_ref());
        let named: BTreeSet<_> = known.flat_map(|manifest| manifest.clones()).collect();
        loop {
            let stamp = clock::stamp(at);
            let mut names = Vec::new();
            let mut taken = false;
            for target in &request.databases {
                let name = stamped(target.database.dbname(), WORD, &stamp);
                taken |=
                    named.contains(name.as_str()) || Server::beside(target.database)?.has(&name)?;
                names.push(name);
            }
            if !taken {
                return Ok(names);
            }
            // Two runs within one second: what is there is another point's.
            at += Duration::from_secs(1);
        }
    }

    /// Returns the comment that a clone made for this store has.
    pub fn clone_mark(&self, dbname: &str) -> String {
        format!("{}{}", mark_head(dbname, self.app(), &host()), self.dir().display())
    }

    /// Copies the databases under these names; nobody may be connected to them.
    pub fn copy<'a>(
        &self,
        request: &Request<'a>,
        names: &[String],
        progress: &dyn Progress,
    ) -> Result<Copied<'a>> {
        let mut copied = Copied { items: Vec::new(), begun: Instant::now(), published: false };
        for (target, name) in request.databases.iter().zip(names) {
            let begun = Instant::now();
            let facts = facts::of(target.database)?;
            let mut server = Server::beside(target.database)?;
            let (original, clone) = (target.database.dbname(), name.clone());
            // Listed before it is made: whatever becomes of the attempt is cleared away.
            copied.items.push(Item { target: target.clone(), clone, facts, took: Duration::ZERO });
            server.make_clone(original, name, &self.clone_mark(original), progress)?;
            if let Some(item) = copied.items.last_mut() {
                item.took = begun.elapsed();
            }
        }
        Ok(copied)
    }

    /// Compares the clones with their originals and publishes them as a restore point.
    pub fn publish_clones(
        &self,
        mut copied: Copied<'_>,
        request: &Request<'_>,
        progress: &dyn Progress,
    ) -> Result<RestorePoint> {
        let mut draft = self.draft(request, Kind::Clone, Proof::Compared)?;
        draft.begun = copied.begun;
        let partial = self.partial(&draft)?;
        let mut archives = Vec::new();
        let mut sums = Sums::default();
        for item in &copied.items {
            progress.alive(&format!("comparing {}", item.clone), 0, None);
            let looks = item.compare()?;
            sums.0.extend(self.note_clone(&partial.dir, item.target.database, looks)?);
            archives.push(archive(&item.target, &item.facts, &item.clone, item.took));
        }
        let point = self.finish(partial, draft, request, archives, &sums)?;
        copied.published = true;
        Ok(point)
    }

    /// Writes what a restore point says of the clone of a database; returns the sums of the files.
    pub(super) fn note_clone(
        &self,
        partial: &Path,
        database: &Database,
        looks: Looks,
    ) -> Result<[(String, String); 2]> {
        // The clone must be found unchanged by a run that has no identity, so that this file is not
        // encrypted; what it says then is no name and no number.
        let contents = match self.keyring().encrypts() {
            true => Contents { rows_sum: Some(rows_sum(&looks.rows)?), ..Contents::default() },
            false => Contents { rows: looks.rows, ..Contents::default() },
        };
        let text = serde_json::to_vec(&contents).context(|| "cannot write the contents".into())?;
        let file = contents_name(database.name());
        fs::replace(&partial.join(&file), &text, 0o600)?;
        // Of the original: settings and grants of a database belong to its name.
        let globals = self.write_globals(partial, database)?;
        Ok([(file, digest::of_bytes(&text)), globals])
    }
}

/// Returns a sum by which tables and rows are known again.
pub(super) fn rows_sum(rows: &[(String, RowCount)]) -> Result<String> {
    let text = serde_json::to_vec(rows).context(|| "cannot write the rows of a clone".into())?;
    Ok(digest::of_bytes(&text))
}

impl Item<'_> {
    /// Opens the clone for a moment and looks at both.
    fn compare(&self) -> Result<Looks> {
        let database = self.target.database;
        let mut server = Server::beside(database)?;
        server.open_clone(&self.clone)?;
        let clone = database.with_dbname(&self.clone);
        let (original, looks) = std::thread::scope(|scope| {
            let original = scope.spawn(|| clone::looks(database));
            let looks = clone::looks(&clone);
            (original.join(), looks)
        });
        server.close_clone(&self.clone)?;
        let original =
            original.map_err(|_| Error::failed("the comparison ended unexpectedly"))??;
        let looks = looks?;
        match looks.differs(&original) {
            None => Ok(looks),
            Some(why) => Err(Error::failed(format!(
                "the clone {} differs from {}",
                self.clone,
                database.described()
            ))
            .detail(why)),
        }
    }
}

/// Returns what the manifest says of the clone of a database.
pub(super) fn archive(target: &Target<'_>, facts: &Facts, clone: &str, took: Duration) -> Archive {
    Archive {
        duration_ms: clock::millis(took),
        clone: Some(clone.to_owned()),
        ..of_no_file(target, facts)
    }
}

impl Drop for Copied<'_> {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        for item in &self.items {
            // Nothing more can be done here; a leftover is known by its name, mark and journal.
            let _ = Server::beside(item.target.database)
                .and_then(|mut server| server.drop_fresh(&item.clone));
        }
    }
}
