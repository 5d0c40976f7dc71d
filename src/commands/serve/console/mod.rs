//! Pages for people who would rather look than read: rendered here, and complete without a script.
//!
//! Every text passes through `maud`, which escapes it. Nothing is fetched from anywhere else, and the
//! headers of an answer forbid a browser to try.

mod act;
mod fleet;
mod frame;
mod history;
mod host;
mod next;
mod plot;
mod points;
mod words;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use maud::{Markup, html};
use serde_json::Value;

use super::Service;
use super::routes::{Shared, status};
use crate::upgrade::journal;
use crate::upgrade::public::{outlook, summary};
use frame::{Frame, Page};

/// What a page may load: its own style sheet, script, icon and data, and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// How long the database may take to tell of hosts.
const DATABASE: Duration = Duration::from_secs(5);

/// The pages, and what they are drawn with.
pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/", get(this_host))
        .route("/restore-points", get(restore_points))
        .route("/next", get(what_is_next))
        .route("/history", get(past_runs))
        .route("/hosts", get(hosts))
        .route("/act", get(act::show))
        .route("/act/{act}", get(act::again).post(act::send))
        .route("/console/style.css", get(style))
        .route("/console/live.js", get(script))
        .route("/console/icon.svg", get(icon))
}

async fn style() -> Response {
    asset("text/css; charset=utf-8", include_str!("style.css"))
}

async fn script() -> Response {
    asset("text/javascript; charset=utf-8", include_str!("live.js"))
}

async fn icon() -> Response {
    asset("image/svg+xml", include_str!("icon.svg"))
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static(kind))], text).into_response()
}

async fn this_host(State(service): Shared) -> Response {
    let now = status(&service).await;
    draw(&service, Page::Host, move |service| host::page(service, &now)).await
}

async fn restore_points(State(service): Shared) -> Response {
    draw(&service, Page::Points, |service| {
        points::page(service, summary::read(&service.layout).as_ref())
    })
    .await
}

async fn what_is_next(State(service): Shared) -> Response {
    let now = status(&service).await;
    draw(&service, Page::Next, move |service| {
        let past = journal::history(&service.layout).unwrap_or_default();
        next::page(service, &now, outlook::read(&service.layout).as_ref(), &past)
    })
    .await
}

async fn past_runs(State(service): Shared) -> Response {
    draw(&service, Page::History, |service| {
        history::page(&journal::history(&service.layout).unwrap_or_default())
    })
    .await
}

async fn hosts(State(service): Shared) -> Response {
    draw(&service, Page::Hosts, fleet::page).await
}

/// What a page shows, or why it cannot.
type Content = Result<Markup, String>;

/// Draws a page where waiting is allowed: files are read, and the database is asked.
async fn draw(
    service: &Arc<Service>,
    page: Page,
    content: impl FnOnce(&Service) -> Content + Send + 'static,
) -> Response {
    let own = Arc::clone(service);
    let work = service.places.rest.work(move || content(&own));
    let content = match tokio::time::timeout(DATABASE, work).await {
        Ok(Ok(content)) => content,
        Ok(Err(_)) => Err("looking failed".into()),
        Err(_) => Err("looking takes too long".into()),
    };
    let (code, content) = match content {
        Ok(content) => (StatusCode::OK, content),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, excuse(&why)),
    };
    let frame = Frame { service, page: Some(page), title: page.title() };
    answer(code, &frame.around(&content))
}

/// A page that says what there is not.
pub(super) fn nothing_here(service: &Service, path: &str) -> Response {
    let content = html! {
        h1 { "There is no such page" }
        p { "Nothing is at " code { (path) } "." }
        p { a href="/" { "See this host" } }
    };
    let frame = Frame { service, page: None, title: "No such page" };
    answer(StatusCode::NOT_FOUND, &frame.around(&content))
}

fn excuse(why: &str) -> Markup {
    html! {
        h1 { "This cannot be shown now" }
        p.verdict.bad { (why) }
        p { "Ask again, or run " code { "openwatch status" } " on this host." }
    }
}

fn answer(code: StatusCode, page: &Markup) -> Response {
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    let mut response = (code, [(CONTENT_TYPE, kind)], page.0.clone()).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    let others = HeaderName::from_static("permissions-policy");
    let none = "camera=(), geolocation=(), microphone=(), payment=(), usb=()";
    headers.insert(others, HeaderValue::from_static(none));
    response
}

/// Returns a text of an object.
fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value[key].as_str().filter(|text| !text.is_empty())
}
