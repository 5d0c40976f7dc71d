//! What a database needs of its server, kept beside its archive.

use std::path::Path;

use super::encryption::ENDING;
use super::load::CONTENTS_LIMIT;
use super::manifest::read_whole;
use super::store::{RestorePoint, Store};
use super::verify;
use crate::database::Database;
use crate::database::globals::{self, Extension, Globals};
use crate::error::{Context, Result};
use crate::system::fs;

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

    /// Takes over what was recorded of a database when it was cloned: of its name, its settings and its
    /// grants the clone has none, and roles may be other ones by now. None of a clone made by a version
    /// that recorded nothing.
    pub(super) fn carry_globals(
        &self,
        partial: &Path,
        from: &RestorePoint,
        database: &str,
    ) -> Result<Option<(String, String)>> {
        let name = file_name(database);
        let sealed = format!("{name}{ENDING}");
        let all = verify::read_sums(from.dir(), from.manifest())?;
        let recorded = |wanted: &str| all.0.iter().find(|(file, _)| file == wanted);
        if let Some((_, sum)) = recorded(&sealed).filter(|_| self.keyring().encrypts()) {
            // As it is: no identity may be at hand.
            let path = from.dir().join(&sealed);
            let bytes = read_whole(&path, 2 * CONTENTS_LIMIT)
                .context(|| format!("cannot read {}", path.display()))?;
            fs::replace(&partial.join(&sealed), &bytes, 0o600)?;
            return Ok(Some((sealed, sum.clone())));
        }
        if recorded(&name).is_none() {
            return Ok(None);
        }
        let Some(bytes) = from.read_member(&name, CONTENTS_LIMIT)? else { return Ok(None) };
        if self.keyring().encrypts() {
            fs::remove_file(&partial.join(&sealed))?;
        }
        self.write_member(partial, &name, &bytes).map(Some)
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
