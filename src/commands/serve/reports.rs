//! `POST /api/v1/reports`: what other hosts tell of their upgrades, as `[notify]` sends it.
//!
//! A report counts only when it is signed with the key of `secrets.env`. Its id makes a repetition
//! harmless, however old it is: what is known already is not written again.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::routes::{Shared, refusal};
use super::{Service, host, recorder};
use crate::config::secrets;
use crate::database::{Param, Session, SqlError};
use crate::error::{Error, Result};
use crate::notify;
use crate::outcome::Outcome;
use crate::system::clock;

/// The variable that holds the key.
const VARIABLE: &str = "OPENWATCH_REPORTS_KEY";

/// The shortest key that is taken, in bytes.
const SHORTEST: usize = 16;

const SIGNATURE: &str = "x-hub-signature-256";

/// The longest name of a host or an application.
const LONGEST_NAME: usize = 253;

/// The longest of every other text that has a column of its own.
const LONGEST: usize = 4096;

/// A report as `[notify]` sends it; what else it holds is kept with it.
#[derive(Deserialize)]
struct Report {
    id: String,
    app: String,
    host: String,
    outcome: String,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    restore_point: Option<String>,
    #[serde(default)]
    started: Option<String>,
    #[serde(default)]
    finished: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

/// Takes a report.
pub(super) async fn take(State(service): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let own = Arc::clone(&service);
    let work = service.places.rest.work(move || judged(&own, &headers, &body));
    match work.await {
        Ok(response) => response,
        Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "taking the report failed"),
    }
}

fn judged(service: &Service, headers: &HeaderMap, body: &[u8]) -> Response {
    let Some(key) = secrets::current(&service.layout.secrets(), VARIABLE, SHORTEST) else {
        let why = format!("no reports are taken here: {VARIABLE} is not set, or too short");
        return refusal(StatusCode::FORBIDDEN, &why);
    };
    let signature = headers.get(SIGNATURE).and_then(|value| value.to_str().ok());
    if !signature.is_some_and(|signature| notify::is_signed(&key, body, signature)) {
        return refusal(StatusCode::UNAUTHORIZED, "the report is not signed with our key");
    }
    let report = match read(body) {
        Ok(report) => report,
        Err(why) => return refusal(StatusCode::BAD_REQUEST, &why),
    };
    let id = report.id.clone();
    let own = host::read(&service.layout).name == report.host && service.layout.app() == report.app;
    // Our own upgrades are known from the history of this machine.
    let stored = if own { Ok(Told::Known) } else { store(service, report) };
    match stored {
        Ok(Told::New) => {
            (StatusCode::CREATED, Json(json!({"id": id, "stored": true}))).into_response()
        }
        Ok(Told::Known) => Json(json!({"id": id, "stored": false})).into_response(),
        Err(error) => {
            // A sender tries again later.
            service.progress.warn(&format!("a report was not stored: {}", error.message()));
            refusal(StatusCode::SERVICE_UNAVAILABLE, "the report cannot be stored now")
        }
    }
}

/// Whether a report was known before.
enum Told {
    New,
    Known,
}

/// Reads a report; what does not fit is told by its name.
fn read(body: &[u8]) -> std::result::Result<Report, String> {
    let mut report: Report =
        serde_json::from_slice(body).map_err(|error| format!("this is not a report: {error}"))?;
    let word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
    if !word(&report.id) || report.id.len() > LONGEST_NAME {
        return Err("id is not one word".into());
    }
    for (name, text) in [("app", &report.app), ("host", &report.host)] {
        let plain = text.chars().all(|c| !c.is_control());
        if text.trim().is_empty() || text.len() > LONGEST_NAME || !plain {
            return Err(format!("{name} is empty, too long, or not plain text"));
        }
    }
    if Outcome::from_word(&report.outcome).is_none() {
        return Err("outcome is not one of the words of openwatch(1)".into());
    }
    for (name, text) in [("started", &report.started), ("finished", &report.finished)] {
        let time = text.as_deref().is_none_or(|text| clock::parse_rfc3339(text).is_some());
        if !time {
            return Err(format!("{name} is not a time such as 2026-11-20T13:15:02Z"));
        }
    }
    // Older senders do not shorten a first line: refused, it would come again for two weeks.
    report.message = report.message.map(|text| notify::shortened(&text, LONGEST).into_owned());
    let texts = [&report.from, &report.to, &report.restore_point, &report.message];
    let fits = |text: &str| text.len() <= LONGEST && !text.contains('\0');
    if !texts.into_iter().flatten().all(|text| fits(text)) {
        return Err("a text is too long, or has a NUL".into());
    }
    Ok(report)
}

/// What the columns and the row's text are made of; only what was read and judged.
fn kept(report: &Report) -> Value {
    json!({
        "id": report.id,
        "app": report.app,
        "host": report.host,
        "outcome": report.outcome,
        "from": report.from,
        "to": report.to,
        "restore_point": report.restore_point,
        "started": report.started,
        "finished": report.finished,
        "message": report.message,
    })
}

/// A host is known by what it says of itself: whoever has the key may say anything. It is never taken
/// for this machine, whose digest is made otherwise.
fn machine(report: &Report) -> String {
    let digest = Sha256::new().chain_update("report").chain_update([0]).chain_update(&report.app);
    hex::encode(digest.chain_update([0]).chain_update(&report.host).finalize())
}

fn store(service: &Service, report: Report) -> Result<Told> {
    let (machine, kept) = (machine(&report), kept(&report));
    service.store.with(move |session| {
        let id = register(session, &machine, &report)?;
        let told = recorder::insert(session, id, &report.id, &kept).map_err(unstored)?;
        Ok(if told { Told::New } else { Told::Known })
    })
}

/// Finds or makes the row of the host, and notes that it was heard of.
fn register(session: &mut Session, machine: &str, report: &Report) -> Result<i64> {
    let update = "update hosts set last_seen = greatest(last_seen, now()) \
                  where machine = $1 and app = $2 returning id";
    let insert = "insert into hosts (machine, app, name) values ($1, $2, $3) \
                  on conflict (machine, app) do update set last_seen = now() returning id";
    let known: [&(dyn Param + Sync); 2] = [&machine, &report.app];
    let mut rows = session.rows(update, &known).map_err(unstored)?;
    if rows.is_empty() {
        let new: [&(dyn Param + Sync); 3] = [&machine, &report.app, &report.host];
        rows = session.rows(insert, &new).map_err(unstored)?;
    }
    let id = rows.first().and_then(|row| row.try_get(0).ok());
    id.ok_or_else(|| Error::failed("the host has no row"))
}

fn unstored(error: SqlError) -> Error {
    Error::failed("the report was not written").source(error)
}
