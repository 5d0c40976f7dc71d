//! A rollback that goes on: the package half may need another file, or another hand.

use std::path::Path;

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::package::candidate::{self, Installed};
use crate::package::{self, busy};

use super::super::machine::Machine;
use super::super::ways_out;
use super::order::{Order, Program};
use super::source::{self, Source};

/// Returns the order with the older package in it: the file that is named now, or, where a package tool
/// was to put it in that is not at work any more, the one that is at hand.
pub fn with_package(machine: &Machine, order: Order, named: Option<&Path>) -> Result<Order> {
    let layout = &machine.layout;
    let left_alone = || {
        let found = package::installed_version(layout, None);
        let is_back = found.is_some_and(|version| order.leads_to(&version));
        let holder = order.family.and_then(|family| busy::holder(layout.root(), family));
        is_back || holder.is_some()
    };
    match (named, &order.program) {
        (None, Program::Exchanged { .. }) | (_, Program::Tree) => return Ok(order),
        (None, Program::ByHand) if left_alone() => return Ok(order),
        (Some(_), _) | (None, Program::ByHand) => {}
    }
    let (installed, file) = look(machine, &order, named).map_err(|error| {
        let state = format!("{}; the gate is closed", order.halves(&machine.version));
        let by_tool = ways_out::older_package(machine, &order.to, order.family);
        let forward = machine.command("upgrade --retry");
        error.state(state).hint(format!(
            "To finish it, name the package with `{}`, or {by_tool}; to go forward again, run \
             `{forward}`.",
            machine.command("rollback --package FILE")
        ))
    })?;
    Ok(Order {
        package: Some(installed.name),
        family: Some(installed.family),
        program: Program::Exchanged { file },
        ..order
    })
}

/// Looks for the package and keeps it; returns its name among those that are kept.
fn look(machine: &Machine, order: &Order, named: Option<&Path>) -> Result<(Installed, String)> {
    let layout = &machine.layout;
    let (to, installed) = (&order.to, installed(machine, order)?);
    let source: Source = match named {
        Some(file) => {
            let (source, version) = source::named(file, &installed)?;
            if !order.leads_to(&version) {
                let message = format!("{} is version {version}, not {to}", file.display());
                return Err(Error::new(Outcome::Usage, message));
            }
            source
        }
        None => source::look(layout, &installed, to)?
            .map_err(|lack| source::lacking(&installed.name, to, None, &lack))?,
    };
    let file = source::bring(layout, &installed, to, &source)?;
    Ok((installed, file))
}

/// What the order says of the package counts: where its tool was killed half way, its database may
/// name none, or two.
fn installed(machine: &Machine, order: &Order) -> Result<Installed> {
    match (&order.package, order.family) {
        (Some(name), Some(family)) => {
            let version = machine.version.clone();
            Ok(Installed { name: name.clone(), version, family })
        }
        (None, _) | (Some(_), None) => candidate::installed(&machine.layout),
    }
}
