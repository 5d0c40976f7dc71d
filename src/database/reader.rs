//! One connection parameter at a time: its text checked and turned into a value.

use std::path::{Path, PathBuf};
use std::time::Duration;

use postgres::config::SslNegotiation;

use crate::error::{Error, Result};

use super::keywords::{self, Origin, Parameters};
use super::settings::{Endpoint, Host, KeepAlive, PORT, Protocol, Ssl, SslMode};

/// Reads parameters; `home` is where files lie that no parameter names.
pub(super) struct Reader<'a> {
    parameters: &'a Parameters,
    home: Option<&'a Path>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(parameters: &'a Parameters, home: Option<&'a Path>) -> Self {
        Self { parameters, home }
    }

    /// Says that a value is wrong, where it stands, and what it may be. The value is not shown: in a
    /// string with an unescaped character it may be a part of the password.
    fn wrong(&self, keyword: &str, expected: &str) -> Error {
        let origin = self.parameters.origin(keyword).cloned().unwrap_or(Origin::String);
        let name = match &origin {
            Origin::Variable(variable) => (*variable).to_owned(),
            Origin::String | Origin::Service { .. } => keyword.to_owned(),
        };
        Error::config(format!("the value of {keyword} in {origin} is not {expected}"))
            .hint(format!("Correct `{name}`."))
    }

    /// Reads one of several words; the first one is the default.
    pub(super) fn word<T: Copy>(&self, keyword: &str, words: &[(&str, T)]) -> Result<T> {
        let text = self.parameters.get(keyword).or(words.first().map(|(word, _)| *word));
        words.iter().find(|(word, _)| Some(*word) == text).map(|(_, value)| *value).ok_or_else(
            || {
                let list: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                self.wrong(keyword, &format!("one of {}", list.join(", ")))
            },
        )
    }

    pub(super) fn number(&self, keyword: &str) -> Result<Option<i64>> {
        let Some(text) = self.parameters.get(keyword) else { return Ok(None) };
        match text.trim().parse::<i32>() {
            Ok(number) => Ok(Some(number.into())),
            Err(_) => Err(self.wrong(keyword, "a whole number")),
        }
    }

    /// Reads a duration where zero and less leave the choice to the kernel.
    fn duration(&self, keyword: &str, unit: Duration) -> Result<Option<Duration>> {
        let number = self.number(keyword)?.and_then(|number| u32::try_from(number).ok());
        Ok(number.filter(|number| *number > 0).map(|number| unit * number))
    }

    pub(super) fn file(&self, keyword: &str, default: &str) -> Option<PathBuf> {
        let named = self.parameters.get(keyword).map(PathBuf::from);
        named.or_else(|| self.home.map(|home| home.join(default)))
    }

    pub(super) fn keepalive(&self) -> Result<KeepAlive> {
        let second = Duration::from_secs(1);
        Ok(KeepAlive {
            on: self.number("keepalives")?.is_none_or(|on| on != 0),
            idle: self.duration("keepalives_idle", second)?,
            interval: self.duration("keepalives_interval", second)?,
            count: self
                .number("keepalives_count")?
                .and_then(|count| u32::try_from(count).ok())
                .filter(|count| *count > 0),
            // Milliseconds in libpq; the driver's own parser takes them for seconds.
            user_timeout: self.duration("tcp_user_timeout", Duration::from_millis(1))?,
        })
    }

    pub(super) fn ssl(&self) -> Result<Ssl> {
        use SslMode::{Allow, Disable, Prefer, Require, VerifyCa, VerifyFull};
        let system = self.parameters.get("sslrootcert") == Some("system");
        let mut modes = [Prefer, Disable, Allow, Require, VerifyCa, VerifyFull];
        if system {
            // As libpq 16: publicly trusted certificates prove nothing without the name.
            modes.rotate_right(1);
        }
        let words: Vec<(&str, SslMode)> = modes.iter().map(|mode| (mode.word(), *mode)).collect();
        let mode = self.word("sslmode", &words)?;
        if system && mode != VerifyFull {
            return Err(self.wrong("sslmode", "verify-full, which sslrootcert=system needs"));
        }
        let negotiation = self.word(
            "sslnegotiation",
            &[("postgres", SslNegotiation::Postgres), ("direct", SslNegotiation::Direct)],
        )?;
        if negotiation == SslNegotiation::Direct && mode < Require {
            return Err(self.wrong("sslmode", "require or more, which sslnegotiation=direct needs"));
        }
        let protocol = |keyword, default| -> Result<(bool, Protocol)> {
            let old = (false, Protocol::Tls12);
            let (v12, v13) = ((true, Protocol::Tls12), (true, Protocol::Tls13));
            let default = if default == Protocol::Tls13 { v13 } else { v12 };
            self.word(
                keyword,
                &[
                    ("", default),
                    ("TLSv1", old),
                    ("TLSv1.1", old),
                    ("TLSv1.2", v12),
                    ("TLSv1.3", v13),
                ],
            )
        };
        let (_, oldest) = protocol("ssl_min_protocol_version", Protocol::Tls12)?;
        let (spoken, newest) = protocol("ssl_max_protocol_version", Protocol::Tls13)?;
        if !spoken || newest < oldest {
            return Err(
                self.wrong("ssl_max_protocol_version", "TLSv1.2 or newer and above the oldest")
            );
        }
        let own = self.word("sslcertmode", &[("allow", true), ("disable", false)])?;
        let own_file = |keyword, default| own.then(|| self.file(keyword, default)).flatten();
        Ok(Ssl {
            mode,
            negotiation,
            root: match system {
                true => Some(self.system_roots()?),
                false => self.file("sslrootcert", ".postgresql/root.crt"),
            },
            cert: own_file("sslcert", ".postgresql/postgresql.crt"),
            key: own_file("sslkey", ".postgresql/postgresql.key"),
            revoked: self.revoked(),
            sni: self.word("sslsni", &[("1", true), ("0", false)])?,
            oldest,
            newest,
        })
    }

    fn revoked(&self) -> Vec<PathBuf> {
        let named: Vec<PathBuf> = ["sslcrl", "sslcrldir"]
            .iter()
            .filter_map(|keyword| self.parameters.get(keyword).map(PathBuf::from))
            .collect();
        match (named.is_empty(), self.home) {
            (true, Some(home)) => {
                let default = home.join(".postgresql/root.crl");
                if default.exists() { vec![default] } else { named }
            }
            (true, None) | (false, _) => named,
        }
    }

    /// The distribution's bundle. Its path, rather than the word `system`, goes to client programs
    /// too: libpq before 16 looks for a file of that name.
    fn system_roots(&self) -> Result<PathBuf> {
        [
            "/etc/ssl/certs/ca-certificates.crt",
            "/etc/pki/tls/certs/ca-bundle.crt",
            "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
            "/etc/ssl/ca-bundle.pem",
            "/etc/ssl/cert.pem",
        ]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .ok_or_else(|| {
            Error::config("sslrootcert=system, but this machine has no certificate bundle")
                .hint("Install the package `ca-certificates`.")
        })
    }

    pub(super) fn endpoints(&self) -> Result<Vec<Endpoint>> {
        let list = |keyword| -> Vec<&str> {
            self.parameters.get(keyword).map(|text| text.split(',').collect()).unwrap_or_default()
        };
        let (hosts, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
        let count = if addresses.is_empty() { hosts.len().max(1) } else { addresses.len() };
        if !hosts.is_empty() && hosts.len() != count {
            return Err(self.wrong("hostaddr", "as long a list as host"));
        }
        if ports.len() > 1 && ports.len() != count {
            return Err(self.wrong("port", "one port, or one for each host"));
        }
        (0..count)
            .map(|at| {
                let port = ports.get(at).or(ports.first()).map_or("", |port| port.trim());
                Ok(Endpoint {
                    host: self.host(
                        hosts.get(at).copied().unwrap_or(""),
                        addresses.get(at).copied().unwrap_or(""),
                    )?,
                    port: match port {
                        "" => PORT,
                        text => text
                            .parse()
                            .ok()
                            .filter(|port| *port > 0)
                            .ok_or_else(|| self.wrong("port", "a number between 1 and 65535"))?,
                    },
                })
            })
            .collect()
    }

    fn host(&self, host: &str, address: &str) -> Result<Host> {
        let address = match address {
            "" => None,
            text => Some(text.parse().map_err(|_| self.wrong("hostaddr", "an IP address"))?),
        };
        Ok(match (host, address) {
            ("", None) => Host::DefaultSocket,
            ("", Some(address)) => Host::Address(address),
            (dir, None) if dir.starts_with(['/', '@']) => Host::Socket(dir.to_owned()),
            (name, _) if name.contains(['@', ' ', '/']) => {
                return Err(
                    self.wrong("host", "a host name; is a character of a password unescaped")
                );
            }
            // Parameters that are parted as other libraries part them: a password may be among them.
            (name, _) if name.contains(['=', ';', '&']) => {
                return Err(self.wrong("host", "a host name; parameters are parted by blanks"));
            }
            (name, address) => Host::Name(name.to_owned(), address),
        })
    }

    /// Refuses values that hold a password which is meant for its own parameter: messages show names of
    /// servers, roles, databases and files, and the resolver is asked for the first.
    pub(super) fn refuse_misplaced_passwords(&self) -> Result<()> {
        for (keyword, value) in self.parameters.iter() {
            // What a program of the server is told may have passwords of its own, and is not shown.
            if keywords::is_secret(keyword) || keyword == "options" {
                continue;
            }
            if names_a_password(value) {
                return Err(
                    self.wrong(keyword, "free of a password; parameters are parted by blanks")
                );
            }
            if ["dbname", "user"].contains(&keyword) && value.contains("://") {
                return Err(self.wrong(keyword, "a name alone, but a whole connection string"));
            }
        }
        Ok(())
    }

    /// Refuses what would weaken the connection if it were silently left out.
    pub(super) fn refuse_what_the_driver_cannot_do(&self) -> Result<()> {
        for (keyword, value) in self.parameters.iter() {
            if value.contains('\0') {
                return Err(self.wrong(keyword, "free of the character NUL"));
            }
        }
        let kept = |keyword: &str, harmless: &[&str]| {
            self.parameters.get(keyword).is_some_and(|value| !harmless.contains(&value))
        };
        let refused = [
            ("gssencmode", &["prefer", "disable"][..]),
            ("require_auth", &[]),
            ("scram_client_key", &[]),
            ("scram_server_key", &[]),
            ("oauth_issuer", &[]),
            ("replication", &["0", "off", "no", "false"]),
            ("sslcertmode", &["allow", "disable"]),
        ];
        match refused.iter().find(|(keyword, harmless)| kept(keyword, harmless)) {
            None => Ok(()),
            Some((keyword, _)) => Err(Error::config(format!(
                "the connection parameter {keyword} is not supported with this value"
            ))
            .hint(format!("Remove `{keyword}` from the connection of this database."))),
        }
    }
}

/// Returns whether a parameter for a password stands in a value of another one.
fn names_a_password(value: &str) -> bool {
    let value = value.to_lowercase();
    ["password", "passwd", "pwd"]
        .iter()
        .any(|word| value.split(word).skip(1).any(|rest| rest.trim_start().starts_with('=')))
}
