//! What lies in the backup directory: one entry per name, judged from its manifest alone.

use std::ffi::OsString;
use std::fs::{DirEntry, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::encryption::first_missing;
use super::manifest::{Fault, Kind, Manifest, Reason};
use super::pin::PinNote;
use super::store::{DAMAGED, PARTIAL, REMOVING};
use crate::system::{clock, fs};

/// What an entry of the backup directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Complete and proven.
    Good,
    /// Not to be restored, with the reason.
    Damaged(String),
    /// A later version of this program made it, and this one does not understand it: why. It may be
    /// as good as any.
    NotUnderstood(String),
    /// Left by a run that was killed.
    Partial,
    /// Being written at this moment.
    Busy,
    /// Its removal was begun.
    Removing,
    /// Nothing of ours; never touched.
    Foreign,
}

impl Status {
    /// Returns the word of the listing and of the JSON.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Damaged(_) => "damaged",
            Self::NotUnderstood(_) => "not understood",
            Self::Partial => "partial",
            Self::Busy => "busy",
            Self::Removing => "removing",
            Self::Foreign => "foreign",
        }
    }

    /// Returns what is wrong with it, where something is.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Damaged(why) | Self::NotUnderstood(why) => Some(why),
            Self::Good | Self::Partial | Self::Busy | Self::Removing | Self::Foreign => None,
        }
    }
}

/// Whose restore point it is, by what its manifest says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Made here for this application, or not told.
    #[default]
    Own,
    /// Made for this application on another host.
    OtherHost(String),
    /// Made for another application.
    OtherApp(String),
}

impl Origin {
    /// Compares what a manifest says with the application and the host of whoever looks.
    pub(super) fn of(manifest: &Manifest, app: &str, host: &str) -> Self {
        if manifest.app != app {
            Self::OtherApp(manifest.app.clone())
        } else if manifest.host != host {
            Self::OtherHost(manifest.host.clone())
        } else {
            Self::Own
        }
    }

    /// Says in words where it comes from; none where it was made here.
    pub fn told(&self) -> Option<String> {
        match self {
            Self::Own => None,
            Self::OtherHost(host) => Some(format!("made on {host}")),
            Self::OtherApp(app) => Some(format!("of the application {app}")),
        }
    }
}

/// One entry of the backup directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name of the restore point, or of the file or directory.
    pub id: String,
    /// What it is.
    pub status: Status,
    /// When it was made.
    pub created: Option<SystemTime>,
    /// Place in the order of all restore points; 0 without a manifest.
    pub sequence: u64,
    /// Whose it is.
    pub origin: Origin,
    /// The operator's wish that it stays.
    pub pin: Option<PinNote>,
    /// What it takes on the disk, in bytes; without a manifest only where that was measured.
    pub bytes: Option<u64>,
    /// What it says about itself, where that can be read; apart, as a list of ten thousand is sorted.
    pub manifest: Option<Box<Manifest>>,
    /// Where it lies.
    pub path: PathBuf,
}

impl Entry {
    /// Returns what it is made of; a dump where nothing tells.
    pub fn kind(&self) -> Kind {
        self.manifest.as_ref().map_or(Kind::Dump, |manifest| manifest.kind)
    }

    /// Returns whether it counts: complete, proven, and a copy on its own. A clone shares its disk with
    /// the original, and nobody here can read a snapshot.
    pub fn is_good_dump(&self) -> bool {
        self.status == Status::Good && self.kind() == Kind::Dump
    }

    /// Returns whether it leads back to before something, as every point does but what a step left: that
    /// holds some of the databases only, on the schema of the new program.
    pub fn leads_back(&self) -> bool {
        self.manifest.as_ref().is_none_or(|manifest| manifest.reason != Reason::AfterStep)
    }

    /// Returns whether a removal of others may rely on it: it counts, was made here, leads back, and
    /// is not known to fail when it is loaded.
    pub fn is_relied_on(&self) -> bool {
        self.leads_back() && self.is_sound()
    }

    /// The same whether or not it leads back.
    pub(super) fn is_sound(&self) -> bool {
        let failed = self.manifest.as_ref().and_then(|m| m.trial.as_ref()?.failed.as_ref());
        self.is_good_dump() && self.origin == Origin::Own && failed.is_none()
    }

    /// Returns the version that it leads back to, as far as manifest or name tell it.
    pub(super) fn version(&self) -> Option<&str> {
        let noted = self.manifest.as_ref().and_then(|m| m.from_version.as_ref());
        let named = || self.id.trim_start_matches(PARTIAL).split_once('-').map(|(_, rest)| rest);
        noted.map(crate::version::Version::as_str).or_else(named)
    }
}

/// By sequence, not by name or file time: clocks jump. Equal numbers fall back to the stamp.
pub(super) fn newest_first(a: &Entry, b: &Entry) -> std::cmp::Ordering {
    b.sequence.cmp(&a.sequence).then(b.created.cmp(&a.created)).then_with(|| b.id.cmp(&a.id))
}

/// Who looks: the application and the host that own points are told from others by.
pub(super) struct Looker<'a> {
    pub(super) app: &'a str,
    pub(super) host: &'a str,
    /// The backup directory.
    pub(super) dir: &'a File,
}

/// One name in the backup directory.
pub(super) struct Name {
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) is_dir: bool,
}

impl Name {
    /// Takes a name that a listing brought.
    pub(super) fn of(item: &DirEntry) -> Self {
        let is_dir = item.file_type().is_ok_and(|kind| kind.is_dir());
        // The operator sees foreign names as well as they can be shown; they are never used.
        let shown = |name: OsString| name.to_string_lossy().into_owned();
        let name = item.file_name().into_string().unwrap_or_else(shown);
        Self { path: item.path(), name, is_dir }
    }
}

impl Looker<'_> {
    /// Judges one name by what little must be read for it: the manifest, and whether a few names are
    /// there.
    pub(super) fn judge(&self, item: Name, pin: Option<PinNote>) -> Entry {
        let mut entry = Entry {
            created: stamp_of(&item.name),
            id: item.name,
            status: Status::Foreign,
            sequence: 0,
            origin: Origin::Own,
            pin,
            bytes: None,
            manifest: None,
            path: item.path,
        };
        if !item.is_dir {
            return entry;
        }
        if let Some(rest) = entry.id.strip_prefix(PARTIAL) {
            entry.created = stamp_of(rest);
            entry.status = if is_locked(&entry.path) { Status::Busy } else { Status::Partial };
        } else if entry.id.starts_with(REMOVING) {
            entry.status = Status::Removing;
        } else if entry.created.is_some() {
            self.read(&mut entry);
        }
        entry
    }

    fn read(&self, entry: &mut Entry) {
        match Manifest::read_in(self.dir, &entry.id) {
            Err(Fault::Damaged(why)) => entry.status = Status::Damaged(why),
            Err(Fault::NotUnderstood(why)) => entry.status = Status::NotUnderstood(why),
            Ok(manifest) => {
                entry.sequence = manifest.sequence;
                entry.created = clock::parse_rfc3339(&manifest.created).or(entry.created);
                entry.bytes = Some(manifest.bytes);
                entry.origin = self.origin(&manifest);
                entry.status = match first_fault(self.dir, &entry.id, &manifest) {
                    Some(why) => Status::Damaged(why),
                    None => Status::Good,
                };
                entry.manifest = Some(Box::new(manifest));
            }
        }
    }

    fn origin(&self, manifest: &Manifest) -> Origin {
        Origin::of(manifest, self.app, self.host)
    }
}

/// The most bytes of a note of what is damaged.
const LONGEST_NOTE: u64 = 4096;

/// Looks at a few names only; sizes and sums are the business of verification.
fn first_fault(dir: &File, id: &str, manifest: &Manifest) -> Option<String> {
    let id = Path::new(id);
    let note = id.join(DAMAGED);
    if fs::is_taken_in(dir, &note) {
        let read = fs::open_file_in(dir, &note).and_then(|f| fs::read_bounded(f, LONGEST_NOTE));
        return Some(match read {
            Ok(note) => String::from_utf8_lossy(&note).trim().to_owned(),
            Err(error) => format!("it is marked as damaged, and why cannot be read: {error}"),
        });
    }
    if manifest.kind != Kind::Dump {
        // A clone lies on the server, a snapshot where only its maker finds it.
        return None;
    }
    first_missing(dir, id, manifest).map(|name| format!("the archive of {name} is missing"))
}

/// A name of ours is a stamp and a version; anything else in the directory is not touched.
pub(super) fn stamp_of(name: &str) -> Option<SystemTime> {
    let (stamp, rest) = name.split_once('-')?;
    let ours = |c: char| c.is_ascii_alphanumeric() || "._+~-".contains(c);
    (!rest.is_empty() && rest.chars().all(ours)).then(|| clock::parse_stamp(stamp))?
}

/// The writer of a partial directory holds a lock on it that dies with it, and so does who reads a
/// restore point that must not be removed meanwhile.
pub(super) fn is_locked(dir: &Path) -> bool {
    fs::open_dir(dir)
        .is_ok_and(|file| matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
}
