//! The archive of one database within a restore point: dumped, described, proven.

use std::path::Path;
use std::time::Instant;

use super::create::{Request, Target};
use super::digest;
use super::dumping::Dumping;
use super::manifest::{Archive, ArchiveKind, Contents, is_archive_name};
use super::prove::prove;
use super::store::Store;
use crate::database::clients::Compression;
use crate::database::facts::Facts;
use crate::database::{dump, facts};
use crate::error::{Context, Error, Result};
use crate::progress::Progress;
use crate::system::clock;
use crate::system::fs;

/// Returns what is said of a database whose data is in no file of the restore point.
pub(super) fn of_no_file(target: &Target<'_>, facts: &Facts) -> Archive {
    Archive {
        kind: ArchiveKind::Dump,
        name: target.database.name().to_owned(),
        schema: target.schema.clone(),
        identity: facts.identity.clone(),
        server_version: facts.server_version.clone(),
        client_version: String::new(),
        compression: String::new(),
        database_bytes: facts.size,
        archive_bytes: 0,
        files: 1,
        tables: facts.tables,
        wal_position: facts.wal_position,
        rows_written: facts.rows_written,
        counting: facts.counting.clone(),
        plain_bytes: None,
        dump_ms: None,
        duration_ms: 0,
        clone: None,
    }
}

impl Store {
    /// Dumps and proves one database; returns its archive and the sums of its files.
    pub(super) fn archive(
        &self,
        partial: &Path,
        target: &Target,
        request: &Request,
        progress: &dyn Progress,
    ) -> Result<(Archive, digest::Sums)> {
        let begun = Instant::now();
        let database = target.database;
        let name = database.name();
        if !is_archive_name(name) {
            return Err(Error::config(format!("{name:?} cannot be the name of a directory")));
        }
        if let Some(file) = database.file() {
            return self.archive_of_file(partial, target, file, progress);
        }
        let facts = facts::of(database)?;
        let (client, warning) = request.clients.choose(facts.major)?;
        if let Some(warning) = warning {
            progress.warn(&warning);
        }
        let before = self
            .own_dumps()?
            .into_iter()
            .find_map(|m| m.databases.into_iter().find(|archive| archive.name == name));
        let dumping = Dumping {
            request,
            target,
            client: &client,
            facts: &facts,
            before: before.as_ref(),
            partial,
            dir: partial.join(name),
        };
        let mut written = match self.keyring().encrypts() {
            true => {
                self.encrypted_archive(partial, database, &dumping.by_the_client(), progress)?
            }
            false => clear_archive(&dumping, progress)?,
        };
        let dumped = written.dumped;
        let contents = Contents {
            rows: dumped.rows.clone(),
            rows_sum: None,
            checksums: dumped.checksums.clone(),
            extensions: dumped.extensions.clone(),
        };
        let text = serde_json::to_vec(&contents).context(|| "cannot write the contents".into())?;
        written.sums.0.push(self.write_member(partial, &contents_name(name), &text)?);
        written.sums.0.push(self.write_globals(partial, database)?);
        let archive = Archive {
            kind: ArchiveKind::Dump,
            name: name.to_owned(),
            schema: target.schema.clone(),
            identity: dumped.facts.identity,
            server_version: dumped.facts.server_version,
            client_version: client.version.clone(),
            compression: written.compression.name().to_owned(),
            database_bytes: dumped.facts.size,
            plain_bytes: written.plain_bytes,
            archive_bytes: written.bytes,
            files: written.files,
            tables: dumped.facts.tables,
            wal_position: dumped.facts.wal_position,
            rows_written: dumped.facts.rows_written,
            counting: dumped.facts.counting,
            dump_ms: written.dump_ms,
            duration_ms: clock::millis(begun.elapsed()),
            clone: None,
        };
        Ok((archive, written.sums))
    }
}

/// What was dumped, and proven to be whole.
pub(super) struct Written {
    pub(super) dumped: dump::Dumped,
    /// Of the files of the archive.
    pub(super) sums: digest::Sums,
    /// Size of the archive.
    pub(super) bytes: u64,
    /// Files of the archive.
    pub(super) files: u64,
    /// How it is compressed.
    pub(super) compression: Compression,
    /// Bytes of the rows before compression, where they were seen.
    pub(super) plain_bytes: Option<u64>,
    /// How long the dump alone took, in milliseconds, where the proof came after it.
    pub(super) dump_ms: Option<u64>,
}

fn clear_archive(dumping: &Dumping<'_>, progress: &dyn Progress) -> Result<Written> {
    let begun = Instant::now();
    let made = dumping.run(progress)?;
    let dump_ms = Some(clock::millis(begun.elapsed()));
    let sums = prove(dumping, &made, progress)?;
    let files = sums.0.len() as u64;
    let bytes = fs::size_below(&dumping.dir);
    let (compression, plain_bytes) = (made.compression, made.plain_bytes);
    Ok(Written { dumped: made.dumped, sums, bytes, files, compression, plain_bytes, dump_ms })
}

/// Returns the name of the file with what an archive contains.
pub(super) fn contents_name(name: &str) -> String {
    format!("{name}.contents.json")
}
