//! The new files are on disk: the pending mark closes the gate.

use crate::error::Result;
use crate::outcome::Outcome;
use crate::package::{self, Family};
use crate::system::clock::Clock;
use crate::system::fs;
use crate::upgrade::gate::Pending;
use crate::version::Version;

use super::super::Reply;
use super::{Context, configured, early, ran_before, running};

/// The new files are on disk: from now on nothing may start before the schema fits.
pub(super) fn begin(context: &Context<'_>, family: Family, from: Option<Version>) -> Result<Reply> {
    let layout = &context.layout;
    let to = package::installed_version(layout, None)
        .unwrap_or_else(|| Version::new(env!("CARGO_PKG_VERSION")));
    let noted = fs::read_text(&layout.installed_before(), 1024).ok().map(Version::new);
    let from = from.or(noted);
    let before = Pending::read(layout)?;
    let same = from.as_ref().is_some_and(|from| from.order(&to).is_eq());
    if before.is_none() && same {
        // Reinstalled or reconfigured with nothing left open: no mark, no stop, no dump.
        return Ok(Reply::silent(Outcome::Ok));
    }
    // A configuration that no longer fits is no reason to leave the gate open.
    if before.is_none() && matches!(configured(context), Ok(None)) {
        return Ok(Reply::silent(Outcome::Ok));
    }
    let running = running(context).map(|now| ran_before::and(layout, now));
    let mark = match before {
        // Tried again: what ran is what ran at the first attempt, from the version of that time.
        // A run that is stuck stays so: a package script is not the person who is needed.
        Some(mark) => {
            let failed = mark.failed.clone().filter(|_| mark.stuck.is_some());
            Pending { to, family: Some(family), failed, ..mark }
        }
        None => {
            let looked = running.as_ref().ok().cloned();
            let overrode = early::overrode(context);
            let new = Pending::new(to, looked, Clock::System);
            Pending { from, family: Some(family), overrode, ..new }
        }
    };
    // The gate is closed also where the configuration no longer fits: that is told after it.
    mark.write(layout)?;
    ran_before::forget(layout)?;
    running.map(|_| Reply::silent(Outcome::Ok))
}
