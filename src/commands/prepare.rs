//! `openwatch upgrade --prepare`: makes the data disk ready for the next system.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::system::{clock, fs};
use crate::upgrade::appliance::prepare::{self, Wanted};
use crate::upgrade::machine::Machine;
use crate::upgrade::plan::{self, Decision};
use crate::upgrade::preflight::{self, Finding, Severity};
use crate::upgrade::survey;
use crate::version::Version;

use super::Reply;
use super::preflight::next;

/// How long the window is where nobody says otherwise.
pub const WINDOW: Duration = Duration::from_secs(90 * 60);

/// What was typed.
#[derive(Debug, Default)]
pub struct Request<'a> {
    /// The new system's image.
    pub image: Option<&'a Path>,
    /// Version that it brings, where no package file tells.
    pub to: Option<Version>,
    /// How long the agreed window is.
    pub window: Option<&'a str>,
}

/// Checks all there is to check, says all that was found, and prepares the disk.
///
/// `candidate` is this machine with the package file that the new system brings, where one was named.
pub fn run(machine: &Machine, candidate: Option<&Machine>, request: &Request<'_>) -> Result<Reply> {
    let ended = attempt(machine, candidate, request);
    note(machine, &ended);
    ended
}

/// Notes how it ended, for whoever asked for it and does not wait: the service.
fn note(machine: &Machine, ended: &Result<Reply>) {
    let at = clock::rfc3339(machine.clock.now());
    let said = match ended {
        Ok(reply) => json!({"at": at, "outcome": reply.outcome.word(), "prepared": reply.json}),
        // Another run has the word.
        Err(error) if error.outcome() == Outcome::Busy => return,
        Err(error) => json!({
            "at": at, "outcome": error.outcome().word(), "message": error.message(),
            "detail": error.details(), "hint": error.hint_line(),
        }),
    };
    if let Err(error) = fs::replace(&machine.layout.prepared(), said.to_string().as_bytes(), 0o644)
    {
        machine.progress.warn(&error.message());
    }
}

fn attempt(machine: &Machine, candidate: Option<&Machine>, request: &Request<'_>) -> Result<Reply> {
    let window = request.window.map_or(Ok(WINDOW), window)?;
    let to = candidate.map(|candidate| candidate.version.clone()).or_else(|| request.to.clone());
    let wanted = Wanted { to, image: request.image, window };
    let _lock = machine.lock("upgrade --prepare")?;
    let survey = survey::take_for_next(machine)?;
    let mut found = preflight::findings(machine, &survey, &next(machine, &survey));
    if let Decision::Refuse(error) = plan::decide(&survey, &machine.config) {
        found.push(refused(&error));
    }
    if let Some(candidate) = candidate {
        let ahead = survey::take_for_next(candidate)?;
        if let Decision::Refuse(error) = plan::decide(&ahead, &candidate.config) {
            found.push(refused(&error));
        }
    }
    for finding in found.iter().filter(|finding| finding.severity == Severity::Advisory) {
        machine.progress.warn(&finding.message);
    }
    let admitted = prepare::check(machine, &survey, &wanted, found)?;
    let prepared = prepare::run(machine, &survey, &wanted, admitted)?;
    let upgrade = prepared.state.upgrade.as_ref();
    let until = upgrade.and_then(|upgrade| upgrade.window_until.clone()).unwrap_or_default();
    let point = prepared.restore_point.as_deref().unwrap_or("none, every database is empty");
    let text = format!(
        "the data disk is prepared: {} (restore point {point}), agreed until {until}\n  \
         next: shut this system down, detach the disk, boot the new system, attach the disk there",
        prepared.name
    );
    let json = json!({
        "name": prepared.name,
        "restore_point": prepared.restore_point,
        "window_until": until,
        "state": prepared.state,
    });
    Ok(Reply::ok(text, json))
}

fn refused(error: &Error) -> Finding {
    Finding {
        severity: Severity::Required,
        message: error.message(),
        hint: error.hint_line().map(str::to_owned),
    }
}

fn window(text: &str) -> Result<Duration> {
    humantime::parse_duration(text).ok().filter(|window| !window.is_zero()).ok_or_else(|| {
        let example = clock::spoken(WINDOW);
        Error::new(Outcome::Usage, format!("{text:?} is not how long a window is"))
            .state("nothing was changed")
            .hint(format!("Write `--window 90min`, which is {example}."))
    })
}
