//! Where the service listens.

use std::net::{SocketAddr, TcpListener};

use crate::error::{Context, Error, Result};
use crate::outcome::Outcome;
use crate::progress::Progress;

/// The variable that names another address.
pub(super) const VARIABLE: &str = "OPENWATCH_LISTEN";

const DEFAULT: &str = "127.0.0.1:8480";

/// Reads the address: the caller's, else the environment's, else loopback.
pub(super) fn address(given: Option<String>) -> Result<SocketAddr> {
    let text = given
        .or_else(|| std::env::var(VARIABLE).ok())
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| DEFAULT.to_owned());
    text.parse().map_err(|_| {
        Error::config(format!("{VARIABLE} is not an address with a port: {text}"))
            .state("the service was not started")
            .hint(format!("Set `{VARIABLE}={DEFAULT}`; an IPv6 address has brackets."))
    })
}

/// Binds the address; one that others can reach is warned about.
pub(super) fn bind(address: SocketAddr, progress: &dyn Progress) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).map_err(|error| {
        let outcome = match error.kind() {
            // Another process may end; the unit tries again.
            std::io::ErrorKind::AddrInUse => Outcome::Failed,
            _ => Outcome::Config,
        };
        Error::new(outcome, format!("cannot listen on {address}"))
            .source(error)
            .state("the service was not started")
            .hint(format!("See who listens with `ss -ltnp`, or set another {VARIABLE}."))
    })?;
    listener.set_nonblocking(true).context(|| format!("cannot listen on {address}"))?;
    if !address.ip().is_loopback() {
        progress.warn(&format!("{address} can be reached from other machines, and asks nobody"));
    }
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_the_default_and_nonsense_is_told() {
        assert_eq!(address(Some(" ".into())).unwrap().to_string(), DEFAULT);
        assert_eq!(address(Some("[::1]:80".into())).unwrap().to_string(), "[::1]:80");
        let error = address(Some("localhost".into())).unwrap_err();
        assert_eq!(error.outcome(), Outcome::Config);
        assert_eq!(error.message(), "OPENWATCH_LISTEN is not an address with a port: localhost");
    }
}
