//! Directories that everybody may read.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{make_dir, open_dir};
use crate::error::{Context as _, Result};

/// Makes a directory that everybody may read, whatever the umask; one that is there stays as it is.
pub fn make_public_dir(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    make_dir(path, 0o755)?;
    // The umask of our own units takes it from everybody else. A link at its place is not followed.
    let attempt = || -> io::Result<()> {
        open_dir(path)?.set_permissions(std::fs::Permissions::from_mode(0o755))
    };
    attempt().context(|| format!("cannot change the mode of {}", path.display()))
}
