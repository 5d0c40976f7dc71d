//! The way back: data and program of the version before, together.
//!
//! [`outlook`] looks and tells; its [`order::Order`] is on disk before anything changes; [`go_on`]
//! carries it out, from wherever an earlier attempt was killed. The gate is closed until data and
//! program agree.

pub mod again;
pub mod by_hand;
pub mod data;
mod ends;
pub mod follow_up;
pub mod foresee;
pub mod given_up;
pub mod kept;
pub mod older;
pub mod order;
pub mod outlook;
pub mod present;
pub mod record;
pub mod refused;
pub mod source;
mod steps;
mod turn;
pub mod ways;

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::system::clock;

use super::Again;
use super::gate;
use super::gate::Pending;
use super::journal::{self, Direction, Journal, Record};
use super::machine::Machine;
use super::maintenance;
use super::step::Step;
use given_up::GivenUp;
use order::Order;
use steps::Failed;

/// Who wants the rollback to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A person: also after an attempt that failed.
    Person,
    /// The machine: never after an attempt that failed.
    Machine,
    /// A script of the package tool that changes the program itself, and waits for us.
    PackageTool,
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
    let Some((_lock, mut order)) = turn::take(machine, who)? else {
        return Ok(Ended::NothingOrdered);
    };
    refused::forget(&machine.layout);
    if let (Who::Machine, Some(failed)) = (who, &order.failed) {
        return Err(ends::held_back(machine, &order, failed));
    }
    gate::opened::end_for_upgrade(machine);
    let marked = Pending::read(&machine.layout)?;
    if let Err(error) = steps::prepare(machine, &mut order, marked.as_ref()) {
        return Err(ends::given_back(machine, &order, marked.as_ref(), who, error));
    }
    let before = journal::read(&machine.layout)?.filter(|run| run.direction == Direction::Back);
    let mut journal = open_journal(machine, &order, before.as_ref())?;
    let mut now = None;
    let done = all(machine, reopen, &mut order, &mut journal, &mut now);
    let now = now.as_ref().unwrap_or(machine);
    match done {
        Ok(true) => {
            finish(machine, now, &mut order, &mut journal)?;
            Ok(Ended::Done(Box::new(order)))
        }
        Ok(false) => ends::half_way(machine, &order, &mut journal, who),
        Err(failed) => Err(ends::failed(now, &mut order, marked.as_ref(), &mut journal, failed)),
    }
}

/// Runs every step; returns whether the program is back too.
fn all(
    machine: &Machine,
    reopen: &dyn Fn() -> Result<Machine>,
    order: &mut Order,
    journal: &mut Journal,
    now: &mut Option<Machine>,
) -> std::result::Result<bool, Failed> {
    steps::quiesce(machine, order, journal).map_err(Failed::at(Step::Quiesce))?;
    steps::copy(machine, order, journal).map_err(Failed::at(Step::RestorePoint))?;
    steps::restore(machine, order, journal).map_err(Failed::at(Step::Restore))?;
    if !steps::package(machine, order, journal).map_err(Failed::at(Step::Package))? {
        return Ok(false);
    }
    let now = now.insert(reopen().map_err(Failed::at(Step::Package))?);
    steps::finish(now, order, journal)?;
    Ok(true)
}

fn open_journal(machine: &Machine, order: &Order, before: Option<&Record>) -> Result<Journal> {
    let now = machine.clock.now();
    let record = Record::back(clock::stamp(now), clock::rfc3339(now), order, before);
    Journal::begin(&machine.layout, machine.clock, record)
}

/// Everything agrees and is proved: what cannot be noted any more is told, and fails nothing.
fn finish(
    began: &Machine,
    machine: &Machine,
    order: &mut Order,
    journal: &mut Journal,
) -> Result<()> {
    let layout = &machine.layout;
    let told = |done: Result<()>| {
        if let Err(error) = done {
            machine.progress.warn(&error.message());
        }
    };
    maintenance::end(machine);
    if let Some(id) = order.point.as_ref().filter(|_| order.beside)
        // The newer program knows the migrations that its own data has.
        && let Some(former) = present::keep_former(began, id, &order.from)
    {
        told(journal.restore_point(former.id()));
        order.copied = Some(former.id().to_owned());
    }
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

/// Keeps out whatever else changes the data, while a rollback is under way. A person who says
/// `--retry` goes forward instead, as long as the newer package is there.
pub fn stand_aside(machine: &Machine, again: Again) -> Result<()> {
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
