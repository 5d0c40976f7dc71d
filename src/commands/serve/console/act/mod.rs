//! `/act`: what can be asked for with the token, and what came of it.
//!
//! There is no session: each form carries the token, so there is nothing to steal between two of them.

mod forms;
mod lately;
mod page;

use std::sync::Arc;

use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Path, Query, State};
use axum::http::header::{
    CONTENT_SECURITY_POLICY, HeaderMap, HeaderValue, LOCATION, REFERRER_POLICY,
};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::super::Service;
use super::super::acting::{self, Answer, Opened, Wanted};
use super::super::names;
use super::super::routes::{Shared, status};
use super::super::token::{self, Verdict};
use super::Page;
use crate::config::Act;
use crate::upgrade::asked;
use crate::upgrade::public::summary;
use forms::{Known, Typed};

/// What a page with forms may do besides: send them to where it is from.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'self'; \
                      frame-ancestors 'none'";

/// What stands in the address of the page.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Chosen {
    #[serde(default)]
    point: Option<String>,
}

/// What a form sends.
#[derive(Deserialize)]
pub(super) struct Sent {
    #[serde(default)]
    form: String,
    #[serde(default, deserialize_with = "secret")]
    token: Zeroizing<String>,
    #[serde(default)]
    point: String,
    #[serde(default)]
    until: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    load: Option<String>,
}

fn secret<'de, D: serde::Deserializer<'de>>(given: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(given).map(Zeroizing::new)
}

/// Shows the forms.
pub(super) async fn show(
    State(service): Shared,
    chosen: Result<Query<Chosen>, QueryRejection>,
) -> Response {
    let chosen = chosen.map(|Query(chosen)| chosen).unwrap_or_default();
    draw(
        &service,
        StatusCode::OK,
        Typed { point: chosen.point.unwrap_or_default(), ..Typed::default() },
    )
    .await
}

/// The address of a form that was sent: whoever asks for it again sees the page.
pub(super) async fn again(State(service): Shared, uri: Uri, Path(act): Path<String>) -> Response {
    match Act::from_word(&act) {
        Some(_) => moved("/act"),
        None => super::nothing_here(&service, uri.path()),
    }
}

/// Takes a form.
pub(super) async fn send(
    State(service): Shared,
    headers: HeaderMap,
    uri: Uri,
    Path(act): Path<String>,
    sent: Result<Form<Sent>, FormRejection>,
) -> Response {
    let Some(act) = Act::from_word(&act) else {
        return super::nothing_here(&service, uri.path());
    };
    let refused = |status, why: &str| (status, Typed::refused(act, why));
    let (status, typed) = if !names::is_from_here(&headers, &service.names) {
        let why = "This form was not sent from a page of this service. It is here again.";
        refused(StatusCode::FORBIDDEN, why)
    } else {
        match sent {
            Ok(Form(sent)) => match judged(&service, act, &sent) {
                Ok(()) => return moved("/act#lately"),
                Err((status, why)) => (status, sent.typed(act, &why)),
            },
            Err(_) => {
                refused(StatusCode::BAD_REQUEST, "This is not what a form of this page sends.")
            }
        }
    };
    draw(&service, status, typed).await
}

impl Sent {
    /// What is shown again; the token is not.
    fn typed(self, act: Act, why: &str) -> Typed {
        Typed {
            point: self.point,
            until: self.until,
            reason: self.reason,
            load: self.load.is_some(),
            ..Typed::refused(act, why)
        }
    }
}

fn judged(service: &Service, act: Act, sent: &Sent) -> Result<(), (StatusCode, String)> {
    let no = |status, why: &str| Err((status, why.to_owned()));
    match token::judge_typed(&service.layout, &sent.token) {
        Verdict::Right => {}
        Verdict::Wrong => {
            service.progress.warn("something was asked for over HTTP without the token");
            return no(StatusCode::FORBIDDEN, "This is not the token.");
        }
        Verdict::NotConfigured => {
            return no(StatusCode::FORBIDDEN, "There is no token on this host any more.");
        }
    }
    match service.seal.open(act.word(), &sent.form) {
        Opened::Fresh => {}
        Opened::Used => return no(StatusCode::CONFLICT, "This form was sent already."),
        Opened::Foreign => {
            let why = "This form is older than the running service. Look at it and send it again.";
            return no(StatusCode::FORBIDDEN, why);
        }
    }
    let filled = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let wanted = Wanted {
        act,
        point: filled(&sent.point),
        until: filled(&sent.until),
        reason: filled(&sent.reason),
        load: sent.load.is_some(),
    };
    match acting::leave(service, wanted) {
        Answer::Left(_) => {
            service.seal.spend(&sent.form);
            Ok(())
        }
        Answer::Unfit(why) => no(StatusCode::BAD_REQUEST, &format!("This does not fit: {why}.")),
        Answer::Another => no(
            StatusCode::CONFLICT,
            "Root has not taken up what was asked for before. Wait for it.",
        ),
        Answer::Away(why) => {
            no(StatusCode::SERVICE_UNAVAILABLE, &format!("It cannot be asked for now: {why}."))
        }
    }
}

/// To the page, so that asking for it again sends nothing again.
fn moved(to: &'static str) -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, HeaderValue::from_static(to))]).into_response()
}

async fn draw(service: &Arc<Service>, code: StatusCode, typed: Typed) -> Response {
    let now = status(service).await;
    let drawn = super::draw(service, Page::Act, move |service| {
        let summary = summary::read(&service.layout);
        let known = Known {
            summary: summary.as_ref(),
            hold: now.as_ref().map(|status| &status["hold"]).ok(),
            lately: asked::read(&service.layout),
            waiting: asked::waiting(&service.layout),
        };
        Ok(page::page(service, &known, &typed))
    });
    let mut response = drawn.await;
    if response.status() == StatusCode::OK {
        *response.status_mut() = code;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    // Only so a browser says where a form is from; no other place is told anything.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}
