//! What the installed program is asked before anything is unpacked, where a "no" costs nothing: by
//! the guard for a whole run of the package tool, and by the package's own script.

use std::path::Path;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::system::clock::Clock;
use crate::upgrade::hold::{Look, NOW, Timing};
use crate::upgrade::preflight::refusal;
use crate::upgrade::{looked_into, settings, survey};
use crate::version::Version;

use super::super::preflight;
use super::{Context, configured};

/// Refuses an upgrade that is held, or outside the windows, unless the environment says: now.
pub(super) fn timing(context: &Context<'_>, from: &Version, to: &Version) -> Result<()> {
    let (layout, app) = (&context.layout, context.layout.app());
    let Some(look) = look(context) else { return Ok(()) };
    if let Some(lapsed) = look.lapsed(layout) {
        context.progress.warn(&lapsed);
    }
    let Some(why) = look.why_not() else { return Ok(()) };
    if Timing::of_environment() == Timing::Now {
        context.progress.warn(&format!("{app} is {why}; upgraded now all the same, as {NOW} asks"));
        return Ok(());
    }
    let first = match look.held() {
        Some(_) => format!("Run `{}`", layout.command("upgrade release")),
        None => "Wait for the window".to_owned(),
    };
    let message = format!("{app} is not upgraded from {from} to {to} now: it is {why}");
    Err(Error::new(Outcome::Refused, message)
        .state("nothing was changed")
        .hint(format!("{first}, or put `{NOW}=1` before the command for this once.")))
}

/// Returns the hold or window that this run of the package tool goes against, as it was asked to.
pub(super) fn overrode(context: &Context<'_>) -> Option<String> {
    look(context)?.why_not().filter(|_| Timing::of_environment() == Timing::Now)
}

/// None where the configuration cannot be read: that is told by whoever needs it.
fn look(context: &Context<'_>) -> Option<Look> {
    let config = Config::load(&context.layout, context.operator_file).ok()?;
    Some(Look::take(&context.layout, &config, Clock::System.now()))
}

/// Holds the application's configuration against what the new package needs of it. A package that
/// cannot be read is told: its tool is about to say so itself.
pub(super) fn settings(context: &Context<'_>, file: &Path) -> Result<()> {
    match looked_into::settings_of(&context.layout, context.operator_file, file) {
        Ok(settings) => match refusal(&settings::findings(&settings)) {
            Some(refusal) => Err(refusal.state("nothing was changed")),
            None => Ok(()),
        },
        Err(error) => {
            context.progress.warn(&error.message());
            Ok(())
        }
    }
}

/// Checks what the upgrade to a newer version needs; what cannot be known yet is left to the upgrade.
pub(super) fn preflight(context: &Context<'_>, to: &Version) -> Result<()> {
    let away = |error: Error| {
        // In a run that also upgrades the server it is always down at this time (measured).
        let what = error.message();
        context.progress.warn(&format!("{what}; preflight is left to the upgrade"));
        Ok(())
    };
    let machine = match configured(context) {
        Ok(Some(machine)) => machine,
        Ok(None) => return Ok(()),
        // `format = "auto"` asks the database already here.
        Err(error) if error.outcome() == Outcome::Unreachable => return away(error),
        Err(error) => return Err(error),
    };
    let checked = survey::take_for_next(&machine).and_then(|mut survey| {
        survey.databases.iter_mut().for_each(|surveyed| surveyed.comparison.leave_to(to));
        preflight::check(&machine, &survey)
    });
    match checked {
        Ok(_) => Ok(()),
        Err(error) if error.outcome() == Outcome::Unreachable => away(error),
        // A wrong password is the operator's to mend as well, and here the "no" costs nothing.
        Err(error) if error.outcome() == Outcome::Config => Err(error.outcome_as(Outcome::Refused)),
        Err(error) => Err(error),
    }
}
