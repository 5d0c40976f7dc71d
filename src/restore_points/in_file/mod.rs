//! Databases that are files: copied as they are, proven by opening the copy, put back by a rename.

mod make;
mod prove;
mod put_back;

pub(super) use put_back::{bring, bring_beside, discard, exchange};

use std::path::PathBuf;

use super::manifest::Archive;
use super::store::RestorePoint;

/// Name of the copy in the directory of its archive.
const COPY: &str = "database.sqlite3";

/// How the manifest calls an archive that is not compressed.
const COMPRESSION: &str = "none";

impl RestorePoint {
    /// Returns where the copy of a database file lies.
    fn copy_of(&self, archive: &Archive) -> PathBuf {
        self.dir().join(&archive.name).join(COPY)
    }
}
