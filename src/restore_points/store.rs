//! The directory that holds restore points: opened with care, listed cheaply, probed before use.

use std::fs::DirEntry;
use std::io;
use std::path::{Path, PathBuf};

use super::encryption::Keyring;
use super::entry::{Entry, Looker, Name, Origin, Status, newest_first};
use super::manifest::{Manifest, Reason};
use super::pin::PINS;
use super::spread::{in_parts, joined};
use super::travelling::Travelling;
use crate::error::{Context, Error, Result};
use crate::outcome::Outcome;
use crate::system::{fs, host};

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
    keyring: Keyring,
    pub(super) travelling: Travelling,
}

/// A restore point that is complete: only [`Store::create`] and [`Store::find`] make one.
#[derive(Clone, Debug)]
pub struct RestorePoint {
    pub(super) dir: PathBuf,
    /// The application whose store it was found in.
    pub(super) app: String,
    pub(super) manifest: Manifest,
    pub(super) keyring: Keyring,
}

impl RestorePoint {
    /// Returns the keys that may open it.
    pub(super) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

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
    fn of(dir: &Path, app: &str) -> Self {
        let (keyring, travelling) = (Keyring::default(), Travelling::default());
        Self { dir: dir.to_owned(), app: app.to_owned(), keyring, travelling }
    }

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
        Ok(Self::of(dir, app))
    }

    /// Opens the backup directory to look only: it is neither made nor changed; none where there is
    /// none yet.
    pub fn look(dir: &Path, app: &str) -> Result<Option<Self>> {
        if std::fs::symlink_metadata(dir).is_err() {
            return Ok(None);
        }
        fs::check_trusted_dir(dir)?;
        Ok(Some(Self::of(dir, app)))
    }

    /// Returns the store with keys: what it makes is encrypted to them, what it finds opens with them.
    #[must_use]
    pub fn with_keyring(mut self, keyring: Keyring) -> Self {
        self.keyring = keyring;
        self
    }

    /// Returns the keys.
    pub(super) fn keyring(&self) -> &Keyring {
        &self.keyring
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
        Self { dir: dir.to_owned(), ..self.clone() }
    }

    /// Lists everything in the directory, newest first; reads manifests only, no archive.
    pub fn list(&self) -> Result<Vec<Entry>> {
        let attempt = || format!("cannot list {}", self.dir.display());
        let pins = self.pins();
        let dir = fs::open_dir(&self.dir).context(attempt)?;
        let host = host::name();
        let looker = Looker { app: &self.app, host: &host, dir: &dir };
        let judged = |item: io::Result<DirEntry>| match item.map(|item| Name::of(&item)) {
            Ok(name) if name.name == PINS => None,
            Ok(name) => {
                let pin = pins.of(&name.name);
                Some(Ok(looker.judge(name, pin)))
            }
            Err(error) => Some(Err(error)),
        };
        let names = std::fs::read_dir(&self.dir).context(attempt)?;
        let parts = in_parts(names, |part| part.into_iter().filter_map(judged).collect());
        let parts: io::Result<Vec<Vec<Entry>>> = parts.into_iter().collect();
        let mut entries = joined(parts.context(attempt)?);
        entries.sort_by(newest_first);
        Ok(entries)
    }

    /// Returns what lies under this name, whatever it is.
    pub fn entry(&self, id: &str) -> Result<Entry> {
        let path = self.dir.join(id);
        let plain = !id.is_empty() && !id.contains('/') && id != "." && id != ".." && id != PINS;
        let data = plain.then(|| std::fs::symlink_metadata(&path).ok()).flatten();
        let Some(data) = data else { return Err(self.unknown(id)) };
        let pin = self.pins().of(id);
        let host = host::name();
        let name = Name { path, name: id.to_owned(), is_dir: data.is_dir() };
        let dir =
            fs::open_dir(&self.dir).context(|| format!("cannot open {}", self.dir.display()))?;
        Ok(Looker { app: &self.app, host: &host, dir: &dir }.judge(name, pin))
    }

    fn unknown(&self, id: &str) -> Error {
        let message = match id {
            "latest" => format!("there is no restore point in {}", self.dir.display()),
            id => format!("there is no restore point {id} in {}", self.dir.display()),
        };
        Error::new(Outcome::Refused, message)
            .state("nothing was changed")
            .hint("List them with `openwatch backup list`.")
    }

    /// Returns a complete restore point by its name, or the newest for `latest`.
    ///
    /// What was kept before a restore is never meant by `latest`, unless there is nothing else:
    /// otherwise the same command, typed twice, would undo itself.
    pub fn find(&self, id: &str) -> Result<RestorePoint> {
        let found = match id {
            "latest" => latest(self.list()?),
            id => Some(self.entry(id)?).filter(|entry| entry.status != Status::Foreign),
        };
        let Some(found) = found else { return Err(self.unknown(id)) };
        match (found.status, found.manifest) {
            (Status::Good, Some(manifest)) => {
                let (app, keyring) = (self.app.clone(), self.keyring.clone());
                Ok(RestorePoint { dir: found.path, app, manifest: *manifest, keyring })
            }
            (status, _) => {
                let why = status.why().unwrap_or(status.word()).to_owned();
                let strange = matches!(status, Status::NotUnderstood(_));
                let what = if strange { "understood by this version" } else { "complete" };
                Err(Error::new(Outcome::Refused, format!("restore point {id} is not {what}"))
                    .detail(why)
                    .state("nothing was changed")
                    .hint("List the others with `openwatch backup list`."))
            }
        }
    }

    /// Proves that a restore point could be written: a file is made, synced, renamed and removed.
    pub fn probe(&self) -> Result<()> {
        let (from, to) = (self.dir.join(".probe-new"), self.dir.join(".probe"));
        let attempt = || -> io::Result<()> {
            use io::Write as _;
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

    pub(super) fn next_sequence(&self) -> Result<u64> {
        // Of all that is there: a point that was made before the host was renamed is older as well.
        let newest = self.list()?.iter().map(|entry| entry.sequence).max().unwrap_or(0);
        Ok(newest.saturating_add(1))
    }
}

/// One that was carried here from elsewhere, kept before a restore, or made of what a step left, is
/// meant only where there is no other.
fn latest(entries: Vec<Entry>) -> Option<Entry> {
    let rank = |entry: &Entry| {
        let order = entry.manifest.as_ref().map_or(0, |m| match m.reason {
            Reason::Upgrade | Reason::Manual => 0,
            Reason::BeforeRestore => 1,
            Reason::AfterStep => 2,
        });
        (entry.origin != Origin::Own, order)
    };
    let good = entries.into_iter().filter(|entry| entry.status == Status::Good);
    // The first of the best: newest first is the order of the list.
    good.min_by_key(rank)
}
