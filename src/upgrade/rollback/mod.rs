//! The way back: data and program of the version before, together.
//!
//! [`outlook`] looks and tells; its [`order::Order`] is on disk before anything changes; [`go_on`]
//! carries it out, from wherever an earlier attempt was killed. The gate is closed until data and
//! program agree.

pub mod by_hand;
pub mod data;
pub mod follow_up;
pub mod foresee;
pub mod given_up;
pub mod kept;
pub mod older;
pub mod order;
pub mod outlook;
pub mod present;
mod record;
pub mod source;
mod steps;
pub mod ways;

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::system::{clock, signals};

use super::Again;
use super::gate::{self, Pending};
use super::journal::{self, Direction, Journal, Record};
use super::machine::Machine;
use super::step::Step;
use super::{fail, run_log, tree, unit};
use given_up::GivenUp;
use order::{Order, Program};
use steps::Failed;

/// Who wants the rollback to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A person: also after an attempt that failed.
    Person,
    /// The machine: never after an attempt that failed.
    Machine,
}

/// How far a rollback came.
#[derive(Debug)]
pub enum Ended {
    /// Nothing was ordered.
    NothingOrdered,
    /// Data and program agree, and health is proved.
    Done(Box<Order>),
    /// The data is back; the package tool that was called by hand has the program to change.
    WaitsForPackage,
}

/// Carries out the order, or what is left of it.
///
/// `reopen` reads the machine again once the older package is in place.
pub fn go_on(machine: &Machine, reopen: &dyn Fn() -> Result<Machine>, who: Who) -> Result<Ended> {
    let _lock = machine.lock("rollback")?;
    run_log::begin(&machine.layout, &*machine.progress);
    let Some(mut order) = Order::read(&machine.layout)? else { return Ok(Ended::NothingOrdered) };
    if let (Who::Machine, Some(failed)) = (who, &order.failed) {
        return Err(held_back(machine, &order, failed));
    }
    gate::opened::end_for_upgrade(machine);
    let marked = Pending::read(&machine.layout)?;
    if let Err(error) = steps::prepare(machine, &order) {
        return Err(given_back(machine, &order, marked.as_ref(), error));
    }
    let before = journal::read(&machine.layout)?.filter(|run| run.direction == Direction::Back);
    let mut journal = open_journal(machine, &order)?;
    let mut now = None;
    let done = all(machine, reopen, &mut order, before.as_ref(), &mut journal, &mut now);
    let now = now.as_ref().unwrap_or(machine);
    match done {
        Ok(true) => {
            finish(now, &order, &mut journal)?;
            Ok(Ended::Done(Box::new(order)))
        }
        Ok(false) => {
            machine.progress.note("the data is back; the package tool goes on");
            journal.close(Outcome::Pending, None)?;
            unit::ready();
            Ok(Ended::WaitsForPackage)
        }
        Err(failed) => Err(stuck(now, &mut order, marked.as_ref(), &mut journal, failed)),
    }
}

/// Runs every step; returns whether the program is back too.
fn all(
    machine: &Machine,
    reopen: &dyn Fn() -> Result<Machine>,
    order: &mut Order,
    before: Option<&Record>,
    journal: &mut Journal,
    now: &mut Option<Machine>,
) -> std::result::Result<bool, Failed> {
    steps::quiesce(machine, order, journal).map_err(Failed::at(Step::Quiesce))?;
    steps::copy(machine, order, journal).map_err(Failed::at(Step::RestorePoint))?;
    steps::restore(machine, order, before, journal).map_err(Failed::at(Step::Restore))?;
    if !steps::package(machine, order, journal).map_err(Failed::at(Step::Package))? {
        return Ok(false);
    }
    let now = now.insert(reopen().map_err(Failed::at(Step::Package))?);
    steps::finish(now, order, journal)?;
    Ok(true)
}

fn open_journal(machine: &Machine, order: &Order) -> Result<Journal> {
    let now = machine.clock.now();
    let record = Record::back(clock::stamp(now), clock::rfc3339(now), order);
    Journal::begin(&machine.layout, machine.clock, record)
}

/// Everything agrees and is proved: what cannot be noted any more is told, and fails nothing.
fn finish(machine: &Machine, order: &Order, journal: &mut Journal) -> Result<()> {
    let layout = &machine.layout;
    let told = |done: Result<()>| {
        if let Err(error) = done {
            machine.progress.warn(&error.message());
        }
    };
    told(give_up(machine, order));
    told(journal.close(Outcome::Ok, None));
    // Without this the next boot would go on with what is done.
    Order::clear(layout)?;
    told(kept::prune(machine).map(drop));
    super::tell(machine, journal.record());
    Ok(())
}

/// Notes that the newer version is not tried again by itself.
fn give_up(machine: &Machine, order: &Order) -> Result<()> {
    let runs = journal::history(&machine.layout)?;
    let failed = runs
        .iter()
        .find(|run| run.direction == Direction::Forward && run.to.order(&order.from).is_eq());
    let why = failed.and_then(|run| run.message.clone());
    let note = GivenUp {
        version: order.from.clone(),
        since: clock::rfc3339(machine.clock.now()),
        why: why.unwrap_or_else(|| "an operator went back to the version before".into()),
    };
    note.write(&machine.layout)
}

fn again(machine: &Machine) -> String {
    machine.command("rollback")
}

/// Says no to another attempt by the machine itself, until a person has looked.
fn held_back(machine: &Machine, order: &Order, failed: &gate::Failed) -> Error {
    let message = format!("the rollback to {} failed and is not tried again by itself", order.to);
    Error::new(Outcome::Stuck, message)
        .detail(format!("it ended as {}: {}", failed.outcome, failed.message))
        .state(format!("{}; the gate is closed", order.halves(&machine.version)))
        .hint(format!("Mend the cause, then run `{}`.", again(machine)))
}

/// Nothing has been changed by this attempt. Where none before it changed anything either, the order
/// goes and all is as it was.
fn given_back(machine: &Machine, order: &Order, marked: Option<&Pending>, error: Error) -> Error {
    if order.restored.is_some() || is_ours(marked, order) {
        return error
            .state(format!("{}; the gate is closed", order.halves(&machine.version)))
            .or_hint(format!("Mend the cause, then run `{}`.", again(machine)));
    }
    match Order::clear(&machine.layout) {
        Ok(()) => error.state("nothing was changed"),
        Err(problem) => error.detail(problem.message()),
    }
}

/// Returns whether the mark is that of this rollback, so that an attempt has begun before.
fn is_ours(marked: Option<&Pending>, order: &Order) -> bool {
    marked.is_some_and(|mark| {
        mark.to.order(&order.to).is_eq()
            && mark.from.as_ref().is_some_and(|from| from.order(&order.from).is_eq())
    })
}

/// Closes an attempt that failed: gate closed, units down, one file and one command named.
fn stuck(
    machine: &Machine,
    order: &mut Order,
    marked: Option<&Pending>,
    journal: &mut Journal,
    failed: Failed,
) -> Error {
    // Cut off by a shutdown or by hand: the next boot goes on, as it does after a power cut.
    let interrupted = signals::received().is_some();
    signals::hold_off();
    let Failed { step, error } = failed;
    let early = matches!(step, Step::Quiesce | Step::RestorePoint);
    if early && !order.data_is_back() && !is_ours(marked, order) && !interrupted {
        return undone(machine, order, marked, journal, error);
    }
    let noted = gate::Failed { outcome: Outcome::Stuck.word().into(), message: error.message() };
    order.failed = (!interrupted).then_some(noted);
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
        fail::stop_units(machine);
    }
    let own = error.hint_line().map(|hint| format!("{hint} ")).unwrap_or_default();
    let log = machine.layout.run_log();
    let installed = match &machine.config.tree {
        Some(spec) => tree::current(spec).ok().map(|tree| tree.version),
        None => crate::package::installed_version(&machine.layout, None),
    };
    let halves = order.halves(&installed.unwrap_or_else(|| machine.version.clone()));
    let error = error
        .outcome_as(Outcome::Stuck)
        .detail(format!("the rollback to {} stopped at: {}", order.to, step.spoken()))
        .state(format!("{halves}; the gate is closed; see {}", log.display()))
        .hint(format!("{own}Mend the cause, then run `{}`.", again(machine)));
    if let Err(problem) = journal.close(Outcome::Stuck, Some(&error)) {
        machine.progress.warn(&format!("the journal is not closed: {}", problem.message()));
    }
    super::tell(machine, journal.record());
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
                for name in order.running.iter().rev() {
                    machine.progress.step(&format!("starting {name}"));
                    machine.services.start(name)?;
                }
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

/// Keeps an upgrade out while a rollback is under way. A person who says `--retry` goes forward
/// instead, as long as the newer package is there.
pub(super) fn stand_aside(machine: &Machine, again: Again) -> Result<()> {
    if again != Again::No
        && let Some(noted) = GivenUp::forget(&machine.layout)?
    {
        let app = machine.layout.app();
        machine.progress.note(&format!("{app} {} may be installed again", noted.version));
    }
    let Some(order) = Order::read(&machine.layout)? else { return Ok(()) };
    if again != Again::No && !order.leads_to(&machine.version) {
        machine.progress.note(&format!("the rollback to {} is given up", order.to));
        let mark = Pending {
            from: Some(order.to.clone()),
            family: order.family,
            ..Pending::new(machine.version.clone(), Some(order.running.clone()), machine.clock)
        };
        mark.write(&machine.layout)?;
        record::give_up(&machine.layout, &order, clock::rfc3339(machine.clock.now()))?;
        return Order::clear(&machine.layout);
    }
    Err(Error::new(Outcome::Refused, format!("a rollback to {} is under way", order.to))
        .state(format!("{}; nothing was changed by this run", order.halves(&machine.version)))
        .hint(format!("Finish it with `{}`.", machine.command("rollback"))))
}

/// Returns whether the order leaves the program to the package tool that is at work.
pub fn waits_for_package(order: &Order) -> bool {
    order.program == Program::ByHand
}
