//! A rolling restart: each unit is proved before the next one goes down, so that the others serve.
//!
//! Only where no migration is pending, because two versions then run on the same schema for a while.

use std::time::{Duration, SystemTime};

use crate::config::Restart;
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::system::clock::{self, Deadline};
use crate::system::signals;

use super::check_health;
use super::fail::Failed;
use super::journal::Journal;
use super::machine::Machine;
use super::start_services::{self, Started};
use super::step::Step;

/// Restarts the units that ran, as the packager wants it: together, or one after the other.
pub(super) fn restart(
    machine: &Machine,
    running: &[String],
    journal: &mut Journal,
) -> std::result::Result<Started, Failed> {
    let several = running.len() > 1 && machine.services.is_present();
    match machine.config.app.restart {
        Restart::Rolling if several => one_by_one(machine, running, journal),
        Restart::Rolling | Restart::Together => {
            start_services::restart(machine, running, journal).map_err(Failed::at(Step::Start))
        }
    }
}

fn one_by_one(
    machine: &Machine,
    running: &[String],
    journal: &mut Journal,
) -> std::result::Result<Started, Failed> {
    let at = start_services::open_gate(machine, running, journal)
        .map_err(|error| Failed::at(Step::Start)(error).leaving(running))?;
    let wanted = start_services::unmasked(machine, running)
        .map_err(|error| Failed::at(Step::Start)(error).leaving(running))?;
    let order = start_services::order(&wanted, &machine.config.app.start_first);
    for (place, name) in order.iter().copied().enumerate() {
        let done = pause(machine, place).and_then(|()| next(machine, name, at));
        if let Err(error) = done {
            let others: Vec<String> = running.iter().filter(|u| *u != name).cloned().collect();
            let error = error.detail(format!(
                "unit {} of {}; the others were left as they run",
                place + 1,
                order.len()
            ));
            return Err(Failed::at(Step::Health)(error).leaving(&others));
        }
    }
    let units = order.into_iter().cloned().collect();
    start_services::done(machine, at, units, journal).map_err(Failed::at(Step::Start))
}

fn next(machine: &Machine, name: &String, at: SystemTime) -> Result<()> {
    machine.progress.step(&format!("restarting {name}"));
    machine.services.restart(name)?;
    let asked = check_health::of_units(machine, std::slice::from_ref(name));
    check_health::prove(machine, &asked, at).map(drop)
}

/// Waits before every unit but the first, as long as nobody asks us to stop.
fn pause(machine: &Machine, place: usize) -> Result<()> {
    let pause = if place == 0 { Duration::ZERO } else { machine.config.app.restart_pause };
    let deadline = Deadline::after(pause);
    loop {
        if let Some(signal) = signals::received() {
            let message = format!("the rolling restart was stopped: we received {signal}");
            return Err(Error::new(Outcome::Unhealthy, message));
        }
        if deadline.remaining().is_zero() {
            return Ok(());
        }
        clock::pause(deadline.remaining().min(Duration::from_millis(200)));
    }
}
