//! Putting the data of a restore point back, without destroying the present data first.
//!
//! Everything is loaded and compared before anything is exchanged; the exchange is a rename. The
//! former databases stay under another name.

mod beside;
mod exchange;
mod first;
mod in_place;
mod into;
mod job;
mod lacking;
mod loss;
mod options;
mod origin;

use self::beside::discard;
use self::exchange::make_way;
pub(super) use self::exchange::{Swap, exchange};
pub use self::first::First;
use self::first::load_all;
use self::in_place::overwrite_all;
pub use self::into::restore_into;
pub(super) use self::job::check_prepared;
use self::job::{Job, Place, prepare};
pub use self::loss::Loss;
pub use self::options::{Override, Replaced, RestoreOptions, Restored};
use super::clone::by_renaming;
use super::in_file;
use super::manifest::Kind;
use super::store::RestorePoint;
use crate::database::Database;
use crate::database::swap::Rights;
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::progress::Progress;

/// Word in the name of a database that was replaced.
pub const REPLACED: &str = "replaced";

/// Word in the name of a database that is being loaded.
const RESTORING: &str = "restoring";

/// What a restore says of the present data that it did not change.
pub const UNTOUCHED: [&str; 2] = ["the present data is untouched", "nothing was changed"];

pub(super) fn refused(text: String) -> Error {
    Error::new(Outcome::Refused, text).state("nothing was changed")
}

/// Says why this restore point cannot be put back into these databases, where that can be known
/// beforehand: it was made elsewhere, or the server lacks roles, tablespaces or extensions. Otherwise
/// names the databases of which nothing would be kept, because they are restored in place.
pub fn check(
    point: &RestorePoint,
    databases: &[&Database],
    options: &RestoreOptions,
) -> Result<Vec<String>> {
    if point.manifest().kind == Kind::Clone {
        // It lies on the server whole, and takes its place by a name.
        return Ok(Vec::new());
    }
    check_origins(point, databases, options)?;
    let (_, servers) = divided(databases);
    let jobs = survey(point, &servers, options)?;
    lacking::check(point, &jobs)?;
    let in_place = jobs.iter().filter(|job| matches!(job.rights, Rights::InPlaceOnly(_)));
    Ok(in_place.map(|job| job.archive.name.clone()).collect())
}

/// Divides databases into those that are files, and those on servers.
fn divided<'a>(databases: &[&'a Database]) -> (Vec<&'a Database>, Vec<&'a Database>) {
    databases.iter().copied().partition(|database| database.file().is_some())
}

/// Refuses a point that was made elsewhere, unless the operator said so.
fn check_origins(
    point: &RestorePoint,
    databases: &[&Database],
    options: &RestoreOptions,
) -> Result<()> {
    match options.foreign {
        Override::No => databases.iter().try_for_each(|database| point.check_origin(database)),
        Override::AcceptForeign => Ok(()),
    }
}

/// Looks at everything, and changes nothing.
fn survey<'a>(
    point: &'a RestorePoint,
    databases: &[&'a Database],
    options: &RestoreOptions,
) -> Result<Vec<Job<'a>>> {
    databases.iter().map(|database| prepare(point, database, Place::Present, options)).collect()
}

/// Puts the data of a restore point back into these databases, all of them or none.
///
/// The services are down and the caller holds the lock. Each archive is loaded into a new database
/// and compared; only then all are exchanged by renaming. Where the role may not create databases,
/// the content is replaced inside the present one, in one transaction.
pub fn restore(
    point: &RestorePoint,
    databases: &[&Database],
    options: &RestoreOptions,
    progress: &dyn Progress,
) -> Result<Restored> {
    restore_after(point, databases, options, None, progress)
}

/// The same, where something has to end well before anything takes the place of anything.
pub fn restore_after(
    point: &RestorePoint,
    databases: &[&Database],
    options: &RestoreOptions,
    mut first: Option<First<'_>>,
    progress: &dyn Progress,
) -> Result<Restored> {
    check_origins(point, databases, options)?;
    if point.manifest().clones().next().is_some() {
        first.take().map_or(Ok(()), |first| first())?;
    }
    if let Some(restored) = by_renaming(point, databases, options, progress)? {
        return Ok(restored);
    }
    let (files, servers) = divided(databases);
    let jobs = survey(point, &servers, options)?;
    for note in lacking::check(point, &jobs)? {
        progress.note(&note);
    }
    point.check(progress)?;
    let loss = databases
        .iter()
        .map(|database| point.loss(database, options.clock))
        .collect::<Result<Vec<_>>>()?;
    let (in_place, exchanged): (Vec<&Job>, Vec<&Job>) =
        jobs.iter().partition(|job| matches!(job.rights, Rights::InPlaceOnly(_)));
    if !files.is_empty() || !in_place.is_empty() {
        first.take().map_or(Ok(()), |first| first())?;
    }
    let brought = in_file::bring(point, &files, options, progress).map_err(untouched)?;
    let mut left = Vec::new();
    let swaps: Vec<Swap> = exchanged.iter().map(|job| job.swap()).collect();
    let ended = load_all(point, &exchanged, first, &mut left, progress)
        .and_then(|()| match in_place.is_empty() {
            true => Ok(()),
            // Each commits, and no rename takes that back.
            false => make_way(&swaps, options.end()),
        })
        .and_then(|()| overwrite_all(point, &in_place, progress))
        .and_then(|()| {
            exchange(&swaps, options.end(), progress)
                .map_err(|error| beside_in_place(error, &in_place, &exchanged, &files))
        });
    if let Err(error) = ended {
        discard(&exchanged, progress);
        in_file::discard(&brought, progress);
        return Err(untouched(error));
    }
    // Last, because a rename of a file that is there already hardly fails.
    let of_files = in_file::exchange(&brought, progress).map_err(|error| {
        in_file::discard(&brought, progress);
        beside_servers(error, &jobs)
    })?;
    let replaced = jobs
        .iter()
        .map(|job| Replaced {
            database: job.archive.name.clone(),
            kept_as: match job.rights {
                Rights::Exchange => job.exchange.kept_as.clone(),
                Rights::InPlaceOnly(_) => None,
            },
        })
        .chain(of_files)
        .collect();
    Ok(Restored { replaced, loss, left })
}

fn untouched(error: Error) -> Error {
    match error.state_line() {
        Some(_) => error,
        None => error.state("the present data is untouched"),
    }
}

/// Says what is restored where a file could not be exchanged after databases on servers were.
fn beside_servers(error: Error, jobs: &[Job]) -> Error {
    let names: Vec<&str> = jobs.iter().map(|job| job.archive.name.as_str()).collect();
    if names.is_empty() {
        return untouched(error);
    }
    let state = format!("{} is restored; databases that are files are not", names.join(", "));
    error.outcome_as(Outcome::Stuck).state(state)
}

/// Says what is restored where nothing could be exchanged after databases were restored in place: what
/// the exchange says of its own databases is not true of those.
fn beside_in_place(error: Error, in_place: &[&Job], rest: &[&Job], files: &[&Database]) -> Error {
    if in_place.is_empty() {
        return error;
    }
    let names: Vec<&str> = in_place.iter().map(|job| job.archive.name.as_str()).collect();
    let state = match error.state_line() {
        Some(more) if !UNTOUCHED.contains(&more) => {
            format!("{} is restored; {more}", names.join(", "))
        }
        Some(_) | None => {
            let rest = rest.iter().map(|job| job.database.name());
            let rest: Vec<&str> = rest.chain(files.iter().map(|file| file.name())).collect();
            format!("{} is restored; {} is not", names.join(", "), rest.join(", "))
        }
    };
    error.outcome_as(Outcome::Stuck).state(state)
}
