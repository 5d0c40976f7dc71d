//! Making a restore point: dumped under a partial name, proven, synced, published by one rename.

use std::path::Path;
use std::time::{Duration, Instant};

use super::manifest::{
    Archive, Contents, MANIFEST, Manifest, Proof, Reason, SUMS, SchemaNote, is_archive_name,
};
use super::partial::Partial;
use super::store::{PARTIAL, RestorePoint, Status, Store};
use super::{digest, frames};
use crate::database::clients::Clients;
use crate::database::{Database, dump, facts};
use crate::disk;
use crate::error::{Context, Error, Result};
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::system::clock::{self, Clock};
use crate::system::fs;
use crate::system::signals;
use crate::version::Version;

/// Size of an archive beside that of its database where no earlier restore point tells.
///
/// Indexes and dead rows are not dumped, and text compresses four to ten times, but a database of
/// compressed images hardly shrinks. A guess that is too low fails closed when the disk is full.
const FIRST_RATIO: f64 = 0.6;

/// How much larger than last time an archive may become.
const GROWTH: f64 = 1.2;

/// One database of a restore point.
#[derive(Clone)]
pub struct Target<'a> {
    /// The database.
    pub database: &'a Database,
    /// Its schema at this moment.
    pub schema: SchemaNote,
}

/// What a restore point shall hold.
#[derive(Clone)]
pub struct Request<'a> {
    /// Why it is made.
    pub reason: Reason,
    /// Version that runs now.
    pub from_version: Option<Version>,
    /// Version that the upgrade leads to.
    pub to_version: Option<Version>,
    /// The databases.
    pub databases: Vec<Target<'a>>,
    /// Free space that must be left, in bytes.
    pub reserve: u64,
    /// How long a lock that somebody holds on a table is waited for.
    pub lock_wait: Duration,
    /// Time of the name and of the manifest.
    pub clock: Clock,
    /// Where client programs are looked for.
    pub clients: Clients,
}

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
    /// Estimates the space that a restore point of these databases takes, from their real sizes
    /// and the ratio of the last good one.
    pub fn estimate(&self, databases: &[&Database]) -> Result<Estimate> {
        let last = self.list()?.into_iter().find(|entry| entry.status == Status::Good);
        let last = last.and_then(|entry| entry.manifest);
        let free = disk::free(self.dir())
            .context(|| format!("cannot ask for the free space of {}", self.dir().display()))?;
        let mut sum = Estimate { needed: 0, databases: 0, files: 16, free };
        for database in databases {
            let facts = facts::of(database)?;
            let before = last.as_ref().and_then(|manifest| {
                manifest.databases.iter().find(|archive| archive.name == database.name())
            });
            sum.needed = sum.needed.saturating_add(expected(facts.size, before));
            sum.databases = sum.databases.saturating_add(facts.size);
            sum.files += facts.tables + 8;
        }
        Ok(sum)
    }

    /// Makes, proves and publishes a restore point; on failure only older ones are there.
    pub fn create(&self, request: &Request, progress: &dyn Progress) -> Result<RestorePoint> {
        self.attempt(request, progress).map_err(|error| {
            let error = match error.outcome() {
                Outcome::Unreachable | Outcome::Config => error,
                _ => error.outcome_as(Outcome::BackupFailed),
            };
            match error.state_line() {
                Some(_) => error,
                None => error.state("no restore point was made; older ones are untouched"),
            }
        })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an estimate of positive sizes below 2^52"
)]
fn expected(size: u64, before: Option<&Archive>) -> u64 {
    let ratio =
        before.filter(|archive| archive.database_bytes > 0).map_or(FIRST_RATIO, |archive| {
            archive.archive_bytes as f64 / archive.database_bytes as f64 * GROWTH
        });
    (size as f64 * ratio) as u64
}

impl Store {
    fn attempt(&self, request: &Request, progress: &dyn Progress) -> Result<RestorePoint> {
        let begun = Instant::now();
        let created = request.clock.now();
        let sequence = self.next_sequence()?;
        let id = self.free_id(&clock::stamp(created), request.from_version.as_ref());
        let partial = Partial::new(self.dir().join(format!("{PARTIAL}{id}")))?;
        let mut archives = Vec::new();
        let mut sums = digest::Sums::default();
        for target in &request.databases {
            let (archive, more) = self.archive(&partial.dir, target, request, progress)?;
            archives.push(archive);
            sums.0.extend(more.0);
        }
        let failed = || format!("cannot write {}", partial.dir.display());
        let sums = sums.text();
        fs::replace(&partial.dir.join(SUMS), sums.as_bytes(), 0o600)?;
        fs::sync_tree(&partial.dir).context(failed)?;
        let manifest = Manifest {
            format: Manifest::current_format(),
            id: id.clone(),
            sequence,
            app: self.app().to_owned(),
            reason: request.reason,
            created: clock::rfc3339(created),
            duration_ms: millis(begun),
            from_version: request.from_version.clone(),
            to_version: request.to_version.clone(),
            host: host(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            proof: Proof::ReadBack,
            bytes: fs::size_below(&partial.dir),
            sums_sha256: digest::of_bytes(sums.as_bytes()),
            databases: archives,
        };
        self.publish(partial, manifest)
    }

    /// Dumps and proves one database; returns its archive and the sums of its files.
    fn archive(
        &self,
        partial: &Path,
        target: &Target,
        request: &Request,
        progress: &dyn Progress,
    ) -> Result<(Archive, digest::Sums)> {
        let begun = Instant::now();
        let database = target.database;
        let name = database.name();
        if !is_archive_name(name) {
            return Err(Error::config(format!("{name:?} cannot be the name of a directory")));
        }
        let facts = facts::of(database)?;
        let (client, warning) = request.clients.choose(facts.major)?;
        if let Some(warning) = warning {
            progress.warn(&warning);
        }
        let compression = client.compression();
        let before = self
            .list()?
            .into_iter()
            .filter_map(|entry| entry.manifest)
            .find_map(|m| m.databases.into_iter().find(|archive| archive.name == name));
        let options = dump::DumpOptions {
            expected: Some(expected(facts.size, before.as_ref())),
            client,
            compression,
            lock_wait: request.lock_wait,
        };
        let dir = partial.join(name);
        let dumped = dump::dump(database, &dir, &options, progress)?;
        let contents =
            Contents { rows: dumped.rows.clone(), extensions: dumped.extensions.clone() };
        let text = serde_json::to_vec(&contents).context(|| "cannot write the contents".into())?;
        let beside = partial.join(contents_name(name));
        fs::replace(&beside, &text, 0o600)?;
        let mut sums = prove(partial, &dir, &dumped, &options, database, progress)?;
        let files = sums.0.len() as u64;
        sums.0.push((contents_name(name), digest::of_bytes(&text)));
        let archive = Archive {
            name: name.to_owned(),
            schema: target.schema.clone(),
            identity: dumped.facts.identity,
            server_version: dumped.facts.server_version,
            client_version: options.client.version.clone(),
            compression: compression.name().to_owned(),
            database_bytes: dumped.facts.size,
            archive_bytes: fs::size_below(&dir),
            files,
            tables: dumped.facts.tables,
            wal_position: dumped.facts.wal_position,
            rows_written: dumped.facts.rows_written,
            duration_ms: millis(begun),
        };
        Ok((archive, sums))
    }

    fn publish(&self, mut partial: Partial, manifest: Manifest) -> Result<RestorePoint> {
        if let Some(signal) = signals::received() {
            return Err(Error::failed(format!("stopped because we received {signal}")));
        }
        let mut text =
            serde_json::to_vec_pretty(&manifest).context(|| "cannot write the manifest".into())?;
        text.push(b'\n');
        fs::replace(&partial.dir.join(MANIFEST), &text, 0o600)?;
        let dir = self.dir().join(&manifest.id);
        fs::rename(&partial.dir, &dir)
            .context(|| format!("cannot publish the restore point {}", manifest.id))?;
        partial.published = true;
        Ok(RestorePoint { dir, app: self.app().to_owned(), manifest })
    }

    /// Returns a name that nothing in the directory has.
    fn free_id(&self, stamp: &str, version: Option<&Version>) -> String {
        let version = version.map_or("unknown", Version::as_str);
        let plain: String = version
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "._+~-".contains(c) { c } else { '_' })
            .take(60)
            .collect();
        let first = format!("{stamp}-{plain}");
        let taken = |id: &String| {
            self.dir().join(id).symlink_metadata().is_ok()
                || self.dir().join(format!("{PARTIAL}{id}")).symlink_metadata().is_ok()
        };
        let mut ids = std::iter::once(first.clone()).chain((2..).map(|n| format!("{first}.{n}")));
        ids.find(|id| !taken(id)).unwrap_or(first)
    }
}

/// Reads the archive back through the client and hashes it, both at once, then compares its table
/// of contents with the catalogue.
fn prove(
    partial: &Path,
    dir: &Path,
    dumped: &dump::Dumped,
    options: &dump::DumpOptions,
    database: &Database,
    progress: &dyn Progress,
) -> Result<digest::Sums> {
    let what = format!("proving {}", database.name());
    let total = fs::size_below(dir);
    let (read, sums) = std::thread::scope(|scope| {
        let read = scope.spawn(|| dump::read_back(&options.client, dir, database));
        let mut done = 0;
        let sums = digest::of_tree(partial, dir, |bytes| {
            done += bytes;
            progress.alive(&what, done, Some(total));
        });
        (read.join(), sums)
    });
    read.map_err(|_| Error::failed("the read-back ended unexpectedly"))??;
    frames::check_ends(dir)?;
    dump::check_contents(&options.client, dir, dumped, database)?;
    sums.context(|| format!("cannot read {}", dir.display()))
}

/// Returns the name of the file with what an archive contains.
pub(super) fn contents_name(name: &str) -> String {
    format!("{name}.contents.json")
}

pub(super) fn host() -> String {
    crate::system::host::name()
}

fn millis(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}
