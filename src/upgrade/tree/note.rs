//! What is noted of a version while it is brought: whoever is killed leaves "unfinished" behind.

use serde::{Deserialize, Serialize};

use crate::error::{Context, Result};
use crate::layout::Layout;
use crate::system::fs;

const MOST_BYTES: u64 = 64 << 10;

/// The note of one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// What was asked for, such as a tag.
    pub(super) tag: String,
    /// Whether it was fetched and built to the end.
    pub(super) state: State,
}

/// Whether a version was fetched and built to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// It was not, or not yet.
    Unfinished,
    /// It was.
    Whole,
}

fn path(layout: &Layout, name: &str) -> std::path::PathBuf {
    layout.trees_dir().join(format!("{name}.json"))
}

impl Note {
    /// Reads the note of a directory; one that cannot be read means unfinished.
    pub(super) fn read(layout: &Layout, name: &str) -> Option<Self> {
        match fs::read_text(&path(layout, name), MOST_BYTES) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Ok(text) if serde_json::from_str::<Self>(&text).is_ok() => {
                serde_json::from_str(&text).ok()
            }
            Ok(_) | Err(_) => Some(Self { tag: String::new(), state: State::Unfinished }),
        }
    }

    /// Writes the note of a directory.
    pub(super) fn write(&self, layout: &Layout, name: &str) -> Result<()> {
        fs::make_dir(&layout.trees_dir(), 0o755)?;
        let text = serde_json::to_string(self).context(|| "cannot write the note".into())?;
        fs::replace(&path(layout, name), text.as_bytes(), 0o644)
    }

    /// Forgets a directory that is gone.
    pub(super) fn forget(layout: &Layout, name: &str) -> Result<()> {
        fs::remove_file(&path(layout, name))
    }
}
