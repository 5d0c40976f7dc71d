//! The operator's word that opens the gate for a time, although an upgrade is not done.
//!
//! Its file lies below `/run`, so that a reboot ends it; units ask for the file beside the pending
//! mark. It is dated, it has a reason, the system's journal keeps both, and every run shows it.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::error::{Context as _, Error, Result};
use crate::layout::Layout;
use crate::notify::{self, MessageId, Said};
use crate::outcome::Outcome;
use crate::system::clock::{self, Clock};
use crate::system::process::{self, Call};
use crate::system::{fs, identity};
use crate::upgrade::journal;
use crate::upgrade::machine::Machine;

/// More than any file of ours; what is longer was not written by us.
const MOST_BYTES: u64 = 64 << 10;

/// The longest time: a switch that is left behind disables a safety net.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// The longest reason, in characters.
const LONGEST_REASON: usize = 500;

/// The operator's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// When it was said, RFC 3339.
    pub since: String,
    /// When it ends, RFC 3339.
    pub until: String,
    /// Why.
    pub reason: String,
    /// Who said it.
    pub by: String,
}

impl Opened {
    /// Returns the word that holds now.
    pub fn holding(layout: &Layout, clock: Clock) -> Option<Self> {
        let text = fs::read_text(&layout.gate_open(), MOST_BYTES).ok()?;
        let word: Self = serde_json::from_str(&text).ok()?;
        word.holds(clock.now()).then_some(word)
    }

    /// An end that cannot be read has come: what is damaged must not keep a gate open.
    fn holds(&self, now: SystemTime) -> bool {
        clock::parse_rfc3339(&self.until).is_some_and(|until| now < until)
    }

    /// Says it in words.
    pub fn spoken(&self) -> String {
        format!("held open until {} by {}: {}", self.until, self.by, self.reason)
    }
}

/// Reads an end: `2h`, `2027-01-31T12:00:00Z`, or `2027-01-31` (the end of that day, UTC).
pub fn end(text: &str, now: SystemTime) -> Result<SystemTime> {
    let wrong = |why: String| {
        Error::new(Outcome::Usage, why)
            .state("nothing was changed")
            .hint("Write an end such as `--until 2h`, at most a week from now.")
    };
    let day = || clock::parse_rfc3339(&format!("{text}T00:00:00Z"));
    let found = clock::parse_rfc3339(text)
        .or_else(|| day().and_then(|day| day.checked_add(Duration::from_secs(86_400))))
        .or_else(|| now.checked_add(humantime::parse_duration(text).ok()?))
        .ok_or_else(|| wrong(format!("{text:?} is neither a time nor a duration")))?;
    match found.duration_since(now) {
        Ok(ahead) if ahead > LONGEST => Err(wrong(format!("{text:?} is more than a week ahead"))),
        Ok(ahead) if !ahead.is_zero() => Ok(found),
        Ok(_) | Err(_) => Err(wrong(format!("{text:?} is over already"))),
    }
}

/// Opens the gate until then; returns the word that was written down.
pub fn open(machine: &Machine, until: SystemTime, reason: &str) -> Result<Opened> {
    let plain = reason.chars().map(|c| if c.is_control() { ' ' } else { c });
    let reason = plain.take(LONGEST_REASON).collect::<String>().trim().to_owned();
    if reason.is_empty() {
        return Err(Error::new(Outcome::Usage, "the gate is not opened without a reason")
            .state("nothing was changed")
            .hint("Say why with `--reason TEXT`, for whoever asks later."));
    }
    let word = Opened {
        since: clock::rfc3339(machine.clock.now()),
        until: clock::rfc3339(until),
        reason,
        by: identity::person(),
    };
    let path = machine.layout.gate_open();
    if let Some(dir) = path.parent() {
        fs::make_dir(dir, 0o755)?;
    }
    let fields = [("UNTIL", word.until.as_str()), ("BY", &word.by), ("REASON", &word.reason)];
    let message = format!("{}: the start gate is {}", machine.layout.app(), word.spoken());
    // Never in the middle of a run. From then on anybody may write, which no way back may forget.
    let _lock = machine.lock("gate open")?;
    journal::note_opened(&machine.layout, &word.since)?;
    // Said before it is done: there is no opening that the journal does not know.
    say(machine, MessageId::GateOverridden, &message, &fields);
    let text = serde_json::to_string(&word).context(|| "cannot write the word down".into())?;
    fs::replace(&path, text.as_bytes(), 0o644)?;
    end_in_time(machine, &word);
    Ok(word)
}

/// Takes the word back, where there is one; `why` is told.
pub fn close(machine: &Machine, why: &str) -> Result<bool> {
    let path = machine.layout.gate_open();
    if !path.exists() {
        return Ok(false);
    }
    fs::remove_file(&path)?;
    let message =
        format!("{}: the start gate is no longer open by hand: {why}", machine.layout.app());
    say(machine, MessageId::OverrideEnded, &message, &[]);
    Ok(true)
}

/// Takes a word back whose time is over; units only ask whether the file is there.
pub fn expire(machine: &Machine) {
    if machine.layout.gate_open().exists()
        && Opened::holding(&machine.layout, machine.clock).is_none()
        && let Err(error) = close(machine, "its time is over")
    {
        machine.progress.warn(&error.message());
    }
}

/// Ends the word before an upgrade begins: nothing may start in the middle of it.
pub fn end_for_upgrade(machine: &Machine) {
    match close(machine, "an upgrade begins") {
        Ok(true) => machine.progress.note("the gate is no longer open by hand: an upgrade begins"),
        Ok(false) => {}
        Err(error) => machine.progress.warn(&error.message()),
    }
}

fn say(machine: &Machine, id: MessageId, message: &str, fields: &[(&str, &str)]) {
    let units = &machine.config.app.services;
    let shown_by: Vec<Option<&str>> = match units.is_empty() {
        true => vec![None],
        false => units.iter().map(|unit| Some(unit.as_str())).collect(),
    };
    for unit in shown_by {
        if let Some(warning) = notify::say(&machine.layout, id, &Said { message, fields, unit }) {
            machine.progress.warn(&warning);
        }
    }
}

/// Has the service manager take the word back at its end; every other run does so too, later.
fn end_in_time(machine: &Machine, word: &Opened) {
    if !machine.layout.is_live() || !machine.services.is_present() {
        return;
    }
    let app = machine.layout.app();
    let unit = format!("{app}-gate-close");
    let call = |program: &str, words: &[&str]| -> bool {
        let Some(path) = process::find(program) else { return false };
        Call::new(path).args(words).run().is_ok()
    };
    let _ = call("systemctl", &["stop", "--", &format!("{unit}.timer")]);
    // systemd reads neither the T nor the Z of RFC 3339 on every version.
    let at = format!("{} UTC", word.until.trim_end_matches('Z').replace('T', " "));
    let set = call(
        "systemd-run",
        &[
            "--quiet",
            "--collect",
            &format!("--unit={unit}"),
            &format!("--on-calendar={at}"),
            "--timer-property=AccuracySec=1s",
            "/usr/bin/openwatch",
            "--app",
            app,
            "gate",
            "close",
        ],
    );
    if !set {
        machine
            .progress
            .warn("no timer could be set: the next upgrade or daily prune closes the gate");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_time_ahead_of_at_most_a_week() {
        let now = clock::parse_rfc3339("2026-11-20T13:15:02Z").unwrap();
        for (text, at) in [
            ("2h", "2026-11-20T15:15:02Z"),
            ("2026-11-20", "2026-11-21T00:00:00Z"),
            ("2026-11-21T08:00:00Z", "2026-11-21T08:00:00Z"),
        ] {
            assert_eq!(clock::rfc3339(end(text, now).unwrap()), at, "{text}");
        }
        for text in ["", "tomorrow", "8d", "2026-11-19", "2026-11-20T13:15:02Z", "0s", "forever"] {
            assert_eq!(end(text, now).unwrap_err().outcome(), Outcome::Usage, "{text}");
        }
    }

    #[test]
    fn a_word_without_a_readable_end_does_not_hold() {
        let word = |until: &str| Opened {
            since: String::new(),
            until: until.into(),
            reason: "r".into(),
            by: "root".into(),
        };
        let now = clock::parse_rfc3339("2026-11-20T13:15:02Z").unwrap();
        assert!(word("2026-11-20T13:15:03Z").holds(now));
        assert!(!word("2026-11-20T13:15:02Z").holds(now));
        assert!(!word("never").holds(now));
    }
}
