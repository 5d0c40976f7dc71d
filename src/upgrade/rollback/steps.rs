//! The steps of a rollback: data, program, units, health, under one journal.
//!
//! The data goes first, by the newer program, which knows the restore point's form; then the package
//! tool exchanges the program; then everything is read again from the older package, and health is
//! proved by its probes. Each step asks first whether it is done already.

use crate::database::Database;
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::package::candidate::Installed;
use crate::package::{busy, exchange, older};
use crate::restore_points::RestorePoint;
use crate::system::{clock, signals};

use super::super::gate::Pending;
use super::super::journal::{Journal, Record, When};
use super::super::machine::Machine;
use super::super::step::Step;
use super::super::{check_health, put_back, start_services, tree};
use super::order::{Keep, Order, Program};
use super::{data, kept, present};

/// How long another run of the package tools is waited for.
const BUSY_LIMIT: std::time::Duration = std::time::Duration::from_secs(2 * 60 * 60);

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

/// Checks what can be checked before anything changes: the package is whole, its tool is free and
/// would do it.
pub(super) fn prepare(machine: &Machine, order: &Order) -> Result<()> {
    if order.program == Program::Tree {
        return tree::back::check(machine, &order.to);
    }
    let Some((installed, file)) = exchanged(machine, order) else { return Ok(()) };
    let path = kept::named(&machine.layout, file)?;
    older::check(&path, &installed.name, &order.to)?;
    busy::wait(machine.layout.root(), installed.family, BUSY_LIMIT, &*machine.progress)?;
    if exchange::is_there(&installed, &order.to) {
        return Ok(());
    }
    exchange::rehearse(&installed, &path)
}

/// Returns the package that we exchange, and the name of the kept file.
fn exchanged<'o>(machine: &Machine, order: &'o Order) -> Option<(Installed, &'o str)> {
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
    let up: Vec<&str> = units.iter().filter(|u| u.is_up()).map(|u| u.name.as_str()).collect();
    journal.begun(Step::Quiesce, up.join(" "))?;
    for name in &up {
        machine.progress.step(&format!("stopping {name}"));
        machine.services.stop(name, &*machine.progress)?;
    }
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
pub(super) fn restore(
    machine: &Machine,
    order: &mut Order,
    before: Option<&Record>,
    journal: &mut Journal,
) -> Result<()> {
    let Some(id) = order.point.clone().filter(|_| !order.data_is_back()) else { return Ok(()) };
    if came_back(machine, &id, before)? {
        machine.progress.note(&format!("the data of restore point {id} is back already"));
    } else {
        machine.progress.step(&format!("putting the data back from restore point {id}"));
        let restored = put_back::run(machine, journal, &id)?;
        for replaced in restored.iter().flat_map(|restored| &restored.replaced) {
            if let Some(name) = &replaced.kept_as {
                let database = &replaced.database;
                machine.progress.note(&format!("{database}: the former data is kept as {name}"));
            }
        }
    }
    order.restored = Some(clock::rfc3339(machine.clock.now()));
    order.write(&machine.layout)
}

/// Returns whether an attempt that was killed had put the data back, and could not note it any more.
///
/// A clone that was put back has become the database, and its point is gone.
fn came_back(machine: &Machine, id: &str, before: Option<&Record>) -> Result<bool> {
    let begun = before.is_some_and(|run| {
        let restores = |when| {
            move |mark: &&super::super::journal::Mark| {
                mark.step == Step::Restore && mark.when == when && mark.note == id
            }
        };
        run.finished.is_none() && run.marks.iter().any(|mark| restores(When::Begun)(&mark))
    });
    if !begun {
        return Ok(false);
    }
    let point: Option<RestorePoint> = machine.stored()?.and_then(|store| store.find(id).ok());
    match &point {
        Some(point) => data::is_as_before(machine, None, Some(point)),
        None => Ok(true),
    }
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
    let started = start_services::restart(machine, &order.running, journal)
        .map_err(Failed::at(Step::Start))?;
    check_health::run(machine, started, journal).map_err(Failed::at(Step::Health))?;
    Ok(())
}
