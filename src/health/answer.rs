//! What probes said, short and without secrets.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::{ProbeSpec, Question};
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::system::http::shown;

/// How much of an answer is kept, in characters.
const MOST: usize = 160;

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
    let words: Vec<String> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .map(masked)
        .collect();
    let line = words.join(" ");
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn masked(word: &str) -> String {
    let lower = word.to_ascii_lowercase();
    for key in ["password", "passwd", "secret", "token"] {
        if let Some(at) = lower.find(key) {
            let rest = &word[at + key.len()..];
            if let Some(end) = rest.find(['=', ':']) {
                return format!("{}…", &word[..=at + key.len() + end]);
            }
        }
    }
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
