//! The new files are not on disk yet: a "no" costs nothing.

use crate::error::Result;
use crate::outcome::Outcome;
use crate::package::{self, Family};
use crate::system::fs;
use crate::upgrade::gate::Pending;
use crate::upgrade::ran_before::{self, Ran};
use crate::upgrade::rollback::given_up::GivenUp;
use crate::upgrade::rollback::order::Order;
use crate::version::Version;

use super::super::Reply;
use super::downgrade::allow_downgrade;
use super::{Context, early, running};

/// The new files are not on disk: the installed program says no where it can, which costs nothing.
pub(super) fn before_unpack(
    context: &Context<'_>,
    family: Family,
    from: Option<Version>,
    to: &Version,
) -> Result<Reply> {
    let layout = &context.layout;
    let installed = package::installed_version(layout, None);
    let Some(from) = from.or(installed) else { return Ok(Reply::silent(Outcome::Ok)) };
    // The script lets everything pass but a refusal.
    let order = Order::read(layout).map_err(|error| error.outcome_as(Outcome::Refused))?;
    if order.as_ref().is_some_and(|order| order.leads_to(to)) {
        // It is what we are doing, or its package half by hand.
        return Ok(Reply::silent(Outcome::Ok));
    }
    if Ran::of_cut_off(layout).is_some() {
        // Tried again: what there was is what the first attempt saw.
        return Ok(Reply::silent(Outcome::Ok));
    }
    if to.order(&from).is_lt() {
        note(context, &from, to)?;
        allow_downgrade(context, family, to)?;
        return Ok(Reply::silent(Outcome::Ok));
    }
    if let Some(refusal) = GivenUp::refusal(layout, to) {
        return Err(refusal);
    }
    // A run whose last attempt failed has its own findings; a newer package may be the remedy.
    if !to.order(&from).is_eq() && Pending::read(layout)?.is_none() {
        early::timing(context, &from, to)?;
        early::preflight(context, to)?;
    }
    // Last: a "no" leaves no note behind.
    note(context, &from, to)?;
    Ok(Reply::silent(Outcome::Ok))
}

/// Notes what is there, for the script that writes the mark. The script lets everything pass but a
/// refusal, and a disk that takes no note takes no upgrade either.
fn note(context: &Context<'_>, from: &Version, to: &Version) -> Result<()> {
    let layout = &context.layout;
    let write = || -> Result<()> {
        ran_before::forget(layout)?;
        fs::make_dir(&layout.upgrade_dir(), 0o755)?;
        // rpm tells no script which version was there; only now does the version file still say it.
        fs::replace(&layout.installed_before(), format!("{from}\n").as_bytes(), 0o644)?;
        // Where it cannot be asked what runs, the script that writes the mark asks again and tells.
        match running(context) {
            Ok(running) if !to.order(from).is_eq() => {
                let running = running.unwrap_or_default();
                Ran { version: from.clone(), to: Some(to.clone()), running }.write(layout)
            }
            Ok(_) | Err(_) => Ok(()),
        }
    };
    write().map_err(|error| error.outcome_as(Outcome::Refused).state("nothing was changed"))
}
