//! Reports of how an upgrade ended: to the journal, to whoever logs in, and to the addresses that the
//! operator named.
//!
//! A report can never fail an upgrade, nor hold it up for longer than the operator's limit: whatever
//! goes wrong here becomes a warning. What an address did not take is kept and sent later.

mod body;
mod deliver;
mod entry;
mod login;
mod sign;
mod spool;

use std::borrow::Cow;
use std::time::Duration;

use crate::config::NotifySpec;
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::system::clock::{Clock, Deadline};
use crate::system::http;

pub use self::entry::{MessageId, Said, say};
pub use self::login::{acknowledge, is_acknowledged};
pub use self::sign::is_signed;
pub use self::spool::waiting;

use self::deliver::About;
use self::spool::{Letter, Spool};

/// The longest first line that is told, in bytes; an error of a server may quote anything.
const LONGEST: usize = 2000;

/// What is reported.
#[derive(Clone, Debug)]
pub struct Event {
    /// What ended.
    pub work: Work,
    /// How it ended.
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
    /// The last step that was begun.
    pub step: Option<String>,
    /// When the run began, RFC 3339.
    pub started: String,
    /// When it ended, RFC 3339.
    pub finished: String,
    /// What the operator was told; only its first line is sent.
    pub message: String,
    /// What the operator is to do next.
    pub next: Option<String>,
}

/// What was done to the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// It was to come to another version, usually a newer one.
    Upgrade,
    /// It was to go back to the version before, with its data.
    Rollback,
}

impl Work {
    /// Returns the word of the contract.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Upgrade => "upgrade",
            Self::Rollback => "rollback",
        }
    }
}

/// What kind of end it was, in the words of receivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The upgrade is done.
    Succeeded,
    /// It failed; a person is needed.
    Failed,
    /// It failed, and the data was put back.
    RolledBack,
    /// It is finished later by itself.
    Deferred,
}

impl Kind {
    /// Returns the word of the contract.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
            Self::Deferred => "deferred",
        }
    }
}

impl Event {
    /// Returns what kind of end it was.
    pub const fn kind(&self) -> Kind {
        match self.outcome {
            Outcome::Ok => Kind::Succeeded,
            Outcome::RolledBack => Kind::RolledBack,
            Outcome::Unreachable => Kind::Deferred,
            Outcome::Failed
            | Outcome::Usage
            | Outcome::Config
            | Outcome::Refused
            | Outcome::BackupFailed
            | Outcome::MigrationFailed
            | Outcome::Unhealthy
            | Outcome::Pending
            | Outcome::Mismatch
            | Outcome::Stuck
            | Outcome::Busy => Kind::Failed,
        }
    }

    /// Returns the message's first line, shortened, on which a terminal and a log cannot be played with.
    fn line(&self) -> String {
        let line = plain(self.message.lines().next().unwrap_or_default());
        shortened(&line, LONGEST).into_owned()
    }
}

/// Replaces control characters: what a server said may be shown on a terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Returns a text, or what fits of it into so many bytes and a mark.
pub fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    const MARK: &str = "…";
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(most.saturating_sub(MARK.len()));
    Cow::Owned(format!("{}{MARK}", &text[..end]))
}

/// Where reports go out.
#[derive(Clone, Copy)]
pub struct Desk<'d> {
    /// Fixed paths.
    pub layout: &'d Layout,
    /// The operator's addresses.
    pub spec: &'d NotifySpec,
    /// The clock.
    pub clock: Clock,
}

impl Desk<'_> {
    /// Tells everybody how an upgrade ended; returns warnings.
    pub fn tell(&self, event: &Event) -> Vec<String> {
        let mut warnings = Vec::new();
        warnings.extend(entry::ended(self.layout, event));
        warnings.extend(login::update(self.layout, event));
        let Some((key, url)) = address(self.spec, event.kind()) else { return warnings };
        let spool = Spool::new(self.layout);
        let letter = Letter::new(event, self.clock);
        // On disk before it is sent: a run that is killed meanwhile has told nobody otherwise.
        let kept = spool.keep(&letter, self.clock);
        if let Err(error) = &kept {
            warnings.push(format!("the report is not kept for later: {}", error.message()));
        }
        if self.spec.limit.is_zero() {
            return warnings;
        }
        let deadline = Deadline::after(self.spec.limit);
        match deliver::patiently(self, url, &letter, deadline) {
            Ok(()) => {
                warnings.extend(spool.done(&letter));
                // The receiver is there, so what it missed can follow while there is time.
                warnings.extend(self.send_kept(&spool, deadline));
            }
            Err(reason) => {
                let later = if kept.is_ok() { "; it is sent again later" } else { "" };
                warnings.push(format!(
                    "the outcome could not be reported to {key} {}: {reason}{later}",
                    http::shown_host(url)
                ));
            }
        }
        warnings
    }

    /// Sends what could not be sent before, for at most this long; returns warnings.
    pub fn send_later(&self, limit: Duration) -> Vec<String> {
        self.send_kept(&Spool::new(self.layout), Deadline::after(limit))
    }

    /// Sends what is kept, oldest first; an address that takes nothing now is not asked again, and a report
    /// that it does not take keeps no other back.
    fn send_kept(&self, spool: &Spool, deadline: Deadline) -> Vec<String> {
        let mut warnings = spool.forget_old(self.clock);
        let mut away: Vec<&str> = Vec::new();
        for letter in spool.letters() {
            let Some((key, url)) = letter.kind().and_then(|kind| address(self.spec, kind)) else {
                continue;
            };
            if away.contains(&url) || deadline.passed() {
                continue;
            }
            match deliver::once(self, url, &letter, deadline) {
                Ok(()) => warnings.extend(spool.done(&letter)),
                Err(refusal) => {
                    if refusal.about != About::Report {
                        away.push(url);
                    }
                    warnings.push(format!(
                        "a report of {} could not be sent to {key} {}: {}",
                        letter.created,
                        http::shown_host(url),
                        refusal.reason
                    ));
                }
            }
        }
        warnings
    }
}

/// Returns the address that is told of this kind of end, with its key.
fn address(spec: &NotifySpec, kind: Kind) -> Option<(&'static str, &str)> {
    let (key, own) = match kind {
        Kind::Succeeded => ("success_url", &spec.success_url),
        Kind::Failed | Kind::RolledBack | Kind::Deferred => ("failure_url", &spec.failure_url),
    };
    let own = own.as_deref().map(|url| (key, url));
    own.or_else(|| spec.url.as_deref().map(|url| ("report_url", url)))
}
