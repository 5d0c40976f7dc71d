//! Two sides of an application: one serves, and the next version is started and proved on the other one
//! before anything is switched.
//!
//! Only where no migration is pending, because both versions then use the same data for a while. Each
//! side runs from a link of its own; the side that serves is the one whose link leads where the link to
//! the running version leads.

use std::path::PathBuf;
use std::time::SystemTime;

use crate::config::{ProbeSpec, Side, TreeSpec};
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::system::fs;

use super::super::gate::Pending;
use super::super::journal::Journal;
use super::super::machine::Machine;
use super::super::rollback::order::Order;
use super::super::start_services;
use super::super::step::Step;
use super::super::survey::Survey;
use super::super::{Success, Work, baseline, check_health, finish, open_journal, telling, unit};
use super::{Tree, current, switch};

/// The next version goes to the side that is idle.
pub(in super::super) struct HandOver<'m> {
    spec: &'m TreeSpec,
    serving: &'m Side,
    idle: &'m Side,
    before: Tree,
    next: &'m Tree,
}

/// Returns how the version that a run is about comes to serve on the other side; none where there is no
/// other side, or where not exactly one of them serves.
pub(in super::super) fn hand_over(machine: &Machine) -> Result<Option<HandOver<'_>>> {
    let (Some(spec), Some(next)) = (&machine.config.tree, &machine.tree) else { return Ok(None) };
    let before = current(spec)?;
    let [one, other] = spec.sides.as_slice() else { return Ok(None) };
    let serves = |side: &Side| -> Result<bool> {
        let up = machine.services.look(&side.services)?.iter().all(|unit| unit.is_up());
        Ok(up && led(spec, side).is_some_and(|dir| dir == before.dir))
    };
    let (serving, idle) = match (serves(one)?, serves(other)?) {
        (true, false) => (one, other),
        (false, true) => (other, one),
        (true, true) | (false, false) => {
            machine.progress.note("not exactly one side serves, so all units are restarted");
            return Ok(None);
        }
    };
    Ok(Some(HandOver { spec, serving, idle, before, next }))
}

impl HandOver<'_> {
    /// Has the idle side prove the next version, switches to it, and stops the other one at last.
    pub(in super::super) fn run(self, machine: &Machine, survey: &Survey<'_>) -> Result<Success> {
        unit::ready();
        // Units do not start behind a closed gate; nothing is switched yet, so nothing is pending either.
        Pending::clear(&machine.layout)?;
        self.prove_idle(machine)?;
        let mut journal = open_journal(machine, survey)?;
        let done = self
            .switch(machine, survey, &mut journal)
            .and_then(|()| self.prove_switched(machine, &mut journal))
            .and_then(|()| baseline::close(machine, &mut journal));
        if let Err(error) = done {
            return Err(self.go_back(machine, &mut journal, error));
        }
        let mut success = Success::without_migrations(
            Work::Restarted,
            survey.from.clone(),
            survey.version.clone(),
            true,
        );
        stop(machine, self.serving);
        success.warnings = journal.losses();
        success.comparison = journal.record().comparison.clone();
        finish(machine, journal);
        Ok(success)
    }

    fn prove_idle(&self, machine: &Machine) -> Result<()> {
        let (next, before) = (&self.next.version, &self.before.version);
        let (idle, serving) = (&self.idle.name, &self.serving.name);
        machine.progress.step(&format!(
            "starting version {next} on {idle}, while version {before} serves on {serving}"
        ));
        let proved = fs::replace_link(&self.spec.link_of(self.idle), &self.next.dir)
            .and_then(|()| machine.services.reload())
            .and_then(|()| {
                let at = machine.clock.now();
                self.idle.services.iter().try_for_each(|unit| machine.services.restart(unit))?;
                check_health::prove(machine, &self.asked_of_idle(machine), at).map(drop)
            });
        proved.map_err(|error| {
            self.leave_idle(machine);
            let again = machine.command(&format!("upgrade --to {next}"));
            error
                .outcome_as(Outcome::Unhealthy)
                .state(format!("nothing was switched; version {before} serves on {serving}"))
                .hint(format!("Mend the cause, then run `{again}`."))
        })
    }

    fn asked_of_idle(&self, machine: &Machine) -> Vec<ProbeSpec> {
        check_health::of_units(machine, &self.idle.services)
    }

    /// Which units ran is written before the link moves: whoever finishes after a kill starts this side.
    fn switch(&self, machine: &Machine, survey: &Survey<'_>, journal: &mut Journal) -> Result<()> {
        let running = Some(self.idle.services.clone());
        let mark = Pending::new(self.next.version.clone(), running, machine.clock);
        Pending { from: survey.from.clone(), ..mark }.write(&machine.layout)?;
        let (before, next) = (&self.before.version, &self.next.version);
        journal.begun(Step::Switch, format!("{before} -> {next}, {}", self.idle.name))?;
        switch::hand(machine, self.spec, self.next, self.idle)?;
        journal.done(Step::Switch, "")
    }

    /// Everything is asked but what only the former side answers.
    fn prove_switched(&self, machine: &Machine, journal: &mut Journal) -> Result<()> {
        let at: SystemTime = start_services::open_gate(machine, &self.idle.services, journal)?;
        let units = self.idle.services.clone();
        let started = start_services::done(machine, at, units, journal)?;
        check_health::run(machine, started, journal).map(drop)
    }

    /// The former side has served all the time, and serves again.
    fn go_back(&self, machine: &Machine, journal: &mut Journal, error: Error) -> Error {
        let (before, serving) = (&self.before.version, &self.serving.name);
        let back = switch::hand(machine, self.spec, &self.before, self.serving)
            .and_then(|()| Pending::clear(&machine.layout));
        let again = machine.command(&format!("upgrade --to {}", self.next.version));
        let error = match back {
            Ok(()) => {
                self.leave_idle(machine);
                error
                    .outcome_as(Outcome::RolledBack)
                    .state(format!(
                        "version {before} serves on {serving} again; no data was touched"
                    ))
                    .hint(format!("Mend the cause, then run `{again}`."))
            }
            // Both sides run, so that whatever was switched to answers.
            Err(left) => error
                .outcome_as(Outcome::Unhealthy)
                .detail(format!("switching back failed too: {}", left.message()))
                .state(format!(
                    "both sides run: version {before} on {serving}, version {} on {}",
                    self.next.version, self.idle.name
                ))
                .hint(format!("Mend the cause, then run `{again}`.")),
        };
        if let Err(problem) = journal.close(error.outcome(), Some(&error)) {
            machine.progress.warn(&format!("the journal is not closed: {}", problem.message()));
        }
        telling::tell(machine, journal.record());
        error
    }

    fn leave_idle(&self, machine: &Machine) {
        stop(machine, self.idle);
        let link = self.spec.link_of(self.idle);
        if let Err(error) = fs::replace_link(&link, &self.before.dir) {
            machine.progress.warn(&error.message());
        }
    }
}

fn stop(machine: &Machine, side: &Side) {
    for name in &side.services {
        machine.progress.step(&format!("stopping {name}"));
        if let Err(error) = machine.services.stop(name, &*machine.progress) {
            machine.progress.warn(&error.message());
        }
    }
}

/// The version that the units of a side run from.
fn led(spec: &TreeSpec, side: &Side) -> Option<PathBuf> {
    std::fs::canonicalize(spec.link_of(side)).ok()
}

/// Returns the directories that either side runs from.
pub(super) fn dirs(spec: &TreeSpec) -> Vec<PathBuf> {
    spec.sides.iter().filter_map(|side| led(spec, side)).collect()
}

/// Of units that ran, those that run the version that is linked: a run that was killed between two
/// sides has left units of the former one. Where none of them does, the side that does.
pub(in super::super) fn serving(machine: &Machine, running: Vec<String>) -> Vec<String> {
    let Some(spec) = machine.config.tree.as_ref().filter(|_| !running.is_empty()) else {
        return running;
    };
    let Ok(now) = current(spec) else { return running };
    let linked = |side: &&Side| led(spec, side).is_some_and(|dir| dir == now.dir);
    let sides: Vec<&Side> = spec.sides.iter().filter(linked).collect();
    let ours = |unit: &&String| sides.iter().any(|side| side.services.contains(unit));
    let kept: Vec<String> = running.iter().filter(ours).cloned().collect();
    match (sides.first(), kept.is_empty()) {
        (None, _) => running,
        (Some(side), true) => side.services.clone(),
        (Some(_), false) => kept,
    }
}

/// Stops the side that a run which was killed has left behind.
pub(in super::super) fn stop_others(machine: &Machine, serving: &[String]) {
    let Some(spec) = machine.config.tree.as_ref().filter(|_| !serving.is_empty()) else { return };
    let other = |side: &&Side| !side.services.iter().any(|unit| serving.contains(unit));
    spec.sides.iter().filter(other).for_each(|side| stop(machine, side));
}

/// Returns the side that serves, or will when the run is done: what the packager's command switches to.
pub(super) fn named<'m>(machine: &Machine, spec: &'m TreeSpec) -> Option<&'m Side> {
    let marked = || Pending::read(&machine.layout).ok().flatten().and_then(|mark| mark.running);
    let ordered = || Order::read(&machine.layout).ok().flatten().map(|order| order.running);
    let units = ordered().or_else(marked)?;
    spec.sides.iter().find(|side| side.services.iter().any(|unit| units.contains(unit)))
}
