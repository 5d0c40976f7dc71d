//! The outlook: what the next upgrade will do, as `preflight` and `rehearse` last said it with
//! `--for-console`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Context as _, Result};
use crate::layout::Layout;
use crate::system::clock::{self, Clock};
use crate::system::fs;

/// More than any outlook; what is longer was not written by us.
const MOST_BYTES: u64 = 8 << 20;

/// The answers that were left.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outlook {
    /// Format of this file.
    pub format: u32,
    /// What `openwatch preflight` said.
    #[serde(default)]
    pub preflight: Option<Answer>,
    /// What `openwatch rehearse` said.
    #[serde(default)]
    pub rehearsal: Option<Answer>,
}

/// What one verb said.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// When, RFC 3339.
    pub written: String,
    /// What it printed for `--json`.
    pub said: Value,
}

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// `openwatch preflight`.
    Preflight,
    /// `openwatch rehearse`.
    Rehearse,
}

/// Reads what was left; none where nothing was, or nothing that can be read.
pub fn read(layout: &Layout) -> Option<Outlook> {
    let text = fs::read_text(&layout.public_outlook(), MOST_BYTES).ok()?;
    serde_json::from_str(&text).ok()
}

/// Leaves an answer beside that of the other verb.
pub fn leave(layout: &Layout, clock: Clock, who: Who, said: Value) -> Result<()> {
    let mut outlook = read(layout).unwrap_or_default();
    outlook.format = 1;
    let answer = Some(Answer { written: clock::rfc3339(clock.now()), said });
    match who {
        Who::Preflight => outlook.preflight = answer,
        Who::Rehearse => outlook.rehearsal = answer,
    }
    let text = serde_json::to_vec(&outlook).context(|| "cannot write the outlook".into())?;
    fs::make_public_dir(&layout.public_dir())?;
    super::replace(&layout.public_outlook(), &text)
}
