//! Units against their presets, and against what the last run left running.

use crate::package::altered::Standing as PackageStanding;
use crate::services::{Activity, Load, Standing};
use crate::upgrade::gate::Pending;
use crate::upgrade::gate::opened::Opened;
use crate::upgrade::journal;
use crate::upgrade::machine::Machine;
use crate::upgrade::rollback::order::Order;
use crate::upgrade::ways_out;

use super::{Area, Package, Report};

/// Where packages have their units, with merged and separate `/usr`.
const UNIT_DIRS: [&str; 2] = ["/usr/lib/systemd/system", "/lib/systemd/system"];

/// Kinds of units that wait for something and are up meanwhile.
const WAITING: [&str; 3] = [".timer", ".socket", ".path"];

pub(super) fn look(machine: &Machine, package: Option<&Package>, report: &mut Report) {
    if !machine.services.is_present() {
        return report.not_compared(Area::Units, "there is no service manager");
    }
    let services = &machine.config.app.services;
    let mut names = services.clone();
    let packaged = package.map(|package| shipped(&package.standing)).unwrap_or_default();
    names.extend(packaged.into_iter().filter(|name| !services.contains(name)));
    let found = match machine.services.standing(&names) {
        Ok(found) => found,
        Err(error) => return report.not_compared(Area::Units, error.message()),
    };
    let should = Should::read(machine);
    for standing in &found {
        let is_service = services.contains(&standing.unit.name);
        files_of(standing, package, report);
        if is_service && standing.unit.load == Load::Unusable {
            let mend = match package {
                Some(package) => package.reinstall(),
                None => format!("Look with `systemctl status {}`.", standing.unit.name),
            };
            report.drifted(
                Area::Units,
                &standing.unit.name,
                "a unit",
                "none, or a broken one",
                mend,
            );
            continue;
        }
        activity(standing, is_service, &should, report);
    }
}

/// The units that the package brings; a template is none by itself.
fn shipped(standing: &PackageStanding) -> Vec<String> {
    let mut names: Vec<String> = standing
        .files
        .iter()
        .filter(|path| UNIT_DIRS.iter().any(|dir| path.parent() == Some(dir.as_ref())))
        .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
        .filter(|name| !name.contains('@'))
        .filter(|name| {
            [".service", ".target", ".mount"].iter().chain(&WAITING).any(|end| name.ends_with(end))
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

/// What should run.
struct Should {
    /// What ran when the last good run began, and was started by it; none before there was one.
    running: Option<Vec<String>>,
    /// What mends a closed gate, where it is closed.
    closed: Option<String>,
}

impl Should {
    fn read(machine: &Machine) -> Self {
        let last = journal::read(&machine.layout).ok().flatten();
        let good = last.filter(|record| record.outcome.as_deref() == Some("ok"));
        // After a run that stopped nothing, such as `migrate`, nothing can be known.
        let running = good.map(|record| record.running).filter(|running| !running.is_empty());
        let rollback = !matches!(Order::read(&machine.layout), Ok(None));
        let closed = match Pending::read(&machine.layout) {
            _ if Opened::holding(&machine.layout, machine.clock).is_some() => None,
            _ if rollback => Some(machine.command("rollback")),
            Ok(None) => None,
            Ok(Some(mark)) => Some(ways_out::retry_command(machine, mark.family)),
            Err(_) => Some(machine.command("status")),
        };
        Self { running, closed }
    }

    fn run(&self, standing: &Standing) -> Option<&'static str> {
        match &self.running {
            Some(running) => {
                running.contains(&standing.unit.name).then_some("running, as before the last run")
            }
            None => (standing.enabled == "enabled").then_some("running, because it is enabled"),
        }
    }
}

/// The files that a unit is made of.
fn files_of(standing: &Standing, package: Option<&Package>, report: &mut Report) {
    let name = &standing.unit.name;
    if standing.needs_reload {
        let mend = "Run `systemctl daemon-reload`.".to_owned();
        let is = "other files on disk than systemd has read";
        report.drifted(Area::Units, name, "set up as its files say", is, mend);
    }
    let packaged = package.is_some_and(|package| shipped(&package.standing).contains(name));
    match standing.overriding() {
        Some(path) if packaged && standing.unit.load != Load::Masked => {
            let is = format!("{}, in which upgrades change nothing", path.display());
            let mend =
                format!("Keep what you need in a drop-in, then run `systemctl revert {name}`.");
            report.drifted(Area::Units, name, "the unit file of the package", &is, mend);
        }
        Some(_) | None => {}
    }
    for path in standing.operator_drop_ins() {
        let is = format!("changed by {}", path.display());
        let mend = format!("Nothing has to be done. Look with `systemctl cat {name}`.");
        report.chosen(Area::Units, name, "as the package has it", &is, mend);
    }
}

/// What a unit does, and does at boot.
fn activity(standing: &Standing, is_service: bool, should: &Should, report: &mut Report) {
    let unit = &standing.unit;
    let name = unit.name.as_str();
    let look = format!("Nothing has to be done. Look with `systemctl status {name}`.");
    if unit.load == Load::Masked {
        return report.chosen(Area::Units, name, "not masked", "masked", look);
    }
    if standing.preset == "enabled" && standing.enabled == "disabled" {
        report.chosen(Area::Units, name, "enabled by its preset", "disabled", look);
    }
    let start = || match &should.closed {
        Some(command) => format!("The gate is closed: run `{command}`."),
        None => format!("Run `systemctl start {name}`."),
    };
    let waits = WAITING.iter().any(|end| name.ends_with(end));
    let wanted = match (is_service, waits) {
        (true, _) => should.run(standing),
        (false, true) => {
            (standing.enabled == "enabled").then_some("waiting, because it is enabled")
        }
        (false, false) => None,
    };
    match unit.active {
        Activity::Failed => {
            let is = format!("failed: {}", standing.result);
            let mend = match (is_service || waits, &should.closed) {
                (true, _) | (false, Some(_)) => start(),
                // What ended badly and is over: nothing has to run, only to be known.
                (false, None) => format!(
                    "Run `systemctl reset-failed {name}` once you know what `journalctl -u {name}` tells."
                ),
            };
            report.drifted(Area::Units, name, wanted.unwrap_or("not failed"), &is, mend);
        }
        Activity::Down => {
            if let Some(wanted) = wanted {
                report.drifted(Area::Units, name, wanted, "stopped", start());
            }
        }
        Activity::Up | Activity::Changing => {}
    }
}
