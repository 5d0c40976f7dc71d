//! Takes the restore point that the migrations must not run without.

use std::time::Duration;

use crate::database::clients::Clients;
use crate::disk;
use crate::error::Result;
use crate::migrations::State;
use crate::restore_points::{Reason, Request, RestorePoint, SchemaNote, Target};

use crate::system::clock;

use super::journal::Journal;
use super::machine::Machine;
use super::plan::{Plan, Protection};
use super::step::Step;
use super::stop_services::Quiesced;
use super::survey::Survey;

/// How long a table lock that somebody holds is waited for, with the services already down.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(60);

/// Proof that the data is safe: a published restore point, or a waiver that the plan showed.
#[derive(Debug)]
pub struct Secured {
    point: Option<RestorePoint>,
}

impl Secured {
    /// Returns the restore point; none when there was nothing to lose or the operator said so.
    pub fn point(&self) -> Option<&RestorePoint> {
        self.point.as_ref()
    }
}

/// Dumps every database of the plan into one restore point.
pub fn run(
    machine: &Machine,
    survey: &Survey<'_>,
    plan: &Plan,
    _quiet: &Quiesced,
    journal: &mut Journal,
) -> Result<Secured> {
    let dumped = |name: &str| {
        plan.databases.iter().any(|d| d.name == name && d.protection == Protection::Dump)
    };
    let databases: Vec<_> = survey
        .databases
        .iter()
        .filter(|d| dumped(d.database.name()) && d.comparison.state != State::Empty)
        .map(|d| {
            let schema =
                SchemaNote { head: d.comparison.current.clone(), applied: d.applied_versions() };
            Target { database: d.database, schema }
        })
        .collect();
    if databases.is_empty() {
        return Ok(Secured { point: None });
    }
    journal.begun(Step::RestorePoint, "")?;
    machine.progress.step("taking a restore point");
    let request = Request {
        reason: Reason::Upgrade,
        from_version: survey.from.clone(),
        to_version: Some(survey.version.clone()),
        databases,
        reserve: machine.config.policy.reserve,
        lock_wait: LOCK_WAIT,
        clock: machine.clock,
        clients: Clients::default(),
    };
    let point = machine.store()?.create(&request, &*machine.progress)?;
    journal.restore_point(point.id())?;
    journal.done(Step::RestorePoint, point.id())?;
    let manifest = point.manifest();
    machine.progress.note(&format!(
        "restore point {}: {} from {}, read back and hashed, {}",
        point.id(),
        disk::spoken(manifest.bytes),
        disk::spoken(manifest.databases.iter().map(|archive| archive.database_bytes).sum()),
        clock::spoken(Duration::from_millis(manifest.duration_ms))
    ));
    Ok(Secured { point: Some(point) })
}
