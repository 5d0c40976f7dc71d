//! The operator's word that nothing is upgraded, kept on disk until a date or until it is taken back.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::layout::Layout;
use crate::system::zone::Zone;
use crate::system::{clock, fs};

use super::super::state_file;

/// The longest reason, in characters.
const LONGEST_REASON: usize = 500;

/// A hold, as its file says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// When it was placed, RFC 3339.
    pub since: String,
    /// When it lapses, RFC 3339; none where it holds until it is taken back.
    #[serde(default)]
    pub until: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// Who placed it.
    #[serde(default)]
    pub by: Option<String>,
}

impl Hold {
    /// Returns a hold that begins now.
    pub fn new(since: SystemTime, until: Option<SystemTime>, reason: Option<&str>) -> Self {
        // One line, whatever was typed: it stands in messages of package tools.
        let line = |text: &str| {
            let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
            plain.take(LONGEST_REASON).collect::<String>().trim().to_owned()
        };
        Self {
            since: clock::rfc3339(since),
            until: until.map(clock::rfc3339),
            reason: reason.map(line).filter(|reason| !reason.is_empty()),
            by: crate::system::identity::caller(),
        }
    }

    /// Reads the hold, where there is one. A wish that was damaged is a wish: what cannot be read
    /// holds.
    pub fn read(layout: &Layout) -> Option<Self> {
        let path = layout.hold();
        state_file::read(&path).unwrap_or_else(|why| {
            let reason = Some(format!("{} cannot be read: {why}", path.display()));
            Some(Self { reason, ..Self::default() })
        })
    }

    /// Writes it; an earlier hold is replaced.
    pub fn write(&self, layout: &Layout) -> Result<()> {
        state_file::write(layout, &layout.hold(), self)
    }

    /// Takes it back; one that is not there is fine.
    pub fn remove(layout: &Layout) -> Result<()> {
        fs::remove_file(&layout.hold())
    }

    /// Returns whether it holds at this moment. An end that cannot be read never comes.
    pub fn holds(&self, now: SystemTime) -> bool {
        let end = self.until.as_deref().map(clock::parse_rfc3339);
        !matches!(end, Some(Some(end)) if end <= now)
    }

    /// Says it in words, on the machine's wall clock.
    pub fn told(&self, zone: &Zone) -> String {
        let spoken = |text: &str| {
            clock::parse_rfc3339(text).map_or(text.to_owned(), |instant| zone.spoken(instant))
        };
        let since = match self.since.as_str() {
            "" => String::new(),
            since => format!(" since {}", spoken(since)),
        };
        let by = self.by.as_ref().map_or(String::new(), |by| format!(" by {by}"));
        let until =
            self.until.as_deref().map_or(String::new(), |u| format!(" until {}", spoken(u)));
        let reason = self.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
        format!("held{since}{by}{until}{reason}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::clock::parse_rfc3339;

    fn at(text: &str) -> SystemTime {
        parse_rfc3339(text).unwrap()
    }

    /// Row 93.
    #[test]
    fn a_hold_with_a_date_lapses_and_one_without_does_not() {
        let now = at("2026-11-21T12:00:00Z");
        let dated = Hold::new(now, Some(at("2026-11-22T00:00:00Z")), Some("audit\nweek "));
        assert!(dated.holds(now) && dated.holds(at("2026-11-21T23:59:59Z")));
        assert!(!dated.holds(at("2026-11-22T00:00:00Z")));
        assert_eq!(dated.reason.as_deref(), Some("audit week"));
        assert!(Hold::new(now, None, None).holds(at("2036-01-01T00:00:00Z")));
        let odd = Hold { until: Some("tomorrow".into()), ..dated };
        assert!(odd.holds(at("2036-01-01T00:00:00Z")), "an end that cannot be read never comes");
    }

    #[test]
    fn a_damaged_hold_holds_and_names_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path(), "openwatch");
        assert_eq!(Hold::read(&layout), None);
        let hold = Hold::new(at("2026-11-21T12:00:00Z"), None, Some("audit"));
        hold.write(&layout).unwrap();
        assert_eq!(Hold::read(&layout), Some(hold));
        fs::replace(&layout.hold(), b"{", 0o644).unwrap();
        let damaged = Hold::read(&layout).unwrap();
        assert!(damaged.holds(at("2036-01-01T00:00:00Z")));
        let said = damaged.told(&Zone::of(dir.path()));
        assert!(
            said.starts_with("held: ") && said.contains("upgrade/hold cannot be read"),
            "{said}"
        );
        Hold::remove(&layout).unwrap();
        assert_eq!(Hold::read(&layout), None);
    }

    #[test]
    fn a_hold_is_told_on_the_wall_clock() {
        let hold = Hold {
            since: "2026-11-21T12:00:00Z".into(),
            until: Some("2026-11-28T21:00:00Z".into()),
            reason: Some("audit".into()),
            by: Some("alice".into()),
        };
        let utc = Zone::of(std::path::Path::new("/nowhere"));
        assert_eq!(
            hold.told(&utc),
            "held since Sat 2026-11-21 12:00 UTC by alice until Sat 2026-11-28 21:00 UTC: audit"
        );
    }
}
