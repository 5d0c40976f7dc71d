//! `openwatch scriptlet guard`: a whole run of apt or dnf is refused before anything is unpacked.
//!
//! A package's own script can say no for its package alone: apt then leaves the other packages of
//! the run unpacked and not configured, dnf upgrades them. The guards of the installed package (a hook
//! of apt, a plugin of dnf 4, an action of dnf5) ask here first. Only exit status 5 refuses; whatever
//! else happens lets the run go on, and the package's own script is still there.

use std::io::Read;
use std::sync::Arc;

use serde_json::json;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::package::planned::{self, Planned};
use crate::package::{self, candidate, equal};
use crate::upgrade::gate::Pending;
use crate::upgrade::rollback::given_up::GivenUp;
use crate::upgrade::together;

use super::super::Reply;
use super::{Context, early};

/// The variable that switches the guards off for one run.
const SWITCH: &str = "OPENWATCH_GUARD";

/// More than a run of every package of a distribution.
const MOST_BYTES: u64 = 64 << 20;

/// The tool whose run it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    Apt,
    Dnf,
    Dnf5,
}

/// Asks about every application of ours that is in the run.
pub(super) fn run(
    context: &Context<'_>,
    tool: &str,
    arguments: &[String],
    input: &mut dyn Read,
) -> Result<Reply> {
    let (tool, all) = match tool {
        "apt" => {
            let mut text = Vec::new();
            input
                .take(MOST_BYTES)
                .read_to_end(&mut text)
                .map_err(|error| Error::failed("cannot read what apt plans").source(error))?;
            (Tool::Apt, planned::from_apt(&String::from_utf8_lossy(&text))?)
        }
        "dnf" => (Tool::Dnf, planned::from_words(arguments)?),
        "dnf5" => (Tool::Dnf5, planned::from_words(arguments)?),
        other => return Err(Error::new(Outcome::Usage, format!("unknown package tool {other}"))),
    };
    if std::env::var_os(SWITCH).is_some_and(|value| value == "0") {
        return Ok(Reply::silent(Outcome::Ok));
    }
    for layout in package::applications(context.layout.root()) {
        let Some(planned) = of_application(&layout, &all) else { continue };
        let progress = Arc::clone(&context.progress);
        let operator_file = context.operator_file.filter(|_| layout.app() == context.layout.app());
        let own = Context { layout, operator_file, progress, relay: context.relay };
        match ask(&own, planned, &all) {
            Err(error) if error.outcome() == Outcome::Refused => {
                return refused(tool, whole_run(error, tool, &planned.name));
            }
            // It is told, and the package's own script will meet it again.
            Err(error) => context.progress.warn(&error.message()),
            Ok(()) => {}
        }
    }
    Ok(Reply::silent(Outcome::Ok))
}

fn ask(context: &Context<'_>, planned: &Planned, all: &[Planned]) -> Result<()> {
    let layout = &context.layout;
    let installed = package::installed_version(layout, None);
    let known = || Some(candidate::installed(layout).ok()?.version);
    let Some(from) = planned.from.clone().or(installed).or_else(known) else { return Ok(()) };
    // What has begun must be finished: the run may be the repair.
    if Pending::read(layout)?.is_some() {
        return Ok(());
    }
    let config = Config::load(layout, context.operator_file)?;
    if !config.policy.guard {
        return Ok(());
    }
    stay_equal(layout, &config, all)?;
    // Other ways than up are the package's own affair.
    if !planned.to.order(&from).is_gt() {
        return Ok(());
    }
    if let Some(refusal) = GivenUp::refusal(layout, &planned.to) {
        return Err(refusal);
    }
    early::timing(context, &from, &planned.to)?;
    if let Some(file) = planned.file.as_deref().filter(|file| file.is_file()) {
        early::settings(context, file)?;
    }
    early::preflight(context, &planned.to)
}

/// Refuses a run after which packages that must have one version would not.
fn stay_equal(layout: &Layout, config: &Config, all: &[Planned]) -> Result<()> {
    let names = &config.app.equal_versions;
    let left = equal::after(equal::look(layout.root(), names)?, names, all);
    match together::unequal(&left) {
        Some(unfit) => Err(Error::new(Outcome::Refused, format!("after this run {}", unfit.why))
            .hint(unfit.hint.replace(" too.", " in the same run."))),
        None => Ok(()),
    }
}

/// Finds the application's package in the run, mostly of the same name, or one of its set.
fn of_application<'p>(layout: &Layout, planned: &'p [Planned]) -> Option<&'p Planned> {
    let named = |name: &str| planned.iter().find(|planned| planned.name == name);
    let of_set = || {
        let config = Config::load(layout, None).ok()?;
        config.app.equal_versions.iter().find_map(|name| named(name))
    };
    named(layout.app()).or_else(|| named(&candidate::installed(layout).ok()?.name)).or_else(of_set)
}

/// Says what is true of the other packages, and how they go on without ours.
fn whole_run(error: Error, tool: Tool, name: &str) -> Error {
    let without = match tool {
        Tool::Apt => format!("`apt-mark hold {name}` lets the other packages go on without it"),
        Tool::Dnf | Tool::Dnf5 => {
            format!("`--exclude={name}` lets the other packages go on without it")
        }
    };
    error.detail(without).state("nothing was changed; no package of this run was unpacked")
}

/// dnf5 shows what an action prints to standard output, in a form of its own, and nothing else.
fn refused(tool: Tool, error: Error) -> Result<Reply> {
    if tool != Tool::Dnf5 {
        return Err(error);
    }
    let lines = [error.details().join("; "), error.state_line().unwrap_or_default().to_owned()];
    let hint = error.hint_line().unwrap_or_default().to_owned();
    let rest = lines.into_iter().chain([hint]).filter(|line| !line.is_empty());
    let text = rest.fold(format!("error={}", error.message()), |all, line| all + ". " + &line);
    Ok(Reply { outcome: Outcome::Refused, text, json: json!({}) })
}
