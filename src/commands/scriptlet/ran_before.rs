//! What ran before the files were unpacked. A power cut between unpacking and the script that writes
//! the pending mark boots a program that the gate refuses: the next attempt finds the units down, and
//! without this note would take that for the operator's wish.

use serde::{Deserialize, Serialize};

use crate::error::{Context as _, Result};
use crate::layout::Layout;
use crate::package;
use crate::system::fs;
use crate::version::Version;

use super::{Context, running};

/// The most bytes of the note.
const LIMIT: u64 = 64 << 10;

/// The note.
#[derive(Serialize, Deserialize)]
struct Ran {
    /// Version on disk at that time.
    version: Version,
    /// Units that ran, in stop order.
    running: Vec<String>,
}

/// Notes what runs; where that cannot be asked, the script that writes the mark asks again and tells.
pub(super) fn note(context: &Context<'_>, version: &Version) -> Result<()> {
    let path = context.layout.ran_before();
    let Ok(running) = running(context) else { return fs::remove_file(&path) };
    let ran = Ran { version: version.clone(), running };
    let text = serde_json::to_vec(&ran).context(|| "cannot write what ran".into())?;
    fs::replace(&path, &text, 0o644)
}

/// Returns whether an earlier attempt had unpacked files and was cut off before the mark: its note is
/// there, and the version on disk is another one by now.
pub(super) fn was_cut_off(layout: &Layout) -> bool {
    let on_disk = package::installed_version(layout, None);
    read(layout).zip(on_disk).is_some_and(|(ran, now)| !ran.version.order(&now).is_eq())
}

/// Adds what runs now to what ran before the files were unpacked.
pub(super) fn and(layout: &Layout, now: Vec<String>) -> Vec<String> {
    let Some(mut ran) = read(layout) else { return now };
    let more: Vec<String> = now.into_iter().filter(|unit| !ran.running.contains(unit)).collect();
    ran.running.extend(more);
    ran.running
}

/// The mark says it from now on.
pub(super) fn forget(layout: &Layout) -> Result<()> {
    fs::remove_file(&layout.ran_before())
}

/// A note that cannot be read says nothing.
fn read(layout: &Layout) -> Option<Ran> {
    let text = fs::read_text(&layout.ran_before(), LIMIT).ok()?;
    serde_json::from_str(&text).ok()
}
