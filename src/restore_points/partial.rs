//! Directories under a partial name: locked while they are in use, and gone unless published.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::entry::is_locked;
use super::store::{PARTIAL, Store};
use crate::error::{Context, Error, Result};
use crate::system::fs;

/// End of the name of a directory in which a rehearsal keeps its restore point.
const REHEARSAL: &str = "-rehearsal";

/// A directory under a partial name: locked while we write, removed unless it is published.
pub(super) struct Partial {
    pub(super) dir: PathBuf,
    _lock: File,
    pub(super) published: bool,
}

impl Partial {
    pub(super) fn new(dir: PathBuf) -> Result<Self> {
        fs::make_new_dir(&dir, 0o700)?;
        let lock = fs::open_dir(&dir).context(|| format!("cannot open {}", dir.display()))?;
        lock.try_lock().map_err(|error| {
            Error::failed(format!("cannot lock {}", dir.display())).source(error)
        })?;
        Ok(Self { dir, _lock: lock, published: false })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.published {
            // Nothing more can be done here; a leftover is known by its name and never counted.
            let _ = fs::remove_tree(&self.dir);
        }
    }
}

/// A store within the store, for a restore point that nobody shall find: removed with this value.
pub struct ScratchStore {
    partial: Partial,
    store: Store,
}

impl ScratchStore {
    /// Returns the store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns where it is.
    pub fn dir(&self) -> &Path {
        &self.partial.dir
    }
}

impl Store {
    /// Makes a store for one rehearsal, on the disk that restore points are meant for.
    pub fn scratch(&self, stamp: &str) -> Result<ScratchStore> {
        let dir = self.dir().join(format!("{PARTIAL}{stamp}{REHEARSAL}"));
        let partial = Partial::new(dir)?;
        let store = self.beside(&partial.dir);
        Ok(ScratchStore { partial, store })
    }

    /// Removes the stores of rehearsals that were killed; returns their names.
    pub fn remove_scratch_leftovers(&self) -> Result<Vec<String>> {
        let attempt = || format!("cannot list {}", self.dir().display());
        let mut removed = Vec::new();
        // By name alone: what the other entries are does not matter here.
        for item in std::fs::read_dir(self.dir()).context(attempt)? {
            let item = item.context(attempt)?;
            let name = item.file_name().to_string_lossy().into_owned();
            let is_dir = item.file_type().is_ok_and(|kind| kind.is_dir());
            let ours = is_dir && name.starts_with(PARTIAL) && name.ends_with(REHEARSAL);
            if ours && !is_locked(&item.path()) {
                fs::remove_tree(&item.path())?;
                removed.push(name);
            }
        }
        Ok(removed)
    }
}
