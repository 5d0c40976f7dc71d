//! Making an encrypted archive: one stream from the client through the encryption to the disk.

use std::io::{self, Write};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::members::archive_name;
use super::read::{opened_file, reread};
use crate::database::dump::DumpOptions;
use crate::database::{Database, stream};
use crate::error::{Context, Error, Result};
use crate::progress::Progress;
use crate::restore_points::archive::Written;
use crate::restore_points::digest::Sums;
use crate::restore_points::manifest::{Encryption, EncryptionFormat};
use crate::restore_points::store::Store;
use crate::system::encryption::{Identities, Recipient, Sealing, seal};
use crate::system::fs;

/// Passes on what is written and hashes it.
struct Hashing<W> {
    inner: W,
    state: Sha256,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, state: Sha256::new() }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.state.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A file that is being encrypted; what goes in and what comes out are hashed on the way.
struct SealedFile {
    sealing: Hashing<Sealing<Hashing<io::BufWriter<std::fs::File>>>>,
}

/// The sums of a file that was encrypted: of the clear text, and of the file.
struct SealedSums {
    clear: String,
    file: String,
}

impl SealedFile {
    fn create(path: &Path, keys: &[Recipient]) -> io::Result<Self> {
        let file = io::BufWriter::with_capacity(1 << 20, fs::create_new(path, 0o600)?);
        Ok(Self { sealing: Hashing::new(seal(Hashing::new(file), keys)?) })
    }

    fn finish(self) -> io::Result<SealedSums> {
        let clear = hex::encode(self.sealing.state.finalize());
        let mut hashing = self.sealing.inner.finish()?;
        hashing.flush()?;
        let file = hashing.inner.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(SealedSums { clear, file: hex::encode(hashing.state.finalize()) })
    }
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
        let name = archive_name(database.name());
        let path = partial.join(&name);
        let failed = || format!("cannot write {}", path.display());
        let mut file = SealedFile::create(&path, &keys).context(failed)?;
        let dumped = stream::dump(database, options, &mut file.sealing, progress)?;
        let sums = file.finish().context(failed)?;
        let what = format!("proving {}", database.name());
        reread(&path, &own, &what, progress, |clear, of_file| {
            if *clear == sums.clear && *of_file == sums.file {
                return Ok(());
            }
            Err(Error::failed(format!("{} does not hold what was written to it", path.display())))
        })?;
        let mut clear = opened_file(&path, &own)?;
        stream::check_contents(&options.client, &mut clear, &dumped, database)?;
        let bytes = std::fs::metadata(&path).context(failed)?.len();
        Ok(Written { dumped, sums: Sums(vec![(name, sums.file)]), bytes, files: 1 })
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
    file.sealing.write_all(text).context(failed)?;
    let sums = file.finish().context(failed)?;
    let mut back = Vec::new();
    io::Read::read_to_end(&mut opened_file(path, own)?, &mut back).context(failed)?;
    if back != text {
        return Err(Error::failed(failed()));
    }
    Ok(sums.file)
}
