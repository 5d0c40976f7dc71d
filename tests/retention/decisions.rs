//! What is decided about each restore point, and why.

use std::time::Duration;

use openwatch::config::{Rule, Stated};
use openwatch::restore_points::{Entry, Needs, Origin, Pin, PinNote, Status, decide};
use openwatch::version::Version;
use serde_json::{Value, json};

use crate::shelf::{manifest, merge, read};
use crate::{DAY, days_ago, entry, good, kept, needs, nobody, now, policy, reason};

/// A good point with a manifest that says this.
fn saying(sequence: u64, days: u64, differs: &Value) -> Entry {
    let mut entry = good(sequence, days);
    let mut text = manifest(&entry.id, sequence, days);
    merge(&mut text, differs);
    entry.manifest = read(text).map(Box::new);
    entry
}

/// A good point of this many bytes.
fn sized(sequence: u64, days: u64, bytes: u64) -> Entry {
    Entry { bytes: Some(bytes), ..good(sequence, days) }
}

fn broken(id: &str, days: u64, sequence: u64) -> Entry {
    entry(id, Status::Damaged("cut".into()), Some(days_ago(days)), sequence)
}

#[test]
fn the_newest_good_points_are_kept_even_when_too_old() {
    let entries: Vec<Entry> = (1..=6).map(|n| good(n, 400 - n)).collect();
    let decisions = decide(&entries, &policy(Some(30), 3), &nobody(), now());
    assert_eq!(kept(&decisions), ["point-4", "point-5", "point-6"]);
    assert_eq!(reason(&decisions, "point-6"), "the newest good one");
    assert_eq!(reason(&decisions, "point-4"), "one of the newest 3 good ones");
    assert_eq!(reason(&decisions, "point-1"), "399 days old, limit 30");
}

#[test]
fn the_last_good_point_stays_even_when_the_policy_keeps_none() {
    let decisions = decide(&[good(1, 4000)], &policy(Some(0), 0), &nobody(), now());
    assert_eq!(kept(&decisions), ["point-1"]);
    assert_eq!(reason(&decisions, "point-1"), "the newest good one");
}

/// Row 84.
#[test]
fn broken_points_never_count_as_the_newest() {
    let damaged = Status::Damaged("no manifest".into());
    let entries = [
        entry("broken", damaged, Some(days_ago(1)), 9),
        entry("partial", Status::Partial, Some(days_ago(2)), 0),
        good(1, 400),
    ];
    let decisions = decide(&entries, &policy(Some(30), 1), &nobody(), now());
    assert_eq!(kept(&decisions), ["broken", "point-1"]);
    assert_eq!(reason(&decisions, "partial"), "left by a run that was killed");
}

#[test]
fn a_damaged_point_goes_by_age_but_only_while_a_good_one_is_there() {
    let broken = || entry("broken", Status::Damaged("cut".into()), Some(days_ago(90)), 1);
    let alone = decide(&[broken()], &policy(Some(30), 1), &nobody(), now());
    assert_eq!(reason(&alone, "broken"), "there is no good one");
    let beside = decide(&[broken(), good(2, 1)], &policy(Some(30), 1), &nobody(), now());
    assert_eq!(kept(&beside), ["point-2"]);
}

#[test]
fn a_leftover_younger_than_a_day_may_still_be_looked_at() {
    let young = entry("partial", Status::Partial, Some(days_ago(0)), 0);
    assert_eq!(kept(&decide(&[young], &policy(Some(0), 1), &nobody(), now())), ["partial"]);
}

/// Row 80.
#[test]
fn a_point_from_the_future_is_kept() {
    let future = entry("future", Status::Good, Some(now() + Duration::from_secs(DAY)), 1);
    let decisions = decide(&[future, good(2, 1)], &policy(Some(0), 1), &nobody(), now());
    assert_eq!(reason(&decisions, "future"), "its date lies in the future");
}

/// Row 80.
#[test]
fn the_order_is_that_of_the_sequence_not_of_the_clock() {
    let entries = [good(1, 100), good(2, 300)];
    let decisions = decide(&entries, &policy(Some(30), 1), &nobody(), now());
    assert_eq!(kept(&decisions), ["point-2"]);
}

#[test]
fn what_somebody_needs_is_kept_and_says_who() {
    let pin = Pin { id: "point-1".into(), reason: "the running version".into() };
    let decisions =
        decide(&[good(1, 400), good(2, 300)], &policy(Some(30), 1), &needs(&[pin]), now());
    assert_eq!(reason(&decisions, "point-1"), "needed by the running version");
}

#[test]
fn without_an_age_limit_everything_is_kept() {
    let entries: Vec<Entry> = (1..=6).map(|n| good(n, 4000)).collect();
    assert_eq!(kept(&decide(&entries, &policy(None, 1), &nobody(), now())).len(), 6);
}

#[test]
fn foreign_files_are_never_touched() {
    let foreign = entry("lost+found", Status::Foreign, None, 0);
    assert_eq!(kept(&decide(&[foreign], &policy(Some(0), 1), &nobody(), now())), ["lost+found"]);
}

#[test]
fn a_size_takes_the_oldest_until_the_rest_fits_and_no_more() {
    let entries: Vec<Entry> = (1..=5).map(|n| sized(n, 10 - n, 10)).collect();
    let mut policy = policy(Some(30), 3);
    policy.max_bytes = Stated::Value(35);
    let decisions = decide(&entries, &policy, &nobody(), now());
    assert_eq!(kept(&decisions), ["point-3", "point-4", "point-5"]);
    assert_eq!(reason(&decisions, "point-1"), "with it 50 bytes would be kept, limit 35 bytes");
    assert_eq!(reason(&decisions, "point-2"), "with it 40 bytes would be kept, limit 35 bytes");
}

#[test]
fn a_size_never_takes_the_newest_good_one_nor_what_is_pinned_or_needed() {
    let mut pinned = sized(1, 9, 10);
    pinned.pin = Some(PinNote::new(days_ago(9), None, Some("audit")));
    let entries = [pinned, sized(2, 8, 10), sized(3, 7, 10), sized(4, 6, 10)];
    let mut policy = policy(Some(30), 3);
    policy.max_bytes = Stated::Value(1);
    let needed = Pin { id: "point-2".into(), reason: "the running version".into() };
    let decisions = decide(&entries, &policy, &needs(&[needed]), now());
    assert_eq!(kept(&decisions), ["point-1", "point-2", "point-4"]);
    assert_eq!(reason(&decisions, "point-1"), "pinned: audit");
}

#[test]
fn a_size_takes_what_is_damaged_first() {
    let mut broken = broken("broken", 2, 4);
    broken.bytes = Some(10);
    let entries = [sized(1, 9, 10), sized(2, 8, 10), broken];
    let mut policy = policy(Some(30), 3);
    policy.max_bytes = Stated::Value(20);
    assert_eq!(kept(&decide(&entries, &policy, &nobody(), now())), ["point-1", "point-2"]);
}

#[test]
fn a_rule_of_a_reason_has_its_own_age_and_number() {
    let of = |n, days, reason: &str| saying(n, days, &json!({"reason": reason}));
    let entries = [
        of(1, 300, "manual"),
        of(2, 40, "upgrade"),
        of(3, 10, "before_restore"),
        of(4, 9, "before_restore"),
        of(5, 1, "upgrade"),
    ];
    let mut policy = policy(Some(30), 1);
    policy.manual.days = Stated::Value(365);
    policy.before_restore = Rule { days: Stated::Value(7), keep: Stated::Value(1) };
    let decisions = decide(&entries, &policy, &nobody(), now());
    assert_eq!(kept(&decisions), ["point-1", "point-4", "point-5"]);
    assert_eq!(reason(&decisions, "point-1"), "300 days old, limit 365");
    assert_eq!(reason(&decisions, "point-3"), "10 days old, limit 7");
    assert!(reason(&decisions, "point-4").contains("with the reason before restore"));
}

/// Row 87.
#[test]
fn one_value_that_makes_no_sense_keeps_everything() {
    let mut entries: Vec<Entry> = (1..=4).map(|n| sized(n, 4000, 10)).collect();
    entries.push(broken("broken", 4000, 9));
    let mut policies = [policy(Some(1), 1); 4];
    policies[0].days = None;
    policies[1].keep = u32::MAX;
    policies[2].max_bytes = Stated::Nonsense;
    policies[3].manual.keep = Stated::Nonsense;
    for mut policy in policies {
        if policy.max_bytes == Stated::Unset {
            policy.max_bytes = Stated::Value(1);
        }
        assert_eq!(kept(&decide(&entries, &policy, &nobody(), now())).len(), 5, "{policy:?}");
    }
}

/// Rows 84 and 86.
#[test]
fn of_broken_points_the_newest_of_each_version_is_kept_for_a_look() {
    let entries = [
        broken("20261001T000000Z-1.0", 20, 0),
        broken("20261010T000000Z-1.0", 10, 0),
        broken("20261012T000000Z-2.0", 8, 0),
        broken("20261119T000000Z-2.0", 0, 0),
        good(9, 1),
    ];
    let decisions = decide(&entries, &policy(Some(30), 1), &nobody(), now());
    assert_eq!(
        kept(&decisions),
        ["20261010T000000Z-1.0", "20261119T000000Z-2.0", "point-9"],
        "{decisions:#?}"
    );
}

#[test]
fn what_this_program_does_not_understand_is_named_and_kept() {
    let strange = Status::NotUnderstood("the manifest has format 9".into());
    let entries = [entry("later", strange, Some(days_ago(4000)), 0), good(1, 1)];
    let mut policy = policy(Some(1), 1);
    policy.max_bytes = Stated::Value(1);
    let decisions = decide(&entries, &policy, &nobody(), now());
    assert!(reason(&decisions, "later").contains("the manifest has format 9"));
    assert_eq!(kept(&decisions).len(), 2);
}

#[test]
fn points_of_another_application_are_neither_removed_nor_counted() {
    let mut theirs = good(9, 400);
    theirs.origin = Origin::OtherApp("shop".into());
    let decisions =
        decide(&[theirs, good(1, 400), good(2, 300)], &policy(Some(30), 1), &nobody(), now());
    assert_eq!(kept(&decisions), ["point-9", "point-2"]);
    assert_eq!(reason(&decisions, "point-9"), "belongs to the application shop");
}

/// A point that was carried here says nothing about the data of this machine.
#[test]
fn a_point_of_another_host_is_never_what_others_go_in_favour_of() {
    let mut theirs = good(9, 0);
    theirs.origin = Origin::OtherHost("db1".into());
    let mut old = good(8, 90);
    old.origin = Origin::OtherHost("db1".into());
    let decisions = decide(&[theirs, old, good(1, 400)], &policy(Some(30), 1), &nobody(), now());
    assert_eq!(kept(&decisions), ["point-9", "point-1"]);
}

#[test]
fn where_only_points_of_another_host_are_good_the_newest_of_them_is_the_last() {
    let entries = [1, 2].map(|n| Entry { origin: Origin::OtherHost("db1".into()), ..good(n, 400) });
    let decisions = decide(&entries, &policy(Some(30), 1), &nobody(), now());
    assert_eq!(kept(&decisions), ["point-2"]);
}

#[test]
fn a_point_that_failed_to_load_is_not_what_others_go_in_favour_of() {
    let trial = json!({"trial": {"at": "2026-11-20T00:00:00Z", "duration_ms": 1, "failed": "no"}});
    let entries = [saying(1, 400, &json!({})), saying(2, 300, &trial)];
    let decisions = decide(&entries, &policy(Some(30), 1), &nobody(), now());
    assert_eq!(kept(&decisions), ["point-1", "point-2"]);
}

#[test]
fn a_clone_is_kept_whatever_its_age_and_does_not_count() {
    let clone = saying(5, 400, &json!({"format": 2, "kind": "clone"}));
    let entries = [clone, good(1, 400), good(2, 300)];
    let decisions = decide(&entries, &policy(Some(30), 1), &nobody(), now());
    assert_eq!(kept(&decisions), ["point-5", "point-2"]);
}

/// Row 88.
/// Also where the history of runs is lost.
#[test]
fn the_point_that_leads_back_from_the_running_version_is_kept() {
    let led = |n, days, to: &str| saying(n, days, &json!({"reason": "upgrade", "to_version": to}));
    let entries = [led(1, 400, "2.0-1"), led(2, 300, "2.0-1"), led(3, 200, "3.0-1"), good(9, 1)];
    let needs = Needs { running: Some(Version::new("2.0-1")), ..Needs::default() };
    let decisions = decide(&entries, &policy(Some(30), 1), &needs, now());
    assert_eq!(kept(&decisions), ["point-2", "point-9"]);
    assert_eq!(reason(&decisions, "point-2"), "needed by the running version, as its way back");
}

#[test]
fn where_it_is_not_known_what_is_needed_everything_is_kept() {
    let needs = Needs { doubt: Some("the journal cannot be read".into()), ..Needs::default() };
    let entries = [good(1, 400), good(2, 300), broken("broken", 90, 0)];
    let decisions = decide(&entries, &policy(Some(1), 1), &needs, now());
    assert_eq!(kept(&decisions).len(), 3);
    assert!(reason(&decisions, "point-1").contains("the journal cannot be read"));
}

#[test]
fn a_pin_holds_until_its_end() {
    let pinned = |until: u64| Entry {
        pin: Some(PinNote::new(days_ago(50), Some(days_ago(until)), Some("audit"))),
        ..good(1, 400)
    };
    let decided = |entry: Entry| {
        let decisions = decide(&[entry, good(2, 1)], &policy(Some(30), 1), &nobody(), now());
        kept(&decisions).len()
    };
    assert_eq!(decided(pinned(1)), 1);
    let mut lasting = good(1, 400);
    lasting.pin = Some(PinNote::new(days_ago(50), Some(now() + Duration::from_secs(DAY)), None));
    assert_eq!(decided(lasting), 2);
}
