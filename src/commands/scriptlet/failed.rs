//! Whether the failure of a unit is news: asked by `openwatch-failure@.service` before it calls the
//! operator's program.
//!
//! Each start of the service behind a closed gate runs the upgrade unit first, which refuses and so
//! fails again, as it must for whoever waits for it. That is one failure, and is told once.

use crate::error::Result;
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::system::fs;
use crate::upgrade::gate::Pending;
use crate::upgrade::journal;

use super::super::Reply;

/// More than any note of ours.
const MOST_BYTES: u64 = 64 << 10;

/// Exits 0 where the failure was not told yet, and otherwise with the code of a refusal, which has the
/// unit skip what follows. Failures of other units, and any doubt, are news.
pub(super) fn is_news(layout: &Layout, unit: &str) -> Result<Reply> {
    if unit != layout.upgrade_unit() {
        return Ok(Reply::silent(Outcome::Ok));
    }
    let Ok(Some(mark)) = Pending::read(layout) else { return Ok(Reply::silent(Outcome::Ok)) };
    let run = journal::read(layout).ok().flatten().map(|record| record.run);
    let how = mark.failed.map(|failed| format!("{} {}", failed.outcome, failed.message));
    let own = format!(
        "{} {} {}\n",
        mark.since,
        run.as_deref().unwrap_or("no run"),
        how.as_deref().unwrap_or("not ended")
    );
    let path = layout.failure_told();
    if fs::read_text(&path, MOST_BYTES).is_ok_and(|before| before == own) {
        return Ok(Reply::silent(Outcome::Refused));
    }
    fs::replace(&path, own.as_bytes(), 0o600)?;
    Ok(Reply::silent(Outcome::Ok))
}
