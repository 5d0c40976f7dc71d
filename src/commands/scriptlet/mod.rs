//! `openwatch scriptlet`: what the package's scripts call. Thin: record, schedule, show.

mod before_unpack;
mod begin;
mod complete;
mod downgrade;
mod early;
mod failed;
mod guard;

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::package::{self, Event, Family};
use crate::progress::Progress;
use crate::services;
use crate::upgrade::machine::Machine;
use crate::upgrade::unit::walls;

use super::Reply;
use before_unpack::before_unpack;
use begin::begin;
use complete::complete;

/// What a scriptlet needs; the machine is opened only where the event asks for it.
pub struct Context<'c> {
    /// Fixed paths.
    pub layout: Layout,
    /// The operator's file, where another one is named.
    pub operator_file: Option<&'c Path>,
    /// Where progress goes.
    pub progress: Arc<dyn Progress>,
    /// Prints a line that another process wrote.
    pub relay: &'c dyn Fn(&str),
}

/// Looks whether the walls of our units are those that the configuration needs, before a unit acts.
/// What is wrong with either is for the unit itself to say.
fn renew_walls(context: &Context<'_>) -> Result<Reply> {
    let progress = Arc::clone(&context.progress);
    let machine = Machine::open(context.layout.clone(), context.operator_file, progress);
    if let Err(error) = machine.and_then(|machine| walls::renew(&machine)) {
        context.progress.warn(&error.message());
    }
    Ok(Reply::silent(Outcome::Ok))
}

/// Acts on one call of one script, or of a guard, which may be told more on standard input.
pub fn run(
    context: &Context<'_>,
    family: &str,
    script: &str,
    arguments: &[String],
    input: &mut dyn Read,
) -> Result<Reply> {
    if family == "guard" {
        return guard::run(context, script, arguments, input);
    }
    if (family, script) == ("unit", "failed") {
        let [unit] = arguments else {
            return Err(Error::new(Outcome::Usage, "the unit that failed is not named"));
        };
        return failed::is_news(&context.layout, unit);
    }
    if (family, script) == ("unit", "walls") {
        return renew_walls(context);
    }
    let family = Family::from_name(family)
        .ok_or_else(|| Error::new(Outcome::Usage, format!("unknown package family {family}")))?;
    match package::event(family, script, arguments)? {
        Event::FreshInstall | Event::Nothing => Ok(Reply::silent(Outcome::Ok)),
        Event::BeforeUnpack { from, to } => before_unpack(context, family, from, &to),
        Event::Begin { from } => begin(context, family, from),
        Event::Complete => complete(context),
    }
}

/// Returns what runs; none where there is no service manager to tell.
fn running(context: &Context<'_>) -> Result<Option<Vec<String>>> {
    let config = Config::load(&context.layout, context.operator_file)?;
    let manager = services::manager(&context.layout);
    let units = manager.look(&config.app.services)?;
    let up = units.iter().filter(|unit| unit.is_up()).map(|unit| unit.name.clone()).collect();
    Ok(manager.is_present().then_some(up))
}

fn opened(context: &Context<'_>) -> Result<Machine> {
    let layout = context.layout.clone();
    Machine::open(layout, context.operator_file, Arc::clone(&context.progress))
}

/// Opens the machine, or returns none where the application was never configured.
///
/// A package may be installed for months before its database is named. Upgrading it then is no
/// failure; with a unit running, a missing connection string is one.
fn configured(context: &Context<'_>) -> Result<Option<Machine>> {
    match opened(context) {
        Ok(machine) => Ok(Some(machine)),
        Err(error) => {
            let config = Config::load(&context.layout, context.operator_file)?;
            let units = services::manager(&context.layout).look(&config.app.services)?;
            if units.iter().any(|unit| unit.is_up()) || !fresh(&context.layout) {
                return Err(error);
            }
            context
                .progress
                .note(&format!("{}: not configured yet, nothing to upgrade", context.layout.app()));
            Ok(None)
        }
    }
}

/// Returns whether no run has ever been recorded here.
fn fresh(layout: &Layout) -> bool {
    !layout.journal().exists() && !layout.pending_mark().exists()
}
