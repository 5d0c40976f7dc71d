//! Connecting: every server of the list, with and without encryption, within a time limit, as the
//! right system user.

use std::hash::BuildHasher as _;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use postgres::{NoTls, SimpleQueryMessage};
use tokio_postgres::Config;

use crate::error::{Error, Result};
use crate::system::identity::Identity;

use super::driver::{Connection, Refused, Unanswered};
use super::refusal::{Attempt, Why};
use super::settings::{Endpoint, Host, Settings, SslMode, Wanted};
use super::tls;
use crate::system::impersonate;

/// Socket directories of the packages: Debian and RHEL, then what the sources have.
pub(super) const SOCKET_DIRS: [&str; 3] = ["/var/run/postgresql", "/run/postgresql", "/tmp"];

/// Everything that attempts have in common.
pub(super) struct Plan<'a> {
    pub(super) settings: &'a Settings,
    pub(super) identity: Option<&'a Identity>,
    /// The server that a former connection reached, by its address; it is tried before all others.
    pub(super) chosen: Option<Endpoint>,
    /// The password for a server.
    pub(super) password: &'a dyn Fn(&Endpoint) -> Option<String>,
}

/// Whether a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encryption {
    Never,
    IfOffered,
    Always,
}

/// Connects to the first server that gives a session; says which one it was.
pub(super) fn connect(
    plan: &Plan<'_>,
) -> std::result::Result<(Connection, Endpoint), Vec<Attempt>> {
    let wanted = plan.settings.wanted;
    let rounds = match wanted {
        Wanted::PreferStandby => vec![Wanted::Standby, Wanted::Any],
        Wanted::Any | Wanted::ReadWrite | Wanted::ReadOnly | Wanted::Primary | Wanted::Standby => {
            vec![wanted]
        }
    };
    let mut failed = Vec::new();
    if let Some(chosen) = &plan.chosen {
        // It was good enough before, also as the best that there was.
        let wanted = if wanted == Wanted::PreferStandby { Wanted::Any } else { wanted };
        match plan.reach(chosen, wanted, &mut failed) {
            Some(client) => return Ok((client, chosen.clone())),
            None if failed.iter().all(|one| one.why.leads_on()) => {}
            None => return Err(failed),
        }
    }
    let pinned = failed.len();
    for wanted in rounds {
        failed.truncate(pinned);
        for endpoint in plan.endpoints() {
            let addresses = match addresses(&endpoint, plan.settings.timeout) {
                Ok(addresses) => addresses,
                Err(why) => {
                    failed.push(Attempt { place: endpoint.to_string(), at: endpoint, why });
                    continue;
                }
            };
            for address in addresses {
                if plan.chosen.as_ref() == Some(&address) {
                    continue;
                }
                let before = failed.len();
                match plan.reach(&address, wanted, &mut failed) {
                    Some(client) => return Ok((client, address)),
                    None if failed[before..].iter().all(|one| one.why.leads_on()) => {}
                    // As libpq: a server that was reached and said no decides.
                    None => return Err(failed),
                }
            }
        }
    }
    Err(failed)
}

impl Plan<'_> {
    /// Returns the servers of the list in the order in which they are tried.
    fn endpoints(&self) -> Vec<Endpoint> {
        let mut endpoints = self.settings.endpoints.clone();
        if self.settings.shuffled {
            let random = std::collections::hash_map::RandomState::new();
            endpoints.sort_by_cached_key(|endpoint| random.hash_one(endpoint));
        }
        endpoints
    }

    /// Tries one address, both ways where `sslmode` allows both.
    fn reach(
        &self,
        at: &Endpoint,
        wanted: Wanted,
        failed: &mut Vec<Attempt>,
    ) -> Option<Connection> {
        let socket = matches!(at.host, Host::Socket(_) | Host::DefaultSocket);
        let ways: &[Encryption] = match self.settings.ssl.mode {
            // As libpq: sslmode means nothing on a socket of this machine.
            _ if socket => &[Encryption::Never],
            SslMode::Disable => &[Encryption::Never],
            SslMode::Allow => &[Encryption::Never, Encryption::Always],
            SslMode::Prefer => &[Encryption::IfOffered, Encryption::Never],
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[Encryption::Always],
        };
        let mut tries = Vec::new();
        for way in ways {
            match self.try_once(at, *way, wanted) {
                Ok(client) => return Some(client),
                Err(why) => {
                    let other = why.depends_on_encryption();
                    tries.push((*way, why));
                    if !other {
                        break;
                    }
                }
            }
        }
        let both = tries.len() > 1;
        failed.extend(tries.into_iter().map(|(way, why)| Attempt {
            at: at.clone(),
            place: match (both, way) {
                (false, _) => at.to_string(),
                (true, Encryption::Never) => format!("{at} in clear"),
                (true, Encryption::IfOffered | Encryption::Always) => format!("{at} encrypted"),
            },
            why,
        }));
        None
    }

    fn try_once(
        &self,
        at: &Endpoint,
        way: Encryption,
        wanted: Wanted,
    ) -> std::result::Result<Connection, Why> {
        if let (Some(owner), Host::Socket(dir)) = (&self.settings.peer, &at.host) {
            check_owner(owner, dir, at.port).map_err(Why::Here)?;
        }
        let config = self.driver(at, way);
        let encryption = match way {
            Encryption::Never => None,
            Encryption::IfOffered | Encryption::Always => {
                let host = match &at.host {
                    Host::Name(name, _) => Some(name.as_str()),
                    Host::Address(_) | Host::Socket(_) | Host::DefaultSocket => None,
                };
                let files = || tls::connector(&self.settings.ssl, host);
                Some(impersonate::with_rights_of(self.identity, files).map_err(Why::Here)?)
            }
        };
        let identity = self.identity.cloned();
        let work = move || {
            if let Some(identity) = &identity {
                impersonate::become_user(identity).map_err(Why::Here)?;
            }
            let mut connection = match encryption {
                Some(tls) => Connection::open(&config, tls),
                None => Connection::open(&config, NoTls),
            }
            .map_err(|refused| match refused {
                Refused::Driver(error) => Why::from_driver(&error),
                Refused::Here(error) => {
                    Why::Here(Error::failed("cannot wait for a connection").source(error))
                }
            })?;
            check_role(&mut connection, wanted)?;
            Ok(connection)
        };
        within(self.settings.timeout, work)?
    }

    /// Tells the driver field by field: its own reader of connection strings differs from libpq's.
    pub(super) fn driver(&self, at: &Endpoint, way: Encryption) -> Config {
        let settings = self.settings;
        let mut config = Config::new();
        config
            .user(&settings.user)
            .dbname(&settings.dbname)
            .application_name(&settings.application_name)
            .port(at.port)
            .connect_timeout(settings.timeout)
            .channel_binding(settings.channel_binding)
            .keepalives(settings.keepalive.on)
            .ssl_mode(match way {
                Encryption::Never => postgres::config::SslMode::Disable,
                Encryption::IfOffered => postgres::config::SslMode::Prefer,
                Encryption::Always => postgres::config::SslMode::Require,
            });
        if way == Encryption::Always {
            config.ssl_negotiation(settings.ssl.negotiation);
        }
        if let Some(options) = &settings.options {
            config.options(options);
        }
        if let Some(password) = (self.password)(at) {
            config.password(password);
        }
        if settings.keepalive.on {
            let (idle, interval, count, timeout) = settings.keepalive.patience();
            config
                .keepalives_idle(idle)
                .keepalives_interval(interval)
                .keepalives_retries(count)
                .tcp_user_timeout(timeout);
        } else if let Some(timeout) = settings.keepalive.user_timeout {
            config.tcp_user_timeout(timeout);
        }
        match &at.host {
            Host::DefaultSocket => config.host_path(default_socket_dir(at.port)),
            Host::Socket(dir) => config.host_path(socket_path(dir)),
            // The driver hands the host to TLS: a name that cannot stand in a certificate is
            // replaced by the address there. What the certificate must say is known to the verifier.
            Host::Name(name, Some(address)) => {
                let speakable = rustls::pki_types::ServerName::try_from(name.as_str()).is_ok();
                let shown = if speakable { name.clone() } else { address.to_string() };
                config.host(&shown).hostaddr(*address)
            }
            Host::Name(name, None) => config.host(name),
            Host::Address(address) => config.host(address.to_string()).hostaddr(*address),
        };
        config
    }
}

/// Returns the directory of the default socket: the first that has one of this port.
pub(super) fn default_socket_dir(port: u16) -> &'static str {
    let name = format!(".s.PGSQL.{port}");
    SOCKET_DIRS
        .into_iter()
        .find(|dir| Path::new(dir).join(&name).exists())
        .or_else(|| SOCKET_DIRS.into_iter().find(|dir| Path::new(dir).is_dir()))
        .unwrap_or(SOCKET_DIRS[0])
}

/// Returns the directory as the kernel takes it: an abstract name begins with NUL there.
fn socket_path(dir: &str) -> PathBuf {
    match dir.strip_prefix('@') {
        Some(name) => PathBuf::from(format!("\0{name}")),
        None => PathBuf::from(dir),
    }
}

/// Finds the addresses of a server; each is tried by itself.
///
/// We ask the resolver ourselves, so that the address that worked can be given to client programs.
fn addresses(endpoint: &Endpoint, limit: Duration) -> std::result::Result<Vec<Endpoint>, Why> {
    let name = match &endpoint.host {
        Host::Name(name, None) => name,
        Host::DefaultSocket => {
            let dir = default_socket_dir(endpoint.port).to_owned();
            return Ok(vec![Endpoint { host: Host::Socket(dir), port: endpoint.port }]);
        }
        Host::Socket(_) | Host::Name(_, Some(_)) | Host::Address(_) => {
            return Ok(vec![endpoint.clone()]);
        }
    };
    let question = (name.clone(), endpoint.port);
    let found = within(limit, move || {
        let found = question.to_socket_addrs().map_err(|error| Why::from_resolver(&error))?;
        let mut found: Vec<IpAddr> = found.map(|address| address.ip()).collect();
        found.dedup();
        Ok(found)
    })??;
    Ok(found
        .into_iter()
        .map(|address| Endpoint {
            host: Host::Name(name.clone(), Some(address)),
            port: endpoint.port,
        })
        .collect())
}

/// Does work in its own thread and waits no longer than the limit.
///
/// The driver's own limit ends with the TCP handshake; a server that accepts and stays silent would
/// hold it for ever. A thread that comes too late closes what it opened and ends.
fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::result::Result<T, Why> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("connect".into()).spawn(move || {
        let _ = sender.send(work());
    });
    if let Err(error) = thread {
        return Err(Why::Here(Error::failed("cannot start a thread").source(error)));
    }
    receiver.recv_timeout(limit).map_err(|error| match error {
        mpsc::RecvTimeoutError::Timeout => {
            let limit = crate::system::clock::spoken(limit);
            Why::Away(format!("no answer within {limit}"))
        }
        mpsc::RecvTimeoutError::Disconnected => {
            Why::Strange("the attempt to connect ended unexpectedly".into())
        }
    })
}

/// Checks `requirepeer`: whoever made the socket runs the server.
fn check_owner(owner: &str, dir: &str, port: u16) -> Result<()> {
    let socket = Path::new(dir).join(format!(".s.PGSQL.{port}"));
    let wrong = |what: String| {
        Error::config(format!("requirepeer={owner}, but {what}"))
            .hint("Correct `requirepeer`, or find out whose server this is.")
    };
    if dir.starts_with('@') {
        return Err(wrong("an abstract socket has no owner to look at".into()));
    }
    let expected = Identity::of(owner)?;
    match std::fs::metadata(&socket) {
        Ok(found) if found.uid() != expected.uid => {
            Err(wrong(format!("{} belongs to user id {}", socket.display(), found.uid())))
        }
        // A socket that is not there is the driver's to tell.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Asks the server what it is, where that matters.
///
/// Where it does not, an empty text is sent, because the limit ends with the answer: a server, or a
/// pooler before it, that lets us in and stays silent would hold whoever asks first for ever.
fn check_role(connection: &mut Connection, wanted: Wanted) -> std::result::Result<(), Why> {
    let question = match wanted {
        Wanted::Any => "",
        Wanted::ReadWrite
        | Wanted::ReadOnly
        | Wanted::Primary
        | Wanted::Standby
        | Wanted::PreferStandby => {
            "select pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only')"
        }
    };
    let answer = connection.simple_query(question).map_err(|unanswered| match unanswered {
        Unanswered::Driver(error) => Why::from_driver(&error),
        Unanswered::Interrupted(signal) => Why::Interrupted(signal),
    })?;
    if wanted == Wanted::Any {
        return Ok(());
    }
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((row.get(0) == Some("t"), row.get(1) == Some("on"))),
        _ => None,
    });
    let Some((standby, read_only)) = row else {
        return Err(Why::Strange("the server does not say what it is".into()));
    };
    match wanted {
        Wanted::ReadWrite if read_only => Err(Why::Unwanted("does not allow writes")),
        Wanted::ReadOnly if !read_only => Err(Why::Unwanted("is not read-only")),
        Wanted::Primary if standby => Err(Why::Unwanted("is a standby")),
        Wanted::Standby if !standby => Err(Why::Unwanted("is not a standby")),
        Wanted::Any
        | Wanted::ReadWrite
        | Wanted::ReadOnly
        | Wanted::Primary
        | Wanted::Standby
        | Wanted::PreferStandby => Ok(()),
    }
}
