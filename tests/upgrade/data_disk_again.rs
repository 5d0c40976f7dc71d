//! A data disk that has been somewhere before: what an earlier attempt left, and what was written since.

use std::fs;

use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;
use serde_json::{Value, json};

use crate::data_disk::{Disk, next, prepared};
use crate::rollback::{order, scriptlet, unpack_old, write_order};
use crate::support::machine::TestMachine;
use crate::support::postgres::wait_for;

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

/// The new system has left the data half done, and the old one was not asked yet.
fn half_done() -> (Disk, TestMachine) {
    let (disk, old) = prepared();
    let new = disk.of(half(next(&disk, &old, "base")), "new");
    new.run(["disk", "attach"]).success();
    new.run(["upgrade", "--unit", "--boot"]).code(1);
    assert_eq!(
        (new.schema().as_str(), &disk.state()["upgrade"]["data"]),
        ("0003", &json!("partly"))
    );
    new.run(["disk", "detach"]).success();
    (disk, old)
}

/// A third system goes on from there, fails, and takes back what it did, which is not what the old one had.
fn third_in_vain(disk: &Disk, old: &TestMachine, version: &str) -> TestMachine {
    let third = half(TestMachine::beside(old)).version(version);
    let third = third.with_unit("openwatch.service", "inactive").operator_without("on_failure");
    let third = disk.of(third, "third");
    third.run(["disk", "attach"]).success();
    third.run(["upgrade", "--retry"]).failure().stderr(contains("division by zero"));
    assert_eq!(third.schema(), "0003", "half done, as it was found");
    third
}

#[test]
fn the_old_system_goes_back_to_before_the_first_of_two_attempts() {
    for version in ["2.0.0-1", "3.0.0-1"] {
        let (disk, old) = half_done();
        let first = disk.state()["upgrade"]["way_back"].clone();
        let third = third_in_vain(&disk, &old, version);
        assert_eq!(disk.state()["upgrade"]["way_back"], first);
        // Once more on the same system, which knows its own attempt.
        third.run(["upgrade", "--retry"]).failure();
        assert_eq!(disk.state()["upgrade"]["way_back"], first);
        third.run(["disk", "detach"]).success();
        let old = reboot(old);
        old.run(["upgrade", "--unit", "--boot"]).success();
        assert_eq!((old.schema().as_str(), disk.phase().as_str()), ("0002", "went_back"));
        assert_eq!(old.unit("openwatch.service"), "active");
    }
}

#[test]
fn what_leads_the_old_system_to_other_data_is_put_back_once_and_not_at_every_boot() {
    let (disk, old) = half_done();
    let prepared = disk.state()["upgrade"]["restore_point"].as_str().unwrap().to_owned();
    // As an earlier version of this program left it: the way back is that of the second attempt.
    let third = third_in_vain(&disk, &old, "3.0.0-1");
    let mut state = disk.state();
    state["upgrade"]["way_back"] = state["upgrade"]["newest_point"].take();
    fs::write(disk.dir().join("upgrade-state.json"), state.to_string()).unwrap();
    third.run(["disk", "detach"]).success();
    let mut old = reboot(old);
    let told = old.run(["upgrade", "--unit", "--boot"]).code(1);
    told.stderr(contains("is not data of 1.0.0-1").and(contains(format!("restore {prepared}"))));
    for _ in 0..2 {
        old = reboot(old);
        old.run(["upgrade", "--unit", "--boot"]).code(1).stderr(contains("nothing was tried"));
    }
}

#[test]
fn going_back_that_is_killed_at_every_boot_is_left_to_a_person() {
    let (disk, old) = {
        let (disk, old) = prepared();
        // So that putting it back takes a while.
        old.sql("alter table machines add check (pg_sleep(0.02)::text is not null)");
        let new = disk.of(half(next(&disk, &old, "base")), "new");
        new.run(["disk", "attach"]).success();
        new.run(["upgrade", "--unit", "--boot"]).code(1);
        new.run(["disk", "detach"]).success();
        (disk, old)
    };
    let mut old = old;
    let mut last = String::new();
    for _ in 0..3 {
        old = reboot(old);
        let mut run = old.spawn(["upgrade", "--unit", "--boot"]);
        wait_for("the restore", || {
            let now = old.journal()["run"].as_str().unwrap_or_default().to_owned();
            now != last && old.marks().iter().any(|mark| mark == "restore begun")
        });
        last = old.journal()["run"].as_str().unwrap().to_owned();
        run.kill().unwrap();
        run.wait().unwrap();
    }
    let old = reboot(old);
    old.run(["upgrade", "--unit", "--boot"]).code(1).stderr(contains("interrupted 3 times"));
    old.run(["upgrade", "--unit", "--boot"]).code(1).stderr(contains("nothing was tried"));
    old.run(["upgrade", "--undo"]).success();
    assert_eq!((old.schema().as_str(), disk.phase().as_str()), ("0002", "went_back"));
}

#[test]
fn what_a_person_put_back_on_the_old_system_is_not_put_back_a_second_time() {
    let (disk, old) = half_done();
    let point = disk.state()["upgrade"]["way_back"].as_str().unwrap().to_owned();
    let old = reboot(old);
    let told = old.run(["restore", &point, "--yes"]).success();
    told.stdout(contains("next: run `openwatch upgrade --retry`").and(contains("install").not()));
    old.run(["gate", "open", "--until", "4h", "--reason", "until the morning"]).success();
    old.sql("insert into machines values (4000, 'of the night')");
    let old = reboot(old);
    let told = old.run(["upgrade", "--unit", "--boot"]).success();
    told.stdout(contains("its data had not changed"));
    assert_eq!((rows(&old, 4000).as_str(), disk.phase().as_str()), ("1", "went_back"));
    assert_eq!(old.unit("openwatch.service"), "active");
}

#[test]
fn another_restore_point_that_a_person_chose_is_kept_also_where_the_way_back_is_gone() {
    for gone in [false, true] {
        let (disk, old) = alone();
        old.run(["backup", "create"]).success();
        let chosen = disk.names()[0].clone();
        old.sql("insert into machines values (6000, 'not wanted')");
        old.run(["upgrade", "--prepare", "--for", "2.0.0-1"]).success();
        let new = disk.of(half(next(&disk, &old, "base")), "new");
        new.run(["disk", "attach"]).success();
        new.run(["upgrade", "--unit", "--boot"]).code(1);
        new.run(["disk", "detach"]).success();
        for point in disk.names().into_iter().filter(|id| gone && *id != chosen) {
            fs::remove_dir_all(disk.dir().join("backups").join(point)).unwrap();
        }
        let old = reboot(old);
        old.run(["restore", &chosen, "--yes"]).success();
        old.run(["upgrade", "--retry"]).success();
        assert_eq!((rows(&old, 6000).as_str(), disk.phase().as_str()), ("0", "went_back"));
        old.run(["gate"]).success();
    }
}

#[test]
fn half_done_data_that_a_person_put_back_does_not_hide_the_way_back() {
    let (disk, old) = half_done();
    let third = third_in_vain(&disk, &old, "3.0.0-1");
    let newest = disk.state()["upgrade"]["newest_point"].as_str().unwrap().to_owned();
    third.run(["disk", "detach"]).success();
    let old = reboot(old);
    old.run(["restore", &newest, "--yes"]).success();
    assert_eq!(old.schema(), "0003");
    old.run(["upgrade", "--unit", "--boot"]).success();
    assert_eq!((old.schema().as_str(), disk.phase().as_str()), ("0002", "went_back"));
}

#[test]
fn the_service_runs_again_where_the_older_package_is_put_in_after_a_failure() {
    let (disk, machine) = alone();
    let machine = machine.version("2.0.0-1").ship("failing");
    scriptlet(&machine, "deb preinst upgrade 1.0.0-1 2.0.0-1").success();
    scriptlet(&machine, "deb postinst configure 1.0.0-1").success();
    scriptlet(&machine, "deb postinst triggered openwatch-upgrade").failure();
    assert_eq!(machine.unit("openwatch.service"), "inactive");
    scriptlet(&machine, "deb preinst upgrade 2.0.0-1 1.0.0-1").success();
    let machine = unpack_old(machine);
    scriptlet(&machine, "deb postinst configure 2.0.0-1").success();
    scriptlet(&machine, "deb postinst triggered openwatch-upgrade").success();
    assert_eq!(
        (machine.unit("openwatch.service").as_str(), machine.mark().exists()),
        ("active", false)
    );
    assert_eq!(disk.phase(), "went_back");
}

#[test]
fn the_service_of_a_disk_that_nobody_prepared_runs_after_a_swap_and_after_going_back() {
    for good in [true, false] {
        let (disk, old) = alone();
        let new = next(&disk, &old, if good { "good" } else { "failing" });
        new.run(["disk", "attach"]).success();
        if good {
            new.run(["upgrade", "--retry"]).success();
            assert_eq!(
                (new.unit("openwatch.service").as_str(), new.schema().as_str()),
                ("active", "0004")
            );
            continue;
        }
        new.run(["upgrade", "--retry"]).failure();
        new.run(["disk", "detach"]).success();
        let old = reboot(old);
        old.run(["upgrade", "--unit", "--boot"]).success();
        assert_eq!(
            (old.unit("openwatch.service").as_str(), disk.phase().as_str()),
            ("active", "went_back")
        );
    }
}

#[test]
fn a_package_that_was_put_in_before_the_disk_came_starts_what_ran_on_the_old_system() {
    let (disk, old) = prepared();
    old.run(["disk", "detach"]).success();
    let new = TestMachine::beside(&old).with_unit("openwatch.service", "inactive").ship("good");
    let new = disk.of(new.marked(Some("deb"), &[]), "new");
    let mark = fs::read_to_string(new.mark()).unwrap().replace("1.0.0-1", "1.5.0-1");
    fs::write(new.mark(), mark).unwrap();
    new.run(["disk", "attach"]).success();
    let told = new.run(["upgrade", "--unit", "--boot"]).success();
    told.stdout(contains("is up and healthy").and(contains("1.5.0").not()));
    assert_eq!(new.unit("openwatch.service"), "active");
}

#[test]
fn a_gate_that_a_person_opened_is_closed_for_a_disk_with_other_data_and_while_it_is_put_back() {
    let (disk, old) = prepared();
    let open = ["gate", "open", "--until", "4h", "--reason", "of today"];
    let word = old.root().join("run/openwatch/gate-open");
    old.run(open).success();
    assert!(word.exists());
    let new = disk.of(half(next(&disk, &old, "base")), "new");
    new.run(["disk", "attach"]).success();
    new.run(["upgrade", "--unit", "--boot"]).code(1);
    new.run(["disk", "detach"]).success();
    // Mounted again, and never rebooted.
    let old = old.with_unit("openwatch.service", "inactive");
    old.run(["disk", "attach"]).success().stderr(contains("no longer open by hand"));
    assert!(!word.exists());
    old.run(["gate"]).failure();
    // Where a person opens it over that data, it is closed before the data is put back.
    old.run(open).success();
    let told = old.run(["upgrade", "--unit", "--boot"]).success();
    told.stderr(contains("no longer open by hand").and(contains("putting the data back")));
    assert!(!word.exists() && !old.mark().exists());
}

#[test]
fn going_back_that_failed_once_does_not_keep_the_old_system_from_the_next_way_back() {
    let (disk, old) = half_done();
    let point = disk.state()["upgrade"]["way_back"].as_str().unwrap().to_owned();
    let path = disk.dir().join("backups").join(&point);
    // Its archive is damaged: going back is begun, and fails.
    for entry in fs::read_dir(&path).unwrap().flatten() {
        if entry.path().is_file() && entry.file_name() != "manifest.json" {
            fs::write(entry.path(), "damaged").unwrap();
        }
    }
    let old = reboot(old);
    old.run(["upgrade", "--unit", "--boot"]).code(1).stderr(contains("going back failed"));
    old.run(["upgrade", "--unit", "--boot"]).code(1).stderr(contains("nothing was tried"));
    old.run(["disk", "detach"]).success();
    // Elsewhere the data is put in order, and another attempt fails with a point of its own.
    let mut state = disk.state();
    state["upgrade"]["data"] = "unchanged".into();
    fs::write(disk.dir().join("upgrade-state.json"), state.to_string()).unwrap();
    old.sql("drop table half; delete from openwatch_schema_history where version > '0002'");
    let other = disk.of(half(TestMachine::beside(&old)), "other");
    let other = other.with_unit("openwatch.service", "inactive");
    other.run(["disk", "attach"]).success();
    other.run(["upgrade", "--retry"]).code(7);
    assert_ne!(disk.state()["upgrade"]["way_back"], json!(point));
    other.run(["disk", "detach"]).success();
    let old = reboot(old);
    old.run(["upgrade", "--unit", "--boot"]).success();
    assert_eq!((old.schema().as_str(), disk.phase().as_str()), ("0002", "went_back"));
}
