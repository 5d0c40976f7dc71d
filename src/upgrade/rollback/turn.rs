//! Whose turn it is: the package tool's first, then ours, with the order read anew.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::package::{Family, busy, exchange};
use crate::system::lock::FileLock;

use super::super::gate::Pending;
use super::super::machine::Machine;
use super::super::{run_log, unit};
use super::order::Order;
use super::{Who, ends, steps};

/// How long another run of the package tools is waited for.
const BUSY_LIMIT: Duration = Duration::from_secs(2 * 60 * 60);

/// Takes the lock of the machine while no package tool is at work, and reads the order; none where
/// nothing is ordered.
///
/// READY is said first: a script of the very tool that is waited for may start units that are ordered
/// after ours. The gate guards them, not the order of jobs. The lock is given back while we wait: that
/// tool may be upgrading this application, and its upgrade needs the lock.
pub(super) fn take(machine: &Machine, who: Who) -> Result<Option<(FileLock, Order)>> {
    unit::ready();
    let mut logged = false;
    loop {
        let lock = machine.lock("rollback")?;
        if !logged {
            run_log::begin(&machine.layout, &*machine.progress);
            logged = true;
        }
        let Some(order) = Order::read(&machine.layout)? else { return Ok(None) };
        let held_back = who == Who::Machine && order.failed.is_some();
        let Some(family) = in_the_way(machine, &order).filter(|_| !held_back) else {
            return Ok(Some((lock, order)));
        };
        drop(lock);
        let root = machine.layout.root();
        if let Err(error) = busy::wait(root, family, BUSY_LIMIT, &*machine.progress) {
            return Err(given_up(machine, who, error));
        }
    }
}

/// Returns whose tools change packages at this instant, where we have a package to change too.
fn in_the_way(machine: &Machine, order: &Order) -> Option<Family> {
    let (installed, _) = steps::exchanged(machine, order)?;
    busy::holder(machine.layout.root(), installed.family)?;
    (!exchange::is_there(&installed, &order.to)).then_some(installed.family)
}

fn given_up(machine: &Machine, who: Who, error: Error) -> Error {
    let end = || -> Result<Option<(FileLock, Order, Option<Pending>)>> {
        let lock = machine.lock("rollback")?;
        let marked = Pending::read(&machine.layout)?;
        Ok(Order::read(&machine.layout)?.map(|order| (lock, order, marked)))
    };
    match end() {
        Ok(Some((_lock, order, marked))) => {
            ends::given_back(machine, &order, marked.as_ref(), who, error)
        }
        Ok(None) => error,
        Err(problem) => error.detail(problem.message()),
    }
}
