//! Which restore points stay: a pure function of list, policy, pins and clock.

use std::time::{Duration, SystemTime};

use crate::config::Retention;

use super::manifest::Kind;
use super::store::{Entry, Status};

/// A restore point that something else still needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The restore point.
    pub id: String,
    /// Who needs it, such as `the running version` or `an unfinished upgrade`.
    pub reason: String,
}

/// Whether a restore point stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Keep,
    /// It goes.
    Remove,
}

/// What happens to one restore point, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The restore point, or the leftover.
    pub id: String,
    /// Whether it stays.
    pub verdict: Verdict,
    /// Why, in words.
    pub reason: String,
}

/// Age from which a leftover of a killed run goes.
const LEFTOVER: Duration = Duration::from_secs(86_400);

const DAY: Duration = Duration::from_secs(86_400);

/// Decides for every entry; the order of the result is that of the list.
///
/// Only good points count: the newest `keep` of them, and always at least one, stay whatever their
/// age. A policy without days keeps every good or damaged point.
pub fn decide(
    entries: &[Entry],
    policy: &Retention,
    pins: &[Pin],
    now: SystemTime,
) -> Vec<Decision> {
    // A clone shares its disk with the original and nobody here can read a snapshot: only dumps
    // count, so that the newest dump stays whatever was made after it.
    let mut good: Vec<&Entry> = entries.iter().filter(|e| counts(e)).collect();
    good.sort_by(|a, b| newest_first(a, b));
    let floor = usize::try_from(policy.keep.max(1)).unwrap_or(usize::MAX);
    let newest: Vec<&str> = good.iter().take(floor).map(|entry| entry.id.as_str()).collect();
    entries
        .iter()
        .map(|entry| {
            let (verdict, reason) = judge(entry, policy, pins, now, &newest);
            Decision { id: entry.id.clone(), verdict, reason }
        })
        .collect()
}

fn counts(entry: &Entry) -> bool {
    entry.status == Status::Good && kind(entry) == Kind::Dump
}

fn kind(entry: &Entry) -> Kind {
    entry.manifest.as_ref().map_or(Kind::Dump, |manifest| manifest.kind)
}

/// By sequence, not by name or file time: clocks jump. Equal numbers fall back to the stamp.
pub(super) fn newest_first(a: &Entry, b: &Entry) -> std::cmp::Ordering {
    b.sequence.cmp(&a.sequence).then(b.created.cmp(&a.created)).then_with(|| b.id.cmp(&a.id))
}

fn judge(
    entry: &Entry,
    policy: &Retention,
    pins: &[Pin],
    now: SystemTime,
    newest: &[&str],
) -> (Verdict, String) {
    let keep = |reason: String| (Verdict::Keep, reason);
    if let Some(pin) = pins.iter().find(|pin| pin.id == entry.id) {
        return keep(format!("needed by {}", pin.reason));
    }
    match &entry.status {
        Status::Busy => return keep("being written".into()),
        Status::Foreign => return keep("not a restore point".into()),
        Status::Removing => return (Verdict::Remove, "removal was begun".into()),
        Status::Partial | Status::Damaged(_) | Status::Good => {}
    }
    if kind(entry) == Kind::Clone {
        // Its directory is all that names the clone on the server; whoever drops that removes it.
        return keep("a clone, kept until the dump that is made from it is proven".into());
    }
    let Some(created) = entry.created else {
        return keep("its age is not known".into());
    };
    let Ok(age) = now.duration_since(created) else {
        return keep("its date lies in the future".into());
    };
    if entry.status == Status::Partial {
        return if age >= LEFTOVER {
            (Verdict::Remove, "left by a run that was killed".into())
        } else {
            keep("left by a run that was killed less than a day ago".into())
        };
    }
    if newest.contains(&entry.id.as_str()) {
        return keep(match newest.len() {
            1 => "the newest good one".into(),
            many => format!("one of the newest {many} good ones"),
        });
    }
    let Some(days) = policy.days else {
        return keep("no age limit is set".into());
    };
    let old = format!("{} days old", age.as_secs() / DAY.as_secs());
    if age < DAY.saturating_mul(days) {
        return keep(format!("{old}, limit {days}"));
    }
    if newest.is_empty() {
        return keep("there is no good one".into());
    }
    match &entry.status {
        Status::Damaged(why) => (Verdict::Remove, format!("{old}, limit {days}; {why}")),
        _ if kind(entry) == Kind::External => {
            let left = "what its command made is not removed by us";
            (Verdict::Remove, format!("{old}, limit {days}; {left}"))
        }
        _ => (Verdict::Remove, format!("{old}, limit {days}")),
    }
}
