//! How an attempt ends that did not reach the end: given back, put off, stuck, or half by hand.

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::package::{self, busy};
use crate::system::signals;

use super::super::gate::{self, Pending};
use super::super::journal::Journal;
use super::super::machine::Machine;
use super::super::step::Step;
use super::super::{fail, maintenance, start_services, telling, tree, unit};
use super::order::{Order, Program};
use super::steps::Failed;
use super::{Ended, Who, refused};

fn again(machine: &Machine) -> String {
    machine.command("rollback")
}

fn closed(machine: &Machine, order: &Order) -> String {
    let installed = match &machine.config.tree {
        Some(spec) => tree::current(spec).ok().map(|tree| tree.version),
        None => package::installed_version(&machine.layout, None),
    };
    let installed = installed.unwrap_or_else(|| machine.version.clone());
    format!("{}; the gate is closed", order.halves(&installed))
}

/// Says no to another attempt by the machine itself, until a person has looked.
pub(super) fn held_back(machine: &Machine, order: &Order, failed: &gate::Failed) -> Error {
    let message = format!("the rollback to {} failed and is not tried again by itself", order.to);
    let error = Error::new(Outcome::Stuck, message)
        .detail(format!("it ended as {}: {}", failed.outcome, failed.message))
        .state(closed(machine, order))
        .hint(format!("Mend the cause, then run `{}`.", again(machine)));
    refused::note(machine, order, &error);
    error
}

/// What may be there in a moment: the package tool ends, the database answers.
fn passes(error: &Error) -> bool {
    matches!(error.outcome(), Outcome::Busy | Outcome::Unreachable)
}

/// Nothing has been changed by this attempt. Where none before it changed anything either, the order
/// goes and all is as it was; but what is only put off is tried again by the unit.
pub(super) fn given_back(
    machine: &Machine,
    order: &Order,
    marked: Option<&Pending>,
    who: Who,
    error: Error,
) -> Error {
    let begun = order.has_begun(marked);
    // Nobody waits any more for the data half of a package that was to be put in by hand.
    let is_wanted = begun || order.program != Program::ByHand;
    let stays = who == Who::Machine && passes(&error) && is_wanted;
    let later = match error.outcome() {
        Outcome::Unreachable => "The rollback goes on by itself when the database answers",
        _ => "The rollback goes on by itself",
    };
    let own = error.hint_line().map(|hint| format!("{hint} ")).unwrap_or_default();
    let error = match (begun, stays) {
        (true, true) => error
            .state(closed(machine, order))
            .hint(format!("{own}{later}; to go on at once, run `{}`.", again(machine))),
        (true, false) => error
            .state(closed(machine, order))
            .hint(format!("{own}Mend the cause, then run `{}`.", again(machine))),
        (false, true) => error.state("nothing was changed").hint(format!("{own}{later}.")),
        (false, false) => match Order::clear(&machine.layout) {
            Ok(()) => error.state("nothing was changed"),
            Err(problem) => error.detail(problem.message()),
        },
    };
    refused::note(machine, order, &error);
    if who == Who::Machine {
        telling::unfinished_back(machine, order, &error);
    }
    error
}

/// The data is back, and the program is left to the package tool that was called by hand; where none is
/// at work any more, a person has to say how it goes on.
pub(super) fn half_way(
    machine: &Machine,
    order: &Order,
    journal: &mut Journal,
    who: Who,
) -> Result<Ended> {
    let holder = order.family.and_then(|family| busy::holder(machine.layout.root(), family));
    if who == Who::PackageTool || holder.is_some() {
        machine.progress.note("the data is back; the package tool goes on");
        journal.close(Outcome::Pending, None)?;
        return Ok(Ended::WaitsForPackage);
    }
    let message = format!("the data is back at version {}, but the program is not", order.to);
    let error = Error::new(Outcome::Pending, message)
        .detail("the package tool that was to put it in has ended")
        .state(closed(machine, order))
        .hint(format!(
            "Run `{}` to finish it, or `{}` to go forward again.",
            again(machine),
            machine.command("upgrade --retry")
        ));
    journal.close(Outcome::Pending, Some(&error))?;
    Err(error)
}

/// How a failed attempt is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// By a shutdown or by hand: the next boot goes on, as it does after a power cut.
    CutOff(&'static str),
    /// The database is away: the unit goes on when it answers.
    PutOff,
    /// A person is needed.
    Stuck,
}

impl End {
    fn of(step: Step, error: &Error) -> Self {
        // Signals are held off since the older package was put in.
        if let Some(signal) = signals::received().or_else(signals::asked) {
            return Self::CutOff(signal);
        }
        match (step, error.outcome()) {
            // A restore that was begun and lost its server is not begun again and again.
            (Step::Quiesce | Step::RestorePoint | Step::Package, Outcome::Unreachable) => {
                Self::PutOff
            }
            _ => Self::Stuck,
        }
    }

    fn hint(self, machine: &Machine) -> String {
        let again = again(machine);
        match self {
            Self::CutOff(_) => format!("Run `{again}` to go on, as the next boot does by itself."),
            Self::PutOff => format!(
                "The rollback goes on by itself when the database answers; to go on at once, run \
                 `{again}`."
            ),
            Self::Stuck => format!("Mend the cause, then run `{again}`."),
        }
    }
}

/// Closes an attempt that failed: gate closed, units down, one file and one command named.
pub(super) fn failed(
    machine: &Machine,
    order: &mut Order,
    marked: Option<&Pending>,
    journal: &mut Journal,
    failed: Failed,
) -> Error {
    let Failed { step, error } = failed;
    let end = End::of(step, &error);
    signals::hold_off();
    let early = matches!(step, Step::Quiesce | Step::RestorePoint);
    if early && !order.data_is_back() && !order.has_begun(marked) && !matches!(end, End::CutOff(_))
    {
        return undone(machine, order, marked, journal, error);
    }
    if let End::CutOff(signal) = end {
        journal.interrupted(signal);
    }
    let noted = gate::Failed { outcome: Outcome::Stuck.word().into(), message: error.message() };
    order.failed = (end == End::Stuck).then_some(noted);
    let (from, to) = (Some(order.from.clone()), order.to.clone());
    let mark = Pending {
        from,
        family: order.family,
        ..Pending::new(to, Some(order.running.clone()), machine.clock)
    };
    for done in [mark.write(&machine.layout), order.write(&machine.layout)] {
        if let Err(problem) = done {
            machine.progress.warn(&problem.message());
        }
    }
    if matches!(step, Step::Start | Step::Health) {
        fail::stop_units(machine, &[]);
    }
    let own = error.hint_line().map(|hint| format!("{hint} ")).unwrap_or_default();
    let log = machine.layout.run_log();
    let outcome = match end {
        End::Stuck => Outcome::Stuck,
        End::CutOff(_) | End::PutOff => error.outcome(),
    };
    let error = error
        .outcome_as(outcome)
        .detail(format!("the rollback to {} stopped at: {}", order.to, step.spoken()))
        .state(format!("{}; see {}", closed(machine, order), log.display()))
        .hint(format!("{own}{}", end.hint(machine)));
    if let Err(problem) = journal.close(outcome, Some(&error)) {
        machine.progress.warn(&format!("the journal is not closed: {}", problem.message()));
    }
    match end {
        // The unit tries again twice a minute, and nobody wants to be told each time.
        End::PutOff => telling::unfinished_back(machine, order, &error),
        End::CutOff(_) | End::Stuck => super::super::tell(machine, journal.record()),
    }
    error
}

/// Neither data nor program was touched: the units run again, the gate is as it was.
fn undone(
    machine: &Machine,
    order: &Order,
    marked: Option<&Pending>,
    journal: &mut Journal,
    error: Error,
) -> Error {
    let back = || -> Result<()> {
        match marked {
            Some(mark) => mark.write(&machine.layout)?,
            None => {
                Pending::clear(&machine.layout)?;
                // Units are ordered after the one that we run in: they would wait for us, and we for
                // them.
                unit::ready();
                for name in start_services::unmasked(machine, &order.running)?.iter().rev() {
                    machine.progress.step(&format!("starting {name}"));
                    machine.services.start(name)?;
                }
                maintenance::end(machine);
            }
        }
        Order::clear(&machine.layout)
    };
    let error = match back() {
        Ok(()) => error.state("neither data nor package was changed; the units are as they were"),
        Err(problem) => error
            .detail(problem.message())
            .state("neither data nor package was changed; look at the units"),
    };
    if let Err(problem) = journal.close(error.outcome(), Some(&error)) {
        machine.progress.warn(&format!("the journal is not closed: {}", problem.message()));
    }
    error
}
