//! Opens the gate and starts exactly the units that ran before.

use std::time::SystemTime;

use crate::error::Result;

use super::apply_migrations::Migrated;
use super::gate::Pending;
use super::journal::Journal;
use super::machine::Machine;
use super::step::Step;
use super::unit;

/// Proof that the units that ran before were started on the right schema.
#[derive(Debug)]
pub struct Started {
    pub(super) at: SystemTime,
    pub(super) units: Vec<String>,
}

/// Opens the gate, then starts the units in the reverse of the stop order.
pub fn run(
    machine: &Machine,
    running: &[String],
    _migrated: Migrated,
    journal: &mut Journal,
) -> Result<Started> {
    journal.begun(Step::Start, running.join(" "))?;
    let at = machine.clock.now();
    if machine.services.is_present() {
        machine.services.reload()?;
    }
    // The schema is right from here on, so the gate may open: units are ordered after the unit that
    // we run in, and would wait for us for ever if we waited for them before saying READY.
    Pending::clear(&machine.layout)?;
    unit::ready();
    let mut units = Vec::new();
    if machine.services.is_present() {
        for name in running.iter().rev() {
            machine.progress.step(&format!("starting {name}"));
            machine.services.start(name)?;
            units.push(name.clone());
        }
    }
    journal.done(Step::Start, "")?;
    Ok(Started { at, units })
}

/// Restarts the units that run, so that a new program takes the place of the old one.
pub fn restart(machine: &Machine, running: &[String], journal: &mut Journal) -> Result<Started> {
    journal.begun(Step::Start, running.join(" "))?;
    let at = machine.clock.now();
    if machine.services.is_present() {
        machine.services.reload()?;
    }
    Pending::clear(&machine.layout)?;
    unit::ready();
    if machine.services.is_present() {
        for name in running.iter().rev() {
            machine.progress.step(&format!("restarting {name}"));
            machine.services.restart(name)?;
        }
    }
    journal.done(Step::Start, "")?;
    Ok(Started { at, units: running.to_vec() })
}
