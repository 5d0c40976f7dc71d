//! One database of the application: how it is reached, asked, dumped and restored.
//!
//! PostgreSQL is spoken in this folder and nowhere else; the engine and the capabilities only know
//! [`Database`] and [`Session`]. A database may also be a file: what such a session answers is in
//! `file`, which asks the room that speaks SQLite.

mod blockers;
mod catalogue;
pub mod checksums;
pub mod clients;
pub mod clone;
mod condition;
mod connect;
mod conninfo;
mod doubts;
mod driver;
pub mod dump;
pub mod dumpable;
mod emptying;
mod exchange_lock;
mod exchanged;
pub mod facts;
mod file;
pub mod fresh;
pub mod globals;
mod handover;
mod holder;
mod imprint;
pub mod in_place;
pub mod kept;
mod keywords;
pub mod lacking;
mod lent;
mod lock;
mod observe;
mod on_server;
mod pace;
mod passfile;
pub mod proof;
mod reader;
mod recorded;
mod refusal;
mod rename;
pub mod replication;
pub mod restore;
pub mod roles;
mod roots;
mod schema;
pub mod scratch;
mod scripts;
mod service;
mod session;
pub mod sessions;
mod settings;
pub mod shelf;
mod source;
mod standstill;
mod statement_head;
pub mod stream;
pub mod swap;
mod tls;
mod traces;
mod unloadable;
mod verifier;
mod waits;

#[cfg(test)]
mod differential;

pub use crate::sqlite::ForeignKeys;
pub use blockers::{Blocker, Ended, OnBlockers};
pub use catalogue::Catalogue;
pub use condition::Condition;
pub use doubts::{Doubt, DoubtKind};
pub use exchange_lock::ExchangeLock;
pub use file::Dialect;
pub use imprint::{Change, Imprint};
pub use lock::DatabaseLock;
pub use observe::{LockMode, TableFile};
pub use schema::{Ground, Shape};
pub use scripts::{Fate, Limits, Mark, ScriptError, Sent, ServerProcess};
pub use session::{Param, Row, Session, SqlError, Trouble};
pub use source::Source;
pub use standstill::Standstill;
pub use swap::{literal, quoted};
pub use traces::Index;

use std::path::Path;

use crate::error::Result;
use crate::sqlite;
use crate::system::identity::Identity;
use crate::system::process::Call;

use file::InFile;
use on_server::OnServer;

/// One database of the application; `Debug` and messages never show a secret.
///
/// Copies share which server of a list was reached last: sessions and client programs mean the same.
#[derive(Clone, Debug)]
pub struct Database {
    name: String,
    place: Place,
}

/// Where a database is.
#[derive(Clone, Debug)]
enum Place {
    /// On a server.
    Server(Box<OnServer>),
    /// In a file of this machine.
    File(InFile),
}

impl Database {
    /// Resolves the connection parameters as libpq would, or names the file, without connecting.
    pub fn resolve(source: &Source) -> Result<Self> {
        let place = match &source.file {
            None => Place::Server(Box::new(OnServer::resolve(source)?)),
            Some(path) => Place::File(InFile::resolve(source, path)?),
        };
        Ok(Self { name: source.name.clone(), place })
    }

    /// Returns the name of the database within the application.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the file, where the database is one.
    pub fn file(&self) -> Option<&sqlite::File> {
        match &self.place {
            Place::Server(_) => None,
            Place::File(place) => Some(place.file()),
        }
    }

    /// Returns the language of its statements.
    pub fn dialect(&self) -> Dialect {
        match &self.place {
            Place::Server(_) => Dialect::PostgreSql,
            Place::File(_) => Dialect::Sqlite,
        }
    }

    /// Returns the name of the database on the server, or the path of the file.
    pub fn dbname(&self) -> &str {
        match &self.place {
            Place::Server(place) => place.dbname(),
            Place::File(place) => place.path(),
        }
    }

    /// Returns the same server, user and options with another database, or another file.
    #[must_use]
    pub fn with_dbname(&self, dbname: &str) -> Self {
        let place = match &self.place {
            Place::Server(place) => Place::Server(Box::new(place.with_dbname(dbname))),
            Place::File(place) => Place::File(place.at(dbname)),
        };
        Self { name: self.name.clone(), place }
    }

    /// Returns whether both are reached on the same server as the same user.
    pub fn same_server(&self, other: &Self) -> bool {
        match (&self.place, &other.place) {
            (Place::Server(one), Place::Server(other)) => one.same_server(other),
            (Place::Server(_) | Place::File(_), _) => false,
        }
    }

    /// Returns whether it is there.
    pub fn exists(&self) -> Result<bool> {
        shelf::Shelf::of(self)?.has_live()
    }

    /// Says which database this is, for messages, without any secret.
    pub fn described(&self) -> String {
        match &self.place {
            Place::Server(place) => place.described(),
            Place::File(place) => place.file().described(),
        }
    }

    /// Connects; a server that is away is [`crate::outcome::Outcome::Unreachable`], anything that
    /// waiting does not cure is [`crate::outcome::Outcome::Config`].
    ///
    /// Takes at most the connect timeout (10 s unless the parameters say otherwise) for each address
    /// of each server. A file that is not there is an empty database, which nothing is written to.
    pub fn connect(&self) -> Result<Session> {
        match &self.place {
            Place::Server(place) => place.connect(),
            Place::File(place) => Ok(Session::in_file(place.file().open()?, place.path())),
        }
    }

    /// Connects to write: a file that is not there yet is made.
    pub fn connect_to_write(&self) -> Result<Session> {
        if let Place::File(place) = &self.place {
            place.file().make()?;
        }
        self.connect()
    }

    /// Begins to connect, for the next [`Database::connect`] to end it: while a server makes its side
    /// of a session, half of what a look at a schema takes, the caller can read files.
    pub fn connect_ahead(&self) {
        self.connect_ahead_and(|_| {});
    }

    /// The same, and does this in the session at once.
    fn connect_ahead_and(&self, then: impl FnOnce(&mut Session) + Send + 'static) {
        match &self.place {
            Place::Server(place) => place.connect_ahead(then),
            Place::File(_) => {}
        }
    }

    /// Prepares a call of a client program that reaches the same database, with the parameters in
    /// `PG*` variables only; of a file nothing is said.
    ///
    /// After [`Database::connect`] it is the very server that was reached, by its address. The
    /// password is in `PGPASSWORD`: the environment of a process can be read by its own user and
    /// root, who can read the files that it comes from. Programs should be told `--no-password`, or
    /// they ask on the terminal where none is known.
    pub fn call(&self, program: &Path) -> Call {
        match &self.place {
            Place::Server(place) => place.call(program),
            Place::File(_) => Call::new(program).identity(self.identity().cloned()),
        }
    }

    /// Returns whether a socket that it may be reached by lies below one of these directories.
    pub fn has_socket_below(&self, dirs: &[&str]) -> bool {
        match &self.place {
            Place::Server(place) => place.has_socket_below(dirs),
            Place::File(_) => false,
        }
    }

    /// Returns the secrets of the connection, for those who keep them out of foreign output.
    pub fn secrets(&self) -> Vec<String> {
        match &self.place {
            Place::Server(place) => place.secrets(),
            Place::File(_) => Vec::new(),
        }
    }

    /// Returns the options that every session begins with, where the parameters give any.
    pub fn options(&self) -> Option<&str> {
        match &self.place {
            Place::Server(place) => place.options(),
            Place::File(_) => None,
        }
    }

    /// Returns whether this is the very database that the parameters name.
    pub fn is_as_resolved(&self) -> bool {
        match &self.place {
            Place::Server(place) => place.is_as_resolved(),
            Place::File(place) => place.is_as_resolved(),
        }
    }

    /// Returns the system user that connects, where it is not the one we run as.
    pub fn identity(&self) -> Option<&Identity> {
        match &self.place {
            Place::Server(place) => place.identity(),
            Place::File(place) => place.identity(),
        }
    }
}
