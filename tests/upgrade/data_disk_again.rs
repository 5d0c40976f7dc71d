//! A data disk that has been somewhere before: what an earlier attempt left, and what was written since.

use std::fs;

use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;
use serde_json::{Value, json};

use crate::data_disk::{Disk, next, prepared};
use crate::rollback::{order, scriptlet, unpack_old, write_order};
use crate::support::machine::TestMachine;

const HALF: &str = "-- openwatch: no-transaction\nCREATE TABLE half (id int);\n";
const FAILS: &str = "-- openwatch: no-transaction\nSELECT 1/0;\n";

/// A version that leaves its data half done.
fn half(machine: TestMachine) -> TestMachine {
    machine
        .migration("0003_alone.sql", HALF)
        .migration("0004_fails.sql", FAILS)
        .operator("on_failure = \"stop\"")
}

/// One system of the first version that has a disk, and never gives it away.
fn alone() -> (Disk, TestMachine) {
    let disk = Disk::new();
    let machine = disk.of(TestMachine::new().version("1.0.0-1"), "old");
    machine.run(["disk", "init"]).success();
    machine.run(["disk", "attach"]).success();
    (disk, machine)
}

/// Starts the machine anew, up to where the disk is taken.
fn reboot(machine: TestMachine) -> TestMachine {
    let _ = fs::remove_dir_all(machine.root().join("run/openwatch"));
    let machine = machine.with_unit("openwatch.service", "inactive");
    machine.run(["disk", "attach"]).success();
    machine
}

fn rows(machine: &TestMachine, id: u32) -> String {
    machine.sql(&format!("select count(*) from machines where id = {id}"))
}

#[test]
fn what_is_written_after_a_rollback_outlives_the_next_reboot() {
    let (disk, machine) = alone();
    let machine = disk.of(half(machine.version("2.0.0-1")), "old");
    scriptlet(&machine, "deb preinst upgrade 1.0.0-1 2.0.0-1").success();
    scriptlet(&machine, "deb postinst configure 1.0.0-1").success();
    scriptlet(&machine, "deb postinst triggered openwatch-upgrade").code(7);
    assert_eq!(disk.state()["upgrade"]["data"], "partly");
    scriptlet(&machine, "deb preinst upgrade 2.0.0-1 1.0.0-1").success();
    let machine = unpack_old(machine);
    scriptlet(&machine, "deb postinst configure 2.0.0-1").success();
    scriptlet(&machine, "deb postinst triggered openwatch-upgrade").success();
    assert_eq!((disk.phase().as_str(), order(&machine)), ("went_back", Value::Null));
    machine.sql("insert into machines values (8000, 'weeks of work')");
    let machine = reboot(machine);
    machine.run(["upgrade", "--unit", "--boot"]).success().stderr(contains("putting").not());
    assert_eq!((rows(&machine, 8000).as_str(), machine.mark().exists()), ("1", false));
}

#[test]
fn a_disk_whose_newer_version_was_rolled_back_belongs_to_the_older_one() {
    let (disk, machine) = alone();
    let machine = machine.version("2.0.0-1").ship("good");
    machine.run(["upgrade", "--retry"]).success();
    assert_eq!(disk.phase(), "done");
    let point = disk.state()["upgrade"]["way_back"].clone();
    write_order(&machine, json!({"point": point}));
    machine.run(["rollback", "--unit"]).code(10);
    let machine = unpack_old(machine);
    machine.run(["rollback", "--unit"]).success();
    assert_eq!((disk.phase().as_str(), &disk.state()["version"]), ("went_back", &json!("1.0.0-1")));
    machine.sql("insert into machines values (8000, 'weeks of work')");
    let machine = reboot(machine);
    machine.run(["gate"]).success();
    machine.run(["upgrade", "--undo"]).success().stdout(contains("nothing to undo"));
    assert_eq!(rows(&machine, 8000), "1");
}

/// The new system has failed half way, and remembers it; the old one went back and worked for a week.
fn a_week_later() -> (Disk, TestMachine, TestMachine) {
    let (disk, old) = prepared();
    let new = disk.of(half(next(&disk, &old, "base")), "new");
    new.run(["disk", "attach"]).success();
    new.run(["upgrade", "--unit", "--boot"]).code(1);
    assert_eq!(new.schema(), "0003");
    new.run(["disk", "detach"]).success();
    let old = reboot(old);
    old.run(["upgrade", "--unit", "--boot"]).success();
    assert_eq!(disk.phase(), "went_back");
    old.sql("insert into machines values (3000, 'a week of work')");
    let new = disk.of(new.operator_without("on_failure"), "new");
    (disk, old, new)
}

#[test]
fn a_week_of_work_outlives_a_retry_on_a_system_that_failed_before() {
    let (disk, old, new) = a_week_later();
    old.run(["disk", "detach"]).success();
    new.run(["disk", "attach"]).success().stdout(contains("nobody prepared it"));
    new.run(["upgrade", "--retry"]).failure().stderr(contains("division by zero"));
    assert_eq!((rows(&new, 3000).as_str(), new.schema().as_str()), ("1", "0002"));
    // The old system goes back by the restore point of this attempt, where it has to.
    let way_back = disk.state()["upgrade"]["way_back"].clone();
    new.run(["backup", "show", way_back.as_str().unwrap()]).success();
    new.run(["disk", "detach"]).success();
    let old = reboot(old);
    old.run(["upgrade", "--unit", "--boot"]).success();
    assert_eq!(rows(&old, 3000), "1");
}

#[test]
fn a_week_of_work_outlives_an_undo_on_a_system_that_failed_before() {
    let (disk, old, new) = a_week_later();
    old.run(["disk", "detach"]).success();
    let other = half(TestMachine::beside(&old)).with_unit("openwatch.service", "inactive");
    let other = disk.of(other, "other");
    other.run(["disk", "attach"]).success();
    other.run(["upgrade", "--retry"]).code(7);
    other.run(["disk", "detach"]).success();
    new.run(["disk", "attach"]).success();
    new.run(["upgrade", "--undo"]).success().stdout(contains("the data had not changed"));
    assert_eq!((rows(&new, 3000).as_str(), new.mark().exists()), ("1", true));
}

#[test]
fn a_week_of_work_outlives_a_later_version_in_place_of_one_that_failed_before() {
    for foreign in [true, false] {
        let (disk, old, new) = a_week_later();
        old.run(["upgrade", "--prepare", "--for", "3.0.0-1"]).success();
        old.run(["disk", "detach"]).success();
        if !foreign {
            // Both systems are of one image, and called the same.
            fs::write(new.root().join("etc/machine-id"), "old\n").unwrap();
        }
        new.run(["disk", "attach"]).success().stdout(contains("nobody prepared it"));
        new.run(["upgrade", "--unit", "--boot"]).code(1);
        scriptlet(&new, "deb preinst upgrade 2.0.0-1 3.0.0-1").success();
        let new = new.version("3.0.0-1");
        scriptlet(&new, "deb postinst configure 2.0.0-1").success();
        let failed = scriptlet(&new, "deb postinst triggered openwatch-upgrade").failure();
        failed.stderr(contains("division by zero"));
        assert_eq!((rows(&new, 3000).as_str(), new.schema().as_str()), ("1", "0002"));
        assert_eq!(disk.phase(), "failed");
    }
}

#[test]
fn a_system_that_failed_before_takes_the_data_that_another_one_of_its_version_has_migrated() {
    let (disk, old) = prepared();
    let new = disk.of(half(next(&disk, &old, "base")), "new");
    new.run(["disk", "attach"]).success();
    new.run(["upgrade", "--unit", "--boot"]).code(1);
    new.run(["disk", "detach"]).success();
    let other = half(TestMachine::beside(&old)).with_unit("openwatch.service", "inactive");
    let other = disk.of(other.migration("0004_fails.sql", "SELECT 1;\n"), "other");
    other.run(["disk", "attach"]).success();
    other.run(["upgrade", "--retry"]).success();
    other.sql("insert into machines values (5000, 'proved, and used')");
    other.run(["disk", "detach"]).success();
    let new = new.migration("0004_fails.sql", "SELECT 1;\n");
    new.run(["disk", "attach"]).success().stdout(contains("they belong together"));
    new.run(["upgrade", "--undo"]).success();
    new.run(["upgrade", "--unit", "--boot"]).success();
    assert_eq!((rows(&new, 5000).as_str(), new.schema().as_str()), ("1", "0004"));
    assert!(!new.mark().exists(), "its data is that of this version");
}
