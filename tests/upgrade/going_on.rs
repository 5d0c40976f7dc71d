//! A rollback that was cut off, put off or left alone: what leads out, and what nobody decides.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use predicates::str::contains;
use serde_json::{Value, json};

use super::rollback::{failed_half_way, order, scriptlet, unpack_old, write_order};
use super::support::archives::{deb_of, file, tar};
use super::support::machine::{TestMachine, message};

/// The tools of dpkg, as far as they are asked; `half` beside them is a package that was cut off.
const TOOL: &str = r#"#!/bin/sh
here=$(cd "$(dirname "$0")/.." && pwd)
share=$here/root/usr/share/openwatch
put_in() {
    rm -f "$here/half" "$share"/migrations/0003* "$share"/migrations/0004*
    echo 1.0.0-1 >"$share/version"
}
case "$(basename "$0") $* " in
    *" --search "*) echo "openwatch: /usr/share/openwatch/upgrade.conf" ;;
    *" --show "*) if [ -e "$here/half" ]; then state=half-installed; else state=installed; fi
        echo "$state $(cat "$share/version")" ;;
    apt-get*) echo "$*" >>"$here/apt"
        [ ! -e "$here/half" ] || { echo "needs to be reinstalled" >&2; exit 100; }
        case " $* " in *" --simulate "*) ;; *) put_in ;; esac ;;
    *" --install "*) put_in ;;
esac
"#;

/// Gives a machine the package tools of Debian.
fn with_dpkg(machine: TestMachine) -> TestMachine {
    for tool in ["dpkg", "dpkg-query", "apt-get"] {
        let path = machine.dir().join("bin").join(tool);
        fs::write(&path, TOOL).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let database = machine.root().join("var/lib/dpkg");
    fs::create_dir_all(&database).unwrap();
    fs::write(database.join("status"), "").unwrap();
    machine
}

/// Returns the file of the older package.
fn older_package(machine: &TestMachine) -> String {
    let path = machine.dir().join("old.deb");
    let control = "Package: openwatch\nVersion: 1.0.0-1\nArchitecture: all\n";
    let data = tar(&[file("./usr/share/openwatch/version", "1.0.0-1\n")]);
    fs::write(&path, deb_of(&tar(&[file("./control", control)]), &data)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Upgrades well, and returns the restore point from before.
fn upgraded(machine: &TestMachine) -> String {
    machine.run(["upgrade", "--from", "1.0.0-1"]).success();
    machine.points()[0].clone()
}

/// The mark of a rollback that has begun.
fn mark_of_rollback(machine: &TestMachine) {
    let mark = json!({
        "from": "2.0.0-1", "to": "1.0.0-1", "since": "2026-01-01T00:00:00Z",
        "running": ["openwatch.service"],
    });
    fs::write(machine.mark(), mark.to_string()).unwrap();
}

/// Row 57.
#[test]
fn data_and_package_go_back_by_one_command() {
    let machine = with_dpkg(TestMachine::new().ship("good"));
    upgraded(&machine);
    let file = older_package(&machine);
    machine.run(["rollback", "--package", &file, "--yes"]).success();
    assert_eq!(machine.schema(), "0002");
    assert_eq!(order(&machine), Value::Null);
    assert_eq!(machine.unit("openwatch.service"), "active");
    machine.assert_clean();
}

/// Row 57.
#[test]
fn the_gate_lets_units_start_that_a_rollback_starts_at_its_end() {
    let machine = TestMachine::new();
    write_order(&machine, json!({}));
    // Ordered, not begun: by its files the gate is open, and by its own word.
    machine.run(["gate"]).success();
    let (_, status) = machine.json(["status"]);
    assert_eq!(status["gate"]["state"], "open", "{status}");
    machine.run(["status"]).success().stdout(contains("a rollback to 1.0.0-1 is ordered"));
    mark_of_rollback(&machine);
    machine.run(["gate"]).code(10);
    fs::remove_file(machine.mark()).unwrap();
    // The data is back and the program is not: closed, whoever took the mark away.
    write_order(&machine, json!({"restored": "2026-01-01T00:01:00Z"}));
    machine.run(["gate"]).code(10);
    let machine = machine.version("1.0.0-1");
    machine.run(["gate"]).success();
}

/// Rows 67 and 68.
#[test]
fn a_package_that_was_cut_off_while_unpacked_is_finished_and_not_refused_for_ever() {
    let machine = with_dpkg(TestMachine::new().ship("good"));
    upgraded(&machine);
    let file = older_package(&machine);
    machine.run(["rollback", "--package", &file, "--yes"]).success();
    // The same order, as it was when the package tool was killed.
    let note = fs::read_dir(machine.root().join("var/lib/openwatch/packages")).unwrap();
    let names = note.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let kept = names.into_iter().find(|name| name.ends_with(".deb"));
    write_order(
        &machine,
        json!({
            "program": {"exchanged": {"file": kept.expect("the package was kept")}},
            "package": "openwatch", "family": "deb",
            "point": machine.points()[0], "restored": "2026-01-01T00:01:00Z",
        }),
    );
    mark_of_rollback(&machine);
    fs::write(machine.dir().join("half"), "").unwrap();
    machine.run(["rollback", "--unit"]).success();
    assert_eq!(order(&machine), Value::Null);
    machine.assert_clean();
}

/// Row 61.
#[test]
fn nothing_else_changes_the_data_while_a_rollback_is_under_way() {
    let machine = failed_half_way();
    let point = machine.points()[0].clone();
    scriptlet(&machine, "deb preinst upgrade 2.0.0-1 1.0.0-1").success();
    let data = machine.data();
    for words in [&["migrate"][..], &["restore", &point, "--yes"]] {
        let refused = message(&machine.run(words.iter().copied()).code(5));
        assert!(refused.first.contains("a rollback to 1.0.0-1 is under way"), "{refused:#?}");
        assert!(refused.hint.contains("`openwatch rollback`"), "{refused:#?}");
    }
    assert_eq!(machine.data(), data);
    machine.assert_closed();
}

/// Row 67.
#[test]
fn data_that_was_migrated_again_meanwhile_is_put_back_again() {
    let machine = failed_half_way();
    scriptlet(&machine, "deb preinst upgrade 2.0.0-1 1.0.0-1").success();
    let order_before = order(&machine);
    // As an earlier version let somebody do it.
    fs::remove_file(machine.upgrade_dir().join("rollback")).unwrap();
    machine.run(["migrate", "--to", "0003"]).success();
    assert_eq!(machine.schema(), "0003");
    write_order(&machine, order_before);
    machine.run(["rollback", "--unit"]).code(10).stderr(contains("the schema has changed since"));
    assert_eq!(machine.schema(), "0002");
    machine.assert_closed();
}

/// Row 68.
#[test]
fn a_rollback_whose_database_is_away_is_put_off_and_not_stuck() {
    let machine = with_dpkg(TestMachine::with_own_server().ship("good"));
    let point = upgraded(&machine);
    write_order(&machine, json!({"point": point, "family": "deb"}));
    mark_of_rollback(&machine);
    machine.server().down();
    let away = message(&machine.run(["rollback", "--unit"]).code(4));
    assert!(away.hint.contains("by itself when the database answers"), "{away:#?}");
    assert_eq!(order(&machine)["failed"], Value::Null);
    machine.server().up();
    // The program is left to the package tool that was called by hand.
    machine.run(["rollback", "--unit"]).code(10);
    assert_eq!(machine.schema(), "0002");
}

/// Row 57.
#[test]
fn a_downgrade_by_hand_that_nobody_finishes_says_so_and_takes_a_package() {
    let machine = with_dpkg(failed_half_way());
    scriptlet(&machine, "deb preinst upgrade 2.0.0-1 1.0.0-1").success();
    // The package tool is killed here.
    let left = message(&machine.run(["rollback", "--unit"]).code(10));
    assert!(left.first.contains("the program is not"), "{left:#?}");
    assert!(left.hint.contains("`openwatch upgrade --retry`"), "{left:#?}");
    let missing = machine.run(["rollback", "--package", "/nowhere.deb"]).failure();
    assert!(message(&missing).first.contains("/nowhere.deb"), "{missing:?}");
    let file = older_package(&machine);
    machine.run(["rollback", "--package", &file]).success();
    assert_eq!(machine.schema(), "0002");
    assert_eq!(order(&machine), Value::Null);
    machine.assert_clean();
}

/// Row 60.
#[test]
fn an_order_that_never_began_is_decided_about_anew() {
    let machine = with_dpkg(TestMachine::new().ship("good"));
    let point = upgraded(&machine);
    let file = older_package(&machine);
    write_order(
        &machine,
        json!({"point": point, "copy": "nothing", "package": "openwatch", "family": "deb"}),
    );
    machine.sql("insert into machines select n, 'new ' || n from generate_series(1000, 9000) n");
    let data = machine.data();
    let refused = message(&machine.run(["rollback", "--package", &file]).code(5));
    assert!(refused.hint.contains("--yes"), "{refused:#?}");
    assert_eq!(machine.data(), data);
    assert_eq!(order(&machine), Value::Null);
}

/// Row 60.
#[test]
fn a_boot_that_carries_out_an_old_order_keeps_what_was_written_since() {
    let machine = with_dpkg(TestMachine::new().ship("good"));
    let point = upgraded(&machine);
    write_order(&machine, json!({"point": point, "copy": "nothing", "family": "deb"}));
    machine.sql("insert into machines select n, 'new ' || n from generate_series(1000, 9000) n");
    machine.run(["rollback", "--unit"]).code(10);
    assert_eq!(machine.schema(), "0002");
    assert_eq!(machine.points().len(), 2, "no copy of what was written since");
}

/// Row 68.
#[test]
fn a_restore_that_was_begun_stays_known_after_a_second_kill() {
    let machine = failed_half_way();
    let point = machine.points()[0].clone();
    scriptlet(&machine, "deb preinst upgrade 2.0.0-1 1.0.0-1").success();
    let restores = |machine: &TestMachine| {
        let marks = machine.marks();
        marks.iter().filter(|mark| mark.starts_with("restore ")).count()
    };
    assert_eq!(restores(&machine), 2);
    // Cut off before the order could say so: once, and again before anything else was done.
    for _ in 0..2 {
        let mut again = order(&machine);
        again.as_object_mut().unwrap().remove("restored");
        write_order(&machine, again);
        let said = contains(format!("the data of restore point {point} is back already"));
        machine.run(["rollback", "--unit"]).code(10).stderr(said);
        assert_eq!(restores(&machine), 2, "{:?}", machine.marks());
    }
}

/// Row 57.
#[test]
fn a_daily_timer_that_holds_the_lock_is_not_taken_for_the_rollback() {
    let machine = failed_half_way();
    scriptlet(&machine, "deb preinst upgrade 2.0.0-1 1.0.0-1").success();
    let machine = unpack_old(machine);
    let lock = fs::OpenOptions::new().read(true).write(true).open(machine.lock()).unwrap();
    lock.lock().unwrap();
    let holder =
        json!({"pid": std::process::id(), "since": "2026-01-01T00:00:00Z", "doing": "prune"});
    fs::write(machine.lock(), holder.to_string()).unwrap();
    machine.forget_calls();
    let mut script =
        machine.spawn(["scriptlet", "deb", "postinst", "triggered", "openwatch-upgrade"]);
    // It waits for the unit, which waits for the lock.
    super::wait_for("the unit to be started", || {
        machine.acts().iter().any(|act| act == "start openwatch-rollback.service")
    });
    drop(lock);
    assert!(script.wait().unwrap().success());
    assert_eq!(order(&machine), Value::Null);
    machine.assert_clean();
}
