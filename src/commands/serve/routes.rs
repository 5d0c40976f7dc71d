//! What the service answers.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{self, Body};
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::store::Readiness;
use super::{Service, acting, console, metrics, names, preparing, reports};
use crate::system::clock::{rfc3339, spoken};
use crate::upgrade::public::exposition::MEDIA_TYPE;

/// The largest body that a request may have, in bytes.
const MOST_BODY: usize = 64 * 1024;

/// How long a request's body may take.
const BODY: Duration = Duration::from_secs(10);

/// How long the database may take before it counts as unreachable.
const DATABASE: Duration = Duration::from_secs(5);

/// How long looking at the machine may take.
const STATUS: Duration = Duration::from_secs(30);

const FAILED: &str = "looking at the machine failed";

pub(super) type Shared = State<Arc<Service>>;

pub(super) fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/version", get(version))
        .route("/api/v1/upgrade", get(upgrade))
        .merge(super::platform::routes())
        .route("/api/v1/reports", post(reports::take))
        .route("/api/v1/openapi.json", get(description))
        .route("/metrics", get(metrics))
        .merge(console::routes())
        .route("/api/v1/upgrade/prepare", get(preparing::result).post(preparing::ask))
        .route("/api/v1/acts", get(acting::result).post(acting::ask))
        .fallback(unknown)
        .method_not_allowed_fallback(not_allowed)
        .layer(middleware::from_fn(read_body))
        .layer(middleware::from_fn_with_state(Arc::clone(&service), names::check))
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

async fn readiness(service: &Arc<Service>) -> Readiness {
    let asked = Arc::clone(service);
    let look = service.places.readiness.work(move || asked.store.look());
    match tokio::time::timeout(DATABASE, look).await {
        Ok(Ok(readiness)) => readiness,
        Ok(Err(_)) => Readiness::unreachable("looking at the database failed"),
        Err(_) => Readiness::unreachable(format!(
            "the database gave no answer within {}",
            spoken(DATABASE)
        )),
    }
}

/// The database is reachable and its schema exactly right.
async fn ready(State(service): Shared) -> Response {
    let readiness = readiness(&service).await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut body = json!(readiness);
    body["version"] = json!(service.version);
    body["started_at"] = json!(rfc3339(service.started));
    (status, Json(body)).into_response()
}

/// What `openwatch status --json` says.
async fn upgrade(State(service): Shared) -> Response {
    match status(&service).await {
        Ok(status) => Json(status).into_response(),
        Err(why) if why == FAILED => refusal(StatusCode::INTERNAL_SERVER_ERROR, &why),
        Err(why) => refusal(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

/// Looks at the machine, where waiting is allowed and for a bounded time.
pub(super) async fn status(service: &Arc<Service>) -> Result<Value, String> {
    let status = Arc::clone(&service.status);
    let look = service.places.rest.work(move || status());
    match tokio::time::timeout(STATUS, look).await {
        Ok(Ok(status)) => Ok(status),
        Ok(Err(_)) => Err(FAILED.into()),
        Err(_) => Err("looking at the machine takes too long".into()),
    }
}

/// What can be asked here, for programs that make programs.
async fn description() -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, kind)], include_str!("../../../docs/openapi.json")).into_response()
}

/// What Prometheus collects.
async fn metrics(State(service): Shared) -> Response {
    let readiness = readiness(&service).await;
    let own = Arc::clone(&service);
    let measure = service.places.rest.work(move || metrics::page(&own, &readiness));
    match measure.await {
        Ok(page) => ([(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE))], page).into_response(),
        Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "measuring failed"),
    }
}

/// Says that there is nothing: to a browser as a page, to a program as an object.
async fn unknown(State(service): Shared, headers: HeaderMap, uri: Uri) -> Response {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains("text/html") && !uri.path().starts_with("/api/") {
        return console::nothing_here(&service, uri.path());
    }
    refusal(StatusCode::NOT_FOUND, &format!("there is nothing at {}", uri.path()))
}

/// The router adds the methods that there are.
async fn not_allowed() -> Response {
    refusal(StatusCode::METHOD_NOT_ALLOWED, "this cannot be asked so; see the header Allow")
}

pub(super) fn refusal(status: StatusCode, what: &str) -> Response {
    (status, Json(json!({ "error": what }))).into_response()
}

/// Reads the body before anybody works on it: a large one is refused by its announced length, or as soon as
/// it is known, and one that does not come keeps nobody waiting.
async fn read_body(request: Request, next: Next) -> Response {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let too_large = || refusal(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large");
    match length.map(str::parse::<u64>) {
        Some(Ok(length)) if length > MOST_BODY as u64 => return too_large(),
        Some(Ok(_) | Err(_)) | None => {}
    }
    let (head, body) = request.into_parts();
    match tokio::time::timeout(BODY, body::to_bytes(body, MOST_BODY)).await {
        Ok(Ok(bytes)) => next.run(Request::from_parts(head, Body::from(bytes))).await,
        Ok(Err(error)) if is_broken(&error) => {
            refusal(StatusCode::BAD_REQUEST, "the request's body is broken or cut off")
        }
        Ok(Err(_)) => too_large(),
        Err(_) => refusal(StatusCode::REQUEST_TIMEOUT, "the request did not come to its end"),
    }
}

/// Whether a body could not be read; else there is too much of it.
fn is_broken(error: &axum::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<hyper::Error>() {
            return true;
        }
        cause = error.source();
    }
    false
}

async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // A page with forms says itself whom it tells; without a word browsers hide where a form is from.
    headers.entry(REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    for name in ["cross-origin-opener-policy", "cross-origin-resource-policy"] {
        let name = HeaderName::from_static(name);
        headers.insert(name, HeaderValue::from_static("same-origin"));
    }
    // Pages say themselves what they load; everything else loads nothing.
    headers
        .entry(CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    response
}
