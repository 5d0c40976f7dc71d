//! Prunes.

use super::facts::{good_points, points_are_whole, put_point};
use super::matrix::{Case, Ended, killed, nothing};
use super::support::machine::TestMachine;

pub fn full() -> TestMachine {
    let machine =
        TestMachine::new().operator("backup_keep = 2").operator("backup_retention_days = 1");
    for day in 1..=5 {
        put_point(&machine, day);
    }
    machine
}

pub fn words(_: &TestMachine) -> Vec<String> {
    vec!["backup".into(), "prune".into()]
}

/// What was to be kept is whole whenever the prune ended, nothing half removed counts as a restore
/// point, and the next prune removes the rest.
pub fn keeps_what_it_said(machine: &TestMachine, ended: &Ended) {
    let kept = &ended.before[3..];
    let good = good_points(machine);
    assert!(kept.iter().all(|id| good.contains(id)), "{kept:?} of {good:?}");
    points_are_whole(machine, &good);
    machine.run(["backup", "prune"]).success();
    assert_eq!(machine.points(), kept);
    assert_eq!(machine.leftovers(), [""; 0]);
    points_are_whole(machine, kept);
}

/// Rows 67, 84 and 85.
#[test]
fn a_prune_killed_at_any_point_leaves_what_it_keeps_and_the_next_one_removes_the_rest() {
    killed(&Case {
        name: "prune",
        every: 29,
        make: full,
        words,
        meanwhile: nothing,
        check: keeps_what_it_said,
    });
}
