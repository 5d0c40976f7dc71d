//! Back to before the first attempt: data where it has to be, then units, if program and data agree.

use crate::error::{Error, Result};
use crate::migrations::{self, DataState, State};
use crate::outcome::Outcome;
use crate::system::{clock, signals};
use crate::upgrade::fail::Held;
use crate::upgrade::gate::{Failed, Pending};
use crate::upgrade::journal::{self, Direction, Journal, Record};
use crate::upgrade::machine::Machine;
use crate::upgrade::step::Step;
use crate::upgrade::survey::Survey;
use crate::upgrade::truth::{self, Aftermath};
use crate::upgrade::{
    appliance, check_health, maintenance, put_back, start_services, stop_services, tell, tree,
    ways_out,
};
use crate::version::Version;

use super::decide::Data;
use super::facts::Stuck;
use super::stuck;

/// What an undo left.
#[derive(Debug)]
pub struct Undone {
    /// The restore point whose data is back; none where the data had not changed.
    pub restore_point: Option<String>,
    /// The version that belongs to the data, where it is known.
    pub program: Option<Version>,
    /// Whether the installed program is that one.
    pub fit: Fit,
    /// The next command, or step; none where nothing is left to do.
    pub next: Option<String>,
}

/// Whether the installed program belongs to the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It does: the gate is open, and what ran runs.
    Agrees,
    /// It does not: the gate stays closed.
    Other,
}

impl Undone {
    /// The end of a run that was to go forward, and went back.
    pub fn rolled_back(&self, machine: &Machine) -> Error {
        let data = match &self.restore_point {
            Some(id) => format!("the data is that of restore point {id}"),
            None => "the data is as it was before".to_owned(),
        };
        let gate = match self.fit {
            Fit::Agrees => "the services run",
            Fit::Other => "the gate stays closed until program and data agree",
        };
        let retry = machine.command("upgrade --retry");
        let error = Error::new(Outcome::RolledBack, "the interrupted upgrade was undone")
            .state(format!("{data}; {gate}"));
        match &self.next {
            Some(next) => error.hint(format!("To stay with it, {next}; to try again, `{retry}`.")),
            None => error.hint(format!("To try again, run `{retry}`.")),
        }
    }
}

/// Goes back; the caller holds the lock of the machine, and none in a database.
pub fn run(
    machine: &Machine,
    survey: &Survey<'_>,
    last: Option<&Record>,
    data: Data,
) -> Result<Undone> {
    // Going back is not interrupted half way: it would only have to be begun again.
    signals::hold_off();
    let point = last.and_then(Record::first_point).filter(|_| data == Data::PutBack);
    let mut journal = begin(machine, survey, last, data)?;
    let mark = close_gate(machine, survey)?;
    let went = stop(machine, survey, &mut journal).and_then(|()| match point {
        Some(id) => {
            machine.progress.step(&format!("putting the data back from restore point {id}"));
            put_back::run(machine, &mut journal, id).map(drop)
        }
        None => Ok(()),
    });
    if let Err(error) = went {
        return Err(failed(machine, survey, &mut journal, &mark, (point, error)));
    }
    journal.left(DataState::Unchanged);
    let program = mark.from.clone();
    let fit = match &program {
        // The older version is at hand, and what was undone is not left in place.
        Some(from) if machine.tree.is_some() && !from.order(&machine.version).is_eq() => {
            let running = mark.running.clone().unwrap_or_default();
            tree::back::order(machine, from, point, running)
                .and_then(|order| order.write(&machine.layout))
                .map(|()| Fit::Other)
        }
        Some(_) | None => fit(machine),
    };
    let fit = fit.map_err(|error| {
        // The journal stays open: whoever comes next goes on from here.
        error
            .state(match point {
                Some(id) => {
                    format!("the data is back, from restore point {id}; the gate is closed")
                }
                None => "the data is as it was before; the gate is closed".to_owned(),
            })
            .or_hint(format!("Run `{}` to finish it.", machine.command("upgrade --undo")))
    })?;
    let next = match fit {
        Fit::Agrees => {
            let started = appliance::data_is_back(machine, journal.record())
                .and_then(|()| start(machine, &mark, &mut journal));
            if let Err(error) = started {
                if let Some(by) = signals::asked() {
                    return Err(cut_off(machine, &mark, &mut journal, by, error));
                }
                return Err(failed(machine, survey, &mut journal, &mark, (None, error)));
            }
            maintenance::end(machine);
            None
        }
        Fit::Other => Some(match &program {
            Some(from) => ways_out::older_package(machine, from, mark.family),
            None => "install the version that belongs to the data".to_owned(),
        }),
    };
    if let Err(error) = journal.close(Outcome::RolledBack, None) {
        machine.progress.warn(&format!("the journal is not closed: {}", error.message()));
    }
    super::clear_stuck(machine);
    tell(machine, journal.record());
    Ok(Undone { restore_point: point.map(str::to_owned), program, fit, next })
}

/// The record of going back: what it goes back from, and where to.
fn begin(
    machine: &Machine,
    survey: &Survey<'_>,
    last: Option<&Record>,
    data: Data,
) -> Result<Journal> {
    let now = machine.clock.now();
    let mut record = Record::new(clock::stamp(now), clock::rfc3339(now), survey);
    record.direction = Direction::Back;
    match (data, last) {
        (Data::Stays, _) => record.data = Some(DataState::Unchanged),
        // Killed before its own first mark, it must still know that the data was on its way back.
        (Data::PutBack, Some(last)) => {
            let restores = last.marks.iter().filter(|mark| mark.step == Step::Restore);
            record.marks.extend(restores.cloned());
        }
        (Data::PutBack, None) => {}
    }
    if let Some(last) = last {
        record.way_back = last.first_point().map(str::to_owned);
        record.world = last.world.clone();
        // What was so before the first attempt, which the restore point belongs to.
        let made = |of: &&Record| of.restore_point.is_some() && of.restore_point == record.way_back;
        let history = journal::history(&machine.layout)?;
        let first = history.iter().find(made).unwrap_or(last);
        record.baseline = first.baseline.clone();
    }
    Journal::begin(&machine.layout, machine.clock, record)
}

fn close_gate(machine: &Machine, survey: &Survey<'_>) -> Result<Pending> {
    let failed = Failed {
        outcome: Outcome::RolledBack.word().to_owned(),
        message: "the upgrade was undone".to_owned(),
    };
    let mark = survey.pending.clone().unwrap_or_else(|| Pending {
        from: survey.from.clone(),
        ..Pending::new(survey.version.clone(), Some(survey.running()), machine.clock)
    });
    let mark = Pending { failed: Some(failed), stuck: None, restoring: None, ..mark };
    mark.write(&machine.layout)?;
    Ok(mark)
}

fn stop(machine: &Machine, survey: &Survey<'_>, journal: &mut Journal) -> Result<()> {
    stop_services::stop(machine, &survey.units, journal)?;
    journal.done(Step::Quiesce, "")
}

/// Whether the installed program knows the schema that is there now.
fn fit(machine: &Machine) -> Result<Fit> {
    for shipped in &machine.databases {
        let wait = machine.config.policy.database_wait;
        let mut session = machine.connect_waiting(&shipped.database, wait)?;
        let found = migrations::look_for_pending(&mut session, &shipped.migrations)?;
        if found.state != State::Current {
            return Ok(Fit::Other);
        }
    }
    Ok(Fit::Agrees)
}

fn start(machine: &Machine, mark: &Pending, journal: &mut Journal) -> Result<()> {
    let running = mark.running.clone().unwrap_or_default();
    let started = start_services::restart(machine, &running, journal)?;
    check_health::run(machine, started, journal).map(drop)
}

/// A shutdown came while the units were started: the data is back, and the next boot goes on.
fn cut_off(
    machine: &Machine,
    mark: &Pending,
    journal: &mut Journal,
    by: &str,
    error: Error,
) -> Error {
    // The gate was opened for the units; open, nothing would go on by itself.
    if let Err(problem) = mark.write(&machine.layout) {
        machine.progress.warn(&problem.message());
    }
    let undo = machine.command("upgrade --undo");
    let error = error
        .state("the data is as it was before; the gate is closed")
        .hint(format!("Run `{undo}` to go on, as the next boot does by itself."));
    journal.interrupted(by);
    if let Err(problem) = journal.close(error.outcome(), Some(&error)) {
        machine.progress.warn(&format!("the journal is not closed: {}", problem.message()));
    }
    tell(machine, journal.record());
    error
}

/// An undo that failed is the end of what is tried by itself.
fn failed(
    machine: &Machine,
    survey: &Survey<'_>,
    journal: &mut Journal,
    mark: &Pending,
    (point, error): (Option<&str>, Error),
) -> Error {
    let after = match point {
        Some(_) => DataState::Unknown,
        None => DataState::Unchanged,
    };
    journal.left(after);
    let held = Held::new(journal);
    let own = error.state_line().map(str::to_owned);
    let state = truth::state(machine, survey, &held, &Aftermath::from(after));
    let state = own.map_or(state.clone(), |own| format!("{own}; {state}"));
    let first = error.message();
    let stuck = Error::new(Outcome::Stuck, format!("going back failed: {first}")).state(state);
    let error = error.details().iter().fold(stuck, Error::detail);
    let error = stuck::settle(machine, mark, Stuck::UndoFailed, error);
    if let Err(problem) = journal.close(Outcome::Stuck, Some(&error)) {
        machine.progress.warn(&format!("the journal is not closed: {}", problem.message()));
    }
    tell(machine, journal.record());
    error
}
