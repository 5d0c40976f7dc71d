//! Which restore points the machine still needs: whoever removes one asks here first.

use crate::error::Result;
use crate::restore_points::{Needs, Pin};

use super::journal::{self, Record};
use super::machine::Machine;

/// Returns the points of a last run that did not end well, and the one that leads back from the
/// running version.
///
/// A journal that cannot be read may name any of them: then it is not known what is needed.
pub fn restore_points(machine: &Machine) -> Result<Needs> {
    let layout = &machine.layout;
    let mut needs = Needs { running: Some(machine.version.clone()), ..Needs::default() };
    let last = journal::read(layout)?;
    if last.is_none() && layout.journal().exists() {
        let shown = layout.journal().display().to_string();
        needs.doubt = Some(format!("the journal {shown} cannot be read"));
    }
    let open = last.filter(|record| record.outcome.as_deref() != Some("ok"));
    for id in open.into_iter().flat_map(|record| [record.restore_point, record.way_back]).flatten()
    {
        needs.pins.push(Pin { id, reason: "the last upgrade, which did not end well".into() });
    }
    let led_here = |record: &Record| {
        record.outcome.as_deref() == Some("ok")
            && record.to == machine.version
            && record.restore_point.is_some()
    };
    let back = journal::history(layout)?.into_iter().find(led_here);
    if let Some(id) = back.and_then(|record| record.restore_point) {
        needs.pins.push(Pin { id, reason: "the running version, as its way back".into() });
    }
    Ok(needs)
}
