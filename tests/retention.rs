//! Which restore points stay, as a table and as properties; and that pruning does what it said.
#![allow(unreachable_pub, reason = "shared helpers are compiled into each test")]

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use openwatch::config::Retention;
use openwatch::restore_points::{
    Decision, Entry, Mode, Needs, Origin, Pin, Status, Store, Verdict, decide,
};
use openwatch::system::clock::{parse_rfc3339, rfc3339, stamp};
use proptest::prelude::*;

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

#[test]
fn a_point_from_the_future_is_kept() {
    let future = entry("future", Status::Good, Some(now() + Duration::from_secs(DAY)), 1);
    let decisions = decide(&[future, good(2, 1)], &policy(Some(0), 1), &nobody(), now());
    assert_eq!(reason(&decisions, "future"), "its date lies in the future");
}

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

fn any_status() -> impl Strategy<Value = Status> {
    prop_oneof![
        3 => Just(Status::Good),
        1 => Just(Status::Damaged("cut".into())),
        1 => Just(Status::Partial),
        1 => Just(Status::Busy),
        1 => Just(Status::Removing),
        1 => Just(Status::Foreign),
    ]
}

prop_compose! {
    fn any_entries()(
        made in prop::collection::vec((any_status(), prop::option::of(-50i64..5000), 0u64..20), 0..25)
    ) -> Vec<Entry> {
        made.into_iter().enumerate().map(|(index, (status, age, sequence))| {
            let created = age.map(|days| match u64::try_from(days) {
                Ok(days) => days_ago(days),
                Err(_) => now() + Duration::from_secs(days.unsigned_abs() * DAY),
            });
            entry(&index.to_string(), status, created, sequence)
        }).collect()
    }
}

proptest! {
    #[test]
    fn a_good_point_always_remains(
        entries in any_entries(), days in prop::option::of(0u32..2000), keep in 0u32..6,
    ) {
        let decisions = decide(&entries, &policy(days, keep), &nobody(), now());
        let had = entries.iter().filter(|e| e.status == Status::Good).count();
        let has = entries.iter().zip(&decisions)
            .filter(|(e, d)| e.status == Status::Good && d.verdict == Verdict::Keep).count();
        prop_assert!(has >= had.min(usize::try_from(keep.max(1)).unwrap()));
    }

    #[test]
    fn nothing_pinned_busy_or_foreign_is_removed(
        entries in any_entries(), days in prop::option::of(0u32..2000), keep in 0u32..6,
        pinned in prop::collection::vec(0usize..25, 0..5),
    ) {
        let pins: Vec<Pin> = pinned.iter()
            .map(|index| Pin { id: index.to_string(), reason: "a test".into() }).collect();
        let decisions = decide(&entries, &policy(days, keep), &needs(&pins), now());
        for (entry, decision) in entries.iter().zip(&decisions) {
            let safe = matches!(entry.status, Status::Busy | Status::Foreign)
                || pins.iter().any(|pin| pin.id == entry.id);
            prop_assert!(!(safe && decision.verdict == Verdict::Remove), "{decision:?}");
            prop_assert!(!decision.reason.is_empty());
        }
    }

    #[test]
    fn a_longer_limit_never_removes_more(
        entries in any_entries(), days in 0u32..1000, more in 0u32..1000, keep in 0u32..6,
    ) {
        let short = decide(&entries, &policy(Some(days), keep), &nobody(), now());
        let long = decide(&entries, &policy(Some(days + more), keep), &nobody(), now());
        for (short, long) in short.iter().zip(&long) {
            prop_assert!(!(short.verdict == Verdict::Keep && long.verdict == Verdict::Remove));
        }
    }
}

/// A store of hand-made points: what the files say is all that counts.
struct Shelf {
    dir: tempfile::TempDir,
}

impl Shelf {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn store(&self) -> Store {
        Store::open(&self.path(), "app").unwrap()
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("backups")
    }

    /// Puts a complete point there and returns its name.
    fn put(&self, sequence: u64, days: u64) -> String {
        let created = days_ago(days);
        let id = format!("{}-1.{sequence}", stamp(created));
        let dir = self.store().dir().join(&id);
        std::fs::create_dir_all(dir.join("main")).unwrap();
        std::fs::write(dir.join("main/toc.dat"), b"toc").unwrap();
        let sums = format!("{}  main/toc.dat\n", sha256(b"toc"));
        std::fs::write(dir.join("SHA256SUMS"), &sums).unwrap();
        let manifest = serde_json::json!({
            "format": 1, "id": id, "sequence": sequence, "app": "app", "reason": "manual",
            "created": rfc3339(created), "duration_ms": 1, "from_version": null, "to_version": null,
            "host": openwatch::system::host::name(), "program": "1", "proof": "read_back", "bytes": 3 + sums.len(),
            "sums_sha256": sha256(sums.as_bytes()),
            "databases": [{
                "name": "main", "schema": {"head": null, "applied": []},
                "identity": {"system": null, "oid": 1, "dbname": "app"}, "server_version": "15.1",
                "client_version": "15.1", "compression": "gzip:1", "database_bytes": 1,
                "archive_bytes": 3, "files": 1, "tables": 0, "wal_position": null,
                "rows_written": null, "duration_ms": 1
            }],
        });
        std::fs::write(dir.join("manifest.json"), manifest.to_string()).unwrap();
        id
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(bytes))
}

fn status_of(store: &Store, id: &str) -> Status {
    store.list().unwrap().into_iter().find(|entry| entry.id == id).unwrap().status
}

#[test]
fn pruning_removes_what_it_said_and_nothing_else() {
    let shelf = Shelf::new();
    let ids: Vec<String> = (1..=4).map(|n| shelf.put(n, 100 - n)).collect();
    std::fs::create_dir(shelf.path().join("lost+found")).unwrap();
    std::fs::write(shelf.path().join("notes.txt"), "mine").unwrap();
    let store = shelf.store();
    let told = store.prune(&policy(Some(30), 2), &nobody(), now(), Mode::DryRun).unwrap();
    assert_eq!(shelf.names().len(), 6);
    let done = store.prune(&policy(Some(30), 2), &nobody(), now(), Mode::Act).unwrap();
    assert_eq!(told, done);
    let mut left = vec![ids[2].clone(), ids[3].clone(), "lost+found".into(), "notes.txt".into()];
    left.sort();
    assert_eq!(shelf.names(), left);
}

#[test]
fn a_point_that_rotted_is_no_reason_to_remove_a_good_one() {
    let shelf = Shelf::new();
    let old = shelf.put(1, 100);
    let new = shelf.put(2, 1);
    std::fs::write(shelf.path().join(&new).join("main/toc.dat"), b"t0c").unwrap();
    shelf.store().prune(&policy(Some(30), 1), &nobody(), now(), Mode::Act).unwrap();
    assert!(shelf.names().contains(&old), "{:?}", shelf.names());
}

#[test]
fn ten_megabytes_of_garbage_as_manifest_are_a_damaged_point() {
    let shelf = Shelf::new();
    let id = shelf.put(1, 1);
    std::fs::write(shelf.path().join(&id).join("manifest.json"), vec![0xff; 10 << 20]).unwrap();
    let Status::Damaged(why) = status_of(&shelf.store(), &id) else { panic!("not damaged") };
    assert!(why.starts_with("the manifest cannot be read: larger than"), "{why}");
}

#[test]
fn a_manifest_of_another_point_does_not_count() {
    let shelf = Shelf::new();
    let (first, second) = (shelf.put(1, 1), shelf.put(2, 2));
    let from = shelf.path().join(&first).join("manifest.json");
    std::fs::copy(from, shelf.path().join(&second).join("manifest.json")).unwrap();
    assert!(matches!(status_of(&shelf.store(), &second), Status::Damaged(_)));
}

#[test]
fn a_linked_manifest_does_not_count() {
    let shelf = Shelf::new();
    let id = shelf.put(1, 1);
    let path = shelf.path().join(&id).join("manifest.json");
    let away = shelf.dir.path().join("away.json");
    std::fs::rename(&path, &away).unwrap();
    std::os::unix::fs::symlink(&away, &path).unwrap();
    assert!(matches!(status_of(&shelf.store(), &id), Status::Damaged(_)));
}

#[test]
fn a_manifest_of_a_later_format_is_named_as_such() {
    let shelf = Shelf::new();
    let id = shelf.put(1, 1);
    let path = shelf.path().join(&id).join("manifest.json");
    let text = std::fs::read_to_string(&path).unwrap().replace("\"format\":1", "\"format\":99");
    std::fs::write(&path, text).unwrap();
    let status = status_of(&shelf.store(), &id);
    let told = "the manifest has format 99, newer than ";
    assert!(matches!(&status, Status::NotUnderstood(why) if why.starts_with(told)), "{status:?}");
}

#[test]
fn a_removal_that_was_cut_short_is_completed() {
    let shelf = Shelf::new();
    let id = shelf.put(1, 1);
    let half = shelf.path().join(".removing-20200101T000000Z-1.0");
    std::fs::create_dir(&half).unwrap();
    std::fs::write(half.join("toc.dat"), "x").unwrap();
    shelf.store().prune(&policy(Some(30), 1), &nobody(), now(), Mode::Act).unwrap();
    assert_eq!(shelf.names(), [id]);
}

#[test]
fn a_leftover_that_is_still_written_is_kept() {
    let shelf = Shelf::new();
    let dir = shelf.store().dir().join(".partial-20200101T000000Z-1.0");
    std::fs::create_dir(&dir).unwrap();
    let held = std::fs::File::open(&dir).unwrap();
    held.lock().unwrap();
    shelf.store().prune(&policy(Some(0), 1), &nobody(), now(), Mode::Act).unwrap();
    assert!(dir.exists());
    drop(held);
    shelf.store().prune(&policy(Some(0), 1), &nobody(), now(), Mode::Act).unwrap();
    assert!(!dir.exists());
}

#[test]
fn a_name_that_is_not_utf8_is_not_ours() {
    use std::os::unix::ffi::OsStrExt as _;
    let shelf = Shelf::new();
    let name = std::ffi::OsStr::from_bytes(b"20200101T000000Z-\xff");
    std::fs::create_dir(shelf.store().dir().join(Path::new(name))).unwrap();
    assert_eq!(shelf.store().list().unwrap()[0].status, Status::Foreign);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_manifest_text_makes_the_listing_fail(text in prop::collection::vec(any::<u8>(), 0..400)) {
        let shelf = Shelf::new();
        let id = shelf.put(1, 1);
        std::fs::write(shelf.path().join(&id).join("manifest.json"), text).unwrap();
        prop_assert!(matches!(status_of(&shelf.store(), &id), Status::Damaged(_)));
    }
}
