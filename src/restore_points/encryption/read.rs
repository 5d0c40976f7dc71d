//! Opening an encrypted restore point: every byte is decrypted and authenticated before anything else
//! is touched, and what is loaded comes through a pipe.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::members::{ENDING, name_of};
use crate::database::clients::{Clients, major_of};
use crate::database::{Database, in_place, stream};
use crate::error::{Context, Error, Result};
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::restore_points::load::Load;
use crate::restore_points::manifest::{Archive, ArchiveKind};
use crate::restore_points::store::RestorePoint;
use crate::restore_points::verify::Unsound;
use crate::system::encryption::{Identities, Opened, open};
use crate::system::fs;

/// Bytes that are decrypted at once.
const CHUNK: usize = 1 << 20;

/// Reads through and hashes what it passes on.
struct HashedReader<R> {
    inner: R,
    state: Sha256,
    /// What came instead of bytes, as far as it can be told twice.
    failed: Option<io::Error>,
}

impl<R: Read> Read for HashedReader<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes);
        match &read {
            Ok(length) => self.state.update(&bytes[..*length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let code = error.raw_os_error().map(io::Error::from_raw_os_error);
                self.failed = Some(code.unwrap_or_else(|| error.kind().into()));
            }
        }
        read
    }
}

/// Opens one file of a restore point.
pub(super) fn opened_file(path: &Path, keys: &Identities) -> Result<Opened<File>> {
    let file = fs::open_file(path).context(|| format!("cannot read {}", path.display()))?;
    open(file, keys).context(|| format!("cannot decrypt {}", path.display()))
}

/// What a file holds.
pub(super) struct Reread {
    /// Bytes in clear.
    pub(super) clear: u64,
    /// SHA-256 of the file.
    pub(super) sum: String,
}

/// Decrypts a file to its end, and keeps nothing of it. What the disk did not give is told from what cannot be
/// decrypted.
pub(super) fn reread(
    path: &Path,
    keys: &Identities,
    what: &str,
    progress: &dyn Progress,
) -> std::result::Result<Reread, Unsound> {
    let unread = |error: &io::Error| Unsound::of_reading(path.display(), error);
    let file = fs::open_file(path).map_err(|error| unread(&error))?;
    let total = file.metadata().map_err(|error| unread(&error))?.len();
    let mut of_file = HashedReader { inner: file, state: Sha256::new(), failed: None };
    let decrypted = through(&mut of_file, keys, |clear| progress.alive(what, clear, Some(total)));
    match (decrypted, of_file.failed) {
        (Ok(clear), _) => Ok(Reread { clear, sum: hex::encode(of_file.state.finalize()) }),
        (Err(_), Some(error)) => Err(unread(&error)),
        (Err(why), None) => {
            Err(Unsound::Damaged(format!("cannot decrypt {}: {why}", path.display())))
        }
    }
}

/// Decrypts to the end; returns the number of bytes in clear.
fn through(
    sealed: impl Read,
    keys: &Identities,
    alive: impl Fn(u64),
) -> std::result::Result<u64, String> {
    let mut reader = open(sealed, keys).map_err(|error| error.message())?;
    let (mut clear, mut chunk) = (0, vec![0; CHUNK]);
    loop {
        match reader.read(&mut chunk) {
            Ok(0) => return Ok(clear),
            Ok(length) => {
                clear += length as u64;
                alive(clear);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

impl RestorePoint {
    /// Returns whether an identity is needed to read this point.
    pub fn is_encrypted(&self) -> bool {
        self.manifest().encryption.is_some()
    }

    /// Returns the keys that open this point, or says which ones would.
    ///
    /// The header of the first archive is opened with them, so a wrong identity is found at once.
    pub fn opening_keys(&self) -> Result<Identities> {
        let own = self.keyring().own_key_if_made();
        if let Some(own) = own.filter(|own| self.try_keys(own).is_ok()) {
            return Ok(own);
        }
        let shown = || {
            let recipients: Vec<&str> = self.recipients().collect();
            format!("it opens with an identity of {}", recipients.join(" or "))
        };
        let refused =
            |text: String| Error::new(Outcome::Refused, text).state("nothing was changed");
        let Some(keys) = self.keyring().identities()? else {
            return Err(refused(format!("restore point {} is encrypted", self.id()))
                .detail(shown())
                .hint("Name the file with that identity by `--identity FILE`."));
        };
        let Err(error) = self.try_keys(&keys) else { return Ok(keys) };
        // What one of the recipients cannot open was not written like that.
        let fits = keys.first_of(self.recipients()).is_some();
        if error.outcome() != Outcome::Refused || fits {
            return Err(Error::failed(format!("restore point {} is damaged", self.id()))
                .detail(format!("{}: {}", error.details().join(" "), error.message()))
                .state("nothing was changed")
                .hint("List the others with `openwatch backup list`."));
        }
        let file = self.keyring().identity_file().unwrap_or(Path::new("")).display().to_string();
        Err(refused(format!("the identity in {file} does not open restore point {}", self.id()))
            .detail(shown())
            .hint("Name the file with that identity by `--identity FILE`."))
    }

    fn recipients(&self) -> impl Iterator<Item = &str> {
        let encryption = self.manifest().encryption.iter();
        encryption.flat_map(|encryption| &encryption.recipients).map(String::as_str)
    }

    /// Tries keys on the header of the first archive.
    fn try_keys(&self, keys: &Identities) -> Result<()> {
        let Some(first) = self.manifest().databases.first() else { return Ok(()) };
        let path = self.dir().join(name_of(first));
        let file = fs::open_file(&path).context(|| format!("cannot read {}", path.display()))?;
        // What it amounts to is in the outcome, which a further message would hide.
        open(file, keys).map(drop).map_err(|error| error.detail(path.display().to_string()))
    }

    /// Decrypts every file to its end, and keeps nothing of it: what is damaged, cut short or was
    /// added to is found before anything is done with it.
    pub(in crate::restore_points) fn check_encrypted(
        &self,
        keys: &Identities,
        progress: &dyn Progress,
    ) -> std::result::Result<(), Unsound> {
        let what = format!("decrypting {}", self.id());
        let files = fs::files_below(self.dir());
        for path in files.map_err(|error| Unsound::of_reading("its directory", &error))? {
            if path.as_os_str().as_encoded_bytes().ends_with(ENDING.as_bytes()) {
                reread(&path, keys, &what, progress)?;
            }
        }
        Ok(())
    }

    /// Proves that the identity at hand opens this point: every file is decrypted, and every archive
    /// read back through the client; one that fails is marked. Returns the recipient that the identity belongs to.
    pub fn prove_identity(&self, clients: &Clients, progress: &dyn Progress) -> Result<String> {
        let marked = |error: Error| match error.outcome() {
            Outcome::Failed => self.mark_damaged(error.details().join("; ")),
            _ => error,
        };
        let keys = self.opening_keys().map_err(marked)?;
        self.check_encrypted(&keys, progress).map_err(|why| self.unsound(why))?;
        // Of a file, to be decrypted to its end is all there is to read back.
        let dumps = self.manifest().databases.iter().filter(|a| a.kind == ArchiveKind::Dump);
        for archive in dumps {
            let path = self.dir().join(name_of(archive));
            let major = major_of(&archive.server_version).unwrap_or_default();
            let client = clients.choose_for_restore(major, &archive.client_version)?;
            stream::read_back(&client, &mut opened_file(&path, &keys)?, &archive.identity.dbname)?;
        }
        let own = keys.first_of(self.recipients());
        Ok(own.unwrap_or("a recipient that the manifest does not name").to_owned())
    }

    /// Loads an archive into an empty database, through a pipe, within `limit` where there is one.
    pub(in crate::restore_points) fn load_encrypted(
        &self,
        target: &Database,
        load: &Load<'_>,
        limit: Option<Duration>,
        progress: &dyn Progress,
    ) -> Result<()> {
        let mut clear = self.opened_archive(load.archive, &self.opening_keys()?)?;
        let expected = load.archive.database_bytes;
        let (client, manner) = (load.client, load.manner);
        stream::load(target, client, &mut clear, manner, expected, limit, progress)
    }

    /// Replaces the content of the present database, through pipes and in one transaction.
    pub(in crate::restore_points) fn overwrite_encrypted(
        &self,
        target: &Database,
        load: &Load<'_>,
        work: &Path,
        writer: in_place::Writer,
        progress: &dyn Progress,
    ) -> Result<()> {
        let keys = self.opening_keys()?;
        let open = || -> Result<Box<dyn Read + Send>> {
            Ok(Box::new(self.opened_archive(load.archive, &keys)?))
        };
        let archive = in_place::InPlace {
            client: load.client,
            source: in_place::Source::Stream(&open),
            manner: load.manner,
            wanted: &load.contents.rows,
            work,
            writer,
        };
        in_place::restore_in_place(target, &archive, progress)
    }

    /// Opens an archive, which is decrypted while it is read.
    pub(in crate::restore_points) fn opened_archive(
        &self,
        archive: &Archive,
        keys: &Identities,
    ) -> Result<Opened<File>> {
        opened_file(&self.dir().join(name_of(archive)), keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    #[test]
    fn what_the_disk_does_not_give_is_no_damage() {
        let keys = Identities::generate();
        let read = |path: &Path| reread(path, &keys, "reading", &Silent).err();
        // Of this file Linux gives an error for its first byte.
        let away = read(Path::new("/proc/self/mem"));
        assert!(matches!(away, Some(Unsound::Unread(_))), "{away:?}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cut.age");
        assert!(matches!(read(&path), Some(Unsound::Damaged(_))), "it is not there");
        std::fs::write(&path, "age-encryption.org/v1\n").unwrap();
        assert!(matches!(read(&path), Some(Unsound::Damaged(_))), "it is cut short");
    }
}
