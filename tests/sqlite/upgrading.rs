//! The whole upgrade.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

use predicates::prelude::*;
use predicates::str::contains;

use super::support::machine::{TestMachine, message};
use super::{FAILING, machine, rows, schema, shipping};

#[test]
fn status_tells_what_is_pending_and_changes_nothing() {
    let machine = machine();
    let before = fs::read(machine.file("main")).unwrap();
    let (code, found) = machine.json(["migrate", "--status"]);
    assert_eq!(code, 0);
    let database = &found["databases"][0];
    assert_eq!(database["state"], "pending");
    assert_eq!(database["current"], "0002");
    assert_eq!(database["pending"].as_array().unwrap().len(), 2);
    let (_, status) = machine.json(["status"]);
    assert_eq!(status["databases"][0]["state"], "pending", "{status}");
    machine.run(["migrate", "--check"]).code(10);
    machine.run(["preflight"]).success();
    assert_eq!(fs::read(machine.file("main")).unwrap(), before);
    let data = machine.dir().join("data");
    assert_eq!(fs::read_dir(data).unwrap().count(), 1, "something is left beside the file");
}

#[test]
fn an_upgrade_copies_the_file_migrates_it_and_starts_the_service() {
    let machine = machine();
    machine.run(["upgrade", "--from", "1.0.0-1"]).success().stdout(predicate::str::starts_with(
        "openwatch 2.0.0-1 is up and healthy: applied 0003 0004",
    ));
    assert_eq!(schema(&machine, "main"), "0004");
    assert_eq!(rows(&machine, "main"), "50 50");
    assert_eq!(machine.unit("openwatch.service"), "active");
    let points = machine.points();
    assert_eq!(points.len(), 1);
    let (_, shown) = machine.json(["backup", "show", "latest"]);
    let archive = &shown["restore_point"]["databases"][0];
    assert_eq!(archive["schema"]["head"], "0002", "{shown}");
    machine.run(["backup", "verify", "latest"]).success();
    machine.run(["backup", "verify", "--restore", "latest"]).success();
    machine.assert_clean();
}

/// The application's own user may write beside its file, and nowhere near our copy of it.
#[test]
fn a_file_of_another_user_is_copied_and_stays_that_users() {
    if !nix::unistd::geteuid().is_root() {
        super::support::peers::left_out("only root gives files away");
        return;
    }
    let machine = machine();
    let file = machine.file("main");
    let nobody = 65534;
    for path in [file.parent().unwrap(), &file] {
        chown(path, Some(nobody), Some(nobody)).unwrap();
    }
    fs::set_permissions(machine.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    machine.run(["backup", "create"]).success();
    machine.run(["backup", "verify", "--restore", "latest"]).success();
    machine.run(["upgrade"]).success();
    assert_eq!(rows(&machine, "main"), "50 50");
    let machine = machine.with_unit("openwatch.service", "inactive");
    machine.run(["restore", "latest", "--yes"]).success();
    assert_eq!(schema(&machine, "main"), "0002");
    assert_eq!(fs::metadata(&file).unwrap().uid(), nobody);
}

#[test]
fn a_file_that_is_not_there_is_made_by_the_first_migration() {
    let machine = TestMachine::with_files(&[], &["main"]);
    fs::remove_file(machine.file("main")).unwrap();
    let (_, found) = machine.json(["migrate", "--status"]);
    assert_eq!(found["databases"][0]["state"], "empty");
    assert!(!machine.file("main").exists(), "a look made the file");
    machine.run(["upgrade"]).success();
    assert_eq!(schema(&machine, "main"), "0002");
    assert_eq!(machine.points().len(), 0, "there was nothing to copy");
    machine.assert_clean();
}

#[test]
fn a_failing_migration_leaves_the_file_as_it_was() {
    let machine = machine().migration_for("main", "0005_bad.sql", FAILING);
    let failed = machine.run(["upgrade"]);
    let failed = failed.code(7);
    let told = message(&failed);
    assert!(told.first.contains("no such table: nowhere"), "{told:?}");
    assert!(told.detail.contains("line 2, column 1 of"), "{told:?}");
    assert_eq!(schema(&machine, "main"), "0002");
    assert_eq!(rows(&machine, "main"), "50 50");
    machine.assert_closed();
}

#[test]
fn a_failing_migration_outside_a_transaction_is_taken_back_by_the_policy() {
    let machine = machine().operator("on_failure = \"restore\"").migration_for(
        "main",
        "0005_bad.sql",
        "-- openwatch: no-transaction\ncreate table half (id integer);\nvacuum;\ninsert into nowhere values (1);\n",
    );
    machine.run(["upgrade"]).code(9);
    assert_eq!(schema(&machine, "main"), "0002");
    assert_eq!(
        machine.query("main", "select count(*) from sqlite_schema where name = 'half'"),
        "0"
    );
    let replaced = kept(&machine);
    assert_eq!(replaced.len(), 1, "{replaced:?}");
}

#[test]
fn a_restore_keeps_the_former_file_beside() {
    let machine = machine();
    machine.run(["upgrade"]).success();
    machine.query("main", "insert into users (id, name) values (99, 'written since')");
    let told = message(&machine.run(["restore", "latest"]).code(5));
    assert!(told.hint.contains("restore"), "{told:?}");
    machine.run(["restore", "latest", "--yes"]).failure().stderr(contains("runs and uses"));
    let machine = machine.with_unit("openwatch.service", "inactive");
    machine.run(["restore", "latest", "--yes"]).success();
    assert_eq!(schema(&machine, "main"), "0002");
    assert_eq!(rows(&machine, "main"), "50 50");
    let replaced = kept(&machine);
    assert_eq!(replaced.len(), 1, "{replaced:?}");
    let former = rusqlite::Connection::open(machine.dir().join("data").join(&replaced[0])).unwrap();
    let count: i64 = former.query_row("select count(*) from users", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 51);
}

#[test]
fn a_file_and_a_database_on_a_server_are_upgraded_together() {
    let machine = shipping(TestMachine::with_files(&["main"], &["audit"])).ship("good");
    machine.run(["upgrade"]).success();
    assert_eq!(machine.schema(), "0004");
    assert_eq!(schema(&machine, "audit"), "0004");
    let (_, shown) = machine.json(["backup", "show", "latest"]);
    assert_eq!(shown["restore_point"]["databases"].as_array().unwrap().len(), 2);
    machine.assert_clean();
}

#[test]
fn what_fails_in_the_file_is_taken_back_on_the_server_too() {
    let machine = shipping(TestMachine::with_files(&["main"], &["audit"]))
        .ship("good")
        .operator("on_failure = \"restore\"")
        .migration_for("audit", "0005_bad.sql", FAILING);
    let before = machine.data();
    machine.run(["upgrade"]).code(9);
    assert_eq!(machine.data(), before);
    assert_eq!(schema(&machine, "audit"), "0002");
}

/// Names of files that were replaced.
pub fn kept(machine: &TestMachine) -> Vec<String> {
    let entries = fs::read_dir(machine.dir().join("data")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.contains("_replaced_")).collect();
    names.sort();
    names
}
