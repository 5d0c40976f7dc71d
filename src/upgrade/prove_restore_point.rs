//! Proves a fresh restore point by loading it, where the operator wants that, before anything is migrated.

use crate::config::Verify;
use crate::database::Database;
use crate::database::clients::Clients;
use crate::database::facts;
use crate::error::Result;
use crate::outcome::Outcome;
use crate::restore_points::{
    Foreseen, Kind, Limits, RestorePoint, ToLoad, TrialOptions, Tried, foresee,
};
use crate::system::clock;

use super::machine::Machine;

/// Looks whether these databases could be loaded beside themselves; nothing where nobody wants that.
pub fn look_ahead(machine: &Machine, databases: &[&Database]) -> Result<Option<Foreseen>> {
    match machine.config.policy.verify {
        Verify::Read => return Ok(None),
        Verify::Restore => {}
    }
    let mut all = Vec::new();
    for database in databases {
        let mut session = database.connect()?;
        let extensions = facts::extensions(&mut session)?;
        let bytes = facts::size(&mut session).unwrap_or_default();
        all.push(ToLoad { database, bytes, extensions });
    }
    foresee(machine.stored()?.as_ref(), &all, &limits(machine)).map(Some)
}

/// Loads the point into scratch databases, where the operator wants that, and says what it showed.
///
/// A point that cannot be loaded is an error; no time and no room left are not: the point is then as
/// far proven as every one is that nobody asks this of.
pub fn run(machine: &Machine, point: &mut RestorePoint) -> Result<()> {
    match (machine.config.policy.verify, point.manifest().kind) {
        (Verify::Restore, Kind::Dump) => {}
        // A clone is no archive, and its dump is made when the services are back.
        (Verify::Read, _) | (Verify::Restore, Kind::Clone | Kind::External) => return Ok(()),
    }
    let databases: Vec<&Database> = machine.databases.iter().map(|s| &s.database).collect();
    let options =
        TrialOptions { limits: limits(machine), clock: machine.clock, clients: Clients::default() };
    let tried = machine.store()?.try_restoring(point, &databases, &options, &*machine.progress);
    let failed = |error: crate::error::Error| match error.outcome() {
        Outcome::Unreachable | Outcome::Config => error,
        _ => error.outcome_as(Outcome::BackupFailed),
    };
    match tried.map_err(failed)? {
        Tried::Restored(took) => machine.progress.note(&format!(
            "{} was loaded into a scratch database and compared, {}",
            point.id(),
            clock::spoken(took)
        )),
        Tried::NotTried(why) => machine.progress.warn(&format!(
            "{} was read back, not restored, and the upgrade goes on: {}",
            point.id(),
            why.iter().map(|obstacle| obstacle.why.as_str()).collect::<Vec<_>>().join("; ")
        )),
    }
    Ok(())
}

fn limits(machine: &Machine) -> Limits {
    let policy = &machine.config.policy;
    Limits { time: Some(policy.verify_limit), reserve: policy.reserve }
}
