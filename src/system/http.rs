//! HTTP as a client: one request, one bounded answer, one time limit for everything.
//!
//! Redirects are never followed: health proved by another address is not proved, and a report
//! that wanders off may carry what it says to a stranger.

use std::fmt;
use std::io::Read as _;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::crypto::{CryptoProvider, ring};
use ureq::http::{HeaderMap, HeaderValue, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Proxy};
use zeroize::Zeroizing;

/// How much of a body is read, in bytes; what follows is not looked at.
const MOST_BODY: u64 = 64 * 1024;

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    headers: HeaderMap,
    /// The first 64 KiB of the body; bytes that are not UTF-8 are replaced.
    pub body: String,
}

impl Answer {
    /// Returns a header, several of the same name as one list.
    pub fn header(&self, name: &str) -> Option<String> {
        let all: Vec<_> =
            self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }

    /// Takes a secret out of everything that was said: some services repeat what they were sent.
    pub fn forget(&mut self, secret: &str) {
        if self.body.contains(secret) {
            self.body = self.body.replace(secret, "…");
        }
        for value in self.headers.values_mut() {
            if value.to_str().is_ok_and(|text| text.contains(secret)) {
                *value = HeaderValue::from_static("...");
            }
        }
    }
}

/// Name and value of a header; the value may be a secret.
pub type Header = (&'static str, Zeroizing<String>);

/// Why there was no answer, in words that name neither address nor secret.
#[derive(Debug)]
pub struct NoAnswer(String);

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoAnswer {}

/// Asks with GET and these headers; `limit` covers name lookup, connection, TLS, headers and body
/// together.
pub fn get(url: &str, headers: &[Header], limit: Duration) -> Result<Answer, NoAnswer> {
    let mut request = agent(url, limit)?.get(url);
    for (name, value) in headers {
        request = request.header(*name, value.as_str());
    }
    let answer = request.call();
    read(answer.map_err(|error| said(&error, limit))?, limit)
}

/// Sends JSON with POST and these headers; `limit` covers everything, as in [`get`].
pub fn post_json(
    url: &str,
    headers: &[Header],
    json: &str,
    limit: Duration,
) -> Result<Answer, NoAnswer> {
    let mut request = agent(url, limit)?.post(url).content_type("application/json");
    for (name, value) in headers {
        request = request.header(*name, value.as_str());
    }
    let answer = request.send(json);
    read(answer.map_err(|error| said(&error, limit))?, limit)
}

/// Returns the address as messages show it: without user, password and query.
pub fn shown(url: &str) -> String {
    let (address, query) = match url.split_once(['?', '#']) {
        Some((address, _)) => (address, "?…"),
        None => (url, ""),
    };
    let (scheme, host, path) = parts(address);
    format!("{scheme}{host}{path}{query}")
}

/// Returns scheme and host of an address: of those that services give out the rest is the secret.
pub fn shown_host(url: &str) -> String {
    let (scheme, host, rest) = parts(url);
    format!("{scheme}{host}{}", if rest.is_empty() { "" } else { "/…" })
}

/// Splits an address into what comes before the host, the host without user and password, and the rest.
fn parts(url: &str) -> (&str, &str, &str) {
    let scheme = url.find("://").filter(|at| !url[..*at].contains(['/', '?', '#']));
    let begin = scheme.map_or(if url.starts_with("//") { 2 } else { 0 }, |at| at + 3);
    let (scheme, rest) = url.split_at(begin);
    let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    (scheme, authority.rsplit_once('@').map_or(authority, |(_, host)| host), rest)
}

/// Returns whether nobody on the way can read what is sent: TLS, or this machine's loopback.
pub fn is_confidential(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    matches!(uri.scheme_str(), Some("https" | "wss")) || uri.host().is_some_and(is_loopback)
}

fn agent(url: &str, limit: Duration) -> Result<Agent, NoAnswer> {
    let uri: Uri = url.parse().map_err(|_| NoAnswer("the address is not understood".into()))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(NoAnswer("the address begins with neither http:// nor https://".into()));
    }
    let host = uri.host().ok_or_else(|| NoAnswer("the address names no host".into()))?;
    // A proxy of the environment cannot reach this machine's loopback; it would answer itself.
    let proxy = if is_loopback(host) { None } else { Proxy::try_from_env() };
    let mut config = Agent::config_builder()
        .timeout_global(Some(limit))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .max_idle_connections(0)
        .user_agent(concat!("openwatch/", env!("CARGO_PKG_VERSION")))
        .proxy(proxy);
    if uri.scheme_str() == Some("https") {
        config = config.tls_config(tls());
    }
    Ok(config.build().new_agent())
}

fn read(answer: ureq::http::Response<ureq::Body>, limit: Duration) -> Result<Answer, NoAnswer> {
    let (parts, mut body) = answer.into_parts();
    let mut bytes = Vec::new();
    let mut reader = body.as_reader().take(MOST_BODY);
    reader.read_to_end(&mut bytes).map_err(|error| NoAnswer(body_failure(&error, limit)))?;
    let body = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
}

fn body_failure(error: &std::io::Error, limit: Duration) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
        Some(inner) => said(inner, limit).0,
        None if error.kind() == std::io::ErrorKind::TimedOut => too_late(limit),
        None => format!("the body broke off: {error}"),
    }
}

fn said(error: &ureq::Error, limit: Duration) -> NoAnswer {
    NoAnswer(match error {
        ureq::Error::Timeout(_) => too_late(limit),
        ureq::Error::HostNotFound => "the host name is not known".into(),
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::Rustls(error) => format!("TLS: {error}"),
        ureq::Error::Protocol(error) => format!("what came is not HTTP: {error}"),
        other => other.to_string(),
    })
}

fn too_late(limit: Duration) -> String {
    format!("no answer within {}", crate::system::clock::spoken(limit))
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    bare == "localhost"
        || bare.ends_with(".localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Trusts what the system trusts (`SSL_CERT_FILE` is honoured); read once, on the first `https`.
fn tls() -> TlsConfig {
    static TLS: OnceLock<TlsConfig> = OnceLock::new();
    TLS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        let roots: Vec<Certificate<'static>> =
            found.certs.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
        TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&roots))
            .unversioned_rustls_crypto_provider(provider)
            .build()
    })
    .clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_address_has_neither_password_nor_query() {
        assert_eq!(shown("https://user:secret@host:1/a?token=x"), "https://host:1/a?…".to_owned());
        assert_eq!(shown("http://[::1]:8480/readyz"), "http://[::1]:8480/readyz");
        assert_eq!(shown("http://user:secret@host"), "http://host");
        assert_eq!(shown("//user:secret@host/a"), "//host/a");
        for (url, wanted) in [
            ("https://user:secret@host:1/services/T0/B0/secret?x", "https://host:1/…"),
            ("https://host?token=x", "https://host/…"),
            ("https://host", "https://host"),
            ("nonsense", "nonsense"),
            ("host/secret?u=http://a", "host/…"),
        ] {
            assert_eq!(shown_host(url), wanted);
        }
    }

    #[test]
    fn loopback_is_known_in_every_spelling() {
        for host in ["localhost", "LOCALHOST", "a.localhost", "127.0.0.1", "127.9.9.9", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example", "128.0.0.1", "example.org", "[fe80::1]"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
