//! The older package after a failure that left the data as it was, or put it back by itself.
//!
//! The upgrade runs inside a transaction of the package tool, which cannot be called from there: the
//! rollback is ordered only, and its own unit carries it out when the transaction has ended.

use crate::config::OnFailure;
use crate::error::Result;
use crate::package::candidate;
use crate::system::clock;
use crate::version::Version;

use super::super::gate::Pending;
use super::super::machine::Machine;
use super::super::tree;
use super::order::{FORMAT, Keep, Order, Program, Wish};
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
    let now = clock::rfc3339(machine.clock.now());
    let order = Order {
        format: FORMAT,
        since: now.clone(),
        from: machine.version.clone(),
        to: to.clone(),
        package: Some(installed.name),
        family: Some(installed.family),
        program: Program::Exchanged { file },
        point: point.map(str::to_owned),
        restored: point.map(|_| now),
        copy: Keep::Nothing,
        wish: Wish::Unsaid,
        beside: false,
        copied: None,
        running: mark.running.clone().unwrap_or_default(),
        failed: None,
    };
    order.write(layout)?;
    machine.services.schedule(&layout.rollback_unit())?;
    machine.progress.note(&format!(
        "version {to} follows when the package tool has ended, in {}",
        layout.rollback_unit()
    ));
    Ok(())
}
