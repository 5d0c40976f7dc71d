//! A database on a server of PostgreSQL: its parameters, and how it is reached.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::keywords::{Origin, Parameters};
use super::passfile::{self, Found};
use super::refusal::{self, Advice};
use super::session::Session;
use super::settings::{self, Endpoint, Host, Settings};
use super::source::{self, Source};
use super::{connect, handover};
use crate::error::{Error, Result};
use crate::system::identity::Identity;
use crate::system::impersonate;
use crate::system::process::Call;

/// One database on a server, with its resolved connection parameters; `Debug` and messages never show a secret.
///
/// Copies share which server of a list was reached last: sessions and client programs mean the same.
#[derive(Clone)]
pub(super) struct OnServer {
    name: String,
    written_in: String,
    parameters: Parameters,
    pub(super) settings: Settings,
    /// The database that the parameters name, whatever [`OnServer::with_dbname`] says.
    first_dbname: String,
    login: String,
    identity: Option<Identity>,
    pub(super) chosen: Arc<Mutex<Option<Endpoint>>>,
    /// A connection that is being made before it is asked for.
    ahead: Arc<Mutex<Option<JoinHandle<Result<Session>>>>>,
}

impl fmt::Debug for OnServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnServer")
            .field("name", &self.name)
            .field("parameters", &self.parameters)
            .field("login", &self.login)
            .finish_non_exhaustive()
    }
}

impl OnServer {
    /// Resolves the connection parameters as libpq would, without connecting.
    pub(super) fn resolve(source: &Source) -> Result<Self> {
        let found = Self::resolved(source);
        found.map_err(|error| {
            error
                .outcome_as(crate::outcome::Outcome::Config)
                .or_hint(format!("Correct the connection of database {}.", source.name))
        })
    }

    fn resolved(source: &Source) -> Result<Self> {
        let user = source.user.as_deref().map(Identity::of).transpose()?;
        let own = rustix::process::geteuid().as_raw();
        let (login, home) = match &user {
            Some(user) => (user.name.clone(), Some(user.home.clone())),
            None => source::own_login(own, &source.environment),
        };
        let identity = user.filter(|user| user.uid != own);
        let (parameters, settings) = impersonate::with_rights_of(identity.as_ref(), || {
            let parameters = source::gather(source, home.as_deref())?;
            let settings = settings::of(&parameters, home.as_deref(), &login)?;
            Ok((parameters, settings))
        })?;
        if settings.user.is_empty() {
            return Err(Error::config(format!(
                "database {} has no role to connect as",
                source.name
            ))
            .hint("Set `PGUSER`, or `user` in the connection string."));
        }
        Ok(Self {
            name: source.name.clone(),
            written_in: source.written_in(),
            parameters,
            first_dbname: settings.dbname.clone(),
            settings,
            login,
            identity,
            chosen: Arc::default(),
            ahead: Arc::default(),
        })
    }

    /// Returns the name of the database on the server.
    pub(super) fn dbname(&self) -> &str {
        &self.settings.dbname
    }

    /// Returns the same server, user and options with another database.
    #[must_use]
    pub(super) fn with_dbname(&self, dbname: &str) -> Self {
        let mut other = self.clone();
        other.settings.dbname = dbname.to_owned();
        other.ahead = Arc::default();
        other
    }

    /// Returns whether both are reached on the same server as the same user.
    pub(super) fn same_server(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.servers(), other.servers());
        ours.len() == theirs.len()
            && ours.iter().zip(&theirs).all(|(one, other)| one.is_same(other))
            && self.settings.user == other.settings.user
            && self.identity == other.identity
    }

    /// Says which database this is, for messages, without any secret.
    pub(super) fn described(&self) -> String {
        let servers: Vec<String> = self.servers().iter().map(ToString::to_string).collect();
        format!("database {} at {}", self.dbname(), servers.join(", "))
    }

    /// Connects; a server that is away is [`crate::outcome::Outcome::Unreachable`], anything that
    /// waiting does not cure is [`crate::outcome::Outcome::Config`].
    ///
    /// Takes at most the connect timeout (10 s unless the parameters say otherwise) for each address
    /// of each server.
    pub(super) fn connect(&self) -> Result<Session> {
        let ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner).take();
        match ahead.and_then(|thread| thread.join().ok()) {
            Some(connected) => connected,
            None => self.connect_now(),
        }
    }

    /// Begins to connect, and to do this then, for the next [`OnServer::connect`] to end it: while a
    /// server makes its side of a session, half of what a look at a schema takes, the caller can read
    /// files.
    pub(super) fn connect_ahead(&self, then: impl FnOnce(&mut Session) + Send + 'static) {
        let own = self.clone();
        let thread = std::thread::Builder::new().name("connect ahead".into());
        let work = move || {
            own.connect_now().map(|mut session| {
                then(&mut session);
                session
            })
        };
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = thread.spawn(work).ok();
    }

    fn connect_now(&self) -> Result<Session> {
        let plan = connect::Plan {
            settings: &self.settings,
            identity: self.identity.as_ref(),
            chosen: self.chosen(),
            password: &|endpoint| self.password(endpoint).0,
        };
        match connect::connect(&plan) {
            Ok((client, endpoint)) => {
                let patience = match &endpoint.host {
                    // Nobody at the other end of a socket vanishes without a word.
                    Host::DefaultSocket | Host::Socket(_) => String::new(),
                    Host::Name(..) | Host::Address(_) => self.settings.keepalive.of_server(),
                };
                *self.chosen.lock().unwrap_or_else(PoisonError::into_inner) = Some(endpoint);
                Ok(Session::new(client, patience))
            }
            Err(attempts) => Err(self.refused(attempts)),
        }
    }

    /// Prepares a call of a client program that reaches the same database, with the parameters in
    /// `PG*` variables only.
    ///
    /// After [`OnServer::connect`] it is the very server that was reached, by its address. The
    /// password is in `PGPASSWORD`: the environment of a process can be read by its own user and
    /// root, who can read the files that it comes from. Programs should be told `--no-password`, or
    /// they ask on the terminal where none is known.
    pub(super) fn call(&self, program: &Path) -> Call {
        let call = Call::new(program).identity(self.identity.clone());
        self.variables().into_iter().fold(call, |call, (name, value)| call.env(name, value))
    }

    /// Returns whether a socket that it may be reached by lies below one of these directories. Without
    /// a name it is where the packages of the server have it, where they have made that directory.
    pub(super) fn has_socket_below(&self, dirs: &[&str]) -> bool {
        let packaged = || connect::SOCKET_DIRS.iter().find(|dir| Path::new(dir).is_dir());
        self.settings.endpoints.iter().any(|endpoint| match &endpoint.host {
            Host::DefaultSocket => packaged().is_some_and(|dir| is_below(dir, dirs)),
            Host::Socket(dir) => is_below(dir, dirs),
            Host::Name(..) | Host::Address(_) => false,
        })
    }

    /// Returns the secrets of the connection, for those who keep them out of foreign output.
    pub(super) fn secrets(&self) -> Vec<String> {
        let known = self.parameters.secrets().map(str::to_owned);
        known.chain(self.variables().remove("PGPASSWORD")).collect()
    }

    /// Returns the options that every session begins with, where the parameters give any.
    pub(super) fn options(&self) -> Option<&str> {
        self.parameters.get("options")
    }

    /// Returns whether this is the very database that the parameters name.
    pub(super) fn is_as_resolved(&self) -> bool {
        self.settings.dbname == self.first_dbname
    }

    /// Returns the system user that connects, where it is not the one we run as.
    pub(super) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Returns the variables that mean this database to libpq.
    pub(super) fn variables(&self) -> BTreeMap<&'static str, String> {
        let servers = self.servers();
        let password = servers.first().and_then(|first| self.password(first).0);
        let same = servers.iter().all(|server| self.password(server).0 == password);
        let password = password.filter(|_| same);
        handover::variables(&self.parameters, &self.settings, &servers, password)
    }

    fn chosen(&self) -> Option<Endpoint> {
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the server that was reached, or else all that may be tried.
    fn servers(&self) -> Vec<Endpoint> {
        match self.chosen() {
            Some(endpoint) => vec![endpoint],
            None => self.settings.endpoints.clone(),
        }
    }

    /// Returns the password for a server, and why the password file is ignored, if it is.
    pub(super) fn password(&self, endpoint: &Endpoint) -> (Option<String>, Option<String>) {
        if let Some(password) = self.parameters.get("password") {
            return (Some(password.to_owned()), None);
        }
        let Some(path) = &self.settings.passfile else { return (None, None) };
        let host = match &endpoint.host {
            Host::DefaultSocket => "localhost".to_owned(),
            Host::Socket(dir) if connect::SOCKET_DIRS.contains(&dir.as_str()) => "localhost".into(),
            Host::Socket(dir) => dir.clone(),
            Host::Name(name, _) => name.clone(),
            Host::Address(address) => address.to_string(),
        };
        // A scratch database has no line of its own; roles and their passwords are of the server.
        let look = || {
            let names = [self.dbname(), &self.first_dbname];
            Ok(names.map(|dbname| {
                let user = &self.settings.user;
                let wanted = passfile::Wanted { host: &host, port: endpoint.port, dbname, user };
                passfile::look_up(path, &wanted)
            }))
        };
        match impersonate::with_rights_of(self.identity.as_ref(), look) {
            Ok([Found::Password(password), _] | [Found::Nothing, Found::Password(password)]) => {
                (Some(password), None)
            }
            Ok([Found::Nothing, Found::Nothing]) => (None, None),
            Ok([Found::Ignored(why), _] | [Found::Nothing, Found::Ignored(why)]) => {
                (None, Some(why))
            }
            Err(error) => (None, Some(error.message())),
        }
    }

    fn refused(&self, mut attempts: Vec<refusal::Attempt>) -> Error {
        for attempt in &mut attempts {
            attempt.why.scrub(&self.parameters);
        }
        let place = |keyword: &str| match self.parameters.origin(keyword) {
            Some(Origin::String) => Some(self.written_in.clone()),
            Some(other) => Some(other.to_string()),
            None => None,
        };
        let file = self.settings.passfile.as_ref().map(|path| path.display().to_string());
        let ignored = self.settings.endpoints.first().and_then(|first| self.password(first).1);
        let advice = Advice {
            database: &self.name,
            user: &self.settings.user,
            dbname: self.dbname(),
            password: match self.parameters.get("password") {
                Some(_) => place("password"),
                None => file,
            },
            passfile: ignored,
            dbname_at: place("dbname"),
            login: &self.login,
        };
        refusal::report(&self.described(), attempts, &advice)
    }
}

fn is_below(path: &str, dirs: &[&str]) -> bool {
    dirs.iter().any(|dir| Path::new(path).starts_with(dir))
}
