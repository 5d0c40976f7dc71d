//! One database of the application: how it is reached, asked, dumped and restored.
//!
//! PostgreSQL is spoken in this folder and nowhere else; the engine and the capabilities only know
//! [`Database`] and [`Session`], so that a second kind of database can stand beside it.

mod blockers;
pub mod clients;
pub mod dump;
pub mod facts;
mod lent;
mod lock;
pub mod restore;
mod schema;
mod scripts;
mod session;
pub mod swap;

pub use blockers::Blocker;
pub use lock::DatabaseLock;
pub use schema::Ground;
pub use scripts::{Fate, Limits, Mark, ScriptError};
pub use session::{Param, Row, Session, SqlError, Trouble};

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::system::identity::Identity;
use crate::system::process::Call;

/// Where the connection parameters of one database come from.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Name of the database within the application.
    pub name: String,
    /// Connection string, URI or keywords.
    pub conninfo: Option<String>,
    /// Service of `pg_service.conf`.
    pub service: Option<String>,
    /// System user to connect as.
    pub user: Option<String>,
    /// Variables that take the place of the process environment: `secrets.env` over `PG*`.
    pub environment: BTreeMap<String, String>,
}

/// One database with its resolved connection parameters; `Debug` and messages never show a secret.
#[derive(Clone)]
pub struct Database {
    name: String,
    parameters: BTreeMap<String, String>,
    identity: Option<Identity>,
}

impl Database {
    /// Resolves the connection parameters as libpq would, without connecting.
    pub fn resolve(source: &Source) -> Result<Self> {
        let identity = source.user.as_deref().map(Identity::of).transpose()?;
        let mut parameters = BTreeMap::new();
        for pair in source.conninfo.as_deref().unwrap_or_default().split_whitespace() {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| Error::config("the connection string is not understood"))?;
            parameters.insert(key.to_owned(), value.to_owned());
        }
        Ok(Self { name: source.name.clone(), parameters, identity })
    }

    /// Returns the name of the database within the application.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the name of the database on the server.
    pub fn dbname(&self) -> &str {
        self.parameters.get("dbname").map_or("", String::as_str)
    }

    /// Returns the same server, user and options with another database.
    #[must_use]
    pub fn with_dbname(&self, dbname: &str) -> Self {
        let mut other = self.clone();
        other.parameters.insert("dbname".into(), dbname.into());
        other
    }

    /// Says which database this is, for messages, without any secret.
    pub fn described(&self) -> String {
        format!("database {}", self.dbname())
    }

    /// Connects; an unreachable server is [`Outcome::Unreachable`], a refusal is
    /// [`Outcome::Config`].
    pub fn connect(&self) -> Result<Session> {
        let mut config = postgres::Config::new();
        config.application_name("openwatch").dbname(self.dbname());
        if let Some(host) = self.parameters.get("host") {
            config.host(host);
        }
        if let Some(port) = self.parameters.get("port").and_then(|port| port.parse().ok()) {
            config.port(port);
        }
        if let Some(user) = self.parameters.get("user") {
            config.user(user);
        }
        let client = config.connect(postgres::NoTls).map_err(|error| {
            Error::new(Outcome::Unreachable, format!("cannot connect to {}", self.described()))
                .source(error)
        })?;
        Ok(Session::new(client))
    }

    /// Prepares a call of a client program that reaches the same database, with the parameters in
    /// `PG*` variables only.
    pub fn call(&self, program: &Path) -> Call {
        let names =
            [("host", "PGHOST"), ("port", "PGPORT"), ("user", "PGUSER"), ("dbname", "PGDATABASE")];
        names.iter().fold(
            Call::new(program).identity(self.identity.clone()),
            |call, (key, variable)| match self.parameters.get(*key) {
                Some(value) => call.env(variable, value),
                None => call,
            },
        )
    }

    /// Returns the system user that connects, where it is not the one we run as.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }
}
