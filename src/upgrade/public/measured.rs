//! What is measured of this machine without asking its database: for `GET /metrics`, and for the
//! file that node_exporter collects.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::system::clock;

use super::super::gate::Pending;
use super::super::hold::Hold;
use super::super::journal::{self, Record};
use super::super::machine::Machine;
use super::super::rollback::order::Order;
use super::exposition::Page;
use super::summary::{self, Summary};

/// Measures a machine whose configuration was read.
pub fn of_machine(machine: &Machine) -> Page {
    of(&machine.layout, machine.version.as_str(), machine.clock.now())
}

/// Measures the application of this layout; `version` is the installed one.
pub fn of(layout: &Layout, version: &str, now: SystemTime) -> Page {
    let mut page = Page::default();
    let app = layout.app();
    page.gauge("openwatch_info", "The application and its installed version; always 1.")
        .add(&[("app", app), ("version", version)], true);
    gate(&mut page, layout, app, now);
    let history = journal::history(layout).unwrap_or_default();
    if let Some(last) = journal::read(layout).ok().flatten() {
        last_run(&mut page, app, &last);
    }
    runs(&mut page, app, &history);
    if let Some(summary) = summary::read(layout) {
        points(&mut page, app, &summary);
    }
    page
}

fn gate(page: &mut Page, layout: &Layout, app: &str, now: SystemTime) {
    let app = [("app", app)];
    // A mark that cannot be read closes the gate as well.
    let open = matches!(Pending::read(layout), Ok(None)) && matches!(Order::read(layout), Ok(None));
    page.gauge("openwatch_gate_open", "Whether units of the application may start.")
        .add(&app, open);
    let held = Hold::read(layout).is_some_and(|hold| hold.holds(now));
    page.gauge("openwatch_held", "Whether the operator holds upgrades.").add(&app, held);
}

fn last_run(page: &mut Page, app: &str, last: &Record) {
    let own = [("app", app)];
    let word = last.outcome.as_deref().unwrap_or("interrupted");
    let known = Outcome::ALL.map(Outcome::word).into_iter().chain(["interrupted"]);
    let mut samples = page.gauge(
        "openwatch_last_run_outcome",
        "How the last upgrade ended: 1 for its outcome, 0 for every other one.",
    );
    for outcome in known {
        samples.add(&[("app", app), ("outcome", outcome)], outcome == word);
    }
    let mut time = |name, help, text: Option<&str>| {
        if let Some(at) = text.and_then(clock::parse_rfc3339) {
            page.gauge(name, help).add(&own, clock::unix_seconds(at));
        }
    };
    time(
        "openwatch_last_run_start_timestamp_seconds",
        "When the last upgrade began, in seconds since 1970.",
        Some(&last.started),
    );
    time(
        "openwatch_last_run_end_timestamp_seconds",
        "When the last upgrade ended, in seconds since 1970.",
        last.finished.as_deref(),
    );
    page.gauge("openwatch_last_run_duration_seconds", "How long the last upgrade took.")
        .add(&own, last.took());
    let down = last.downtime();
    if let Some(down) = down {
        page.gauge(
            "openwatch_last_run_downtime_seconds",
            "How long the services were down in the last upgrade.",
        )
        .add(&own, down);
    }
    // A step may be marked once for each database.
    let mut steps: BTreeMap<&str, Duration> = BTreeMap::new();
    for lap in last.laps() {
        *steps.entry(lap.step.word()).or_default() += lap.took.unwrap_or_default();
    }
    if !steps.is_empty() {
        let mut samples = page.gauge(
            "openwatch_last_run_step_duration_seconds",
            "How long each step of the last upgrade took.",
        );
        for (step, took) in steps {
            samples.add(&[("app", app), ("step", step)], took);
        }
    }
}

fn runs(page: &mut Page, app: &str, history: &[Record]) {
    let mut samples = page
        .gauge("openwatch_runs", "Upgrades that the history of this machine knows, by outcome.");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::from([("ok", 0), ("interrupted", 0)]);
    for record in history {
        *counts.entry(record.outcome.as_deref().unwrap_or("interrupted")).or_default() += 1;
    }
    for (outcome, count) in counts {
        samples.add(&[("app", app), ("outcome", outcome)], count);
    }
    let good = history.iter().filter(|record| record.outcome.as_deref() == Some("ok"));
    let ends = good.filter_map(|record| clock::parse_rfc3339(record.finished.as_deref()?));
    if let Some(end) = ends.max() {
        page.gauge(
            "openwatch_last_success_timestamp_seconds",
            "When an upgrade last ended well, in seconds since 1970.",
        )
        .add(&[("app", app)], clock::unix_seconds(end));
    }
}

fn points(page: &mut Page, app: &str, summary: &Summary) {
    let own = [("app", app)];
    if let Some(at) = clock::parse_rfc3339(&summary.written) {
        page.gauge(
            "openwatch_restore_points_looked_timestamp_seconds",
            "When the restore points were last looked at, in seconds since 1970.",
        )
        .add(&own, clock::unix_seconds(at));
    }
    page.gauge(
        "openwatch_restore_points_listed",
        "Whether the restore points could be listed then; the numbers below are those of then.",
    )
    .add(&own, summary.problem.is_none());
    if summary.problem.is_some() {
        return;
    }
    let mut states: BTreeMap<&str, usize> = BTreeMap::from([("good", 0)]);
    for point in &summary.points {
        *states.entry(&point.state).or_default() += 1;
    }
    let mut samples = page.gauge("openwatch_restore_points", "Restore points, by their state.");
    for (state, count) in states {
        samples.add(&[("app", app), ("state", state)], count);
    }
    let bytes = summary.points.iter().filter_map(|point| point.bytes);
    page.gauge("openwatch_restore_points_bytes", "What all restore points take, in bytes.")
        .add(&own, bytes.fold(0, u64::saturating_add));
    if let Some(free) = summary.free_bytes {
        page.gauge(
            "openwatch_restore_points_free_bytes",
            "What is free where restore points are kept, in bytes.",
        )
        .add(&own, free);
    }
    let good = || summary.points.iter().filter(|point| point.is_good() && point.is_dump());
    let mut newest = |name, help, times: &mut dyn Iterator<Item = &str>| {
        if let Some(at) = times.filter_map(clock::parse_rfc3339).max() {
            page.gauge(name, help).add(&own, clock::unix_seconds(at));
        }
    };
    newest(
        "openwatch_restore_point_newest_good_timestamp_seconds",
        "When the newest good restore point was made, in seconds since 1970.",
        &mut good().filter_map(|point| point.created.as_deref()),
    );
    newest(
        "openwatch_restore_point_last_restored_timestamp_seconds",
        "When a good restore point was last loaded and found whole, in seconds since 1970.",
        &mut good().filter_map(|point| point.restored.as_deref()),
    );
}
