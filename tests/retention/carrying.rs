//! Restore points as one stream: whole on both sides, or not there at all.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use openwatch::error::Error;
use openwatch::outcome::Outcome;
use openwatch::progress::Silent;
use openwatch::restore_points::{Import, Imported, Mode, Origin, Override, PinNote, Status};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::shelf::{Shelf, sha256};
use crate::support::archives::{Item, What, file, item, tar};
use crate::{DAY, days_ago, nobody, now, policy};

fn exported(shelf: &Shelf, id: &str) -> Vec<u8> {
    let store = shelf.store();
    let mut bytes = Vec::new();
    store.export(&store.find(id).unwrap(), &mut bytes, &Silent).unwrap();
    bytes
}

fn how() -> Import {
    Import { reserve: 0, now: now(), foreign: Override::No }
}

fn import(shelf: &Shelf, mut bytes: &[u8]) -> Result<Imported, Error> {
    shelf.store().import(&mut bytes, &how(), &Silent)
}

/// Asserts that nothing came in, and returns why.
fn refused(shelf: &Shelf, bytes: &[u8]) -> String {
    let before = shelf.names();
    let error = import(shelf, bytes).map(|_| ()).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Refused, "{error:?}");
    assert!(error.state_line().is_some(), "{error:?}");
    let pins =
        |names: &[String]| names.iter().filter(|n| *n != ".pins").cloned().collect::<Vec<_>>();
    assert_eq!(pins(&shelf.names()), pins(&before), "{error:?}");
    format!("{}: {}", error.message(), error.details().join("; "))
}

/// The members of a stream, to be changed.
fn members(bytes: &[u8]) -> Vec<Item> {
    let mut archive = tar::Archive::new(bytes);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        file(&name, content)
    });
    entries.collect()
}

fn content(item: &mut Item) -> &mut Vec<u8> {
    let What::File(content) = &mut item.what else { panic!("no file") };
    content
}

/// A stream of one point, and an empty store for it.
fn carried() -> (String, Vec<u8>, Shelf) {
    let shelf = Shelf::new();
    let id = shelf.put(7, 5);
    let bytes = exported(&shelf, &id);
    let there = Shelf::new();
    there.store();
    (id, bytes, there)
}

#[test]
fn a_point_comes_back_byte_by_byte_and_private() {
    let shelf = Shelf::new();
    let id = shelf.put(7, 5);
    let there = Shelf::new();
    let imported = import(&there, &exported(&shelf, &id)).unwrap();
    assert_eq!(imported.point.id(), id);
    assert_eq!(imported.origin, Origin::Own);
    for name in ["manifest.json", "SHA256SUMS", "main/toc.dat", "main.contents.json"] {
        let at = |shelf: &Shelf| shelf.path().join(&id).join(name);
        if name != "manifest.json" {
            assert_eq!(std::fs::read(at(&there)).unwrap(), std::fs::read(at(&shelf)).unwrap());
        }
        let mode = at(&there).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{name}");
    }
    let mode = there.path().join(&id).join("main").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
    there.store().verify(&id, &Silent).unwrap();
    assert_eq!(there.store().find("latest").unwrap().id(), id);
}

/// The stream of one point with another manifest, in both places.
fn with_manifest(id: &str, bytes: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut members = members(bytes);
    let mut head: Value = serde_json::from_slice(content(&mut members[0])).unwrap();
    let mut manifest: Value = serde_json::from_str(head["manifest"].as_str().unwrap()).unwrap();
    change(&mut manifest);
    let text = manifest.to_string();
    head["manifest"] = text.clone().into();
    *content(&mut members[0]) = head.to_string().into_bytes();
    let last = members.last_mut().unwrap();
    assert_eq!(last.name, format!("{id}/manifest.json"));
    *content(last) = text.into_bytes();
    tar(&members)
}

#[test]
fn an_imported_point_names_no_clone_and_says_that_it_came_from_elsewhere() {
    let (id, bytes, there) = carried();
    let bytes = with_manifest(&id, &bytes, |manifest| {
        manifest["databases"][0]["clone"] = "app".into();
        manifest["later"] = "what a later program wrote stays".into();
    });
    let imported = import(&there, &bytes).unwrap();
    assert_eq!(imported.point.manifest().clones().next(), None);
    let store = there.store();
    let manifest = store.find(&id).unwrap().manifest().clone();
    assert_eq!(manifest.clones().next(), None);
    assert_eq!(manifest.imported.as_deref(), Some("2026-11-20T13:15:02Z"));
    let text = std::fs::read_to_string(there.path().join(&id).join("manifest.json")).unwrap();
    assert!(text.contains("what a later program wrote stays"), "{text}");
    store.verify(&id, &Silent).unwrap();
}

#[test]
fn a_manifest_that_the_store_would_not_read_does_not_come_in() {
    let (id, bytes, there) = carried();
    let huge = with_manifest(&id, &bytes, |m| m["later"] = "x".repeat(5 << 20).into());
    assert!(refused(&there, &huge).contains("the manifest is larger than"));
    // No later point could follow it.
    let last = with_manifest(&id, &bytes, |m| m["sequence"] = u64::MAX.into());
    assert!(refused(&there, &last).contains("it has the number 18446744073709551615"));
    let many = with_manifest(&id, &bytes, |m| {
        let one = m["databases"][0].clone();
        m["databases"] = json!([one, one]);
        m["databases"][0]["files"] = u64::MAX.into();
    });
    refused(&there, &many);
}

#[test]
fn escapes_of_a_terminal_and_names_that_are_commands_do_not_come_in() {
    let (id, bytes, there) = carried();
    for key in ["host", "program", "identifier", "later"] {
        let bytes = with_manifest(&id, &bytes, |m| m[key] = "\u{1b}]0;x\u{7}".into());
        assert!(refused(&there, &bytes).contains("it says"), "{key}");
    }
    for app in ["x; curl example.org | sh", "", "--config=/tmp/x", "a b", "$(id)"] {
        let bytes = with_manifest(&id, &bytes, |m| m["app"] = app.into());
        let how = Import { foreign: Override::AcceptForeign, ..how() };
        let came = there.store().import(&mut bytes.as_slice(), &how, &Silent).map(|_| ());
        assert_eq!(came.unwrap_err().outcome(), Outcome::Refused, "{app}");
    }
    assert_eq!(there.names(), [""; 0]);
}

/// A manifest that was unpacked by hand has the largest number.
#[test]
fn the_number_of_a_new_point_never_begins_anew() {
    let shelf = Shelf::new();
    let old = shelf.put(u64::MAX, 9);
    let new = shelf.put(u64::MAX, 1);
    assert_eq!(shelf.store().find("latest").unwrap().id(), new);
    assert_ne!(old, new);
}

#[test]
fn the_pin_of_a_point_that_is_not_there_is_removed_by_a_prune() {
    let shelf = Shelf::new();
    let id = shelf.put(7, 5);
    let store = shelf.store();
    store.pin(&id, &PinNote::new(now(), None, None)).unwrap();
    let pin = |id: &str| shelf.path().join(format!(".pins/{id}.json"));
    let (gone, coming) = ("20260101T000000Z-1.0", "20260102T000000Z-1.0");
    for other in [gone, coming] {
        std::fs::copy(pin(&id), pin(other)).unwrap();
    }
    std::fs::create_dir(shelf.path().join(format!(".partial-{coming}"))).unwrap();
    store.prune(&policy(Some(30), 1), &nobody(), now(), Mode::DryRun).unwrap();
    assert!(pin(gone).exists());
    store.prune(&policy(Some(9999), 1), &nobody(), now(), Mode::Act).unwrap();
    assert!(pin(&id).exists() && !pin(gone).exists());
}

#[test]
fn tar_unpacks_an_export_to_a_restore_point() {
    let (id, bytes, there) = carried();
    let mut child = std::process::Command::new("tar")
        .args(["-x", "-C"])
        .arg(there.path())
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    assert!(child.wait().unwrap().success());
    there.store().verify(&id, &Silent).unwrap();
}

/// At every length: what was cut is never taken for the whole, whatever was cut off.
#[test]
fn a_stream_that_was_cut_short_leaves_nothing() {
    let (id, bytes, there) = carried();
    let members = members(&bytes);
    let last = members.last().unwrap().name.clone();
    assert_eq!(last, format!("{id}/manifest.json"), "the end says that it is the whole");
    // A stream ends with two blocks of zeros; the manifest, and what fills its last block, stand before.
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    for at in (0..=last).step_by(97).chain(last.saturating_sub(40)..=last) {
        refused(&there, &bytes[..at]);
    }
}

#[test]
fn a_changed_byte_of_any_file_is_found() {
    let (id, bytes, there) = carried();
    for name in ["SHA256SUMS", "main/toc.dat", "main.contents.json", "manifest.json"] {
        let mut members = members(&bytes);
        let full = format!("{id}/{name}");
        let member = members.iter_mut().find(|member| member.name == full).unwrap();
        let byte = content(member).last_mut().unwrap();
        *byte ^= 1;
        refused(&there, &tar(&members));
    }
}

#[test]
fn a_missing_a_doubled_and_an_added_member_are_found() {
    let (id, bytes, there) = carried();
    let toc = format!("{id}/main/toc.dat");
    let mut without = members(&bytes);
    without.retain(|member| member.name != toc);
    assert!(refused(&there, &tar(&without)).contains("\"main/toc.dat\" is missing"));
    let mut twice = members(&bytes);
    let at = twice.iter().position(|member| member.name == toc).unwrap();
    let again = twice[at].clone();
    twice.insert(at, again);
    assert!(refused(&there, &tar(&twice)).contains("twice"));
    let mut more = members(&bytes);
    more.insert(2, file(&format!("{id}/main/evil.dat"), "x"));
    assert!(refused(&there, &tar(&more)).contains("has no sum"));
    let mut unended = members(&bytes);
    unended.pop();
    assert!(refused(&there, &tar(&unended)).contains("the manifest at its end is missing"));
}

#[test]
fn links_devices_and_names_that_leave_the_point_are_refused() {
    let (id, bytes, there) = carried();
    let toc = format!("{id}/main/toc.dat");
    for what in [
        What::Symlink("/etc/shadow".into()),
        What::HardLink("/etc/shadow".into()),
        What::Device,
        What::Pipe,
        What::Dir,
    ] {
        let mut members = members(&bytes);
        let at = members.iter().position(|member| member.name == toc).unwrap();
        members[at] = item(&toc, what);
        assert!(refused(&there, &tar(&members)).contains("is not a plain file"));
    }
    for name in ["/etc/cron.d/evil", "../evil", &format!("{id}/../../evil"), "main/toc.dat", ""] {
        let mut members = members(&bytes);
        let at = members.iter().position(|member| member.name == toc).unwrap();
        members[at].name = name.into();
        refused(&there, &tar(&members));
    }
    assert!(!there.dir.path().join("evil").exists());
}

/// A stream whose sums agree, made by somebody who wants to write elsewhere.
#[test]
fn sums_that_name_files_outside_are_refused() {
    for name in ["../evil", "/etc/evil", "main/../../evil", ".hidden", "damaged", "manifest.json"] {
        let (id, bytes, there) = carried();
        let mut members = members(&bytes);
        let sums = format!("{}  {name}\n", sha256(b"x"));
        let mut head: Value = serde_json::from_slice(content(&mut members[0])).unwrap();
        let mut manifest: Value = serde_json::from_str(head["manifest"].as_str().unwrap()).unwrap();
        manifest["sums_sha256"] = sha256(sums.as_bytes()).into();
        manifest["bytes"] = (sums.len() + 1).into();
        head["manifest"] = manifest.to_string().into();
        let stream = tar(&[
            file("openwatch-export.json", head.to_string()),
            file(&format!("{id}/SHA256SUMS"), &sums),
            file(&format!("{id}/{name}"), "x"),
            file(&format!("{id}/manifest.json"), manifest.to_string()),
        ]);
        refused(&there, &stream);
        assert!(!there.dir.path().join("evil").exists(), "{name}");
    }
}

#[test]
fn more_bytes_than_the_manifest_says_are_never_written() {
    let (id, bytes, there) = carried();
    let mut members = members(&bytes);
    let full = format!("{id}/main/toc.dat");
    let member = members.iter_mut().find(|member| member.name == full).unwrap();
    content(member).extend(vec![0; 1 << 20]);
    assert!(refused(&there, &tar(&members)).contains("more bytes than the manifest says"));
    // One that only claims to be huge.
    let at = members.iter().position(|member| member.name == full).unwrap();
    members[at].what = What::Claim(1 << 60);
    assert!(refused(&there, &tar(&members)).contains("more bytes than the manifest says"));
    members[0].what = What::Claim(1 << 40);
    assert!(refused(&there, &tar(&members)).contains("is larger than"));
}

#[test]
fn what_is_no_export_at_all_is_refused() {
    let (_, _, there) = carried();
    assert!(refused(&there, b"").contains("it is empty"));
    refused(&there, &[0; 20_000]);
    refused(&there, &[0xff; 20_000]);
    refused(&there, &tar(&[file("main/toc.dat", "x")]));
    refused(&there, &tar(&[file("openwatch-export.json", "{}")]));
    refused(&there, &tar(&[file("openwatch-export.json", vec![b'{'; 1 << 20])]));
}

#[test]
fn a_point_that_is_there_already_is_not_touched() {
    let shelf = Shelf::new();
    let id = shelf.put(7, 5);
    let bytes = exported(&shelf, &id);
    std::fs::write(shelf.path().join(&id).join("main/toc.dat"), b"t0c").unwrap();
    assert!(refused(&shelf, &bytes).contains("is there already"));
    assert_eq!(std::fs::read(shelf.path().join(&id).join("main/toc.dat")).unwrap(), b"t0c");
}

#[test]
fn what_a_killed_import_left_is_replaced() {
    let (id, bytes, there) = carried();
    let left = there.path().join(format!(".partial-{id}"));
    std::fs::create_dir_all(left.join("main")).unwrap();
    std::fs::write(left.join("main/toc.dat"), "half").unwrap();
    import(&there, &bytes).unwrap();
    assert!(!left.exists());
    there.store().verify(&id, &Silent).unwrap();
}

#[test]
fn too_little_space_is_refused_before_anything_is_written() {
    let (_, bytes, there) = carried();
    let how = Import { reserve: u64::MAX / 2, ..how() };
    let error = there.store().import(&mut bytes.as_slice(), &how, &Silent).map(|_| ()).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Refused);
    assert!(error.message().starts_with("not enough free space"), "{error:?}");
    assert_eq!(there.names(), [""; 0]);
}

/// Row 65.
#[test]
fn a_point_of_another_application_is_named_and_taken_only_when_told_so() {
    let shelf = Shelf::new();
    let id = shelf.put_as(7, 5, &json!({"app": "shop"}));
    let bytes = exported(&shelf, &id);
    let there = Shelf::new();
    there.store();
    let why = refused(&there, &bytes);
    assert!(why.contains("belongs to the application shop"), "{why}");
    let how = Import { foreign: Override::AcceptForeign, ..how() };
    let imported = there.store().import(&mut bytes.as_slice(), &how, &Silent).unwrap();
    assert_eq!(imported.origin, Origin::OtherApp("shop".into()));
}

/// Row 65.
#[test]
fn a_point_of_another_host_says_so_and_is_not_the_latest() {
    let shelf = Shelf::new();
    let id = shelf.put_as(7, 1, &json!({"host": "db1.example"}));
    let bytes = exported(&shelf, &id);
    let there = Shelf::new();
    let own = there.put(1, 9);
    let imported = import(&there, &bytes).unwrap();
    assert_eq!(imported.origin, Origin::OtherHost("db1.example".into()));
    assert_eq!(there.store().find("latest").unwrap().id(), own);
}

#[test]
fn a_pin_travels_and_without_one_a_point_is_safe_for_a_week() {
    let shelf = Shelf::new();
    let id = shelf.put(7, 400);
    let there = Shelf::new();
    there.put(8, 1);
    let imported = import(&there, &exported(&shelf, &id)).unwrap();
    assert!(imported.pin.holds(now() + Duration::from_secs(6 * DAY)));
    assert!(!imported.pin.holds(now() + Duration::from_secs(8 * DAY)));
    there.store().prune(&policy(Some(30), 1), &nobody(), now(), Mode::Act).unwrap();
    assert!(there.names().contains(&id), "the next prune does not take it away at once");
    shelf.store().pin(&id, &PinNote::new(days_ago(1), None, Some("audit"))).unwrap();
    let elsewhere = Shelf::new();
    let imported = import(&elsewhere, &exported(&shelf, &id)).unwrap();
    assert_eq!(imported.pin.reason.as_deref(), Some("audit"));
    assert_eq!(elsewhere.store().entry(&id).unwrap().pin, Some(imported.pin));
}

#[test]
fn an_export_of_what_rotted_is_refused_and_no_import_takes_it() {
    let shelf = Shelf::new();
    let id = shelf.put(7, 5);
    std::fs::write(shelf.path().join(&id).join("main/toc.dat"), b"t0c").unwrap();
    let store = shelf.store();
    let mut bytes = Vec::new();
    let error = store.export(&store.find(&id).unwrap(), &mut bytes, &Silent).unwrap_err();
    assert!(error.message().contains("has changed since it was proven"), "{error:?}");
    let there = Shelf::new();
    there.store();
    refused(&there, &bytes);
}

/// A stream whose reader goes away.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_goes_away_fails_the_export() {
    let shelf = Shelf::new();
    let id = shelf.put(7, 5);
    let store = shelf.store();
    let error = store.export(&store.find(&id).unwrap(), &mut Closed, &Silent).unwrap_err();
    assert!(error.message().contains("cannot write the export"), "{error:?}");
}

/// Row 85.
#[test]
fn a_point_that_is_being_exported_is_not_pruned() {
    let shelf = Shelf::new();
    let (old, _) = (shelf.put(1, 400), shelf.put(2, 1));
    let store = shelf.store();
    let held = store.find(&old).unwrap().hold().unwrap();
    let decisions = store.prune(&policy(Some(30), 1), &nobody(), now(), Mode::Act).unwrap();
    let decision = decisions.iter().find(|decision| decision.id == old).unwrap();
    assert_eq!(decision.reason, "being read");
    assert!(shelf.names().contains(&old));
    drop(held);
    store.prune(&policy(Some(30), 1), &nobody(), now(), Mode::Act).unwrap();
    assert!(!shelf.names().contains(&old));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is changed: what comes in is what was exported, or nothing comes in.
    #[test]
    fn no_changed_stream_makes_another_point(at in 0usize..8000, byte in any::<u8>()) {
        let (id, mut bytes, there) = carried();
        let at = at % bytes.len();
        bytes[at] = byte;
        if import(&there, &bytes).is_ok() {
            prop_assert!(there.store().verify(&id, &Silent).is_ok());
            prop_assert_eq!(there.store().entry(&id).unwrap().status, Status::Good);
        }
    }
}
