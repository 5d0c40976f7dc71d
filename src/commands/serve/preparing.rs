//! `POST /api/v1/upgrade/prepare`: asks root to prepare the data disk; `GET` says what came of it.
//!
//! The service has no rights, so it only leaves a request: an empty file, which a path unit of root
//! waits for. Nothing that a caller sends reaches root but the wish itself. docs/SECURITY.md.

use std::io::ErrorKind;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::Service;
use super::token::{self, Verdict};
use crate::layout::Layout;
use crate::system::fs;

/// More than any result; what is longer was not written by us.
const MOST_BYTES: u64 = 1 << 20;

type Shared = State<Arc<Service>>;

/// Leaves the request.
pub(super) async fn ask(State(service): Shared, headers: HeaderMap) -> Response {
    if let Some(refusal) = refused(&service.layout, &headers) {
        return refusal;
    }
    let path = service.layout.prepare_request();
    match fs::create_new(&path, 0o600) {
        Ok(_) => {}
        // Asked before, and not taken up yet.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => {
            let why = format!("the request cannot be left: {error}");
            return answer(StatusCode::SERVICE_UNAVAILABLE, json!({ "error": why }));
        }
    }
    service.progress.note("the data disk is to be prepared: asked for over HTTP");
    answer(StatusCode::ACCEPTED, json!({"asked": true, "result": "/api/v1/upgrade/prepare"}))
}

/// Says how the last preparation ended.
pub(super) async fn result(State(service): Shared, headers: HeaderMap) -> Response {
    if let Some(refusal) = refused(&service.layout, &headers) {
        return refusal;
    }
    let asked = service.layout.prepare_request().exists();
    let last = fs::read_text(&service.layout.prepared(), MOST_BYTES).ok();
    let last: Option<Value> = last.and_then(|text| serde_json::from_str(&text).ok());
    answer(StatusCode::OK, json!({"asked": asked, "last": last}))
}

/// Without a configured token, or a directory that root has made for requests, there is nothing here.
fn refused(layout: &Layout, headers: &HeaderMap) -> Option<Response> {
    let waits = layout.prepare_request().parent().is_some_and(std::path::Path::is_dir);
    match token::judge(layout, headers) {
        Verdict::Right if waits => None,
        Verdict::Wrong if waits => {
            let mut response =
                answer(StatusCode::UNAUTHORIZED, json!({"error": "this needs the token"}));
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
            Some(response)
        }
        Verdict::NotConfigured | Verdict::Right | Verdict::Wrong => {
            let why = "there is no data disk to prepare, or no OPENWATCH_API_TOKEN";
            Some(answer(StatusCode::NOT_FOUND, json!({ "error": why })))
        }
    }
}

fn answer(status: StatusCode, body: Value) -> Response {
    (status, Json(body)).into_response()
}
