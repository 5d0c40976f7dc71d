//! How a database becomes an archive: compressed by the client, or by us while the client writes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::create::{Request, Target};
use super::digest::Sums;
use super::estimate::{expected, expected_plain};
use super::manifest::Archive;
use super::packing::Packing;
use crate::database::clients::{Client, Compression};
use crate::database::dump::{self, DumpOptions, Dumped};
use crate::database::facts::Facts;
use crate::disk;
use crate::error::{Context, Error, Result};
use crate::progress::Progress;
use crate::system::fs;

/// What the dump of one database is made with.
pub(super) struct Dumping<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) target: &'a Target<'a>,
    pub(super) client: &'a Client,
    /// The database as it is now.
    pub(super) facts: &'a Facts,
    /// Its archive in the last restore point.
    pub(super) before: Option<&'a Archive>,
    /// The restore point that is being made.
    pub(super) partial: &'a Path,
    /// The archive, a new directory in it.
    pub(super) dir: PathBuf,
}

/// An archive that was dumped and not proven yet.
pub(super) struct Made {
    pub(super) dumped: Dumped,
    pub(super) compression: Compression,
    /// The sums of its files, where they were hashed as they were written.
    pub(super) sums: Option<Sums>,
    /// Bytes of its rows before compression, where we have seen them.
    pub(super) plain_bytes: Option<u64>,
}

impl Dumping<'_> {
    /// Dumps in the quickest way that the client and the room on the disk allow.
    pub(super) fn run(&self, progress: &dyn Progress) -> Result<Made> {
        let compression = self.client.compression();
        fs::make_new_dir(&self.dir, 0o700)?;
        if compression == Compression::Gzip && self.has_room()? {
            match self.packed(progress) {
                // What the client writes plain took the room that its own compression would not, or
                // the system has no inotify instance left.
                Err(error) if is_out_of_something(&error) => {
                    progress.note(
                        "no room or no files left to compress beside the dump: the client does it, slower",
                    );
                    fs::remove_tree(&self.plain())?;
                    fs::remove_tree(&self.dir)?;
                    fs::make_new_dir(&self.dir, 0o700)?;
                }
                ended => return ended,
            }
        }
        let options = self.of_the_client(compression);
        let dumped = dump::dump(self.target.database, &self.dir, &options, progress)?;
        Ok(Made { dumped, compression, sums: None, plain_bytes: None })
    }

    /// Returns whether the whole dump would fit uncompressed beside the archive: its space is given
    /// back as it is read, but nothing promises that we keep pace, nor that the file system can.
    fn has_room(&self) -> Result<bool> {
        let free = disk::free(self.partial)
            .context(|| format!("cannot ask for the free space of {}", self.partial.display()))?;
        let plain = expected_plain(self.facts.size, self.before);
        let wanted = plain.saturating_add(expected(self.facts.size, self.before));
        Ok(free.bytes >= wanted.saturating_add(self.request.reserve))
    }

    fn packed(&self, progress: &dyn Progress) -> Result<Made> {
        let plain = self.plain();
        fs::make_new_dir(&plain, 0o700)?;
        let expected = expected_plain(self.facts.size, self.before);
        let options = self.options(Compression::Plain, expected);
        let packing = Packing { plain: plain.clone(), archive: &self.dir, base: self.partial };
        let (dumped, packed) =
            packing.alongside(|| dump::dump(self.target.database, &plain, &options, progress))?;
        Ok(Made {
            dumped,
            compression: Compression::Gzip,
            sums: Some(packed.sums),
            plain_bytes: Some(packed.plain_bytes),
        })
    }

    /// Where the client writes what we compress; no archive has a name with a leading dot.
    fn plain(&self) -> PathBuf {
        self.partial.join(format!(".{}-plain", self.target.database.name()))
    }

    /// Returns the options of a dump that the client compresses itself.
    pub(super) fn by_the_client(&self) -> DumpOptions {
        self.of_the_client(self.client.compression())
    }

    fn of_the_client(&self, compression: Compression) -> DumpOptions {
        self.options(compression, expected(self.facts.size, self.before))
    }

    fn options(&self, compression: Compression, expected: u64) -> DumpOptions {
        DumpOptions {
            client: self.client.clone(),
            compression,
            lock_wait: self.request.lock_wait,
            expected: Some(expected),
            last: self.before.and_then(|before| last(before, self.facts.size)),
        }
    }
}

/// Returns how long the last dump took, for a database of this size.
fn last(before: &Archive, size: u64) -> Option<Duration> {
    let millis = u128::from(before.dump_ms?) * u128::from(size);
    let millis = millis.checked_div(u128::from(before.database_bytes))?;
    Some(Duration::from_millis(u64::try_from(millis).ok()?))
}

fn is_out_of_something(error: &Error) -> bool {
    const WORDS: [&str; 3] =
        ["No space left on device", "Disk quota exceeded", "Too many open files"];
    let told = |text: &str| WORDS.iter().any(|words| text.contains(words));
    told(&error.message()) || error.details().iter().any(|line| told(line))
}
