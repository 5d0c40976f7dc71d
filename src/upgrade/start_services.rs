//! Opens the gate and starts exactly the units that ran before.

use std::time::SystemTime;

use crate::error::Result;
use crate::services::{Load, Standing};

use super::apply_migrations::Migrated;
use super::gate::Pending;
use super::hooks;
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

/// How units come up.
#[derive(Clone, Copy)]
enum How {
    /// They are down.
    Start,
    /// They may run, under the program of before.
    Restart,
}

/// Opens the gate, then starts the units in their order.
pub fn run(
    machine: &Machine,
    running: &[String],
    _migrated: Migrated,
    journal: &mut Journal,
) -> Result<Started> {
    bring_up(machine, running, How::Start, journal)
}

/// Restarts the units that ran, so that a new program takes the place of the old one; nothing was
/// pending, which is why no proof of a migration is asked for.
pub fn restart(machine: &Machine, running: &[String], journal: &mut Journal) -> Result<Started> {
    bring_up(machine, running, How::Restart, journal)
}

/// What the packager wants first, then the others in the reverse of the stop order.
pub(super) fn order<'u>(running: &'u [String], first: &'u [String]) -> Vec<&'u String> {
    let named = first.iter().filter(|unit| running.contains(unit));
    named.chain(running.iter().rev().filter(|unit| !first.contains(unit))).collect()
}

fn bring_up(
    machine: &Machine,
    running: &[String],
    how: How,
    journal: &mut Journal,
) -> Result<Started> {
    let at = open_gate(machine, running, journal)?;
    let managed = machine.services.is_present();
    let mut units = Vec::new();
    let wanted = unmasked(machine, running)?;
    let order = order(&wanted, &machine.config.app.start_first);
    for name in order.into_iter().filter(|_| managed) {
        match how {
            How::Start => {
                machine.progress.step(&format!("starting {name}"));
                machine.services.start(name)?;
            }
            How::Restart => {
                machine.progress.step(&format!("restarting {name}"));
                machine.services.restart(name)?;
            }
        }
        units.push(name.clone());
    }
    done(machine, at, units, journal)
}

/// Leaves out what the operator has masked. That stops nothing: a unit that ran may be masked since
/// before it was stopped, or since an attempt that failed. It is looked at once the manager has read
/// its files anew.
pub(super) fn unmasked(machine: &Machine, running: &[String]) -> Result<Vec<String>> {
    let units = machine.services.look(running)?;
    let (masked, wanted): (Vec<_>, Vec<_>) =
        units.into_iter().partition(|unit| unit.load == Load::Masked);
    for unit in masked {
        machine.progress.note(&format!("{} is masked and is left as it is", unit.name));
    }
    Ok(wanted.into_iter().map(|unit| unit.name).collect())
}

/// Opens the gate; units may be started from here on. Returns this moment.
pub(super) fn open_gate(
    machine: &Machine,
    running: &[String],
    journal: &mut Journal,
) -> Result<SystemTime> {
    hooks::before(machine, Step::Start, &*journal)?;
    journal.begun(Step::Start, running.join(" "))?;
    let at = machine.clock.now();
    if machine.services.is_present() {
        machine.services.reload()?;
    }
    let unbooted = Pending::read(&machine.layout)?.is_some_and(|mark| mark.unbooted);
    // The schema is right from here on, so the gate may open: units are ordered after the unit that
    // we run in, and would wait for us for ever if we waited for them before saying READY.
    Pending::clear(&machine.layout)?;
    unit::ready();
    if unbooted && running.is_empty() {
        schedule_enabled(machine);
    }
    Ok(at)
}

/// Asks for what starts with the machine, where nobody could see what ran: the boot's own start of it
/// was refused at the gate if the database came late, and is not tried again.
///
/// As at every boot, nobody waits for these units: one that has nothing to do here, or never worked,
/// is no failure of the upgrade.
fn schedule_enabled(machine: &Machine) {
    let units = machine.services.standing(&machine.config.app.services).unwrap_or_else(|error| {
        machine.progress.warn(&error.message());
        Vec::new()
    });
    let down = |found: &&Standing| found.enabled.starts_with("enabled") && !found.unit.is_up();
    let names: Vec<String> =
        units.iter().filter(down).map(|found| found.unit.name.clone()).collect();
    for name in order(&names, &machine.config.app.start_first) {
        machine.progress.step(&format!("starting {name}, which starts with the machine"));
        if let Err(error) = machine.services.schedule(name) {
            machine.progress.warn(&error.message());
        }
    }
}

/// Notes that these units were started.
pub(super) fn done(
    machine: &Machine,
    at: SystemTime,
    units: Vec<String>,
    journal: &mut Journal,
) -> Result<Started> {
    journal.done(Step::Start, "")?;
    hooks::after(machine, Step::Start, &*journal);
    Ok(Started { at, units })
}
