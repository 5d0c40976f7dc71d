//! Whom a path can be changed by: root believes only what nobody else could have put there.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};

/// Refuses a directory that is a symbolic link, reached through one that another user could have
/// planted, or that other users may write to.
///
/// Links that root made (such as `/var/run`) are fine: only the last component and components whose
/// parent somebody else may write to are refused.
pub fn check_trusted_dir(path: &Path) -> Result<()> {
    let mut checked = PathBuf::from("/");
    let own = rustix::process::geteuid().as_raw();
    for component in path.components().skip(1) {
        let parent = fs::symlink_metadata(&checked)
            .context(|| format!("cannot look at {}", checked.display()))?;
        checked.push(component);
        let data = fs::symlink_metadata(&checked)
            .context(|| format!("cannot look at {}", checked.display()))?;
        if data.is_symlink() && (checked == path || !owned_by_us(&parent, own)) {
            return Err(Error::config(format!("{} is a symbolic link", checked.display()))
                .state("nothing was changed")
                .hint(format!("Name the directory itself instead of {}.", path.display())));
        }
    }
    let data = fs::metadata(path).context(|| format!("cannot look at {}", path.display()))?;
    if !data.is_dir() {
        return Err(Error::config(format!("{} is not a directory", path.display()))
            .state("nothing was changed"));
    }
    if !owned_by_us(&data, own) || data.mode() & 0o022 != 0 {
        return Err(Error::config(format!("{} can be changed by other users", path.display()))
            .detail(format!("owner {}, mode {:04o}", data.uid(), data.mode() & 0o7777))
            .state("nothing was changed")
            .hint(format!("Run `chown {own} {0} && chmod 0700 {0}`.", path.display())));
    }
    Ok(())
}

/// Refuses a directory that somebody else could put another one in the place of: each directory on the
/// way must be ours, or root's, and nobody else may rename in it.
///
/// This asks more than [`check_trusted_dir`]: where we keep our own files, a directory of the
/// application on the way is usual, and every file there is opened with care.
pub fn check_trusted_way(path: &Path) -> Result<()> {
    let own = rustix::process::geteuid().as_raw();
    for dir in path.ancestors() {
        let data = fs::metadata(dir).context(|| format!("cannot look at {}", dir.display()))?;
        let sticky = data.mode() & 0o1000 != 0;
        if !owned_by_us(&data, own) || (data.mode() & 0o022 != 0 && !sticky) {
            return Err(Error::config(format!("{} can be changed by other users", dir.display()))
                .detail(format!("owner {}, mode {:04o}", data.uid(), data.mode() & 0o7777)));
        }
    }
    Ok(())
}

/// Refuses a directory whose content root believes, where another user could have put it there: one
/// that is a link, belongs to somebody else, or may be written by others. One that is not there is
/// fine.
///
/// Less than [`check_trusted_way`]: the directory above may belong to the application, whose user can
/// take this one away, but cannot make one that is root's.
pub fn check_own_dir(path: &Path) -> Result<()> {
    let data = match fs::symlink_metadata(path) {
        Ok(data) => data,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).context(|| format!("cannot look at {}", path.display())),
    };
    let own = rustix::process::geteuid().as_raw();
    if data.is_dir() && owned_by_us(&data, own) && data.mode() & 0o022 == 0 {
        return Ok(());
    }
    let shown = path.display();
    Err(Error::config(format!("{shown} is not a directory of root's own"))
        .detail(format!("owner {}, mode {:04o}", data.uid(), data.mode() & 0o7777))
        .state("nothing was changed")
        .hint(format!("Look who put it there; `chown root: {shown}` where it is right.")))
}

fn owned_by_us(data: &fs::Metadata, own: u32) -> bool {
    data.uid() == 0 || data.uid() == own
}
