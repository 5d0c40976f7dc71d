//! Where databases that were replaced are kept: on their server, or beside their file.

use super::Database;
use super::kept::Kept;
use super::swap::Server;
use crate::error::Result;
use crate::sqlite::File;

/// The place beside a database.
pub enum Shelf {
    /// Other databases of its server.
    Server(Box<Server>, String),
    /// Other files of its directory.
    File(File),
}

impl Shelf {
    /// Looks beside a database.
    pub fn of(database: &Database) -> Result<Self> {
        Ok(match database.file() {
            Some(file) => Self::File(file.clone()),
            None => {
                let server = Server::beside(database)?;
                Self::Server(Box::new(server), database.dbname().to_owned())
            }
        })
    }

    /// Returns the name that the live database has there.
    pub fn live(&self) -> String {
        match self {
            Self::Server(_, name) => name.clone(),
            Self::File(file) => file.file_name(),
        }
    }

    /// Returns whether the live database is there.
    pub fn has_live(&mut self) -> Result<bool> {
        match self {
            Self::Server(server, name) => server.has(name),
            Self::File(file) => Ok(file.exists()),
        }
    }

    /// Lists what was replaced, by this word in its name, oldest first.
    pub fn kept(&mut self, word: &str) -> Result<Vec<Kept>> {
        match self {
            Self::Server(server, name) => server.kept(name, word),
            Self::File(file) => {
                let kept = |(name, sessions, bytes)| Kept { name, sessions, bytes };
                Ok(file.kept(word).into_iter().map(kept).collect())
            }
        }
    }

    /// Removes what was replaced unless somebody uses it.
    pub fn drop_unused(&mut self, name: &str) -> Result<()> {
        match self {
            Self::Server(server, _) => server.drop_unused(name),
            Self::File(file) => file.drop_kept(name),
        }
    }
}
