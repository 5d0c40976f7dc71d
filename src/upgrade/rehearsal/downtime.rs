//! How long the service will be down, put together from what was measured, each part with its source.

use std::time::Duration;

use crate::upgrade::journal::{Mark, Record, When};
use crate::upgrade::step::Step;

/// The expected downtime.
#[derive(Clone, Debug, Default)]
pub struct Downtime {
    /// Its parts, in the order of an upgrade.
    pub parts: Vec<Part>,
}

/// One part of the downtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What is done.
    pub what: &'static str,
    /// How long it takes; none where nothing tells.
    pub time: Option<Duration>,
    /// Where the number comes from, or why there is none.
    pub source: String,
}

impl Downtime {
    /// Adds up what is known.
    pub fn known(&self) -> Duration {
        self.parts.iter().filter_map(|part| part.time).sum()
    }

    /// Returns whether every part is known; otherwise it will be at least [`Downtime::known`].
    pub fn is_complete(&self) -> bool {
        self.parts.iter().all(|part| part.time.is_some())
    }
}

/// Puts the downtime together; `history` are past runs, newest first.
pub(super) fn expect(history: &[Record], restore_point: Part, migrations: Duration) -> Downtime {
    let migrations = Part {
        what: "migrations",
        time: Some(migrations),
        source: "measured in this rehearsal".into(),
    };
    let parts = vec![
        from_history(history, "stopping services", &[Step::Quiesce]),
        restore_point,
        migrations,
        from_history(history, "starting services, until healthy", &[Step::Start, Step::Health]),
    ];
    Downtime { parts }
}

/// Takes these steps' time from the newest run that went well and has them.
fn from_history(history: &[Record], what: &'static str, steps: &[Step]) -> Part {
    let good = history.iter().filter(|record| record.outcome.as_deref() == Some("ok"));
    let found = good.filter_map(|record| {
        let each = steps.iter().map(|step| taken(&record.marks, *step));
        Some((each.sum::<Option<Duration>>()?, record))
    });
    match found
        .map(|(time, record)| (time, format!("upgrade to {}, {}", record.to, record.started)))
        .next()
    {
        Some((time, source)) => Part { what, time: Some(time), source },
        None => Part { what, time: None, source: "no upgrade was done on this machine yet".into() },
    }
}

fn taken(marks: &[Mark], step: Step) -> Option<Duration> {
    let at = |when: When| {
        marks.iter().rev().find(|mark| mark.step == step && mark.when == when).map(|m| m.elapsed_ms)
    };
    Some(Duration::from_millis(at(When::Done)?.saturating_sub(at(When::Begun)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(step: &str, when: &str, elapsed: u64) -> serde_json::Value {
        serde_json::json!({"step": step, "when": when, "at": "x", "elapsed_ms": elapsed})
    }

    fn record(outcome: &str, stop: u64) -> Record {
        serde_json::from_value(serde_json::json!({
            "format": 1, "run": "r", "from": "1", "to": "2", "pid": 1, "outcome": outcome,
            "started": "2026-11-20T13:15:02Z", "running": [],
            "marks": [
                mark("quiesce", "begun", 100), mark("quiesce", "done", 100 + stop),
                mark("start", "begun", 5000), mark("start", "done", 5400),
                mark("health", "begun", 5400), mark("health", "done", 6000),
            ],
        }))
        .unwrap()
    }

    #[test]
    fn each_part_says_where_its_number_comes_from() {
        let point = Part { what: "restore point", time: None, source: "not taken".into() };
        let failed = record("migration_failed", 9000);
        let all = [failed, record("ok", 250), record("ok", 800)];
        let expected = expect(&all, point.clone(), Duration::from_millis(40));
        let times: Vec<_> = expected.parts.iter().map(|part| part.time).collect();
        let millis = |n| Some(Duration::from_millis(n));
        assert_eq!(times, [millis(250), None, millis(40), millis(1000)]);
        assert_eq!(expected.parts[0].source, "upgrade to 2, 2026-11-20T13:15:02Z");
        assert_eq!(expected.known(), Duration::from_millis(1290));
        assert!(!expected.is_complete());
        let first = expect(&[], point, Duration::ZERO);
        assert_eq!(first.parts[3].source, "no upgrade was done on this machine yet");
    }
}
