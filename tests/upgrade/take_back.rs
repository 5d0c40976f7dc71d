//! `migrate --to V` behind what is applied: the ways back that files have.

use std::fs;

use predicates::str::contains;

use super::support::machine::{TestMachine, message};

/// Three migrations of a format, each a table, as files below the directory of migrations.
fn files(format: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (n, table) in [(1, "one"), (2, "two"), (3, "three")] {
        let (up, down) =
            (format!("create table {table} (i int);\n"), format!("drop table {table};\n"));
        match format {
            "goose" => all.push((
                format!("{n:05}_{table}.sql"),
                format!("-- +goose Up\n{up}-- +goose Down\n-- gone\n{down}"),
            )),
            "dbmate" => all.push((
                format!("{n:04}_{table}.sql"),
                format!("-- migrate:up\n{up}\n-- migrate:down\n{down}"),
            )),
            "golang-migrate" | "sqlx" => {
                all.push((format!("{n:04}_{table}.up.sql"), up));
                all.push((format!("{n:04}_{table}.down.sql"), down));
            }
            _ => {
                all.push((format!("000{n}_{table}/up.sql"), up));
                all.push((format!("000{n}_{table}/down.sql"), down));
            }
        }
    }
    all
}

fn machine(format: &str, files: &[(String, String)]) -> TestMachine {
    let machine = TestMachine::with_empty_database().with_unit("openwatch.service", "inactive");
    let dir = machine.dir().join("sets");
    for (name, text) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let braces = format!("format = {format:?}, dir = {dir:?}");
    let machine = machine.migrated_by(&braces);
    machine.run(["migrate"]).success();
    machine
}

fn tables(machine: &TestMachine) -> String {
    machine.sql(
        "select string_agg(relname, ' ' order by relname) from pg_class \
         where relname in ('one', 'two', 'three')",
    )
}

#[test]
fn later_migrations_are_taken_back_and_recorded_as_each_tool_does() {
    for (format, first) in [
        ("goose", "1"),
        ("dbmate", "0001"),
        ("golang-migrate", "1"),
        ("sqlx", "1"),
        ("diesel", "0001"),
    ] {
        let machine = machine(format, &files(format));
        assert_eq!(tables(&machine), "one three two", "{format}");
        let all = machine.points().len();
        machine.run(["migrate", "--to", first, "--dry-run"]).success().stdout(contains("three"));
        let told = message(&machine.run(["migrate", "--to", first]).code(5));
        assert_eq!(told.hint, format!("To do it, run `openwatch migrate --to {first} --yes`."));
        assert_eq!((tables(&machine).as_str(), machine.points().len()), ("one three two", all));

        machine.run(["migrate", "--to", first, "--yes"]).success().stdout(contains("took back"));
        assert_eq!(tables(&machine), "one", "{format}");
        assert_eq!(machine.points().len(), all + 1, "{format}");
        let (_, status) = machine.json(["migrate", "--status"]);
        assert_eq!(status["databases"][0]["pending"].as_array().unwrap().len(), 2, "{status}");
        assert_eq!(status["databases"][0]["current"], first, "{status}");

        machine.run(["migrate"]).success();
        assert_eq!(tables(&machine), "one three two", "{format}");
    }
}

/// The run as the history has it.
fn newest(machine: &TestMachine) -> serde_json::Value {
    machine.json(["history"]).1["runs"][0].clone()
}

#[test]
fn what_was_taken_back_is_in_the_history_and_the_last_upgrade_stays_what_it_was() {
    let machine = machine("dbmate", &files("dbmate"));
    let journal = || fs::read(machine.upgrade_dir().join("journal.json")).unwrap();
    let before = journal();
    machine.run(["migrate", "--to", "0001", "--yes"]).success();
    let run = newest(&machine);
    assert_eq!(run["outcome"], "ok");
    assert_eq!(run["taken_back"]["database"], "main");
    assert_eq!(run["taken_back"]["versions"], serde_json::json!(["0003", "0002"]));
    assert_eq!(run["restore_point"], *machine.points().last().unwrap());
    assert_eq!(journal(), before);
    machine.run(["history"]).success().stdout(contains("main: took back 0003 0002  ok"));
    // The next run goes on from there as after any other.
    machine.run(["migrate"]).success();
    assert_eq!(newest(&machine)["taken_back"], serde_json::Value::Null);
    machine.assert_clean();
}

#[test]
fn a_way_back_that_is_missing_is_refused_before_anything_runs() {
    let mut files = files("sqlx");
    files.retain(|(name, _)| name != "0002_two.down.sql");
    let machine = machine("sqlx", &files);
    let points = machine.points().len();
    let told = message(&machine.run(["migrate", "--to", "1", "--yes"]).code(5));
    assert!(told.first.ends_with("two has no statements that take it back"), "{told:?}");
    assert_eq!((tables(&machine).as_str(), machine.points().len()), ("one three two", points));
}

#[test]
fn a_way_back_that_fails_leaves_everything_as_it_was() {
    let mut files = files("dbmate");
    files[1].1 =
        "-- migrate:up\ncreate table two (i int);\n-- migrate:down\nselect 1 / 0;\n".into();
    let machine = machine("dbmate", &files);
    let told = message(&machine.run(["migrate", "--to", "0001", "--yes"]).code(7));
    assert_eq!(told.state, "the transaction was taken back: nothing was changed");
    let run = newest(&machine);
    assert_eq!((&run["outcome"], &run["state"]), (&"migration_failed".into(), &told.state.into()));
    assert_eq!(tables(&machine), "one three two");
    let (_, status) = machine.json(["migrate", "--status"]);
    assert_eq!(status["databases"][0]["state"], "current");
}

#[test]
fn while_a_service_runs_nothing_is_taken_back() {
    let machine = machine("dbmate", &files("dbmate")).with_unit("openwatch.service", "active");
    let told = message(&machine.run(["migrate", "--to", "0001", "--yes"]).code(5));
    assert!(told.first.starts_with("openwatch.service runs"), "{told:?}");
    assert_eq!(tables(&machine), "one three two");
}
