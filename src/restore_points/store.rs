//! The directory that holds restore points: opened with care, listed cheaply, probed before use.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::manifest::{Kind, Manifest};
use super::retention::newest_first;
use crate::error::{Context, Error, Result};
use crate::outcome::Outcome;
use crate::system::clock;
use crate::system::fs;

/// Prefix of a restore point that is being written.
pub(super) const PARTIAL: &str = ".partial-";

/// Prefix of a restore point that is being removed.
pub(super) const REMOVING: &str = ".removing-";

/// Name of the note that a verification which failed leaves in a restore point.
pub(super) const DAMAGED: &str = "damaged";

/// The restore points of one application.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
    app: String,
}

/// What an entry of the backup directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Complete and proven.
    Good,
    /// Not to be restored, with the reason.
    Damaged(String),
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
            Self::Partial => "partial",
            Self::Busy => "busy",
            Self::Removing => "removing",
            Self::Foreign => "foreign",
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
    /// What it says about itself, where that can be read.
    pub manifest: Option<Manifest>,
    /// Where it lies.
    pub path: PathBuf,
}

/// A restore point that is complete: only [`Store::create`] and [`Store::find`] make one.
#[derive(Clone, Debug)]
pub struct RestorePoint {
    pub(super) dir: PathBuf,
    /// The application whose store it was found in.
    pub(super) app: String,
    pub(super) manifest: Manifest,
}

impl RestorePoint {
    /// Returns its name.
    pub fn id(&self) -> &str {
        &self.manifest.id
    }

    /// Returns the directory that holds it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns what it says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

impl Store {
    /// Opens the backup directory of an application, making it where it is missing; its mode is
    /// tightened to 0700, a link or a directory that others may write to is refused.
    pub fn open(dir: &Path, app: &str) -> Result<Self> {
        if !dir.is_absolute() {
            return Err(Error::config(format!(
                "the backup directory {} is relative",
                dir.display()
            ))
            .state("nothing was changed")
            .hint("Set backup_dir to an absolute path."));
        }
        if std::fs::symlink_metadata(dir).is_err() {
            fs::make_dir(dir, 0o700).map_err(|error| {
                let hint = "Mount what should be there, or set backup_dir to another directory.";
                error.outcome_as(Outcome::Config).state("nothing was changed").hint(hint)
            })?;
        }
        fs::check_trusted_dir(dir)?;
        fs::tighten(dir, 0o700)?;
        Ok(Self { dir: dir.to_owned(), app: app.to_owned() })
    }

    /// Opens the backup directory to look only: it is neither made nor changed; none where there is
    /// none yet.
    pub fn look(dir: &Path, app: &str) -> Result<Option<Self>> {
        if std::fs::symlink_metadata(dir).is_err() {
            return Ok(None);
        }
        fs::check_trusted_dir(dir)?;
        Ok(Some(Self { dir: dir.to_owned(), app: app.to_owned() }))
    }

    /// Returns the directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the application.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// Returns a store of the same application in another directory that is ours.
    pub(super) fn beside(&self, dir: &Path) -> Self {
        Self { dir: dir.to_owned(), app: self.app.clone() }
    }

    /// Lists everything in the directory, newest first; reads manifests only, no archive.
    pub fn list(&self) -> Result<Vec<Entry>> {
        let attempt = || format!("cannot list {}", self.dir.display());
        let mut entries = Vec::new();
        for item in std::fs::read_dir(&self.dir).context(attempt)? {
            let item = item.context(attempt)?;
            let is_dir = item.file_type().is_ok_and(|kind| kind.is_dir());
            // The operator sees foreign names as well as they can be shown; they are never used.
            let name = item.file_name().to_string_lossy().into_owned();
            entries.push(entry(item.path(), name, is_dir));
        }
        entries.sort_by(newest_first);
        Ok(entries)
    }

    /// Returns a complete restore point by its name, or the newest for `latest`.
    pub fn find(&self, id: &str) -> Result<RestorePoint> {
        let entries = self.list()?;
        let found = match id {
            "latest" => entries.into_iter().find(|entry| entry.status == Status::Good),
            id => {
                entries.into_iter().find(|entry| entry.id == id && entry.status != Status::Foreign)
            }
        };
        let Some(found) = found else {
            let message = match id {
                "latest" => format!("there is no restore point in {}", self.dir.display()),
                id => format!("there is no restore point {id} in {}", self.dir.display()),
            };
            return Err(Error::new(Outcome::Refused, message)
                .state("nothing was changed")
                .hint("List them with `openwatch backup list`."));
        };
        match (found.status, found.manifest) {
            (Status::Good, Some(manifest)) => {
                Ok(RestorePoint { dir: found.path, app: self.app.clone(), manifest })
            }
            (status, _) => {
                let why = match &status {
                    Status::Damaged(why) => why.clone(),
                    other => other.word().to_owned(),
                };
                Err(Error::new(Outcome::Refused, format!("restore point {id} is not complete"))
                    .detail(why)
                    .state("nothing was changed")
                    .hint("List the others with `openwatch backup list`."))
            }
        }
    }

    /// Proves that a restore point could be written: a file is made, synced, renamed and removed.
    pub fn probe(&self) -> Result<()> {
        let (from, to) = (self.dir.join(".probe-new"), self.dir.join(".probe"));
        let attempt = || -> std::io::Result<()> {
            use std::io::Write as _;
            let _ = std::fs::remove_file(&from);
            let mut file = fs::create_new(&from, 0o600)?;
            file.write_all(&[0x5a; 8192])?;
            file.sync_all()?;
            fs::rename(&from, &to)?;
            std::fs::remove_file(&to)
        };
        attempt().map_err(|error| {
            let _ = std::fs::remove_file(&from);
            Error::new(
                Outcome::Refused,
                format!("the backup directory {} cannot be written", self.dir.display()),
            )
            .source(error)
            .state("nothing was changed")
        })
    }

    /// Says what differs when the directory should lie on its own mount and does not.
    pub fn check_mount(&self, mount_point: &Path) -> Result<()> {
        use std::os::unix::fs::MetadataExt as _;
        let device = |path: &Path| std::fs::metadata(path).map(|data| data.dev());
        let above = mount_point.parent().unwrap_or(Path::new("/"));
        let mounted = match (device(mount_point), device(above)) {
            (Ok(own), Ok(other)) => own != other && device(&self.dir).is_ok_and(|dev| dev == own),
            _ => false,
        };
        if mounted {
            return Ok(());
        }
        let text = format!("{} is not mounted at {}", self.dir.display(), mount_point.display());
        Err(Error::new(Outcome::Refused, text)
            .state("nothing was changed")
            .hint(format!("Run `mount {}`.", mount_point.display())))
    }

    pub(super) fn next_sequence(&self) -> Result<u64> {
        Ok(self.list()?.iter().map(|entry| entry.sequence).max().unwrap_or(0) + 1)
    }
}

fn entry(path: PathBuf, name: String, is_dir: bool) -> Entry {
    let mut entry = Entry {
        created: stamp_of(&name),
        id: name,
        status: Status::Foreign,
        sequence: 0,
        manifest: None,
        path,
    };
    if !is_dir {
        return entry;
    }
    if let Some(rest) = entry.id.strip_prefix(PARTIAL) {
        entry.created = stamp_of(rest);
        entry.status = if is_locked(&entry.path) { Status::Busy } else { Status::Partial };
    } else if entry.id.starts_with(REMOVING) {
        entry.status = Status::Removing;
    } else if entry.created.is_some() {
        judge(&mut entry);
    }
    entry
}

fn judge(entry: &mut Entry) {
    match Manifest::read(&entry.path) {
        Err(why) => entry.status = Status::Damaged(why),
        Ok(manifest) => {
            entry.sequence = manifest.sequence;
            entry.created = clock::parse_rfc3339(&manifest.created).or(entry.created);
            entry.status = match first_fault(&entry.path, &manifest) {
                Some(why) => Status::Damaged(why),
                None => Status::Good,
            };
            entry.manifest = Some(manifest);
        }
    }
}

/// Looks at a few names only; sizes and sums are the business of verification.
fn first_fault(dir: &Path, manifest: &Manifest) -> Option<String> {
    if let Ok(note) = fs::read_text(&dir.join(DAMAGED), 4096) {
        return Some(note.trim().to_owned());
    }
    if manifest.kind != Kind::Dump {
        // A clone lies on the server, a snapshot where only its maker finds it.
        return None;
    }
    manifest
        .databases
        .iter()
        .find(|archive| !dir.join(&archive.name).is_dir())
        .map(|archive| format!("the archive of {} is missing", archive.name))
}

/// A name of ours is a stamp and a version; anything else in the directory is not touched.
fn stamp_of(name: &str) -> Option<SystemTime> {
    let (stamp, rest) = name.split_once('-')?;
    let ours = |c: char| c.is_ascii_alphanumeric() || "._+~-".contains(c);
    (!rest.is_empty() && rest.chars().all(ours)).then(|| clock::parse_stamp(stamp))?
}

/// The writer of a partial directory holds a lock on it that dies with it.
pub(super) fn is_locked(dir: &Path) -> bool {
    fs::open_dir(dir)
        .is_ok_and(|file| matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
}
