//! The machine's time zone: wall-clock days and times as instants, and back.

use std::path::Path;
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::fs;

/// More than any compiled time zone.
const MOST_BYTES: u64 = 1 << 20;

/// Minutes of a day on the wall clock.
pub const DAY: u32 = 24 * 60;

/// The time zone of a machine, as `/etc/localtime` says it.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

/// A day of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day(Date);

impl Zone {
    /// Reads `/etc/localtime` below a root; UTC where there is none, as systemd takes it.
    ///
    /// The caller's `TZ` is not asked: apt and rpm pass it on, and a window is the machine's.
    pub fn of(root: &Path) -> Self {
        let bytes = fs::read_limited(&root.join("etc/localtime"), MOST_BYTES);
        let zone = bytes.ok().and_then(|bytes| TimeZone::tzif("local", &bytes).ok());
        Self(zone.unwrap_or(TimeZone::UTC))
    }

    /// Returns the day that this instant belongs to.
    pub fn day(&self, instant: SystemTime) -> Day {
        Day(self.0.to_datetime(timestamp(instant)).date())
    }

    /// Returns the instant at which so many minutes of a day have passed on the wall clock.
    ///
    /// A time that is left out when clocks go forward is as much later, one that comes twice is the
    /// first of both; none beyond the calendar.
    pub fn at(&self, day: Day, minutes: u32) -> Option<SystemTime> {
        let day = day.plus(minutes / DAY)?;
        let (hour, minute) = (minutes % DAY / 60, minutes % 60);
        let time = day.0.at(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0);
        let instant = self.0.to_ambiguous_timestamp(time).compatible().ok()?;
        Some(instant.into())
    }

    /// Says an instant as the machine's wall clock shows it: `Sat 2026-11-28 22:00 CET`.
    pub fn spoken(&self, instant: SystemTime) -> String {
        let instant = timestamp(instant);
        let local = self.0.to_datetime(instant);
        let info = self.0.to_offset_info(instant);
        format!(
            "{} {:04}-{:02}-{:02} {:02}:{:02} {}",
            DAYS[Day(local.date()).weekday()].1,
            local.year(),
            local.month(),
            local.day(),
            local.hour(),
            local.minute(),
            info.abbreviation()
        )
    }
}

/// Weekdays, Monday first: the whole name, and the first three letters.
pub const DAYS: [(&str, &str); 7] = [
    ("monday", "Mon"),
    ("tuesday", "Tue"),
    ("wednesday", "Wed"),
    ("thursday", "Thu"),
    ("friday", "Fri"),
    ("saturday", "Sat"),
    ("sunday", "Sun"),
];

impl Day {
    /// Reads `2027-01-31`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut number = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits)?;
            part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<i16>().ok())?
        };
        let (year, month, day) = (number(4)?, number(2)?, number(2)?);
        let (month, day) = (i8::try_from(month).ok()?, i8::try_from(day).ok()?);
        let date = Date::new(year, month, day).ok()?;
        parts.next().is_none().then_some(Self(date))
    }

    /// Returns the weekday: 0 is Monday.
    pub fn weekday(self) -> usize {
        usize::try_from(self.0.weekday().to_monday_zero_offset()).unwrap_or_default()
    }

    /// Returns the day so many days later; none beyond the calendar.
    pub fn plus(self, days: u32) -> Option<Self> {
        (0..days).try_fold(self.0, |date, _| date.tomorrow().ok()).map(Self)
    }

    /// Returns the day before; none beyond the calendar.
    pub fn before(self) -> Option<Self> {
        self.0.yesterday().ok().map(Self)
    }
}

/// Reads a time of the wall clock, `00:00` to `24:00`, as minutes.
pub fn parse_time(text: &str) -> Option<u32> {
    let (hour, minute) = text.split_once(':')?;
    let two = |part: &str| {
        let plain = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| part.parse::<u32>().ok())?
    };
    let (hour, minute) = (two(hour)?, two(minute)?);
    (minute < 60 && hour * 60 + minute <= DAY).then_some(hour * 60 + minute)
}

fn timestamp(instant: SystemTime) -> Timestamp {
    Timestamp::try_from(instant).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::system::clock::{parse_rfc3339, rfc3339};

    /// A zone file as `zic -b slim` makes it: no transitions, only the rule for all time.
    pub(crate) fn zone(rule: &str) -> Zone {
        let mut bytes = Vec::new();
        for _ in 0..2 {
            bytes.extend_from_slice(b"TZif2");
            bytes.extend_from_slice(&[0; 15]);
            for count in [0_u32, 0, 0, 0, 1, 4] {
                bytes.extend_from_slice(&count.to_be_bytes());
            }
            bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0]);
            bytes.extend_from_slice(b"LMT\0");
        }
        bytes.extend_from_slice(format!("\n{rule}\n").as_bytes());
        let dir = tempfile::tempdir().unwrap();
        fs::make_dir(&dir.path().join("etc"), 0o755).unwrap();
        fs::replace(&dir.path().join("etc/localtime"), &bytes, 0o644).unwrap();
        Zone::of(dir.path())
    }

    pub(crate) const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

    fn at(zone: &Zone, day: &str, time: &str) -> String {
        let day = Day::parse(day).unwrap();
        rfc3339(zone.at(day, parse_time(time).unwrap()).unwrap())
    }

    #[test]
    fn wall_clock_times_are_instants_of_the_zone() {
        let zone = zone(BERLIN);
        assert_eq!(at(&zone, "2026-11-28", "22:00"), "2026-11-28T21:00:00Z");
        assert_eq!(at(&zone, "2026-07-04", "22:00"), "2026-07-04T20:00:00Z");
        assert_eq!(at(&zone, "2026-12-31", "24:00"), "2026-12-31T23:00:00Z");
        // Left out: clocks go from 02:00 to 03:00.
        assert_eq!(at(&zone, "2026-03-29", "02:30"), "2026-03-29T01:30:00Z");
        // There twice: the first counts.
        assert_eq!(at(&zone, "2026-10-25", "02:30"), "2026-10-25T00:30:00Z");
        let instant = parse_rfc3339("2026-11-28T21:00:00Z").unwrap();
        assert_eq!(zone.spoken(instant), "Sat 2026-11-28 22:00 CET");
        assert_eq!(zone.day(parse_rfc3339("2026-11-28T23:30:00Z").unwrap()).weekday(), 6);
    }

    #[test]
    fn without_a_zone_file_it_is_utc() {
        let zone = Zone::of(Path::new("/nowhere"));
        assert_eq!(at(&zone, "2026-07-04", "22:00"), "2026-07-04T22:00:00Z");
    }

    #[test]
    fn days_and_times_are_read_exactly() {
        for bad in ["2026-13-01", "2026-02-29", "26-01-01", "2026-1-1", "2026-01-01-", "x", ""] {
            assert_eq!(Day::parse(bad), None, "{bad}");
        }
        for (text, minutes) in [("00:00", 0), ("04:30", 270), ("24:00", 1440)] {
            assert_eq!(parse_time(text), Some(minutes), "{text}");
        }
        for bad in ["4:30", "24:01", "12:60", "12.30", "+1:00", "1200", "", "ab:cd"] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }
}
