//! What a prune leaves on the disk.

use std::path::Path;

use openwatch::restore_points::{Mode, PinNote, Status};
use proptest::prelude::*;

use crate::shelf::{Shelf, status_of};
use crate::{days_ago, nobody, now, policy};

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

/// Row 84.
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
    let text = std::fs::read_to_string(&path).unwrap().replace("\"format\":1", "\"format\":999");
    std::fs::write(&path, text).unwrap();
    let Status::NotUnderstood(why) = status_of(&shelf.store(), &id) else { panic!("understood") };
    assert!(why.starts_with("the manifest has format 999, newer than "), "{why}");
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

/// What was removed is removed whole, also where one of them cannot be.
#[test]
fn one_point_that_cannot_be_removed_does_not_keep_the_others() {
    if !crate::support::postgres::is_root() {
        eprintln!("SKIPPED: only root can make a file that cannot be removed");
        return;
    }
    let shelf = Shelf::new();
    let ids: Vec<String> = (1..=3).map(|n| shelf.put(n, 100 - n)).collect();
    let stuck = shelf.path().join(&ids[1]).join("main");
    let attribute = |sign: &str| {
        let flag = format!("{sign}i");
        std::process::Command::new("chattr").arg(flag).arg(&stuck).status()
    };
    if !attribute("+").is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: this file system knows no immutable directories");
        return;
    }
    let error = shelf.store().prune(&policy(Some(30), 1), &nobody(), now(), Mode::Act);
    let hidden = shelf.path().join(format!(".removing-{}", ids[1])).join("main");
    let freed = std::process::Command::new("chattr").arg("-i").arg(&hidden).status();
    assert!(error.is_err() && freed.unwrap().success());
    assert!(!shelf.names().contains(&ids[0]), "{:?}", shelf.names());
    assert!(shelf.names().contains(&ids[2]));
    shelf.store().prune(&policy(Some(30), 1), &nobody(), now(), Mode::Act).unwrap();
    assert_eq!(shelf.names(), [ids[2].clone()]);
}

#[test]
fn pins_that_cannot_be_read_hold() {
    let shelf = Shelf::new();
    let ids: Vec<String> = (1..=3).map(|n| shelf.put(n, 100 - n)).collect();
    let store = shelf.store();
    store.pin(&ids[0], &PinNote::new(days_ago(9), None, None)).unwrap();
    let pin = shelf.path().join(".pins").join(format!("{}.json", ids[0]));
    std::fs::write(&pin, "{").unwrap();
    store.prune(&policy(Some(30), 1), &nobody(), now(), Mode::Act).unwrap();
    assert_eq!(shelf.names(), [".pins".to_owned(), ids[0].clone(), ids[2].clone()]);
    std::fs::remove_dir_all(shelf.path().join(".pins")).unwrap();
    std::fs::write(shelf.path().join(".pins"), "").unwrap();
    store.prune(&policy(Some(30), 1), &nobody(), now(), Mode::Act).unwrap();
    assert_eq!(shelf.names().len(), 3, "the whole of them is unread");
}

#[test]
fn a_pin_goes_with_its_point() {
    let shelf = Shelf::new();
    let ids: Vec<String> = (1..=2).map(|n| shelf.put(n, 100 - n)).collect();
    let store = shelf.store();
    store.pin(&ids[0], &PinNote::new(days_ago(9), Some(days_ago(1)), None)).unwrap();
    store.prune(&policy(Some(30), 1), &nobody(), now(), Mode::Act).unwrap();
    assert_eq!(std::fs::read_dir(shelf.path().join(".pins")).unwrap().count(), 0);
}

/// Many manifests are read by several threads; the list is the same.
#[test]
fn many_points_are_listed_in_order_and_pruned() {
    let shelf = Shelf::new();
    let ids: Vec<String> = (1..=400).map(|n| shelf.put(n, 500 - n)).collect();
    let listed: Vec<String> =
        shelf.store().list().unwrap().into_iter().map(|entry| entry.id).collect();
    assert_eq!(listed, ids.iter().rev().cloned().collect::<Vec<_>>());
    shelf.store().prune(&policy(Some(30), 2), &nobody(), now(), Mode::Act).unwrap();
    assert_eq!(shelf.names(), ids[398..]);
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

/// A run that was killed while it noted a proof left the manifest that was to take the place of another.
#[test]
fn a_manifest_that_never_took_its_place_goes() {
    let shelf = Shelf::new();
    let id = shelf.put(1, 2);
    let left = shelf.store().dir().join(format!(".manifest-{id}"));
    std::fs::write(&left, "{}").unwrap();
    shelf.store().prune(&policy(Some(30), 1), &nobody(), now(), Mode::DryRun).unwrap();
    assert!(left.exists(), "looking removes nothing");
    shelf.store().prune(&policy(Some(30), 1), &nobody(), now(), Mode::Act).unwrap();
    assert_eq!(shelf.names(), [id]);
}
