//! What whoever logs in reads, and how it ends.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;

use super::support::machine::TestMachine;

fn message(machine: &TestMachine) -> PathBuf {
    machine.upgrade_dir().join("motd")
}

fn text(machine: &TestMachine) -> String {
    fs::read_to_string(message(machine)).unwrap()
}

/// Row 90.
#[test]
fn a_failed_upgrade_is_shown_at_login_until_it_is_acknowledged() {
    let machine = TestMachine::new().ship("failing");
    machine.run(["upgrade"]).code(7);
    let shown = text(&machine);
    for part in [
        "openwatch: the upgrade ",
        "2.0.0-1 FAILED (migration_failed, 20",
        "migration 0004_audit failed",
        &format!("restore point {}", machine.points()[0]),
        "next: Mend the cause and run `openwatch upgrade --retry`",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // Every user reads it, and nobody else's bytes move a terminal.
    assert_eq!(fs::metadata(message(&machine)).unwrap().permissions().mode() & 0o777, 0o644);
    assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
    let point = format!("restore point {}", machine.points()[0]);
    let all = contains("migration 0004_audit failed").and(contains(point));
    machine.run(["status"]).success().stdout(all);
    // Refused again every night: the failure itself stays what is shown.
    machine.run(["upgrade"]).code(5);
    assert_eq!(text(&machine), shown);

    machine
        .run(["status", "--acknowledge"])
        .success()
        .stdout(contains("acknowledged by ").and(contains("migration_failed at ")));
    assert!(!message(&machine).exists());
    machine.run(["status"]).success().stdout(contains("FAILED").not().and(contains("next:")));
    machine.run(["upgrade"]).code(5);
    assert!(!message(&machine).exists());
    assert_eq!(machine.json(["status"]).1["last_run"]["acknowledged"], true);
    // A new failure is news again.
    machine.run(["upgrade", "--retry"]).code(7);
    assert!(text(&machine).contains("FAILED"));
}

/// Row 90.
#[test]
fn a_good_end_takes_the_login_message_away() {
    let machine = TestMachine::new().ship("failing");
    machine.run(["upgrade"]).code(7);
    assert!(message(&machine).exists());
    let machine = machine.migration("0004_audit.sql", "create table audit (id bigint)");
    machine.run(["upgrade", "--retry"]).success();
    assert!(!message(&machine).exists());
    machine.run(["status"]).success().stdout(contains("FAILED").not());
}

/// Rows 1 and 90.
#[test]
fn an_upgrade_that_is_put_off_is_shown_at_login_until_it_is_done() {
    let machine =
        TestMachine::with_own_server().marked(Some("deb"), &["openwatch.service"]).ship("good");
    machine.server().down();
    machine.run(["upgrade", "--unit"]).code(4);
    let shown = text(&machine);
    assert!(shown.contains("2.0.0-1 is put off (unreachable, "), "{shown}");
    assert!(shown.contains("finished by itself"), "{shown}");
    machine.server().up();
    machine.run(["upgrade", "--unit"]).success();
    assert!(!message(&machine).exists());
}
