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
        let server = Server::beside(job.database)?;
        let found = { server }.lacking(&job.globals, &job.exchange.name, job.owners)?;
        for (sum, more) in [
            (&mut all.hindrances, found.hindrances),
            (&mut all.extensions, found.extensions),
            (&mut all.statements, found.statements),
            (&mut all.notes, found.notes),
        ] {
            for line in more {
                if !sum.contains(&line) {
                    sum.push(line);
                }
            }
        }
    }
    if all.hindrances.is_empty() {
        all.notes.extend(all.statements.iter().map(|sql| format!("the server lacks: {sql}")));
        return Ok(all.notes);
    }
    let text = format!("the server lacks what restore point {} needs", point.id());
    let hint = hint(&all);
    let error = all
        .hindrances
        .into_iter()
        .chain(all.statements)
        .fold(Error::new(Outcome::Refused, text).state("nothing was changed"), Error::detail);
    Err(error.hint(hint))
}

fn hint(lacking: &Lacking) -> String {
    let mut ways = Vec::new();
    if !lacking.extensions.is_empty() {
        let names = lacking.extensions.join(", ");
        ways.push(format!("Install the packages that bring {names} to the server."));
    }
    let without = "or add `--no-owner` to leave owners, grants and tablespaces out.";
    if !lacking.statements.is_empty() {
        let run = "Run these statements as a superuser and set the passwords";
        ways.push(format!("{run}, {without}"));
    } else if lacking.extensions.is_empty() {
        ways.push(format!("Name a superuser in the connection string, {without}"));
    }
    ways.join(" ")
}
