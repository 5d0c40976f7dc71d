//! A copy of a database file for a moment, in a private directory beside it.
//!
//! Directory and copy belong to whoever opens the file, and are made, filled and removed with no more
//! rights: the place is the application's, and root would follow what it puts there. It lies on the disk
//! that has the data in clear anyway. The directory is locked while it is in use; the lock dies with its
//! holder, so that what a killed program left is known.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::File;
use crate::error::{Context, Error, Result};
use crate::system::identity::Identity;
use crate::system::impersonate::with_rights_of;
use crate::system::{fs, scratch};

/// How often a directory is made again that another program took for a leftover.
const TRIES: u32 = 8;

/// An empty database file in a directory of its own; both go with the value.
#[derive(Debug)]
pub struct ScratchFile {
    dir: PathBuf,
    path: PathBuf,
    identity: Option<Identity>,
    there: bool,
    _lock: std::fs::File,
}

impl ScratchFile {
    /// Returns where the copy lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the copy; what was in it goes.
    pub fn fill(&self, from: &mut dyn Read) -> Result<()> {
        let failed = || format!("cannot write {}", self.path.display());
        let mut to = with_rights_of(self.identity.as_ref(), || {
            fs::remove_file(&self.path)?;
            fs::create_new(&self.path, 0o600).context(failed)
        })?;
        std::io::copy(from, &mut to).map(drop).context(failed)
    }

    /// Removes it with its directory.
    pub fn remove(mut self) -> Result<()> {
        self.remove_now()
    }

    fn remove_now(&mut self) -> Result<()> {
        with_rights_of(self.identity.as_ref(), || fs::remove_tree(&self.dir))?;
        self.there = false;
        Ok(())
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        if self.there {
            // Nothing more can be done here; a leftover is known by its name and its lock.
            let _ = self.remove_now();
        }
    }
}

impl File {
    /// Makes an empty database file beside this one, in a directory whose name has `word` and `stamp`.
    pub fn scratch(&self, word: &str, stamp: &str) -> Result<ScratchFile> {
        let identity = self.identity()?;
        let dir = self.hidden(&format!("{word}_{stamp}"));
        let path = dir.join(self.file_name());
        for _ in 0..TRIES {
            let made = with_rights_of(identity.as_ref(), || {
                fs::make_new_dir(&dir, 0o700)?;
                let lock =
                    fs::open_dir(&dir).context(|| format!("cannot open {}", dir.display()))?;
                // Between making and locking it, a prune may have taken it for a leftover.
                if lock.try_lock().is_err() || !scratch::is_still_at(&lock, &dir) {
                    return Ok(None);
                }
                let made = fs::create_new(&path, 0o600);
                drop(made.context(|| format!("cannot make {}", path.display()))?);
                Ok(Some(lock))
            })?;
            if let Some(lock) = made {
                return Ok(ScratchFile { dir, path, identity, there: true, _lock: lock });
            }
        }
        Err(Error::failed(format!("cannot keep a directory in {}", self.dir().display())))
    }

    /// Removes what programs that were killed left of these copies; returns the names.
    pub fn drop_scratch(&self, word: &str) -> Result<Vec<String>> {
        let prefix = self.hidden_name(&format!("{word}_"));
        let identity = self.identity()?;
        let mut gone = Vec::new();
        for name in self.names_in_dir().into_iter().filter(|name| name.starts_with(&prefix)) {
            let dir = self.dir().join(&name);
            let removed = with_rights_of(identity.as_ref(), || {
                // A link, or what is no directory, is nothing of ours.
                let Ok(lock) = fs::open_dir(&dir) else { return Ok(false) };
                if lock.try_lock().is_err() {
                    return Ok(false);
                }
                fs::remove_tree(&dir).map(|()| true)
            })?;
            if removed {
                gone.push(name);
            }
        }
        Ok(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_goes_with_its_value_and_what_a_kill_left_with_the_next_look() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::new(dir.path().join("main.db"), None);
        let names = || file.names_in_dir();
        let copy = file.scratch("rehearsal", "20261120T131502Z").unwrap();
        copy.fill(&mut &b"bytes"[..]).unwrap();
        assert_eq!(std::fs::read(copy.path()).unwrap(), b"bytes");
        assert_eq!(file.drop_scratch("rehearsal").unwrap(), [""; 0], "it is in use");
        copy.remove().unwrap();
        assert_eq!(names(), [""; 0]);
        let left = ".main.db.rehearsal_20261120T131502Z";
        std::fs::create_dir(dir.path().join(left)).unwrap();
        std::fs::write(dir.path().join(left).join("main.db-journal"), "half").unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join(".main.db.rehearsal_x")).unwrap();
        assert_eq!(file.drop_scratch("rehearsal").unwrap(), [left]);
        assert_eq!(names(), [".main.db.rehearsal_x"]);
    }
}
