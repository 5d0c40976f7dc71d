//! Encrypted restore points of a file: nothing in clear among them, and all that others can do.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::support::machine::{TestMachine, message};
use super::{machine, rows, schema};

/// A pair of `age-keygen` that is used for nothing else.
const RECIPIENT: &str = "age15a70tkp8l3s39egzy03z5c75k84j6u9sj42snjuva6f8hrh555hqlkcd5m";
const SECRET: &str = "AGE-SECRET-KEY-1QFSRRUUYXFS0QU9SDK4M4ZL8V49KJ3Z7J9FSSR69AYM94SNL0J4SRX7DJ7";

/// What is in a row, and nowhere else.
const TREASURE: &str = "a name that nobody may read";

/// A migration that fails outside a transaction, so that only the restore point leads back.
const FAILING_ALONE: &str = "-- openwatch: no-transaction\ncreate table half (i int);\nvacuum;\n\
    insert into nowhere values (1);\n";

fn encrypting() -> TestMachine {
    let machine = machine().operator(&format!("backup_recipients = [\"{RECIPIENT}\"]"));
    machine.query("main", &format!("insert into users (id, name) values (99, '{TREASURE}')"));
    machine
}

fn identity(machine: &TestMachine) -> String {
    let path = machine.dir().join("identity");
    fs::write(&path, format!("{SECRET}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn assert_nothing_in_clear(machine: &TestMachine) {
    for path in files(&machine.backups()) {
        let bytes = fs::read(&path).unwrap();
        for text in [TREASURE, "SQLite format 3", "create table users"] {
            let found = bytes.windows(text.len()).any(|part| part == text.as_bytes());
            assert!(!found, "{text} is in {}", path.display());
        }
    }
}

#[test]
fn an_encrypted_copy_is_verified_carried_and_put_back_with_the_identity_alone() {
    let machine = encrypting();
    machine.query("main", "pragma journal_mode = wal");
    machine.run(["upgrade"]).success();
    assert_eq!(schema(&machine, "main"), "0004");
    assert_nothing_in_clear(&machine);
    let id = machine.points()[0].clone();
    assert!(machine.backups().join(&id).join("main.sqlite3.age").exists());
    let (_, shown) = machine.json(["backup", "show", "latest"]);
    assert_eq!(shown["restore_point"]["encryption"]["recipients"][0], RECIPIENT, "{shown}");

    let machine = machine.with_unit("openwatch.service", "inactive");
    let told = message(&machine.run(["restore", "latest", "--yes"]).code(5));
    assert!(told.first.contains("is encrypted"), "{told:?}");
    assert_eq!(schema(&machine, "main"), "0004");
    let identity = identity(&machine);
    let with = |words: &[&str]| {
        let words: Vec<&str> = [words, &["--identity", &identity]].concat();
        machine.run(words)
    };
    with(&["backup", "verify"]).success();
    with(&["backup", "verify", "--restore", "latest"]).success();
    // To another directory and back.
    let tar = machine.dir().join("point.tar").display().to_string();
    machine.run(["backup", "export", &id, &tar]).success();
    fs::remove_dir_all(machine.backups().join(&id)).unwrap();
    machine.run(["backup", "import", &tar]).success();
    with(&["restore", &id, "--yes"]).success();
    assert_eq!(schema(&machine, "main"), "0002");
    assert_eq!(rows(&machine, "main"), "51 50");
    assert_eq!(machine.query("main", "select name from users where id = 99"), TREASURE);
    let names = fs::read_dir(machine.dir().join("data")).unwrap();
    let left = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<_> = left.filter(|name| name.starts_with('.')).collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn a_failed_upgrade_and_a_rehearsal_open_their_own_copy_without_an_identity() {
    let machine = encrypting();
    machine.run(["rehearse"]).success();
    let machine = machine.operator("on_failure = \"restore\"").migration_for(
        "main",
        "0005_bad.sql",
        FAILING_ALONE,
    );
    machine.run(["upgrade"]).code(9);
    assert_eq!(schema(&machine, "main"), "0002");
    assert_eq!(rows(&machine, "main"), "51 50");
    assert_nothing_in_clear(&machine);
}

#[test]
fn an_encrypted_copy_that_was_changed_is_not_put_back() {
    let machine = encrypting();
    machine.run(["backup", "create"]).success();
    let identity = identity(&machine);
    let machine = machine.with_unit("openwatch.service", "inactive");
    let copy = machine.backups().join(&machine.points()[0]).join("main.sqlite3.age");
    let mut bytes = fs::read(&copy).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&copy, bytes).unwrap();
    let before = fs::read(machine.file("main")).unwrap();
    for words in [["restore", "latest", "--yes"], ["backup", "verify", "latest"]] {
        let words: Vec<&str> = [&words[..], &["--identity", &identity]].concat();
        let told = message(&machine.run(words).code(1));
        assert!(told.first.ends_with("is damaged"), "{told:?}");
    }
    assert_eq!(fs::read(machine.file("main")).unwrap(), before);
}
