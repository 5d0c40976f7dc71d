//! The new files are not on disk yet: a "no" costs nothing.

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::package;
use crate::system::fs;
use crate::upgrade::gate::Pending;
use crate::upgrade::survey;
use crate::version::Version;

use super::super::{Reply, preflight};
use super::downgrade::allow_downgrade;
use super::{Context, configured};

/// The new files are not on disk: the installed program says no where it can, which costs nothing.
pub(super) fn before_unpack(
    context: &Context<'_>,
    from: Option<Version>,
    to: &Version,
) -> Result<Reply> {
    let layout = &context.layout;
    let installed = package::installed_version(layout, None);
    let Some(from) = from.or(installed) else { return Ok(Reply::silent(Outcome::Ok)) };
    // rpm tells no script which version was there; only now does the version file still say it.
    fs::make_dir(&layout.upgrade_dir(), 0o755)?;
    fs::replace(&layout.installed_before(), format!("{from}\n").as_bytes(), 0o644)?;
    if to.order(&from).is_lt() {
        allow_downgrade(context, &from, to)?;
        return Ok(Reply::silent(Outcome::Ok));
    }
    if to.order(&from).is_eq() {
        return Ok(Reply::silent(Outcome::Ok));
    }
    let away = |error: Error| {
        // In a run that also upgrades the server it is always down at this time (measured).
        let what = error.message();
        context.progress.warn(&format!("{what}; preflight is left to the upgrade"));
        Ok(Reply::silent(Outcome::Ok))
    };
    let machine = match configured(context) {
        Ok(Some(machine)) => machine,
        Ok(None) => return Ok(Reply::silent(Outcome::Ok)),
        // `format = "auto"` asks the database already here.
        Err(error) if error.outcome() == Outcome::Unreachable => return away(error),
        Err(error) => return Err(error),
    };
    // A run whose last attempt failed has its own findings; a newer package may be the remedy.
    if Pending::read(layout)?.is_some() {
        return Ok(Reply::silent(Outcome::Ok));
    }
    let checked = survey::take_for_next(&machine).and_then(|s| preflight::check(&machine, &s));
    match checked {
        Ok(_) => Ok(Reply::silent(Outcome::Ok)),
        Err(error) if error.outcome() == Outcome::Unreachable => away(error),
        // A wrong password is the operator's to mend as well, and here the "no" costs nothing.
        Err(error) if error.outcome() == Outcome::Config => Err(error.outcome_as(Outcome::Refused)),
        Err(error) => Err(error),
    }
}
