//! `POST /api/v1/acts`: asks root for something; `GET` says what came of it.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::{Answer, Wanted, is_open, leave};
use crate::commands::serve::routes::{Shared, refusal};
use crate::commands::serve::token::{self, Verdict};
use crate::upgrade::asked;

/// Where the result is.
const RESULT: &str = "/api/v1/acts";

/// Leaves a wish for root.
pub(in crate::commands::serve) async fn ask(
    State(service): Shared,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !is_open(&service) {
        let why = "nothing can be asked for here: OPENWATCH_API_TOKEN is not set, or too short";
        return refusal(StatusCode::NOT_FOUND, why);
    }
    match token::judge(&service.layout, &headers) {
        Verdict::Right => {}
        Verdict::Wrong | Verdict::NotConfigured => {
            let mut response = refusal(StatusCode::UNAUTHORIZED, "this needs the token");
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
            return response;
        }
    }
    let wanted: Wanted = match serde_json::from_slice(&body) {
        Ok(wanted) => wanted,
        Err(error) => {
            let why = format!("this is nothing that can be asked for: {error}");
            return refusal(StatusCode::BAD_REQUEST, &why);
        }
    };
    match leave(&service, wanted) {
        Answer::Left(id) => {
            (StatusCode::ACCEPTED, Json(json!({"id": id, "result": RESULT}))).into_response()
        }
        Answer::Unfit(why) => refusal(StatusCode::BAD_REQUEST, &why),
        Answer::Another => {
            refusal(StatusCode::CONFLICT, "root has not taken up what was asked for before")
        }
        Answer::Away(why) => refusal(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

/// Says what was asked for lately and what came of it.
pub(in crate::commands::serve) async fn result(State(service): Shared) -> Response {
    let acts = asked::read(&service.layout).acts;
    Json(json!({"waiting": asked::waiting(&service.layout), "acts": acts})).into_response()
}
