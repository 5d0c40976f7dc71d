//! `openwatch upgrade hold` and `release`: the operator's word that nothing is upgraded.

use std::time::SystemTime;

use serde_json::json;

use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::system::zone::Zone;
use crate::upgrade::hold::{Hold, parse_until};
use crate::upgrade::journal;

use super::Reply;

/// What is wanted of a hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'w> {
    /// When it lapses, as it was typed; none where it holds until it is taken back.
    pub until: Option<&'w str>,
    /// Why.
    pub reason: Option<&'w str>,
    /// Whose word it is, where that is not the caller's own.
    pub by: Option<&'w str>,
}

/// Places a hold, or replaces the one that is there.
pub fn place(layout: &Layout, wanted: &Wanted<'_>, now: SystemTime) -> Result<Reply> {
    let Wanted { until, reason, by } = *wanted;
    let zone = Zone::of(layout.root());
    let usage = |message: String| {
        Error::new(Outcome::Usage, message).state("nothing was changed").hint(
            "Write a day to come such as 2027-01-31, `2027-01-31 22:00`, or `3 days`; or leave \
             --until out.",
        )
    };
    let until = match until {
        None => None,
        Some(text) => {
            let end = parse_until(text, now, &zone)
                .ok_or_else(|| usage(format!("{text:?} is no end of a hold")))?;
            if end <= now {
                return Err(usage(format!("{text} is over already")));
            }
            Some(end)
        }
    };
    let mut hold = Hold::new(now, until, reason);
    hold.by = by.map(str::to_owned).or(hold.by);
    hold.write(layout)?;
    let mut text = format!("{} is {}", layout.app(), hold.told(&zone));
    // What has begun is finished: half an upgrade is worse than either whole.
    if journal::read(layout)?.is_some_and(|last| last.finished.is_none()) {
        text.push_str("\nan upgrade that has begun is not stopped by it");
    }
    Ok(Reply::ok(text, json!({"hold": hold})))
}

/// Takes the hold back.
pub fn release(layout: &Layout) -> Result<Reply> {
    let before = Hold::read(layout);
    Hold::remove(layout)?;
    let text = match &before {
        Some(_) => format!("{} is no longer held", layout.app()),
        None => format!("{} was not held", layout.app()),
    };
    Ok(Reply::ok(text, json!({"hold": null, "released": before})))
}
