//! Links that are moved, directories that are given to another user.

use std::io;
use std::path::Path;

use super::sync_dir;
use crate::error::{Context, Result};

/// Makes a symbolic link, in the place of one that is there: whoever looks finds the old or the new,
/// also after a power cut. Anything else than a link in its place is an error.
pub fn replace_link(link: &Path, target: &Path) -> Result<()> {
    let attempt = || -> io::Result<()> {
        match std::fs::symlink_metadata(link) {
            Ok(data) if !data.is_symlink() => {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is not a link"));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let parent = link.parent().unwrap_or(Path::new("/"));
        let name = link.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let beside = tempfile::Builder::new()
            .prefix(&format!(".{name}-"))
            .make_in(parent, |path| std::os::unix::fs::symlink(target, path))?;
        super::rename_later(beside.path(), link)?;
        // It has another name now: nothing is left to be removed.
        let _ = beside.into_temp_path().keep();
        sync_dir(parent)
    };
    attempt().context(|| format!("cannot move the link {}", link.display()))
}

/// Gives a directory to a user; a link at its place is not followed.
pub fn give(path: &Path, uid: u32, gid: u32) -> Result<()> {
    std::os::unix::fs::lchown(path, Some(uid), Some(gid))
        .context(|| format!("cannot change the owner of {}", path.display()))
}

/// Syncs everything on the file system that holds a directory: what programs of others wrote there
/// has links and special files that are not opened one by one.
pub fn sync_file_system(path: &Path) -> Result<()> {
    let attempt = || -> io::Result<()> { Ok(rustix::fs::syncfs(super::open_dir(path)?)?) };
    attempt().context(|| format!("cannot sync {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_moved_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("current");
        for target in ["one", "two"] {
            replace_link(&link, Path::new(target)).unwrap();
            assert_eq!(std::fs::read_link(&link).unwrap(), Path::new(target));
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_link_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let error = replace_link(dir.path(), Path::new("one")).unwrap_err();
        assert!(error.message().contains("it is not a link"), "{error:?}");
        assert!(dir.path().is_dir());
    }
}
