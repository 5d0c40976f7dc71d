//! A data disk that has been somewhere before: what an earlier attempt left, and what was written since.

use std::fs;

use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;
use serde_json::{Value, json};

use crate::data_disk::Disk;
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
