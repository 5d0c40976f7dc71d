//! `migrate --to V` behind what is applied, where the database is a file.

use std::fs;
use std::path::{Path, PathBuf};

use predicates::str::contains;
use rusqlite::Connection;

use super::support::machine::{TestMachine, message};
use super::support::postgres::wait_for;

/// Users, servers that refer to them, and the users rebuilt under their name with one column more.
const ONE: [&str; 2] =
    ["create table users (id integer primary key, name text)", "drop table users"];
const TWO: [&str; 2] = [
    "create table servers (id integer primary key, owner integer references users (id))",
    "drop table servers",
];
const THREE: [&str; 2] = [
    "create table audit (at text);\ncreate trigger told after insert on users begin \
     insert into audit values (new.name); end",
    "drop trigger told;\ndrop table audit",
];

fn write(machine: &TestMachine, format: &str, steps: &[[&str; 2]]) {
    let dir = machine.migrations("main");
    for (n, [up, down]) in (1..).zip(steps) {
        let files = match format {
            "goose" => {
                let body = |sql: &str| {
                    format!("-- +goose StatementBegin\n{sql};\n-- +goose StatementEnd\n")
                };
                let text = format!("-- +goose Up\n{}-- +goose Down\n{}", body(up), body(down));
                vec![(format!("{n:05}_t.sql"), text)]
            }
            "dbmate" => {
                let text = format!("-- migrate:up\n{up};\n-- migrate:down\n{down};\n");
                vec![(format!("{n:04}_t.sql"), text)]
            }
            // A transaction around all of it is taken off: it runs in ours.
            "golang-migrate" => vec![
                (format!("{n:04}_t.up.sql"), format!("{up};\n")),
                (format!("{n:04}_t.down.sql"), format!("begin;\n{down};\ncommit;\n")),
            ],
            "sqlx" => vec![
                (format!("{n:04}_t.up.sql"), format!("{up};\n")),
                (format!("{n:04}_t.down.sql"), format!("{down};\n")),
            ],
            _ => vec![
                (format!("000{n}_t/up.sql"), format!("{up};\n")),
                (format!("000{n}_t/down.sql"), format!("{down};\n")),
            ],
        };
        for (name, text) in files {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }
}

/// A machine whose file has these steps applied, with a user and its server.
fn machine(format: &str, steps: &[[&str; 2]]) -> TestMachine {
    let machine = TestMachine::with_files(&[], &["main"]);
    fs::remove_file(machine.file("main")).unwrap();
    let dir = machine.migrations("main");
    fs::remove_dir_all(&dir).unwrap();
    fs::create_dir_all(&dir).unwrap();
    let braces = format!("format = {format:?}, dir = {dir:?}");
    let machine =
        machine.migrated_by_for("main", &braces).with_unit("openwatch.service", "inactive");
    write(&machine, format, steps);
    machine.run(["migrate"]).success();
    machine.query(
        "main",
        "insert into users (id, name) values (1, 'ada'); insert into servers values (1, 1)",
    );
    machine
}

fn tables(machine: &TestMachine) -> String {
    machine.query(
        "main",
        "select group_concat(name, ' ') from (select name from sqlite_schema \
         where name in ('users', 'servers', 'audit', 'told') order by name)",
    )
}

fn rows(machine: &TestMachine) -> String {
    machine.query("main", "select count(*) || ' ' || (select count(*) from servers) from users")
}

/// The file, byte for byte.
fn bytes(machine: &TestMachine) -> Vec<u8> {
    fs::read(machine.file("main")).unwrap()
}

/// Names beside the file.
fn beside(machine: &TestMachine) -> Vec<String> {
    let entries = fs::read_dir(machine.dir().join("data")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn newest(machine: &TestMachine) -> serde_json::Value {
    machine.json(["history"]).1["runs"][0].clone()
}

#[test]
fn later_migrations_are_taken_back_after_a_restore_point_and_recorded_as_each_tool_does() {
    for (format, second) in [
        ("goose", "2"),
        ("dbmate", "0002"),
        ("golang-migrate", "2"),
        ("sqlx", "2"),
        ("diesel", "0002"),
    ] {
        let machine = machine(format, &[ONE, TWO, THREE]);
        assert_eq!(tables(&machine), "audit servers told users", "{format}");
        let points = machine.points().len();
        machine
            .run(["migrate", "--to", second, "--dry-run"])
            .success()
            .stdout(contains("would take back"));
        let told = message(&machine.run(["migrate", "--to", second]).code(5));
        assert_eq!(told.hint, format!("To do it, run `openwatch migrate --to {second} --yes`."));
        assert_eq!(machine.points().len(), points, "{format}");

        let (code, done) = machine.json(["migrate", "--to", second, "--yes"]);
        assert_eq!((code, &done["database"]), (0, &"main".into()), "{format}: {done}");
        assert_eq!(done["taken_back"].as_array().unwrap().len(), 1, "{format}: {done}");
        assert_eq!((tables(&machine).as_str(), rows(&machine).as_str()), ("servers users", "1 1"));
        assert_eq!(machine.points().len(), points + 1, "{format}");
        assert_eq!(done["restore_point"], *machine.points().last().unwrap(), "{format}");
        let (_, status) = machine.json(["migrate", "--status"]);
        assert_eq!(status["databases"][0]["current"], second, "{format}: {status}");
        assert_eq!(status["databases"][0]["pending"].as_array().unwrap().len(), 1, "{format}");
        assert_eq!(newest(&machine)["taken_back"]["versions"], done["taken_back"], "{format}");

        machine.run(["migrate"]).success();
        assert_eq!(tables(&machine), "audit servers told users", "{format}");
        machine.run(["restore", done["restore_point"].as_str().unwrap(), "--yes"]).success();
        assert_eq!(rows(&machine), "1 1", "{format}");
        machine.assert_clean();
    }
}

#[test]
fn a_way_back_that_fails_leaves_the_file_as_it_was() {
    // The first one is taken back well, the second one is not.
    let broken = [TWO[0], "drop table servers;\ninsert into nowhere values (1)"];
    let machine = machine("dbmate", &[ONE, broken, THREE]);
    let before = bytes(&machine);
    let told = message(&machine.run(["migrate", "--to", "0001", "--yes"]).code(7));
    assert!(told.first.contains("no such table: nowhere"), "{told:?}");
    assert!(told.first.starts_with("cannot take 0002_t back"), "{told:?}");
    assert_eq!(told.state, "the transaction was taken back: nothing was changed");
    assert_eq!(bytes(&machine), before, "something was written");
    assert_eq!(beside(&machine), ["main.db"]);
    let run = newest(&machine);
    assert_eq!((&run["outcome"], &run["state"]), (&"migration_failed".into(), &told.state.into()));
    assert_eq!(run["restore_point"], *machine.points().last().unwrap());
    let (_, status) = machine.json(["migrate", "--status"]);
    assert_eq!(status["databases"][0]["state"], "current");
}

#[test]
fn rows_that_would_refer_to_missing_ones_are_not_left_behind() {
    // dbmate leaves foreign keys off, so that only the end of the transaction can tell.
    let machine = machine("dbmate", &[ONE, TWO, ["select 1", "delete from users"]]);
    let before = bytes(&machine);
    let told = message(&machine.run(["migrate", "--to", "0002", "--yes"]).code(7));
    assert!(told.first.contains("FOREIGN KEY"), "{told:?}");
    assert!(told.detail.contains("table servers refers to a missing row of users"), "{told:?}");
    assert_eq!(told.state, "the transaction was taken back: nothing was changed");
    assert_eq!(bytes(&machine), before, "something was written");
    assert_eq!(rows(&machine), "1 1");
}

#[test]
fn a_way_back_that_is_missing_or_ends_the_transaction_is_refused_before_anything_runs() {
    for (down, why) in [
        ("-- nothing", "has no statements that take it back"),
        ("drop table audit;\ncommit", "transaction control (COMMIT)"),
    ] {
        let machine = machine("dbmate", &[ONE, TWO, [THREE[0], down]]);
        let (points, before) = (machine.points().len(), bytes(&machine));
        let told = message(&machine.run(["migrate", "--to", "0002", "--yes"]).code(5));
        assert!(told.first.contains(why), "{told:?}");
        assert_eq!((machine.points().len(), bytes(&machine)), (points, before));
    }
}

/// Keeps every writer out until it is dropped.
fn locked(machine: &TestMachine) -> Connection {
    let session = Connection::open(machine.file("main")).unwrap();
    session.execute_batch("begin immediate").unwrap();
    session
}

#[test]
fn who_locks_the_file_is_named_and_nothing_is_taken_back() {
    let machine = machine("dbmate", &[ONE, TWO, THREE])
        .operator_without("lock_timeout")
        .operator("lock_timeout = \"100ms\"");
    let lock = locked(&machine);
    let told = message(&machine.run(["migrate", "--to", "0002", "--yes"]).code(7));
    assert!(told.first.contains("database is locked"), "{told:?}");
    assert!(told.detail.contains(&format!("pid {}", std::process::id())), "{told:?}");
    assert_eq!(tables(&machine), "audit servers told users");
    drop(lock);
    machine.run(["migrate", "--to", "0002", "--yes"]).success();
    assert_eq!(tables(&machine), "servers users");
}

#[test]
fn while_a_service_runs_nothing_is_taken_back() {
    let machine = machine("dbmate", &[ONE, TWO, THREE]).with_unit("openwatch.service", "active");
    let told = message(&machine.run(["migrate", "--to", "0002", "--yes"]).code(5));
    assert!(told.first.starts_with("openwatch.service runs"), "{told:?}");
    assert_eq!(tables(&machine), "audit servers told users");
}

/// The record of the present run, which is in the history from its beginning.
fn records(machine: &TestMachine) -> Vec<PathBuf> {
    let entries = fs::read_dir(machine.upgrade_dir().join("history")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn migrates(record: &Path) -> bool {
    let Ok(text) = fs::read_to_string(record) else { return false };
    let Ok(record) = serde_json::from_str::<serde_json::Value>(&text) else { return false };
    let marks = record["marks"].as_array().cloned().unwrap_or_default();
    let begun = |mark: &serde_json::Value| mark["step"] == "migrate" && mark["when"] == "begun";
    record["taken_back"].is_object() && marks.iter().any(begun)
}

#[test]
fn a_run_that_was_killed_leaves_the_file_as_it_was_and_the_next_one_takes_back() {
    let machine = machine("dbmate", &[ONE, TWO, THREE])
        .operator_without("lock_timeout")
        .operator("lock_timeout = \"120s\"");
    let before = bytes(&machine);
    let lock = locked(&machine);
    let mut run = machine.spawn(["migrate", "--to", "0002", "--yes"]);
    wait_for("the transaction", || records(&machine).iter().any(|r| migrates(r)));
    run.kill().unwrap();
    run.wait().unwrap();
    drop(lock);
    assert_eq!(bytes(&machine), before, "something was written");
    machine.run(["history"]).success().stdout(contains("interrupted"));
    machine.run(["migrate", "--to", "0002", "--yes"]).success();
    assert_eq!((tables(&machine).as_str(), rows(&machine).as_str()), ("servers users", "1 1"));
    machine.run(["migrate"]).success();
    machine.assert_clean();
}

#[test]
fn a_run_that_is_killed_within_its_transaction_leaves_the_file_as_it_was() {
    // A way back that never ends by itself: what it wrote before is in the journal of SQLite alone.
    let endless = "delete from users;\n\
                   with recursive n(i) as (select 1 union all select i + 1 from n) \
                   insert into audit select i from n where i < 0";
    let machine = machine("dbmate", &[ONE, TWO, [THREE[0], endless]]);
    let mut run = machine.spawn(["migrate", "--to", "0002", "--yes"]);
    wait_for("the journal of SQLite", || machine.dir().join("data/main.db-journal").exists());
    run.kill().unwrap();
    run.wait().unwrap();
    assert_eq!(rows(&machine), "1 1");
    assert_eq!(machine.query("main", "select * from pragma_integrity_check"), "ok");
    let (_, status) = machine.json(["migrate", "--status"]);
    assert_eq!(status["databases"][0]["state"], "current");
}
