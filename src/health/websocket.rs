//! An address that opens a WebSocket: the handshake of RFC 6455, checked as its section 4.1 demands it.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use super::ask::Attempt;
use super::http::request;
use crate::config::SecretSpec;
use crate::system::http::{Answer, shown};

/// What every server appends to the key before it digests it.
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The status of an answer that leaves HTTP.
const SWITCHING_PROTOCOLS: u16 = 101;

pub(super) fn ask(url: &str, token: Option<(&SecretSpec, &Path)>, limit: Duration) -> Attempt {
    let mut nonce = [0; 16];
    if SystemRandom::new().fill(&mut nonce).is_err() {
        return Attempt::Wrong("this machine has no random numbers".into());
    }
    let key = STANDARD.encode(nonce);
    let headers = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", key.as_str()),
    ];
    let headers = headers.map(|(name, value)| (name, Zeroizing::new(value.to_owned())));
    match request(&over_http(url), token, headers.into(), limit) {
        Ok(answer) => judge(&answer, &key),
        Err(none) => Attempt::Wrong(none),
    }
}

/// The handshake is a request of HTTP: `ws://` is asked as `http://`, `wss://` as `https://`.
fn over_http(url: &str) -> String {
    url.strip_prefix("ws").map_or_else(|| url.to_owned(), |rest| format!("http{rest}"))
}

fn judge(answer: &Answer, key: &str) -> Attempt {
    let wrong = |fault: String| Attempt::Wrong(fault);
    if answer.status != SWITCHING_PROTOCOLS {
        let target = answer.header("location").as_deref().map(shown);
        return wrong(match target {
            Some(target) => format!("answered {}, a redirect to {target}", answer.status),
            None => format!("answered {}, and opened no WebSocket", answer.status),
        });
    }
    let names = |header: &str, word: &str| {
        answer
            .header(header)
            .is_some_and(|all| all.split(',').any(|one| one.trim().eq_ignore_ascii_case(word)))
    };
    if !names("upgrade", "websocket") || !names("connection", "upgrade") {
        return wrong("answered 101, and does not say that it switches to a WebSocket".into());
    }
    match answer.header("sec-websocket-accept") {
        None => return wrong("answered 101 without Sec-WebSocket-Accept".into()),
        Some(accepted) if accepted.trim() != accept(key) => {
            return wrong("answered 101 with the Sec-WebSocket-Accept of another key".into());
        }
        Some(_) => {}
    }
    for header in ["sec-websocket-extensions", "sec-websocket-protocol"] {
        if answer.header(header).is_some_and(|value| !value.trim().is_empty()) {
            return wrong(format!("answered 101 with {header}, which was not offered"));
        }
    }
    Attempt::right("opened a WebSocket")
}

/// What a server that has read the key answers.
fn accept(key: &str) -> String {
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{MAGIC}").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accepted_key_is_that_of_the_standard() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_websocket_is_asked_over_http() {
        assert_eq!(over_http("ws://127.0.0.1:1/live"), "http://127.0.0.1:1/live");
        assert_eq!(over_http("wss://host/live"), "https://host/live");
    }
}
