//! A wish: what the service leaves and root takes up.

use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::Act;
use crate::error::{Context as _, Error, Result};
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::system::fs;

/// The format of this file.
const FORMAT: u32 = 1;

/// More than any wish; what is longer was not written by us.
const MOST_BYTES: u64 = 8 << 10;

const LONGEST_POINT: usize = 128;
const LONGEST_UNTIL: usize = 40;
const LONGEST_REASON: usize = 200;

/// One act that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// Format of this file.
    pub format: u32,
    /// Name of the wish, made by the service.
    pub id: String,
    /// What is asked for.
    pub act: Act,
    /// The restore point that is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<String>,
    /// The end of a pin or hold, as it was typed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Why, as it was typed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether a restore point is loaded into a scratch database as well.
    #[serde(default)]
    pub load: bool,
}

impl Wish {
    /// Returns the wish for an act, without anything that belongs to it.
    pub fn of(id: String, act: Act) -> Self {
        Self { format: FORMAT, id, act, point: None, until: None, reason: None, load: false }
    }

    /// Says what does not fit; whoever left it, it is judged before anything is done.
    pub fn problem(&self) -> Option<String> {
        let word = |text: &str, most: usize| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+~:".contains(c);
            !text.is_empty()
                && text.len() <= most
                && !text.starts_with('.')
                && text.chars().all(plain)
        };
        if self.format != FORMAT || !word(&self.id, 64) {
            return Some("it is of another format".into());
        }
        let needs_point = matches!(self.act, Act::Verify | Act::Pin | Act::Unpin);
        match &self.point {
            None if needs_point => return Some("no restore point is named".into()),
            Some(_) if !needs_point => {
                return Some(format!("{} is about no restore point", self.act.word()));
            }
            Some(point) if !word(point, LONGEST_POINT) => {
                return Some("this is not the name of a restore point".into());
            }
            Some(_) | None => {}
        }
        let is_dated = matches!(self.act, Act::Pin | Act::Hold);
        if !is_dated && (self.until.is_some() || self.reason.is_some()) {
            return Some(format!("{} has neither end nor reason", self.act.word()));
        }
        let plain = |text: &str, most: usize| {
            text.chars().count() <= most && !text.chars().any(char::is_control)
        };
        if !self.until.as_deref().is_none_or(|text| plain(text, LONGEST_UNTIL)) {
            return Some(format!(
                "the end is longer than {LONGEST_UNTIL} characters, or not one line"
            ));
        }
        if !self.reason.as_deref().is_none_or(|text| plain(text, LONGEST_REASON)) {
            let most = LONGEST_REASON;
            return Some(format!("the reason is longer than {most} characters, or not one line"));
        }
        (self.load && self.act != Act::Verify).then(|| "only a verification loads anything".into())
    }
}

/// What became of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It lies there.
    There,
    /// Another one lies there, which root has not taken up yet.
    Another,
}

fn place(layout: &Layout) -> PathBuf {
    layout.asked_dir().join("wish")
}

/// Returns whether a wish lies there that root has not taken up yet.
pub fn waiting(layout: &Layout) -> bool {
    place(layout).symlink_metadata().is_ok()
}

/// Leaves a wish: whole, or not at all.
pub fn leave(layout: &Layout, wish: &Wish) -> Result<Left> {
    let text = serde_json::to_vec(wish).context(|| "cannot write the wish".into())?;
    let unfinished = layout.asked_dir().join(format!(".{}", wish.id));
    let attempt = || {
        fs::create_new(&unfinished, 0o600)?.write_all(&text)?;
        // A second name, unlike a rename, never takes the place of one that is there.
        fs::keep_under(&unfinished, &place(layout))
    };
    let left = attempt();
    // The name that root waits for is another one.
    let _ = fs::remove_file(&unfinished);
    match left {
        Ok(_) => Ok(Left::There),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Left::Another),
        Err(error) => Err(Error::failed("the wish cannot be left").source(error)),
    }
}

/// Takes the wish away, and returns it where it is one.
///
/// The directory is the service's, so nothing in it is believed: no link is followed, no pipe waited
/// for, and what is not understood goes as well, or it would be taken up for ever.
pub fn take(layout: &Layout) -> Result<Option<Wish>> {
    let path = place(layout);
    let read = fs::open_regular(&path).and_then(|(file, _)| fs::read_bounded(file, MOST_BYTES));
    if matches!(&read, Err(error) if error.kind() == ErrorKind::NotFound) {
        return Ok(None);
    }
    fs::remove_file(&path)?;
    let unfit = |why: String| {
        Error::new(Outcome::Usage, format!("what the console left is no wish: {why}"))
            .state("nothing was changed")
    };
    let text = read.map_err(|error| unfit(error.to_string()))?;
    let wish: Wish = serde_json::from_slice(&text).map_err(|error| unfit(error.to_string()))?;
    match wish.problem() {
        None => Ok(Some(wish)),
        Some(why) => Err(unfit(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place_of(root: &tempfile::TempDir) -> Layout {
        let layout = Layout::new(root.path(), "shop");
        std::fs::create_dir_all(layout.asked_dir()).unwrap();
        layout
    }

    #[test]
    fn a_wish_is_taken_once_and_a_second_one_waits_for_its_place() {
        let root = tempfile::tempdir().unwrap();
        let layout = place_of(&root);
        let wish =
            Wish { point: Some("20261120T131502Z-1.0.0".into()), ..Wish::of("a".into(), Act::Pin) };
        assert_eq!(leave(&layout, &wish).unwrap(), Left::There);
        let other = Wish::of("b".into(), Act::Backup);
        assert_eq!(leave(&layout, &other).unwrap(), Left::Another);
        assert!(waiting(&layout));
        assert_eq!(take(&layout).unwrap(), Some(wish));
        assert_eq!(take(&layout).unwrap(), None);
        assert_eq!(
            std::fs::read_dir(layout.asked_dir()).unwrap().count(),
            0,
            "nothing stays behind"
        );
    }

    #[test]
    fn what_is_no_wish_is_taken_away_and_refused() {
        let root = tempfile::tempdir().unwrap();
        let layout = place_of(&root);
        let good = serde_json::to_value(Wish::of("a".into(), Act::Backup)).unwrap();
        let with = |key: &str, value: serde_json::Value| {
            let mut changed = good.clone();
            changed[key] = value;
            changed.to_string()
        };
        for text in [
            String::new(),
            "{}".into(),
            with("act", "upgrade".into()),
            with("command", "rm".into()),
            with("format", 2.into()),
            with("point", "../../etc/passwd".into()),
            with("reason", "not for a backup".into()),
            with("load", true.into()),
            with("id", "a b".into()),
            with("id", "x".repeat(9000).into()),
        ] {
            std::fs::write(place(&layout), &text).unwrap();
            assert_eq!(take(&layout).unwrap_err().outcome(), Outcome::Usage, "{text}");
            assert!(!waiting(&layout), "{text}");
        }
        let pin = Wish { point: Some("x".into()), ..Wish::of("a".into(), Act::Pin) };
        for unfit in [
            Wish { point: None, ..pin.clone() },
            Wish { point: Some("/etc".into()), ..pin.clone() },
            Wish { point: Some("..".into()), ..pin.clone() },
            Wish { reason: Some("two\nlines".into()), ..pin.clone() },
            Wish { reason: Some("x".repeat(201)), ..pin.clone() },
            Wish { until: Some("\u{1b}[2J".into()), ..pin.clone() },
        ] {
            assert!(unfit.problem().is_some(), "{unfit:?}");
        }
        assert_eq!(pin.problem(), None);
    }

    #[test]
    fn a_link_and_a_pipe_in_its_place_are_not_followed_and_go() {
        let root = tempfile::tempdir().unwrap();
        let layout = place_of(&root);
        let secret = root.path().join("secret");
        std::fs::write(&secret, serde_json::to_vec(&Wish::of("a".into(), Act::Backup)).unwrap())
            .unwrap();
        std::os::unix::fs::symlink(&secret, place(&layout)).unwrap();
        assert!(take(&layout).is_err());
        assert!(secret.exists() && !waiting(&layout));
        let made = std::process::Command::new("mkfifo").arg(place(&layout)).status();
        assert!(made.unwrap().success());
        assert!(take(&layout).is_err());
        assert!(!waiting(&layout));
    }
}
