//! `upgrade --undo`: back to before the first attempt.

use std::fs;

use super::support::machine::{TestMachine, message};
use super::support::postgres::wait_for;
use super::{install_old, kill_it, killed_half_way, last, sleeping, wake_up};

fn marked() -> TestMachine {
    sleeping(TestMachine::new().marked(Some("deb"), &["openwatch.service"]))
}

/// Rows 57 and 67.
#[test]
fn half_done_data_comes_back_and_the_gate_stays_closed_until_the_program_does() {
    let machine = marked();
    let old = machine.data();
    killed_half_way(&machine, &["upgrade"]);
    assert_eq!(machine.schema(), "0003", "the first migration is there to stay");
    let (code, undone) = machine.json(["upgrade", "--undo"]);
    assert_eq!((code, &undone["work"]), (0, &"undone".into()), "{undone}");
    assert_eq!((&undone["program"], &undone["gate"]), (&"1.0.0-1".into(), &"closed".into()));
    assert_eq!(undone["next"], "`apt-get install --allow-downgrades openwatch=1.0.0-1`");
    assert_eq!(machine.data(), old);
    machine.assert_closed();
    assert_eq!(last(&machine, "outcome"), "rolled_back");
    // The boot leaves it alone.
    let refused = machine.run(["upgrade"]).code(5);
    assert!(message(&refused).first.contains("is not tried again by itself"), "{refused:?}");
    assert_eq!(machine.data(), old);
    // The older package allows itself to be installed, and starts what ran.
    let unpack = ["scriptlet", "deb", "preinst", "upgrade", "2.0.0-1", "1.0.0-1"];
    machine.run(unpack).success();
    wake_up(&machine);
    let machine = install_old(machine);
    machine.run(["upgrade", "--retry"]).success();
    assert_eq!(machine.unit("openwatch.service"), "active");
    assert!(!machine.mark().exists());
}

/// The second attempt begins where the first was killed; back is before the first.
///
/// Row 67.
#[test]
fn an_undo_leads_back_to_before_the_first_of_several_attempts() {
    let machine = marked();
    let old = machine.data();
    for _ in 0..3 {
        killed_half_way(&machine, &["upgrade"]);
    }
    assert_eq!(machine.schema(), "0003");
    machine.run(["upgrade", "--undo"]).success();
    assert_eq!(machine.data(), old);
    machine.assert_closed();
}

#[test]
fn with_the_older_program_on_disk_already_an_undo_starts_what_ran() {
    let machine = marked();
    let old = machine.data();
    killed_half_way(&machine, &["upgrade"]);
    let machine = install_old(machine);
    let refused = machine.run(["upgrade", "--undo"]).code(5);
    assert!(message(&refused).detail.contains("package 1.0.0-1 is installed, not 2.0.0-1"));
    let (code, undone) = machine.json(["upgrade", "--undo", "--adopt"]);
    assert_eq!((code, &undone["gate"]), (0, &"open".into()), "{undone}");
    assert_eq!(machine.data(), old);
    assert_eq!(machine.unit("openwatch.service"), "active");
    assert!(!machine.mark().exists());
}

#[test]
fn data_that_never_changed_is_left_alone_by_an_undo() {
    let machine = TestMachine::new().migration("0003_sleeps.sql", "SELECT pg_sleep(600);\n");
    let old = machine.data();
    let oid = "select oid from pg_database where datname = current_database()";
    let before = machine.sql(oid);
    killed_half_way(&machine, &["upgrade", "--from", "1.0.0-1"]);
    let (code, undone) = machine.json(["upgrade", "--undo"]);
    assert_eq!((code, &undone["restore_point"]), (0, &serde_json::Value::Null), "{undone}");
    assert_eq!((machine.data(), machine.sql(oid)), (old, before));
    machine.assert_closed();
}

#[test]
fn with_nothing_open_there_is_nothing_to_undo() {
    let machine = TestMachine::new();
    let (code, undone) = machine.json(["upgrade", "--undo"]);
    assert_eq!((code, &undone["work"]), (0, &"nothing".into()), "{undone}");
    assert_eq!(machine.unit("openwatch.service"), "active");
}

#[test]
fn a_migration_that_failed_half_way_is_undone_by_one_command() {
    let machine = TestMachine::new()
        .migration("0003_alone.sql", "-- openwatch: no-transaction\nCREATE TABLE half (id int);\n")
        .migration("0004_fails.sql", "SELECT 1/0;\n");
    let old = machine.data();
    machine.run(["upgrade", "--from", "1.0.0-1"]).code(7);
    machine.run(["upgrade", "--undo"]).success();
    assert_eq!(machine.data(), old);
    machine.assert_closed();
}

/// The restore waits: somebody holds the list of databases.
///
/// Rows 53 and 67.
#[test]
fn an_undo_that_is_killed_is_finished_by_the_boot() {
    let machine = sleeping(TestMachine::with_own_server());
    let old = machine.data();
    killed_half_way(&machine, &["upgrade", "--from", "1.0.0-1"]);
    let psql = machine.server().bin().join("psql");
    let mut holder = std::process::Command::new(psql)
        .arg(format!("{} application_name=beside", machine.server().conninfo("postgres")))
        .args(["-X", "-q", "-c"])
        .arg("begin; lock table pg_database in share row exclusive mode; select pg_sleep(600)")
        .spawn()
        .unwrap();
    let server = machine.server();
    wait_for("the lock", || {
        let held = "select count(*) from pg_stat_activity where application_name = 'beside' \
                    and wait_event = 'PgSleep'";
        server.psql("postgres", held) == "1"
    });
    let run = machine.spawn(["upgrade", "--undo"]);
    wait_for("the new database", || {
        let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' \
                       and query ilike 'create database%'";
        server.psql("postgres", waiting) == "1"
    });
    kill_it(run);
    assert_eq!(machine.marks().last().unwrap(), "restore begun");
    server.psql(
        "postgres",
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'beside'",
    );
    holder.wait().unwrap();
    assert_eq!(machine.json(["status"]).1["recovery"]["state"], "restore_half_way");
    // What is going back does not turn round.
    let back = machine.run(["upgrade"]).code(9);
    assert!(message(&back).state.contains("the gate stays closed"), "{back:?}");
    assert_eq!(machine.data(), old);
    machine.assert_closed();
}

/// Row 61.
#[test]
fn an_undo_that_failed_is_stuck_and_tried_again_only_by_a_person() {
    let machine = marked();
    let old = machine.data();
    killed_half_way(&machine, &["upgrade"]);
    let half = machine.data();
    let archive = archive(&machine);
    let whole = fs::read(&archive).unwrap();
    fs::write(&archive, &whole[..whole.len() - 1]).unwrap();
    let stuck = machine.run(["upgrade", "--undo"]).code(12);
    let told = message(&stuck);
    let file = machine.upgrade_dir().join("stuck");
    assert!(told.hint.contains("`openwatch upgrade --undo`"), "{told:#?}");
    assert!(told.hint.contains(&file.display().to_string()), "{told:#?}");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(&told.first) && text.contains("openwatch upgrade --undo"), "{text}");
    // Neither the boot nor the package's scripts try anything.
    machine.forget_calls();
    machine.run(["upgrade"]).code(12);
    machine.run(["scriptlet", "deb", "postinst", "configure", "1.0.0-1"]).success();
    machine.run(["upgrade"]).code(12);
    assert_eq!(machine.data(), half);
    assert_eq!(machine.acts(), [""; 0]);
    machine.assert_closed();
    let (_, status) = machine.json(["status"]);
    assert_eq!(status["next"], "openwatch upgrade --undo", "{status}");
    // Mended, the printed command leads out.
    fs::write(&archive, &whole).unwrap();
    machine.run(["upgrade", "--undo"]).success();
    assert_eq!(machine.data(), old);
    assert!(!file.exists());
}

/// A file of the only restore point that holds rows.
fn archive(machine: &TestMachine) -> std::path::PathBuf {
    let point = machine.backups().join(machine.points().remove(0));
    let mut todo = vec![point];
    let mut found = Vec::new();
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else if path.file_name().unwrap().to_str().unwrap().contains(".dat") {
                found.push(path);
            }
        }
    }
    found.sort();
    found.pop().expect("a restore point has files of rows")
}

/// Row 60.
#[test]
fn services_that_ran_on_the_new_schema_are_not_undone_silently() {
    let machine = TestMachine::new()
        .ship("good")
        .health("[[health]]\ncommand = [\"/bin/false\"]\ndeadline = \"100ms\"\n");
    machine.run(["upgrade", "--from", "1.0.0-1"]).code(8);
    let new = machine.data();
    let refused = machine.run(["upgrade", "--undo"]).code(5);
    let told = message(&refused);
    assert!(told.first.contains("may have written"), "{told:#?}");
    let id = machine.points().remove(0);
    assert!(told.hint.contains(&format!("`openwatch restore {id} --yes`")), "{told:#?}");
    assert_eq!(machine.data(), new);
    machine.assert_closed();
}
