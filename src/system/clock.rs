//! Time: the wall clock for stamps, deadlines for waiting.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The wall clock, or a fixed one in tests.
#[derive(Clone, Copy, Debug, Default)]
pub enum Clock {
    /// The system's clock.
    #[default]
    System,
    /// Always the same instant.
    Fixed(SystemTime),
}

impl Clock {
    /// Returns the present instant.
    #[expect(clippy::disallowed_methods, reason = "the one door to the wall clock")]
    pub fn now(self) -> SystemTime {
        match self {
            Self::System => SystemTime::now(),
            Self::Fixed(instant) => instant,
        }
    }
}

/// Formats an instant as `2026-11-20T13:15:02Z` (RFC 3339, whole seconds, UTC).
pub fn rfc3339(instant: SystemTime) -> String {
    humantime::format_rfc3339_seconds(instant).to_string()
}

/// Reads what [`rfc3339`] wrote; fractions of a second are accepted.
pub fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    humantime::parse_rfc3339(text).ok()
}

/// Formats an instant as `20261120T131502Z`, which sorts by time and is safe in file names.
pub fn stamp(instant: SystemTime) -> String {
    rfc3339(instant).replace(['-', ':'], "")
}

/// Reads what [`stamp`] wrote.
pub fn parse_stamp(text: &str) -> Option<SystemTime> {
    let bytes: &[u8; 16] = text.as_bytes().try_into().ok()?;
    let mut spread = *b"....-..-..T..:..:..Z";
    let parts = [(0, 0, 4), (5, 4, 2), (8, 6, 2), (11, 9, 2), (14, 11, 2), (17, 13, 2)];
    for (to, from, many) in parts {
        spread[to..to + many].copy_from_slice(&bytes[from..from + many]);
    }
    // Every name in the backup directory is asked, and most are ours: nothing is kept of them.
    let instant = parse_rfc3339(std::str::from_utf8(&spread).ok()?)?;
    (bytes[8] == b'T' && bytes[15] == b'Z' && rfc3339(instant).as_bytes() == spread)
        .then_some(instant)
}

/// Returns whole seconds since 1970 (zero before).
pub fn unix_seconds(instant: SystemTime) -> u64 {
    instant.duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// Returns whole milliseconds, for what is recorded.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Says a duration as people do: `3 s`, `2 min 5 s`, `4 h 10 min`, `12 days`.
pub fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..=119 => format!("{}.{} s", seconds, duration.subsec_millis() / 100),
        120..=7199 => format!("{} min {} s", seconds / 60, seconds % 60),
        7200..=172_799 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// The moment at which we stop waiting; immune to changes of the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// Returns the deadline that lies this far ahead.
    pub fn after(duration: Duration) -> Self {
        let now = Instant::now();
        // A century is as good as never and cannot overflow.
        Self(now.checked_add(duration).unwrap_or(now + Duration::from_secs(3_000_000_000)))
    }

    /// Returns whether the moment has passed.
    pub fn passed(self) -> bool {
        self.remaining().is_zero()
    }

    /// Returns how much time is left, zero when the moment has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// Waits between two looks at a condition; every loop around it has a [`Deadline`].
#[expect(clippy::disallowed_methods, reason = "the one door to waiting")]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Runs work that may hang beyond any limit of its own; the thread is left behind then.
pub fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let kept = Arc::new(Mutex::new(None));
    let done = Arc::clone(&kept);
    // Boxed, so that a thread and a channel are made of one kind only, which is less code.
    let work: Box<dyn FnOnce() + Send> = Box::new(move || {
        let end = work();
        *done.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
        // Nobody listens any more when the limit has passed.
        let _ = sender.send(());
    });
    std::thread::spawn(work);
    receiver.recv_timeout(limit).ok()?;
    kept.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_reads_back_to_its_second() {
        let instant = parse_rfc3339("2026-11-20T13:15:02Z").unwrap();
        assert_eq!(stamp(instant), "20261120T131502Z");
        assert_eq!(parse_stamp("20261120T131502Z"), Some(instant));
    }

    #[test]
    fn what_is_not_a_stamp_is_refused() {
        for text in ["", "20261120T131502", "20261320T131502Z", "2026-11-20T13:15Z", "ééééééééé"]
        {
            assert_eq!(parse_stamp(text), None, "{text}");
        }
    }
}
