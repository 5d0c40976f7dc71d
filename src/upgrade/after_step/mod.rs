//! What a step left is dumped too, where the operator wants that: `restore_point_after`.
//!
//! The way back is the restore point from before. One that cannot be made afterwards is told, and
//! stops nothing: with the services down, going on is better than standing still.

use crate::config::After;
use crate::database::clients::Clients;
use crate::error::Result;
use crate::migrations::{self, State};
use crate::restore_points::{Reason, Request, SchemaNote, Target};

use super::create_restore_point::{LOCK_WAIT, told};
use super::journal::Journal;
use super::machine::Machine;
use super::step::Step;
use super::survey::{self, Survey, Surveyed};

/// Dumps a database whose migrations are done, where that is wanted.
pub fn migrate(
    machine: &Machine,
    survey: &Survey<'_>,
    surveyed: &Surveyed<'_>,
    journal: &mut Journal,
) -> Result<()> {
    let wanted = machine.config.policy.restore_point_after.contains(&After::Migrate);
    // The first migrations of an empty database leave nothing that anybody would miss.
    if !wanted || surveyed.comparison.state == State::Empty {
        return Ok(());
    }
    let name = surveyed.database.described();
    machine.progress.step(&format!("taking a restore point of what was migrated: {name}"));
    match dump(machine, survey, surveyed) {
        Ok(id) => {
            let note = format!("{}: restore point {id}", surveyed.database.name());
            journal.done(Step::Migrate, note)
        }
        Err(error) => {
            let why = error.message();
            machine.progress.warn(&format!("{name} is migrated, and not dumped since: {why}"));
            Ok(())
        }
    }
}

fn dump(machine: &Machine, survey: &Survey<'_>, surveyed: &Surveyed<'_>) -> Result<String> {
    let mut session = surveyed.database.connect()?;
    let now = migrations::look(&mut session, surveyed.shipped)?;
    drop(session);
    let applied = survey::applied_versions(surveyed.shipped, &now);
    let schema = SchemaNote { head: now.current, applied };
    let request = Request {
        reason: Reason::AfterStep,
        from_version: Some(survey.version.clone()),
        to_version: None,
        databases: vec![Target { database: surveyed.database, schema }],
        reserve: machine.config.policy.reserve,
        lock_wait: LOCK_WAIT,
        clock: machine.clock,
        clients: Clients::default(),
    };
    let point = machine.store()?.create(&request, &*machine.progress)?;
    machine.progress.note(&told(&point));
    Ok(point.id().to_owned())
}
