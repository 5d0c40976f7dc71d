//! The archive of one database within a restore point: dumped, described, proven.

use std::path::Path;
use std::time::Instant;

use super::create::{Request, Target};
use super::digest;
use super::estimate::expected;
use super::manifest::{Archive, Contents, Kind, is_archive_name};
use super::prove::prove;
use super::store::Store;
use crate::database::{Database, dump, facts};
use crate::error::{Context, Error, Result};
use crate::progress::Progress;
use crate::system::clock;
use crate::system::fs;

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
        let facts = facts::of(database)?;
        let (client, warning) = request.clients.choose(facts.major)?;
        if let Some(warning) = warning {
            progress.warn(&warning);
        }
        let compression = client.compression();
        let before = self
            .list()?
            .into_iter()
            .filter_map(|entry| entry.manifest)
            .filter(|manifest| manifest.kind == Kind::Dump)
            .find_map(|m| m.databases.into_iter().find(|archive| archive.name == name));
        let options = dump::DumpOptions {
            expected: Some(expected(facts.size, before.as_ref())),
            client,
            compression,
            lock_wait: request.lock_wait,
        };
        let Written { dumped, mut sums, bytes, files } = match self.keyring().encrypts() {
            true => self.encrypted_archive(partial, database, &options, progress)?,
            false => clear_archive(partial, database, &options, progress)?,
        };
        let contents = Contents {
            rows: dumped.rows.clone(),
            checksums: dumped.checksums.clone(),
            extensions: dumped.extensions.clone(),
        };
        let text = serde_json::to_vec(&contents).context(|| "cannot write the contents".into())?;
        sums.0.push(self.write_member(partial, &contents_name(name), &text)?);
        sums.0.push(self.write_globals(partial, database)?);
        let archive = Archive {
            name: name.to_owned(),
            schema: target.schema.clone(),
            identity: dumped.facts.identity,
            server_version: dumped.facts.server_version,
            client_version: options.client.version.clone(),
            compression: compression.name().to_owned(),
            database_bytes: dumped.facts.size,
            archive_bytes: bytes,
            files,
            tables: dumped.facts.tables,
            wal_position: dumped.facts.wal_position,
            rows_written: dumped.facts.rows_written,
            duration_ms: clock::millis(begun.elapsed()),
            clone: None,
        };
        Ok((archive, sums))
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
}

fn clear_archive(
    partial: &Path,
    database: &Database,
    options: &dump::DumpOptions,
    progress: &dyn Progress,
) -> Result<Written> {
    let name = database.name();
    let dir = partial.join(name);
    let dumped = dump::dump(database, &dir, options, progress)?;
    let sums = prove(partial, &dir, &dumped, options, database, progress)?;
    let files = sums.0.len() as u64;
    Ok(Written { dumped, sums, bytes: fs::size_below(&dir), files })
}

/// Returns the name of the file with what an archive contains.
pub(super) fn contents_name(name: &str) -> String {
    format!("{name}.contents.json")
}
