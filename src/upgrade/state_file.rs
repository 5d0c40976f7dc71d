//! Small files of state: JSON that is read whole, and replaced whole.
//!
//! What a file that is there and cannot be read means is for its owner to say: a mark keeps the gate
//! closed, a hold holds, a note that guards nobody's data is as none.

use std::fmt;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Context as _, Error, Result};
use crate::layout::Layout;
use crate::system::fs;

/// More than any such file; what is longer was not written by us.
const MOST_BYTES: u64 = 1 << 20;

/// Why a file of state that is there tells nothing.
#[derive(Debug)]
pub(super) enum Unread {
    /// It cannot be read.
    Away(io::Error),
    /// It is not what we write.
    Damaged(serde_json::Error),
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(error) => error.fmt(f),
            Self::Damaged(error) => error.fmt(f),
        }
    }
}

/// Reads a file of state, where there is one.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> std::result::Result<Option<T>, Unread> {
    match fs::read_text(path, MOST_BYTES) {
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(Unread::Damaged),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Unread::Away(error)),
    }
}

/// Reads one whose owner says what a damaged one means.
pub(super) fn read_or<T: DeserializeOwned>(
    path: &Path,
    damaged: impl FnOnce() -> Error,
) -> Result<Option<T>> {
    read(path).or_else(|unread| match unread {
        Unread::Away(error) => Err(error).context(|| format!("cannot read {}", path.display())),
        Unread::Damaged(error) => Err(damaged().source(error)),
    })
}

/// Replaces a file of state below the upgrade directory. Readable for all: it holds no secret, and
/// units of other users test for some.
pub(super) fn write<T: Serialize>(layout: &Layout, path: &Path, state: &T) -> Result<()> {
    fs::make_dir(&layout.upgrade_dir(), 0o755)?;
    let text =
        serde_json::to_vec_pretty(state).context(|| format!("cannot write {}", path.display()))?;
    fs::replace(path, &text, 0o644)
}
