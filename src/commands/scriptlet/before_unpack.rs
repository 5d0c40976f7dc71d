//! The new files are not on disk yet: a "no" costs nothing.

use crate::error::Result;
use crate::outcome::Outcome;
use crate::package::{self, Family};
use crate::system::fs;
use crate::upgrade::gate::Pending;
use crate::upgrade::rollback::given_up::GivenUp;
use crate::upgrade::rollback::order::Order;
use crate::version::Version;

use super::super::Reply;
use super::downgrade::allow_downgrade;
use super::{Context, early, ran_before};

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
    if ran_before::was_cut_off(layout) {
        // Tried again: what there was is what the first attempt saw.
        return Ok(Reply::silent(Outcome::Ok));
    }
    // rpm tells no script which version was there; only now does the version file still say it.
    fs::make_dir(&layout.upgrade_dir(), 0o755)?;
    fs::replace(&layout.installed_before(), format!("{from}\n").as_bytes(), 0o644)?;
    if !to.order(&from).is_eq() {
        ran_before::note(context, &from)?;
    }
    if to.order(&from).is_lt() {
        allow_downgrade(context, family, to)?;
        return Ok(Reply::silent(Outcome::Ok));
    }
    if let Some(refusal) = GivenUp::refusal(layout, to) {
        return Err(refusal);
    }
    // A run whose last attempt failed has its own findings; a newer package may be the remedy.
    if to.order(&from).is_eq() || Pending::read(layout)?.is_some() {
        return Ok(Reply::silent(Outcome::Ok));
    }
    early::timing(context, &from, to)?;
    early::preflight(context)?;
    Ok(Reply::silent(Outcome::Ok))
}
