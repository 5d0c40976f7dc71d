//! A world that somebody changed since the interruption is not resumed.

use super::support::machine::{Message, TestMachine, message};
use super::{killed_half_way, sleeping, wake_up};

fn cut_off() -> TestMachine {
    let machine = sleeping(TestMachine::new());
    killed_half_way(&machine, &["upgrade", "--from", "1.0.0-1"]);
    wake_up(&machine);
    machine
}

/// Whatever is asked for is refused, nothing changes, and the reason is named.
#[track_caller]
fn refused(machine: &TestMachine) -> Message {
    let before = machine.data();
    for words in [&["upgrade"][..], &["upgrade", "--resume"], &["upgrade", "--undo"]] {
        let refused = machine.run(words.iter().copied()).code(5);
        let told = message(&refused);
        assert!(told.first.contains("something has changed"), "{words:?} {told:#?}");
    }
    let told = message(&machine.run(["upgrade", "--retry"]).code(5));
    let id = machine.points().remove(0);
    assert!(told.hint.contains("`openwatch upgrade --resume --adopt`"), "{told:#?}");
    assert!(told.hint.contains(&format!("`openwatch restore {id} --yes`")), "{told:#?}");
    assert_eq!(machine.data(), before);
    machine.assert_closed();
    told
}

/// Row 64.
#[test]
fn a_history_that_somebody_changed_is_not_resumed_unless_it_is_adopted() {
    let machine = cut_off();
    machine.sql("update openwatch_schema_history set version = '0009' where version = '0003'");
    let told = refused(&machine);
    assert!(told.detail.contains("main: its history has 3 applied"), "{told:#?}");
    machine.sql("update openwatch_schema_history set version = '0003' where version = '0009'");
    machine.run(["upgrade"]).success();
    machine.assert_clean();
}

/// Row 64.
#[test]
fn a_database_that_was_put_back_by_hand_is_not_resumed_unless_it_is_adopted() {
    let machine = cut_off();
    let (name, server) = (machine.dbname().to_owned(), machine.server());
    server.psql("postgres", &format!("alter database {name} rename to {name}_aside"));
    server.psql("postgres", &format!("create database {name} template {name}_aside"));
    let told = refused(&machine);
    assert!(told.detail.contains(&format!("another database has the name {name}")), "{told:#?}");
    machine.run(["upgrade", "--resume", "--adopt"]).success();
    assert_eq!(machine.schema(), "0004");
    machine.assert_clean();
}

/// Row 64.
#[test]
fn another_package_over_half_done_data_is_not_resumed_unless_it_is_adopted() {
    let machine = cut_off().version("2.0.1-1");
    let told = refused(&machine);
    assert!(told.detail.contains("package 2.0.1-1 is installed, not 2.0.0-1"), "{told:#?}");
    machine.run(["upgrade", "--resume", "--adopt"]).success();
    machine.assert_clean();
}

#[test]
fn a_restore_by_our_own_command_is_no_change_of_the_world() {
    let machine = cut_off();
    let id = machine.points().remove(0);
    machine.run(["restore", &id, "--yes"]).success();
    wake_up(&machine);
    machine.run(["upgrade", "--retry"]).success();
    assert_eq!(machine.schema(), "0004");
    machine.assert_clean();
}
