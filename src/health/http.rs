//! An address that answers with the right status, text and version, from a process of ours.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::ask::Attempt;
use crate::config::SecretSpec;
use crate::system::clock::{parse_rfc3339, rfc3339};
use crate::system::http;

/// What an answer is compared by later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// HTTP status.
    pub status: u16,
    /// The version that the body names.
    pub version: Option<String>,
    /// Selected parts of the body by their JSON pointers, shortened.
    pub selected: BTreeMap<String, String>,
}

/// What the answer must be.
pub(super) struct Wanted<'a> {
    pub(super) status: u16,
    pub(super) body: Option<&'a str>,
    pub(super) version: Option<&'a str>,
    /// When our services were started.
    pub(super) started: Option<SystemTime>,
    pub(super) token: Option<&'a SecretSpec>,
    /// The credentials file.
    pub(super) secrets: &'a Path,
}

/// Asks, with the token where there is one; what comes back does not hold it any more.
pub(super) fn request(
    url: &str,
    token: Option<(&SecretSpec, &Path)>,
    mut headers: Vec<http::Header>,
    limit: Duration,
) -> Result<http::Answer, String> {
    let token = token.map(|(spec, secrets)| spec.read(secrets, "the token")).transpose()?;
    if let Some(token) = &token {
        headers.push(("authorization", Zeroizing::new(format!("Bearer {}", token.as_str()))));
    }
    let mut answer = http::get(url, &headers, limit).map_err(|none| none.to_string())?;
    if let Some(token) = &token {
        answer.forget(token);
    }
    Ok(answer)
}

impl Wanted<'_> {
    fn request(&self, url: &str, limit: Duration) -> Result<http::Answer, String> {
        request(url, self.token.map(|token| (token, self.secrets)), Vec::new(), limit)
    }
}

pub(super) fn ask(url: &str, wanted: &Wanted<'_>, limit: Duration) -> Attempt {
    match wanted.request(url, limit) {
        Ok(answer) => judge(&answer, wanted),
        Err(none) => Attempt::Wrong(none),
    }
}

/// Asks once and keeps, whatever the answer is worth, what a later answer is compared with.
pub(super) fn look(
    url: &str,
    wanted: &Wanted<'_>,
    pointers: &[String],
    limit: Duration,
) -> (Attempt, Option<Seen>) {
    let answer = match wanted.request(url, limit) {
        Ok(answer) => answer,
        Err(none) => return (Attempt::Wrong(none), None),
    };
    let json: Option<Value> = serde_json::from_str(&answer.body).ok();
    let version = json.as_ref().and_then(|json| json.get("version")).and_then(Value::as_str);
    let selected = pointers.iter().map(|pointer| {
        let value = match (json.as_ref().and_then(|json| json.pointer(pointer)), pointer.as_str()) {
            (Some(Value::String(text)), _) => text.clone(),
            (Some(value), _) => value.to_string(),
            (None, "") => answer.body.clone(),
            (None, _) => "absent".to_owned(),
        };
        (pointer.clone(), told_apart(&value))
    });
    let seen = Seen {
        status: answer.status,
        version: version.map(super::answer::short),
        selected: selected.collect(),
    };
    (judge(&answer, wanted), Some(seen))
}

/// Shortens a value; of one that was shortened or masked a digest tells it from others.
fn told_apart(value: &str) -> String {
    let short = super::answer::short(value);
    if short == value {
        return short;
    }
    let digest = hex::encode(Sha256::digest(value.as_bytes()));
    format!("{short} sha256 {}", &digest[..16])
}

fn judge(answer: &http::Answer, wanted: &Wanted<'_>) -> Attempt {
    if answer.status != wanted.status {
        let target = answer.header("location").as_deref().map(http::shown);
        return Attempt::Wrong(match (target, answer.body.trim()) {
            (Some(target), _) => format!("answered {}, a redirect to {target}", answer.status),
            (None, "") => format!("answered {}", answer.status),
            (None, body) => format!("answered {}: {body}", answer.status),
        });
    }
    if let Some(text) = wanted.body.filter(|text| !answer.body.contains(*text)) {
        return Attempt::Wrong(format!("the body does not contain \"{text}\": {}", answer.body));
    }
    match wanted.version {
        Some(version) => ours(&answer.body, version, wanted),
        None => Attempt::right(format!("answered {}", answer.status)),
    }
}

/// Whether the version that was installed, and a process that was started after, gave the answer.
fn ours(body: &str, version: &str, wanted: &Wanted<'_>) -> Attempt {
    let json: Option<Value> = serde_json::from_str(body).ok();
    let told = json.as_ref().and_then(|json| json.get("version")).and_then(Value::as_str);
    match told {
        Some(told) if !names_version(told, version) => {
            return Attempt::Wrong(format!("answered by version {told}, not {version}"));
        }
        None if !names_version(body, version) => {
            return Attempt::Wrong(format!("the body does not name version {version}: {body}"));
        }
        Some(_) | None => {}
    }
    let began = json.as_ref().and_then(|json| json.get("started_at")).and_then(instant);
    match (began, wanted.started) {
        // Many services tell whole seconds.
        (Some(began), Some(ours))
            if ours.duration_since(began).is_ok_and(|before| before >= Duration::from_secs(1)) =>
        {
            Attempt::Wrong(format!(
                "answered by a process that began at {}, before ours at {}",
                rfc3339(began),
                rfc3339(ours)
            ))
        }
        (Some(_) | None, Some(_) | None) => {
            Attempt::right(format!("answered {}, version {version}", wanted.status))
        }
    }
}

fn instant(value: &Value) -> Option<SystemTime> {
    match value {
        Value::String(text) => parse_rfc3339(text),
        Value::Number(number) => {
            let since = Duration::try_from_secs_f64(seconds(number.as_f64()?)).ok()?;
            UNIX_EPOCH.checked_add(since)
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Takes a number since 1970 for what it must be: milliseconds, microseconds and nanoseconds of our
/// time are, as seconds, thousands of years away.
fn seconds(mut number: f64) -> f64 {
    for _ in 0..3 {
        if number >= 100_000_000_000.0 {
            number /= 1000.0;
        }
    }
    number
}

/// Whether the text names this version and not a longer one that merely contains it; a package
/// release such as `-1.el9` may follow.
fn names_version(text: &str, version: &str) -> bool {
    let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    !version.is_empty()
        && text.match_indices(version).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let mut after = text[at + version.len()..].chars();
            let (next, second) = (after.next(), after.next());
            let starts = !digit(before) && before != Some('.');
            let ends = match next {
                Some('.' | '-') => next == Some('-') && digit(second) || !alike(second),
                Some('+' | '~') => false,
                Some(c) => !c.is_ascii_alphanumeric(),
                None => true,
            };
            starts && ends
        })
}

fn alike(c: Option<char>) -> bool {
    c.is_some_and(|c| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_not_found_inside_another() {
        for text in
            ["2.0.0", "v2.0.0", "openwatch 2.0.0.", "2.0.0-1.el9", "\"2.0.0\"", "version=2.0.0 ok"]
        {
            assert!(names_version(text, "2.0.0"), "{text}");
        }
        for text in
            ["12.0.0", "2.0.01", "2.0.0.1", "1.2.0.0", "2.0.0-rc1", "2.0.0~rc1", "2.0.0a", ""]
        {
            assert!(!names_version(text, "2.0.0"), "{text}");
        }
    }
}
