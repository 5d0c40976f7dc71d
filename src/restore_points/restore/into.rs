//! Loading a restore point beside the live database, which is not touched.

use super::beside::{discard, load_fresh};
use super::exchange::exchange;
use super::job::{Place, prepare};
use super::options::RestoreOptions;
use super::{check_origins, lacking, refused};
use crate::database::Database;
use crate::database::swap::End;
use crate::error::Result;
use crate::progress::Progress;
use crate::restore_points::in_file;
use crate::restore_points::store::RestorePoint;

/// The most bytes of a name in PostgreSQL.
const LONGEST_NAME: usize = 63;

/// Loads what a restore point has of a database into a new one of this name, on the same server.
///
/// It gets that name only once it is whole. Subscriptions are left out: a second database with the
/// same ones would take the changes of the first. Returns statements for what could not be carried
/// over.
pub fn restore_into(
    point: &RestorePoint,
    database: &Database,
    name: &str,
    options: &RestoreOptions,
    progress: &dyn Progress,
) -> Result<Vec<String>> {
    if let Some(file) = database.file() {
        check_origins(point, &[database], options)?;
        point.check_has_archives()?;
        return in_file::bring_beside(point, database, file, name, options, progress)
            .map(|()| Vec::new());
    }
    if name.is_empty() || name.len() > LONGEST_NAME || name.contains('\0') {
        return Err(refused(format!("{name:?} cannot be the name of a database"))
            .hint("Give a name of at most 63 bytes with `--into`."));
    }
    check_origins(point, &[database], options)?;
    point.check_has_archives()?;
    let job = prepare(point, database, Place::Beside(name), options)?;
    for note in lacking::check(point, std::slice::from_ref(&job))? {
        progress.note(&note);
    }
    point.check(progress)?;
    let mut left = Vec::new();
    let jobs = [&job];
    let ended = load_fresh(point, &job, &mut left, progress)
        .and_then(|()| exchange(&[job.swap()], End::Own, progress));
    if let Err(error) = ended {
        discard(&jobs, progress);
        return Err(match error.state_line() {
            Some(_) => error,
            None => error.state("the present data is untouched"),
        });
    }
    Ok(left)
}
