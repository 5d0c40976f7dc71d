//! Putting a copy in the place of a database file, whose former content stays under another name.
//!
//! The new file gets its name by one rename, at once and whole. What SQLite left beside the former
//! file belongs to that file alone: a log or journal that is found beside another one is applied to it
//! and destroys it. So the former file is brought to rest first, and what cannot be, moves away before
//! the new file comes.

use std::fs::File as Open;
use std::io::Read;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::holders::{holders, unseen};
use super::{File, Holder};
use crate::error::{Context, Error, Result};
use crate::outcome::Outcome;
use crate::system::fs;

/// What SQLite may leave beside a database file, by the end of its name.
pub const fn sidecars() -> [&'static str; 3] {
    ["-wal", "-shm", "-journal"]
}

/// A whole copy beside the database file, which is about to take its place.
#[derive(Debug)]
pub struct Fresh {
    path: PathBuf,
}

impl Fresh {
    /// Returns where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it; a leftover has a name by which it is known.
    pub fn discard(&self) -> Result<()> {
        fs::remove_file(&self.path)
    }
}

impl File {
    /// Refuses while another process has the file open, and names it; and where that cannot be seen,
    /// because a file that is exchanged under its user takes what is written afterwards with it.
    pub fn check_unheld(&self) -> Result<()> {
        let held = holders(self);
        if held.is_empty() {
            return match unseen(self) {
                None => Ok(()),
                Some(text) => Err(Error::new(Outcome::Refused, text).hint(
                    "Run this outside of the unit or container, or give that the capability \
                     (`CapabilityBoundingSet=CAP_SYS_PTRACE`, `--cap-add SYS_PTRACE`).",
                )),
            };
        }
        let words: Vec<String> = held.iter().map(Holder::to_string).collect();
        let text = format!("the {} is open in another process", self.described());
        Err(words.iter().fold(Error::new(Outcome::Refused, text), Error::detail).hint(
            "Stop it (`systemctl status PID` names its unit), then run the same command again.",
        ))
    }

    /// Writes what an archive holds beside the file, with the owner, the permissions and the extended attributes
    /// of the present one; `stamp` tells it from others.
    pub fn bring(&self, from: &mut dyn Read, stamp: &str, owner: Owner) -> Result<Fresh> {
        let path = self.hidden(&format!("restoring_{stamp}"));
        let mut attempt = || -> std::io::Result<()> {
            let mut to = fs::create_new(&path, 0o600)?;
            std::io::copy(from, &mut to)?;
            self.dress(&to, owner)?;
            to.sync_all()
        };
        let fresh = Fresh { path: path.clone() };
        attempt().context(|| format!("cannot write {}", path.display())).inspect_err(|_| {
            // What cannot be removed now is known by its name, and removed next time.
            let _ = fresh.discard();
        })?;
        Ok(fresh)
    }

    /// Gives a new file what the present one has beside its content.
    fn dress(&self, new: &Open, owner: Owner) -> std::io::Result<()> {
        let present = fs::open_file(self.path());
        let Ok(present) = present else {
            if let Some(user) = &self.user {
                std::os::unix::fs::fchown(new, Some(user.uid), Some(user.gid))?;
            }
            return new.set_permissions(std::fs::Permissions::from_mode(0o640));
        };
        let data = present.metadata()?;
        if owner == Owner::Kept {
            std::os::unix::fs::fchown(new, Some(data.uid()), Some(data.gid()))?;
        }
        // After the owner: a change of owner takes special bits away.
        new.set_permissions(std::fs::Permissions::from_mode(data.mode() & 0o7777))?;
        attributes(&present, new);
        Ok(())
    }

    /// Puts a copy in the place of the file; returns the name that the former one has now, where there
    /// was one.
    pub fn exchange(&self, fresh: &Fresh, kept_as: &Path) -> Result<Option<PathBuf>> {
        let failed = || format!("cannot put {} in its place", fresh.path.display());
        if !self.exists() {
            self.move_sidecars(kept_as)?;
            fs::rename(&fresh.path, self.path()).context(failed)?;
            return Ok(None);
        }
        self.bring_to_rest();
        self.check_unheld()?;
        self.move_sidecars(kept_as)?;
        fs::keep_under(self.path(), kept_as)
            .context(|| format!("cannot keep the {} under another name", self.described()))?;
        fs::rename(&fresh.path, self.path()).context(failed)?;
        Ok(Some(kept_as.to_owned()))
    }

    /// Applies what lies beside the file to it, as the next reader would, so that nothing is left
    /// there; a file that cannot be read keeps it.
    fn bring_to_rest(&self) {
        if let Ok(mut session) = self.open() {
            let _ = session.run("pragma wal_checkpoint(truncate)");
            session.clear_away();
        }
    }

    /// Moves what lies beside the file to the name under which the file is kept.
    fn move_sidecars(&self, kept_as: &Path) -> Result<()> {
        for ending in sidecars() {
            let from = self.beside(ending);
            if from.symlink_metadata().is_err() {
                continue;
            }
            let mut to = kept_as.as_os_str().to_owned();
            to.push(ending);
            fs::rename(&from, Path::new(&to))
                .context(|| format!("cannot move {} away", from.display()))?;
        }
        Ok(())
    }

    /// Removes copies that a restore which was killed left beside the file; returns their names.
    pub fn drop_leftovers(&self) -> Result<Vec<String>> {
        let prefix = self.hidden_name("restoring_");
        let mut gone = Vec::new();
        for name in self.names_in_dir() {
            if name.starts_with(&prefix) {
                fs::remove_file(&self.dir().join(&name))?;
                gone.push(name);
            }
        }
        Ok(gone)
    }

    /// Returns the names in the directory of the file, sorted.
    pub(super) fn names_in_dir(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir()).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// Returns the name of the file within its directory.
    pub fn file_name(&self) -> String {
        self.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub(super) fn hidden_name(&self, ending: &str) -> String {
        format!(".{}.{ending}", self.file_name())
    }

    pub(super) fn hidden(&self, ending: &str) -> PathBuf {
        self.dir().join(self.hidden_name(ending))
    }
}

/// Whose a file becomes that takes the place of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The former one's.
    Kept,
    /// Ours.
    Ours,
}

/// Carries extended attributes over, such as the label of SELinux and access control lists: what the
/// file system or the kernel refuses is left to whoever labels the directory.
fn attributes(from: &Open, to: &Open) {
    let mut names = vec![0_u8; 64 << 10];
    let Ok(length) = rustix::fs::flistxattr(from, &mut names[..]) else { return };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0_u8; 64 << 10];
        if let Ok(length) = rustix::fs::fgetxattr(from, name, &mut value[..]) {
            let flags = rustix::fs::XattrFlags::empty();
            let _ = rustix::fs::fsetxattr(to, name, &value[..length], flags);
        }
    }
}
