//! What `openwatch migrate` does: the data's half of an upgrade, with the units left alone.

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::restore_points::Kind;
use crate::system::clock;

use super::fail::Held;
use super::gate::Pending;
use super::journal::{Journal, Record};
use super::locks::{self, Locks};
use super::machine::Machine;
use super::plan::{self, Decision};
use super::recover;
use super::settle;
use super::stop_services::Quiesced;
use super::survey::{self, Survey};
use super::{
    Again, apply_migrations, create_restore_point, fail, hold, maintenance, post_checks, preflight,
    rollback, together,
};

/// What was applied.
#[derive(Debug, Default)]
pub struct Applied {
    /// Versions, in order.
    pub versions: Vec<String>,
    /// The restore point that was taken.
    pub restore_point: Option<String>,
    /// What it is made of by now.
    pub restore_point_kind: Option<Kind>,
    /// Sessions of others that were ended because they blocked a migration.
    pub ended_sessions: Vec<String>,
    /// What is in doubt about the data although nothing failed.
    pub doubts: Vec<post_checks::Found>,
}

/// How far a run brings the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// To the newest shipped migration of every database.
    Whole,
    /// Not so far: program and schema do not agree afterwards.
    Part,
    /// Back: what was applied later is taken back.
    Back,
}

/// Takes a restore point and applies what is pending, without touching units.
pub fn run(machine: &Machine, reach: Reach) -> Result<Applied> {
    let _lock = machine.lock("migrate")?;
    recover::refuse_going_back(machine)?;
    rollback::stand_aside(machine, Again::No)?;
    together::admit(machine)?;
    let (survey, sessions) = survey::take_to_lock(machine, None)?;
    let mut locks = Locks::take(machine, &survey, sessions, locks::WAIT)?;
    let survey = locks.look_again(machine, None, survey)?;
    let plan = match plan::decide(&survey, &machine.config) {
        Decision::Refuse(error) => return Err(error),
        Decision::NothingPending => return Ok(Applied::default()),
        Decision::Upgrade(plan) => plan,
    };
    refuse_running(machine, &survey)?;
    hold::admit(machine, &survey, "migrate")?;
    let ready = preflight::check(machine, &survey, &plan, locks)?;
    survey.keep_pending()?;
    let mut journal = open(machine, &survey)?;
    let mut quiet = Quiesced::units_already_down(ready);
    let done = create_restore_point::run(machine, &survey, &plan, &mut quiet, &mut journal)
        .map_err(|error| error.state("no migration was applied; the data is unchanged"))
        .and_then(|secured| {
            let mut held = Held::new(&journal);
            held.secure(&secured);
            apply_migrations::run(machine, &survey, &mut quiet, &secured, &mut journal)
                .map_err(|failed| fail::told(machine, &survey, &held, &mut journal, failed))
                .map(|_migrated| {
                    secured.point().map(|point| (point.id().to_owned(), point.manifest().kind))
                })
        });
    match done {
        Ok(restore_point) => {
            // As whoever comes next would see it, and begun while the record waits for the disk.
            machine.databases.iter().for_each(|shipped| shipped.database.connect_ahead());
            journal.close(Outcome::Ok, None)?;
            if reach == Reach::Whole {
                agree(machine)?;
            }
            // The first migration of an application follows its install: its package is at hand now.
            rollback::kept::remember_installed(machine);
            let versions = plan.databases.into_iter().flat_map(|d| d.pending).collect();
            let ended_sessions = journal.record().ended_sessions.clone();
            let doubts = post_checks::run(machine, post_checks::NextDump::Asked);
            let mut applied = Applied { versions, ended_sessions, doubts, ..Applied::default() };
            if let Some((id, kind)) = restore_point {
                applied.restore_point_kind = Some(complete(machine, &id, kind));
                applied.restore_point = Some(id);
            }
            Ok(applied)
        }
        Err(error) => {
            if let Err(problem) = journal.close(error.outcome(), Some(&error)) {
                machine.progress.warn(&problem.message());
            }
            Err(error)
        }
    }
}

/// The operator starts the services, so that the dump of a clone waits for whoever comes by daily;
/// in a directory that was named for this run nobody does.
fn complete(machine: &Machine, id: &str, kind: Kind) -> Kind {
    if kind != Kind::Clone {
        return kind;
    }
    if machine.backup_dir_is_named {
        settle::run(machine);
        let point = machine.store().and_then(|store| store.find(id));
        return point.map_or(kind, |point| point.manifest().kind);
    }
    let command = machine.command("backup prune");
    machine.progress.note(&format!(
        "restore point {id} is a clone; its dump is made daily, or once the services are back by \
         `{command}`"
    ));
    kind
}

/// Program and schema agree again by a person's hand: the gate opens, unless units wait behind it
/// that only the upgrade starts; what failed before is then no reason to hold it back.
fn agree(machine: &Machine) -> Result<()> {
    match Pending::read(&machine.layout)? {
        None => Ok(()),
        Some(mark) if mark.running.as_ref().is_none_or(Vec::is_empty) => {
            Pending::clear(&machine.layout)?;
            maintenance::end(machine);
            Ok(())
        }
        Some(mark) => {
            let next = machine.command("upgrade");
            machine.progress.note(&format!("run `{next}` to start what ran before"));
            recover::clear_stuck(machine);
            Pending { failed: None, stuck: None, ..mark }.write(&machine.layout)
        }
    }
}

/// Refuses while units run: their program does not know the schema that would come.
pub(super) fn refuse_running(machine: &Machine, survey: &Survey<'_>) -> Result<()> {
    let up: Vec<&str> =
        survey.units.iter().filter(|unit| unit.is_up()).map(|unit| unit.name.as_str()).collect();
    if up.is_empty() {
        return Ok(());
    }
    let what = format!("{} runs and would find a schema that it does not know", up.join(", "));
    Err(Error::new(Outcome::Refused, what).state(preflight::untouched(survey)).hint(format!(
        "Run `{}`, which stops and starts it around the migrations.",
        machine.command("upgrade")
    )))
}

fn open(machine: &Machine, survey: &Survey<'_>) -> Result<Journal> {
    let now = machine.clock.now();
    let overrode = hold::overridden(machine, survey);
    let world = recover::world::record(machine, survey).ok();
    let new = Record::new(clock::stamp(now), clock::rfc3339(now), survey);
    let record = Record { overrode, world, ..new };
    Journal::begin(&machine.layout, machine.clock, record)
}
