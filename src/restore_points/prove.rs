//! Whether an archive that was just written is whole.

use super::digest::{self, Sums};
use super::dumping::{Dumping, Made};
use super::frames;
use crate::database::proof;
use crate::error::{Context, Error, Result};
use crate::progress::Progress;
use crate::system::fs;

/// Compares the archive's table of contents with the catalogue and reads every byte of it back
/// through the client; hashes it meanwhile, unless that was done as it was written.
pub(super) fn prove(dumping: &Dumping<'_>, made: &Made, progress: &dyn Progress) -> Result<Sums> {
    let (database, client) = (dumping.target.database, dumping.client);
    let (partial, dir) = (dumping.partial, dumping.dir.as_path());
    let what = format!("proving {}", database.name());
    let total = fs::size_below(dir);
    let listed = proof::list(client, dir, database)?;
    proof::check_contents(&listed, &made.dumped, database)?;
    let alive = || progress.alive(&what, 0, Some(total));
    let (read, sums) = std::thread::scope(|scope| {
        let read_back = || proof::read_back(client, dir, database, &listed, partial, &alive);
        let read = scope.spawn(read_back);
        let sums = match &made.sums {
            Some(sums) => Ok(sums.clone()),
            None => digest::of_tree(partial, dir, |_| {}),
        };
        (read.join(), sums)
    });
    read.map_err(|_| Error::failed("the read-back ended unexpectedly"))??;
    frames::check_ends(dir)?;
    sums.context(|| format!("cannot read {}", dir.display()))
}
