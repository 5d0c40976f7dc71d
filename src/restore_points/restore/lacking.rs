//! What the server lacks, said before anything starts and all at once.

use super::job::Job;
use crate::database::lacking::Lacking;
use crate::database::swap::Server;
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::restore_points::store::RestorePoint;

/// Returns what differs and hinders nothing; refuses where an archive would not load.
pub(super) fn check(point: &RestorePoint, jobs: &[Job]) -> Result<Vec<String>> {
    let mut all = Lacking::default();
    for job in jobs {
        let mut server = Server::beside(job.database)?;
        all.add(server.lacking(&job.globals, &job.exchange.name, job.owners)?);
    }
    if all.hindrances.is_empty() {
        all.notes.extend(all.statements.iter().map(|sql| format!("the server lacks: {sql}")));
        return Ok(all.notes);
    }
    let text = format!("the server lacks what restore point {} needs", point.id());
    let hint = all.hint("add `--no-owner`");
    let error = all
        .hindrances
        .into_iter()
        .chain(all.statements)
        .fold(Error::new(Outcome::Refused, text).state("nothing was changed"), Error::detail);
    Err(error.hint(hint))
}
