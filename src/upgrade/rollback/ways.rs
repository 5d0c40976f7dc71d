//! Where a rollback leads, from what is recorded alone.

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::version::Version;

use super::super::gate::Pending;
use super::super::journal::{Direction, Record};

/// What is recorded.
pub struct Recorded<'r> {
    /// Version that is installed.
    pub installed: &'r Version,
    /// The pending mark, where there is one.
    pub mark: Option<&'r Pending>,
    /// All runs, newest first.
    pub runs: &'r [Record],
    /// Complete restore points of this machine, newest first, each with the version it leads back to.
    pub points: &'r [(String, Version)],
}

/// A way back.
#[derive(Debug)]
pub struct Way<'r> {
    /// Version that it leads to.
    pub to: Version,
    /// The restore point with the data of that version; none where no run made one.
    pub point: Option<String>,
    /// The last upgrade from that version to the installed one.
    pub run: Option<&'r Record>,
}

impl<'r> Recorded<'r> {
    /// Returns the way back to the version before the last upgrade, or to the one that is wanted.
    pub fn way(&self, wanted: Option<&Version>) -> Result<Way<'r>> {
        let to = match wanted {
            Some(wanted) => self.older(wanted)?,
            None => self.before().ok_or_else(|| self.unknown())?,
        };
        let runs = self.runs.iter().filter(|run| {
            run.direction == Direction::Forward
                && run.to.order(self.installed).is_eq()
                && run.from.as_ref().is_some_and(|from| from.order(&to).is_eq())
        });
        let runs: Vec<&Record> = runs.collect();
        // An attempt after a failure may have made a point of what that one left half done, or none.
        let of_runs = || {
            runs.iter()
                .find_map(|run| run.way_back.as_deref().or(run.restore_point.as_deref()))
                .map(str::to_owned)
        };
        let of_version = || {
            let (id, _) = self.points.iter().find(|(_, version)| version.order(&to).is_eq())?;
            Some(id.clone())
        };
        let point = if runs.is_empty() { of_version() } else { of_runs() };
        Ok(Way { point, run: runs.first().copied(), to })
    }

    /// The version from which the installed one was reached.
    fn before(&self) -> Option<Version> {
        let is_older = |from: &&Version| from.order(self.installed).is_lt();
        let of_mark = self.mark.filter(|mark| mark.to.order(self.installed).is_eq());
        let of_mark = of_mark.and_then(|mark| mark.from.as_ref()).filter(is_older);
        let of_run = || {
            let here = |run: &&Record| {
                run.direction == Direction::Forward && run.to.order(self.installed).is_eq()
            };
            let from = |run: &'r Record| run.from.as_ref().filter(is_older);
            self.runs.iter().filter(here).find_map(from)
        };
        of_mark.or_else(of_run).cloned()
    }

    fn older(&self, wanted: &Version) -> Result<Version> {
        let installed = self.installed;
        if wanted.order(installed).is_lt() {
            return Ok(wanted.clone());
        }
        let what = if wanted.order(installed).is_eq() { "installed" } else { "newer than that" };
        let message = format!("version {wanted} is no way back from {installed}: it is {what}");
        Err(Error::new(Outcome::Usage, message).state("nothing was changed"))
    }

    fn unknown(&self) -> Error {
        let message = format!("no upgrade to version {} is recorded here", self.installed);
        Error::new(Outcome::Refused, message)
            .detail("so nobody knows which version was there before")
            .state("nothing was changed")
            .hint("Name it with `--to VERSION`; `openwatch backup list` shows what leads back.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::clock::Clock;

    fn run(from: Option<&str>, to: &str, point: Option<&str>, way_back: Option<&str>) -> Record {
        let json = serde_json::json!({
            "format": 1, "run": "r", "from": from, "to": to, "pid": 1, "started": "",
            "finished": null, "outcome": null, "message": null, "state": null, "next": null,
            "restore_point": point, "way_back": way_back, "running": [], "marks": [],
            "baseline": null,
        });
        serde_json::from_value(json).unwrap()
    }

    fn back(from: &str, to: &str) -> Record {
        Record { direction: Direction::Back, ..run(Some(from), to, Some("copy"), None) }
    }

    fn way(
        mark: Option<(&str, &str)>,
        runs: &[Record],
        wanted: Option<&str>,
    ) -> Option<(String, Option<String>)> {
        let mark = mark.map(|(from, to)| Pending {
            from: Some(Version::new(from)),
            ..Pending::new(Version::new(to), None, Clock::System)
        });
        let points = [("p2".to_owned(), Version::new("2.0.0")), ("p1".into(), Version::new("1.0"))];
        let installed = Version::new("3.0.0");
        let recorded =
            Recorded { installed: &installed, mark: mark.as_ref(), runs, points: &points };
        let wanted = wanted.map(Version::new);
        recorded.way(wanted.as_ref()).ok().map(|way| (way.to.to_string(), way.point))
    }

    fn told(to: &str, point: Option<&str>) -> Option<(String, Option<String>)> {
        Some((to.to_owned(), point.map(str::to_owned)))
    }

    /// Row 57.
    #[test]
    fn the_way_back_is_that_of_the_upgrade_that_led_here() {
        let good = run(Some("2.0.0-1"), "3.0.0", Some("a"), None);
        let again = run(Some("2.0.0-1"), "3.0.0", Some("b"), Some("a"));
        let nothing_pending = run(Some("2.0.0-1"), "3.0.0", None, None);
        let other = run(Some("1.0"), "2.0.0", Some("z"), None);
        let same = run(Some("3.0.0"), "3.0.0", None, None);
        for (mark, runs, found) in [
            (None, vec![], None),
            (None, vec![good.clone(), other.clone()], told("2.0.0-1", Some("a"))),
            // The first attempt left it half done: its point leads back, not that of the second.
            (None, vec![again, good.clone()], told("2.0.0-1", Some("a"))),
            (None, vec![nothing_pending, good.clone()], told("2.0.0-1", Some("a"))),
            (None, vec![same, good.clone()], told("2.0.0-1", Some("a"))),
            (None, vec![other.clone()], None),
            (Some(("2.0.0", "3.0.0")), vec![good.clone()], told("2.0.0", Some("a"))),
            // Deferred: nothing ran yet, and the newest point is of that version.
            (Some(("2.0.0", "3.0.0")), vec![other], told("2.0.0", Some("p2"))),
            // The mark of another upgrade tells nothing.
            (Some(("1.0", "2.0.0")), vec![], None),
        ] {
            assert_eq!(way(mark, &runs, None), found, "{mark:?} {runs:?}");
        }
    }

    #[test]
    fn a_rollback_is_no_upgrade_to_go_back_from() {
        assert_eq!(way(None, &[back("4.0.0", "3.0.0")], None), None);
    }

    /// Row 65.
    #[test]
    fn a_version_that_is_named_is_older_and_has_its_own_point() {
        let good = run(Some("2.0.0"), "3.0.0", Some("a"), None);
        let runs = [good];
        assert_eq!(way(None, &runs, Some("2.0.0")), told("2.0.0", Some("a")));
        assert_eq!(way(None, &runs, Some("1.0-1")), told("1.0-1", Some("p1")));
        assert_eq!(way(None, &runs, Some("1.5")), told("1.5", None));
        assert_eq!(way(None, &runs, Some("3.0.0")), None);
        assert_eq!(way(None, &runs, Some("4.0.0")), None);
    }
}
