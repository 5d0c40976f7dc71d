//! Directories under a partial name: locked while they are in use, and gone unless published.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::entry::{Entry, Status, is_locked};
use super::store::{PARTIAL, Store};
use crate::error::{Context, Error, Result};
use crate::system::clock::{self, Deadline};
use crate::system::{fs, scratch};

/// End of the name of a directory in which a rehearsal keeps its restore point.
const REHEARSAL: &str = "-rehearsal";

/// How long a lock is waited for that somebody else takes for an instant.
const PATIENCE: Duration = Duration::from_secs(5);

/// A directory under a partial name: locked while we write, removed unless it is published.
pub(super) struct Partial {
    pub(super) dir: PathBuf,
    _lock: File,
    pub(super) published: bool,
}

impl Partial {
    pub(super) fn new(dir: PathBuf) -> Result<Self> {
        let patience = Deadline::after(PATIENCE);
        loop {
            fs::make_new_dir(&dir, 0o700)?;
            let lock = fs::open_dir(&dir).context(|| format!("cannot open {}", dir.display()))?;
            // Who lists the directory takes the lock for an instant to see whether it is free.
            let locked = loop {
                match lock.try_lock() {
                    Err(TryLockError::WouldBlock) if !patience.passed() => {
                        clock::pause(Duration::from_millis(5));
                    }
                    locked => break locked,
                }
            };
            locked.map_err(|error| {
                Error::failed(format!("cannot lock {}", dir.display())).source(error)
            })?;
            // Between making and locking it, a prune may have taken it for a leftover.
            if scratch::is_still_at(&lock, &dir) || patience.passed() {
                return Ok(Self { dir, _lock: lock, published: false });
            }
        }
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

/// Returns whether a rehearsal made this and is gone; asked right before it is removed, since another
/// application may rehearse in the same directory.
fn is_left(name: &str, path: &Path) -> bool {
    name.starts_with(PARTIAL) && name.ends_with(REHEARSAL) && !is_locked(path)
}

impl Store {
    /// Makes a store for one rehearsal, on the disk that restore points are meant for.
    pub fn scratch(&self, stamp: &str) -> Result<ScratchStore> {
        let dir = self.dir().join(format!("{PARTIAL}{stamp}{REHEARSAL}"));
        let partial = Partial::new(dir)?;
        let store = self.beside(&partial.dir);
        Ok(ScratchStore { partial, store })
    }

    /// Does what [`Store::remove_scratch_leftovers`] does with a listing, and takes them out of it.
    pub fn remove_listed_leftovers(&self, listed: &mut Vec<Entry>) -> Result<Vec<String>> {
        let left = |e: &mut Entry| e.status == Status::Partial && is_left(&e.id, &e.path);
        let left = listed.extract_if(.., left);
        left.map(|entry| fs::remove_tree(&entry.path).map(|()| entry.id)).collect()
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
            if is_dir && is_left(&name, &item.path()) {
                fs::remove_tree(&item.path())?;
                removed.push(name);
            }
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A look takes the lock and lets it go again, as long as the listing lasts.
    #[test]
    fn a_look_at_a_directory_that_is_just_made_does_not_fail_it() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join(".partial-20261120T131502Z-1");
        let made = std::thread::scope(|scope| {
            let looker = scope.spawn(|| {
                let held = loop {
                    let Ok(held) = fs::open_dir(&dir) else { continue };
                    if held.try_lock().is_ok() {
                        break held;
                    }
                };
                // Long enough that the maker meets it, whoever came first.
                clock::pause(Duration::from_millis(50));
                drop(held);
            });
            let mut made = Partial::new(dir.clone());
            while made.is_ok() && !looker.is_finished() {
                drop(made);
                made = Partial::new(dir.clone());
            }
            made
        });
        assert!(made.is_ok(), "{:?}", made.err());
    }
}
