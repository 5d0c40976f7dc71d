//! Proving the archive of a database file anew: what would be put back is opened and counted.

use crate::database::Database;
use crate::database::facts::RowCount;
use crate::database::scratch::{Purpose, ScratchDatabase};
use crate::error::{Error, Result};
use crate::restore_points::manifest::{Archive, Contents};
use crate::restore_points::store::RestorePoint;
use crate::sqlite::{File, ScratchFile};
use crate::system::clock::{self, Clock};

impl RestorePoint {
    /// Fills a scratch file with what this point has of `name`, and compares it with what was copied.
    pub fn copy_into(&self, name: &str, target: &ScratchFile) -> Result<()> {
        self.check_has_archives()?;
        let archive = self.archive(name)?;
        let contents = self.contents(name)?;
        target.fill(&mut self.open_copy(archive)?)?;
        compare(&File::new(target.path().to_owned(), None), name, &contents)
    }

    /// Opens the copy of a database file and compares it with what was copied; an encrypted one is
    /// decrypted beside the file, where the data is in clear anyway.
    pub(in crate::restore_points) fn try_file(
        &self,
        database: &Database,
        (archive, contents): (&Archive, &Contents),
        clock: Clock,
    ) -> Result<()> {
        if self.is_encrypted() {
            let stamp = clock::stamp(clock.now());
            let (scratch, _) = ScratchDatabase::create(database, database, &stamp, Purpose::Trial)?;
            let Some(file) = scratch.file() else { return Ok(()) };
            return self.copy_into(&archive.name, file);
        }
        compare(&File::new(self.copy_of(archive), None), &archive.name, contents)
    }
}

/// Looks for damage in a copy, and compares its rows with what was counted when it was made.
pub(super) fn compare(copy: &File, name: &str, contents: &Contents) -> Result<()> {
    let mut session = copy.open_unchanging()?;
    session.prove(&format!("the archive of {name}"))?;
    let found = session.row_counts().map_err(|fault| {
        Error::failed(format!("cannot count the rows of the archive of {name}")).source(fault)
    })?;
    let found: Vec<(String, RowCount)> =
        found.into_iter().map(|(table, rows)| (table, RowCount::Exact(rows))).collect();
    if found == contents.rows {
        return Ok(());
    }
    let other = found.iter().zip(&contents.rows).find(|(found, wanted)| found != wanted);
    let table = other.map_or("a table", |(found, _)| found.0.as_str());
    Err(Error::failed(format!("the archive of {name} does not hold what was copied"))
        .detail(format!("{table} has other rows than were counted then")))
}
