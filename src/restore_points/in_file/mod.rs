//! Databases that are files: copied as they are, proven by opening the copy, put back by a rename.

mod make;
mod prove;
mod put_back;

pub(super) use put_back::{bring, bring_beside, discard, exchange};

use std::io::Read;
use std::path::PathBuf;

use super::manifest::Archive;
use super::store::RestorePoint;
use crate::error::{Context, Result};
use crate::system::fs;

/// Name of the copy in the directory of its archive.
const COPY: &str = "database.sqlite3";

/// How the manifest calls an archive that is not compressed.
const COMPRESSION: &str = "none";

impl RestorePoint {
    /// Returns where the copy of a database file lies, in clear.
    fn copy_of(&self, archive: &Archive) -> PathBuf {
        self.dir().join(&archive.name).join(COPY)
    }

    /// Reads the copy of a database file, decrypted on the way where it is encrypted.
    fn open_copy(&self, archive: &Archive) -> Result<Box<dyn Read>> {
        if self.is_encrypted() {
            return Ok(Box::new(self.opened_archive(archive, &self.opening_keys()?)?));
        }
        let copy = self.copy_of(archive);
        let file = fs::open_file(&copy).context(|| format!("cannot read {}", copy.display()))?;
        Ok(Box::new(file))
    }
}
