//! Who may act through the service: whoever has the token of `secrets.env`. Looking needs none.

use axum::http::header::{AUTHORIZATION, HeaderMap};
use ring::{hmac, rand};
use zeroize::Zeroizing;

use crate::config::secrets;
use crate::layout::Layout;

/// The variable that holds the token.
const VARIABLE: &str = "OPENWATCH_API_TOKEN";

/// The shortest token that is taken, in bytes.
const SHORTEST: usize = 20;

/// What a request with or without a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is no token on this machine: nobody may act.
    NotConfigured,
    /// The request has none, or a wrong one.
    Wrong,
    /// It may.
    Right,
}

/// Judges a request by its `Authorization: Bearer TOKEN`. The token is read anew each time, so that one
/// that was taken back is no longer good.
pub(super) fn judge(layout: &Layout, headers: &HeaderMap) -> Verdict {
    let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    judge_typed(layout, given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default())
}

/// Returns whether there is a token: without one nobody may act.
pub(in crate::commands) fn is_set(layout: &Layout) -> bool {
    configured(layout).is_some()
}

/// Judges a token as it was typed into a form.
pub(super) fn judge_typed(layout: &Layout, given: &str) -> Verdict {
    let Some(expected) = configured(layout) else { return Verdict::NotConfigured };
    match same(expected.as_bytes(), given.trim().as_bytes()) {
        true => Verdict::Right,
        false => Verdict::Wrong,
    }
}

fn configured(layout: &Layout) -> Option<Zeroizing<String>> {
    secrets::current(&layout.secrets(), VARIABLE, SHORTEST)
}

/// Compares in a time that tells nothing of where they differ: both are signed with a key that nobody
/// has, and the signatures are compared by the library that is made for it.
fn same(expected: &[u8], given: &[u8]) -> bool {
    let Ok(key) = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new()) else {
        return false;
    };
    let tag = hmac::sign(&key, expected);
    hmac::verify(&key, given, tag.as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn only_the_whole_token_is_right_and_a_short_one_is_none() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path(), "shop");
        let good = headers("Bearer 0123456789abcdefghij");
        assert_eq!(judge(&layout, &good), Verdict::NotConfigured);
        std::fs::create_dir_all(root.path().join("etc/shop")).unwrap();
        let write = |token: &str| {
            std::fs::write(layout.secrets(), format!("OPENWATCH_API_TOKEN={token}\n")).unwrap();
            std::process::Command::new("chmod").arg("640").arg(layout.secrets()).status().unwrap();
        };
        write("short");
        assert_eq!(judge(&layout, &headers("Bearer short")), Verdict::NotConfigured);
        write("0123456789abcdefghij");
        assert_eq!(judge(&layout, &good), Verdict::Right);
        for wrong in ["Bearer 0123456789abcdefghi", "Bearer ", "Basic 0123456789abcdefghij", "x"] {
            assert_eq!(judge(&layout, &headers(wrong)), Verdict::Wrong, "{wrong}");
        }
        assert_eq!(judge(&layout, &HeaderMap::new()), Verdict::Wrong);
    }
}
