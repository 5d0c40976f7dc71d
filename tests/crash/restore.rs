//! Restores, of dumps and of clones, after an upgrade that ended well or badly.

use super::facts::{
    data, finish, gate_is_right, good_points, new, nothing_is_left, old, points_are_whole, rows,
};
use super::matrix::{Case, Ended, killed, nothing, tried};
use super::support::machine::TestMachine;
use super::tracer::{Act, At, Point, Side};

pub fn words(machine: &TestMachine) -> Vec<String> {
    let id = machine.points().remove(0);
    vec!["restore".into(), id, "--yes".into()]
}

/// An upgrade that ended well, and the operator's step before a restore.
pub fn upgraded(machine: TestMachine) -> TestMachine {
    let machine = machine.ship("good");
    machine.run(["upgrade", "--from", "1.0.0-1"]).success();
    machine.with_unit("openwatch.service", "inactive")
}

/// An upgrade by clone that left the data half done.
fn half() -> TestMachine {
    let machine = TestMachine::new()
        .operator("restore_point = \"clone\"")
        .migration("0003_alone.sql", "-- openwatch: no-transaction\nCREATE TABLE alone (id int);\n")
        .migration("0004_divides.sql", "-- openwatch: no-transaction\nSELECT 1 / 0;\n");
    machine.run(["upgrade", "--from", "1.0.0-1"]).code(7);
    machine
}

/// Migrated under the protection of a clone, whose place something else has by now.
pub fn migrated() -> TestMachine {
    let machine = TestMachine::new().operator("restore_point = \"clone\"").ship("good");
    let machine = machine.with_unit("openwatch.service", "inactive");
    machine.run(["migrate"]).success();
    machine
}

/// The same command puts the data back, and the gate was right before.
fn put_back(machine: &TestMachine, ended: &Ended) {
    let id = &ended.before[0];
    gate_is_right(machine, "0004");
    // A clone that has become the database is spent, and nothing is left to be done.
    let spent = data(machine) == old() && !machine.points().contains(id);
    if ended.run.code != Some(0) && !spent {
        assert!(good_points(machine).contains(id), "the point is lost");
        finish(machine, &["restore".into(), id.clone(), "--yes".into()], 0);
    }
    assert_eq!(data(machine), old());
    machine.assert_closed();
}

/// The data is what it was or what was put back, and the same command puts it back.
pub fn is_restored(machine: &TestMachine, ended: &Ended) {
    let now = data(machine);
    let half = machine.sql("select to_regclass('alone') is not null") == "t";
    assert!(half || now == old() || now == new(), "neither old nor new:\n{now}");
    put_back(machine, ended);
    assert_ne!(machine.run(["gate"]).get_output().status.code(), Some(0));
    points_are_whole(machine, &good_points(machine));
    nothing_is_left(machine, &["_replaced_"]);
}

/// Rows 53 and 67.
#[test]
fn a_restore_killed_at_any_point_is_finished_by_the_same_command() {
    killed(&Case {
        name: "restore of a dump",
        every: 179,
        make: || upgraded(TestMachine::new()),
        words,
        meanwhile: nothing,
        check: is_restored,
    });
}

/// Rows 53 and 67.
#[test]
fn a_restore_of_a_clone_killed_at_any_point_is_finished_by_the_same_command() {
    killed(&Case {
        name: "restore of a clone",
        every: 113,
        make: half,
        words,
        meanwhile: nothing,
        check: is_restored,
    });
}

/// What was replaced is a restore point that leads back to it, or stays under its other name: never is it
/// neither.
pub fn is_restored_and_kept(machine: &TestMachine, ended: &Ended) {
    let now = data(machine);
    assert!(now == old() || now == new(), "neither old nor new:\n{now}");
    put_back(machine, ended);
    machine.run(["backup", "prune"]).success();
    nothing_is_left(machine, &["_replaced_"]);
    let kept = "select datname from pg_database where starts_with(datname, current_database() || '_replaced_')";
    match good_points(machine).as_slice() {
        [] => assert_eq!(rows(&machine.server().dump(&machine.sql(kept))), new()),
        [point] => {
            machine.run(["restore", point, "--yes", "--no-copy"]).success();
            assert_eq!(data(machine), new());
        }
        more => panic!("{more:?}"),
    }
}

/// Rows 53 and 67.
#[test]
fn a_restore_of_a_clone_killed_at_any_point_loses_nothing_of_what_it_replaces() {
    killed(&Case {
        name: "restore of a clone, what it replaces kept",
        every: 131,
        make: migrated,
        words,
        meanwhile: nothing,
        check: is_restored_and_kept,
    });
}

/// The program's first act after the exchange, of which it knows then.
fn after_the_exchange(_: &[Point]) -> Vec<At> {
    let behind = Some("begin;alter database");
    vec![At { number: 0, behind, side: Side::Before, act: Act::Kill }]
}

/// Row 67.
/// The mark that came after the exchange was never written.
#[test]
fn a_restore_killed_right_after_the_exchange_has_closed_the_gate() {
    let make = || upgraded(TestMachine::new());
    let name = "restore of a dump, right after the exchange";
    let case = Case { name, every: 1, make, words, meanwhile: nothing, check: is_restored };
    tried(&case, after_the_exchange);
}

/// Rows 53 and 67.
/// The clone was the database already, and the same command said that it is gone.
#[test]
fn a_restore_of_a_clone_killed_right_after_the_exchange_is_known_as_done() {
    let name = "restore of a clone, right after the exchange";
    let case = Case { name, every: 1, make: half, words, meanwhile: nothing, check: is_restored };
    tried(&case, after_the_exchange);
}

/// Rows 53 and 67.
/// The same command found it done, and left the gate closed over data that the program knows.
#[test]
fn a_restore_of_a_clone_killed_right_after_the_exchange_opens_the_gate_where_it_is_repeated() {
    let make = || {
        let machine = migrated();
        for file in ["0003_owner.sql", "0004_index_readings.sql"] {
            std::fs::remove_file(machine.migrations("main").join(file)).unwrap();
        }
        machine.version("1.0.0-1")
    };
    let check = |machine: &TestMachine, ended: &Ended| {
        assert!(machine.mark().exists() && data(machine) == old());
        finish(machine, &["restore".into(), ended.before[0].clone(), "--yes".into()], 0);
        assert!(!machine.mark().exists(), "the installed program knows what came back");
        machine.run(["gate"]).success();
    };
    let name = "restore of a clone of the installed version, right after the exchange";
    let case = Case { name, every: 1, make, words, meanwhile: nothing, check };
    tried(&case, after_the_exchange);
}

/// Around the rename by which a point leaves its name.
fn while_the_point_goes(points: &[Point]) -> Vec<At> {
    let gone = points.iter().position(|point| point.what.contains(".removing-")).unwrap();
    let at = |number| At { number, behind: None, side: Side::Before, act: Act::Kill };
    (gone - 2..points.len().min(gone + 5)).map(at).collect()
}

/// Rows 53 and 67.
/// Its manifest went first: what had no manifest any more was listed as a restore point cut short, and the same
/// command refused it.
#[test]
fn a_restore_of_a_clone_killed_while_its_spent_point_goes_leaves_no_half_of_it() {
    let name = "restore of a clone, while its point goes";
    let case = Case { name, every: 1, make: half, words, meanwhile: nothing, check: is_restored };
    tried(&case, while_the_point_goes);
}
