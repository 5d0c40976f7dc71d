//! What proves to a receiver that a report is ours: a bearer token, or a signature.
//!
//! Signatures go by both names that receivers know: `webhook-signature` with `webhook-id` and
//! `webhook-timestamp` (Standard Webhooks), which also tells a replay from a retry, and
//! `X-Hub-Signature-256` over the body alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use zeroize::Zeroizing;

use crate::system::{clock, http};

use super::Desk;

/// How Standard Webhooks write a key: this, then base64.
const ENCODED: &str = "whsec_";

/// Returns the headers that prove whose report this is.
pub(super) fn headers(
    desk: &Desk<'_>,
    url: &str,
    id: &str,
    body: &str,
) -> Result<Vec<(&'static str, Zeroizing<String>)>, String> {
    let plain = |text: &str| Zeroizing::new(text.to_owned());
    let mut headers = vec![("webhook-id", plain(id))];
    let at = clock::unix_seconds(desk.clock.now()).to_string();
    if let Some(spec) = &desk.spec.hmac {
        let secret = spec.read(&desk.layout.secrets(), "the key of signatures")?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key(&secret)?);
        let signed = hmac::sign(&key, format!("{id}.{at}.{body}").as_bytes());
        headers.push(("webhook-signature", plain(&format!("v1,{}", STANDARD.encode(signed)))));
        let signed = hmac::sign(&key, body.as_bytes());
        headers.push(("x-hub-signature-256", plain(&format!("sha256={}", hex::encode(signed)))));
    }
    headers.push(("webhook-timestamp", plain(&at)));
    if let Some(spec) = &desk.spec.token {
        if !http::is_confidential(url) {
            return Err(
                "the token is not sent in clear: the address must begin with https://".into()
            );
        }
        let token = spec.read(&desk.layout.secrets(), "the token")?;
        headers.push(("authorization", Zeroizing::new(format!("Bearer {}", token.as_str()))));
    }
    Ok(headers)
}

/// Returns whether a receiver may believe this `X-Hub-Signature-256`; compared in constant time.
pub fn is_signed(secret: &str, body: &[u8], signature: &str) -> bool {
    let Ok(key) = key(secret.trim()) else { return false };
    let given = signature.strip_prefix("sha256=").and_then(|digits| hex::decode(digits).ok());
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    given.is_some_and(|given| hmac::verify(&key, body, &given).is_ok())
}

fn key(secret: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    match secret.strip_prefix(ENCODED) {
        None => Ok(Zeroizing::new(secret.as_bytes().to_vec())),
        Some(text) => STANDARD
            .decode(text)
            .map(Zeroizing::new)
            .map_err(|_| format!("the key of signatures begins with {ENCODED} and is not base64")),
    }
}
