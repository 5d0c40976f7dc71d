//! The files of a restore point, encrypted where it is.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use super::read::opened_file;
use super::write::write_sealed;
use crate::error::{Context, Result};
use crate::restore_points::digest;
use crate::restore_points::manifest::{Archive, ArchiveKind, Manifest, read_whole};
use crate::restore_points::store::{RestorePoint, Store};
use crate::system::fs::{self, FileType};

/// How the name of every encrypted file ends.
pub(in crate::restore_points) const ENDING: &str = ".age";

/// Returns the name of the file with the archive of a database, as `age -d` and `pg_restore` or SQLite
/// read it.
pub(super) fn archive_name(database: &str, kind: ArchiveKind) -> String {
    match kind {
        ArchiveKind::Dump => format!("{database}.dump{ENDING}"),
        ArchiveKind::File => format!("{database}.sqlite3{ENDING}"),
    }
}

/// The same of an archive that was made.
pub(super) fn name_of(archive: &Archive) -> String {
    archive_name(&archive.name, archive.kind)
}

/// Returns the name that a file beside the archives has where it is encrypted.
fn sealed_name(name: &str) -> String {
    format!("{name}{ENDING}")
}

impl Store {
    /// Writes a file beside the archives, encrypted where restore points are; returns the name that
    /// it has on the disk, and its sum.
    pub(in crate::restore_points) fn write_member(
        &self,
        partial: &Path,
        name: &str,
        bytes: &[u8],
    ) -> Result<(String, String)> {
        if !self.keyring().encrypts() {
            fs::replace(&partial.join(name), bytes, 0o600)?;
            return Ok((name.to_owned(), digest::of_bytes(bytes)));
        }
        let own = self.keyring().own_key();
        let keys = [self.keyring().recipients()?, own.recipients()].concat();
        let name = sealed_name(name);
        let sum = write_sealed(&partial.join(&name), bytes, &keys, &own)?;
        Ok((name, sum))
    }
}

impl RestorePoint {
    /// Reads a file beside the archives, of at most `limit` bytes; none where there is none.
    pub(in crate::restore_points) fn read_member(
        &self,
        name: &str,
        limit: u64,
    ) -> Result<Option<Vec<u8>>> {
        let clear = self.dir().join(name);
        let path = if self.is_encrypted() { self.dir().join(sealed_name(name)) } else { clear };
        let failed = || format!("cannot read {}", path.display());
        if !self.is_encrypted() {
            return match read_whole(&path, limit) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                read => read.map(Some).context(failed),
            };
        }
        if std::fs::symlink_metadata(&path).is_err() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let mut opened = opened_file(&path, &self.opening_keys()?)?.take(limit + 1);
        opened.read_to_end(&mut bytes).context(failed)?;
        if bytes.len() as u64 > limit {
            let text = format!("larger than {limit} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text)).context(failed);
        }
        Ok(Some(bytes))
    }
}

/// Returns the first database whose archive is not there, in the point of this name of a backup directory.
pub(in crate::restore_points) fn first_missing<'m>(
    dir: &File,
    id: &Path,
    manifest: &'m Manifest,
) -> Option<&'m str> {
    let there = |archive: &&Archive| match &manifest.encryption {
        Some(_) => fs::is_in(dir, &id.join(name_of(archive)), FileType::RegularFile),
        None => fs::is_in(dir, &id.join(&archive.name), FileType::Directory),
    };
    let missing = manifest.databases.iter().find(|archive| !there(archive));
    missing.map(|archive| archive.name.as_str())
}
