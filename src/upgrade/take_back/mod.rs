//! `openwatch migrate --to V` below what is applied: a restore point, then the ways back of the
//! migrations, with the units down.

use crate::database::{Database, DatabaseLock, Dialect};
use crate::error::{Error, Result};
use crate::migrations::{self, TakeBack};
use crate::outcome::Outcome;

use super::Again;
use super::hold;
use super::locks;
use super::machine::{Machine, Shipped};
use super::migrate_only;
use super::recover;
use super::rollback::{self, present};
use super::survey;

/// What was taken back.
#[derive(Debug)]
pub struct TakenBack {
    /// Name of the database within the application.
    pub database: String,
    /// The versions, newest first.
    pub versions: Vec<String>,
    /// The restore point of the state before.
    pub restore_point: Option<String>,
}

/// Finds out what would be taken back; changes nothing.
pub fn look(shipped: &Shipped, version: &str) -> Result<TakeBack> {
    refuse_file(shipped)?;
    let mut session = shipped.database.connect()?;
    migrations::take_back(&mut session, &shipped.migrations, version)
}

/// Takes back what was applied after a version, in the one database that is left in the machine.
pub fn run(machine: &Machine, version: &str) -> Result<TakenBack> {
    let _lock = machine.lock("migrate")?;
    recover::refuse_going_back(machine)?;
    rollback::stand_aside(machine, Again::No)?;
    let [shipped] = machine.databases.as_slice() else {
        return Err(Error::failed("one database has to be named").state("nothing was changed"));
    };
    refuse_file(shipped)?;
    let survey = survey::take_now(machine)?;
    migrate_only::refuse_running(machine, &survey)?;
    hold::admit(machine, &survey, "migrate")?;
    let mut session = shipped.database.connect()?;
    let mut lock = DatabaseLock::acquire(&shipped.database, "migrate", locks::WAIT)?;
    let keys = migrations::tool_locks(&mut session, &shipped.migrations)?;
    lock.also(&keys, shipped.migrations.format().word(), locks::WAIT)?;
    // Lock, then look.
    let planned = migrations::take_back(&mut session, &shipped.migrations, version)?;
    let all: Vec<&Database> = vec![&shipped.database];
    let point = present::keep(machine, &all)?.map(|point| point.id().to_owned());
    // The dump may have taken hours.
    lock.check()?;
    let tell = |label: &str| machine.progress.step(&format!("taking back {label}"));
    let limit = machine.config.policy.lock_timeout;
    migrations::carry_out_back(&mut session, &planned, limit, tell).map_err(
        |error| match &point {
            Some(id) => {
                error.hint(format!("Mend the cause; restore point {id} has the state before."))
            }
            None => error,
        },
    )?;
    Ok(TakenBack {
        database: shipped.database.name().to_owned(),
        versions: planned.versions().into_iter().map(str::to_owned).collect(),
        restore_point: point,
    })
}

/// The transaction that takes migrations back is one of a server.
fn refuse_file(shipped: &Shipped) -> Result<()> {
    if shipped.database.dialect() == Dialect::PostgreSql {
        return Ok(());
    }
    let message = format!("migrations of {} are not taken back", shipped.database.described());
    Err(Error::new(Outcome::Refused, message)
        .detail("it is a file, which a restore point puts back as a whole")
        .state("nothing was changed")
        .hint("Look at `openwatch backup list`."))
}
