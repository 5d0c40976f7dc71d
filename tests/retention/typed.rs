//! What an operator types, and what comes of it.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use openwatch::restore_points::Store;
use openwatch::system::lock::FileLock;
use serde_json::{Value, json};

use crate::shelf::put;
use crate::support::machine::{TestMachine, message};

/// A machine with good points of these ages in days, oldest first; returns their names.
fn stocked(ages: &[u64]) -> (TestMachine, Vec<String>) {
    let machine = TestMachine::new();
    let store = Store::open(&machine.backups(), "openwatch").unwrap();
    // The real clock is what the program looks at; the ages here begin in the past anyway.
    let put = |(at, days): (usize, &u64)| put(&store, at as u64 + 1, *days, &json!({}));
    let ids = ages.iter().enumerate().map(put).collect();
    (machine, ids)
}

fn decision<'a>(pruned: &'a Value, id: &str) -> &'a Value {
    pruned["decisions"].as_array().unwrap().iter().find(|d| d["id"] == id).unwrap()
}

#[test]
fn a_pinned_point_is_shown_kept_and_let_go_again() {
    let (machine, ids) = stocked(&[4000, 3000, 2000, 1000, 900]);
    let old = ids[0].as_str();
    let (code, pinned) =
        machine.json(["backup", "pin", old, "--until", "2999-12-31", "--reason", "audit"]);
    assert_eq!((code, &pinned["pin"]["until"]), (0, &json!("3000-01-01T00:00:00Z")), "{pinned}");
    let (_, list) = machine.json(["backup", "list"]);
    let entry = |id: &str| {
        let all = list["restore_points"].as_array().unwrap();
        all.iter().find(|entry| entry["id"] == id).unwrap().clone()
    };
    assert_eq!(entry(old)["pin"]["reason"], "audit", "{list}");
    assert_eq!(entry(&ids[1])["pin"], Value::Null);
    let shown = machine.run(["backup", "show", old]).success();
    let shown = String::from_utf8_lossy(&shown.get_output().stdout).into_owned();
    assert!(shown.contains("pinned until 3000-01-01T00:00:00Z: audit"), "{shown}");
    let (_, pruned) = machine.json(["backup", "prune"]);
    assert_eq!(decision(&pruned, old)["verdict"], "keep", "{pruned}");
    assert_eq!(decision(&pruned, &ids[1])["verdict"], "removed", "{pruned}");
    machine.run(["backup", "unpin", old]).success();
    let (_, pruned) = machine.json(["backup", "prune"]);
    assert_eq!(decision(&pruned, old)["verdict"], "removed", "{pruned}");
    machine.run(["backup", "pin", old]).code(5);
}

#[test]
fn an_end_of_a_pin_that_makes_no_sense_changes_nothing() {
    let (machine, ids) = stocked(&[10]);
    for end in ["tomorrow", "31.12.2999", "2020-01-01", "2999-02-30"] {
        let told = message(&machine.run(["backup", "pin", &ids[0], "--until", end]).code(2));
        assert_eq!(told.state, "nothing was changed", "{told:?}");
    }
    assert!(!machine.backups().join(".pins").exists());
}

#[test]
fn a_removal_asks_and_does_no_more_than_it_was_told() {
    let (machine, ids) = stocked(&[20, 10]);
    let (old, new) = (ids[0].as_str(), ids[1].as_str());
    let told = message(&machine.run(["backup", "remove", old]).code(5));
    assert!(told.first.ends_with("would be removed for good"), "{told:?}");
    assert!(told.hint.contains(&format!("`openwatch backup remove {old} --yes`")), "{told:?}");
    assert_eq!(machine.points().len(), 2);
    machine.run(["backup", "pin", old]).success();
    let told = message(&machine.run(["backup", "remove", old, "--yes"]).code(5));
    assert!(told.hint.contains(&format!("`openwatch backup unpin {old}`")), "{told:?}");
    machine.run(["backup", "unpin", old]).success();
    machine.run(["backup", "remove", old, "--yes"]).success();
    assert_eq!(machine.points(), [new]);
    let told = message(&machine.run(["backup", "remove", new, "--yes"]).code(5));
    assert_eq!(told.first, format!("with restore point {new} a way back is lost"));
    assert!(told.detail.contains(&"it is the last good one".to_owned()), "{told:?}");
    let hint = format!("`openwatch backup remove {new} --yes --lose-way-back`");
    assert!(told.hint.contains(&hint), "{told:?}");
    assert_eq!(machine.points(), [new]);
    machine.run(["backup", "remove", new, "--yes", "--lose-way-back"]).success();
    assert_eq!(machine.points(), [""; 0]);
}

/// What looks good and is not is no other way back.
#[test]
fn a_rotten_point_does_not_make_the_other_one_dispensable() {
    let (machine, ids) = stocked(&[20, 10]);
    std::fs::write(machine.backups().join(&ids[1]).join("main/toc.dat"), b"t0c").unwrap();
    let told = message(&machine.run(["backup", "remove", &ids[0], "--yes"]).code(5));
    assert!(told.detail.contains(&"it is the last good one".to_owned()), "{told:?}");
}

#[test]
fn what_is_not_a_point_is_not_removed() {
    let (machine, _) = stocked(&[10]);
    std::fs::create_dir(machine.backups().join("mine")).unwrap();
    for id in ["mine", "../backups", ".", "", ".pins", "no-such"] {
        machine.run(["backup", "remove", id, "--yes", "--lose-way-back"]).code(5);
    }
    assert!(machine.backups().join("mine").exists());
    assert_eq!(machine.points().len(), 2);
}

/// Row 85.
#[test]
fn nothing_is_pruned_removed_or_pinned_while_an_upgrade_holds_the_lock() {
    let (machine, ids) = stocked(&[4000, 3000, 2000, 1000, 900]);
    std::fs::create_dir_all(machine.lock().parent().unwrap()).unwrap();
    let _held = FileLock::try_lock(&machine.lock(), "upgrade").unwrap();
    let old = ids[0].as_str();
    for words in [&["prune"][..], &["remove", old, "--yes"], &["pin", old], &["unpin", old]] {
        machine.run(["backup"].iter().chain(words).copied()).code(75);
    }
    assert_eq!(machine.points().len(), 5);
    machine.run(["backup", "prune", "--dry-run"]).success();
}

/// Rows 85 and 88.
/// The journal may name any of them.
#[test]
fn a_journal_that_cannot_be_read_keeps_every_point() {
    let (machine, _) = stocked(&[4000, 3000, 2000, 1000, 900]);
    std::fs::write(machine.upgrade_dir().join("journal.json"), "{\"format\": 1, \"run").unwrap();
    let (code, pruned) = machine.json(["backup", "prune"]);
    assert_eq!(code, 0, "{pruned}");
    assert_eq!(machine.points().len(), 5, "{pruned}");
    assert!(pruned.to_string().contains("journal.json cannot be read"), "{pruned}");
}

/// Row 87.
#[test]
fn a_size_that_makes_no_sense_keeps_every_point_and_warns() {
    let (machine, _) = stocked(&[4000, 3000, 2000, 1000, 900]);
    let machine = machine.operator("backup_max_bytes = \"plenty\"");
    let ended = machine.run(["backup", "prune"]).success();
    let said = String::from_utf8_lossy(&ended.get_output().stderr).into_owned();
    assert!(said.contains("backup_max_bytes is not a size; every restore point is kept"), "{said}");
    assert_eq!(machine.points().len(), 5);
    let machine = machine.operator_without("backup_max_bytes").operator("backup_max_bytes = 1");
    machine.run(["backup", "prune"]).success();
    assert_eq!(machine.points().len(), 1);
}

#[test]
fn a_point_goes_to_a_file_and_comes_back_from_it() {
    let (machine, ids) = stocked(&[10]);
    let path = machine.dir().join("point.tar");
    let path_text = path.to_str().unwrap();
    machine.run(["backup", "export", "latest", path_text]).success();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    let told = message(&machine.run(["backup", "export", "latest", path_text]).code(5));
    assert!(told.first.ends_with("is there already"), "{told:?}");
    let told = message(&machine.run(["backup", "import", path_text]).code(5));
    assert_eq!(told.first, format!("restore point {} is there already", ids[0]));
    machine.run(["backup", "remove", &ids[0], "--yes", "--lose-way-back"]).success();
    let (code, imported) = machine.json(["backup", "import", path_text]);
    assert_eq!((code, &imported["id"]), (0, &json!(ids[0])), "{imported}");
    machine.run(["backup", "verify", &ids[0]]).success();
    let left = std::fs::read_dir(machine.dir()).unwrap();
    let left =
        left.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains("partial"));
    assert_eq!(left.count(), 0);
}

#[test]
fn a_point_goes_through_a_pipe_to_another_machine() {
    let (machine, ids) = stocked(&[10]);
    let there = TestMachine::new();
    let ended = machine.run(["backup", "export", &ids[0], "-"]).success();
    let stream = ended.get_output().stdout.clone();
    let mut child = std::process::Command::new(crate::support::machine::program())
        .args(["--root", there.root().to_str().unwrap(), "backup", "import", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&stream).unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(there.points(), ids);
    there.run(["backup", "verify"]).success();
}

#[test]
fn a_stream_is_not_mixed_with_words() {
    let (machine, _) = stocked(&[10]);
    let ended = machine.run(["--json", "backup", "export", "latest", "-"]).code(2);
    assert!(String::from_utf8_lossy(&ended.get_output().stdout).starts_with('{'));
    let told = message(&machine.run(["backup", "import", "/nowhere"]).code(2));
    assert_eq!(told.state, "nothing was changed", "{told:?}");
    machine.run(["backup", "import", "/dev"]).code(2);
}

/// As when a file system is away, or the process has no room for another file.
#[test]
fn a_point_that_cannot_be_read_just_now_is_not_condemned() {
    let (machine, ids) = stocked(&[5000, 4000, 3000, 2000, 10]);
    let newest = machine.backups().join(&ids[4]).join("main/toc.dat");
    let kept = newest.with_extension("kept");
    std::fs::rename(&newest, &kept).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(&newest).unwrap();
    let told = message(&machine.run(["backup", "verify", &ids[4]]).failure());
    assert!(told.first.ends_with("could not be read"), "{told:?}");
    assert_eq!(told.state, "nothing was changed; whether it is whole is not known");
    let (_, pruned) = machine.json(["backup", "prune"]);
    for id in &ids {
        assert_eq!(decision(&pruned, id)["verdict"], "keep", "{pruned}");
    }
    drop(socket);
    std::fs::rename(&kept, &newest).unwrap();
    let (_, pruned) = machine.json(["backup", "prune"]);
    assert_eq!(decision(&pruned, &ids[0])["verdict"], "removed", "{pruned}");
}
