//! What a database needs of its server, kept beside its archive.

use std::path::Path;

use super::load::CONTENTS_LIMIT;
use super::store::{RestorePoint, Store};
use crate::database::Database;
use crate::database::globals::{self, Extension, Globals};
use crate::error::{Context, Result};

impl Store {
    /// Writes what a database needs of its server; returns the file's name and sum.
    pub(super) fn write_globals(
        &self,
        partial: &Path,
        database: &Database,
    ) -> Result<(String, String)> {
        let name = file_name(database.name());
        let text = serde_json::to_vec(&globals::of(database)?)
            .context(|| format!("cannot write {name}"))?;
        self.write_member(partial, &name, &text)
    }
}

fn file_name(name: &str) -> String {
    format!("{name}.globals.json")
}

impl RestorePoint {
    /// Reads what a database needs of its server. Points from before this was written down have
    /// none: of those the extensions are known.
    pub(super) fn globals(&self, name: &str) -> Result<Globals> {
        let file = file_name(name);
        if let Some(bytes) = self.read_member(&file, CONTENTS_LIMIT)? {
            return serde_json::from_slice(&bytes).context(|| format!("cannot read {file}"));
        }
        let of = |name| Extension { name, version: String::new() };
        let extensions = self.contents(name)?.extensions.into_iter().map(of).collect();
        Ok(Globals { extensions, ..Globals::default() })
    }
}
