//! What a clone takes the place of: kept as it is, as a restore point of its own.

use predicates::prelude::*;
use predicates::str::contains;
use serde_json::{Value, json};

use super::support::machine::TestMachine;
use super::{clones, cloning, databases};

/// Migrated under the protection of a clone, with something written since.
fn migrated(machine: TestMachine) -> TestMachine {
    let machine = machine.ship("good").with_unit("openwatch.service", "inactive");
    machine.run(["migrate"]).success().stderr(contains(" cloned as "));
    machine.sql("insert into machines values (9001, 'added since')");
    machine
}

/// Reason and kind of every restore point, newest first.
fn points(machine: &TestMachine) -> Vec<(Value, Value)> {
    let (_, list) = machine.json(["backup", "list"]);
    let points = list["restore_points"].as_array().unwrap();
    points.iter().map(|point| (point["reason"].clone(), point["kind"].clone())).collect()
}

fn id(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// It was dumped first: seconds for every gigabyte, before a rename that takes none.
#[test]
fn what_a_clone_takes_the_place_of_is_a_restore_point_without_being_copied() {
    let machine = cloning();
    let before = machine.data();
    let machine = migrated(machine);
    let now = machine.data();
    let point = machine.points().remove(0);
    let told = machine.run(["restore", &point]).code(5);
    told.stderr(contains("rows written since").and(contains("becomes a restore point as it is")));
    let (code, json) = machine.json(["restore", &point, "--yes"]);
    assert_eq!(code, 0, "{json}");
    assert_eq!(machine.data(), before);
    assert_eq!(points(&machine), [("before restore".into(), "clone".into())]);
    let clone = clones(&machine);
    assert_eq!(json["replaced"][0]["kept_as"], json!(clone[0]), "{json}");
    assert_eq!(databases(&machine), [machine.dbname(), clone[0].as_str()]);
    // It leads forward again, by a rename too, and back once more.
    let forward = id(&json["copy"]);
    let (code, json) = machine.json(["restore", &forward, "--yes"]);
    assert_eq!(code, 0, "{json}");
    assert_eq!(machine.data(), now);
    machine.run(["restore", &id(&json["copy"]), "--yes"]).success();
    assert_eq!(machine.data(), before);
}

#[test]
fn its_dump_is_made_by_the_daily_job() {
    let machine = migrated(cloning());
    let now = machine.data();
    let (_, json) = machine.json(["restore", &machine.points().remove(0), "--yes"]);
    machine.run(["backup", "prune"]).success().stderr(
        contains(format!("restore point {} is a dump now", id(&json["copy"])))
            .and(contains("dropped the clone")),
    );
    assert_eq!(databases(&machine), [machine.dbname()]);
    assert_eq!(points(&machine), [("before restore".into(), "dump".into())]);
    machine.run(["restore", &id(&json["copy"]), "--yes", "--no-copy"]).success();
    assert_eq!(machine.data(), now);
}

#[test]
fn several_databases_that_are_replaced_are_one_restore_point() {
    let machine = TestMachine::with_databases(&["main", "stats"])
        .operator("restore_point = \"clone\"")
        .ship_for("stats", "good");
    let before = machine.data();
    let machine = migrated(machine);
    let now = machine.data();
    let (code, json) = machine.json(["restore", &machine.points().remove(0), "--yes"]);
    assert_eq!(code, 0, "{json}");
    assert_eq!(machine.data(), before);
    let (code, json) = machine.json(["restore", &id(&json["copy"]), "--yes", "--no-copy"]);
    assert_eq!(code, 0, "{json}");
    assert_eq!(machine.data(), now);
}
