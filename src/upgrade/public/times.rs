//! How long a run and its steps took, as its journal tells.

use std::time::Duration;

use crate::system::clock;

use super::super::journal::{Record, When};
use super::super::step::Step;

/// One step of a run, from the mark before it to the mark after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lap<'r> {
    /// The step.
    pub step: Step,
    /// When it began, counted from the beginning of the run.
    pub begun: Duration,
    /// How long it took; none where it never ended: it failed, was cut off, or is under way.
    pub took: Option<Duration>,
    /// What it did.
    pub note: &'r str,
}

impl Record {
    /// Returns the steps of the run in their order; a step has a lap for each database.
    pub fn laps(&self) -> Vec<Lap<'_>> {
        let mut laps: Vec<Lap<'_>> = Vec::new();
        for mark in &self.marks {
            let at = Duration::from_millis(mark.elapsed_ms);
            match mark.when {
                When::Begun => {
                    laps.push(Lap { step: mark.step, begun: at, took: None, note: &mark.note });
                }
                When::Done => {
                    let open = |lap: &&mut Lap<'_>| lap.step == mark.step && lap.took.is_none();
                    if let Some(lap) = laps.iter_mut().rev().find(open) {
                        lap.took = Some(at.saturating_sub(lap.begun));
                        if !mark.note.is_empty() {
                            lap.note = &mark.note;
                        }
                    }
                }
            }
        }
        laps
    }

    /// Returns how long the run took, as far as it is known.
    pub fn took(&self) -> Duration {
        let marked = Duration::from_millis(self.marks.last().map_or(0, |mark| mark.elapsed_ms));
        let end = self.finished.as_deref().and_then(clock::parse_rfc3339);
        let whole = end.zip(clock::parse_rfc3339(&self.started));
        let whole = whole.and_then(|(end, begin)| end.duration_since(begin).ok());
        // Whole seconds: they tell more only where the last step never ended.
        let open = self.laps().last().is_some_and(|lap| lap.took.is_none());
        if open || self.marks.is_empty() { marked.max(whole.unwrap_or_default()) } else { marked }
    }

    /// Returns how long the services were down: from the stop to the end of the start. None where
    /// they were not stopped, or not started again.
    pub fn downtime(&self) -> Option<Duration> {
        let at = |step, when| {
            let mut marks = self.marks.iter();
            marks.find(|mark| mark.step == step && mark.when == when).map(|mark| mark.elapsed_ms)
        };
        let (begin, end) = (at(Step::Quiesce, When::Begun)?, at(Step::Start, When::Done)?);
        Some(Duration::from_millis(end.saturating_sub(begin)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(finished: Option<&str>, marks: &[(&str, &str, u64)]) -> Record {
        let marks: Vec<_> = marks
            .iter()
            .map(|(step, when, at)| {
                serde_json::json!({"step": step, "when": when, "at": "x", "elapsed_ms": at})
            })
            .collect();
        serde_json::from_value(serde_json::json!({
            "format": 1, "run": "r", "from": "1", "to": "2", "pid": 1, "outcome": "ok",
            "started": "2026-11-20T13:15:02Z", "finished": finished, "running": [], "marks": marks,
        }))
        .unwrap()
    }

    #[test]
    fn steps_have_the_time_between_their_marks() {
        let marks = [
            ("quiesce", "begun", 100),
            ("quiesce", "done", 350),
            ("migrate", "begun", 400),
            ("migrate", "done", 1400),
            ("start", "begun", 1500),
            ("start", "done", 2100),
        ];
        let run = record(Some("2026-11-20T13:15:05Z"), &marks);
        let took: Vec<_> = run.laps().iter().map(|lap| lap.took.unwrap().as_millis()).collect();
        assert_eq!(took, [250, 1000, 600]);
        assert_eq!(run.took(), Duration::from_millis(2100));
        assert_eq!(run.downtime(), Some(Duration::from_millis(2000)));
    }

    #[test]
    fn a_run_that_failed_ends_when_it_was_closed_and_has_no_downtime() {
        let run = record(
            Some("2026-11-20T13:15:12Z"),
            &[("quiesce", "begun", 100), ("quiesce", "done", 350), ("migrate", "begun", 400)],
        );
        assert_eq!(run.laps()[1].took, None);
        assert_eq!((run.took(), run.downtime()), (Duration::from_secs(10), None));
        let never = record(None, &[]);
        assert_eq!((never.took(), never.laps().len()), (Duration::ZERO, 0));
    }
}
