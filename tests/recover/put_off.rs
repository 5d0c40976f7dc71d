//! Put off: the database is away, or there is no running systemd.

use super::support::machine::{TestMachine, message};

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
