//! A database that is a file: what a session of it answers to what is asked of servers.
//!
//! SQLite itself is spoken in the room `sqlite`; here its answers become those of a database of the
//! application.

mod contents;
mod facts;
mod script;

use std::path::{Path, PathBuf};

use super::source::Source;
use crate::error::Result;
use crate::sqlite::File;
use crate::system::identity::Identity;

/// The language of statements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// That of PostgreSQL.
    #[default]
    PostgreSql,
    /// That of SQLite.
    Sqlite,
}

/// A database file of the application.
#[derive(Clone, Debug)]
pub(super) struct InFile {
    file: File,
    path: String,
    /// The path that the configuration names, whatever [`InFile::at`] says.
    first: PathBuf,
    identity: Option<Identity>,
}

impl InFile {
    pub(super) fn resolve(source: &Source, path: &Path) -> Result<Self> {
        let user = source.user.as_deref().map(Identity::of).transpose()?;
        let file = File::new(path.to_owned(), user);
        let own = rustix::process::geteuid().as_raw();
        let identity = file.identity()?.filter(|identity| identity.uid != own);
        let shown = path.display().to_string();
        Ok(Self { file, path: shown, first: path.to_owned(), identity })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn at(&self, path: &str) -> Self {
        Self { file: self.file.at(path.into()), path: path.to_owned(), ..self.clone() }
    }

    pub(super) fn is_as_resolved(&self) -> bool {
        self.file.path() == self.first
    }

    pub(super) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }
}
