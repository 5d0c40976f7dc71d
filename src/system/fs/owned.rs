//! Files of others: read as they are, and put back with the owner and mode that they had.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

use super::sync_dir;
use crate::error::{Context as _, Result};

/// Permissions and owner of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// The permission bits.
    pub mode: u32,
    /// User id of the owner.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// Opens a regular file and nothing else: no link is followed, and no pipe is waited for.
pub fn open_regular(path: &Path) -> io::Result<(File, FileFacts)> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let data = file.metadata()?;
    if !data.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Ok((file, FileFacts { mode: data.mode() & 0o7777, uid: data.uid(), gid: data.gid() }))
}

/// Opens a file without waiting for the other end of a pipe; links are followed, and whatever lies there
/// is for the caller to look at.
pub fn open_at_once(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Gives a file a second name; returns whether there is a file at all.
pub fn keep_under(path: &Path, second: &Path) -> io::Result<bool> {
    match fs::hard_link(path, second) {
        Ok(()) => sync_dir(second.parent().unwrap_or(Path::new("/"))).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Replaces a file as a whole as `replace` does, with this owner from the first instant.
pub fn replace_owned(path: &Path, content: &[u8], facts: FileFacts) -> Result<()> {
    let attempt = || -> io::Result<()> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        let mut builder = tempfile::Builder::new();
        let mut file = builder
            .prefix(".openwatch-")
            .permissions(fs::Permissions::from_mode(0o600))
            .tempfile_in(parent)?;
        file.write_all(content)?;
        std::os::unix::fs::fchown(file.as_file(), Some(facts.uid), Some(facts.gid))?;
        // After the owner: a change of owner takes special bits away.
        file.as_file().set_permissions(fs::Permissions::from_mode(facts.mode))?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        sync_dir(parent)
    };
    attempt().context(|| format!("cannot write {}", path.display()))
}
