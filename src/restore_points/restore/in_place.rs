//! Replacing the content of the present database, for roles that may not make another one.

use std::path::Path;

use super::job::Job;
use crate::database::in_place::{InPlace, Source, restore_in_place};
use crate::database::swap::{Rights, Server};
use crate::error::Result;
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::restore_points::load::Load;
use crate::restore_points::store::{PARTIAL, RestorePoint};
use crate::system::fs;

/// In place there is one transaction per database, so a later failure cannot undo an earlier one.
pub(super) fn overwrite_all(
    point: &RestorePoint,
    jobs: &[&Job],
    progress: &dyn Progress,
) -> Result<()> {
    let mut done: Vec<&str> = Vec::new();
    for job in jobs {
        overwrite(point, job, progress).map_err(|error| match done.is_empty() {
            true => error,
            false => {
                let state = format!("{} is restored; others are not", done.join(", "));
                error.outcome_as(Outcome::Stuck).state(state)
            }
        })?;
        done.push(&job.archive.name);
    }
    Ok(())
}

fn load_in_place(
    point: &RestorePoint,
    job: &Job,
    load: &Load<'_>,
    work: &Path,
    progress: &dyn Progress,
) -> Result<()> {
    let (target, writer) = (job.database, job.writer);
    if point.is_encrypted() {
        return point.overwrite_encrypted(target, load, work, writer, progress);
    }
    let archive = InPlace {
        client: load.client,
        source: Source::Directory(&point.dir().join(&load.archive.name)),
        manner: load.manner,
        wanted: &load.contents.rows,
        work,
        writer,
    };
    restore_in_place(target, &archive, progress)
}

fn overwrite(point: &RestorePoint, job: &Job, progress: &dyn Progress) -> Result<()> {
    if let Rights::InPlaceOnly(why) = &job.rights {
        progress.note(&format!("restoring in place, in one transaction: {why}"));
    }
    let parent = point.dir().parent().unwrap_or(Path::new("/"));
    let work = parent.join(format!("{PARTIAL}{}-restore-{}", job.stamp, job.archive.name));
    fs::make_new_dir(&work, 0o700)?;
    let load = Load {
        archive: job.archive,
        contents: &job.contents,
        client: &job.client,
        manner: job.manner,
    };
    let ended = Server::beside(job.database)
        .and_then(|mut server| server.end_own(job.database.dbname()))
        .and_then(|_| load_in_place(point, job, &load, &work, progress));
    let _ = fs::remove_tree(&work);
    ended
}
