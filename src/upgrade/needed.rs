//! Which restore points the machine still needs: whoever removes one asks here first.

use crate::error::Result;
use crate::restore_points::{Needs, Pin};

use super::appliance;
use super::journal::{self, Direction, Record};
use super::machine::Machine;
use super::ran_before::Ran;
use super::rollback::order::Order;

/// Who needs what the last run used, where it did not end well.
pub const OPEN: &str = "the last upgrade, which did not end well";

/// What the journal says of the last run.
pub enum LastRun {
    /// There was none.
    None,
    /// There was one, and its journal cannot be read: it may need anything.
    Unread,
    /// It ended well.
    Well,
    /// It did not end well, or not yet.
    Open(Box<Record>),
}

/// Reads how the last run ended.
pub fn last_run(machine: &Machine) -> Result<LastRun> {
    Ok(match journal::read(&machine.layout)? {
        None if machine.layout.journal().exists() => LastRun::Unread,
        None => LastRun::None,
        Some(record) if record.outcome.as_deref() == Some("ok") => LastRun::Well,
        Some(record) => LastRun::Open(Box::new(record)),
    })
}

/// Returns the points of a last run that did not end well, and the one that leads back from the
/// running version.
///
/// A journal that cannot be read may name any of them: then it is not known what is needed.
pub fn restore_points(machine: &Machine) -> Result<Needs> {
    let layout = &machine.layout;
    let mut needs = Needs { running: Some(machine.version.clone()), ..Needs::default() };
    match last_run(machine)? {
        LastRun::None | LastRun::Well => {}
        LastRun::Unread => {
            let shown = layout.journal().display().to_string();
            needs.doubt = Some(format!("the journal {shown} cannot be read"));
        }
        LastRun::Open(record) => {
            for id in [record.restore_point, record.way_back].into_iter().flatten() {
                needs.pins.push(Pin { id, reason: OPEN.into() });
            }
        }
    }
    // Between unpacking and the mark the version that serves is still the one from before.
    if let Some(ran) = Ran::of_cut_off(layout) {
        needs.doubt.get_or_insert(format!("version {} is just being replaced", ran.version));
    }
    // A rollback under way needs its point and the copy of the present state, whatever the journal says.
    if let Some(order) = Order::read(layout)? {
        for id in [order.point, order.copied].into_iter().flatten() {
            needs.pins.push(Pin { id, reason: "a rollback that is under way".into() });
        }
    }
    match appliance::needed(machine) {
        Ok(ids) => {
            let reason = "the upgrade that the data disk tells of";
            needs.pins.extend(ids.into_iter().map(|id| Pin { id, reason: reason.into() }));
        }
        Err(_) => {
            needs.doubt.get_or_insert("what the data disk tells cannot be read".into());
        }
    }
    let led_here = |record: &Record| {
        // A rollback led here too, and what it made is a copy of what it left behind.
        record.direction == Direction::Forward
            && record.outcome.as_deref() == Some("ok")
            && record.to == machine.version
            && record.restore_point.is_some()
    };
    let back = journal::history(layout)?.into_iter().find(led_here);
    if let Some(id) = back.and_then(|record| record.restore_point) {
        needs.pins.push(Pin { id, reason: "the running version, as its way back".into() });
    }
    Ok(needs)
}
