//! What can be compared before and after an upgrade: units, databases, readiness.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::Service;
use crate::upgrade::baseline::shared::{self, READINESS, SERVICES};
use crate::upgrade::machine::Machine;

/// How long looking may take; each probe is asked for five seconds at most, all at the same time.
const LOOK: Duration = Duration::from_secs(30);

/// What is asked of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Units and databases with their state.
    Services,
    /// Whether everything is as it should be.
    Readiness,
}

/// The answer: whether it is good, and the object.
pub type Answer = (bool, Value);

/// Looks at the machine from the same code as a baseline.
pub fn compare(machine: &Machine, asked: Asked) -> Answer {
    match asked {
        Asked::Services => (true, shared::services(machine)),
        Asked::Readiness => {
            let found = shared::readiness(machine);
            (found.ready, found.json)
        }
    }
}

pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new().route(SERVICES, get(services)).route(READINESS, get(readiness))
}

async fn services(State(service): State<Arc<Service>>) -> Response {
    look(service, Asked::Services).await
}

async fn readiness(State(service): State<Arc<Service>>) -> Response {
    look(service, Asked::Readiness).await
}

async fn look(service: Arc<Service>, asked: Asked) -> Response {
    let platform = Arc::clone(&service.platform);
    let answer = service.places.machine.work(move || platform(asked));
    let error = |what: &str| Json(json!({ "error": what }));
    match tokio::time::timeout(LOOK, answer).await {
        Ok(Ok((true, body))) => Json(body).into_response(),
        Ok(Ok((false, body))) => (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response(),
        Ok(Err(_)) => {
            let body = error("looking at the machine failed");
            (StatusCode::INTERNAL_SERVER_ERROR, body).into_response()
        }
        Err(_) => {
            let body = error("looking at the machine takes too long");
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}
