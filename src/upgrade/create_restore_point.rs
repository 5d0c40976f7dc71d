//! Takes the restore point that the migrations must not run without.

mod reuse;

use std::time::Duration;

use crate::config::Method;
use crate::database::clients::Clients;
use crate::disk;
use crate::error::{Error, Result};
use crate::migrations::State;
use crate::outcome::Outcome;
use crate::restore_points::{Hook, Kind, Reason, Request, RestorePoint, SchemaNote, Target};
use crate::system::clock;

use super::appliance;
use super::clones;
use super::hooks;
use super::journal::Journal;
use super::machine::Machine;
use super::plan::Plan;
use super::prove_restore_point;
use super::step::Step;
use super::stop_services::Quiesced;
use super::survey::Survey;

pub use reuse::forget;

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

/// Makes one restore point of every database of the plan.
pub fn run(
    machine: &Machine,
    survey: &Survey<'_>,
    plan: &Plan,
    quiet: &mut Quiesced,
    journal: &mut Journal,
) -> Result<Secured> {
    let taken =
        |name: &str| plan.databases.iter().any(|d| d.name == name && d.protection.is_taken());
    let databases: Vec<_> = survey
        .databases
        .iter()
        .filter(|d| taken(d.database.name()) && d.comparison.state != State::Empty)
        .map(|d| {
            let schema =
                SchemaNote { head: d.comparison.current.clone(), applied: d.applied_versions() };
            Target { database: d.database, schema }
        })
        .collect();
    if databases.is_empty() {
        return Ok(Secured { point: None });
    }
    quiet.only_locks();
    hooks::before(machine, Step::RestorePoint, &*journal)?;
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
    let mut point = match machine.config.policy.restore_point.method {
        Method::Dump => match reuse::find(machine, &request, quiet, journal)? {
            Some(point) => return used_again(machine, point, journal),
            None => {
                let still = reuse::look(machine, &request);
                let point = machine.store()?.create(&request, &*machine.progress)?;
                reuse::keep(machine, &point, still);
                point
            }
        },
        Method::Clone => clone(machine, survey, &request, quiet, journal)?,
        Method::External => external(machine, &request)?,
    };
    machine.progress.note(&told(&point));
    secured(machine, &mut point, journal)?;
    Ok(Secured { point: Some(point) })
}

/// Notes whose point it is, and proves it as far as the operator wants.
fn secured(machine: &Machine, point: &mut RestorePoint, journal: &mut Journal) -> Result<()> {
    journal.restore_point(point.id())?;
    appliance::secured(machine, journal.record())?;
    prove_restore_point::run(machine, point)?;
    journal.done(Step::RestorePoint, point.id())?;
    hooks::after(machine, Step::RestorePoint, &*journal);
    Ok(())
}

/// Goes on with the point of the attempt before, and says that and why.
fn used_again(
    machine: &Machine,
    mut point: RestorePoint,
    journal: &mut Journal,
) -> Result<Secured> {
    let manifest = point.manifest();
    machine.progress.note(&format!(
        "restore point {} of the attempt before is used again: made at {}, whole, and nothing was \
         written since",
        point.id(),
        manifest.created
    ));
    journal.used_again(point.id());
    secured(machine, &mut point, journal)?;
    Ok(Secured { point: Some(point) })
}

/// A clone where one can be made, otherwise a dump: what the migrations need is a restore point, and
/// with the services down going on is better than leaving them down.
fn clone(
    machine: &Machine,
    survey: &Survey<'_>,
    request: &Request<'_>,
    quiet: &mut Quiesced,
    journal: &mut Journal,
) -> Result<RestorePoint> {
    let failed = |error: Error| match error.outcome() {
        Outcome::Unreachable | Outcome::Config | Outcome::Busy => error,
        _ => error.outcome_as(Outcome::BackupFailed),
    };
    match clones::take(machine, survey, request, quiet, journal).map_err(failed)? {
        Ok(point) => Ok(point),
        Err(why) => {
            machine.progress.warn(&format!("no clone, a dump is taken instead: {why}"));
            machine.store()?.create(request, &*machine.progress)
        }
    }
}

fn external(machine: &Machine, request: &Request<'_>) -> Result<RestorePoint> {
    let spec = &machine.config.policy.restore_point;
    let command = spec.command.as_deref().unwrap_or_default();
    let hook = Hook { command, limit: spec.timeout };
    machine.store()?.create_external(request, hook, &*machine.progress)
}

/// Says what was made.
pub(super) fn told(point: &RestorePoint) -> String {
    let manifest = point.manifest();
    let databases = disk::spoken(manifest.databases.iter().map(|d| d.database_bytes).sum());
    let took = clock::spoken(Duration::from_millis(manifest.duration_ms));
    let id = point.id();
    match manifest.kind {
        Kind::Dump => format!(
            "restore point {id}: {} from {databases}, read back and hashed, {took}",
            disk::spoken(manifest.bytes)
        ),
        Kind::Clone => {
            let names: Vec<&str> = manifest.clones().collect();
            format!(
                "restore point {id}: {databases} cloned as {}, compared, {took}",
                names.join(", ")
            )
        }
        Kind::External => format!(
            "restore point {id}: {}, as its command says, {took}",
            point.identifier().unwrap_or_default()
        ),
    }
}
