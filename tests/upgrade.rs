//! The whole upgrade on a machine: order, outcome, and the state that is left behind.

mod support;

use predicates::prelude::*;
use predicates::str::contains;
use support::machine::{TestMachine, message};

#[test]
fn pending_migrations_are_applied_and_the_service_is_back() {
    let machine = TestMachine::new().ship("good");
    machine.run(["upgrade", "--from", "1.0.0-1"]).success().stdout(predicate::str::starts_with(
        "openwatch 2.0.0-1 is up and healthy: applied 0003 0004",
    ));
    assert_eq!(machine.schema(), "0004");
    assert_eq!(machine.unit("openwatch.service"), "active");
    assert_eq!(machine.points().len(), 1);
    machine.assert_clean();
}

/// What the machine looks like from inside a call of the service manager.
const LOOK: &str = r#"
points=$(ls "$root/var/lib/openwatch/backups" | wc -l)
head=$(psql -X -A -t -d "$dsn" -c 'select max(version) from openwatch_schema_history')
marked=$([ -e "$(cat "$here/mark")" ] && echo marked || echo open)
echo "SEEN $points points, schema $head, $marked" >>"$here/calls"
"#;

fn looking(machine: TestMachine) -> TestMachine {
    let dsn = machine.server().conninfo(machine.dbname());
    let script = format!("PATH={}:$PATH\ndsn='{dsn}'\n{LOOK}", machine.server().bin().display());
    machine.with_hook("stop", "openwatch.service", &script).with_hook(
        "start",
        "openwatch.service",
        &script,
    )
}

#[test]
fn services_stop_before_the_dump_and_start_after_the_migrations() {
    let machine = looking(TestMachine::new().ship("good"));
    machine.run(["upgrade"]).success();
    assert_eq!(
        machine.acts(),
        [
            "stop openwatch.service",
            "SEEN 0 points, schema 0002, marked",
            "daemon-reload",
            "start openwatch.service",
            "SEEN 1 points, schema 0004, open",
        ]
    );
    machine.assert_clean();
}

#[test]
fn the_dump_is_taken_before_the_first_migration() {
    let machine = TestMachine::new().ship("good");
    machine.run(["upgrade"]).success();
    assert_eq!(
        machine.marks(),
        [
            "quiesce begun",
            "quiesce done",
            "restore_point begun",
            "restore_point done",
            "migrate begun",
            "migrate done",
            "start begun",
            "start done",
            "health begun",
            "health done",
        ]
    );
    let (_, shown) = machine.json(["backup", "show", "latest"]);
    assert_eq!(shown["restore_point"]["databases"][0]["schema"]["head"], "0002");
    machine.assert_clean();
}

#[test]
fn a_failing_migration_leaves_the_data_as_before_and_the_gate_closed() {
    let machine = TestMachine::new().ship("failing");
    let before = machine.data();
    let ended = machine.run(["upgrade", "--from", "1.0.0-1"]).code(7);
    let message = message(&ended);
    assert_eq!(message.first, "migration 0004_audit failed: relation \"audits\" does not exist");
    assert!(contains("SQLSTATE 42P01 at line 3").eval(&message.detail), "{message:#?}");
    assert!(contains("0004_audit.sql").eval(&message.detail), "{message:#?}");
    assert_eq!(machine.data(), before);
    assert_eq!(machine.points().len(), 1);
    machine.assert_closed();
}
