//! The steps of a rollback: data, program, units, health, under one journal.
//!
//! The data goes first, by the newer program, which knows the restore point's form; then the package
//! tool exchanges the program; then everything is read again from the older package, and health is
//! proved by its probes. Each step asks first whether it is done already.

use crate::database::Database;
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::package::candidate::Installed;
use crate::package::{exchange, older};
use crate::restore_points::RestorePoint;
use crate::system::{clock, signals};

use super::super::appliance;
use super::super::gate::Pending;
use super::super::journal::{Journal, Mark, Record, When};
use super::super::locks::Exchanging;
use super::super::machine::Machine;
use super::super::step::Step;
use super::super::{check_health, put_back, start_services, stop_services, tree};
use super::order::{Keep, Order, Program};
use super::{data, kept, outlook, present};

/// A step that failed.
pub(super) struct Failed {
    pub(super) step: Step,
    pub(super) error: Error,
}

impl Failed {
    pub(super) fn at(step: Step) -> impl FnOnce(Error) -> Self {
        move |error| Self { step, error }
    }
}

/// Checks what can be checked before anything changes: the databases answer, the package is whole, and
/// its tool would do it. Decides about the copy anew, where nothing has begun: the order may be old.
///
/// Where the package tool was killed half way, it refuses to be rehearsed; what leads out of that
/// state is [`exchange::run`] alone.
pub(super) fn prepare(
    machine: &Machine,
    order: &mut Order,
    marked: Option<&Pending>,
) -> Result<()> {
    answered(machine)?;
    let begun = order.has_begun(marked);
    if order.program == Program::Tree {
        tree::back::check(machine, &order.to)?;
    }
    if let Some((installed, file)) = exchanged(machine, order)
        && !exchange::is_there(&installed, &order.to)
    {
        let path = kept::named(&machine.layout, file)?;
        older::check(&path, &installed.name, &order.to)?;
        if !begun {
            exchange::rehearse(&installed, &path)?;
        }
    }
    if !begun {
        outlook::decide_again(machine, order)?;
        order.write(&machine.layout)?;
    }
    Ok(())
}

/// Waits for each database as long as the operator allows. One that is not there at all is no reason
/// to wait: the data may be what brings it back.
fn answered(machine: &Machine) -> Result<()> {
    let wait = machine.config.policy.database_wait;
    for shipped in &machine.databases {
        match machine.connect_waiting(&shipped.database, wait) {
            Err(error) if error.outcome() == Outcome::Unreachable => return Err(error),
            Err(_) | Ok(_) => {}
        }
    }
    Ok(())
}

/// Returns the package that we exchange, and the name of the kept file.
pub(super) fn exchanged<'o>(machine: &Machine, order: &'o Order) -> Option<(Installed, &'o str)> {
    let (Some(name), Some(family)) = (&order.package, order.family) else { return None };
    let version = machine.version.clone();
    match &order.program {
        Program::Exchanged { file } => {
            Some((Installed { name: name.clone(), version, family }, file.as_str()))
        }
        Program::ByHand | Program::Tree => None,
    }
}

/// Closes the gate, then stops what runs: in this order, so that whoever finishes knows what ran.
pub(super) fn quiesce(machine: &Machine, order: &Order, journal: &mut Journal) -> Result<()> {
    let mark = match Pending::read(&machine.layout)? {
        Some(mark) => mark,
        None => Pending::new(order.to.clone(), None, machine.clock),
    };
    let (from, to) = (Some(order.from.clone()), order.to.clone());
    let running = Some(order.running.clone());
    let family = order.family.or(mark.family);
    Pending { from, to, family, running, failed: None, ..mark }.write(&machine.layout)?;
    let units = machine.services.look(&machine.config.app.services)?;
    stop_services::stop(machine, &units, journal)?;
    journal.done(Step::Quiesce, "")
}

/// Keeps the present state as a restore point, where something was written.
pub(super) fn copy(machine: &Machine, order: &mut Order, journal: &mut Journal) -> Result<()> {
    if order.copy == Keep::Nothing || order.copied.is_some() || order.data_is_back() {
        return Ok(());
    }
    journal.begun(Step::RestorePoint, "the present state")?;
    let databases: Vec<&Database> = machine.databases.iter().map(|s| &s.database).collect();
    if let Some(point) = present::keep(machine, &databases)? {
        journal.restore_point(point.id())?;
        order.copied = Some(point.id().to_owned());
        order.write(&machine.layout)?;
    }
    journal.done(Step::RestorePoint, order.copied.clone().unwrap_or_default())
}

/// Puts the data back, unless it is.
pub(super) fn restore(machine: &Machine, order: &mut Order, journal: &mut Journal) -> Result<()> {
    let Some(id) = order.point.clone() else { return Ok(()) };
    if order.restored.is_some() {
        // The older program may be in place and at work; before it, somebody may have migrated again.
        if order.leads_to(&machine.version) || !data::has_moved_on(machine, &id)? {
            return Ok(());
        }
        machine.progress.note("the schema has changed since the data was put back");
        order.restored = None;
        order.write(&machine.layout)?;
    } else if came_back(machine, &id, journal.record())? {
        machine.progress.note(&format!("the data of restore point {id} is back already"));
        order.restored = Some(clock::rfc3339(machine.clock.now()));
        return order.write(&machine.layout);
    }
    machine.progress.step(&format!("putting the data back from restore point {id}"));
    let _exchanging = Exchanging::for_point(machine, Some(&id), "rollback")?;
    let restored = put_back::run(machine, journal, &id)?;
    for replaced in restored.iter().flat_map(|restored| &restored.replaced) {
        if let Some(name) = &replaced.kept_as {
            let database = &replaced.database;
            machine.progress.note(&format!("{database}: the former data is kept as {name}"));
        }
    }
    order.restored = Some(clock::rfc3339(machine.clock.now()));
    order.write(&machine.layout)
}

/// Returns whether an earlier attempt had put the data back, and could not note it any more.
///
/// A clone that was put back has become the database: it is gone, and its point with it.
fn came_back(machine: &Machine, id: &str, run: &Record) -> Result<bool> {
    let begun = |mark: &Mark| mark.step == Step::Restore && mark.when == When::Begun;
    if !run.marks.iter().any(|mark| begun(mark) && mark.note == id) {
        return Ok(false);
    }
    let point: Option<RestorePoint> = machine.stored()?.and_then(|store| store.find(id).ok());
    let Some(point) = &point else { return data::was_led_back_by(machine, id) };
    if data::is_as_before(machine, None, Some(point))? {
        return Ok(true);
    }
    let held = |name: &str| point.manifest().databases.iter().any(|a| a.name == name);
    let all = machine.databases.iter().map(|shipped| &shipped.database);
    let databases: Vec<&Database> = all.filter(|database| held(database.name())).collect();
    Ok(point.put_back_before(&databases)?.is_some())
}

/// Has the package tool put the older package in place; returns whether it is there.
pub(super) fn package(machine: &Machine, order: &Order, journal: &mut Journal) -> Result<bool> {
    if order.program == Program::Tree {
        return tree::switch::back(machine, &order.to, journal).map(|()| true);
    }
    let Some((installed, file)) = exchanged(machine, order) else {
        let found = crate::package::installed_version(&machine.layout, None);
        return Ok(found.is_some_and(|version| order.leads_to(&version)));
    };
    if exchange::is_there(&installed, &order.to) {
        return Ok(true);
    }
    let path = kept::named(&machine.layout, file)?;
    journal.begun(Step::Package, format!("{} {} -> {}", installed.name, order.from, order.to))?;
    machine.progress.step(&format!("installing {} {}", installed.name, order.to));
    // A package tool that is stopped half way leaves more to mend than one that is waited for.
    signals::hold_off();
    let progress = &machine.progress;
    exchange::run(&installed, &path, &order.to, &mut |said| match said {
        Some(line) => progress.note(line),
        None => progress.alive("installing the older package", 0, None),
    })?;
    journal.done(Step::Package, "")?;
    Ok(true)
}

/// Proves that data and program agree, opens the gate, starts the units, and proves health by the
/// probes of the older package.
pub(super) fn finish(
    machine: &Machine,
    order: &Order,
    journal: &mut Journal,
) -> std::result::Result<(), Failed> {
    let disagree = |message: String| Failed {
        step: Step::Package,
        error: Error::new(Outcome::Stuck, message),
    };
    if !order.leads_to(&machine.version) {
        let (found, to) = (&machine.version, &order.to);
        return Err(disagree(format!("version {found} is installed, and not {to}")));
    }
    let found = data::disagreement(machine).map_err(Failed::at(Step::Package))?;
    if let Some(found) = found {
        return Err(disagree(found));
    }
    // From the start on somebody writes, and a disk that still tells of the failure would have it put back.
    appliance::rolled_back(machine).map_err(Failed::at(Step::Start))?;
    let started = start_services::restart(machine, &order.running, journal)
        .map_err(Failed::at(Step::Start))?;
    check_health::run(machine, started, journal).map_err(Failed::at(Step::Health))?;
    Ok(())
}
