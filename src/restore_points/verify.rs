//! Proving a published restore point again: sizes, sums, every byte through the client.

use std::path::Path;

use super::digest::{self, Sums};
use super::manifest::{MANIFEST, Manifest, SUMS, read_whole};
use super::store::{DAMAGED, RestorePoint, Store};
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::system::fs;

/// What is whole, or in words why it is not.
type Checked<T> = std::result::Result<T, String>;

/// The most bytes of the sums file: about a million files.
const LIMIT: u64 = 128 << 20;

impl Store {
    /// Reads every byte of a restore point and compares it with its sums; a point that fails is
    /// marked, and no longer counts as good.
    pub fn verify(&self, id: &str, progress: &dyn Progress) -> Result<()> {
        let point = self.find(id)?;
        let total = point.manifest().bytes;
        let mut done = 0;
        let checked = check_files(point.dir(), point.manifest(), |bytes| {
            done += bytes;
            progress.alive(&format!("verifying {}", point.id()), done, Some(total));
        });
        checked.map_err(|why| point.mark_damaged(why))
    }
}

impl RestorePoint {
    /// Marks the point as damaged, so that it no longer counts as good, and says so.
    pub(super) fn mark_damaged(&self, why: String) -> Error {
        let marked = fs::replace(&self.dir().join(DAMAGED), why.as_bytes(), 0o600);
        let state = match marked {
            Ok(()) => "it is marked as damaged and no longer counts; nothing was removed",
            Err(_) => "nothing was changed",
        };
        Error::new(Outcome::Failed, format!("restore point {} is damaged", self.id()))
            .detail(why)
            .state(state)
            .hint("List the others with `openwatch backup list`.")
    }
}

/// Compares number and size of the files with the manifest.
pub(super) fn check_sizes(dir: &Path, manifest: &Manifest) -> Checked<()> {
    let files = fs::files_below(dir).map_err(|error| error.to_string())?;
    let sums = read_sums(dir, manifest)?;
    let mut bytes = 0;
    for path in &files {
        let name = path.strip_prefix(dir).unwrap_or(path);
        if name == Path::new(MANIFEST) || name == Path::new(DAMAGED) {
            continue;
        }
        bytes += std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    }
    for (name, _) in &sums.0 {
        if !dir.join(name).is_file() {
            return Err(format!("{name} is missing"));
        }
    }
    if bytes == manifest.bytes {
        Ok(())
    } else {
        Err(format!("its files have {bytes} bytes, the manifest says {}", manifest.bytes))
    }
}

/// Compares every byte with the sums.
pub(super) fn check_files(
    dir: &Path,
    manifest: &Manifest,
    mut read: impl FnMut(u64),
) -> Checked<()> {
    let sums = read_sums(dir, manifest)?;
    for (name, sum) in &sums.0 {
        let found = digest::of_file(&dir.join(name), &mut read)
            .map_err(|error| format!("{name} cannot be read: {error}"))?;
        if found != *sum {
            return Err(format!("{name} has changed since it was proven"));
        }
    }
    check_sizes(dir, manifest)
}

pub(super) fn read_sums(dir: &Path, manifest: &Manifest) -> Checked<Sums> {
    let bytes = read_whole(&dir.join(SUMS), LIMIT)
        .map_err(|error| format!("{SUMS} cannot be read: {error}"))?;
    if digest::of_bytes(&bytes) != manifest.sums_sha256 {
        return Err(format!("{SUMS} has changed since it was proven"));
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("{SUMS} is not UTF-8"))?;
    Sums::parse(&text).ok_or_else(|| format!("{SUMS} is not understood"))
}
