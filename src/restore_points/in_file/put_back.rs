//! Putting copies in the places of database files, all of them whole before the first is exchanged.

use std::path::{Path, PathBuf};

use super::prove::compare;
use crate::database::Database;
use crate::database::lacking::Owners;
use crate::error::Result;
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::restore_points::restore::{REPLACED, Replaced, RestoreOptions, refused};
use crate::restore_points::store::RestorePoint;
use crate::sqlite::{File, Fresh, Owner};
use crate::system::clock;

/// A copy beside the file whose place it will take.
pub(in crate::restore_points) struct Brought<'a> {
    database: &'a Database,
    file: File,
    fresh: Fresh,
    kept_as: PathBuf,
}

/// Brings the copies of these databases beside them and opens each; nothing is exchanged yet.
pub(in crate::restore_points) fn bring<'a>(
    point: &RestorePoint,
    databases: &[&'a Database],
    options: &RestoreOptions,
    progress: &dyn Progress,
) -> Result<Vec<Brought<'a>>> {
    let mut all = Vec::new();
    for database in databases {
        let Some(file) = database.file() else { continue };
        let one = file
            .check_unheld()
            .and_then(|()| one(point, database, file.clone(), options, progress));
        match one {
            Ok(brought) => all.push(brought),
            Err(error) => {
                discard(&all, progress);
                return Err(error);
            }
        }
    }
    Ok(all)
}

fn one<'a>(
    point: &RestorePoint,
    database: &'a Database,
    file: File,
    options: &RestoreOptions,
    progress: &dyn Progress,
) -> Result<Brought<'a>> {
    let archive = point.archive(database.name())?;
    let contents = point.contents(&archive.name)?;
    for leftover in file.drop_leftovers()? {
        progress.note(&format!("removed {leftover}, left by a restore that was killed"));
    }
    let mut now = options.clock.now();
    let mut kept_as = file.kept_path(REPLACED, &clock::stamp(now));
    while kept_as.symlink_metadata().is_ok() {
        now += std::time::Duration::from_secs(1);
        kept_as = file.kept_path(REPLACED, &clock::stamp(now));
    }
    let owner = match options.owners {
        Owners::Kept => Owner::Kept,
        Owners::LeftOut => Owner::Ours,
    };
    progress.step(&format!("copying {} beside {}", point.id(), file.path().display()));
    let fresh = file.bring(&mut point.open_copy(archive)?, &clock::stamp(now), owner)?;
    let proven = compare(&file.at(fresh.path().to_owned()), &archive.name, &contents);
    let brought = Brought { database, file, fresh, kept_as };
    match proven {
        Ok(()) => Ok(brought),
        Err(error) => {
            discard(std::slice::from_ref(&brought), progress);
            Err(error)
        }
    }
}

/// Puts the copies in their places; says which are there where a later one fails.
pub(in crate::restore_points) fn exchange(
    all: &[Brought<'_>],
    progress: &dyn Progress,
) -> Result<Vec<Replaced>> {
    let mut done: Vec<Replaced> = Vec::new();
    for one in all {
        let kept = one.file.exchange(&one.fresh, &one.kept_as).map_err(|error| {
            if done.is_empty() {
                return error;
            }
            let names: Vec<&str> = done.iter().map(|one| one.database.as_str()).collect();
            let state = format!("{} is restored, {} is not", names.join(", "), one.database.name());
            error.outcome_as(Outcome::Stuck).state(state)
        })?;
        progress.note(&format!("{} is restored", one.database.described()));
        let kept_as = kept.map(|path| path.display().to_string());
        done.push(Replaced { database: one.database.name().to_owned(), kept_as });
    }
    Ok(done)
}

/// Removes copies that were brought in vain; a leftover is known by its name and removed next time.
pub(in crate::restore_points) fn discard(all: &[Brought<'_>], progress: &dyn Progress) {
    for one in all {
        if let Err(error) = one.fresh.discard() {
            progress.warn(&error.message());
        }
    }
}

/// Brings the copy of a database under another name, in the directory of its file or where a path
/// leads.
pub(in crate::restore_points) fn bring_beside(
    point: &RestorePoint,
    database: &Database,
    file: &File,
    name: &str,
    options: &RestoreOptions,
    progress: &dyn Progress,
) -> Result<()> {
    let path = file.dir().join(name);
    if name.is_empty() || Path::new(name).file_name().is_none() {
        return Err(refused(format!("{name:?} cannot be the name of a file"))
            .hint("Give a name or an absolute path with `--into`."));
    }
    let other = file.at(path);
    if other.exists() {
        return Err(refused(format!("there is a file {} already", other.path().display()))
            .hint("Give another name with `--into`."));
    }
    point.check(progress)?;
    let brought = one(point, database, other, options, progress)?;
    exchange(std::slice::from_ref(&brought), progress).map(drop)
}
