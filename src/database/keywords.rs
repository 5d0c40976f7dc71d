//! The keywords of a connection string, and the values they were given.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Every keyword that libpq 13 to 18 knows, with the variable that stands for it.
const KEYWORDS: &[(&str, Option<&str>)] = &[
    ("application_name", Some("PGAPPNAME")),
    ("channel_binding", Some("PGCHANNELBINDING")),
    ("client_encoding", Some("PGCLIENTENCODING")),
    ("connect_timeout", Some("PGCONNECT_TIMEOUT")),
    ("dbname", Some("PGDATABASE")),
    ("fallback_application_name", None),
    ("gssdelegation", Some("PGGSSDELEGATION")),
    ("gssencmode", Some("PGGSSENCMODE")),
    ("gsslib", Some("PGGSSLIB")),
    ("host", Some("PGHOST")),
    ("hostaddr", Some("PGHOSTADDR")),
    ("keepalives", None),
    ("keepalives_count", None),
    ("keepalives_idle", None),
    ("keepalives_interval", None),
    ("krbsrvname", Some("PGKRBSRVNAME")),
    ("load_balance_hosts", Some("PGLOADBALANCEHOSTS")),
    ("max_protocol_version", Some("PGMAXPROTOCOLVERSION")),
    ("min_protocol_version", Some("PGMINPROTOCOLVERSION")),
    ("oauth_client_id", None),
    ("oauth_client_secret", None),
    ("oauth_issuer", None),
    ("oauth_scope", None),
    ("options", Some("PGOPTIONS")),
    ("passfile", Some("PGPASSFILE")),
    ("password", Some("PGPASSWORD")),
    ("port", Some("PGPORT")),
    ("replication", None),
    ("require_auth", Some("PGREQUIREAUTH")),
    ("requirepeer", Some("PGREQUIREPEER")),
    ("scram_client_key", None),
    ("scram_server_key", None),
    ("service", Some("PGSERVICE")),
    ("servicefile", Some("PGSERVICEFILE")),
    ("ssl_max_protocol_version", Some("PGSSLMAXPROTOCOLVERSION")),
    ("ssl_min_protocol_version", Some("PGSSLMINPROTOCOLVERSION")),
    ("sslcert", Some("PGSSLCERT")),
    ("sslcertmode", Some("PGSSLCERTMODE")),
    ("sslcompression", Some("PGSSLCOMPRESSION")),
    ("sslcrl", Some("PGSSLCRL")),
    ("sslcrldir", Some("PGSSLCRLDIR")),
    ("sslkey", Some("PGSSLKEY")),
    ("sslkeylogfile", None),
    ("sslmode", Some("PGSSLMODE")),
    ("sslnegotiation", Some("PGSSLNEGOTIATION")),
    ("sslpassword", None),
    ("sslrootcert", Some("PGSSLROOTCERT")),
    ("sslsni", Some("PGSSLSNI")),
    ("target_session_attrs", Some("PGTARGETSESSIONATTRS")),
    ("tcp_user_timeout", None),
    ("user", Some("PGUSER")),
];

/// Keywords whose values are never shown.
const SECRETS: &[&str] =
    &["password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret"];

/// Returns the keyword as it stands in the table, when there is one.
pub(super) fn known(name: &str) -> Option<&'static str> {
    KEYWORDS.iter().find(|(keyword, _)| *keyword == name).map(|(keyword, _)| *keyword)
}

/// Returns whether the values of a keyword are never shown.
pub(super) fn is_secret(keyword: &str) -> bool {
    SECRETS.contains(&keyword)
}

/// Returns every keyword that has a variable, with it.
pub(super) fn variables() -> impl Iterator<Item = (&'static str, &'static str)> {
    KEYWORDS.iter().filter_map(|(keyword, variable)| variable.map(|name| (*keyword, name)))
}

/// Where a value was written down: what a person has to change when it is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The connection string.
    String,
    /// A section of a service file.
    Service {
        /// The section.
        name: String,
        /// The file.
        file: PathBuf,
    },
    /// A variable of the environment.
    Variable(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String => f.write_str("the connection string"),
            Self::Service { name, file } => write!(f, "service {name} in {}", file.display()),
            Self::Variable(name) => write!(f, "the variable {name}"),
        }
    }
}

/// Values by keyword, each with its origin; the first one given to a keyword stays.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Parameters(BTreeMap<&'static str, (String, Origin)>);

impl Parameters {
    /// Gives a keyword its value unless it has one.
    pub(super) fn fill(&mut self, keyword: &'static str, value: String, origin: Origin) {
        self.0.entry(keyword).or_insert((value, origin));
    }

    /// Returns a value as written, which may be empty.
    pub(super) fn written(&self, keyword: &str) -> Option<&str> {
        self.0.get(keyword).map(|(value, _)| value.as_str())
    }

    /// Returns a value that is not empty.
    pub(super) fn get(&self, keyword: &str) -> Option<&str> {
        self.written(keyword).filter(|value| !value.is_empty())
    }

    /// Returns where a value was written.
    pub(super) fn origin(&self, keyword: &str) -> Option<&Origin> {
        self.0.get(keyword).map(|(_, origin)| origin)
    }

    /// Returns all values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(keyword, (value, _))| (*keyword, value.as_str()))
    }

    /// Returns every secret value.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.iter().filter(|(keyword, _)| SECRETS.contains(keyword)).map(|(_, value)| value)
    }

    /// Takes every secret value that is in `text` out of it.
    ///
    /// Texts of servers and drivers name users and databases, never passwords; this is the second
    /// lock on the same door. Shorter values are left: they would tear ordinary words apart.
    pub(super) fn scrubbed(&self, text: &str) -> String {
        self.iter()
            .filter(|(keyword, value)| SECRETS.contains(keyword) && value.len() > 3)
            .fold(text.to_owned(), |text, (_, value)| text.replace(value, "********"))
    }
}

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (keyword, value) in self.iter() {
            map.entry(&keyword, &if SECRETS.contains(&keyword) { "********" } else { value });
        }
        map.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_in_the_debug_form() {
        let mut parameters = Parameters::default();
        for keyword in SECRETS {
            parameters.fill(known(keyword).unwrap(), "tr0ub4dor".into(), Origin::String);
        }
        assert!(!format!("{parameters:?}").contains("tr0ub4dor"));
        assert_eq!(parameters.scrubbed("it is tr0ub4dor!"), "it is ********!");
    }

    #[test]
    fn keywords_are_sorted_and_unique() {
        assert!(KEYWORDS.is_sorted_by(|a, b| a.0 < b.0));
    }
}
