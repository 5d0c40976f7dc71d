//! The way back to the older version. No package tool is in the way: the same process goes it.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::version::Version;

use super::super::machine::Machine;
use super::super::rollback::order::{Order, Program};
use super::super::rollback::{self, Ended, Who};
use super::Tree;

/// Returns the order that leads back to an older version, with the data as that version knows it.
pub fn order(
    machine: &Machine,
    to: &Version,
    point: Option<&str>,
    running: Vec<String>,
) -> Result<Order> {
    check(machine, to)?;
    let ordered = Order::new(machine, to, Program::Tree);
    Ok(Order {
        point: point.map(str::to_owned),
        restored: point.map(|_| ordered.since.clone()),
        running,
        ..ordered
    })
}

/// Refuses where the older version is not there any more.
pub fn check(machine: &Machine, to: &Version) -> Result<()> {
    find(machine, to).map(drop)
}

/// Returns the older version, or refuses where it is not there any more.
pub fn find(machine: &Machine, to: &Version) -> Result<Tree> {
    let spec = super::switch::spec(machine)?;
    super::find(&machine.layout, spec, to).ok_or_else(|| super::lacking(spec, to))
}

/// Carries out the order that a failed run has left for the older version; none where there is none.
pub fn carry_out(machine: &Machine) -> Result<Option<Box<Order>>> {
    let order = match machine.tree {
        Some(_) => Order::read(&machine.layout)?,
        None => None,
    };
    if order.is_none_or(|order| order.program != Program::Tree || order.failed.is_some()) {
        return Ok(None);
    }
    let reopen = || {
        let (layout, file) = (machine.layout.clone(), machine.operator_file.as_deref());
        let opened = Machine::open(layout, file, Arc::clone(&machine.progress))?;
        Ok(Machine { keyring: machine.keyring.clone(), ..opened })
    };
    match rollback::go_on(machine, &reopen, Who::Machine)? {
        Ended::Done(order) => Ok(Some(order)),
        Ended::NothingOrdered | Ended::WaitsForPackage => Ok(None),
    }
}

/// Lets the older version follow a run that failed, where it was ordered, and says so.
pub fn follow(machine: &Machine, error: Error) -> Error {
    match carry_out(machine) {
        Ok(None) => error,
        Ok(Some(order)) => {
            let again = machine.command(&format!("upgrade --to {}", order.from));
            error
                .outcome_as(Outcome::RolledBack)
                .state(format!("version {} is back with its data, and healthy", order.to))
                .hint(format!("Mend the cause, then run `{again}`."))
        }
        Err(stuck) => stuck.detail(format!("it followed a failure: {}", error.message())),
    }
}
