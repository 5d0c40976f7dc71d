//! `--until WHEN`: a day, a time of a day, an instant, or a while from now.

use std::time::SystemTime;

use crate::system::clock;
use crate::system::zone::{DAY, Day, Zone, parse_time};

/// Reads when a hold ends: `2027-01-31` (the end of that day), `2027-01-31 22:00` on the machine's
/// wall clock, `2027-01-31T21:00:00Z`, or `3 days` from now.
pub fn parse(text: &str, now: SystemTime, zone: &Zone) -> Option<SystemTime> {
    let text = text.trim();
    if let Some(day) = Day::parse(text) {
        return zone.at(day, DAY);
    }
    if let Some((day, time)) = text.split_once(' ')
        && let (Some(day), Some(minutes)) = (Day::parse(day), parse_time(time))
    {
        return zone.at(day, minutes);
    }
    if let Some(instant) = clock::parse_rfc3339(text) {
        return Some(instant);
    }
    now.checked_add(humantime::parse_duration(text).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::clock::{parse_rfc3339, rfc3339};
    use crate::system::zone::tests::{BERLIN, zone};

    #[test]
    fn an_end_is_a_day_a_time_an_instant_or_a_while() {
        let now = parse_rfc3339("2026-11-21T12:00:00Z").unwrap();
        let zone = zone(BERLIN);
        for (text, end) in [
            ("2026-11-28", Some("2026-11-28T23:00:00Z")),
            ("2026-11-28 22:00", Some("2026-11-28T21:00:00Z")),
            ("2026-11-28T22:00:00Z", Some("2026-11-28T22:00:00Z")),
            ("3 days", Some("2026-11-24T12:00:00Z")),
            ("36h", Some("2026-11-23T00:00:00Z")),
            ("tomorrow", None),
            ("2026-02-30", None),
            ("2026-11-28 25:00", None),
            ("3", None),
            ("", None),
        ] {
            let said = parse(text, now, &zone).map(rfc3339);
            assert_eq!(said.as_deref(), end, "{text}");
        }
    }
}
