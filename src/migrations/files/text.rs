//! The text of a migration: not kept, but read again when it is needed.
//!
//! Only what is pending is ever sent, and a look at a long history would hold nothing but the texts of
//! what was applied long ago. What is read again must be what was looked at. An upgrade keeps the texts
//! of what is pending before it stops anything: whatever replaces files under it, it ends as it began.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher as _};
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::error::{Error, Result};
use crate::migrations::Migration;
use crate::migrations::chain::Chain;
use crate::migrations::files;
use crate::outcome::Outcome;

/// Where the text of a migration is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// In its file.
    InFile {
        /// Tells whether the file still is what was looked at; of this run only.
        hash: u64,
        /// The text, once a run that must not depend on the file any more has kept it.
        kept: OnceLock<Box<str>>,
    },
    /// Here, because there is no file, or because it goes away.
    Held(Box<str>),
}

impl Default for Text {
    fn default() -> Self {
        Self::Held(Box::default())
    }
}

impl Text {
    /// Leaves a text that was just read in its file.
    pub(in crate::migrations) fn in_file(raw: &str) -> Self {
        Self::InFile { hash: hash(raw), kept: OnceLock::new() }
    }
}

fn hash(raw: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(raw.as_bytes());
    hasher.finish()
}

impl Chain {
    /// Returns where the file of a migration is.
    pub fn path(&self, migration: &Migration) -> PathBuf {
        self.dir.join(&migration.file)
    }

    /// Returns the text of a migration as it is sent: UTF-8, no byte order mark, lines ending as the
    /// tool sends them. Its lines are those of the file; what belongs to another section is left empty.
    pub fn sql(&self, migration: &Migration) -> Result<String> {
        Ok(self.tool.sql(migration, self.raw(migration)?))
    }

    /// Reads the file of a migration again, exactly as it lies there.
    pub(in crate::migrations) fn raw(&self, migration: &Migration) -> Result<String> {
        let known = match &migration.text {
            Text::Held(text) => return Ok(text.to_string()),
            Text::InFile { hash, kept } => match kept.get() {
                Some(text) => return Ok(text.to_string()),
                None => *hash,
            },
        };
        let path = self.path(migration);
        let raw = files::read_text(&path)?;
        if hash(&raw) == known {
            return Ok(raw);
        }
        Err(Error::new(Outcome::Refused, format!("{} changed during the run", path.display()))
            .detail("it is not the text that was looked at when the run began")
            .hint("Run it again when nobody replaces the files."))
    }

    /// Keeps the texts of these versions: from now on their files may be replaced, or go.
    pub fn keep(&self, versions: &HashSet<&str>) -> Result<()> {
        let wanted = |migration: &&Migration| versions.contains(migration.version.as_str());
        for migration in self.migrations.iter().filter(wanted) {
            if let Text::InFile { kept, .. } = &migration.text {
                let text = self.raw(migration)?;
                kept.get_or_init(|| text.into());
            }
        }
        Ok(())
    }

    /// Takes all texts along, for a directory that goes away; the files are named as of another one.
    pub fn hold_as_of(&mut self, dir: PathBuf) -> Result<()> {
        let texts = self.migrations.iter().map(|migration| self.raw(migration));
        let texts = texts.collect::<Result<Vec<_>>>()?;
        for (migration, text) in self.migrations.iter_mut().zip(texts) {
            migration.text = Text::Held(text.into());
        }
        self.dir = dir;
        Ok(())
    }
}
