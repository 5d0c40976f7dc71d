//! The message that whoever logs in reads while an upgrade is not as it should be.
//!
//! A file, shown by `pam_motd` through a link in `/run/motd.d`: at a login nothing of ours runs, and
//! without trouble there is no file.

use serde::{Deserialize, Serialize};

use crate::error::{Context as _, Result};
use crate::layout::{self, Layout};
use crate::system::clock::{self, Clock};
use crate::system::fs;

use super::{Event, Kind, plain};

/// What somebody has taken note of.
#[derive(Serialize, Deserialize)]
struct Acknowledged {
    /// End of the run, as the journal has it.
    finished: String,
    /// When it was acknowledged, RFC 3339.
    at: String,
    /// Who did.
    by: String,
}

/// Shows what is not as it should be, and nothing otherwise.
pub(super) fn update(layout: &Layout, event: &Event) -> Option<String> {
    let path = layout.login_message();
    let done = match event.kind() {
        Kind::Succeeded => fs::remove_file(&path),
        Kind::Failed | Kind::RolledBack | Kind::Deferred => {
            fs::make_dir(&layout.upgrade_dir(), 0o755)
                .and_then(|()| fs::replace(&path, text(event).as_bytes(), 0o644))
        }
    };
    done.err().map(|error| format!("the login message is not up to date: {}", error.message()))
}

fn text(event: &Event) -> String {
    let from = event.from.as_ref().map_or(String::new(), |from| format!("{from} -> "));
    let how = match event.kind() {
        Kind::Succeeded => "is done",
        Kind::Failed => "FAILED",
        Kind::RolledBack => "FAILED, the data was put back",
        Kind::Deferred => "is put off",
    };
    let mut lines = vec![format!(
        "{}: the {} {from}{} {how} ({}, {})",
        event.app,
        event.work.word(),
        event.to,
        event.outcome.word(),
        event.finished
    )];
    lines.push(format!("  {}", event.line()));
    if let Some(point) = &event.restore_point {
        lines.push(format!("  restore point {point}"));
    }
    lines.extend(event.next.as_ref().map(|next| format!("  next: {next}")));
    lines
        .push("  `openwatch status` tells more; `openwatch status --acknowledge` ends this".into());
    let lines: Vec<String> =
        lines.iter().map(|line| plain(&layout::for_app(&event.app, line))).collect();
    lines.join("\n") + "\n"
}

/// Ends the login message: somebody, whose name this is, has read how the run that ended then went.
pub fn acknowledge(layout: &Layout, finished: &str, by: &str, clock: Clock) -> Result<()> {
    let at = clock::rfc3339(clock.now());
    let noted = Acknowledged { finished: finished.into(), at, by: by.into() };
    let text = serde_json::to_string(&noted).context(|| "cannot write a note".into())?;
    fs::replace(&layout.acknowledged(), text.as_bytes(), 0o644)?;
    fs::remove_file(&layout.login_message())
}

/// Returns whether somebody has acknowledged the run that ended then.
pub fn is_acknowledged(layout: &Layout, finished: &str) -> bool {
    let text = fs::read_text(&layout.acknowledged(), 4096).ok();
    let noted = text.and_then(|text| serde_json::from_str::<Acknowledged>(&text).ok());
    noted.is_some_and(|noted| noted.finished == finished)
}
