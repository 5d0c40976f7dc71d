//! `openwatch rehearse` where the database is a file: on a copy that goes, and the file is only read.

use std::fs;

use predicates::str::contains;
use rusqlite::Connection;
use serde_json::json;

use super::support::machine::{TestMachine, message};
use super::support::postgres::wait_for;
use super::{FAILING, machine, rows, schema};

/// The file byte for byte, what lies beside it, and what lies in the store.
fn everything(machine: &TestMachine) -> (Vec<u8>, Vec<String>, Vec<String>) {
    let bytes = fs::read(machine.file("main")).unwrap();
    (bytes, beside(machine), [machine.points(), machine.leftovers()].concat())
}

fn beside(machine: &TestMachine) -> Vec<String> {
    let entries = fs::read_dir(machine.dir().join("data")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_rehearsal_of_a_file_tells_times_and_rows_and_leaves_nothing() {
    let machine =
        machine().migration_for("main", "0005_fewer.sql", "delete from hosts where id <= 10;\n");
    let before = everything(&machine);
    let (code, report) = machine.json(["rehearse"]);
    assert_eq!((code, &report["outcome"]), (0, &json!("ok")), "{report}");
    assert_eq!(report["restore_point"]["kept"], false);
    let database = &report["databases"][0];
    let migrations = database["migrations"].as_array().unwrap();
    let versions: Vec<_> = migrations.iter().map(|migration| &migration["version"]).collect();
    assert_eq!(versions, ["0003", "0004", "0005"]);
    let changed: Vec<_> = database["rows"].as_array().unwrap().iter().collect();
    let row = |table: &str, before: Option<u64>, after: u64| json!({"table": table, "before": before, "after": after});
    assert!(changed.contains(&&row("hosts", Some(50), 40)), "{changed:?}");
    assert!(changed.contains(&&row("audit", None, 0)), "{changed:?}");
    assert_eq!(database["next_dump"], json!({"ok": true, "problems": []}));
    assert_eq!(everything(&machine), before, "something changed or is left");
    assert_eq!(machine.acts(), [""; 0], "no unit is touched");
    let told = machine.run(["rehearse"]).success();
    told.stdout(contains("the real database was not touched; nothing of the rehearsal is left"));
}

#[test]
fn a_migration_that_fails_in_a_rehearsal_is_told_and_leaves_nothing() {
    let machine = machine().migration_for("main", "0005_bad.sql", FAILING);
    let before = everything(&machine);
    let told = message(&machine.run(["rehearse"]).code(7));
    assert!(told.first.contains("no such table: nowhere"), "{told:?}");
    assert!(told.detail.contains("ran before it: 0003"), "{told:?}");
    assert_eq!(told.state, "the real database was not touched; nothing of the rehearsal is left");
    assert_eq!(everything(&machine), before, "something changed or is left");
}

#[test]
fn a_restore_point_is_rehearsed_with_the_services_writing() {
    let machine = machine();
    machine.run(["backup", "create"]).success();
    machine.query("main", "insert into users (id, name) values (99, 'written since')");
    // Whoever writes at the moment is not waited for.
    let session = Connection::open(machine.file("main")).unwrap();
    session.execute_batch("begin immediate").unwrap();
    let before = everything(&machine);
    let (code, report) = machine.json(["rehearse", "--from-backup", "latest"]);
    assert_eq!(code, 0, "{report}");
    let counts = report["databases"][0]["rows"].as_array().unwrap();
    assert!(!counts.iter().any(|change| change["table"] == "users"), "{counts:?}");
    assert_eq!(everything(&machine), before, "something changed or is left");
}

#[test]
fn what_a_rehearsal_that_was_killed_left_is_private_and_removed_by_the_next_one() {
    // A migration that never ends by itself.
    let endless = "create table more (i integer);\n\
                   with recursive n(i) as (select 1 union all select i + 1 from n) \
                   insert into more select i from n where i < 0;\n";
    let machine = machine().migration_for("main", "0005_endless.sql", endless);
    let before = fs::read(machine.file("main")).unwrap();
    let mut run = machine.spawn(["rehearse"]);
    let data = machine.dir().join("data");
    let copies = || {
        let names = beside(&machine).into_iter();
        names.filter(|name| name.starts_with(".main.db.rehearsal_")).collect::<Vec<_>>()
    };
    // The journal of a transaction that has begun.
    wait_for("a migration in the copy", || {
        copies().iter().any(|name| data.join(name).join("main.db-journal").exists())
    });
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(data.join(&copies()[0])).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    run.kill().unwrap();
    run.wait().unwrap();
    assert_eq!(copies().len(), 1);
    assert_eq!(fs::read(machine.file("main")).unwrap(), before, "something was written");
    fs::remove_file(machine.migrations("main").join("0005_endless.sql")).unwrap();
    machine.run(["rehearse"]).success();
    assert_eq!(beside(&machine), ["main.db"]);
    assert_eq!(machine.leftovers(), [""; 0]);
    assert_eq!(
        (schema(&machine, "main").as_str(), rows(&machine, "main").as_str()),
        ("0002", "50 50")
    );
}

#[test]
fn a_file_and_a_database_on_a_server_are_rehearsed_together() {
    let machine = super::shipping(TestMachine::with_files(&["main"], &["audit"])).ship("good");
    let (code, report) = machine.json(["rehearse"]);
    assert_eq!(code, 0, "{report}");
    assert_eq!(report["databases"].as_array().unwrap().len(), 2, "{report}");
    assert_eq!((machine.schema().as_str(), schema(&machine, "audit").as_str()), ("0002", "0002"));
    assert_eq!(beside(&machine), ["audit.db"]);
}
