//! Making the archive of a database file: an online copy, opened again, counted and hashed.

use std::path::Path;
use std::time::Instant;

use super::{COMPRESSION, COPY};
use crate::database::facts::{self, RowCount};
use crate::disk;
use crate::error::{Context, Error, Result};
use crate::progress::Progress;
use crate::restore_points::archive::contents_name;
use crate::restore_points::create::Target;
use crate::restore_points::digest::{self, Sums};
use crate::restore_points::encryption::EncryptedCopy;
use crate::restore_points::manifest::{Archive, ArchiveKind, Contents};
use crate::restore_points::store::Store;
use crate::sqlite::File;
use crate::system::clock;
use crate::system::fs;

impl Store {
    /// Copies a database file and proves the copy; returns its archive and the sums of its files.
    pub(in crate::restore_points) fn archive_of_file(
        &self,
        partial: &Path,
        target: &Target,
        file: &File,
        progress: &dyn Progress,
    ) -> Result<(Archive, Sums)> {
        let begun = Instant::now();
        let name = target.database.name();
        let facts = facts::of(target.database)?;
        let Made { rows, mut sums, bytes, copied } = match self.keyring().encrypts() {
            true => {
                let EncryptedCopy { rows, sums, bytes } =
                    self.encrypted_copy(partial, name, file, progress)?;
                // Copy and proof are one pass.
                Made { rows, sums, bytes, copied: None }
            }
            false => clear_copy(partial, name, file, progress)?,
        };
        let contents = Contents {
            rows: rows.into_iter().map(|(table, rows)| (table, RowCount::Exact(rows))).collect(),
            ..Contents::default()
        };
        let text = serde_json::to_vec(&contents).context(|| "cannot write the contents".into())?;
        sums.0.push(self.write_member(partial, &contents_name(name), &text)?);
        let archive = Archive {
            name: name.to_owned(),
            kind: ArchiveKind::File,
            schema: target.schema.clone(),
            identity: facts.identity,
            server_version: facts.server_version.clone(),
            client_version: facts.server_version,
            compression: COMPRESSION.to_owned(),
            database_bytes: facts.size,
            plain_bytes: None,
            archive_bytes: bytes,
            files: 1,
            tables: facts.tables,
            wal_position: None,
            rows_written: None,
            counting: None,
            dump_ms: copied,
            duration_ms: clock::millis(begun.elapsed()),
            clone: None,
        };
        Ok((archive, sums))
    }
}

/// The copy of a database file in a restore point.
struct Made {
    rows: Vec<(String, u64)>,
    sums: Sums,
    bytes: u64,
    /// How long the copy alone took, in milliseconds, where the proof came after it.
    copied: Option<u64>,
}

fn clear_copy(partial: &Path, name: &str, file: &File, progress: &dyn Progress) -> Result<Made> {
    let begun = Instant::now();
    let dir = partial.join(name);
    fs::make_new_dir(&dir, 0o700)?;
    let path = dir.join(COPY);
    let what = format!("copying {name}");
    file.copy_to(&path, |done, all| progress.alive(&what, done, Some(all)))?;
    let copied = Some(clock::millis(begun.elapsed()));
    let rows = proven(&file.at(path), file)?;
    let what = format!("proving {name}");
    let sums = digest::of_tree(partial, &dir, |bytes| progress.alive(&what, bytes, None))
        .context(|| format!("cannot read {}", dir.display()))?;
    Ok(Made { rows, sums, bytes: fs::size_below(&dir), copied })
}

/// Opens a copy as nobody else will, looks for damage and counts its rows.
fn proven(copy: &File, original: &File) -> Result<Vec<(String, u64)>> {
    let free = disk::free(copy.dir()).map(|free| disk::spoken(free.bytes)).unwrap_or_default();
    let mut session = copy.open_unchanging()?;
    session.prove(&format!("the copy of the {}", original.described())).map_err(|error| {
        error.detail(format!("{free} free in {}", copy.dir().display())).hint(format!(
            "Look at the original: `sqlite3 {} 'pragma integrity_check'`.",
            original.path().display()
        ))
    })?;
    session
        .row_counts()
        .map_err(|fault| Error::failed("cannot count the rows of the copy").source(fault))
}
