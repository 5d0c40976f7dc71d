//! Upgrades, by each kind of restore point and under each policy.

use std::path::Path;

use super::facts::{
    data, finish, gate_is_right, good_points, new, next_command, nothing_is_left, old,
    points_are_whole, put_point,
};
use super::matrix::{Case, Ended, killed, nothing};
use super::support::machine::TestMachine;

/// A machine of which the package's scripts have begun the upgrade, with a restore point from before.
pub fn begun(machine: TestMachine) -> TestMachine {
    let machine = machine.marked(None, &["openwatch.service"]);
    put_point(&machine, 1);
    machine
}

pub fn words(_: &TestMachine) -> Vec<String> {
    vec!["upgrade".into()]
}

/// An upgrade that can succeed: the data is the old or the new, and the named command makes it new.
pub fn succeeds(machine: &TestMachine, ended: &Ended) {
    let now = data(machine);
    assert!(now == old() || now == new(), "neither old nor new:\n{now}");
    gate_is_right(machine, "0004");
    let good = good_points(machine);
    assert!(good.contains(&ended.before[0]), "the older point is not good: {good:?}");
    // Where no command is named the upgrade is done; the dump of its clone is the daily job's.
    if ended.run.code != Some(0)
        && let Some(next) = next_command(machine)
    {
        finish(machine, &next, 0);
    }
    assert_eq!(data(machine), new());
    finish(machine, &["backup".into(), "prune".into()], 0);
    assert_eq!(machine.unit("openwatch.service"), "active");
    machine.run(["gate"]).success();
    assert!(!machine.mark().exists());
    machine.assert_orderly();
    let left = good_points(machine);
    assert!(left.len() > 1, "no restore point was taken: {left:?}");
    // What was good when the run was ended is whole; a clone may have become a dump or be spent.
    points_are_whole(machine, &left);
    assert!(left.contains(&ended.before[0]), "the older point is lost: {left:?}");
    nothing_is_left(machine, &[]);
}

/// An upgrade whose last migration cannot work, after one that stays: under `restore` the data comes
/// back, whenever the run before was ended.
fn is_put_back(machine: &TestMachine, ended: &Ended) {
    gate_is_right(machine, "0004");
    let good = good_points(machine);
    assert!(good.contains(&ended.before[0]), "the older point is not good: {good:?}");
    finish(machine, &["upgrade".into(), "--retry".into()], 9);
    assert_eq!(data(machine), old());
    machine.assert_closed();
    let left = good_points(machine);
    assert!(left.contains(&ended.before[0]), "the older point is lost: {left:?}");
    points_are_whole(machine, &left);
    std::fs::write(machine.migrations("main").join("0004_divides.sql"), "SELECT 1;\n").unwrap();
    finish(machine, &["upgrade".into(), "--retry".into()], 0);
    assert_eq!(machine.schema(), "0004");
    machine.assert_orderly();
    nothing_is_left(machine, &["_replaced_"]);
}

fn fails(machine: TestMachine) -> TestMachine {
    machine
        .operator("on_failure = \"restore\"")
        .migration("0003_alone.sql", "-- openwatch: no-transaction\nCREATE TABLE alone (id int);\n")
        .migration("0004_divides.sql", "-- openwatch: no-transaction\nSELECT 1 / 0;\n")
}

/// Rows 67 and 68.
#[test]
fn an_upgrade_killed_at_any_point_is_finished_by_the_named_command() {
    killed(&Case {
        name: "upgrade, dump",
        every: 149,
        make: || begun(TestMachine::new().ship("good")),
        words,
        meanwhile: nothing,
        check: succeeds,
    });
}

/// Rows 67 and 69.
#[test]
fn an_upgrade_by_clone_killed_at_any_point_is_finished_by_the_named_command() {
    killed(&Case {
        name: "upgrade, clone",
        every: 331,
        make: || begun(TestMachine::new().operator("restore_point = \"clone\"").ship("good")),
        words,
        meanwhile: nothing,
        check: succeeds,
    });
}

/// Rows 35 and 67.
#[test]
fn a_failing_upgrade_killed_at_any_point_is_put_back_by_a_retry() {
    killed(&Case {
        name: "upgrade that fails, dump, put back",
        every: 293,
        make: || begun(fails(TestMachine::new())),
        words,
        meanwhile: nothing,
        check: is_put_back,
    });
}

/// Rows 35 and 67.
#[test]
fn a_failing_upgrade_by_clone_killed_at_any_point_is_put_back_by_a_retry() {
    killed(&Case {
        name: "upgrade that fails, clone, put back",
        every: 397,
        make: || begun(fails(TestMachine::new().operator("restore_point = \"clone\""))),
        words,
        meanwhile: nothing,
        check: is_put_back,
    });
}

fn retry(_: &TestMachine) -> Vec<String> {
    vec!["upgrade".into(), "--retry".into()]
}

/// A machine whose first attempt failed and left the data as it was; the cause is mended.
fn mended() -> TestMachine {
    let machine =
        begun(TestMachine::new().ship("good").migration("0003_owner.sql", "select 1 / 0;"));
    machine.run(["upgrade"]).code(7);
    let good = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/migrations/good");
    let file = machine.migrations("main").join("0003_owner.sql");
    std::fs::copy(good.join("0003_owner.sql"), file).unwrap();
    machine
}

/// Rows 67 and 86.
#[test]
fn a_retry_that_uses_a_point_again_killed_at_any_point_is_finished_by_the_named_command() {
    killed(&Case {
        name: "retry that uses its point again",
        every: 211,
        make: mended,
        words: retry,
        meanwhile: nothing,
        check: succeeds,
    });
}
