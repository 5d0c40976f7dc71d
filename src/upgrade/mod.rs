//! The engine: an upgrade, step by step.
//!
//! It looks, decides, acts: [`survey`] reads the machine, [`plan`] and [`preflight`] decide, the steps
//! act. Evidence flows through the steps; each value can be made by its own step only, so migrating
//! without a restore point (or a waiver that the plan showed) does not compile:
//!
//! ```compile_fail
//! use openwatch::upgrade::create_restore_point::Secured;
//! let forged = Secured { point: None };
//! ```

pub mod after_step;
pub mod ahead;
pub mod appliance;
pub mod apply_migrations;
pub mod asked;
pub mod baseline;
pub mod check_health;
mod clones;
pub mod create_restore_point;
pub mod drift;
pub mod external;
pub mod fail;
pub mod gate;
pub mod gate_of_restore;
pub mod hold;
pub mod hooks;
pub mod identity;
pub mod in_file;
pub mod journal;
pub mod locks;
pub mod looked_into;
pub mod machine;
pub mod maintenance;
pub mod migrate_only;
pub mod needed;
pub mod plan;
pub mod post_checks;
pub mod preflight;
mod preflight_points;
pub mod prove_restore_point;
pub mod public;
pub mod put_back;
pub mod ran_before;
pub mod recover;
pub mod rehearsal;
pub mod requirements;
pub mod rollback;
mod rolling;
pub mod run_log;
pub mod settings;
pub mod settle;
pub mod start_services;
mod state_file;
pub mod step;
pub mod stop_services;
pub mod survey;
pub mod take_back;
pub mod telling;
pub mod together;
pub mod tree;
mod truth;
pub mod unit;
pub mod ways_out;
mod without_migrations;

use std::time::Duration;

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::restore_points::Kind;
use crate::system::clock;
use crate::version::Version;

use fail::{Failed, Held};
use gate::Pending;
use journal::{Journal, Record};
use locks::{Exchanging, Locks};
use machine::Machine;
pub use migrate_only::run as migrate_only;
use plan::{Decision, Plan};
use recover::Course;
use recover::decide::{Asked, Changes};
use recover::undo::Undone;
use step::Step;
use survey::Survey;
pub(crate) use telling::{tell, unfinished};

/// How an upgrade ended well.
#[derive(Debug)]
pub struct Success {
    /// Whether anything had to be done.
    pub work: Work,
    /// Version before, where it is known.
    pub from: Option<Version>,
    /// Version that is installed.
    pub to: Version,
    /// Versions applied, per database.
    pub applied: Vec<(String, Vec<String>)>,
    /// Whether any unit was started, and its health proved.
    pub started: bool,
    /// The restore point that was taken.
    pub restore_point: Option<String>,
    /// What it is made of by now.
    pub restore_point_kind: Option<Kind>,
    /// How long the units were down, at most.
    pub downtime: Duration,
    /// Sessions of others that were ended because they blocked a migration.
    pub ended_sessions: Vec<String>,
    /// What an operator should look at.
    pub warnings: Vec<String>,
    /// What is different from before.
    pub comparison: Option<baseline::Comparison>,
    /// What is in doubt about the data although nothing failed.
    pub doubts: Vec<post_checks::Found>,
}

impl Success {
    /// Returns one of this version, which took no restore point and migrated nothing.
    fn without_migrations(work: Work, from: Option<Version>, to: Version, started: bool) -> Self {
        Self {
            work,
            from,
            to,
            applied: Vec::new(),
            started,
            restore_point: None,
            restore_point_kind: None,
            downtime: Duration::ZERO,
            ended_sessions: Vec::new(),
            warnings: Vec::new(),
            comparison: None,
            doubts: Vec::new(),
        }
    }
}

/// Whether anything had to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Nothing was pending and nothing was left open: nothing was touched.
    Nothing,
    /// Nothing was pending: units were restarted under the new program.
    Restarted,
    /// Migrations were applied.
    Migrated,
    /// The data disk came back from a version that did not get to its end: its data was put back.
    WentBack,
}

/// Whether a version whose last attempt failed is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// It is left alone: nightly automation must not repeat a failure.
    No,
    /// A person said so.
    Yes,
    /// A person said so, and takes what has changed since it was interrupted as it is.
    Adopting,
}

/// Runs an upgrade to its end, good or bad.
pub fn run(machine: &Machine, from: Option<&Version>, again: Again) -> Result<Success> {
    // Lock, then look: a decision made before the lock may be about another world.
    let _lock = machine.lock("upgrade")?;
    run_log::begin(&machine.layout, &*machine.progress);
    gate::opened::expire(machine);
    rollback::stand_aside(machine, again)?;
    if let appliance::Course::WentBack(success) = appliance::begin(machine, again)? {
        return Ok(*success);
    }
    together::admit_marked(machine)?;
    let asked = match again {
        Again::No => Asked::ByItself,
        Again::Yes => Asked::GoOn(Changes::Refused),
        Again::Adopting => Asked::GoOn(Changes::Adopted),
    };
    recover::begin(machine, asked)?;
    if asked == Asked::ByItself && !recover::is_going_back(machine)? {
        refuse_repeating(machine)?;
    }
    let (survey, sessions) = survey::take_to_lock(machine, from)?;
    let mut locks = Locks::take(machine, &survey, sessions, machine.config.policy.host_wait)
        .map_err(|error| refused(machine, &survey, error))?;
    let survey = locks.look_again(machine, from, survey)?;
    let found = recover::look(machine, &survey, asked)?;
    match recover::course(machine, &survey, &found) {
        Err(error) if error.outcome() == Outcome::Refused => {
            return Err(refused(machine, &survey, error));
        }
        Err(error) => return Err(error),
        Ok(Course::Back(data)) => {
            drop(locks);
            let _exchanging = Exchanging::for_going_back(machine, found.last.as_ref(), data)?;
            gate::opened::end_for_upgrade(machine);
            let undone = recover::undo::run(machine, &survey, found.last.as_ref(), data)?;
            return Err(undone.rolled_back(machine));
        }
        Ok(Course::Forward) if asked == Asked::ByItself => refuse_repeating(machine)?,
        Ok(Course::Forward) => {}
    }
    recover::retire_used_up(machine, &found);
    match plan::decide(&survey, &machine.config) {
        Decision::Refuse(error) => Err(refused(machine, &survey, error)),
        Decision::NothingPending => without_migrations::run(machine, &survey),
        Decision::Upgrade(plan) => {
            hold::admit(machine, &survey, "upgrade")?;
            with_migrations(machine, &survey, &plan, locks)
        }
    }
}

/// Takes the data disk back from another version, where it tells of one; none where it does not.
pub fn undo_on_disk(machine: &Machine) -> Result<Option<Success>> {
    if machine.config.appliance.is_none() {
        return Ok(None);
    }
    let _lock = machine.lock("upgrade")?;
    run_log::begin(&machine.layout, &*machine.progress);
    appliance::undo(machine)
}

/// Goes back to before the first attempt; none where nothing is open.
pub fn undo(machine: &Machine, changes: Changes) -> Result<Option<Undone>> {
    let _lock = machine.lock("upgrade")?;
    run_log::begin(&machine.layout, &*machine.progress);
    rollback::stand_aside(machine, Again::No)?;
    let asked = Asked::Undo(changes);
    recover::begin(machine, asked)?;
    let (survey, sessions) = survey::take_to_lock(machine, None)?;
    // Whoever migrates at this moment, here or on another host, is not undone meanwhile.
    drop(Locks::take(machine, &survey, sessions, locks::WAIT)?);
    let found = recover::look(machine, &survey, asked)?;
    match recover::course(machine, &survey, &found)? {
        Course::Forward => Ok(None),
        Course::Back(data) => {
            let _exchanging = Exchanging::for_going_back(machine, found.last.as_ref(), data)?;
            gate::opened::end_for_upgrade(machine);
            recover::undo::run(machine, &survey, found.last.as_ref(), data).map(Some)
        }
    }
}

/// Says no to another attempt at a version that failed, until a person says otherwise.
fn refuse_repeating(machine: &Machine) -> Result<()> {
    let mark = Pending::read(&machine.layout)?;
    let Some(mark) = mark.filter(|mark| mark.to.order(&machine.version).is_eq()) else {
        return Ok(());
    };
    let Some(failed) = mark.held_back() else { return Ok(()) };
    Err(Error::new(
        Outcome::Refused,
        format!("the upgrade to {} failed before and is not tried again by itself", mark.to),
    )
    .detail(format!("it ended as {}: {}", failed.outcome, failed.message))
    .state("nothing was changed; the gate is closed")
    .hint(format!("Mend the cause, then run `{}`.", ways_out::retry_command(machine, mark.family))))
}

fn with_migrations(
    machine: &Machine,
    survey: &Survey<'_>,
    plan: &Plan,
    locks: Locks,
) -> Result<Success> {
    let ready = preflight::check(machine, survey, plan, locks)
        .and_then(|ready| hooks::before_quiesce(machine, survey).map(|()| ready))
        .and_then(|ready| survey.keep_pending().map(|()| ready))
        .map_err(|error| refused(machine, survey, error))?;
    let mut journal = open_journal(machine, survey)?;
    let mut held = Held::new(&journal);
    let done = (|| {
        let mut quiet = stop_services::run(machine, survey, plan, ready, &mut journal)
            .map_err(Failed::at(Step::Quiesce))?;
        fail::if_asked_to_stop(Step::RestorePoint)?;
        let secured = create_restore_point::run(machine, survey, plan, &mut quiet, &mut journal)
            .map_err(Failed::at(Step::RestorePoint))?;
        held.secure(&secured);
        fail::if_asked_to_stop(Step::Migrate)?;
        tree::switch::run(machine, &mut journal).map_err(Failed::at(Step::Switch))?;
        let awake = recover::awake(machine);
        let migrated = apply_migrations::run(machine, survey, &mut quiet, &secured, &mut journal)?;
        baseline::hold_data(machine, &mut journal)?;
        drop(awake);
        fail::if_asked_to_stop(Step::Start)?;
        held.watch(machine);
        let started = start_services::run(machine, &quiet.running, migrated, &mut journal)
            .map_err(Failed::at(Step::Start))?;
        let up = !started.units.is_empty();
        let healthy =
            check_health::run(machine, started, &mut journal).map_err(Failed::at(Step::Health))?;
        let downtime = journal.elapsed();
        baseline::close(machine, &mut journal).map_err(Failed::at(Step::Health))?;
        Ok((healthy, up, secured, downtime))
    })();
    match done {
        Ok((_, up, secured, downtime)) => {
            let mut success = Success {
                work: Work::Migrated,
                from: survey.from.clone(),
                to: survey.version.clone(),
                applied: plan
                    .databases
                    .iter()
                    .filter(|database| !database.pending.is_empty())
                    .map(|database| (database.name.clone(), database.pending.clone()))
                    .collect(),
                started: up,
                restore_point: secured.point().map(|point| point.id().to_owned()),
                restore_point_kind: secured.point().map(|point| point.manifest().kind),
                downtime,
                ended_sessions: journal.record().ended_sessions.clone(),
                warnings: journal.losses(),
                comparison: journal.record().comparison.clone(),
                doubts: post_checks::run(machine, post_checks::NextDump::Tried),
            };
            finish(machine, journal);
            settle_clone(machine, &mut success);
            Ok(success)
        }
        Err(failed) => Err(fail::close(machine, survey, &mut journal, &held, failed)),
    }
}

/// The services are back, so that the dump of a clone costs no downtime; one that cannot be made is
/// told, fails nothing, and is tried again daily.
fn settle_clone(machine: &Machine, success: &mut Success) {
    let (Some(Kind::Clone), Some(id)) = (success.restore_point_kind, &success.restore_point) else {
        return;
    };
    success.warnings.extend(settle::run(machine).problems);
    match machine.store().and_then(|store| store.find(id)) {
        Ok(point) => success.restore_point_kind = Some(point.manifest().kind),
        Err(error) => success.warnings.push(error.message()),
    }
    if success.restore_point_kind == Some(Kind::Clone) {
        let again = machine.command("backup prune");
        let warning = format!(
            "restore point {id} is a clone still; its dump is tried again daily, or by `{again}`"
        );
        machine.progress.warn(&warning);
        success.warnings.push(warning);
    }
}

fn open_journal(machine: &Machine, survey: &Survey<'_>) -> Result<Journal> {
    gate::opened::end_for_upgrade(machine);
    let baseline = baseline::begin(machine, survey)?;
    let now = machine.clock.now();
    let overrode = hold::overridden(machine, survey);
    let world = recover::world::record(machine, survey)
        .inspect_err(|error| machine.progress.warn(&format!("no fingerprint: {}", error.message())))
        .ok();
    let new = Record::new(clock::stamp(now), clock::rfc3339(now), survey);
    let record = Record { baseline, overrode, world, ..new };
    telling::begun(machine, &record);
    Journal::begin(&machine.layout, machine.clock, record)
}

/// Closes a good run. The work is done and proved, so a journal that cannot be written any more is
/// told, but cannot make the run a failure.
fn finish(machine: &Machine, mut journal: Journal) {
    maintenance::end(machine);
    if let Err(error) = journal.close(Outcome::Ok, None) {
        machine.progress.warn(&format!("the journal is not closed: {}", error.message()));
    }
    let record = journal.record().clone();
    if let Err(error) = tree::keep::prune(machine) {
        machine.progress.warn(&error.message());
    }
    recover::clear_stuck(machine);
    create_restore_point::forget(machine);
    tell(machine, &record);
}

/// Completes a refusal with what is true: the mark, where there is one, keeps the gate closed.
fn refused(machine: &Machine, survey: &Survey<'_>, error: Error) -> Error {
    let Some(mark) = &survey.pending else { return error };
    let retry = ways_out::retry_command(machine, mark.family);
    let units: Vec<String> = survey.units.iter().map(|unit| unit.spoken()).collect();
    let error = error
        .state(format!(
            "nothing was changed; the gate is closed until the upgrade to {} is done; {}",
            survey.version,
            if units.is_empty() { "no units".into() } else { units.join(", ") }
        ))
        .or_hint(format!("Mend this, then run `{retry}`."));
    let failed = gate::Failed { outcome: error.outcome().word().into(), message: error.message() };
    let mark = Pending { failed: Some(failed), ..mark.clone() };
    if let Err(problem) = mark.write(&machine.layout) {
        machine.progress.warn(&problem.message());
    }
    error
}
