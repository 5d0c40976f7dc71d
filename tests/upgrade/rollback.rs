//! The way back: downgrades by hand, orders that are left, and what a rollback says no to.

use std::fs;

use predicates::str::contains;
use serde_json::{Value, json};

use super::half_migrated;
use super::support::machine::{TestMachine, message};

pub fn order(machine: &TestMachine) -> Value {
    let path = machine.upgrade_dir().join("rollback");
    fs::read(path).ok().map_or(Value::Null, |text| serde_json::from_slice(&text).unwrap())
}

pub fn write_order(machine: &TestMachine, more: Value) {
    let mut order = json!({
        "format": 1, "since": "2026-01-01T00:00:00Z", "from": "2.0.0-1", "to": "1.0.0-1",
        "program": "by_hand", "running": ["openwatch.service"],
    });
    order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fs::write(machine.upgrade_dir().join("rollback"), order.to_string()).unwrap();
}

pub fn scriptlet(machine: &TestMachine, words: &str) -> assert_cmd::assert::Assert {
    machine.run(["scriptlet"].into_iter().chain(words.split(' ')))
}

/// Puts the files of 1.0.0 on disk, as unpacking the older package does.
pub fn unpack_old(machine: TestMachine) -> TestMachine {
    let machine = machine.version("1.0.0-1");
    for entry in fs::read_dir(machine.migrations("main")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("0003") || name.starts_with("0004") {
            fs::remove_file(path).unwrap();
        }
    }
    machine
}

/// Upgrades to a version whose last migration fails after others were committed.
pub fn failed_half_way() -> TestMachine {
    let machine = half_migrated(TestMachine::new());
    scriptlet(&machine, "deb postinst configure 1.0.0-1").success();
    scriptlet(&machine, "deb postinst triggered openwatch-upgrade").code(7);
    assert_eq!(machine.schema(), "0003");
    machine.assert_closed();
    machine
}

/// Rows 57 and 62.
#[test]
fn after_a_failed_upgrade_the_data_comes_back_with_the_older_package_put_in_by_hand() {
    let machine = failed_half_way();
    let point = machine.points()[0].clone();
    scriptlet(&machine, "deb preinst upgrade 2.0.0-1 1.0.0-1")
        .success()
        .stderr(contains(format!("restore point {point} comes back")));
    assert_eq!(machine.schema(), "0002");
    assert_eq!(order(&machine)["point"], json!(point));
    machine.assert_closed();
    // Nothing goes forward while the package tool is between the two.
    machine.run(["upgrade"]).code(5).stderr(contains("a rollback to 1.0.0-1 is under way"));
    machine.run(["gate"]).code(10).stderr(contains("`openwatch rollback`"));

    let machine = unpack_old(machine);
    scriptlet(&machine, "deb postinst configure 2.0.0-1").success();
    scriptlet(&machine, "deb postinst triggered openwatch-upgrade").success();
    assert_eq!(machine.schema(), "0002");
    assert_eq!(machine.unit("openwatch.service"), "active");
    assert_eq!(order(&machine), Value::Null);
    machine.assert_clean();
    let (_, status) = machine.json(["status"]);
    assert_eq!(status["given_up"], "2.0.0-1");

    // The same version is not tried again by itself; a newer one, or a person's word, is let in.
    let again = scriptlet(&machine, "deb preinst upgrade 1.0.0-1 2.0.0-1").code(5);
    assert!(message(&again).hint.contains("`openwatch upgrade --retry`"), "{again:?}");
    scriptlet(&machine, "deb preinst upgrade 1.0.0-1 2.0.1-1").success();
    machine.run(["upgrade", "--retry"]).success();
    scriptlet(&machine, "deb preinst upgrade 1.0.0-1 2.0.0-1").success();
}

/// Nothing else keeps what somebody mended by hand, where the content is replaced in place.
///
/// Rows 57 and 60.
#[test]
fn a_downgrade_by_hand_in_place_keeps_the_present_state_first() {
    let machine = half_migrated(TestMachine::new().in_place());
    scriptlet(&machine, "deb postinst configure 1.0.0-1").success();
    scriptlet(&machine, "deb postinst triggered openwatch-upgrade").code(7);
    let point = machine.points()[0].clone();
    machine.sql("insert into machines values (9001, 'mended by hand')");
    scriptlet(&machine, "deb preinst upgrade 2.0.0-1 1.0.0-1").success();
    assert_eq!(machine.sql("select count(*) from machines where id = 9001"), "0");
    assert_eq!(order(&machine)["point"], json!(point));
    let copy = order(&machine)["copied"].as_str().unwrap().to_owned();
    let beside = format!("{}_beside", machine.dbname());
    let machine = machine.role("postgres");
    machine.run(["restore", &copy, "--into", &beside]).success();
    let mended = "select name from machines where id = 9001";
    assert_eq!(machine.server().psql(&beside, mended), "mended by hand");
}

/// Rows 62 and 71.
#[test]
fn a_rollback_whose_start_a_shutdown_cancels_is_not_stuck_and_the_next_boot_goes_on() {
    let machine = failed_half_way().with_hook(
        "restart",
        "openwatch.service",
        "[ ! -e \"$here/booted\" ] || exit 0
         echo '1093 shutdown.target start waiting' >\"$here/jobs\"
         exit 1",
    );
    scriptlet(&machine, "deb preinst upgrade 2.0.0-1 1.0.0-1").success();
    let machine = unpack_old(machine);
    scriptlet(&machine, "deb postinst configure 2.0.0-1").success();
    let cut_off = scriptlet(&machine, "deb postinst triggered openwatch-upgrade").code(8);
    assert!(message(&cut_off).hint.contains("as the next boot does by itself"), "{cut_off:?}");
    assert_eq!(order(&machine)["failed"], Value::Null);
    machine.assert_closed();
    fs::remove_file(machine.dir().join("jobs")).unwrap();
    fs::write(machine.dir().join("booted"), "").unwrap();
    machine.run(["rollback", "--unit"]).success();
    assert_eq!((machine.schema().as_str(), order(&machine)), ("0002", Value::Null));
    assert_eq!(machine.unit("openwatch.service"), "active");
}

/// Rows 57 and 67.
#[test]
fn a_downgrade_by_hand_that_stops_between_its_halves_is_finished_or_goes_forward() {
    for forward in [false, true] {
        let machine = failed_half_way();
        scriptlet(&machine, "rpm pre 2 1.0.0-1").success();
        assert_eq!(machine.schema(), "0002");
        // The package tool is killed here. A nervous start changes nothing, and says who has to.
        machine.run(["rollback", "--unit"]).code(10);
        machine.assert_closed();
        if forward {
            let machine = machine.migration("0004_divides.sql", "SELECT 1;\n");
            let given_up = contains("the rollback to 1.0.0-1 is given up");
            machine.run(["upgrade", "--retry"]).success().stderr(given_up);
            assert_eq!(order(&machine), Value::Null);
            assert_eq!(machine.schema(), "0004");
            machine.assert_clean();
        } else {
            let machine = unpack_old(machine);
            machine.run(["rollback"]).success().stdout(contains("back at version 1.0.0-1"));
            assert_eq!(machine.schema(), "0002");
            machine.assert_clean();
        }
    }
}

/// Rows 57 and 67.
#[test]
fn a_newer_package_over_a_rollback_that_was_cut_off_upgrades_from_the_version_of_the_data() {
    let machine = failed_half_way();
    scriptlet(&machine, "deb preinst upgrade 2.0.0-1 1.0.0-1").success();
    assert_eq!(machine.schema(), "0002");
    // As if it had been killed while the package tool was at work.
    let mut record = machine.journal();
    for key in ["finished", "outcome", "message", "state", "next"] {
        record[key] = Value::Null;
    }
    fs::write(machine.upgrade_dir().join("journal.json"), record.to_string()).unwrap();
    let machine = machine.version("3.0.0-1").migration("0004_divides.sql", "SELECT 1;\n");
    scriptlet(&machine, "deb preinst upgrade 2.0.0-1 3.0.0-1").success();
    scriptlet(&machine, "deb postinst configure 2.0.0-1")
        .success()
        .stderr(contains("the rollback to 1.0.0-1 is given up"));
    assert_eq!(order(&machine), Value::Null);
    let mark: Value = serde_json::from_slice(&fs::read(machine.mark()).unwrap()).unwrap();
    assert_eq!((&mark["from"], &mark["to"]), (&json!("1.0.0-1"), &json!("3.0.0-1")));
    scriptlet(&machine, "deb postinst triggered openwatch-upgrade").success();
    assert_eq!(machine.schema(), "0004");
    assert_eq!(machine.unit("openwatch.service"), "active");
    machine.assert_clean();
}

/// Row 60.
#[test]
fn what_somebody_wrote_since_is_never_taken_back_by_a_downgrade_by_hand() {
    let machine = TestMachine::new().ship("good");
    machine.run(["upgrade", "--from", "1.0.0-1"]).success();
    let (data, point) = (machine.data(), machine.points()[0].clone());
    for form in ["deb preinst upgrade 2.0.0-1 1.0.0-1", "rpm pre 2 1.0.0-1"] {
        let refused = message(&scriptlet(&machine, form).code(5));
        assert!(refused.detail.contains(&point), "{refused:#?}");
        assert_eq!(refused.state, "nothing was changed");
        assert!(refused.hint.contains("`openwatch rollback --to 1.0.0`"), "{refused:#?}");
    }
    assert_eq!(machine.data(), data);
    assert_eq!(machine.unit("openwatch.service"), "active");
}

/// Row 57.
#[test]
fn a_rollback_needs_a_package_that_a_package_tool_knows() {
    let machine = TestMachine::new().ship("good");
    machine.run(["upgrade", "--from", "1.0.0-1"]).success();
    let (tree, data) = (machine.tree(), machine.data());
    let refused = message(&machine.run(["rollback", "--yes"]).code(5));
    assert!(refused.first.contains("no installed package owns"), "{refused:#?}");
    assert_eq!(refused.state, "nothing was changed");
    machine.run(["rollback", "--unit"]).success().stdout(contains("no rollback is under way"));
    assert_eq!(machine.data(), data);
    assert_eq!(machine.unit("openwatch.service"), "active");
    let mut now = machine.tree();
    now.retain(|path, _| !path.ends_with("upgrade.lock") && !path.ends_with("run.log"));
    let mut before = tree;
    before.retain(|path, _| !path.ends_with("upgrade.lock") && !path.ends_with("run.log"));
    assert_eq!(now, before);
}

/// Row 61.
#[test]
fn a_rollback_that_failed_is_stuck_until_a_person_says_so() {
    let machine = TestMachine::new();
    let failed = json!({"outcome": "stuck", "message": "the disk is full"});
    write_order(&machine, json!({"failed": failed}));
    let held = message(&machine.run(["rollback", "--unit"]).code(12));
    assert!(held.detail.contains("the disk is full"), "{held:#?}");
    assert!(held.hint.contains("`openwatch rollback`"), "{held:#?}");
    machine
        .run(["rollback", "--to", "0.9.0"])
        .code(5)
        .stderr(contains("is under way, not to 0.9.0"));
    assert_eq!(order(&machine)["failed"]["message"], "the disk is full");
}

/// Row 61.
#[test]
fn a_damaged_order_opens_no_gate_and_names_its_file() {
    let machine = TestMachine::new();
    let path = machine.upgrade_dir().join("rollback");
    fs::write(&path, "{\"program\": \"of a newer version\"}").unwrap();
    for words in [&["rollback"][..], &["rollback", "--unit"], &["upgrade"], &["gate"]] {
        let stuck = message(&machine.run(words.iter().copied()).code(12));
        assert!(stuck.first.contains(path.to_str().unwrap()), "{stuck:#?}");
        assert!(stuck.hint.contains(&format!("`rm {}`", path.display())), "{stuck:#?}");
    }
    // The older package stays out as well.
    scriptlet(&machine, "deb preinst upgrade 2.0.0-1 1.0.0-1").code(5);
    assert_eq!(machine.unit("openwatch.service"), "active");
}
