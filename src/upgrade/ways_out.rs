//! The ways out of a failed or interrupted run: commands to paste, each one that works here.

use std::fmt;

use crate::migrations::DataState;
use crate::package::{Family, candidate};
use crate::version::Version;

use super::external;
use super::fail::Held;
use super::identity;
use super::machine::Machine;
use super::rollback::source::{self, Lack, Source};
use super::step::Step;
use super::survey::Survey;

/// Names the way forward and the way back, as commands to paste.
pub(super) fn forward_or_back(
    machine: &Machine,
    survey: &Survey<'_>,
    held: &Held,
    data: DataState,
    family: Option<Family>,
) -> String {
    let forward = format!("Mend the cause and run `{}`", retry_command(machine, family));
    forward + &way_back(machine, survey, held, data, family)
}

/// Names the ways after an interruption: nothing has to be mended.
pub(super) fn on_or_back(
    machine: &Machine,
    survey: &Survey<'_>,
    held: &Held,
    step: Step,
    family: Option<Family>,
) -> String {
    let on = machine.command("upgrade --resume");
    let forward = format!("Run `{on}` to go on, as the next boot does by itself");
    match step {
        Step::Start | Step::Health => {
            forward + &way_back(machine, survey, held, DataState::Partly, family)
        }
        Step::Preflight
        | Step::Quiesce
        | Step::RestorePoint
        | Step::Switch
        | Step::Migrate
        | Step::Restore
        | Step::Package => {
            format!("{forward}; to go back, `{}`.", machine.command("upgrade --undo"))
        }
    }
}

/// Names the way back, as the end of a sentence.
fn way_back(
    machine: &Machine,
    survey: &Survey<'_>,
    held: &Held,
    data: DataState,
    family: Option<Family>,
) -> String {
    let point = match (held.point(), data) {
        (Some(id), DataState::Partly | DataState::Unknown) => Some(id),
        (None, _) | (_, DataState::Unchanged) => None,
    };
    let opens = point.map_or("", |_| identity::to_be_named(machine));
    let package = survey.from.as_ref().map(|from| look_for(machine, from, family, opens));
    let restore = point.map(|id| external::way_back(machine, id));
    match (restore, package) {
        // A rollback puts the data back too, unless it is left to the tool of somebody else.
        (Some(_), Some(Older::ByRollback(package)))
            if point.is_some_and(|id| !external::is_put_back_by_others(machine, id)) =>
        {
            format!("; to go back, {package}.")
        }
        (Some(restore), Some(package)) => format!("; to go back, {restore}, then {package}."),
        (Some(restore), None) => format!("; to go back, {restore}."),
        (None, Some(package)) => format!("; to go back, {package}."),
        (None, None) => ".".into(),
    }
}

/// What brings an older package back.
enum Older {
    /// `openwatch rollback`, which has or takes its file; the words with the command.
    ByRollback(String),
    /// The package tool's own command, or the bare version where nobody knows one.
    ByTool(String),
}

impl fmt::Display for Older {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::ByRollback(words) | Self::ByTool(words)) = self;
        f.write_str(words)
    }
}

/// Returns the command that brings this older version back, or says it where nobody knows the command.
pub fn older_package(machine: &Machine, version: &Version, family: Option<Family>) -> String {
    look_for(machine, version, family, "").to_string()
}

/// The package tool's own command only where it has the package: a copy is known to a rollback alone,
/// and what is nowhere has to be named. `opens` is the option that a rollback needs for the data.
fn look_for(machine: &Machine, version: &Version, family: Option<Family>, opens: &str) -> Older {
    let app = machine.layout.app();
    if machine.tree.is_some() {
        return Older::ByRollback(format!("`{}`", machine.command(&format!("rollback{opens}"))));
    }
    let by_tool = match family {
        Some(Family::Deb) => format!("`apt-get install --allow-downgrades {app}={version}`"),
        Some(Family::Rpm) => format!("`dnf downgrade {app}-{version}`"),
        None => return Older::ByTool(format!("install version {version}")),
    };
    let looked = candidate::installed(&machine.layout)
        .and_then(|installed| source::look(&machine.layout, &installed, version));
    match looked {
        Ok(Ok(Source::Named(_) | Source::Kept(_) | Source::Cached(_))) => {
            Older::ByRollback(format!("`{}`", machine.command(&format!("rollback{opens}"))))
        }
        Ok(Err(Lack::NotOffered)) => {
            let key = if opens.is_empty() { "" } else { " and KEY holds the identity" };
            let words = format!("rollback --package FILE{}", opens.replace("FILE", "KEY"));
            Older::ByRollback(format!(
                "`{}`, where FILE is the package {app} {version}, which no package source offers any \
                 more{key}",
                machine.command(&words)
            ))
        }
        // What cannot be asked is left to the package tool to say.
        Ok(Ok(Source::Offered(_)) | Err(Lack::NotAsked(_))) | Err(_) => Older::ByTool(by_tool),
    }
}

/// Returns the command that tries the upgrade again and repairs the package's own state.
pub fn retry_command(machine: &Machine, family: Option<Family>) -> String {
    match family {
        Some(family) => family.retry_command(machine.layout.app()),
        None => machine.command("upgrade --retry"),
    }
}
