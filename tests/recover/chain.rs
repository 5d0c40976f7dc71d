//! What several runs in a row leave: attempts at one version, the next version after a run that was
//! killed at its very end, and a gate that a person opened in between.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use predicates::str::contains;

use super::support::machine::{TestMachine, message};
use super::support::postgres::wait_for;
use super::{install_old, kill_it, killed_half_way, last, sleeping, wake_up};

/// A program of the operator that fails before the step.
fn failing_hook(machine: &TestMachine, step: &str) {
    let dir = machine.etc().join(format!("hooks.d/{step}.before.d"));
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("10-fails"), "#!/bin/sh\nexit 9\n").unwrap();
    fs::set_permissions(dir.join("10-fails"), fs::Permissions::from_mode(0o755)).unwrap();
}

/// 2.0.0 is migrated and serves; its run was killed before it had proved its health.
fn killed_at_its_end() -> TestMachine {
    let machine = TestMachine::new()
        .migration("0003_more.sql", "CREATE TABLE more (id int);\n")
        .with_hook("start", "openwatch.service", "sleep 600");
    let run = machine.spawn(["upgrade", "--from", "1.0.0-1"]);
    wait_for("the start", || machine.acts().contains(&"start openwatch.service".to_owned()));
    assert!(!machine.mark().exists(), "the gate is open");
    kill_it(run);
    fs::remove_file(machine.dir().join("hooks/start.openwatch.service")).unwrap();
    // The manager had its order, and carries it out without us.
    machine.with_unit("openwatch.service", "active")
}

/// Rows 4 and 64.
#[test]
fn a_run_killed_after_the_gate_opened_is_no_way_back_of_the_next_version() {
    let machine = killed_at_its_end();
    machine.sql("insert into machines select i, 'since ' || i from generate_series(5000, 5999) i");
    let machine = machine
        .version("3.0.0-1")
        .migration("0004_alone.sql", "-- openwatch: no-transaction\nCREATE TABLE half (id int);\n")
        .migration("0005_fails.sql", "SELECT 1/0;\n")
        .operator("on_failure = \"restore\"");
    let before = machine.data();
    let told = message(&machine.run(["upgrade", "--from", "2.0.0-1"]).code(9));
    assert_eq!(machine.data(), before, "{told:#?}");
    assert_eq!(machine.schema(), "0003");
    // The point that came back is the one that this upgrade took.
    assert!(told.state.contains(&machine.points()[1]), "{told:#?}");
    machine.assert_closed();
}

/// Row 64.
#[test]
fn the_next_version_after_a_run_that_was_killed_at_its_end_needs_no_word() {
    let machine = killed_at_its_end();
    let first = machine.points()[0].clone();
    let machine = machine.version("3.0.0-1").migration("0004_last.sql", "SELECT 1;\n");
    machine.run(["upgrade", "--from", "2.0.0-1"]).success();
    assert_eq!(machine.schema(), "0004");
    assert_eq!(last(&machine, "way_back"), serde_json::Value::Null);
    assert_ne!(last(&machine, "restore_point"), first.as_str());
    machine.assert_clean();
}

/// Rows 33 and 64.
///
/// The newer package's script, or a person without one, finds a part of what ran before.
#[test]
fn what_a_killed_run_had_not_started_yet_runs_again_after_the_next_version() {
    const UNITS: [&str; 3] = ["web.service", "worker.service", "openwatch.service"];
    for by_script in [true, false] {
        let machine = TestMachine::new()
            .with_unit("web.service", "active")
            .with_unit("worker.service", "active")
            .with_unit("stopped.service", "inactive")
            .services(&["web.service", "stopped.service", "worker.service", "openwatch.service"])
            .migration("0003_more.sql", "CREATE TABLE more (id int);\n")
            .with_hook("start", "worker.service", "sleep 600");
        let run = machine.spawn(["upgrade", "--from", "1.0.0-1"]);
        wait_for("the start", || machine.acts().contains(&"start worker.service".to_owned()));
        kill_it(run);
        fs::remove_file(machine.dir().join("hooks/start.worker.service")).unwrap();
        let running: Vec<&str> =
            UNITS.into_iter().filter(|unit| machine.unit(unit) == "active").collect();
        assert_eq!(running, ["openwatch.service"]);
        let machine = machine.version("3.0.0-1").migration("0004_last.sql", "SELECT 1;\n");
        if by_script {
            machine.run(["scriptlet", "deb", "preinst", "upgrade", "2.0.0-1", "3.0.0-1"]).success();
            machine.run(["scriptlet", "deb", "postinst", "configure", "2.0.0-1"]).success();
            machine.run(["scriptlet", "deb", "postinst", "triggered", "x"]).success();
        } else {
            machine.run(["upgrade", "--from", "2.0.0-1"]).success();
        }
        assert_eq!(machine.schema(), "0004");
        assert_eq!(UNITS.map(|unit| machine.unit(unit)), ["active"; 3], "{by_script}");
        assert_eq!(machine.unit("stopped.service"), "inactive");
        machine.assert_clean();
    }
}

/// Rows 33 and 64.
#[test]
fn what_a_killed_run_had_not_started_yet_runs_again_where_nothing_is_pending_either() {
    let machine = killed_at_its_end().with_unit("openwatch.service", "inactive").version("3.0.0-1");
    machine.run(["upgrade", "--from", "2.0.0-1"]).success();
    assert_eq!(machine.unit("openwatch.service"), "active");
    machine.assert_clean();
    machine.run(["upgrade"]).success().stdout(contains("nothing to do"));
}

/// Rows 4 and 60.
#[test]
fn what_was_written_behind_a_gate_opened_by_hand_is_not_taken_back() {
    let machine = sleeping(TestMachine::new().marked(Some("deb"), &["openwatch.service"]));
    killed_half_way(&machine, &["upgrade", "--from", "1.0.0-1"]);
    machine.run(["gate", "open", "--until", "2h", "--reason", "the shop must open"]).success();
    machine.sql("insert into machines select i, 'since ' || i from generate_series(5000, 5999) i");
    machine.run(["gate", "close"]).success();
    let before = machine.data();
    let refused = message(&machine.run(["upgrade", "--undo"]).code(5));
    assert!(refused.first.contains("would lose"), "{refused:#?}");
    // Nor by the older package's script, nor after another attempt has failed.
    let older = ["scriptlet", "deb", "preinst", "upgrade", "2.0.0-1", "1.0.0-1"];
    machine.run(older).code(5);
    wake_up(&machine);
    let machine = machine.migration("0005_fails.sql", "SELECT 1/0;\n");
    let machine = machine.operator("on_failure = \"restore\"");
    let told = message(&machine.run(["upgrade", "--resume", "--adopt"]).code(7));
    assert!(told.detail.contains("opened by hand"), "{told:#?}");
    assert_eq!(machine.sql("select count(*) from machines where name like 'since%'"), "1000");
    machine.run(older).code(5);
    assert_eq!(machine.data().len(), before.len());
}

#[test]
fn a_gate_is_not_opened_in_the_middle_of_a_run() {
    let machine = sleeping(TestMachine::new().marked(Some("deb"), &["openwatch.service"]));
    let run = machine.spawn(["upgrade"]);
    wait_for("the migration that sleeps", || super::asleep(&machine) == "1");
    let open = ["gate", "open", "--until", "2h", "--reason", "x"];
    machine.run(open).code(75).stderr(contains("upgrade"));
    machine.run(["gate"]).code(10);
    kill_it(run);
    super::end_sleepers(&machine);
}

/// Row 93.
#[test]
fn going_back_ends_the_word_that_opened_the_gate() {
    let machine = TestMachine::new().ship("failing").marked(Some("deb"), &["openwatch.service"]);
    machine.run(["upgrade"]).code(7);
    machine.run(["gate", "open", "--until", "2h", "--reason", "x"]).success();
    machine.run(["upgrade", "--undo"]).success();
    assert!(!machine.root().join("run/openwatch/gate-open").exists());
    machine.run(["gate"]).code(10);
}

/// Rows 53 and 67.
#[test]
fn an_undo_that_is_killed_twice_knows_that_the_data_was_on_its_way_back() {
    let machine = sleeping(TestMachine::new().marked(Some("deb"), &["openwatch.service"]));
    let old = machine.data();
    killed_half_way(&machine, &["upgrade", "--from", "1.0.0-1"]);
    machine.run(["upgrade", "--undo"]).success();
    // As if the first undo had been killed after the exchange, and the second right at its begin.
    let path = machine.upgrade_dir().join("journal.json");
    let mut record = machine.journal();
    for key in ["finished", "outcome", "data"] {
        record[key] = serde_json::Value::Null;
    }
    let marks = record["marks"].as_array_mut().unwrap();
    marks.retain(|mark| mark["step"] == "restore" && mark["when"] == "begun");
    fs::write(&path, record.to_string()).unwrap();
    let (code, undone) = machine.json(["upgrade", "--undo"]);
    assert_eq!(code, 0, "{undone}");
    assert_eq!(machine.data(), old);
    let machine = install_old(machine);
    machine.run(["upgrade", "--retry"]).success();
    assert_eq!(machine.unit("openwatch.service"), "active");
}

#[test]
fn what_failed_before_the_data_was_touched_is_undone_without_a_restore() {
    let machine = TestMachine::new().ship("good").marked(Some("deb"), &["openwatch.service"]);
    failing_hook(&machine, "restore-point");
    let old = machine.data();
    machine.run(["upgrade", "--from", "1.0.0-1"]).failure();
    let (code, undone) = machine.json(["upgrade", "--undo"]);
    assert_eq!((code, &undone["restore_point"]), (0, &serde_json::Value::Null), "{undone}");
    assert_eq!(machine.data(), old);
}
