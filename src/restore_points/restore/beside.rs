//! Loading beside the present database, and exchanging the two by renaming them.

use super::RESTORING;
use super::job::Job;
use crate::database::swap::{Exchange, Server};
use crate::error::Result;
use crate::progress::Progress;
use crate::restore_points::load::Load;
use crate::restore_points::store::RestorePoint;

pub(super) fn load_fresh(
    point: &RestorePoint,
    job: &Job,
    left: &mut Vec<String>,
    progress: &dyn Progress,
) -> Result<()> {
    let Exchange { name, fresh, .. } = &job.exchange;
    let mut server = Server::beside(job.database)?;
    for (leftover, dropped) in server.drop_leftovers(name, RESTORING)? {
        match dropped {
            Ok(()) => {
                progress.note(&format!("removed {leftover}, left by a restore that was killed"));
            }
            Err(error) => progress.warn(&error.message()),
        }
    }
    let like = job.database.dbname();
    let present = server.has(like)?;
    match present {
        true => server.create_like(like, fresh)?,
        false => server.create_described(&job.globals.database, fresh, job.owners)?,
    }
    let load = Load {
        archive: job.archive,
        contents: &job.contents,
        client: &job.client,
        manner: job.manner,
    };
    point.fill(&job.database.with_dbname(fresh), &load, progress)?;
    // The session beside may have been cut while the load ran for hours.
    let mut server = Server::beside(job.database)?;
    left.extend(match present {
        true => server.carry_over(like, fresh)?,
        false => server.carry_described(&job.globals, fresh),
    });
    Ok(())
}

/// Removes what was loaded in vain; a leftover is known by its name and removed next time.
pub(super) fn discard(jobs: &[&Job], progress: &dyn Progress) {
    for job in jobs {
        let dropped = Server::beside(job.database)
            .and_then(|mut server| server.drop_fresh(&job.exchange.fresh));
        if let Err(error) = dropped {
            progress.warn(&error.message());
        }
    }
}
