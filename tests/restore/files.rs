//! Keys and configuration travel along: copies that are put back, fingerprints that only tell.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;

use super::support::machine::{TestMachine, tree};

/// A stopped machine that lists a configuration file and a key, both there.
fn machine() -> (TestMachine, PathBuf, PathBuf) {
    let machine = TestMachine::new().with_unit("openwatch.service", "inactive");
    let (conf, key) = (machine.etc().join("app.conf"), machine.etc().join("master.key"));
    fs::write(&conf, "colour = blue\n").unwrap();
    fs::set_permissions(&conf, fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(&key, "key-one").unwrap();
    let machine = machine
        .app_line(&format!("keep_files = [{conf:?}]"))
        .operator(&format!("fingerprint_files = [{key:?}]"));
    (machine, conf, key)
}

/// Row 25.
#[test]
fn files_that_changed_are_named_and_copies_put_back_when_asked() {
    let (machine, conf, key) = machine();
    machine.run(["backup", "create"]).success();
    let point = machine.backups().join(&machine.points()[0]);
    for (path, (mode, bytes)) in tree(&point) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(!text.contains("key-one"), "{}", path.display());
        let wanted = if point.join(&path).is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode & 0o777, wanted, "{}", path.display());
    }
    fs::write(&conf, "colour = red\n").unwrap();
    fs::set_permissions(&conf, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&key, "key-two").unwrap();
    let refused = machine.run(["restore", "latest"]).code(5);
    let told = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
    assert!(told.contains("app.conf has changed since the restore point"), "{told}");
    assert!(told.contains("master.key has changed since the restore point"), "{told}");
    assert!(told.contains("what was encrypted with what it said then cannot be read"), "{told}");
    // Without the word they stay as they are.
    machine.run(["restore", "latest", "--yes", "--no-copy"]).success();
    assert_eq!(fs::read_to_string(&conf).unwrap(), "colour = red\n");
    machine.run(["restore", "latest", "--yes", "--no-copy", "--with-files"]).success();
    assert_eq!(fs::read_to_string(&conf).unwrap(), "colour = blue\n");
    assert_eq!(fs::metadata(&conf).unwrap().mode() & 0o777, 0o640);
    assert_eq!(fs::read_to_string(&key).unwrap(), "key-two");
    let kept: Vec<_> = fs::read_dir(machine.etc())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains("app.conf.replaced-"))
        .collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(fs::read_to_string(&kept[0]).unwrap(), "colour = red\n");
}

#[test]
fn a_file_that_is_gone_comes_back_and_one_that_never_was_hinders_nothing() {
    let (machine, conf, key) = machine();
    fs::remove_file(&key).unwrap();
    machine.run(["backup", "create"]).success();
    fs::remove_file(&conf).unwrap();
    machine.run(["restore", "latest", "--yes", "--no-copy", "--with-files"]).success();
    assert_eq!(fs::read_to_string(&conf).unwrap(), "colour = blue\n");
    assert!(!key.exists());
}

/// Neither what a link points to nor a pipe is read, and no restore point goes without the file.
#[test]
fn a_link_a_pipe_or_a_directory_in_the_place_of_a_file_fails_the_restore_point() {
    let (machine, conf, _) = machine();
    let secret = machine.dir().join("secret");
    fs::write(&secret, "of somebody else").unwrap();
    for make in [&|| symlink(&secret, &conf).unwrap(), &|| fs::create_dir(&conf).unwrap(), &|| {
        assert!(std::process::Command::new("mkfifo").arg(&conf).status().unwrap().success())
    }] as [&dyn Fn(); 3]
    {
        let _ = fs::remove_file(&conf);
        let _ = fs::remove_dir(&conf);
        make();
        let failed = machine.run(["backup", "create"]).code(3);
        let told = String::from_utf8(failed.get_output().stderr.clone()).unwrap();
        assert!(told.contains("app.conf with the restore point"), "{told}");
        assert_eq!(machine.points(), Vec::<String>::new());
    }
}

/// In a directory of somebody else a link could send what we write anywhere.
#[test]
fn a_copy_is_not_put_back_into_a_directory_that_others_may_write_to() {
    let (machine, conf, _) = machine();
    machine.run(["backup", "create"]).success();
    fs::write(&conf, "colour = red\n").unwrap();
    fs::set_permissions(machine.etc(), fs::Permissions::from_mode(0o777)).unwrap();
    machine.sql("insert into machines values (9001, 'added since')");
    let now = machine.data();
    let failed = machine.run(["restore", "latest", "--yes", "--no-copy", "--with-files"]).code(3);
    let told = String::from_utf8(failed.get_output().stderr.clone()).unwrap();
    assert!(told.contains("nothing was changed"), "{told}");
    assert_eq!(machine.data(), now);
    assert_eq!(fs::read_to_string(&conf).unwrap(), "colour = red\n");
}

/// Changes the list of the files that travelled, with sums that agree.
fn forge(machine: &TestMachine, change: impl Fn(&mut serde_json::Value)) {
    use sha2::Digest as _;
    let point = machine.backups().join(&machine.points()[0]);
    let sum = |text: &str| hex::encode(sha2::Sha256::digest(text.as_bytes()));
    let read = |name: &str| fs::read_to_string(point.join(name)).unwrap();
    let (before, sums, manifest) =
        (read("carried.json"), read("SHA256SUMS"), read("manifest.json"));
    let mut list: serde_json::Value = serde_json::from_str(&before).unwrap();
    change(&mut list);
    let list = list.to_string();
    let forged = sums.replace(&sum(&before), &sum(&list));
    assert_ne!(forged, sums);
    let mut manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    manifest["sums_sha256"] = sum(&forged).into();
    let bytes = manifest["bytes"].as_u64().unwrap() + list.len() as u64 - before.len() as u64;
    manifest["bytes"] = bytes.into();
    fs::write(point.join("carried.json"), list).unwrap();
    fs::write(point.join("SHA256SUMS"), forged).unwrap();
    fs::write(point.join("manifest.json"), manifest.to_string()).unwrap();
}

/// Whoever made the restore point chooses neither what is written nor what is read.
#[test]
fn a_list_that_names_other_files_of_the_machine_writes_and_reads_none_of_them() {
    let (machine, conf, _) = machine();
    machine.run(["backup", "create"]).success();
    let copy =
        fs::read_to_string(machine.backups().join(&machine.points()[0]).join("carried.json"));
    let (before, now) = (copy.unwrap(), machine.data());
    fs::write(&conf, "colour = red\n").unwrap();
    let other = machine.etc().join("cron.d");
    let secret = machine.dir().join("secret");
    fs::write(&secret, "of root").unwrap();
    let run = || {
        let failed = machine.run(["restore", "latest", "--yes", "--no-copy", "--with-files"]);
        String::from_utf8(failed.failure().get_output().stderr.clone()).unwrap()
    };
    forge(&machine, |list| list[0]["path"] = other.to_str().unwrap().into());
    assert!(run().contains("not one of the keep_files"));
    assert!(!other.exists());
    forge(&machine, |list| *list = serde_json::from_str(&before).unwrap());
    forge(&machine, |list| list[0]["form"]["copy"] = "../../../../../secret".into());
    assert!(run().contains("is not the name of a copy"));
    assert_eq!(
        (machine.data(), fs::read_to_string(&conf).unwrap()),
        (now, "colour = red\n".into())
    );
    // What was once set-uid comes back without it.
    forge(&machine, |list| {
        *list = serde_json::from_str(&before).unwrap();
        list[0]["mode"] = 0o6755.into();
    });
    machine.run(["restore", "latest", "--yes", "--no-copy", "--with-files"]).success();
    assert_eq!(fs::read_to_string(&conf).unwrap(), "colour = blue\n");
    assert_eq!(fs::metadata(&conf).unwrap().mode() & 0o7777, 0o755);
}
