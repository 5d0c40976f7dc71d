//! Attempts that are interrupted again and again.

use std::fs;

use super::support::machine::{TestMachine, message};
use super::{killed_half_way, last, sleeping, wake_up};

/// Rows 62 and 67.
#[test]
fn interrupted_three_times_in_the_same_step_it_is_stuck_and_one_command_finishes() {
    let machine = sleeping(TestMachine::new());
    for _ in 0..3 {
        killed_half_way(&machine, &["upgrade"]);
    }
    let run = last(&machine, "run");
    let stuck = machine.run(["upgrade"]).code(12);
    let told = message(&stuck);
    assert_eq!(
        told.first, "3 attempts in a row were interrupted in the same step (migrations)",
        "{told:#?}"
    );
    assert!(told.state.contains("migrated in part"), "{told:#?}");
    assert!(told.hint.contains("`openwatch upgrade --resume`"), "{told:#?}");
    let file = machine.upgrade_dir().join("stuck");
    assert!(fs::read_to_string(&file).unwrap().contains(&told.first));
    machine.run(["upgrade"]).code(12);
    assert_eq!(last(&machine, "run"), run, "no further attempt");
    machine.assert_closed();
    let (_, status) = machine.json(["status"]);
    assert_eq!(status["next"], "openwatch upgrade --resume", "{status}");

    wake_up(&machine);
    machine.run(["upgrade", "--resume"]).success();
    assert_eq!(
        (machine.schema(), machine.unit("openwatch.service")),
        ("0004".into(), "active".into())
    );
    assert!(!file.exists());
    machine.assert_clean();
}

#[test]
fn the_operator_says_how_often_an_attempt_may_be_interrupted() {
    let machine = sleeping(TestMachine::new().operator("attempts = 1"));
    killed_half_way(&machine, &["upgrade"]);
    machine.run(["upgrade"]).code(12);
    // A person's word begins to count anew.
    killed_half_way(&machine, &["upgrade", "--resume"]);
    machine.run(["upgrade"]).code(12);
    wake_up(&machine);
    machine.run(["upgrade", "--retry"]).success();
    machine.assert_clean();
}

#[test]
fn an_older_mark_without_a_count_is_read() {
    let machine = sleeping(TestMachine::new().marked(None, &["openwatch.service"]));
    wake_up(&machine);
    machine.run(["upgrade"]).success();
    machine.assert_clean();
}
