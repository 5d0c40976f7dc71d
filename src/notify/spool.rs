//! Reports that wait for their receiver: a private file each, few, and not for ever.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::error::{Context as _, Result};
use crate::layout::Layout;
use crate::system::clock::{self, Clock};
use crate::system::fs;

use super::{Event, Kind, body};

/// The most reports that wait; the oldest make room.
const MOST: usize = 50;

/// What nobody took for this long, nobody wants.
const OLDEST: Duration = Duration::from_secs(14 * 24 * 3600);

/// More than any report; what is longer was not written by us.
const MOST_BYTES: u64 = 64 << 10;

/// One report; without its address, which may hold a token and may be another one by then.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Letter {
    /// The same however often it is sent, so that a receiver can tell a repetition.
    pub(super) id: String,
    /// The word of its kind.
    event: String,
    /// When it was written, RFC 3339.
    pub(super) created: String,
    /// What is sent.
    pub(super) body: Value,
}

impl Letter {
    /// Writes a report.
    pub(super) fn new(event: &Event, clock: Clock) -> Self {
        let what = [
            event.host.as_str(),
            &event.app,
            &event.started,
            &event.finished,
            event.kind().word(),
            &event.to,
        ];
        let id = format!("msg_{}", &hex::encode(Sha256::digest(what.join("\n")))[..32]);
        Self {
            body: body::of(event, &id),
            id,
            event: event.kind().word().to_owned(),
            created: clock::rfc3339(clock.now()),
        }
    }

    /// Returns its kind; none where a newer version knows more kinds.
    pub(super) fn kind(&self) -> Option<Kind> {
        [Kind::Succeeded, Kind::Failed, Kind::RolledBack, Kind::Deferred]
            .into_iter()
            .find(|kind| kind.word() == self.event)
    }

    fn name(&self) -> String {
        format!("{}-{}.json", self.created.replace(['-', ':'], ""), self.id)
    }
}

/// The directory of reports that wait.
pub(super) struct Spool {
    dir: PathBuf,
}

impl Spool {
    pub(super) fn new(layout: &Layout) -> Self {
        Self { dir: layout.spool() }
    }

    /// Keeps a report until it is sent; the oldest make room for it.
    pub(super) fn keep(&self, letter: &Letter, clock: Clock) -> Result<()> {
        fs::make_dir(&self.dir, 0o700)?;
        fs::check_trusted_dir(&self.dir)?;
        self.forget_old(clock);
        let names = self.names();
        for name in names.iter().take((names.len() + 1).saturating_sub(MOST)) {
            fs::remove_file(&self.dir.join(name))?;
        }
        let text = serde_json::to_string(letter).context(|| "cannot write a report".into())?;
        fs::replace(&self.dir.join(letter.name()), text.as_bytes(), 0o600)
    }

    /// Removes a report that was taken.
    pub(super) fn done(&self, letter: &Letter) -> Option<String> {
        fs::remove_file(&self.dir.join(letter.name())).err().map(|error| error.message())
    }

    /// Removes what is too old; returns a warning for each.
    pub(super) fn forget_old(&self, clock: Clock) -> Vec<String> {
        let too_old = |name: &String| {
            let written = name.split('-').next().and_then(clock::parse_stamp);
            // What was written in the future, by a clock that was wrong, goes by number alone.
            written.is_some_and(|at| clock.now().duration_since(at).is_ok_and(|age| age > OLDEST))
        };
        let old: Vec<String> = self.names().into_iter().filter(too_old).collect();
        old.iter()
            .filter(|name| fs::remove_file(&self.dir.join(name)).is_ok())
            .map(|name| format!("nobody took the report {name} within 14 days; it is dropped"))
            .collect()
    }

    /// Returns the reports that wait, oldest first; what cannot be read is left alone.
    pub(super) fn letters(&self) -> Vec<Letter> {
        let read = |name: &String| {
            let text = fs::read_text(&self.dir.join(name), MOST_BYTES).ok()?;
            // Its name is made of what it says, so that `done` removes the file that was read.
            serde_json::from_str(&text).ok().filter(|letter: &Letter| letter.name() == *name)
        };
        self.names().iter().filter_map(read).collect()
    }

    fn names(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(&self.dir) else { return Vec::new() };
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.ends_with(".json") && !name.starts_with('.'))
            .collect();
        names.sort();
        names
    }
}

/// Returns how many reports wait for their receiver.
pub fn waiting(layout: &Layout) -> usize {
    Spool::new(layout).names().len()
}
