//! How far a dump is, how quick, and how long it will take.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::progress::Progress;
use crate::system::clock;

/// How long a dump runs before its rate says something.
const SETTLED: Duration = Duration::from_secs(3);

/// What is known of a dump when it begins.
pub(super) struct Pace<'a> {
    /// Name of the database.
    pub(super) name: &'a str,
    /// When it began.
    pub(super) begun: Instant,
    /// Tables with data.
    pub(super) tables: u64,
    /// Bytes that the archive will have.
    pub(super) expected: Option<u64>,
    /// How long it will take if it goes as last time.
    pub(super) last: Option<Duration>,
}

impl Pace<'_> {
    /// Tells how far the dump in this directory is; returns how many bytes it has.
    pub(super) fn tell(&self, archive: &Path, progress: &dyn Progress) -> u64 {
        let (mut members, mut bytes) = (0, 0);
        for entry in std::fs::read_dir(archive).into_iter().flatten().flatten() {
            let first = entry.file_name().as_encoded_bytes().first().copied();
            members += u64::from(first.is_some_and(|byte| byte.is_ascii_digit()));
            bytes += entry.metadata().map_or(0, |data| data.len());
        }
        progress.alive(&self.said(members, bytes, self.begun.elapsed()), bytes, self.expected);
        bytes
    }

    /// Says tables, rate and the time that is left: as last time, or else by the bytes.
    fn said(&self, members: u64, bytes: u64, elapsed: Duration) -> String {
        let mut parts = vec![format!("table {} of {}", members.min(self.tables), self.tables)];
        if elapsed >= SETTLED {
            let rate = u128::from(bytes) * 1000 / elapsed.as_millis().max(1);
            parts.push(format!("{} MiB/s", rate >> 20));
            if let Some(left) = self.left(bytes, elapsed) {
                parts.push(format!("about {} left", clock::spoken(left)));
            }
        }
        format!("dumping {} ({})", self.name, parts.join(", "))
    }

    fn left(&self, bytes: u64, elapsed: Duration) -> Option<Duration> {
        if let Some(left) = self.last.and_then(|last| last.checked_sub(elapsed)) {
            return Some(left).filter(|left| !left.is_zero());
        }
        let rest = u128::from(self.expected?.checked_sub(bytes)?);
        let millis = (rest * elapsed.as_millis()).checked_div(u128::from(bytes))?;
        Some(Duration::from_millis(u64::try_from(millis).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn pace(expected: Option<u64>, last: Option<u64>) -> Pace<'static> {
        let last = last.map(Duration::from_secs);
        Pace { name: "main", begun: Instant::now(), tables: 45, expected, last }
    }

    #[test]
    fn tables_rate_and_the_rest_of_the_time_of_last_time_are_told() {
        let told = pace(Some(400 * MIB), Some(100)).said(12, 100 * MIB, Duration::from_secs(10));
        assert_eq!(told, "dumping main (table 12 of 45, 10 MiB/s, about 90.0 s left)");
    }

    #[test]
    fn the_first_time_the_bytes_tell_how_long_it_takes() {
        let told = pace(Some(400 * MIB), None).said(12, 100 * MIB, Duration::from_secs(10));
        assert_eq!(told, "dumping main (table 12 of 45, 10 MiB/s, about 30.0 s left)");
        let longer = pace(Some(400 * MIB), Some(5)).said(12, 100 * MIB, Duration::from_secs(10));
        assert_eq!(longer, told);
    }

    #[test]
    fn nothing_is_promised_that_is_not_known() {
        let told = pace(None, None).said(0, 0, Duration::from_secs(10));
        assert_eq!(told, "dumping main (table 0 of 45, 0 MiB/s)");
        let early = pace(Some(1), Some(9)).said(1, MIB, Duration::from_secs(1));
        assert_eq!(early, "dumping main (table 1 of 45)");
    }
}
