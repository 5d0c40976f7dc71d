//! `[[health]]`: the questions that prove health.

use std::time::Duration;

use super::command::optional;
use super::notes::{Notes, Place, shown};
use super::restart::unit_of;
use super::secret_spec::{self, SecretSpec};
use super::section::{Section, Value};
use super::values::{
    Port, Schemes, Zero, duration, host_port_fault, program, unit_fault, url_fault,
};
use super::{DatabaseSpec, ProbeSpec, Question};
use crate::system::http;

/// How long the right answer may take where the file does not say it.
const DEADLINE: Duration = Duration::from_secs(60);

/// The kinds of questions, one of which each table has.
const KINDS: [&str; 6] = ["http", "websocket", "tcp", "unit", "sql", "command"];

/// Reads all `[[health]]` tables.
pub(super) fn read(
    value: Value<'_>,
    known: (&[DatabaseSpec], &[String]),
    notes: &mut Notes,
) -> Vec<ProbeSpec> {
    let mut found = Vec::new();
    for table in value.tables("health", notes) {
        found.extend(probe(table, known, notes));
    }
    found
}

fn probe(
    mut table: Section<'_>,
    (databases, services): (&[DatabaseSpec], &[String]),
    notes: &mut Notes,
) -> Option<ProbeSpec> {
    let place = table.place().clone();
    let mut asked: Vec<(&str, Value<'_>)> =
        KINDS.into_iter().filter_map(|kind| table.take(kind).map(|value| (kind, value))).collect();
    let required = table.take("required").map(|value| value.flag(true, notes));
    let deadline = table.take("deadline").map(|v| duration(v, Zero::Refused, "60s", notes));
    let answered_by =
        optional(&mut table, "answered_by", notes, |value, notes| unit_of(value, services, notes));
    let compare = match asked.as_slice() {
        [("http", _)] => table.take("compare").map(|value| pointers(value, notes)),
        _ => None,
    };
    let question = match asked.len() {
        1 => {
            let (kind, value) = asked.remove(0);
            question(kind, value, &mut table, databases, notes)
        }
        0 => {
            let fix = "write `unit`, `tcp`, `http`, `websocket`, `sql` or `command` below it";
            notes.problem(&place, "health asks nothing", fix);
            None
        }
        _ => {
            let kinds: Vec<&str> = asked.iter().map(|(kind, _)| *kind).collect();
            let message = format!("health asks several questions: {}", kinds.join(", "));
            notes.problem(&place, message, "write a [[health]] table for each");
            None
        }
    };
    if question.is_some() {
        refuse_strays(&mut table, notes);
    }
    table.finish(notes);
    Some(ProbeSpec {
        compare: compare.unwrap_or_else(|| Some(Vec::new()))?,
        question: question?,
        required: required.unwrap_or(Some(true))?,
        deadline: deadline.unwrap_or(Some(DEADLINE))?,
        answered_by: answered_by?,
    })
}

/// Reads JSON pointers (RFC 6901): empty for the whole body, or beginning with a slash.
fn pointers(value: Value<'_>, notes: &mut Notes) -> Option<Vec<String>> {
    let mut found = Vec::new();
    for entry in value.list("[\"/status\"]", notes)? {
        let (name, place) = (entry.name.clone(), entry.place.clone());
        let pointer = entry.text("\"/status\"", notes)?;
        if !pointer.is_empty() && !pointer.starts_with('/') {
            let message = format!("{name} {} is no JSON pointer", shown(&pointer));
            notes.problem(&place, message, "begin it with `/`, as in \"/status\"");
            return None;
        }
        found.push(pointer);
    }
    Some(found)
}

fn question(
    kind: &str,
    value: Value<'_>,
    table: &mut Section<'_>,
    databases: &[DatabaseSpec],
    notes: &mut Notes,
) -> Option<Question> {
    match kind {
        "unit" => checked(value, "app.service", unit_fault, notes).map(Question::Unit),
        "tcp" => {
            let fault = |text: &str| host_port_fault(text, Port::Needed);
            checked(value, "127.0.0.1:8080", fault, notes).map(Question::Tcp)
        }
        "http" => over_http(value, table, notes),
        "websocket" => websocket(value, table, notes),
        "sql" => sql(value, table, databases, notes),
        _ => program(value, notes).map(Question::Command),
    }
}

/// Reads a text that `fault` finds nothing wrong with.
fn checked(
    value: Value<'_>,
    example: &str,
    fault: impl Fn(&str) -> Option<&'static str>,
    notes: &mut Notes,
) -> Option<String> {
    let (name, place) = (value.name.clone(), value.place.clone());
    let text = value.text(&format!("\"{example}\""), notes)?;
    let Some(fault) = fault(&text) else { return Some(text) };
    let fix = format!("write a value such as \"{example}\"");
    notes.problem(&place, format!("{name} {} {fault}", shown(&text)), &fix);
    None
}

fn over_http(value: Value<'_>, table: &mut Section<'_>, notes: &mut Notes) -> Option<Question> {
    let place = value.place.clone();
    let url = address(value, "http://127.0.0.1:8080/", notes);
    let token = token(table, url.as_deref(), &place, notes);
    let status = match table.take("status") {
        None => Some(200),
        Some(value) => {
            let found = value.as_integer().and_then(|number| u16::try_from(number).ok());
            let found = found.filter(|number| (100..=599).contains(number));
            if found.is_none() {
                let message = "health.status must be a status from 100 to 599";
                notes.write_instead(&value.place, message, "status = 200");
            }
            found
        }
    };
    let body = table.take("body").map(|value| value.text("\"ok\"", notes));
    let expect_version = table.take("expect_version").map(|value| value.flag(true, notes));
    Some(Question::Http {
        url: url?,
        status: status?,
        body: match body {
            Some(text) => Some(text?),
            None => None,
        },
        expect_version: expect_version.unwrap_or(Some(false))?,
        token: token?,
    })
}

fn websocket(value: Value<'_>, table: &mut Section<'_>, notes: &mut Notes) -> Option<Question> {
    let place = value.place.clone();
    let schemes = Schemes { plain: "ws://", tls: "wss://" };
    let url = address_of(value, "ws://127.0.0.1:8080/live", schemes, notes);
    let token = token(table, url.as_deref(), &place, notes);
    Some(Question::WebSocket { url: url?, token: token? })
}

/// Reads where a token lies; none where it would be sent for everybody on the way to read.
fn token(
    table: &mut Section<'_>,
    url: Option<&str>,
    place: &Place,
    notes: &mut Notes,
) -> Option<Option<SecretSpec>> {
    let mut found = None;
    secret_spec::read(table, ("token_env", "token_file"), &mut found, notes);
    if found.is_none() || url.is_none_or(http::is_confidential) {
        return Some(found);
    }
    let message = "health has a token, which is not sent in clear";
    notes.problem(place, message, "write an address with TLS, or one of this machine's loopback");
    None
}

/// Reads an `http://` or `https://` address; it is never shown, because it may hold a token.
pub(super) fn address(value: Value<'_>, example: &str, notes: &mut Notes) -> Option<String> {
    address_of(value, example, Schemes { plain: "http://", tls: "https://" }, notes)
}

fn address_of(
    value: Value<'_>,
    example: &str,
    schemes: Schemes,
    notes: &mut Notes,
) -> Option<String> {
    let (name, place) = (value.name.clone(), value.place.clone());
    let text = value.text(&format!("\"{example}\""), notes)?;
    let Some(fault) = url_fault(&text, schemes) else { return Some(text) };
    notes.problem(
        &place,
        format!("{name} {fault}"),
        &format!("write an address such as \"{example}\""),
    );
    None
}

fn sql(
    value: Value<'_>,
    table: &mut Section<'_>,
    databases: &[DatabaseSpec],
    notes: &mut Notes,
) -> Option<Question> {
    let (place, name) = (value.place.clone(), value.name.clone());
    let statement = value.text("\"SELECT true\"", notes)?;
    if statement.trim().is_empty() || statement.contains('\0') {
        notes.write_instead(&place, format!("{name} has no statement"), "sql = \"SELECT true\"");
        return None;
    }
    let named = table.take("database");
    let database = match (named, databases) {
        (Some(value), _) => {
            let place = value.place.clone();
            let name = value.text("\"main\"", notes)?;
            if !databases.iter().any(|known| known.name == name) {
                let message = format!("health.database {} is no [[database]]", shown(&name));
                notes.problem(&place, message, "write the name of a [[database]]");
                return None;
            }
            name
        }
        (None, [only]) => only.name.clone(),
        (None, [first, ..]) => {
            let message = "health.database is missing: there is more than one database to ask";
            let fix = format!("write `database = \"{}\"` below it", first.name);
            notes.problem(&place, message, &fix);
            return None;
        }
        // No database could be read, which is noted already.
        (None, []) => return None,
    };
    Some(Question::Sql { database, statement })
}

/// A condition that nobody checks is worse than none: it looks like a proof.
fn refuse_strays(table: &mut Section<'_>, notes: &mut Notes) {
    for (key, kind) in [
        ("token_env", "http` or `websocket"),
        ("token_file", "http` or `websocket"),
        ("status", "http"),
        ("body", "http"),
        ("expect_version", "http"),
        ("compare", "http"),
        ("database", "sql"),
    ] {
        if let Some(value) = table.take(key) {
            let message = format!("{} has a meaning beside `{kind}` only", value.name);
            notes.problem(&value.place, message, "remove it");
        }
    }
}
