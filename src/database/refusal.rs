//! Why a connection did not come about, and what a person can do about it.
//!
//! Only what passes by itself counts as "away": a scriptlet defers the upgrade for it. A wrong
//! password, an unknown database or a certificate that is not trusted stays wrong however long one
//! waits, and must reach the operator at once.

use std::error::Error as _;
use std::io::{self, ErrorKind};

use crate::error::Error;
use crate::outcome::Outcome;

use super::keywords::Parameters;
use super::settings::{Endpoint, quoted};

/// What stood against one attempt.
#[derive(Debug)]
pub(super) enum Why {
    /// No server answers, or it says that it will be back.
    Away(String),
    /// The server has no room for another session.
    Full(String),
    /// The server is not what `target_session_attrs` asks for.
    Unwanted(&'static str),
    /// The host name does not exist.
    UnknownHost(String),
    /// This machine does not let us open the socket.
    Denied(String),
    /// Encryption could not be agreed on.
    Tls(String),
    /// Something here is wrong: a file, the system user.
    Here(Error),
    /// This signal came, in a run that changes nothing.
    Interrupted(&'static str),
    /// The server asks for a password and none is known.
    NoPassword,
    /// The server, or what answers in its place, said something that the driver does not understand.
    Strange(String),
    /// The server said no.
    Refused {
        /// SQLSTATE.
        code: String,
        /// The server's message.
        message: String,
    },
}

impl Why {
    /// Sorts what the driver says; it names kinds only in the text of its error.
    pub(super) fn from_driver(error: &postgres::Error) -> Self {
        if let Some(db) = error.as_db_error() {
            let (code, message) = (db.code().code(), db.message().to_owned());
            return match code {
                "57P01" | "57P02" | "57P03" | "08001" | "08006" => Self::Away(message),
                "53300" => Self::Full(message),
                _ => Self::Refused { code: code.to_owned(), message },
            };
        }
        let kind = error.to_string();
        let causes = causes(error);
        let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        if kind == "invalid configuration" && causes.contains("password missing") {
            return Self::NoPassword;
        }
        match io {
            // In TLS 1.3 a server refuses our certificate only after the handshake.
            Some(io) if io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
                Self::Tls(causes)
            }
            Some(io) => Self::from_io(io),
            None if kind == "error performing TLS handshake" => Self::Tls(causes),
            None if error.is_closed() => Self::Away("the server closed the connection".into()),
            None if kind == "authentication error" => Self::Strange(causes),
            None => Self::Strange(format!("{kind}: {causes}")),
        }
    }

    /// Sorts what the kernel says about a socket.
    pub(super) fn from_io(error: &io::Error) -> Self {
        let text = error.to_string();
        // The number behind the words helps nobody.
        let text = text.split(" (os error").next().unwrap_or_default().to_owned();
        match error.kind() {
            ErrorKind::PermissionDenied => Self::Denied(text),
            ErrorKind::NotFound => Self::Away("there is no such socket".into()),
            ErrorKind::UnexpectedEof => Self::Away("the server closed the connection".into()),
            ErrorKind::InvalidInput | ErrorKind::InvalidData => Self::Strange(text),
            _ => Self::Away(text),
        }
    }

    /// Sorts what the resolver says about a name; only its words tell the cases apart.
    pub(super) fn from_resolver(error: &io::Error) -> Self {
        let text = error.to_string();
        let text = text.rsplit(": ").next().unwrap_or_default().to_owned();
        if text.contains("emporary failure") || text.contains("try again") {
            Self::Away(format!("its name cannot be looked up now: {text}"))
        } else {
            Self::UnknownHost(text)
        }
    }

    /// Returns whether the next address of the list is worth a try, as libpq decides it.
    pub(super) fn leads_on(&self) -> bool {
        match self {
            Self::Away(_)
            | Self::Full(_)
            | Self::Unwanted(_)
            | Self::UnknownHost(_)
            | Self::Denied(_) => true,
            Self::Tls(_)
            | Self::Here(_)
            | Self::Interrupted(_)
            | Self::NoPassword
            | Self::Strange(_)
            | Self::Refused { .. } => false,
        }
    }

    /// Returns whether the other of "encrypted" and "in clear" is worth a try, where both may be.
    pub(super) fn depends_on_encryption(&self) -> bool {
        match self {
            Self::Tls(_) | Self::Here(_) => true,
            Self::Refused { code, .. } => code.starts_with("28"),
            Self::Away(_)
            | Self::Full(_)
            | Self::Unwanted(_)
            | Self::UnknownHost(_)
            | Self::Denied(_)
            | Self::Interrupted(_)
            | Self::NoPassword
            | Self::Strange(_) => false,
        }
    }

    /// Takes secrets out of texts that come from outside.
    pub(super) fn scrub(&mut self, parameters: &Parameters) {
        match self {
            Self::Away(text)
            | Self::Full(text)
            | Self::UnknownHost(text)
            | Self::Denied(text)
            | Self::Tls(text)
            | Self::Strange(text)
            | Self::Refused { message: text, .. } => *text = parameters.scrubbed(text),
            Self::Unwanted(_) | Self::Here(_) | Self::Interrupted(_) | Self::NoPassword => {}
        }
    }

    /// Orders causes: of several, the highest is told first.
    fn weight(&self) -> u8 {
        match self {
            Self::Interrupted(_) => 10,
            Self::Refused { .. } => 9,
            Self::NoPassword => 8,
            Self::Here(_) => 7,
            Self::Tls(_) => 6,
            Self::Strange(_) => 5,
            Self::Full(_) => 4,
            Self::Away(_) => 3,
            Self::Denied(_) => 2,
            Self::Unwanted(_) => 1,
            Self::UnknownHost(_) => 0,
        }
    }

    fn told(&self) -> String {
        match self {
            Self::Away(text) | Self::Denied(text) => text.clone(),
            Self::Full(text) => format!("the server has no free connection slot: {text}"),
            Self::Unwanted(what) => format!("the server {what}"),
            Self::UnknownHost(text) => format!("the host name is unknown: {text}"),
            Self::Tls(text) => format!("no encrypted connection: {}", tls_words(text)),
            Self::Here(error) => error.message(),
            Self::Interrupted(signal) => format!("interrupted by {signal}"),
            Self::NoPassword => "the server asks for a password, and none is known".into(),
            Self::Strange(text) => text.clone(),
            Self::Refused { message, .. } => message.clone(),
        }
    }

    fn outcome(&self, several: bool) -> Outcome {
        match self {
            Self::Away(_) | Self::Full(_) => Outcome::Unreachable,
            Self::Interrupted(_) => Outcome::Failed,
            // With several servers the right one may come with the end of a failover.
            Self::Unwanted(_) if several => Outcome::Unreachable,
            Self::Refused { code, .. } if code.starts_with("XX") || code.starts_with("58") => {
                Outcome::Failed
            }
            Self::Unwanted(_)
            | Self::UnknownHost(_)
            | Self::Denied(_)
            | Self::Tls(_)
            | Self::Here(_)
            | Self::NoPassword
            | Self::Strange(_)
            | Self::Refused { .. } => Outcome::Config,
        }
    }
}

/// Returns everything that stands behind an error, on one line.
fn causes(error: &postgres::Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if texts.last().is_none_or(|last| !last.ends_with(&text)) {
            texts.push(text);
        }
        next = cause.source();
    }
    texts.join(": ")
}

/// One attempt that failed, and at which server.
#[derive(Debug)]
pub(super) struct Attempt {
    /// The server.
    pub(super) at: Endpoint,
    /// How it was tried, as it is told.
    pub(super) place: String,
    /// What stood against it.
    pub(super) why: Why,
}

/// What a hint has to know: where the things are written that may be wrong.
pub(super) struct Advice<'a> {
    /// Name of the database within the application.
    pub(super) database: &'a str,
    /// Role.
    pub(super) user: &'a str,
    /// Database on the server.
    pub(super) dbname: &'a str,
    /// Where the password was found.
    pub(super) password: Option<String>,
    /// The password file that is looked into, and why it is ignored, if it is.
    pub(super) passfile: Option<String>,
    /// Where the name of the database stands.
    pub(super) dbname_at: Option<String>,
    /// System user that connects.
    pub(super) login: &'a str,
}

/// Tells all attempts as one failure; `described` is the database with its servers.
pub(super) fn report(described: &str, mut attempts: Vec<Attempt>, advice: &Advice<'_>) -> Error {
    let several = attempts.len() > 1;
    // Stable: of equal weight, the attempt that came first.
    attempts.sort_by_key(|attempt| std::cmp::Reverse(attempt.why.weight()));
    let Some(first) = attempts.first() else {
        return Error::failed(format!("cannot connect to {described}: no server is named"));
    };
    let outcome = match first.why.outcome(several) {
        // One dead name among servers that are away does not make the others wrong.
        Outcome::Config if first.why.leads_on() => attempts
            .iter()
            .map(|attempt| attempt.why.outcome(several))
            .find(|outcome| *outcome == Outcome::Unreachable)
            .unwrap_or(Outcome::Config),
        outcome => outcome,
    };
    let mut error =
        Error::new(outcome, format!("cannot connect to {described}: {}", first.why.told()));
    if let Why::Refused { code, .. } = &first.why {
        error = error.detail(format!("SQLSTATE {code} from {}", first.place));
    }
    for attempt in attempts.iter().skip(1) {
        error = error.detail(format!("{}: {}", attempt.place, attempt.why.told()));
    }
    if let (Why::NoPassword, Some(passfile)) = (&first.why, &advice.passfile) {
        error = error.detail(passfile.clone());
    }
    if let Why::Here(inner) = &first.why {
        error = inner.details().iter().fold(error, |error, detail| error.detail(detail.clone()));
    }
    error.hint(hint(first, advice))
}

fn hint(attempt: &Attempt, advice: &Advice<'_>) -> String {
    let (database, place) = (advice.database, &attempt.place);
    match &attempt.why {
        Why::Away(_) => {
            format!(
                "Start the server, or look for it with `pg_isready {}`.",
                attempt.at.arguments()
            )
        }
        Why::Full(_) => "End sessions, or raise `max_connections` of the server.".into(),
        Why::Unwanted(_) => "Correct `target_session_attrs`, or the list of hosts.".into(),
        Why::UnknownHost(_) => {
            format!("Correct the host in the connection of database {database}.")
        }
        Why::Denied(_) => format!(
            "Let the system user {} into the socket directory, or set `user` of database {database}.",
            advice.login
        ),
        Why::Here(error) => match error.hint_line() {
            Some(hint) => hint.to_owned(),
            None => format!("Correct the connection of database {database}."),
        },
        Why::Interrupted(_) => "Run it again.".into(),
        Why::NoPassword => format!(
            "Set `PGPASSWORD`, or a password in the connection of database {database}; for peer \
             authentication set `user`."
        ),
        Why::Strange(_) => {
            format!(
                "Check that a PostgreSQL server answers at {place}, and how `pg_hba.conf` asks."
            )
        }
        Why::Tls(text) => tls_hint(text).into(),
        Why::Refused { code, message } => match code.as_str() {
            "28P01" => match &advice.password {
                Some(place) => format!("Correct the password in {place}."),
                None => format!("Correct the password of database {database}."),
            },
            "28000" if message.contains("eer authentication") => format!(
                "Set `user` of database {database} to the system user that role {} belongs to.",
                advice.user
            ),
            "28000" if message.contains("pg_hba.conf") => format!(
                "Add a line for role {} and database {} to `pg_hba.conf` of the server.",
                advice.user, advice.dbname
            ),
            "28000" => format!("Correct the role {} of database {database}.", advice.user),
            "3D000" => {
                let create = format!(
                    "createdb {} -U {} {}",
                    attempt.at.arguments(),
                    quoted(advice.user),
                    quoted(advice.dbname)
                );
                match &advice.dbname_at {
                    Some(place) => {
                        format!("Correct the name in {place}, or create it: `{create}`.")
                    }
                    None => format!("Set `dbname`, or create the role's own: `{create}`."),
                }
            }
            _ => format!("Correct the connection of database {database}."),
        },
    }
}

/// The TLS library names some causes by its own identifiers only.
fn tls_words(text: &str) -> &str {
    [
        ("UnknownIssuer", "no authority in the root file issued the server's certificate"),
        ("UnsupportedSignatureAlgorithm", "the server's certificate is signed in an unusual way"),
        ("UnsupportedCertVersion", "the server's certificate is X.509 version 1"),
        ("Revoked", "the server's certificate is revoked"),
        ("HandshakeFailure", "the server has no kind of key, or no cipher, that is spoken here"),
        ("UnknownRevocationStatus", "no revocation list is of the authority of a certificate"),
        ("revocation list expired", "a revocation list has expired"),
    ]
    .iter()
    .find(|(name, _)| text.contains(name))
    .map_or(text, |(_, words)| *words)
}

fn tls_hint(text: &str) -> &'static str {
    if text.contains("does not support TLS") {
        "Set `ssl = on` in postgresql.conf of the server, or `sslmode=prefer` here."
    } else if text.contains("UnknownIssuer") || text.contains("CaUsedAsEndEntity") {
        "Set `sslrootcert` to the authority that signed the server's certificate, and all above it."
    } else if text.contains("UnknownRevocation") || text.contains("revocation list") {
        "Fetch today's lists of all authorities for `sslcrl` or `sslcrldir`."
    } else if text.contains("NotValidForName") || text.contains("not valid for name") {
        "Set `host` to a name that the server's certificate carries."
    } else if text.contains("xpired") || text.contains("valid yet") || text.contains("NotValidYet")
    {
        "Renew the certificate of the server, or of its authority, or correct the clock."
    } else if ["Version", "BadEncoding", "UnsupportedSignature"].iter().any(|w| text.contains(w)) {
        "Issue the server's certificate again as X.509 version 3, signed with SHA-256."
    } else if text.contains("HandshakeFailure") {
        "Give the server a key of RSA, P-256, P-384 or Ed25519."
    } else if text.contains("alert") {
        "Set `sslcert` and `sslkey` to a certificate that the server accepts."
    } else {
        "Correct `sslmode`, `sslrootcert`, `sslcert` or `sslkey`."
    }
}
