//! What the service answers.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY};
use axum::http::header::{HeaderValue, X_CONTENT_TYPE_OPTIONS};
use axum::http::{StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::Service;
use super::store::Readiness;
use crate::system::clock::{rfc3339, spoken};

/// The largest body that a request may have, in bytes.
const MOST_BODY: usize = 64 * 1024;

/// How long the database may take before it counts as unreachable.
const DATABASE: Duration = Duration::from_secs(5);

/// How long looking at the machine may take.
const STATUS: Duration = Duration::from_secs(30);

type Shared = State<Arc<Service>>;

pub(super) fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/version", get(version))
        .route("/api/v1/upgrade", get(upgrade))
        .merge(super::platform::routes())
        .fallback(unknown)
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .layer(middleware::from_fn(limit_body))
        .layer(middleware::map_response(harden))
        .with_state(service)
}

/// The process answers; says nothing about the database.
async fn alive(State(service): Shared) -> Json<Value> {
    Json(json!({
        "alive": true,
        "version": service.version,
        "started_at": rfc3339(service.started),
        "pid": std::process::id(),
    }))
}

async fn version(State(service): Shared) -> Json<Value> {
    Json(json!({
        "app": service.layout.app(),
        "version": service.version,
        "started_at": rfc3339(service.started),
    }))
}

/// The database is reachable and its schema exactly right.
async fn ready(State(service): Shared) -> Response {
    let asked = Arc::clone(&service);
    let look = tokio::task::spawn_blocking(move || asked.store.look());
    let readiness = match tokio::time::timeout(DATABASE, look).await {
        Ok(Ok(readiness)) => readiness,
        Ok(Err(_)) => Readiness::unreachable("looking at the database failed"),
        Err(_) => Readiness::unreachable(format!(
            "the database gave no answer within {}",
            spoken(DATABASE)
        )),
    };
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut body = json!(readiness);
    body["version"] = json!(service.version);
    body["started_at"] = json!(rfc3339(service.started));
    (status, Json(body)).into_response()
}

/// What `openwatch status --json` says.
async fn upgrade(State(service): Shared) -> Response {
    let status = Arc::clone(&service.status);
    let look = tokio::task::spawn_blocking(move || status());
    match tokio::time::timeout(STATUS, look).await {
        Ok(Ok(status)) => Json(status).into_response(),
        Ok(Err(_)) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "looking at the machine failed"),
        Err(_) => refusal(StatusCode::SERVICE_UNAVAILABLE, "looking at the machine takes too long"),
    }
}

async fn unknown(uri: Uri) -> Response {
    refusal(StatusCode::NOT_FOUND, &format!("there is nothing at {}", uri.path()))
}

async fn not_allowed() -> Response {
    let mut answer = refusal(StatusCode::METHOD_NOT_ALLOWED, "this can only be read");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    answer
}

fn refusal(status: StatusCode, what: &str) -> Response {
    (status, Json(json!({ "error": what }))).into_response()
}

/// Refuses a large body by its announced length; one without a length is never read.
async fn limit_body(request: Request, next: Next) -> Response {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    match length.map(str::parse::<u64>) {
        Some(Ok(length)) if length > MOST_BODY as u64 => {
            refusal(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large")
        }
        Some(Ok(_) | Err(_)) | None => next.run(request).await,
    }
}

async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
    response
}
