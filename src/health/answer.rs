//! What probes said, short and without secrets.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::{ProbeSpec, Question};
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::system::http::shown;

/// How much of an answer is kept, in characters.
const MOST: usize = 160;

/// What sounds like a secret within a name.
const SECRET: [&str; 4] = ["password", "passwd", "secret", "token"];

/// The end of asking one probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// What was asked, as messages name it.
    pub probe: String,
    /// Whether a failure fails the upgrade.
    pub required: bool,
    /// Whether the right answer came and held.
    pub passed: bool,
    /// Time from the first attempt to the end, in milliseconds.
    pub took_ms: u64,
    /// How often it was asked.
    pub attempts: u32,
    /// The last answer, shortened.
    pub last: String,
    /// Main process and restarts of a unit when it had settled.
    #[serde(skip)]
    pub(super) identity: Option<(u32, u32)>,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let advisory = if self.required { "" } else { " (advisory)" };
        write!(f, "{}{advisory}: {}", self.probe, self.last)
    }
}

/// The answers of all probes, in the order of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// One answer each.
    pub answers: Vec<Answer>,
}

impl Report {
    /// Returns the required probes that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Answer> {
        self.answers.iter().filter(|answer| answer.required && !answer.passed)
    }

    /// Turns failed required probes into one failure that names each with its last answer.
    pub fn verdict(&self) -> Result<()> {
        let failed: Vec<&Answer> = self.failed().collect();
        let names: Vec<&str> = failed.iter().map(|answer| answer.probe.as_str()).collect();
        let message = match failed.as_slice() {
            [] => return Ok(()),
            [one] => format!("health was not proved: {}: {}", one.probe, one.last),
            _ => format!("health was not proved: {}", names.join(", ")),
        };
        let error = Error::new(Outcome::Unhealthy, message);
        Err(failed.iter().fold(error, |error, answer| {
            error.detail(format!(
                "{}: {} (asked {} times in {}.{} s)",
                answer.probe,
                answer.last,
                answer.attempts,
                answer.took_ms / 1000,
                answer.took_ms % 1000 / 100
            ))
        }))
    }
}

/// Names a probe as messages do.
pub(super) fn name(probe: &ProbeSpec) -> String {
    match &probe.question {
        Question::Unit(unit) => format!("unit {unit}"),
        Question::Tcp(address) => format!("tcp {address}"),
        Question::Http { url, .. } => format!("http {}", shown(url)),
        Question::WebSocket { url, .. } => format!("websocket {}", shown(url)),
        Question::Sql { database, statement } => short(&format!("sql {database}: {statement}")),
        Question::Command(words) => short(&format!("command {}", words.join(" "))),
    }
}

/// Shortens what a service said to one line, without control characters and without what looks
/// like a password: answers of programs we do not know end up in the journal.
pub(super) fn short(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let words: Vec<String> =
        without_secrets(&words.join(" ")).split(' ').map(without_password).collect();
    let line = words.join(" ");
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Takes out what is given to a name that sounds like a secret's, in any of the usual ways to write it.
fn without_secrets(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let (mut kept, mut from) = (String::new(), 0);
    while let Some(end) = SECRET.iter().filter_map(|key| end_of(key, &lower, from)).min() {
        let rest = &line[end..];
        let name = rest.trim_start_matches(|c: char| c.is_alphanumeric() || "_-".contains(c));
        let sign = name.trim_start_matches(['"', '\'', ' ']);
        match sign.strip_prefix(['=', ':']) {
            Some(given) => {
                let value = given.trim_start_matches(' ');
                let start = line.len() - value.len();
                kept.push_str(&line[from..start]);
                kept.push('…');
                from = start + length_of_value(value);
            }
            None => {
                kept.push_str(&line[from..end]);
                from = end;
            }
        }
    }
    kept.push_str(&line[from..]);
    kept
}

fn end_of(key: &str, text: &str, from: usize) -> Option<usize> {
    text[from..].find(key).map(|at| from + at + key.len())
}

/// Returns where the word ends that a value, quoted or not, ends in.
fn length_of_value(value: &str) -> usize {
    let mut quoted = 0;
    if let Some(quote) = value.chars().next().filter(|first| ['"', '\''].contains(first)) {
        let mut escaped = false;
        let closing = value[1..].find(|c: char| {
            let closes = c == quote && !escaped;
            escaped = c == '\\' && !escaped;
            closes
        });
        quoted = closing.map_or(value.len(), |at| 1 + at);
    }
    value[quoted..].find(' ').map_or(value.len(), |at| quoted + at)
}

/// Takes the user and the password out of an address.
fn without_password(word: &str) -> String {
    match (word.find("://"), word.rfind('@')) {
        (Some(start), Some(end)) if start < end => {
            format!("{}://…{}", &word[..start], &word[end..])
        }
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_one_line_without_passwords() {
        assert_eq!(short("a\n\tb\u{7}c"), "a b c");
        assert_eq!(
            short("cannot reach postgresql://u:secret@h/db password=hunter2"),
            "cannot reach postgresql://…@h/db password=…"
        );
        assert_eq!(short(r#"{"password":"hunter2"}"#), r#"{"password":…"#);
        for (said, wanted) in [
            (
                r#"{"status": "down", "password": "x", "n": 1}"#,
                r#"{"status": "down", "password": … "n": 1}"#,
            ),
            (r#""Password": "one \" two" three"#, r#""Password": … three"#),
            (r#"'password':'one two"#, "'password':…"),
            ("password = x and api_token_2=y", "password = … and api_token_2=…"),
            ("PGPASSWORD: hunter2", "PGPASSWORD: …"),
            ("the password of app was refused", "the password of app was refused"),
            ("secret", "secret"),
            ("password: é=ü token:", "password: … token:…"),
        ] {
            assert_eq!(short(said), wanted);
        }
        assert_eq!(short(&"x".repeat(500)).chars().count(), MOST + 1);
    }

    #[test]
    fn only_required_probes_decide() {
        let answer = |required, passed| Answer {
            probe: "tcp a:1".into(),
            required,
            passed,
            took_ms: 1500,
            attempts: 3,
            last: "connection refused".into(),
            identity: None,
        };
        assert!(Report { answers: vec![answer(false, false)] }.verdict().is_ok());
        let error = Report { answers: vec![answer(true, false)] }.verdict().unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unhealthy);
        assert_eq!(error.message(), "health was not proved: tcp a:1: connection refused");
        assert_eq!(error.details(), ["tcp a:1: connection refused (asked 3 times in 1.5 s)"]);
    }
}
