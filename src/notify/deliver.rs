//! One report to one address: attempts with growing pauses until a deadline.

use std::time::Duration;

use crate::system::clock::{self, Deadline};
use crate::system::{http, signals};

use super::spool::Letter;
use super::{Desk, sign};

/// The longest that one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(10);

/// The first pause; each next one is twice as long.
const PAUSE: Duration = Duration::from_millis(500);

/// Why a report was not taken.
pub(super) struct Refusal {
    /// In words that name neither address nor secret.
    pub(super) reason: String,
    pub(super) about: About,
}

/// What a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// This moment: the same again may be taken in the next one.
    Moment,
    /// This report: another one may be taken.
    Report,
    /// The address, or what is needed to send anything there.
    Address,
}

/// Tries until the report is taken, refused for good, or the deadline has passed.
pub(super) fn patiently(
    desk: &Desk<'_>,
    url: &str,
    letter: &Letter,
    deadline: Deadline,
) -> Result<(), String> {
    let mut pause = PAUSE;
    loop {
        let refusal = match once(desk, url, letter, deadline) {
            Ok(()) => return Ok(()),
            Err(refusal) => refusal,
        };
        // A person who presses Ctrl-C waits for nobody.
        let given_up = refusal.about != About::Moment || signals::received().is_some();
        if given_up || deadline.remaining() <= pause {
            return Err(refusal.reason);
        }
        clock::pause(pause);
        pause *= 2;
    }
}

/// Tries once.
pub(super) fn once(
    desk: &Desk<'_>,
    url: &str,
    letter: &Letter,
    deadline: Deadline,
) -> Result<(), Refusal> {
    let about = |about: About| move |reason: String| Refusal { reason, about };
    let limit = deadline.remaining().min(ATTEMPT);
    if limit.is_zero() {
        return Err(about(About::Moment)("no time was left".into()));
    }
    let text = letter.body.to_string();
    let headers = sign::headers(desk, url, &letter.id, &text).map_err(about(About::Address))?;
    let answer = http::post_json(url, &headers, &text, limit);
    let status = answer.map_err(|none| about(About::Moment)(none.to_string()))?.status;
    let refused = match status {
        200..=299 => return Ok(()),
        // Too early, too many, or the receiver's own trouble.
        408 | 425 | 429 | 500..=599 => About::Moment,
        // What it says of a body that it has read.
        400 | 409 | 413 | 415 | 422 => About::Report,
        _ => About::Address,
    };
    Err(about(refused)(format!("answered {status}")))
}
