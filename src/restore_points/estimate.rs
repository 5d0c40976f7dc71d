//! The space that a restore point takes, before it is made.

use super::entry::{Entry, Origin};
use super::manifest::{Archive, Manifest};
use super::store::Store;
use crate::database::{Database, facts};
use crate::disk;
use crate::error::{Context, Error, Result};
use crate::outcome::Outcome;

/// Size of an archive beside that of its database where no earlier restore point tells.
///
/// Indexes and dead rows are not dumped, and text compresses four to ten times, but a database of
/// compressed images hardly shrinks. A guess that is too low fails closed when the disk is full.
const FIRST_RATIO: f64 = 0.6;

/// How much larger than last time an archive may become.
const GROWTH: f64 = 1.2;

/// Space that a restore point is expected to take, and that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Bytes of the archives.
    pub needed: u64,
    /// Bytes of the databases on the server's disk.
    pub databases: u64,
    /// Files of the archives.
    pub files: u64,
    /// What is left on the file system.
    pub free: disk::Free,
}

impl Estimate {
    /// Refuses when the restore point would not fit beside the reserve.
    pub fn check(&self, store: &Store, reserve: u64) -> Result<()> {
        let wanted = self.needed.saturating_add(reserve);
        let (text, detail) = if wanted > self.free.bytes {
            (
                "space",
                format!(
                    "about {} needed (databases {}) and {} kept free, {} free",
                    disk::spoken(self.needed),
                    disk::spoken(self.databases),
                    disk::spoken(reserve),
                    disk::spoken(self.free.bytes)
                ),
            )
        } else if self.free.inodes.is_some_and(|left| left < self.files) {
            ("inodes", format!("about {} files needed", self.files))
        } else {
            return Ok(());
        };
        let dir = store.dir().display();
        Err(Error::new(
            Outcome::Refused,
            format!("not enough free {text} for a restore point in {dir}"),
        )
        .detail(detail)
        .state("nothing was changed")
        .hint(format!(
            "Free {} there, set backup_dir to a larger file system, or remove old restore points \
             with `openwatch backup prune`.",
            disk::spoken(wanted.saturating_sub(self.free.bytes))
        )))
    }
}

impl Store {
    /// Returns the manifests of the good dumps that were made here, newest first: what another
    /// application or host dumped tells nothing about these databases.
    pub(super) fn own_dumps(&self) -> Result<Vec<Manifest>> {
        let own = |entry: &Entry| entry.is_good_dump() && entry.origin == Origin::Own;
        Ok(self
            .list()?
            .into_iter()
            .filter(own)
            .filter_map(|entry| entry.manifest.map(|m| *m))
            .collect())
    }

    /// Estimates the space that a restore point of these databases takes, from their real sizes
    /// and the ratio of the last good one.
    pub fn estimate(&self, databases: &[&Database]) -> Result<Estimate> {
        let dumps = self.own_dumps()?;
        let free = disk::free(self.dir())
            .context(|| format!("cannot ask for the free space of {}", self.dir().display()))?;
        let mut sum = Estimate { needed: 0, databases: 0, files: 16, free };
        for database in databases {
            let facts = facts::of(database)?;
            // Not every point holds every database.
            let mut archives = dumps.iter().flat_map(|manifest| &manifest.databases);
            let before = archives.find(|archive| archive.name == database.name());
            let expected = match database.file() {
                Some(_) => facts.size,
                None => expected(facts.size, before),
            };
            sum.needed = sum.needed.saturating_add(expected);
            sum.databases = sum.databases.saturating_add(facts.size);
            sum.files += facts.tables + 8;
        }
        Ok(sum)
    }
}

/// Returns how many bytes the rows of a database of this size are expected to have uncompressed.
///
/// Most databases are larger than their rows, by indexes and dead rows; one of large binary values
/// is smaller, which a client that then finds no room tells.
pub(super) fn expected_plain(size: u64, before: Option<&Archive>) -> u64 {
    let seen = before.and_then(|archive| Some((archive.plain_bytes?, archive.database_bytes)));
    seen.map_or(size, |(plain, database)| grown(size, plain, database))
}

/// Returns how many bytes the archive of a database of this size is expected to have.
pub(super) fn expected(size: u64, before: Option<&Archive>) -> u64 {
    let seen = before.filter(|archive| archive.database_bytes > 0);
    let seen = seen.map(|archive| (archive.archive_bytes, archive.database_bytes));
    seen.map_or_else(|| scaled(size, FIRST_RATIO), |(bytes, of)| grown(size, bytes, of))
}

/// Applies the ratio of the last time, and room to grow.
#[expect(clippy::cast_precision_loss, reason = "an estimate of sizes below 2^52")]
fn grown(size: u64, bytes: u64, of: u64) -> u64 {
    scaled(size, bytes as f64 / of.max(1) as f64 * GROWTH)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an estimate of positive sizes below 2^52"
)]
fn scaled(size: u64, ratio: f64) -> u64 {
    (size as f64 * ratio) as u64
}
