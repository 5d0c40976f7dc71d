//! Files with a secret: read only where nobody else can read or change them.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use zeroize::Zeroizing;

use super::{open_file, read_bounded};
use crate::error::{Error, Result};

/// Reads a text file that only its owner, root or this user, may read; a link is not followed.
///
/// `what` names it in messages, such as `the identity file`.
pub fn read_private(path: &Path, what: &str, limit: u64) -> Result<Zeroizing<String>> {
    let refused = |message: String| Error::config(message).state("nothing was changed");
    let cannot = |error: io::Error| {
        refused(format!("cannot read {what} {}", path.display()))
            .source(error)
            .hint(format!("Look at `ls -l {}`; a symbolic link is not followed.", path.display()))
    };
    let file = open_file(path).map_err(cannot)?;
    let data = file.metadata().map_err(cannot)?;
    let own = rustix::process::geteuid().as_raw();
    if !data.is_file() {
        return Err(refused(format!("{what} {} is not a file", path.display())));
    }
    if data.mode() & 0o077 != 0 || (data.uid() != own && data.uid() != 0) {
        let shown = path.display();
        return Err(refused(format!("other users can read or change {what} {shown}"))
            .detail(format!("owner {}, mode {:04o}", data.uid(), data.mode() & 0o7777))
            .hint(format!("Run `chown {own} {shown} && chmod 0600 {shown}`.")));
    }
    let bytes = Zeroizing::new(read_bounded(file, limit).map_err(cannot)?);
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(refused(format!("{what} {} is not text", path.display()))),
    }
}
