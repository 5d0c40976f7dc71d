//! Put off: the database is away, or there is no running systemd.

use super::support::machine::{TestMachine, message};
use super::{killed_half_way, sleeping, wake_up};

/// Rows 1 and 2.
#[test]
fn a_database_that_is_away_puts_the_upgrade_off_and_the_unit_finishes_it() {
    let machine = TestMachine::with_own_server().ship("good");
    machine.server().down();
    machine.run(["scriptlet", "deb", "postinst", "configure", "1.0.0-1"]).success();
    let said = machine.run(["scriptlet", "deb", "postinst", "triggered", "openwatch"]).success();
    let said = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
    assert!(said.contains("deferred: the gate stays closed"), "{said}");
    assert!(machine.mark().exists());
    let (_, status) = machine.json(["status"]);
    assert_eq!(status["gate"]["state"], "closed", "{status}");
    assert_eq!(status["recovery"]["state"], "deferred", "{status}");
    // The next try of the unit, once the server answers.
    machine.server().up();
    machine.run(["upgrade", "--unit"]).success();
    assert_eq!(
        (machine.schema(), machine.unit("openwatch.service")),
        ("0004".into(), "active".into())
    );
    machine.assert_clean();
}

/// Row 76.
#[test]
fn without_a_running_systemd_one_line_is_said_and_the_first_boot_does_the_work() {
    let machine = TestMachine::new().ship("good").without_systemd();
    machine.run(["scriptlet", "deb", "postinst", "configure", "1.0.0-1"]).success();
    let said = machine.run(["scriptlet", "deb", "postinst", "triggered", "openwatch"]).success();
    let said = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("runs at the first boot"), "{said}");
    assert_eq!((machine.schema(), machine.mark().exists()), ("0002".into(), true));
    let closed = machine.run(["gate"]).code(10);
    assert!(message(&closed).first.contains("is not done"), "{closed:?}");
    machine.boot();
    machine.run(["upgrade", "--unit"]).success();
    assert_eq!(machine.schema(), "0004");
    machine.assert_clean();
}

/// The services are down: waiting for the window would only make the downtime longer.
///
/// Rows 67 and 78.
#[test]
fn an_interrupted_upgrade_is_finished_by_the_boot_although_hold_and_window_say_no() {
    let never = "window = \"Sun 00:00-00:01\"\n";
    let machine = sleeping(TestMachine::new().marked(Some("deb"), &["openwatch.service"]));
    killed_half_way(&machine, &["upgrade"]);
    wake_up(&machine);
    machine.run(["upgrade", "hold", "--reason", "audit"]).success();
    let machine = machine.operator(never);
    let said = machine.run(["upgrade", "--unit"]).success();
    let said = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
    assert!(said.contains("has begun and is finished"), "{said}");
    assert_eq!(machine.schema(), "0004");
    assert_eq!(machine.unit("openwatch.service"), "active");
    machine.assert_clean();
    // The next one begins no earlier than it may.
    let machine = machine.migration("0005_more.sql", "CREATE TABLE more (id int);");
    machine.run(["upgrade"]).code(5);
}
