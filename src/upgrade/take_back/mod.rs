//! `openwatch migrate --to V` below what is applied: a restore point, then the ways back of the
//! migrations, with the units down.

use crate::database::{DatabaseLock, Session};
use crate::error::{Error, Result};
use crate::migrations::{self, TakeBack};
use crate::outcome::Outcome;
use crate::restore_points::RestorePoint;
use crate::system::clock;

use super::Again;
use super::hold;
use super::journal::{Direction, Journal, Record, TakenBack};
use super::locks;
use super::machine::{Machine, Shipped};
use super::migrate_only;
use super::recover;
use super::rollback::{self, present};
use super::step::Step;
use super::survey::{self, Survey};

/// What was done.
#[derive(Debug)]
pub struct Done {
    /// What was taken back.
    pub taken_back: TakenBack,
    /// The restore point of the state before.
    pub restore_point: Option<String>,
}

/// Finds out what would be taken back; changes nothing.
pub fn look(shipped: &Shipped, version: &str) -> Result<TakeBack> {
    let mut session = shipped.database.connect()?;
    migrations::take_back(&mut session, &shipped.migrations, version)
}

/// Takes back what was applied after a version, in the one database that is left in the machine.
pub fn run(machine: &Machine, version: &str) -> Result<Done> {
    let _lock = machine.lock("migrate")?;
    recover::refuse_going_back(machine)?;
    rollback::stand_aside(machine, Again::No)?;
    let [shipped] = machine.databases.as_slice() else {
        return Err(Error::failed("one database has to be named").state("nothing was changed"));
    };
    let survey = survey::take_now(machine)?;
    migrate_only::refuse_running(machine, &survey)?;
    hold::admit(machine, &survey, "migrate")?;
    let mut session = shipped.database.connect()?;
    let mut lock = DatabaseLock::acquire(&shipped.database, "migrate", locks::WAIT)?;
    let keys = migrations::tool_locks(&mut session, &shipped.migrations)?;
    lock.also(&keys, shipped.migrations.format().word(), locks::WAIT)?;
    // Lock, then look.
    let planned = migrations::take_back(&mut session, &shipped.migrations, version)?;
    let versions: Vec<String> = planned.versions().into_iter().map(str::to_owned).collect();
    let taken_back = TakenBack { database: shipped.database.name().to_owned(), versions };
    let mut journal = open(machine, &survey, taken_back.clone())?;
    let done = (|| {
        journal.begun(Step::RestorePoint, "")?;
        let point = present::keep_always(machine, &[&shipped.database])?;
        let id = point.as_ref().map_or("none", |point| point.id());
        if point.is_some() {
            journal.restore_point(id)?;
        }
        journal.done(Step::RestorePoint, id)?;
        // The dump may have taken hours.
        lock.check()?;
        let note = format!("taking back {}", taken_back.versions.join(" "));
        journal.begun(Step::Migrate, note)?;
        carry_out(machine, &mut session, &planned, point.as_ref())?;
        journal.done(Step::Migrate, "taken back")
    })();
    let outcome = done.as_ref().map_or_else(Error::outcome, |()| Outcome::Ok);
    if let Err(problem) = journal.close(outcome, done.as_ref().err()) {
        machine.progress.warn(&problem.message());
    }
    let restore_point = journal.record().restore_point.clone();
    done.map(|()| Done { taken_back, restore_point })
}

/// Opens the record of this run. One transaction leaves nothing half done, so that recovery needs none.
fn open(machine: &Machine, survey: &Survey<'_>, taken_back: TakenBack) -> Result<Journal> {
    let now = machine.clock.now();
    let (run, started) = (clock::stamp(now), clock::rfc3339(now));
    let record = Record::begun(Direction::Back, run, started, survey.version.clone());
    let overrode = hold::overridden(machine, survey);
    let from = Some(survey.version.clone());
    let record = Record { from, overrode, taken_back: Some(taken_back), ..record };
    Journal::aside(&machine.layout, machine.clock, record)
}

fn carry_out(
    machine: &Machine,
    session: &mut Session,
    planned: &TakeBack,
    point: Option<&RestorePoint>,
) -> Result<()> {
    let tell = |label: &str| machine.progress.step(&format!("taking back {label}"));
    let limit = machine.config.policy.lock_timeout;
    migrations::carry_out_back(session, planned, limit, tell).map_err(|error| match point {
        Some(point) => {
            let id = point.id();
            error.hint(format!("Mend the cause; restore point {id} has the state before."))
        }
        None => error,
    })
}
