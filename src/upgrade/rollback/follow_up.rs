//! The older package after a failure that left the data as it was, or put it back by itself.
//!
//! The upgrade runs inside a transaction of the package tool, which cannot be called from there: the
//! rollback is ordered only, and its own unit carries it out when the transaction has ended.

use crate::config::OnFailure;
use crate::error::Result;
use crate::package::candidate;
use crate::version::Version;

use super::super::gate::Pending;
use super::super::machine::Machine;
use super::super::tree;
use super::order::{Order, Program};
use super::source;

/// Orders the older package, where the operator allows it and the package is at hand; what stands in
/// the way is told and fails nothing, because the data is safe and the gate closed.
pub fn order(machine: &Machine, mark: &Pending, point: Option<&str>) {
    let policy = &machine.config.policy;
    let wanted = policy.rollback_package || machine.tree.is_some();
    if policy.on_failure != OnFailure::Restore || !wanted {
        return;
    }
    let Some(from) = mark.from.as_ref().filter(|from| from.order(&machine.version).is_lt()) else {
        return;
    };
    if let Err(error) = schedule(machine, mark, from, point) {
        let why = error.message();
        machine.progress.warn(&format!("version {from} does not follow by itself: {why}"));
    }
}

fn schedule(machine: &Machine, mark: &Pending, to: &Version, point: Option<&str>) -> Result<()> {
    let layout = &machine.layout;
    if machine.tree.is_some() {
        let running = mark.running.clone().unwrap_or_default();
        return tree::back::order(machine, to, point, running)?.write(layout);
    }
    let installed = candidate::installed(layout)?;
    let source = source::look(layout, &installed, to)?
        .map_err(|lack| source::lacking(&installed.name, to, point, &lack))?;
    let file = source::bring(layout, &installed, to, &source)?;
    let ordered = Order::new(machine, to, Program::Exchanged { file });
    let order = Order {
        package: Some(installed.name),
        family: Some(installed.family),
        point: point.map(str::to_owned),
        restored: point.map(|_| ordered.since.clone()),
        running: mark.running.clone().unwrap_or_default(),
        ..ordered
    };
    order.write(layout)?;
    machine.services.schedule(&layout.rollback_unit())?;
    machine.progress.note(&format!(
        "version {to} follows when the package tool has ended, in {}",
        layout.rollback_unit()
    ));
    Ok(())
}
