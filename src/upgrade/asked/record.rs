//! What came of the wishes: left by root for everybody, newest first.

use serde::{Deserialize, Serialize};

use super::Wish;
use crate::error::{Context as _, Error, Result};
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::system::clock::{self, Clock};
use crate::system::fs;

/// More than any record; what is longer was not written by us.
const MOST_BYTES: u64 = 1 << 20;

/// How many are remembered.
const MOST: usize = 20;

/// What was asked for lately.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Format of this file.
    pub format: u32,
    /// Newest first.
    #[serde(default)]
    pub acts: Vec<Asked>,
}

/// One act that root took up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Name of the wish.
    pub id: String,
    /// What was asked for, in one word.
    pub act: String,
    /// The restore point that was meant.
    #[serde(default)]
    pub point: Option<String>,
    /// When root took it up, RFC 3339.
    pub began: String,
    /// When it ended, RFC 3339; none while it goes on.
    #[serde(default)]
    pub ended: Option<String>,
    /// How it ended, in the word of openwatch(1).
    #[serde(default)]
    pub outcome: Option<String>,
    /// What was said about it.
    #[serde(default)]
    pub message: Option<String>,
    /// The next action, where there is one.
    #[serde(default)]
    pub hint: Option<String>,
}

/// Reads what was left; nothing where nothing was, or nothing that can be read.
pub fn read(layout: &Layout) -> Record {
    let text = fs::read_text(&layout.public_acts(), MOST_BYTES).ok();
    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// Notes that an act begins. Only one goes on at a time, so an earlier one without an end was killed.
pub fn begin(layout: &Layout, clock: Clock, wish: &Wish) -> Result<()> {
    let now = clock::rfc3339(clock.now());
    let mut record = read(layout);
    for asked in record.acts.iter_mut().filter(|asked| asked.ended.is_none()) {
        asked.ended = Some(now.clone());
        asked.outcome = Some(Outcome::Failed.word().into());
        asked.message = Some("it was interrupted".into());
    }
    let asked = Asked {
        id: wish.id.clone(),
        act: wish.act.word().into(),
        point: wish.point.clone(),
        began: now,
        ..Asked::default()
    };
    record.acts.insert(0, asked);
    record.acts.truncate(MOST);
    write(layout, record)
}

/// Notes how the act ended.
pub fn end(
    layout: &Layout,
    clock: Clock,
    wish: &Wish,
    ended: std::result::Result<(Outcome, &str), &Error>,
) -> Result<()> {
    let mut record = read(layout);
    if let Some(asked) = record.acts.iter_mut().find(|asked| asked.id == wish.id) {
        asked.ended = Some(clock::rfc3339(clock.now()));
        let (outcome, message, hint) = match ended {
            Ok((outcome, text)) => (outcome, text.to_owned(), None),
            Err(error) => (error.outcome(), told(error), error.hint_line().map(str::to_owned)),
        };
        asked.outcome = Some(outcome.word().into());
        asked.message = Some(message);
        asked.hint = hint;
    }
    write(layout, record)
}

fn told(error: &Error) -> String {
    error.details().iter().fold(error.message(), |all, line| format!("{all}; {line}"))
}

fn write(layout: &Layout, record: Record) -> Result<()> {
    let record = Record { format: 1, ..record };
    let text = serde_json::to_vec(&record).context(|| "cannot write what was asked for".into())?;
    fs::make_public_dir(&layout.public_dir())?;
    fs::replace(&layout.public_acts(), &text, 0o644)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Act;

    #[test]
    fn an_act_that_was_killed_is_told_and_twenty_are_remembered() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path(), "shop");
        for number in 0..25 {
            let wish = Wish::of(format!("w{number}"), Act::Backup);
            begin(&layout, Clock::System, &wish).unwrap();
            if number != 23 {
                end(&layout, Clock::System, &wish, Ok((Outcome::Ok, "done"))).unwrap();
            }
        }
        let acts = read(&layout).acts;
        assert_eq!((acts.len(), acts[0].id.as_str()), (20, "w24"));
        assert_eq!(acts[0].outcome.as_deref(), Some("ok"));
        assert_eq!(acts[1].message.as_deref(), Some("it was interrupted"));
        std::fs::write(layout.public_acts(), "{ truncat").unwrap();
        assert_eq!(read(&layout), Record::default());
    }
}
