//! Reports of how an upgrade ended, to the addresses that the operator named.
//!
//! A report can never fail an upgrade: whatever goes wrong here becomes a warning.

use std::time::Duration;

use serde::Serialize;

use crate::config::NotifySpec;
use crate::outcome::Outcome;
use crate::system::http;

/// How long one report may take, name lookup included.
const LIMIT: Duration = Duration::from_secs(10);

/// What is reported.
#[derive(Clone, Debug)]
pub struct Event {
    /// How the upgrade ended.
    pub outcome: Outcome,
    /// Name of the application.
    pub app: String,
    /// Name of this machine.
    pub host: String,
    /// Version before, where it is known.
    pub from: Option<String>,
    /// Version after.
    pub to: String,
    /// The restore point that was taken.
    pub restore_point: Option<String>,
    /// When the run began, RFC 3339.
    pub started: String,
    /// When it ended, RFC 3339.
    pub finished: String,
    /// What the operator was told; only its first line is sent.
    pub message: String,
}

/// The body as receivers read it; keys are a contract.
#[derive(Serialize)]
struct Body<'a> {
    outcome: &'static str,
    app: &'a str,
    host: &'a str,
    from: Option<&'a str>,
    to: &'a str,
    restore_point: Option<&'a str>,
    started: &'a str,
    finished: &'a str,
    message: &'a str,
}

/// Sends the report to the address for its outcome, where there is one; returns warnings.
pub fn send(spec: &NotifySpec, event: &Event) -> Vec<String> {
    let (key, url) = match event.outcome {
        Outcome::Ok => ("success_url", &spec.success_url),
        Outcome::Failed
        | Outcome::Usage
        | Outcome::Config
        | Outcome::Unreachable
        | Outcome::Refused
        | Outcome::BackupFailed
        | Outcome::MigrationFailed
        | Outcome::Unhealthy
        | Outcome::RolledBack
        | Outcome::Pending
        | Outcome::Mismatch
        | Outcome::Stuck
        | Outcome::Busy => ("failure_url", &spec.failure_url),
    };
    let Some(url) = url else { return Vec::new() };
    match deliver(url, event) {
        Ok(()) => Vec::new(),
        Err(reason) => {
            vec![format!(
                "the outcome could not be reported to {key} {}: {reason}",
                http::shown(url)
            )]
        }
    }
}

fn deliver(url: &str, event: &Event) -> Result<(), String> {
    let body = Body {
        outcome: event.outcome.word(),
        app: &event.app,
        host: &event.host,
        from: event.from.as_deref(),
        to: &event.to,
        restore_point: event.restore_point.as_deref(),
        started: &event.started,
        finished: &event.finished,
        message: event.message.lines().next().unwrap_or_default(),
    };
    let text = serde_json::to_string(&body).map_err(|error| error.to_string())?;
    let answer = http::post_json(url, &text, LIMIT).map_err(|none| none.to_string())?;
    match answer.status {
        200..=299 => Ok(()),
        status => Err(format!("answered {status}")),
    }
}
