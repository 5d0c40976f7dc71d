//! Proving a published restore point again: sizes, sums, every byte through the client.

use std::fmt;
use std::io;
use std::path::Path;

use rustix::io::Errno;

use super::digest::{self, Sums};
use super::manifest::{MANIFEST, Manifest, SUMS, read_whole};
use super::store::{DAMAGED, RestorePoint, Store};
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::system::fs;

/// What is whole, or why it does not count as that.
type Checked<T> = std::result::Result<T, Unsound>;

/// Why a restore point does not count as whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unsound {
    /// Something in it is not what was proven, and will not be again.
    Damaged(String),
    /// It could not be read this time: a file system that was away, a process without room. It may be as
    /// good as any.
    Unread(String),
}

impl Unsound {
    pub(super) fn of_reading(what: impl fmt::Display, error: &io::Error) -> Self {
        let why = format!("{what} cannot be read: {error}");
        // Not there, longer or shorter than anything of ours, a link.
        let proven = matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
        ) || Errno::from_io_error(error) == Some(Errno::LOOP);
        if proven { Self::Damaged(why) } else { Self::Unread(why) }
    }
}

impl Unsound {
    /// Says of this point what is wrong; the reason is its detail.
    pub(super) fn of(self, point: &RestorePoint) -> Error {
        let what = match &self {
            Self::Damaged(_) => "is damaged",
            Self::Unread(_) => "could not be read",
        };
        Error::failed(format!("restore point {} {what}", point.id()))
            .detail(self.to_string())
            .hint("List the others with `openwatch backup list`.")
    }
}

impl From<Unsound> for Error {
    fn from(why: Unsound) -> Self {
        Self::failed(why.to_string())
    }
}

impl fmt::Display for Unsound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(why) | Self::Unread(why) => f.write_str(why),
        }
    }
}

/// The most bytes of the sums file: about a million files.
const LIMIT: u64 = 128 << 20;

impl Store {
    /// Reads every byte of a restore point and compares it with its sums; a point that is not what it was is
    /// marked, and no longer counts as good. One that could not be read is as it was.
    pub fn verify(&self, id: &str, progress: &dyn Progress) -> Result<()> {
        let point = self.find(id)?;
        let total = point.manifest().bytes;
        let mut done = 0;
        let checked = check_files(point.dir(), point.manifest(), |bytes| {
            done += bytes;
            progress.alive(&format!("verifying {}", point.id()), done, Some(total));
        });
        checked.map_err(|why| point.unsound(why))
    }
}

impl RestorePoint {
    /// Says what is wrong with the point; only what is damaged is marked.
    pub(super) fn unsound(&self, why: Unsound) -> Error {
        match why {
            Unsound::Damaged(why) => self.mark_damaged(why),
            Unsound::Unread(_) => why
                .of(self)
                .state("nothing was changed; whether it is whole is not known")
                .hint("Mend the cause, then verify it again."),
        }
    }

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
    let files = fs::files_below(dir).map_err(|e| Unsound::of_reading("its directory", &e))?;
    let sums = read_sums(dir, manifest)?;
    let mut bytes = 0;
    for path in &files {
        let name = path.strip_prefix(dir).unwrap_or(path);
        if name == Path::new(MANIFEST) || name == Path::new(DAMAGED) {
            continue;
        }
        let data = std::fs::metadata(path);
        bytes += data.map_err(|error| Unsound::of_reading(name.display(), &error))?.len();
    }
    for (name, _) in &sums.0 {
        if !dir.join(name).is_file() {
            return Err(Unsound::Damaged(format!("{name} is missing")));
        }
    }
    if bytes == manifest.bytes {
        Ok(())
    } else {
        let told = manifest.bytes;
        Err(Unsound::Damaged(format!("its files have {bytes} bytes, the manifest says {told}")))
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
            .map_err(|error| Unsound::of_reading(name, &error))?;
        if found != *sum {
            return Err(Unsound::Damaged(format!("{name} has changed since it was proven")));
        }
    }
    check_sizes(dir, manifest)
}

pub(super) fn read_sums(dir: &Path, manifest: &Manifest) -> Checked<Sums> {
    let bytes = read_whole(&dir.join(SUMS), LIMIT);
    let bytes = bytes.map_err(|error| Unsound::of_reading(SUMS, &error))?;
    let damaged = |what: &str| Unsound::Damaged(format!("{SUMS} {what}"));
    if digest::of_bytes(&bytes) != manifest.sums_sha256 {
        return Err(damaged("has changed since it was proven"));
    }
    let text = String::from_utf8(bytes).map_err(|_| damaged("is not UTF-8"))?;
    Sums::parse(&text).ok_or_else(|| damaged("is not understood"))
}
