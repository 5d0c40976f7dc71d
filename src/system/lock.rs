//! A file lock that the kernel releases, with its holder written inside.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};
use crate::outcome::Outcome;
use crate::system::clock::{self, Clock};

/// Who holds a lock, as the loser is told.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// When it took the lock, RFC 3339.
    pub since: String,
    /// What it does, such as `upgrade`.
    pub doing: String,
}

/// A held lock; dropping it, or dying, releases it.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
    path: PathBuf,
}

impl FileLock {
    /// Takes the lock or says who holds it; never waits.
    pub fn try_lock(path: &Path, doing: &str) -> Result<Self> {
        if let Some(parent) = path.parent() {
            super::fs::make_dir(parent, 0o755)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)
            .context(|| format!("cannot open the lock {}", path.display()))?;
        // Whoever can open it for reading can hold it; one that was made with other bits has them still.
        file.set_permissions(Permissions::from_mode(0o600))
            .context(|| format!("cannot make the lock {} private", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(busy(&mut file, path)),
            Err(TryLockError::Error(error)) => {
                return Err(error).context(|| format!("cannot lock {}", path.display()));
            }
        }
        let holder = Holder {
            pid: std::process::id(),
            since: clock::rfc3339(Clock::System.now()),
            doing: doing.to_owned(),
        };
        let text = serde_json::to_string(&holder).unwrap_or_default();
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()));
        written.context(|| format!("cannot write the lock {}", path.display()))?;
        Ok(Self { _file: file, path: path.to_owned() })
    }

    /// Returns who holds the lock, without taking it; none where it is free, or nobody can tell.
    pub fn holder(path: &Path) -> Option<Holder> {
        let file = super::fs::open_file(path).ok()?;
        match file.try_lock_shared() {
            Ok(()) => None,
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                file.take(4096).read_to_string(&mut text).ok()?;
                serde_json::from_str(&text).ok()
            }
            Err(TryLockError::Error(_)) => None,
        }
    }

    /// Returns the file that is locked.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn busy(file: &mut File, path: &Path) -> Error {
    let mut text = String::new();
    // The holder may be writing at this instant; without a name the message still stands.
    let _ = file.take(4096).read_to_string(&mut text);
    let message = match serde_json::from_str::<Holder>(&text) {
        Ok(holder) => {
            format!(
                "another run holds the lock: {} (pid {}, since {})",
                holder.doing, holder.pid, holder.since
            )
        }
        Err(_) => format!("another run holds the lock {}", path.display()),
    };
    Error::new(Outcome::Busy, message)
        .state("this run changed nothing")
        .hint("Wait for it, or follow it with `journalctl -f -u openwatch-upgrade.service`.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_can_open_a_lock_and_so_hold_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("upgrade.lock");
        // As an older version made it.
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        for path in [path, dir.path().join("new.lock")] {
            let _held = FileLock::try_lock(&path, "upgrade").unwrap();
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn the_loser_names_the_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let _held = FileLock::try_lock(&path, "upgrade").unwrap();
        let error = FileLock::try_lock(&path, "prune").unwrap_err();
        assert_eq!(error.outcome(), Outcome::Busy);
        let pid = format!("pid {}", std::process::id());
        assert!(error.message().contains(&pid), "{error:?}");
    }

    #[test]
    fn a_dropped_lock_is_free_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        drop(FileLock::try_lock(&path, "upgrade").unwrap());
        assert!(FileLock::try_lock(&path, "upgrade").is_ok());
    }
}
