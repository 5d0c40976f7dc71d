//! Which restore points stay, as a table and as properties; that pruning does what it said; that points
//! leave the machine whole, or not at all, and come back so.
#![allow(unreachable_pub, reason = "shared helpers are compiled into each test")]

#[path = "../support/mod.rs"]
mod support;

mod carrying;
mod decisions;
mod properties;
mod pruning;
mod shelf;
mod typed;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use openwatch::config::Retention;
use openwatch::restore_points::{Decision, Entry, Needs, Origin, Pin, Status, Verdict};
use openwatch::system::clock::parse_rfc3339;

const DAY: u64 = 86_400;

fn now() -> SystemTime {
    parse_rfc3339("2026-11-20T13:15:02Z").unwrap()
}

fn days_ago(days: u64) -> SystemTime {
    now() - Duration::from_secs(days * DAY)
}

fn policy(days: Option<u32>, keep: u32) -> Retention {
    Retention::new(days, keep)
}

fn nobody() -> Needs {
    Needs::default()
}

fn needs(pins: &[Pin]) -> Needs {
    Needs { pins: pins.to_vec(), ..Needs::default() }
}

fn entry(id: &str, status: Status, created: Option<SystemTime>, sequence: u64) -> Entry {
    Entry {
        id: id.into(),
        status,
        created,
        sequence,
        origin: Origin::Own,
        pin: None,
        bytes: None,
        manifest: None,
        path: PathBuf::from(id),
    }
}

fn good(sequence: u64, days: u64) -> Entry {
    entry(&format!("point-{sequence}"), Status::Good, Some(days_ago(days)), sequence)
}

fn kept(decisions: &[Decision]) -> Vec<&str> {
    decisions.iter().filter(|d| d.verdict == Verdict::Keep).map(|d| d.id.as_str()).collect()
}

fn reason<'a>(decisions: &'a [Decision], id: &str) -> &'a str {
    &decisions.iter().find(|decision| decision.id == id).unwrap().reason
}
