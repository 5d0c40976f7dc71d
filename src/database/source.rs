//! Where the parameters of a connection come from, and which of two counts.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::keywords::{self, Origin, Parameters};
use super::{conninfo, service};
use crate::error::Result;

/// Where the connection parameters of one database come from.
///
/// What is given here counts and nothing else: the caller decides which variables of its own
/// environment belong to it. Of one keyword the connection string counts before the service, the
/// service before the variable, the variable before the default, as in libpq.
#[derive(Clone, Default)]
pub struct Source {
    /// Name of the database within the application.
    pub name: String,
    /// Connection string, URI or keywords.
    pub conninfo: Option<String>,
    /// Where that string is written, as people are told, such as `DSN in /etc/app/secrets.env`.
    pub written_in: Option<String>,
    /// Service of `pg_service.conf`.
    pub service: Option<String>,
    /// The file that takes the place of a server, an absolute path.
    pub file: Option<PathBuf>,
    /// System user to connect as.
    pub user: Option<String>,
    /// Variables that take the place of the process environment: `secrets.env` over `PG*`; `HOME`
    /// too, when it is not the system user's.
    pub environment: BTreeMap<String, String>,
}

impl Source {
    /// Says where the connection string is to be corrected.
    pub(super) fn written_in(&self) -> String {
        let unknown = || format!("the connection string of database {}", self.name);
        self.written_in.clone().unwrap_or_else(unknown)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("name", &self.name)
            .field("service", &self.service)
            .field("user", &self.user)
            .field("variables", &self.environment.keys())
            .finish_non_exhaustive()
    }
}

/// Returns name and home of the user we run as; libpq 15 and newer take `HOME` before the system's
/// entry, older ones only the entry.
pub(super) fn own_login(
    uid: u32,
    environment: &BTreeMap<String, String>,
) -> (String, Option<PathBuf>) {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten();
    let named = environment.get("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let home = named.or_else(|| user.as_ref().map(|user| user.dir.clone()));
    (user.map(|user| user.name).unwrap_or_default(), home)
}

/// Puts the sources together, the stronger first.
pub(super) fn gather(source: &Source, home: Option<&Path>) -> Result<Parameters> {
    let environment =
        |name: &str| source.environment.get(name).map(String::as_str).filter(|v| !v.is_empty());
    let mut parameters = Parameters::default();
    for (keyword, value) in conninfo::parse(source.conninfo.as_deref().unwrap_or_default())? {
        parameters.fill(keyword, value, Origin::String);
    }
    let service = parameters
        .get("service")
        .or(source.service.as_deref())
        .or_else(|| environment("PGSERVICE"))
        .map(str::to_owned);
    if let Some(name) = service {
        let file = parameters.get("servicefile").map(str::to_owned);
        let places = service::Places {
            named: file.as_deref().or_else(|| environment("PGSERVICEFILE")),
            home,
            system: environment("PGSYSCONFDIR"),
        };
        service::fill(&mut parameters, &name, &places)?;
    }
    for (keyword, variable) in keywords::variables() {
        // An empty variable is a value, as in libpq: it stands before the default.
        if let Some(value) = source.environment.get(variable) {
            parameters.fill(keyword, value.clone(), Origin::Variable(variable));
        }
    }
    if environment("PGREQUIRESSL").is_some_and(|value| value.starts_with('1')) {
        parameters.fill("sslmode", "require".into(), Origin::Variable("PGREQUIRESSL"));
    }
    Ok(parameters)
}
