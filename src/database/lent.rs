//! Directories lent to the system user that a client program runs as.
//!
//! With peer authentication the client has to be the database's own system user, while restore
//! points belong to root and no other user may walk to them. The directory is therefore opened by
//! root and given to the child as its standard input: `/proc/self/fd/0` leads straight to it, and
//! stays so in the workers that the client forks. Nothing else leads there, because every directory
//! above keeps its mode.

use std::fs::{File, Permissions, symlink_metadata};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown};
use std::path::{Path, PathBuf};

use crate::system::fs;
use crate::system::identity::Identity;
use crate::system::process::{Call, Input};

/// What a borrowed directory is called inside the child.
const INSIDE: &str = "/proc/self/fd/0";

/// What the client may do with the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// It owns the directory and makes files in it.
    Write,
    /// Its group may read the directory and the files in it; they stay ours.
    Read,
}

/// A directory in use by a client; dropping it takes it back.
#[derive(Debug)]
pub(super) struct Lent {
    dir: PathBuf,
    to: Option<Identity>,
    access: Access,
    handle: Option<File>,
}

impl Lent {
    /// Lends a directory to a user; without one, the client runs as we do and nothing changes.
    pub(super) fn new(dir: &Path, to: Option<&Identity>, access: Access) -> io::Result<Self> {
        let own = rustix::process::geteuid().as_raw();
        let to = to.filter(|identity| identity.uid != own).cloned();
        let mut lent = Self { dir: dir.to_owned(), to, access, handle: None };
        if let Some(identity) = &lent.to {
            lent.handle = Some(fs::open_dir(dir)?);
            match access {
                Access::Write => chown(dir, Some(identity.uid), Some(identity.gid))?,
                Access::Read => share(dir, identity.gid)?,
            }
        }
        Ok(lent)
    }

    /// Returns the name of the directory inside the client, and the call with it as its input.
    pub(super) fn pass(&self, call: Call) -> io::Result<(PathBuf, Call)> {
        match &self.handle {
            Some(handle) => {
                Ok((PathBuf::from(INSIDE), call.input(Input::File(handle.try_clone()?))))
            }
            None => Ok((self.dir.clone(), call)),
        }
    }

    /// Takes the directory back: everything in it is ours again, 0600 and 0700, and nothing in it
    /// is a link or belongs to a third user.
    pub(super) fn reclaim(mut self) -> io::Result<()> {
        let borrower = self.to.take().map(|identity| identity.uid);
        take_back(&self.dir, borrower)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(identity) = self.to.take() {
            // Whoever cares for the outcome has called `reclaim`; this is the way out of an error.
            let borrower = match self.access {
                Access::Write => Some(identity.uid),
                Access::Read => None,
            };
            let _ = take_back(&self.dir, borrower);
        }
    }
}

/// The directory comes first: once it is ours, a process that kept it open finds no way in.
fn take_back(dir: &Path, borrower: Option<u32>) -> io::Result<()> {
    let own = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        adopt(&dir, own, group, 0o700)?;
        for entry in std::fs::read_dir(&dir)? {
            let path = entry?.path();
            let data = symlink_metadata(&path)?;
            let owned = data.uid() == own || Some(data.uid()) == borrower;
            if data.is_dir() && owned {
                todo.push(path);
            } else if data.is_file() && owned && data.nlink() == 1 {
                adopt(&path, own, group, 0o600)?;
            } else {
                let text = format!("{} is not a file of the client", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
        }
    }
    Ok(())
}

fn adopt(path: &Path, own: u32, group: u32, mode: u32) -> io::Result<()> {
    let data = symlink_metadata(path)?;
    if data.uid() != own || (rustix::process::geteuid().is_root() && data.gid() != group) {
        lchown(path, Some(own), Some(group))?;
    }
    let file = fs::open_file(path)?;
    if file.metadata()?.mode() & 0o7777 != mode {
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    Ok(())
}

fn share(dir: &Path, gid: u32) -> io::Result<()> {
    for path in fs::files_below(dir)? {
        let file = fs::open_file(&path)?;
        std::os::unix::fs::fchown(&file, None, Some(gid))?;
        file.set_permissions(Permissions::from_mode(0o640))?;
    }
    let file = fs::open_dir(dir)?;
    std::os::unix::fs::fchown(&file, None, Some(gid))?;
    file.set_permissions(Permissions::from_mode(0o750))
}
