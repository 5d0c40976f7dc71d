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
const SECRET: [&str; 11] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    ENDING,
    "secret",
    "token",
    "api_key",
    "api-key",
    "apikey",
    "authorization",
];

/// What sounds so at the end of a name alone: `checks_passed` is none.
const ENDING: &str = "_pass";

/// What stands before a secret and belongs to it.
const SCHEMES: [&str; 3] = ["bearer ", "basic ", "token "];

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
    let mut next = SECRET.map(|key| lower.find(key));
    let (mut kept, mut from) = (String::new(), 0);
    loop {
        for (key, at) in SECRET.iter().zip(&mut next) {
            if at.is_some_and(|at| at < from) {
                *at = lower[from..].find(key).map(|at| from + at);
            }
        }
        let found = next.iter().zip(SECRET).filter_map(|(at, key)| Some(((*at)?, key)));
        let Some((at, key)) = found.min() else { break };
        match given(&line[at + key.len()..], key) {
            Some(value) => {
                let start = line.len() - value.len();
                kept.push_str(&line[from..start]);
                kept.push('…');
                from = start + length_of_value(value);
            }
            // A longer key may begin right behind it.
            None => {
                kept.push_str(&line[from..=at]);
                from = at + 1;
            }
        }
    }
    kept.push_str(&line[from..]);
    kept
}

/// Returns what is given to the name that goes on here: `=`, `:`, `=>`, `:=`, or between tags.
fn given<'l>(rest: &'l str, key: &str) -> Option<&'l str> {
    let name = rest.trim_start_matches(|c: char| c.is_alphanumeric() || "_-".contains(c));
    if key == ENDING && name.len() < rest.len() {
        return None;
    }
    let sign = name.trim_start_matches(['\\', '"', '\'', '`', ' ']);
    let value = sign.trim_start_matches(['=', ':', '>']);
    (value.len() < sign.len()).then(|| value.trim_start_matches(' '))
}

/// Returns where the word ends that a value, with quotes or brackets around it or not, ends in.
fn length_of_value(value: &str) -> usize {
    let begin = value.get(..7).unwrap_or_default().to_ascii_lowercase();
    let scheme = SCHEMES.iter().find(|scheme| begin.starts_with(*scheme));
    let scheme = scheme.map_or(0, |scheme| scheme.len());
    let closed = scheme + length_closed(&value[scheme..]);
    value[closed..].find(' ').map_or(value.len(), |at| closed + at)
}

/// Returns how long what quotes or brackets enclose at the beginning is; nothing where there are none.
fn length_closed(text: &str) -> usize {
    let (mut open, mut at) = (Vec::new(), 0);
    while let Some(first) = text[at..].chars().next() {
        match first {
            '[' => open.push(']'),
            '{' => open.push('}'),
            _ if open.last() == Some(&first) => drop(open.pop()),
            _ => {}
        }
        let quoted = length_quoted(&text[at..]);
        if at == 0 && open.is_empty() {
            return quoted.unwrap_or(0);
        }
        let slashes = text[at..].len() - text[at..].trim_start_matches('\\').len();
        at += quoted.unwrap_or(slashes.max(first.len_utf8()));
        if open.is_empty() {
            break;
        }
    }
    at
}

/// Returns how long a text in quotes is, which may be quoted themselves, as in a text within a text.
fn length_quoted(text: &str) -> Option<usize> {
    let within = text.trim_start_matches('\\');
    let own = text.len() - within.len();
    let quote = within.chars().next().filter(|first| ['"', '\'', '`'].contains(first))?;
    let (mut slashes, mut doubled) = (0, false);
    for (at, c) in text.char_indices().skip(own + 1) {
        // As many as open it close it, and each pair of what it takes to write one stands for one.
        let closes = c == quote && !doubled && slashes % (2 * (own + 1)) == own;
        slashes = if c == '\\' { slashes + 1 } else { 0 };
        doubled = closes && own == 0 && quote == '\'' && text[at + 1..].starts_with(quote);
        if closes && !doubled {
            return Some(at + 1);
        }
    }
    Some(text.len())
}

/// Takes the user and the password out of an address, whether it says how to get there or not.
fn without_password(word: &str) -> String {
    let Some(end) = word.rfind('@') else { return word.to_owned() };
    let before = &word[..end];
    let start = match before.find("//") {
        Some(at) => Some(at + 2),
        None => start_of_login(before),
    };
    start.map_or_else(|| word.to_owned(), |at| format!("{}…{}", &word[..at], &word[end..]))
}

/// Finds where `NAME:SECRET` begins, of which the text holds all up to its `@`.
fn start_of_login(text: &str) -> Option<usize> {
    let quote = text.rfind(['"', '\'', '`']).map_or(0, |at| at + 1);
    text[quote..].match_indices(':').find_map(|(at, _)| {
        let (before, secret) = (&text[..quote + at], &text[quote + at + 1..]);
        let nameless =
            before.trim_end_matches(|c: char| c.is_alphanumeric() || "_-.%+".contains(c));
        (quote <= nameless.len() && nameless.len() < before.len() && !secret.is_empty())
            .then_some(nameless.len())
    })
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
            // A text within a text.
            (
                r#"{"detail":"cannot start with {\"user\":\"app\",\"password\":\"one two\"}"}"#,
                r#"{"detail":"cannot start with {\"user\":\"app\",\"password\":…"#,
            ),
            (r#"\"token\": \"a \\\" b\" c"#, r#"\"token\": … c"#),
            (r#"{:user=>"app", :password=>"hunter2"}"#, r#"{:user=>"app", :password=>…"#),
            ("password := hunter2 now", "password := … now"),
            ("password='hunter''s two' now", "password=… now"),
            ("password='' now", "password=… now"),
            ("password: [hunter1, [\"]\", hunter2], 3] now", "password: … now"),
            ("secret: {a: 'x }', b: [hunter2]} now", "secret: … now"),
            ("<password>hunter2</password> now", "<password>… now"),
            ("Pwd=hunter2; passphrase: hunter3", "Pwd=… passphrase: …"),
            (
                "api_key=hunter2 X-Api-Key: hunter3 ApiKey=hunter4",
                "api_key=… X-Api-Key: … ApiKey=…",
            ),
            ("Authorization: Bearer hunter3 now", "Authorization: … now"),
            ("authorization=basic aHVudGVyMg== now", "authorization=… now"),
            ("DB_PASS=hunter2 db_password=x", "DB_PASS=… db_password=…"),
            ("checks_passed: 3, passed: true", "checks_passed: 3, passed: true"),
            ("app:hunter2@tcp(db:3306)/x", "…@tcp(db:3306)/x"),
            (r#"{"dsn":"app:hunter2@db","n":1}"#, r#"{"dsn":"…@db","n":1}"#),
            ("dsn=app:hunter2@db", "dsn=…@db"),
            ("//u:hunter2@h/x", "//…@h/x"),
            ("mail ada@example.org at 12:30", "mail ada@example.org at 12:30"),
        ] {
            assert_eq!(short(said), wanted);
        }
        for hostile in ["password: [", "token=\\", "a:", "_pass", "'", "secret: {'"] {
            assert!(short(&hostile.repeat(5000)).chars().count() <= MOST + 1);
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
