//! Pins: the operator's wish that a restore point stays, whatever its age and size.
//!
//! A pin lies beside the restore points, not in one: what a restore point holds is proven by sums, and
//! a program that knows no pins would take a further file in it for damage. It travels in an export.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::entry::{Status, stamp_of};
use super::store::{PARTIAL, RestorePoint, Store};
use crate::error::{Context, Error, Result};
use crate::outcome::Outcome;
use crate::system::{clock, fs};

/// Name of the directory of pins within the backup directory.
pub(super) const PINS: &str = ".pins";

/// The most bytes of a pin.
const LIMIT: u64 = 64 << 10;

/// The longest reason, in characters.
const LONGEST_REASON: usize = 500;

/// What the operator noted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinNote {
    /// When it was pinned, RFC 3339.
    pub since: String,
    /// When the pin ends, RFC 3339; none where it holds until it is taken off.
    #[serde(default)]
    pub until: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// Whose word it is, where that is not root's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

impl PinNote {
    /// Returns a pin that begins now.
    pub fn new(since: SystemTime, until: Option<SystemTime>, reason: Option<&str>) -> Self {
        // One line, whatever was typed: it is shown in lists.
        let line = |text: &str| {
            let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
            plain.take(LONGEST_REASON).collect::<String>().trim().to_owned()
        };
        let reason = reason.map(line).filter(|reason| !reason.is_empty());
        Self { since: clock::rfc3339(since), until: until.map(clock::rfc3339), reason, by: None }
    }

    /// Returns whether it holds at this moment. An end that cannot be read never comes.
    pub fn holds(&self, now: SystemTime) -> bool {
        let end = self.until.as_deref().map(clock::parse_rfc3339);
        !matches!(end, Some(Some(end)) if end <= now)
    }

    /// Says it in words.
    pub fn told(&self) -> String {
        let until = self.until.as_ref().map_or(String::new(), |until| format!(" until {until}"));
        let reason = self.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
        let by = self.by.as_ref().map_or(String::new(), |by| format!(" through {by}"));
        format!("pinned{by}{until}{reason}")
    }
}

/// Reads the end of a pin: `2027-01-31` (the end of that day, UTC) or `2027-01-31T12:00:00Z`.
pub fn pin_end(text: &str) -> Option<SystemTime> {
    match clock::parse_rfc3339(&format!("{text}T00:00:00Z")) {
        Some(day) => day.checked_add(Duration::from_secs(86_400)),
        None => clock::parse_rfc3339(text),
    }
}

/// Every pin of a store. What cannot be read holds: a wish that was damaged is a wish.
#[derive(Debug, Default)]
pub(super) struct Pins {
    found: HashMap<String, PinNote>,
    unread: Option<PinNote>,
}

impl Pins {
    pub(super) fn of(&self, id: &str) -> Option<PinNote> {
        self.found.get(id).or(self.unread.as_ref()).cloned()
    }
}

impl Store {
    /// Keeps a restore point from being removed, durably; an earlier pin of it is replaced.
    ///
    /// The caller holds the lock that upgrades and restores share.
    pub fn pin(&self, id: &str, note: &PinNote) -> Result<()> {
        self.pinnable(id)?;
        self.write_pin(id, note)
    }

    /// Takes a pin off, and returns it where there was one.
    pub fn unpin(&self, id: &str) -> Result<Option<PinNote>> {
        let found = self.entry(id)?.pin;
        if found.is_some() {
            fs::remove_file(&self.pin_path(id))?;
            // The last one takes the directory with it; one that is not empty stays.
            let _ = std::fs::remove_dir(self.dir().join(PINS));
        }
        Ok(found)
    }

    pub(super) fn write_pin(&self, id: &str, note: &PinNote) -> Result<()> {
        let dir = self.dir().join(PINS);
        let text = serde_json::to_vec(note).context(|| "cannot write the pin".into())?;
        let mut again = true;
        loop {
            fs::make_dir(&dir, 0o700)?;
            fs::sync_dir(self.dir()).context(|| format!("cannot sync {}", self.dir().display()))?;
            match fs::replace(&self.pin_path(id), &text, 0o600) {
                // Whoever takes the last pin off takes the empty directory with it.
                Err(_) if again && !dir.exists() => again = false,
                written => return written,
            }
        }
    }

    /// Removes the pins of points that are not there, which an import left that was killed.
    pub(super) fn drop_pins_of_nothing(&self) -> Result<()> {
        for id in self.pins().found.into_keys() {
            // In this order: an import gives the partial one its name.
            let coming = self.dir().join(format!("{PARTIAL}{id}")).symlink_metadata().is_ok();
            if !coming && self.dir().join(&id).symlink_metadata().is_err() {
                fs::remove_file(&self.pin_path(&id))?;
            }
        }
        Ok(())
    }

    pub(super) fn pins(&self) -> Pins {
        self.read_pins().unwrap_or_else(|error| Pins {
            found: HashMap::new(),
            unread: Some(PinNote {
                reason: Some(format!("the pins cannot be read: {error}")),
                ..PinNote::default()
            }),
        })
    }

    fn read_pins(&self) -> io::Result<Pins> {
        let dir = self.dir().join(PINS);
        let mut pins = Pins::default();
        match fs::open_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(pins),
            opened => opened?,
        };
        for item in std::fs::read_dir(&dir)? {
            let name = item?.file_name().to_string_lossy().into_owned();
            let Some(id) = name.strip_suffix(".json").filter(|id| stamp_of(id).is_some()) else {
                continue;
            };
            let bytes = fs::open_file(&dir.join(&name)).and_then(|f| fs::read_bounded(f, LIMIT));
            let note = bytes.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let unread = || PinNote {
                reason: Some("the pin cannot be read, so it holds".into()),
                ..PinNote::default()
            };
            pins.found.insert(id.to_owned(), note.unwrap_or_else(unread));
        }
        Ok(pins)
    }

    pub(super) fn pin_path(&self, id: &str) -> PathBuf {
        self.dir().join(PINS).join(format!("{id}.json"))
    }

    /// Refuses to pin what no retention would ever decide about.
    fn pinnable(&self, id: &str) -> Result<()> {
        let entry = self.entry(id)?;
        match entry.status {
            Status::Good | Status::Damaged(_) | Status::NotUnderstood(_) => Ok(()),
            Status::Partial | Status::Busy | Status::Removing | Status::Foreign => {
                let text = format!("{id} is {}, not a restore point", entry.status.word());
                Err(Error::new(Outcome::Refused, text).state("nothing was changed"))
            }
        }
    }
}

impl RestorePoint {
    /// Takes away the pin of a point that goes.
    pub(super) fn forget_pin(&self) -> Result<()> {
        let pins = self.dir().with_file_name(PINS);
        fs::remove_file(&pins.join(format!("{}.json", self.id())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_ends_at_its_date_and_one_without_never() {
        let now = clock::parse_rfc3339("2026-11-20T13:15:02Z").unwrap();
        let end = now + Duration::from_secs(60);
        let pin = PinNote::new(now, Some(end), Some(" audit\nof 2026 "));
        assert!(pin.holds(now) && !pin.holds(end));
        assert_eq!(pin.told(), "pinned until 2026-11-20T13:16:02Z: audit of 2026");
        assert!(PinNote::new(now, None, None).holds(now + Duration::from_secs(1 << 40)));
    }

    #[test]
    fn the_end_of_a_pin_is_a_day_or_an_instant() {
        let end = |text| pin_end(text).map(clock::rfc3339);
        assert_eq!(end("2027-01-31").as_deref(), Some("2027-02-01T00:00:00Z"));
        assert_eq!(end("2027-01-31T12:00:00Z").as_deref(), Some("2027-01-31T12:00:00Z"));
        for text in ["", "tomorrow", "31.01.2027", "2027-02-30", "2027-1-1", "-1"] {
            assert_eq!(end(text), None, "{text}");
        }
    }

    #[test]
    fn an_end_that_cannot_be_read_never_comes() {
        let pin = PinNote { until: Some("soon".into()), ..PinNote::default() };
        assert!(pin.holds(SystemTime::UNIX_EPOCH));
    }
}
