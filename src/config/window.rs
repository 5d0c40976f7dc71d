//! `window`: when upgrades may begin, on the wall clock of the machine.
//!
//! A small part of what systemd.time(7) calls a calendar event, with an end: `Sat 22:00-04:00`,
//! `Mon..Fri 01:00-05:00`, `Sat,Sun 00:00-24:00`, `02:00-04:00`. An end that is not after the
//! beginning is on the next day.

use std::fmt;
use std::time::SystemTime;

use super::notes::{Notes, shown};
use super::section::{Value, last};
use crate::system::zone::{DAY, DAYS, Day, Zone, parse_time};

/// The word for no window.
pub const ANY_TIME: &str = "any time";

const EXAMPLE: &str = "Sat 22:00-04:00";

/// A week and a day: what opens at all, opens within them; clocks that go forward may take one away.
const DAYS_AHEAD: u32 = 15;

/// The windows in which upgrades may begin; without any, they may at any time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows(Vec<Window>);

/// One window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Whether it opens on this weekday, Monday first.
    days: [bool; 7],
    /// Minutes after midnight.
    from: u32,
    /// Minutes after the midnight before it opened.
    until: u32,
    written: String,
}

/// What a clock says of the windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// There are none.
    AnyTime,
    /// One is open until then.
    Open(SystemTime),
    /// None is open; the next one opens then.
    Closed(Option<SystemTime>),
}

impl Windows {
    /// Returns how the windows were written; none where there are none.
    pub fn written(&self) -> Vec<&str> {
        self.0.iter().map(|window| window.written.as_str()).collect()
    }

    /// Returns whether one is open at this instant, and when the next one opens.
    pub fn opening(&self, now: SystemTime, zone: &Zone) -> Opening {
        if self.0.is_empty() {
            return Opening::AnyTime;
        }
        // One that opened yesterday may be open still.
        let today = zone.day(now);
        let days = std::iter::successors(today.before().or(Some(today)), |day| day.plus(1));
        let mut spans: Vec<(SystemTime, SystemTime)> = days
            .take(DAYS_AHEAD as usize)
            .flat_map(|day| self.0.iter().filter_map(move |window| window.span(day, zone)))
            .collect();
        spans.sort_unstable();
        let open = spans.iter().filter(|(from, until)| *from <= now && now < *until);
        match open.map(|(_, until)| *until).max() {
            Some(until) => Opening::Open(until),
            None => Opening::Closed(spans.iter().map(|(from, _)| *from).find(|from| *from > now)),
        }
    }
}

impl Window {
    /// Reads a window, or says why it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (days, times) = match words.as_slice() {
            [times] => ([true; 7], times),
            [days, times] => (parse_days(days)?, times),
            _ => return Err("must be days and times, such as \"Sat 22:00-04:00\"".into()),
        };
        let Some((from, until)) = times.split_once('-') else {
            return Err(format!("has no times HH:MM-HH:MM, but {}", shown(times)));
        };
        let time = |text: &str| {
            parse_time(text).ok_or_else(|| format!("has {}, which is no time HH:MM", shown(text)))
        };
        let (from, until) = (time(from)?, time(until)?);
        if from == DAY {
            return Err("begins at 24:00; write 00:00 of the next day".into());
        }
        if from == until {
            return Err("ends when it begins; a whole day is 00:00-24:00".into());
        }
        let until = if until > from { until } else { until + DAY };
        Ok(Self { days, from, until, written: words.join(" ") })
    }

    /// Returns the instants between which it is open that begins on this day.
    fn span(&self, day: Day, zone: &Zone) -> Option<(SystemTime, SystemTime)> {
        if !self.days[day.weekday()] {
            return None;
        }
        let (from, until) = (zone.at(day, self.from)?, zone.at(day, self.until)?);
        // Clocks that go forward may leave nothing of it.
        (from < until).then_some((from, until))
    }
}

impl fmt::Display for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.written().as_slice() {
            [] => f.write_str(ANY_TIME),
            written => f.write_str(&written.join(", ")),
        }
    }
}

fn parse_days(text: &str) -> Result<[bool; 7], String> {
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once("..").unwrap_or((part, part));
        let (first, last) = (parse_day(first)?, parse_day(last)?);
        // Sat..Mon goes over the end of the week.
        let mut day = first;
        loop {
            days[day] = true;
            if day == last {
                break;
            }
            day = (day + 1) % 7;
        }
    }
    Ok(days)
}

fn parse_day(text: &str) -> Result<usize, String> {
    let named = |(whole, short): &(&str, &str)| {
        whole.eq_ignore_ascii_case(text) || short.eq_ignore_ascii_case(text)
    };
    let found = DAYS.iter().position(named);
    found.ok_or_else(|| format!("has {}, which is no weekday such as Sat", shown(text)))
}

/// Reads one window or a list of them; `any time` takes back what an earlier file said.
pub(super) fn read(value: Value<'_>, notes: &mut Notes) -> Option<Windows> {
    if value.as_text() == Some(ANY_TIME) || value.is_empty_list() {
        return Some(Windows::default());
    }
    if value.as_text().is_some() {
        return one(value, notes).map(|window| Windows(vec![window]));
    }
    let mut windows = Vec::new();
    for entry in value.list(&format!("\"{EXAMPLE}\""), notes)? {
        windows.push(one(entry, notes)?);
    }
    Some(Windows(windows))
}

fn one(value: Value<'_>, notes: &mut Notes) -> Option<Window> {
    let (name, place) = (value.name.clone(), value.place.clone());
    let text = value.text(&format!("\"{EXAMPLE}\""), notes)?;
    let parsed = Window::parse(&text);
    parsed
        .map_err(|reason| {
            let message = format!("{name} {} {reason}", shown(&text));
            let fix = format!("{} = \"{EXAMPLE}\"", last(&name));
            notes.write_instead(&place, message, &fix);
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::clock::{parse_rfc3339, rfc3339};
    use crate::system::zone::tests::{BERLIN, zone};

    fn windows(texts: &[&str]) -> Windows {
        Windows(texts.iter().map(|text| Window::parse(text).unwrap()).collect())
    }

    /// Says an opening in one line, in the zone of Berlin.
    fn at(texts: &[&str], now: &str) -> String {
        let zone = zone(BERLIN);
        match windows(texts).opening(parse_rfc3339(now).unwrap(), &zone) {
            Opening::AnyTime => "any time".into(),
            Opening::Open(until) => format!("open until {}", zone.spoken(until)),
            Opening::Closed(next) => {
                format!("opens {}", next.map_or("never".into(), |next| zone.spoken(next)))
            }
        }
    }

    /// Row 78.
    #[test]
    fn a_window_is_open_from_its_beginning_to_its_end() {
        let saturday = ["Sat 22:00-04:00"];
        for (now, said) in [
            ("2026-11-28T20:59:59Z", "opens Sat 2026-11-28 22:00 CET"),
            ("2026-11-28T21:00:00Z", "open until Sun 2026-11-29 04:00 CET"),
            ("2026-11-29T02:59:59Z", "open until Sun 2026-11-29 04:00 CET"),
            ("2026-11-29T03:00:00Z", "opens Sat 2026-12-05 22:00 CET"),
            ("2026-11-25T12:00:00Z", "opens Sat 2026-11-28 22:00 CET"),
        ] {
            assert_eq!(at(&saturday, now), said, "{now}");
        }
        assert_eq!(at(&[], "2026-11-25T12:00:00Z"), "any time");
    }

    #[test]
    fn several_windows_are_open_when_any_is() {
        let both = ["Mon..Fri 01:00-05:00", "Sat,Sun 00:00-24:00"];
        for (now, said) in [
            ("2026-11-27T03:30:00Z", "open until Fri 2026-11-27 05:00 CET"),
            ("2026-11-27T04:00:00Z", "opens Sat 2026-11-28 00:00 CET"),
            ("2026-11-29T22:59:00Z", "open until Mon 2026-11-30 00:00 CET"),
            ("2026-11-29T23:00:00Z", "opens Mon 2026-11-30 01:00 CET"),
        ] {
            assert_eq!(at(&both, now), said, "{now}");
        }
        assert_eq!(
            at(&["Sat..Mon 10:00-11:00"], "2026-11-30T12:00:00Z"),
            "opens Sat 2026-12-05 10:00 CET"
        );
    }

    #[test]
    fn clocks_that_change_move_a_window_and_may_take_it_away() {
        // 02:00 to 03:00 of 29 March is left out.
        for (window, now, said) in [
            ("02:00-04:00", "2026-03-29T00:30:00Z", "opens Sun 2026-03-29 03:00 CEST"),
            ("02:00-04:00", "2026-03-29T01:30:00Z", "open until Sun 2026-03-29 04:00 CEST"),
            ("02:30-03:10", "2026-03-29T00:30:00Z", "opens Mon 2026-03-30 02:30 CEST"),
            ("22:00-04:00", "2026-10-25T02:30:00Z", "open until Sun 2026-10-25 04:00 CET"),
            ("22:00-04:00", "2026-10-25T03:00:00Z", "opens Sun 2026-10-25 22:00 CET"),
        ] {
            assert_eq!(at(&[window], now), said, "{window} {now}");
        }
    }

    #[test]
    fn what_is_no_window_is_told_why() {
        for (text, why) in [
            ("", "must be days and times"),
            ("Sat", "has no times HH:MM-HH:MM, but \"Sat\""),
            ("Sat 22:00", "has no times"),
            ("Caturday 22:00-04:00", "has \"Caturday\", which is no weekday"),
            ("Sat,, 22:00-04:00", "has \"\", which is no weekday"),
            ("Sat..Sun..Mon 22:00-04:00", "has \"Sun..Mon\", which is no weekday"),
            ("Sat 22-04", "has \"22\", which is no time"),
            ("Sat 22:00-25:00", "has \"25:00\", which is no time"),
            ("Sat 22:00-04:00 CET", "must be days and times"),
            ("Sat 04:00-04:00", "ends when it begins"),
            ("Sat 24:00-04:00", "begins at 24:00"),
        ] {
            let said = Window::parse(text).unwrap_err();
            assert!(said.contains(why), "{text:?}: {said}");
        }
        assert_eq!(windows(&[" sat  22:00-04:00"]).to_string(), "sat 22:00-04:00");
    }

    #[test]
    fn the_next_opening_lies_ahead_and_is_open() {
        let zone = zone(BERLIN);
        let mut now = parse_rfc3339("2026-01-01T00:00:00Z").unwrap();
        let windows = windows(&["Sun 02:15-02:45", "Wed 23:30-00:30"]);
        for _ in 0..120 {
            match windows.opening(now, &zone) {
                Opening::Closed(Some(next)) => {
                    assert!(next > now);
                    now = next;
                }
                Opening::Open(until) => {
                    assert!(until > now);
                    now = until;
                }
                Opening::AnyTime | Opening::Closed(None) => panic!("{}", rfc3339(now)),
            }
        }
    }
}
