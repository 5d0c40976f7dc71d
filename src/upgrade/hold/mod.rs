//! When an upgrade may begin: the operator's hold and the maintenance windows.
//!
//! Both are asked before the first change and never again: what has begun is finished, whatever the
//! clock says, because a program that is unpacked waits behind a closed gate.

mod note;
mod when;

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::config::{Config, Opening, Windows};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::migrations::State;
use crate::outcome::Outcome;
use crate::system::clock;
use crate::system::zone::Zone;

pub use note::Hold;
pub use when::parse as parse_until;

use super::machine::Machine;
use super::survey::Survey;

/// The variable that lets one run of a package tool, and what it calls, go at once.
pub const NOW: &str = "OPENWATCH_NOW";

/// Whether hold and windows are obeyed by this run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timing {
    /// They are.
    #[default]
    Obeyed,
    /// A person said: now.
    Now,
}

impl Timing {
    /// Returns what the environment says, for a run of a package tool.
    pub fn of_environment() -> Self {
        match std::env::var_os(NOW) {
            Some(value) if !value.is_empty() && value != "0" => Self::Now,
            Some(_) | None => Self::Obeyed,
        }
    }
}

/// What hold and windows say at one instant.
#[derive(Debug)]
pub struct Look {
    /// The hold, which may have lapsed.
    pub hold: Option<Hold>,
    windows: Windows,
    opening: Opening,
    zone: Zone,
    now: SystemTime,
}

impl Look {
    /// Looks at the hold and at the clock.
    pub fn take(layout: &Layout, config: &Config, now: SystemTime) -> Self {
        let zone = Zone::of(layout.root());
        Self {
            hold: Hold::read(layout),
            windows: config.policy.window.clone(),
            opening: config.policy.window.opening(now, &zone),
            zone,
            now,
        }
    }

    /// Says why no upgrade may begin now; none where one may.
    pub fn why_not(&self) -> Option<String> {
        if let Some(hold) = self.held() {
            return Some(hold.told(&self.zone));
        }
        let Opening::Closed(next) = self.opening else { return None };
        let next = next
            .map_or("it never opens".into(), |next| format!("it opens {}", self.zone.spoken(next)));
        Some(format!("outside the maintenance window {}; {next}", self.windows))
    }

    /// Returns when the window that is open now closes; none where there are no windows.
    pub fn open_until(&self) -> Option<SystemTime> {
        match self.opening {
            Opening::Open(until) => Some(until),
            Opening::AnyTime | Opening::Closed(_) => None,
        }
    }

    /// Says what is there and is not obeyed: a hold whose day has come.
    pub fn lapsed(&self, layout: &Layout) -> Option<String> {
        let hold = self.hold.as_ref().filter(|hold| !hold.holds(self.now))?;
        Some(format!(
            "a hold has lapsed and is ignored: {}; `{}` removes it",
            hold.told(&self.zone),
            layout.command("upgrade release")
        ))
    }

    /// Returns the hold that is obeyed.
    pub fn held(&self) -> Option<&Hold> {
        self.hold.as_ref().filter(|hold| hold.holds(self.now))
    }

    /// Returns `hold` and `window` for `--json`.
    pub fn json(&self) -> (Value, Value) {
        let hold = self.hold.as_ref().map(|hold| {
            let state = if hold.holds(self.now) { "held" } else { "lapsed" };
            let Hold { since, until, reason, by } = hold;
            json!({"state": state, "since": since, "until": until, "reason": reason, "by": by})
        });
        let window = match self.opening {
            Opening::AnyTime => Value::Null,
            Opening::Open(until) => json!({
                "windows": self.windows.written(), "open": true, "until": clock::rfc3339(until),
            }),
            Opening::Closed(next) => json!({
                "windows": self.windows.written(), "open": false, "next": next.map(clock::rfc3339),
            }),
        };
        (hold.unwrap_or_default(), window)
    }

    /// Returns the lines of `status`: the hold, then the window.
    pub fn spoken(&self) -> (Option<String>, Option<String>) {
        let hold = self.hold.as_ref().map(|hold| match hold.holds(self.now) {
            true => hold.told(&self.zone),
            false => format!("lapsed: {}", hold.told(&self.zone)),
        });
        let window = match self.opening {
            Opening::AnyTime => None,
            Opening::Open(until) => {
                Some(format!("{}; open until {}", self.windows, self.zone.spoken(until)))
            }
            Opening::Closed(next) => Some(match next {
                Some(next) => format!("{}; opens {}", self.windows, self.zone.spoken(next)),
                None => format!("{}; never opens", self.windows),
            }),
        };
        (hold, window)
    }
}

/// Refuses to begin an upgrade that is held, or outside the windows.
///
/// What has begun is finished at any time, and what a person wants now begins now; both are told.
/// `words` are what the person typed, to be typed again with `--now`.
pub fn admit(machine: &Machine, survey: &Survey<'_>, words: &str) -> Result<()> {
    let look = Look::take(&machine.layout, &machine.config, machine.clock.now());
    if let Some(lapsed) = look.lapsed(&machine.layout) {
        machine.progress.warn(&lapsed);
    }
    let Some(why) = look.why_not() else { return Ok(()) };
    let app = machine.layout.app();
    if is_empty(survey) {
        // The first schema of a new database: nobody is served yet.
        return Ok(());
    }
    if has_begun(survey) {
        machine.progress.note(&format!("{app} is {why}; this upgrade has begun and is finished"));
        return Ok(());
    }
    if machine.timing == Timing::Now {
        machine.progress.warn(&format!("{app} is {why}; upgraded now all the same, as asked"));
        return Ok(());
    }
    let release = match look.held() {
        Some(_) => format!("run `{}`, or ", machine.command("upgrade release")),
        None => String::new(),
    };
    let again = machine.command(&format!("{words} --now"));
    Err(Error::new(Outcome::Refused, format!("{app} is {why}"))
        .state(super::preflight::untouched(survey))
        .hint(format!("To do it now, {release}run `{again}`.")))
}

/// Returns what a run goes against because a person said so, for its journal.
pub fn overridden(machine: &Machine, survey: &Survey<'_>) -> Option<String> {
    let noted = survey.pending.as_ref().and_then(|mark| mark.overrode.clone());
    let now = || {
        let look = Look::take(&machine.layout, &machine.config, machine.clock.now());
        look.why_not().filter(|_| machine.timing == Timing::Now && !has_begun(survey))
    };
    noted.or_else(now)
}

fn is_empty(survey: &Survey<'_>) -> bool {
    survey.databases.iter().all(|surveyed| surveyed.comparison.state == State::Empty)
}

fn has_begun(survey: &Survey<'_>) -> bool {
    survey.pending.is_some() || survey.interrupted.is_some()
}
