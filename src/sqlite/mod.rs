//! A database that is a file: opened, asked, copied and exchanged.
//!
//! SQLite is spoken in this room and nowhere else. It knows nothing of servers; `database` makes of
//! such a file one of the databases of an application.

mod answers;
mod connection;
mod copy;
mod fault;
mod holders;
mod kept;
mod look;
mod scratch;
mod statements;
mod stream;
mod swap;

pub use connection::{Connection, ForeignKeys};
pub use fault::Fault;
pub use holders::{Holder, holders, unseen};
pub use kept::KeptFile;
pub use look::{Looked, Remains};
pub use scratch::ScratchFile;
pub use statements::statements;
pub use swap::{Fresh, Owner, sidecars};

use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};
use crate::system::fs;
use crate::system::identity::Identity;

/// A database file, and who opens it.
#[derive(Clone, Debug)]
pub struct File {
    path: PathBuf,
    /// The user that the configuration names.
    user: Option<Identity>,
}

impl File {
    /// Names a file; without a user it is opened with the rights of its owner.
    pub fn new(path: PathBuf, user: Option<Identity>) -> Self {
        Self { path, user }
    }

    /// Returns where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the version of SQLite that is built in, such as `3.50.2`.
    pub fn version() -> &'static str {
        look::version()
    }

    /// Returns another file that the same user opens.
    #[must_use]
    pub fn at(&self, path: PathBuf) -> Self {
        Self { path, user: self.user.clone() }
    }

    /// Says which database this is, for messages.
    pub fn described(&self) -> String {
        format!("database file {}", self.path.display())
    }

    /// Returns whether there is a file.
    pub fn exists(&self) -> bool {
        self.path.symlink_metadata().is_ok()
    }

    /// Returns the directory in which it lies.
    pub fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// Returns a path beside it, whose name is that of the file with something after it.
    pub(super) fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    }

    /// Returns the user with whose rights the file is opened: the one that is named, or its owner.
    ///
    /// The directory belongs to the application as a rule. Opened with the rights of root, a link that
    /// it puts in the place of the file could name any file of the machine.
    pub fn identity(&self) -> Result<Option<Identity>> {
        use std::os::unix::fs::MetadataExt as _;
        if self.user.is_some() {
            return Ok(self.user.clone());
        }
        match self.path.symlink_metadata() {
            Ok(data) if data.uid() != 0 => Identity::of_uid(data.uid()).map(Some),
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// Makes an empty file where there is none, with the named user as its owner.
    pub fn make(&self) -> Result<()> {
        if self.exists() {
            return Ok(());
        }
        let attempt = || -> std::io::Result<()> {
            let file = fs::create_new(&self.path, 0o640)?;
            if let Some(user) = &self.user {
                std::os::unix::fs::fchown(&file, Some(user.uid), Some(user.gid))?;
            }
            file.sync_all()?;
            fs::sync_dir(self.dir())
        };
        attempt().context(|| format!("cannot make the {}", self.described()))
    }

    /// Opens it to be asked and written to; a file that is not there reads as an empty database.
    pub fn open(&self) -> Result<Connection> {
        if !self.exists() {
            return Connection::empty();
        }
        Connection::open(self)
    }

    /// Says that a file could not be used.
    pub(super) fn failed(&self, attempt: &str, fault: Fault) -> Error {
        fault.into_error(format!("cannot {attempt} the {}", self.described()))
    }
}
