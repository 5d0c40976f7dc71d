//! Private directories for a moment, of which a killed program leaves nothing for long.

use std::fs::File;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;

use crate::error::{Context, Error, Result};
use crate::system::fs;

/// A private directory (0700) below `TMPDIR` or `/tmp`, removed with the value.
///
/// It is locked while it is in use, and the lock dies with its holder: whoever makes the next one
/// removes what a killed program left.
#[derive(Debug)]
pub struct ScratchDir {
    dir: tempfile::TempDir,
    _lock: File,
}

/// How often a directory is made again that another program took for a leftover.
const TRIES: u32 = 8;

impl ScratchDir {
    /// Makes a directory whose name begins with `prefix`, which must be used for nothing else.
    pub fn new(prefix: &str) -> Result<Self> {
        sweep(&std::env::temp_dir(), prefix);
        for _ in 0..TRIES {
            let dir = fs::private_temp_dir(prefix)?;
            let lock = fs::open_dir(dir.path())
                .context(|| format!("cannot open {}", dir.path().display()))?;
            // Between making and locking it, another program may have taken it for a leftover.
            if lock.try_lock().is_ok() && is_still_at(&lock, dir.path()) {
                return Ok(Self { dir, _lock: lock });
            }
        }
        let place = std::env::temp_dir();
        Err(Error::failed(format!("cannot keep a directory in {}", place.display())))
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Lets another user work in it: it then belongs to that user, and stays closed to all others.
    pub fn give_to(&self, uid: u32) -> Result<()> {
        chown(self.path(), Some(uid), None)
            .context(|| format!("cannot give {} away", self.path().display()))
    }
}

/// Removes directories of this name that nobody holds any more; what cannot be removed stays.
fn sweep(parent: &Path, prefix: &str) {
    let own = rustix::process::geteuid().as_raw();
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(prefix) {
            continue;
        }
        let Ok(handle) = fs::open_dir(&path) else { continue };
        let ours = handle.metadata().is_ok_and(|data| {
            // Root may have given it to a tool's own user.
            data.mode() & 0o077 == 0 && (data.uid() == own || own == 0)
        });
        if ours && handle.try_lock().is_ok() {
            let _ = fs::remove_tree(&path);
        }
    }
}

/// Returns whether what was opened is what lies there now.
pub fn is_still_at(handle: &File, path: &Path) -> bool {
    let here = std::fs::symlink_metadata(path).map(|data| (data.dev(), data.ino()));
    let held = handle.metadata().map(|data| (data.dev(), data.ino()));
    matches!((here, held), (Ok(here), Ok(held)) if here == held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_program_left_is_removed_and_what_is_in_use_stays() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["ow-x-left", "ow-x-used", "ow-y-other"] {
            fs::make_new_dir(&dir.path().join(name), 0o700).unwrap();
        }
        let used = fs::open_dir(&dir.path().join("ow-x-used")).unwrap();
        used.try_lock().unwrap();
        sweep(dir.path(), "ow-x-");
        let mut left: Vec<String> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["ow-x-used", "ow-y-other"]);
    }

    #[test]
    fn it_is_gone_with_its_value() {
        let dir = ScratchDir::new("ow-scratch-test-").unwrap();
        let path = dir.path().to_owned();
        assert!(path.is_dir());
        drop(dir);
        assert!(!path.exists());
    }
}
