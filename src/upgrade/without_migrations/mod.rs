//! An upgrade that has no migration to apply.

use crate::error::Result;
use crate::services::Unit;

use super::fail::{self, Failed, Held};
use super::machine::Machine;
use super::step::Step;
use super::survey::Survey;
use super::{
    Success, Work, baseline, check_health, finish, hold, maintenance, open_journal, rolling,
    stop_services, tree, unit,
};

/// Nothing is pending: no stop, no dump. A new program takes the place of the running one, and an
/// interrupted run gets its units back.
pub(super) fn run(machine: &Machine, survey: &Survey<'_>) -> Result<Success> {
    let (from, to) = (survey.from.clone(), survey.version.clone());
    let started = !survey.running().is_empty();
    let mut success = Success::without_migrations(Work::Nothing, from, to, started);
    let switches = tree::switch::is_due(machine);
    let down = |unit: &Unit| !unit.is_up() && survey.left_down.contains(&unit.name);
    let whole = survey.interrupted.is_none() && !survey.units.iter().any(down);
    if survey.pending.is_none() && whole && !switches {
        unit::ready();
        maintenance::end(machine);
        return Ok(success);
    }
    success.work = Work::Restarted;
    if switches {
        hold::admit(machine, survey, "upgrade")?;
        if let Some(hand_over) = tree::sides::hand_over(machine)? {
            return hand_over.run(machine, survey);
        }
        // No package script has closed the gate: whoever is killed from here on is finished.
        stop_services::close_gate(machine, survey)?;
    }
    let mut journal = open_journal(machine, survey)?;
    let held = Held::new(&journal);
    let began = journal.elapsed();
    let mut running = Vec::new();
    let done = tree::switch::run(machine, &mut journal)
        .map_err(Failed::at(Step::Switch))
        .and_then(|()| {
            running = tree::sides::serving(machine, survey.running());
            rolling::restart(machine, &running, &mut journal)
        })
        .and_then(|started| {
            success.downtime = journal.elapsed().saturating_sub(began);
            check_health::run(machine, started, &mut journal).map_err(Failed::at(Step::Health))?;
            baseline::close(machine, &mut journal).map_err(Failed::at(Step::Health))
        })
        .map_err(
            |failed| if machine.tree.is_some() { failed.without_migrations() } else { failed },
        );
    match done {
        Ok(()) => {
            tree::sides::stop_others(machine, &running);
            success.warnings = journal.losses();
            success.comparison = journal.record().comparison.clone();
            finish(machine, journal);
            Ok(success)
        }
        Err(failed) => Err(fail::close(machine, survey, &mut journal, &held, failed)),
    }
}
