//! Whether an archive that was just written is whole.

use std::path::Path;

use super::{digest, frames};
use crate::database::{Database, dump, proof};
use crate::error::{Context, Error, Result};
use crate::progress::Progress;
use crate::system::fs;

/// Reads the archive back through the client and hashes it, both at once, then compares its table
/// of contents with the catalogue.
pub(super) fn prove(
    partial: &Path,
    dir: &Path,
    dumped: &dump::Dumped,
    options: &dump::DumpOptions,
    database: &Database,
    progress: &dyn Progress,
) -> Result<digest::Sums> {
    let what = format!("proving {}", database.name());
    let total = fs::size_below(dir);
    let (read, sums) = std::thread::scope(|scope| {
        let read = scope.spawn(|| proof::read_back(&options.client, dir, database));
        let mut done = 0;
        let sums = digest::of_tree(partial, dir, |bytes| {
            done += bytes;
            progress.alive(&what, done, Some(total));
        });
        (read.join(), sums)
    });
    read.map_err(|_| Error::failed("the read-back ended unexpectedly"))??;
    frames::check_ends(dir)?;
    proof::check_contents(&options.client, dir, dumped, database)?;
    sums.context(|| format!("cannot read {}", dir.display()))
}
