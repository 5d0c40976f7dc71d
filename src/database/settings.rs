//! Connection parameters with their meaning: hosts, limits, TLS, all checked before connecting.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postgres::config::{ChannelBinding, SslNegotiation};

use crate::error::Result;

use super::keywords::Parameters;
use super::reader::Reader;

/// How long one address may take to give a session where nothing else is said. libpq would wait for
/// ever; nothing may hang a package manager, so 0 means this too.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Port of PostgreSQL.
pub(super) const PORT: u16 = 5432;

/// One server to try.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Endpoint {
    /// Where it is.
    pub(super) host: Host,
    /// Its port, which is also in the name of a socket.
    pub(super) port: u16,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Host {
    /// A socket in the directory that this machine's packages use.
    DefaultSocket,
    /// A socket in this directory, or with this abstract name, which begins with `@`.
    Socket(String),
    /// A name, with the address where it is known.
    Name(String, Option<IpAddr>),
    /// An address without a name.
    Address(IpAddr),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::DefaultSocket => f.write_str("the local socket")?,
            Host::Socket(dir) => f.write_str(dir)?,
            Host::Name(name, _) if name.contains(':') => write!(f, "[{name}]")?,
            Host::Name(name, _) => f.write_str(name)?,
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}")?,
        }
        if self.port == PORT { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl Endpoint {
    /// Returns whether both mean one server: a name that is known to be at two addresses means two.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let apart = match (&self.host, &other.host) {
            (Host::Name(_, Some(one)), Host::Name(_, Some(other))) => one != other,
            _ => false,
        };
        !apart && self.to_string() == other.to_string()
    }

    /// Returns the arguments by which client programs find this server.
    pub(super) fn arguments(&self) -> String {
        let host = match &self.host {
            Host::DefaultSocket => String::new(),
            Host::Socket(host) | Host::Name(host, None) => format!("-h {} ", quoted(host)),
            Host::Name(_, Some(address)) | Host::Address(address) => format!("-h {address} "),
        };
        format!("{host}-p {}", self.port)
    }
}

/// Writes a word for the shell.
pub(super) fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-@".contains(&byte);
    match !word.is_empty() && word.bytes().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// `target_session_attrs`: which server is good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

/// `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl SslMode {
    /// Returns the word that libpq knows.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// Everything about encryption; files are read when connecting.
#[derive(Clone, Debug)]
pub(super) struct Ssl {
    pub(super) mode: SslMode,
    pub(super) negotiation: SslNegotiation,
    /// Certificates that vouch for servers; whether the file may be missing depends on the mode.
    pub(super) root: Option<PathBuf>,
    /// Certificate that we show; a missing file means that there is none.
    pub(super) cert: Option<PathBuf>,
    /// Its key.
    pub(super) key: Option<PathBuf>,
    /// Revoked certificates: files, or directories of them.
    pub(super) revoked: Vec<PathBuf>,
    /// Whether the server's name is sent in clear while the encryption is negotiated.
    pub(super) sni: bool,
    pub(super) oldest: Protocol,
    pub(super) newest: Protocol,
}

/// Versions of TLS that the driver speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protocol {
    Tls12,
    Tls13,
}

/// Keep-alive probes of a TCP connection; what is not set is the kernel's choice.
#[derive(Clone, Debug)]
pub(super) struct KeepAlive {
    pub(super) on: bool,
    pub(super) idle: Option<Duration>,
    pub(super) interval: Option<Duration>,
    pub(super) count: Option<u32>,
    pub(super) user_timeout: Option<Duration>,
}

/// How long a silent peer is believed to be there, where the parameters do not say.
const IDLE: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_secs(10);
const COUNT: u32 = 3;

impl KeepAlive {
    /// Returns when to ask a silent peer for a sign of life, how often, how many times, and how long
    /// what was sent may stay unanswered. The system's own values take two hours.
    pub(super) fn patience(&self) -> (Duration, Duration, u32, Duration) {
        let idle = self.idle.unwrap_or(IDLE);
        let interval = self.interval.unwrap_or(INTERVAL);
        let count = self.count.unwrap_or(COUNT);
        let timeout = self.user_timeout.unwrap_or(idle + interval * count);
        (idle, interval, count, timeout)
    }

    /// Returns the statements that make the server watch us as we watch it.
    pub(super) fn of_server(&self) -> String {
        if !self.on {
            return String::new();
        }
        let (idle, interval, count, timeout) = self.patience();
        let seconds = |time: Duration| time.as_secs().clamp(1, 30_000);
        format!(
            "set tcp_keepalives_idle={};set tcp_keepalives_interval={};\
             set tcp_keepalives_count={};set tcp_user_timeout={};",
            seconds(idle),
            seconds(interval),
            count.clamp(1, 100),
            timeout.as_millis().clamp(1, 2_000_000_000),
        )
    }
}

/// What the parameters mean.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) shuffled: bool,
    pub(super) wanted: Wanted,
    pub(super) user: String,
    pub(super) dbname: String,
    /// Limit for each address, from the first packet to the session.
    pub(super) timeout: Duration,
    pub(super) application_name: String,
    pub(super) options: Option<String>,
    pub(super) channel_binding: ChannelBinding,
    pub(super) keepalive: KeepAlive,
    pub(super) ssl: Ssl,
    pub(super) passfile: Option<PathBuf>,
    /// System user that must own the server's socket.
    pub(super) peer: Option<String>,
}

/// Makes settings of parameters; `home` and `login` are those of the system user that connects.
pub(super) fn of(parameters: &Parameters, home: Option<&Path>, login: &str) -> Result<Settings> {
    let read = Reader::new(parameters, home);
    read.refuse_misplaced_passwords()?;
    read.refuse_what_the_driver_cannot_do()?;
    let user = parameters.get("user").unwrap_or(login).to_owned();
    let dbname = parameters.get("dbname").unwrap_or(&user).to_owned();
    let application_name = ["application_name", "fallback_application_name"]
        .iter()
        .find_map(|keyword| parameters.get(keyword))
        .unwrap_or("openwatch")
        .to_owned();
    let timeout = match read.number("connect_timeout")? {
        Some(seconds @ 1..) => Duration::from_secs(seconds.unsigned_abs().max(2)),
        Some(_) | None => CONNECT_TIMEOUT,
    };
    Ok(Settings {
        endpoints: read.endpoints()?,
        shuffled: read.word("load_balance_hosts", &[("disable", false), ("random", true)])?,
        wanted: read.word(
            "target_session_attrs",
            &[
                ("any", Wanted::Any),
                ("read-write", Wanted::ReadWrite),
                ("read-only", Wanted::ReadOnly),
                ("primary", Wanted::Primary),
                ("standby", Wanted::Standby),
                ("prefer-standby", Wanted::PreferStandby),
            ],
        )?,
        user,
        dbname,
        timeout,
        application_name,
        options: parameters.get("options").map(str::to_owned),
        channel_binding: read.word(
            "channel_binding",
            &[
                ("prefer", ChannelBinding::Prefer),
                ("disable", ChannelBinding::Disable),
                ("require", ChannelBinding::Require),
            ],
        )?,
        keepalive: read.keepalive()?,
        ssl: read.ssl()?,
        passfile: read.file("passfile", ".pgpass"),
        peer: parameters.get("requirepeer").map(str::to_owned),
    })
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
