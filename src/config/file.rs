//! What both kinds of configuration file have in common: how large they may be, who may write them,
//! and what is said where they cannot be read.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::error::{Error, Result};

/// The most bytes that a configuration file may have: 1 MiB.
pub(super) const MOST_BYTES: u64 = 1 << 20;

/// Refuses a file that every user may write: what it says is done as root.
pub(super) fn refuse_writable_by_all(path: &Path, data: &Metadata, mend: &str) -> Result<()> {
    if data.mode() & 0o002 == 0 {
        return Ok(());
    }
    Err(Error::config(format!("{} can be changed by every user", path.display()))
        .detail(format!("mode {:04o}", data.mode() & 0o7777))
        .state("nothing was changed")
        .hint(format!("Look through the file, then run `chmod {mend} {}`.", path.display())))
}

/// Says that something that is no file must make room for one.
pub(super) fn no_file(path: &Path, what: &str) -> Error {
    saved_away(path, format!("{} is {what}", path.display()))
}

/// Says that a file must make room for another one.
pub(super) fn saved_away(path: &Path, message: String) -> Error {
    Error::config(message)
        .state("nothing was changed")
        .hint(format!("Run `mv {0} {0}.saved`, then write the file.", path.display()))
}

/// Says that a file cannot be read.
pub(super) fn unreadable(path: &Path, error: io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => "Run the same command as root.".to_owned(),
        _ => format!("Look at `ls -ld {}`.", path.display()),
    };
    Error::config(format!("cannot read {}", path.display()))
        .source(error)
        .state("nothing was changed")
        .hint(hint)
}
