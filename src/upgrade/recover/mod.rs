//! What an interrupted run has left, and the way from there.
//!
//! The journal tells what was attempted, the machine what is so: `gather` collects both as
//! [`facts`], [`decide`] is pure. Boot, unit, package script and person take the same road.

pub mod attempts;
pub mod decide;
pub mod facts;
mod gather;
pub mod stuck;
pub mod undo;
pub mod world;
pub mod written;

use crate::database::Database;
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::restore_points::Kind;
use crate::system::fs;
use crate::system::inhibit::Inhibitor;

use self::decide::{Asked, Data, State, Way};
use self::facts::{Restoring, Run, Stuck};
use super::gate::Pending;
use super::journal::{self, Direction, Record};
use super::machine::Machine;
use super::survey::{self, Survey};
use super::{appliance, external, identity};

/// What was found, and what is the way.
#[derive(Debug)]
pub struct Found {
    /// In what state the machine is.
    pub state: State,
    /// The way from there.
    pub way: Way,
    /// Who asked for it.
    pub asked: Asked,
    /// The record of the last run.
    pub last: Option<Record>,
}

/// Looks at what the last run left, and decides.
pub fn look(machine: &Machine, survey: &Survey<'_>, asked: Asked) -> Result<Found> {
    let (facts, last) = gather::facts(machine, survey)?;
    Ok(Found { state: decide::state(&facts), way: decide::way(&facts, asked), asked, last })
}

/// Counts what was interrupted before; says no where a person is needed, and it is not one who asks.
pub fn begin(machine: &Machine, asked: Asked) -> Result<()> {
    match asked {
        Asked::GoOn(_) | Asked::Undo(_) => attempts::forget(machine),
        Asked::ByItself => {
            refuse_unknown(machine)?;
            attempts::count(machine)?;
            refuse_stuck(machine)
        }
    }
}

/// Says no where nothing is tried by itself any more.
pub fn refuse_stuck(machine: &Machine) -> Result<()> {
    match Pending::read(&machine.layout)? {
        Some(Pending { stuck: Some(why), failed, .. }) => {
            Err(stuck::again(machine, why, failed.as_ref()))
        }
        Some(_) | None => Ok(()),
    }
}

/// Says no where the journal of a run that closed the gate cannot be read, and the databases alone do
/// not tell how far it came.
fn refuse_unknown(machine: &Machine) -> Result<()> {
    let layout = &machine.layout;
    let by_tool = machine.databases.iter().any(|shipped| shipped.migrations.command().is_some());
    if !journal::is_damaged(layout)?
        || Pending::read(layout)?.is_none()
        || !(by_tool || machine.databases.len() > 1)
    {
        return Ok(());
    }
    let shown = layout.journal();
    Err(Error::new(
        Outcome::Refused,
        format!("the journal of the last run, {}, cannot be read", shown.display()),
    )
    .detail("how far it came is not known, and the databases alone do not tell it")
    .state("nothing was changed; the gate is closed")
    .hint(format!(
        "Look at `{}`; to go on with what is there, run `{}`.",
        machine.command("migrate --status"),
        machine.command("upgrade --resume")
    )))
}

/// What is told of an upgrade that is not done.
pub struct Report {
    /// In what state it is; none where nothing is open.
    pub state: Option<State>,
    /// How many attempts in a row were interrupted in the same step.
    pub cut_off: u32,
    /// Why nothing is tried by itself any more, where nothing is.
    pub stuck: Option<Stuck>,
}

/// Looks at what is open, without waiting for a database that is away.
pub fn report(machine: &Machine) -> Result<Report> {
    let mark = Pending::read(&machine.layout)?;
    let last = journal::read(&machine.layout)?;
    let cut_off = mark.as_ref().and_then(|mark| mark.cut_off.as_ref()).map_or(0, |cut| cut.count);
    let stuck = mark.as_ref().and_then(|mark| mark.stuck);
    let state = match (gather::run(last.as_ref(), &machine.version), &mark) {
        (Run::Unknown | Run::Well, None) => None,
        (Run::Unknown | Run::Well, Some(_)) => Some(State::Deferred),
        (Run::Failed | Run::CutOff, _) => {
            let survey = survey::take_now(machine)?;
            Some(decide::state(&gather::facts(machine, &survey)?.0))
        }
    };
    Ok(Report { state, cut_off, stuck })
}

/// Returns whether the last run was cut off; what cannot be read counts as not.
pub fn was_cut_off(machine: &Machine) -> bool {
    let last = journal::read(&machine.layout).ok().flatten();
    last.is_some_and(|record| record.was_cut_off() && !record.is_overtaken(&machine.version))
}

/// Returns whether a run was cut off on its way back: that is finished, whatever failed before.
pub fn is_going_back(machine: &Machine) -> Result<bool> {
    let last = journal::read(&machine.layout)?;
    Ok(last.is_some_and(|record| {
        let back = record.direction == Direction::Back;
        record.was_cut_off() && (back || gather::restoring(&record) == Restoring::Begun)
    }))
}

/// Refuses to migrate data that is being put back.
pub fn refuse_going_back(machine: &Machine) -> Result<()> {
    if !is_going_back(machine)? {
        return Ok(());
    }
    let undo = machine.command("upgrade --undo");
    Err(Error::new(Outcome::Refused, "the data was being put back when that was interrupted")
        .state("nothing was changed")
        .hint(format!("Run `{undo}` to finish it.")))
}

/// The way on, where there is one: whether the data has to be put back first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// The upgrade goes on, or nothing is open.
    Forward,
    /// Back to before the first attempt.
    Back(Data),
}

/// Returns the course, or says why there is none without a person.
pub fn course(machine: &Machine, survey: &Survey<'_>, found: &Found) -> Result<Course> {
    let point = found.last.as_ref().and_then(Record::first_point);
    match &found.way {
        Way::Nothing | Way::Resume => Ok(Course::Forward),
        Way::Undo(data) => Ok(Course::Back(*data)),
        Way::Changed(changes) => Err(changed(machine, changes, point)),
        Way::Started => Err(started(machine, point)),
        Way::LeftToOthers => Err(left_to_others(machine, point)),
        Way::Stuck(why) => Err(stuck(machine, survey, found, *why)),
    }
}

/// Removes the restore point of a clone that was put back: killed before it could do so itself, the run
/// left one that is listed and leads nowhere. What cannot be asked stays.
pub fn retire_used_up(machine: &Machine, found: &Found) {
    let own_restore = |record: &&Record| {
        gather::restoring(record) != Restoring::No && found.state == State::Untouched
    };
    let point = found.last.as_ref().filter(own_restore).and_then(Record::first_point);
    let Some(id) = point else { return };
    let databases: Vec<&Database> = machine.databases.iter().map(|d| &d.database).collect();
    let retire = || -> Result<()> {
        let Some(store) = machine.stored()? else { return Ok(()) };
        let Ok(point) = store.find(id) else { return Ok(()) };
        if point.manifest().kind == Kind::Clone && point.clones_there(&databases)?.is_empty() {
            point.check_servers(&databases)?;
            point.retire()?;
        }
        Ok(())
    };
    if let Err(error) = retire() {
        machine.progress.warn(&error.message());
    }
}

fn changed(machine: &Machine, changes: &[String], point: Option<&str>) -> Error {
    let error = Error::new(
        Outcome::Refused,
        "the upgrade is not resumed: something has changed since it was interrupted",
    );
    let adopt = machine.command("upgrade --resume --adopt");
    let back = point
        .map_or(String::new(), |id| format!("; to go back, {}", external::way_back(machine, id)));
    changes
        .iter()
        .fold(error, |error, change| error.detail(change))
        .state("nothing was changed; the gate is as it was")
        .hint(format!("To go on with what is there now, run `{adopt}`{back}."))
}

fn started(machine: &Machine, point: Option<&str>) -> Error {
    let error = Error::new(
        Outcome::Refused,
        "services ran on the new schema and may have written: going back would lose that",
    )
    .state("nothing was changed");
    match point {
        Some(id) => error.hint(format!(
            "To go back all the same, stop the services and run `{}`, which keeps a copy of the \
             present data.",
            identity::restore_command(machine, id)
        )),
        None => error.hint(format!("Run `{}`.", machine.command("upgrade --resume"))),
    }
}

fn left_to_others(machine: &Machine, point: Option<&str>) -> Error {
    let way = external::way_back(machine, point.unwrap_or("latest"));
    Error::new(Outcome::Refused, "the restore point is not ours to put back")
        .detail("a command made it, and there is no restore_command in the operator's upgrade.conf")
        .state("nothing was changed")
        .hint(format!("To go back, {way}."))
}

/// Nothing is tried by itself any more, or the way back is not there.
fn stuck(machine: &Machine, survey: &Survey<'_>, found: &Found, why: Stuck) -> Error {
    let cut_off = survey.pending.as_ref().and_then(|mark| mark.cut_off.as_ref());
    let message = match (why, cut_off) {
        (Stuck::CutOffAgain, Some(cut_off)) if cut_off.count == 1 => {
            format!("an attempt was interrupted in the step {}", cut_off.step.spoken())
        }
        (Stuck::CutOffAgain, Some(cut_off)) => format!(
            "{} attempts in a row were interrupted in the same step ({})",
            cut_off.count,
            cut_off.step.spoken()
        ),
        (Stuck::CutOffAgain, None) => "attempts were interrupted again and again".to_owned(),
        (Stuck::NoWayBack, _) => match found.last.as_ref().and_then(Record::first_point) {
            Some(id) => format!("going back needs restore point {id}, which is not there"),
            None => "there is no way back: no restore point was taken".to_owned(),
        },
        (Stuck::UndoFailed, _) => "going back failed before".to_owned(),
    };
    let error = Error::new(Outcome::Stuck, message)
        .state(format!("nothing was tried; {}; the gate is closed", found.state.spoken()));
    let mark = survey.pending.clone().unwrap_or_else(|| Pending {
        from: survey.from.clone(),
        ..Pending::new(survey.version.clone(), Some(survey.running()), machine.clock)
    });
    match found.asked {
        Asked::ByItself => stuck::settle(machine, &mark, why, error),
        // A person sees it; the boot may still go on from here.
        Asked::GoOn(_) | Asked::Undo(_) => {
            error.or_hint(format!("Run `{}`.", why.command(machine)))
        }
    }
}

/// Holds off a shutdown of the machine while data is being changed, until it is dropped.
pub fn awake(machine: &Machine) -> Option<Inhibitor> {
    let app = machine.layout.app();
    let why = "the data of an application is being changed";
    machine.services.is_present().then(|| Inhibitor::shutdown(app, why))
}

/// Notes that a person has put the data of this restore point back: nothing is half done any more,
/// and whatever was tried too often may be tried again.
pub fn put_back_by_hand(machine: &Machine, id: &str) -> Result<()> {
    journal::put_back(&machine.layout, id)?;
    appliance::put_back_by_hand(machine)?;
    attempts::forget(machine)?;
    clear_stuck(machine);
    Ok(())
}

/// Removes what a person was told while the run was stuck.
pub fn clear_stuck(machine: &Machine) {
    if let Err(error) = fs::remove_file(&machine.layout.stuck()) {
        machine.progress.warn(&error.message());
    }
}
