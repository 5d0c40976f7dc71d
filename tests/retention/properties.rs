//! What holds whatever lies in the backup directory, and whatever the policy says.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use openwatch::config::{Retention, Rule, Stated};
use openwatch::restore_points::{
    Decision, Entry, Kind, Manifest, Needs, Origin, Pin, PinNote, Reason, Status, Trial, Verdict,
    decide,
};
use openwatch::version::Version;
use proptest::prelude::*;

use crate::shelf::{manifest, read};
use crate::{DAY, days_ago, entry, nobody, now, policy};

fn at(days: i64) -> SystemTime {
    match u64::try_from(days) {
        Ok(days) => days_ago(days),
        Err(_) => now() + Duration::from_secs(days.unsigned_abs() * DAY),
    }
}

fn any_status() -> impl Strategy<Value = Status> {
    prop_oneof![
        6 => Just(Status::Good),
        2 => Just(Status::Damaged("cut".into())),
        1 => Just(Status::NotUnderstood("later".into())),
        1 => Just(Status::Partial),
        1 => Just(Status::Busy),
        1 => Just(Status::Removing),
        1 => Just(Status::Foreign),
    ]
}

fn any_origin() -> impl Strategy<Value = Origin> {
    prop_oneof![
        6 => Just(Origin::Own),
        1 => Just(Origin::OtherHost("db1".into())),
        1 => Just(Origin::OtherApp("shop".into())),
    ]
}

fn any_pin() -> impl Strategy<Value = Option<PinNote>> {
    prop_oneof![
        6 => Just(None),
        1 => Just(Some(PinNote::new(days_ago(9), None, None))),
        1 => (-60i64..60).prop_map(|end| Some(PinNote::new(days_ago(90), Some(at(end)), None))),
    ]
}

/// Reason, kind, whether loading it failed, version.
fn any_words() -> impl Strategy<Value = Option<(Reason, Kind, bool, u8)>> {
    let reason =
        prop_oneof![Just(Reason::Upgrade), Just(Reason::Manual), Just(Reason::BeforeRestore)];
    let kind =
        prop_oneof![8 => Just(Kind::Dump), 1 => Just(Kind::Clone), 1 => Just(Kind::External)];
    prop::option::weighted(0.7, (reason, kind, any::<bool>(), 0u8..3))
}

/// A manifest that says this.
fn saying((reason, kind, failed, version): (Reason, Kind, bool, u8)) -> Manifest {
    static PLAIN: OnceLock<Manifest> = OnceLock::new();
    let plain = PLAIN.get_or_init(|| read(manifest("", 0, 1)).unwrap()).clone();
    let failed = failed.then(|| "no".to_owned());
    Manifest {
        reason,
        kind,
        trial: Some(Trial { at: String::new(), duration_ms: 1, failed, left_out: Vec::new() }),
        from_version: Some(Version::new(format!("{version}.0"))),
        to_version: Some(Version::new(format!("{}.0", version + 1))),
        ..plain
    }
}

prop_compose! {
    fn any_entry()(
        status in any_status(), age in prop::option::weighted(0.9, -50i64..100), sequence in 0u64..20,
        origin in any_origin(), pin in any_pin(), bytes in prop::option::of(0u64..1000),
        words in any_words(),
    ) -> Entry {
        let mut entry = entry("", status, age.map(at), sequence);
        (entry.origin, entry.pin, entry.bytes) = (origin, pin, bytes);
        if let (Status::Good | Status::Damaged(_), Some(words)) = (&entry.status, words) {
            entry.manifest = Some(Box::new(saying(words)));
        }
        entry
    }
}

prop_compose! {
    fn any_entries()(made in prop::collection::vec(any_entry(), 0..25)) -> Vec<Entry> {
        made.into_iter().enumerate().map(|(index, entry)| {
            Entry { id: format!("20260101T000000Z-{index}"), ..entry }
        }).collect()
    }
}

fn stated(values: std::ops::Range<u32>) -> impl Strategy<Value = Stated<u32>> {
    prop_oneof![2 => Just(Stated::Unset), 2 => values.prop_map(Stated::Value)]
}

prop_compose! {
    fn any_rule()(days in stated(0..120), keep in stated(0..4)) -> Rule {
        Rule { days, keep }
    }
}

prop_compose! {
    /// Any policy that makes sense, with or without a size.
    fn any_policy()(
        days in 0u32..120, keep in 0u32..6, size in prop::option::of(0u64..6000),
        upgrade in any_rule(), manual in any_rule(), before_restore in any_rule(),
        after_step in any_rule(),
    ) -> Retention {
        let max_bytes = size.map_or(Stated::Unset, Stated::Value);
        Retention { days: Some(days), keep, max_bytes, upgrade, manual, before_restore, after_step }
    }
}

fn id(index: usize) -> String {
    format!("20260101T000000Z-{index}")
}

prop_compose! {
    fn any_needs()(of in prop::collection::vec(0usize..25, 0..4), to in prop::option::of(1u8..4)) -> Needs {
        let pin = |index| Pin { id: id(index), reason: "a test".into() };
        let running = to.map(|to| Version::new(format!("{to}.0")));
        Needs { pins: of.into_iter().map(pin).collect(), running, doubt: None }
    }
}

fn removed(decisions: &[Decision]) -> Vec<&str> {
    decisions.iter().filter(|d| d.verdict == Verdict::Remove).map(|d| d.id.as_str()).collect()
}

/// Newest first, as a list is.
fn sorted(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by(|a, b| {
        b.sequence.cmp(&a.sequence).then(b.created.cmp(&a.created)).then_with(|| b.id.cmp(&a.id))
    });
    entries
}

fn remaining(entries: &[Entry], decisions: &[Decision]) -> Vec<Entry> {
    let kept = entries.iter().zip(decisions).filter(|(_, d)| d.verdict == Verdict::Keep);
    kept.map(|(entry, _)| entry.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever size, age, rule and clock say.
    /// Row 84.
    #[test]
    fn the_newest_good_one_never_goes(
        entries in any_entries(), policy in any_policy(), needs in any_needs(), later in 0i64..4000,
    ) {
        let entries = sorted(entries);
        let decisions = decide(&entries, &policy, &needs, at(-later));
        let newest = entries.iter().position(Entry::is_relied_on);
        if let Some(newest) = newest {
            prop_assert_eq!(decisions[newest].verdict, Verdict::Keep, "{:?}", decisions[newest]);
        }
        let good = |e: &&Entry| e.is_good_dump() && !matches!(e.origin, Origin::OtherApp(_));
        let left = remaining(&entries, &decisions);
        prop_assert_eq!(entries.iter().any(|e| good(&e)), left.iter().any(|e| good(&e)));
    }

    #[test]
    fn without_a_size_the_newest_good_ones_of_the_policy_stay(
        entries in any_entries(), mut policy in any_policy(),
    ) {
        policy.max_bytes = Stated::Unset;
        let entries = sorted(entries);
        let decisions = decide(&entries, &policy, &nobody(), now());
        let floor = usize::try_from(policy.keep.max(1)).unwrap();
        let relied = entries.iter().zip(&decisions).filter(|(entry, _)| entry.is_relied_on());
        for (_, decision) in relied.take(floor) {
            prop_assert_eq!(decision.verdict, Verdict::Keep, "{:?}", decision);
        }
    }

    #[test]
    fn what_is_pinned_needed_foreign_strange_or_being_written_never_goes(
        entries in any_entries(), policy in any_policy(), needs in any_needs(),
    ) {
        let decisions = decide(&entries, &policy, &needs, now());
        for (entry, decision) in entries.iter().zip(&decisions) {
            let safe = matches!(
                entry.status, Status::Busy | Status::Foreign | Status::NotUnderstood(_)
            );
            let pinned = entry.status != Status::Removing
                && entry.pin.as_ref().is_some_and(|pin| pin.holds(now()));
            let needed = needs.pins.iter().any(|pin| pin.id == entry.id);
            let others = matches!(entry.origin, Origin::OtherApp(_))
                && matches!(entry.status, Status::Good | Status::Damaged(_));
            let safe = safe || pinned || needed || others;
            prop_assert!(!(safe && decision.verdict == Verdict::Remove), "{decision:?}");
            prop_assert!(!decision.reason.is_empty());
        }
    }

    /// With a size this cannot hold: what age takes today leaves room for something older.
    #[test]
    fn without_a_size_what_goes_today_goes_tomorrow(
        entries in any_entries(), mut policy in any_policy(), needs in any_needs(),
        days in 0i64..200,
    ) {
        policy.max_bytes = Stated::Unset;
        let today = decide(&entries, &policy, &needs, now());
        let later = decide(&entries, &policy, &needs, at(-days));
        for id in removed(&today) {
            prop_assert!(removed(&later).contains(&id), "{id}: {today:?} {later:?}");
        }
    }

    #[test]
    fn a_second_prune_removes_nothing_more(
        entries in any_entries(), policy in any_policy(), needs in any_needs(),
    ) {
        let first = decide(&entries, &policy, &needs, now());
        let left = remaining(&entries, &first);
        let second = decide(&left, &policy, &needs, now());
        prop_assert_eq!(removed(&second), Vec::<&str>::new());
    }

    #[test]
    fn a_larger_size_never_removes_more(
        entries in any_entries(), mut policy in any_policy(), size in 0u64..5000, more in 0u64..5000,
    ) {
        policy.max_bytes = Stated::Value(size);
        let small = decide(&entries, &policy, &nobody(), now());
        policy.max_bytes = Stated::Value(size + more);
        let large = decide(&entries, &policy, &nobody(), now());
        for id in removed(&large) {
            prop_assert!(removed(&small).contains(&id));
        }
    }

    /// What stays fits, or is nothing but what no size may take.
    #[test]
    fn a_size_is_kept_as_far_as_it_may_be(entries in any_entries(), policy in any_policy()) {
        let Stated::Value(size) = policy.max_bytes else { return Ok(()) };
        let entries = sorted(entries);
        let decisions = decide(&entries, &policy, &nobody(), now());
        let ours = |e: &&Entry| {
            e.status != Status::Foreign && !matches!(e.origin, Origin::OtherApp(_))
        };
        let left = remaining(&entries, &decisions);
        let sum: u64 = left.iter().filter(ours).filter_map(|entry| entry.bytes).sum();
        let plain = |e: &&Entry| {
            e.is_relied_on() && e.bytes > Some(0) && !e.pin.as_ref().is_some_and(|p| p.holds(now()))
                && e.created.is_some_and(|created| created <= now())
        };
        if sum > size {
            prop_assert!(left.iter().filter(plain).count() <= 1, "{sum} {size} {left:#?}");
        }
    }

    /// Row 87.
    #[test]
    fn while_a_value_makes_no_sense_no_point_goes(
        entries in any_entries(), mut policy in any_policy(), which in 0u8..6,
    ) {
        match which {
            0 => policy.days = None,
            1 => policy.keep = u32::MAX,
            2 => policy.max_bytes = Stated::Nonsense,
            3 => policy.upgrade.days = Stated::Nonsense,
            4 => policy.manual.keep = Stated::Nonsense,
            _ => policy.before_restore.days = Stated::Nonsense,
        }
        let decisions = decide(&entries, &policy, &nobody(), now());
        for (entry, decision) in entries.iter().zip(&decisions) {
            let leftover = matches!(entry.status, Status::Partial | Status::Removing);
            prop_assert!(leftover || decision.verdict == Verdict::Keep, "{decision:?}");
        }
    }

    #[test]
    fn a_longer_limit_never_removes_more(
        entries in any_entries(), days in 0u32..1000, more in 0u32..1000, keep in 0u32..6,
        needs in any_needs(),
    ) {
        let short = decide(&entries, &policy(Some(days), keep), &needs, now());
        let long = decide(&entries, &policy(Some(days + more), keep), &needs, now());
        for id in removed(&long) {
            prop_assert!(removed(&short).contains(&id));
        }
    }
}
