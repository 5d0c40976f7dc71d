//! The new files are on disk: the pending mark closes the gate.

use crate::config::Config;
use crate::error::Result;
use crate::outcome::Outcome;
use crate::package::{self, Family};
use crate::system::clock::{self, Clock};
use crate::system::fs;
use crate::upgrade::gate::Pending;
use crate::upgrade::ran_before;
use crate::upgrade::rollback::given_up::GivenUp;
use crate::upgrade::rollback::kept;
use crate::upgrade::rollback::order::Order;
use crate::upgrade::rollback::record;
use crate::upgrade::together;
use crate::version::Version;

use super::super::Reply;
use super::{Context, configured, early, running};

/// The new files are on disk: from now on nothing may start before the schema fits.
pub(super) fn begin(context: &Context<'_>, family: Family, from: Option<Version>) -> Result<Reply> {
    let layout = &context.layout;
    let to = package::installed_version(layout, None)
        .unwrap_or_else(|| Version::new(env!("CARGO_PKG_VERSION")));
    let to = of_the_set(context, to);
    let noted = fs::read_text(&layout.installed_before(), 1024).ok().map(Version::new);
    let from = from.or(noted);
    // The gate first: whatever runs meanwhile goes by the mark.
    let marked = mark(context, family, from.as_ref(), &to);
    keep_packages(context, from.as_ref(), &to);
    let reply = marked?;
    // The mark says it from now on, or there is nothing to remember: left behind, the notes would be
    // believed at the next upgrade.
    ran_before::forget(layout)?;
    Ok(reply)
}

/// Writes the mark, where there is anything to begin.
fn mark(
    context: &Context<'_>,
    family: Family,
    from: Option<&Version>,
    to: &Version,
) -> Result<Reply> {
    let layout = &context.layout;
    let before = Pending::read(layout)?;
    let order = Order::read(layout)?;
    if order.as_ref().is_some_and(|order| !to.order(&order.from).is_gt()) {
        // The package half of a rollback, or the newer package configured once more beside it.
        return Ok(Reply::silent(Outcome::Ok));
    }
    let same = from.is_some_and(|from| from.order(to).is_eq());
    // Reinstalled or reconfigured with nothing left open: no mark, no stop, no dump. And a
    // configuration that no longer fits is no reason to leave the gate open.
    if before.is_none() && (same || matches!(configured(context), Ok(None))) {
        give_way(context, order.as_ref())?;
        return Ok(Reply::silent(Outcome::Ok));
    }
    if let Some(mark) = before.as_ref().filter(|mark| mark.to.order(to).is_gt()) {
        give_up(context, mark);
    }
    let running = running(context);
    let mark = match before {
        // Tried again: what ran is what ran at the first attempt, from the version of that time.
        // A run that is stuck stays so: a package script is not the person who is needed.
        Some(mark) => {
            let failed = mark.failed.clone().filter(|_| mark.stuck.is_some());
            // What the rollback was to leave behind is gone from the data already.
            let back = order.as_ref().filter(|order| order.data_is_back());
            let from = back.map(|order| order.to.clone()).or_else(|| mark.from.clone());
            Pending { from, to: to.clone(), family: Some(family), failed, ..mark }
        }
        None => {
            let unbooted = matches!(running, Ok(None));
            let looked = running.as_ref().ok().cloned();
            let known = looked.map(|now| ran_before::and(layout, now.unwrap_or_default()));
            // Where nobody could look, nothing known is not nothing that is to run.
            let known = known.filter(|known| !unbooted || !known.is_empty());
            let overrode = early::overrode(context);
            let new = Pending::new(to.clone(), known, Clock::System);
            Pending { from: from.cloned(), family: Some(family), overrode, unbooted, ..new }
        }
    };
    // The gate is closed also where the configuration no longer fits: that is told after it.
    mark.write(layout)?;
    // After it: whoever is killed in between finds the order again, and what it says of the data.
    give_way(context, order.as_ref())?;
    running.map(|_| Reply::silent(Outcome::Ok))
}

/// Ends a rollback for a newer version than the one that it was to leave behind: that is another way
/// out.
fn give_way(context: &Context<'_>, order: Option<&Order>) -> Result<()> {
    let Some(order) = order else { return Ok(()) };
    context.progress.note(&format!("the rollback to {} is given up", order.to));
    record::give_up(&context.layout, order, clock::rfc3339(Clock::System.now()))?;
    Order::clear(&context.layout)
}

/// A package of a set may come before the one whose version the program knows: the set leads to the
/// newest of them.
fn of_the_set(context: &Context<'_>, installed: Version) -> Version {
    let layout = &context.layout;
    let Ok(config) = Config::load(layout, context.operator_file) else { return installed };
    let names = &config.app.equal_versions;
    let newest = together::target(layout, names, installed.clone());
    newest.unwrap_or_else(|error| {
        context.progress.warn(&error.message());
        installed
    })
}

/// Keeps copies of the package files that the package tool has at hand just now. Without them a
/// rollback depends on the package sources, which is told in time; nothing fails for it.
fn keep_packages(context: &Context<'_>, from: Option<&Version>, to: &Version) {
    let (layout, progress) = (&context.layout, &context.progress);
    let wanted = Config::load(layout, context.operator_file);
    if !wanted.map_or(true, |config| config.policy.keep_packages) {
        return;
    }
    let versions: Vec<&Version> = from.into_iter().chain([to]).collect();
    if let Err(error) = kept::remember(layout, &versions) {
        progress.warn(&format!("no copy of the package is kept: {}", error.message()));
    }
}

/// The package of a failed upgrade was replaced by an older one by hand: it is not tried again by
/// itself either.
fn give_up(context: &Context<'_>, mark: &Pending) {
    let Some(failed) = &mark.failed else { return };
    let since = clock::rfc3339(Clock::System.now());
    let note = GivenUp { version: mark.to.clone(), since, why: failed.message.clone() };
    if let Err(error) = note.write(&context.layout) {
        context.progress.warn(&error.message());
    }
}
