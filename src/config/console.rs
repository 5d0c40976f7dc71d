//! `console_names` and `console_acts` of the operator's half: as whom `openwatch serve` may be asked
//! for, and what root does when it is asked to through it.

use serde::{Deserialize, Serialize};

use super::notes::Notes;
use super::section::Value;
use super::values::choice;

/// What somebody with the token can ask root for through the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Take a restore point.
    Backup,
    /// Read a restore point back.
    Verify,
    /// Keep a restore point.
    Pin,
    /// Take a pin off that was put on through the console.
    Unpin,
    /// Hold upgrades.
    Hold,
    /// Take a hold back that was placed through the console.
    Release,
    /// Look at what the next upgrade will do.
    Preflight,
}

impl Act {
    /// Every act, in the order of the page.
    pub const ALL: [Self; 7] = [
        Self::Backup,
        Self::Verify,
        Self::Pin,
        Self::Unpin,
        Self::Hold,
        Self::Release,
        Self::Preflight,
    ];

    /// Returns its word, as it stands in files, addresses and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Verify => "verify",
            Self::Pin => "pin",
            Self::Unpin => "unpin",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Preflight => "preflight",
        }
    }

    /// Returns the act that a word means.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|act| act.word() == word)
    }
}

/// Reads host names: no port, no scheme, in small letters.
pub(super) fn names(value: Value<'_>, notes: &mut Notes) -> Option<Vec<String>> {
    let mut found = Vec::new();
    for entry in value.list("[\"console.example.org\"]", notes)? {
        let (name, place) = (entry.name.clone(), entry.place.clone());
        let text = entry.text("\"console.example.org\"", notes)?;
        let text = text.trim_end_matches('.').to_ascii_lowercase();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if text.is_empty() || text.len() > 253 || !text.chars().all(plain) {
            let message = format!("{name} is not a host name without scheme and port");
            notes.problem(&place, message, "write console_names = [\"console.example.org\"]");
            return None;
        }
        if !found.contains(&text) {
            found.push(text);
        }
    }
    Some(found)
}

/// Reads which acts root does.
pub(super) fn acts(value: Value<'_>, notes: &mut Notes) -> Option<Vec<Act>> {
    let words = Act::ALL.map(|act| (act.word(), act));
    let mut found = Vec::new();
    for entry in value.list("[\"backup\", \"verify\"]", notes)? {
        let act = choice(entry, &words, notes)?;
        if !found.contains(&act) {
            found.push(act);
        }
    }
    found.sort();
    Some(found)
}
