//! The present state, kept before another one takes its place.

use crate::config::Method;
use crate::database::Database;
use crate::database::clients::Clients;
use crate::error::{Error, Result};
use crate::migrations::{self, Chain, Comparison, State};
use crate::outcome::Outcome;
use crate::restore_points::{self, Kind, Loss, Reason, Request, RestorePoint, SchemaNote, Target};
use crate::version::Version;

use super::super::create_restore_point::LOCK_WAIT;
use super::super::journal;
use super::super::machine::Machine;
use super::super::survey::applied_versions;

/// Whether a restore point of the present state is taken before it is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copy {
    /// Where something was written since, it is.
    WhereWritten,
    /// It is not: the operator said so.
    LeftOut,
}

/// What becomes of the present state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Present {
    /// There is no database whose place is taken.
    Absent,
    /// Nothing was written since: the restore point is the present state.
    Unwritten,
    /// Only the migrations of a run that failed wrote since, and the database is kept beside.
    HalfMigrated,
    /// Something was written since, and the operator wants no copy.
    LeftOut,
    /// Something was written since: a restore point is taken first.
    Copied,
    /// Something was written since: the database, which a clone takes the place of, becomes the restore
    /// point as it is.
    Beside,
}

/// How the data of a restore point takes the place of the present one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Road {
    /// From its archives, or in a way that is not known yet.
    Loaded,
    /// By the names of clones, on a machine whose operator wants clones for restore points.
    Renamed,
}

impl Road {
    /// Looks whether all clones of the point are there.
    pub fn of(machine: &Machine, point: &RestorePoint, databases: &[&Database]) -> Result<Self> {
        let wanted = machine.config.policy.restore_point.method == Method::Clone;
        if !wanted || point.manifest().kind != Kind::Clone {
            return Ok(Self::Loaded);
        }
        // What becomes of several databases is one transaction of their server.
        let one_server = databases.windows(2).all(|two| two[0].same_server(two[1]));
        let all = one_server && point.clones_there(databases)?.len() == databases.len();
        Ok(if all { Self::Renamed } else { Self::Loaded })
    }
}

/// Write-ahead log up to which the statistics are believed that nothing was written, in bytes: they
/// come a moment late, and before PostgreSQL 15 some are lost on the way.
const QUIET: u64 = 1 << 20;

fn unwritten(loss: &Loss) -> bool {
    loss.rows_written == Some(0)
        && !loss.may_be_more
        && loss.wal_bytes.is_some_and(|bytes| bytes <= QUIET)
}

impl Present {
    /// Decides from what the restore would take away.
    ///
    /// What cannot be known counts as written. A run that failed before it started anything wrote
    /// nothing that anybody typed in; where its database is kept under another name, a dump of it
    /// would only make the way back longer.
    pub fn decide(wish: Copy, lost: &[Loss], in_place: &[String], half: Half, road: Road) -> Self {
        if lost.is_empty() {
            return Self::Absent;
        }
        // Where nothing else keeps the data, a count is no proof: of sequences and large objects there is none.
        if in_place.is_empty() && lost.iter().all(unwritten) {
            return Self::Unwritten;
        }
        match (wish, half, road) {
            (Copy::LeftOut, ..) => Self::LeftOut,
            (Copy::WhereWritten, Half::OfThisPoint, _) if in_place.is_empty() => Self::HalfMigrated,
            (Copy::WhereWritten, _, Road::Renamed) => Self::Beside,
            (Copy::WhereWritten, Half::OfThisPoint | Half::No, Road::Loaded) => Self::Copied,
        }
    }

    /// Says what is kept, before anything happens.
    pub fn told(self, in_place: &[String]) -> Option<String> {
        let beside = match in_place {
            [] => "the former database stays beside it under another name".to_owned(),
            names => format!("{} is replaced in place and not kept", names.join(", ")),
        };
        Some(match self {
            Self::Absent => return None,
            Self::Unwritten => format!("nothing was written since; {beside}"),
            Self::HalfMigrated => {
                format!("only migrations that failed wrote since; {beside}")
            }
            Self::LeftOut => format!("no copy of the present state is taken; {beside}"),
            Self::Copied => {
                format!("a restore point of the present state is taken first; {beside}")
            }
            Self::Beside => {
                "the former database becomes a restore point as it is; its dump is made \
                             later, as that of every clone"
                    .into()
            }
        })
    }
}

/// Whether the last run left the data half migrated, and this point leads back from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// It did, with the services down from before the point was taken until now.
    OfThisPoint,
    /// It did not, or something ran since.
    No,
}

impl Half {
    /// Asks the journal.
    pub fn of(machine: &Machine, point: &RestorePoint) -> Result<Self> {
        let record = journal::read(&machine.layout)?;
        let half = record.is_some_and(|record| {
            record.leads_back() == Some(point.id()) && record.never_started()
        });
        Ok(if half { Self::OfThisPoint } else { Self::No })
    }
}

/// Returns those of these databases that their servers have; one that was dropped has nothing to keep.
pub fn there<'d>(databases: &[&'d Database]) -> Result<Vec<&'d Database>> {
    let mut there = Vec::new();
    for database in databases {
        if database.exists()? {
            there.push(*database);
        }
    }
    Ok(there)
}

/// Takes the restore point of the present state; without it nothing is replaced, unless the operator
/// says so.
pub fn keep(machine: &Machine, databases: &[&Database]) -> Result<Option<RestorePoint>> {
    keep_always(machine, databases).map_err(|error| {
        let hint = "To go without it, add `--no-copy`: what was written since is then lost where \
                    the database is not kept under another name.";
        let own = error.hint_line().map(|own| format!("{own} ")).unwrap_or_default();
        error.hint(own + hint)
    })
}

/// The same where nobody can go without it.
pub fn keep_always(machine: &Machine, databases: &[&Database]) -> Result<Option<RestorePoint>> {
    machine.progress.step("taking a restore point of the present state");
    take(machine, databases)
        .map_err(|error| error.outcome_as(Outcome::BackupFailed).state("nothing was changed"))
}

fn take(machine: &Machine, databases: &[&Database]) -> Result<Option<RestorePoint>> {
    let wanted = |name: &str| databases.iter().any(|database| database.name() == name);
    let targets = targets(machine, wanted)?;
    if targets.is_empty() {
        return Ok(None);
    }
    let all: Vec<_> = targets.iter().map(|target| target.database).collect();
    let store = machine.store()?;
    store.estimate(&all)?.check(&store, machine.config.policy.reserve)?;
    let request = request(machine, &machine.version, targets);
    let point = store.create(&request, &*machine.progress)?;
    machine.progress.note(&format!("the present state is restore point {}", point.id()));
    Ok(Some(point))
}

/// Makes a restore point of what the clones of the point `id` took the place of, with that version in its
/// name. The data is back by now: what cannot be done is told, and leaves the former databases as they are.
/// Where a run that was killed has made it, there is nothing to be told.
pub fn keep_former(machine: &Machine, id: &str, version: &Version) -> Option<RestorePoint> {
    match former(machine, id, version) {
        Ok(point) => {
            let id = point.as_ref()?.id();
            machine.progress.note(&format!("the state of before is restore point {id}, a clone"));
            point
        }
        Err(error) => {
            let why: Vec<_> =
                [error.message()].into_iter().chain(error.details().iter().cloned()).collect();
            machine.progress.warn(&format!(
                "the former database is no restore point and stays under its other name: {}",
                why.join(": ")
            ));
            None
        }
    }
}

fn former(machine: &Machine, id: &str, version: &Version) -> Result<Option<RestorePoint>> {
    let mut targets = Vec::new();
    for shipped in &machine.databases {
        if let Some(former) = restore_points::former(id, &shipped.database)? {
            let mut session = shipped.database.with_dbname(&former).connect()?;
            let found = migrations::look(&mut session, &shipped.migrations)?;
            let schema = note(&shipped.migrations, found);
            targets.push(Target { database: &shipped.database, schema });
        }
    }
    if targets.is_empty() {
        return Ok(None);
    }
    machine.store()?.keep_former(&request(machine, version, targets), id).map(Some)
}

fn request<'t>(machine: &Machine, version: &Version, databases: Vec<Target<'t>>) -> Request<'t> {
    Request {
        reason: Reason::BeforeRestore,
        from_version: Some(version.clone()),
        to_version: None,
        databases,
        reserve: machine.config.policy.reserve,
        lock_wait: LOCK_WAIT,
        clock: machine.clock,
        clients: Clients::default(),
    }
}

/// Returns the databases that have anything in them, each with the note of its schema.
pub fn targets(machine: &Machine, wanted: impl Fn(&str) -> bool) -> Result<Vec<Target<'_>>> {
    let mut targets = Vec::new();
    for shipped in machine.databases.iter().filter(|s| wanted(s.database.name())) {
        let mut session = shipped.database.connect()?;
        let found = migrations::look(&mut session, &shipped.migrations)?;
        if found.state != State::Empty {
            let schema = note(&shipped.migrations, found);
            targets.push(Target { database: &shipped.database, schema });
        }
    }
    Ok(targets)
}

fn note(chain: &Chain, found: Comparison) -> SchemaNote {
    SchemaNote { applied: applied_versions(chain, &found), head: found.current }
}

/// Refuses where a word on the command line makes no sense for this many databases.
pub fn only_one<'d>(databases: &[&'d Database]) -> Result<&'d Database> {
    match databases {
        [one] => Ok(one),
        _ => Err(Error::new(Outcome::Usage, "`--into` makes one database, and there are several")
            .state("nothing was changed")
            .hint("Name one of them with `--database`.")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn lost(rows_written: Option<u64>, wal_bytes: Option<u64>) -> Vec<Loss> {
        let age = Duration::from_secs(60);
        let replication = Vec::new();
        let (database, may_be_more) = ("main".into(), false);
        vec![Loss { database, age, wal_bytes, rows_written, may_be_more, replication }]
    }

    fn decide(wish: Copy, rows: Option<u64>, in_place: &[String], half: Half) -> Present {
        Present::decide(wish, &lost(rows, Some(8192)), in_place, half, Road::Loaded)
    }

    #[test]
    fn what_was_written_since_is_copied_and_what_is_not_known_counts_as_written() {
        for (rows, present) in
            [(Some(0), Present::Unwritten), (Some(1), Present::Copied), (None, Present::Copied)]
        {
            assert_eq!(decide(Copy::WhereWritten, rows, &[], Half::No), present, "{rows:?}");
        }
        assert_eq!(decide(Copy::LeftOut, None, &[], Half::No), Present::LeftOut);
    }

    #[test]
    fn statistics_that_disagree_with_the_log_are_not_believed() {
        for (wal, present) in [(Some(9 << 20), Present::Copied), (None, Present::Copied)] {
            let lost = lost(Some(0), wal);
            let found = Present::decide(Copy::WhereWritten, &lost, &[], Half::No, Road::Loaded);
            assert_eq!(found, present, "{wal:?}");
        }
    }

    #[test]
    fn what_only_a_failed_migration_wrote_is_copied_where_nothing_else_keeps_it() {
        let place = ["main".to_owned()];
        let half = Half::OfThisPoint;
        assert_eq!(decide(Copy::WhereWritten, Some(9), &[], half), Present::HalfMigrated);
        assert_eq!(decide(Copy::WhereWritten, Some(9), &place, half), Present::Copied);
    }

    #[test]
    fn what_a_clone_takes_the_place_of_is_not_copied() {
        let renamed = |wish, rows, half| {
            Present::decide(wish, &lost(rows, Some(8192)), &[], half, Road::Renamed)
        };
        for (wish, rows, half, present) in [
            (Copy::WhereWritten, Some(9), Half::No, Present::Beside),
            (Copy::WhereWritten, None, Half::No, Present::Beside),
            (Copy::WhereWritten, Some(9), Half::OfThisPoint, Present::HalfMigrated),
            (Copy::WhereWritten, Some(0), Half::No, Present::Unwritten),
            (Copy::LeftOut, Some(9), Half::No, Present::LeftOut),
        ] {
            assert_eq!(renamed(wish, rows, half), present, "{rows:?}");
        }
    }
}
