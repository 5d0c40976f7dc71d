//! Making an encrypted archive: one stream from the client through the encryption to the disk.

use std::io::{self, Write};
use std::path::Path;

use super::members::archive_name;
use super::read::{opened_file, reread};
use crate::database::dump::DumpOptions;
use crate::database::{Database, stream};
use crate::error::{Context, Error, Result};
use crate::progress::Progress;
use crate::restore_points::archive::Written;
use crate::restore_points::digest::Sums;
use crate::restore_points::manifest::{ArchiveKind, Encryption, EncryptionFormat};
use crate::restore_points::store::Store;
use crate::sqlite;
use crate::system::encryption::{Identities, Recipient, Sealing, seal};
use crate::system::fs;

/// A file that is being encrypted.
struct SealedFile {
    sealing: Sealing<io::BufWriter<std::fs::File>>,
    /// Bytes in clear that went in.
    clear: u64,
}

impl SealedFile {
    fn create(path: &Path, keys: &[Recipient]) -> io::Result<Self> {
        let file = io::BufWriter::with_capacity(1 << 20, fs::create_new(path, 0o600)?);
        Ok(Self { sealing: seal(file, keys)?, clear: 0 })
    }

    /// Ends and syncs the file; returns the bytes in clear that it holds.
    fn finish(self) -> io::Result<u64> {
        let file = self.sealing.finish()?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        Ok(self.clear)
    }
}

impl Write for SealedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.sealing.write(bytes)?;
        self.clear += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sealing.flush()
    }
}

/// An encrypted copy of a database file.
pub(in crate::restore_points) struct EncryptedCopy {
    /// Rows of every table.
    pub(in crate::restore_points) rows: Vec<(String, u64)>,
    /// Of the one file of the archive.
    pub(in crate::restore_points) sums: Sums,
    /// Size of the archive.
    pub(in crate::restore_points) bytes: u64,
}

/// Reads a file that was just written from the disk; returns its sum.
///
/// Each piece of it is authenticated, so what it decrypts to is what was written, if it is all.
fn proven(
    path: &Path,
    written: u64,
    own: &Identities,
    what: &str,
    progress: &dyn Progress,
) -> Result<String> {
    let read = reread(path, own, what, progress)?;
    if read.clear == written {
        return Ok(read.sum);
    }
    let text = format!("{} does not hold what was written to it", path.display());
    Err(Error::failed(text).detail(format!("{} of {written} bytes", read.clear)))
}

impl Store {
    /// Dumps a database into an encrypted archive and proves it: the client reads the stream back
    /// while it is written, and what the file on the disk decrypts to is that very stream.
    pub(in crate::restore_points) fn encrypted_archive(
        &self,
        partial: &Path,
        database: &Database,
        options: &DumpOptions,
        progress: &dyn Progress,
    ) -> Result<Written> {
        // For the proof alone: whoever restores has one of the other keys.
        let own = self.keyring().own_key();
        let keys = [self.keyring().recipients()?, own.recipients()].concat();
        let name = archive_name(database.name(), ArchiveKind::Dump);
        let path = partial.join(&name);
        let failed = || format!("cannot write {}", path.display());
        let mut file = SealedFile::create(&path, &keys).context(failed)?;
        let dumped = stream::dump(database, options, &mut file, progress)?;
        let written = file.finish().context(failed)?;
        let what = format!("proving {}", database.name());
        let sum = proven(&path, written, &own, &what, progress)?;
        let mut clear = opened_file(&path, &own)?;
        stream::check_contents(&options.client, &mut clear, &dumped, database)?;
        let bytes = std::fs::metadata(&path).context(failed)?.len();
        let sums = Sums(vec![(name, sum)]);
        Ok(Written {
            dumped,
            sums,
            bytes,
            files: 1,
            compression: options.compression,
            plain_bytes: None,
            dump_ms: None,
        })
    }

    /// Copies a database file into an encrypted archive and proves it: looked through and counted at the
    /// instant of the copy, and what the archive on the disk decrypts to is that very copy.
    pub(in crate::restore_points) fn encrypted_copy(
        &self,
        partial: &Path,
        database: &str,
        from: &sqlite::File,
        progress: &dyn Progress,
    ) -> Result<EncryptedCopy> {
        let own = self.keyring().own_key();
        let keys = [self.keyring().recipients()?, own.recipients()].concat();
        let name = archive_name(database, ArchiveKind::File);
        let path = partial.join(&name);
        let failed = || format!("cannot write {}", path.display());
        let mut file = SealedFile::create(&path, &keys).context(failed)?;
        let what = format!("copying {database}");
        let copied = |done, all| progress.alive(&what, done, Some(all));
        let rows = from.stream_to(&mut file, copied)?.rows;
        let written = file.finish().context(failed)?;
        let what = format!("proving {database}");
        let sum = proven(&path, written, &own, &what, progress)?;
        let bytes = std::fs::metadata(&path).context(failed)?.len();
        Ok(EncryptedCopy { rows, sums: Sums(vec![(name, sum)]), bytes })
    }

    /// Says in the manifest to whom a restore point is encrypted.
    pub(in crate::restore_points) fn encryption(&self) -> Result<Option<Encryption>> {
        if !self.keyring().encrypts() {
            return Ok(None);
        }
        let recipients = self.keyring().recipients()?;
        let recipients = recipients.iter().map(|found| found.as_str().to_owned()).collect();
        Ok(Some(Encryption { format: EncryptionFormat::Age, recipients }))
    }
}

/// Writes a small file; returns its sum.
pub(super) fn write_sealed(
    path: &Path,
    text: &[u8],
    keys: &[Recipient],
    own: &Identities,
) -> Result<String> {
    let failed = || format!("cannot write {}", path.display());
    let mut file = SealedFile::create(path, keys).context(failed)?;
    file.write_all(text).context(failed)?;
    let written = file.finish().context(failed)?;
    proven(path, written, own, "", &crate::progress::Silent)
}
