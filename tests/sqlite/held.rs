//! A file that somebody else has open or locked, and runs that are ended.

use std::fs;

use predicates::str::contains;
use rusqlite::Connection;

use super::support::machine::{TestMachine, message};
use super::support::peers::left_out;
use super::support::postgres::is_root;
use super::upgrading::kept;
use super::{machine, rows, schema};

/// Keeps every writer out until it is dropped.
fn locked(machine: &TestMachine) -> Connection {
    let session = Connection::open(machine.file("main")).unwrap();
    session.execute_batch("begin immediate").unwrap();
    session
}

fn own_pid() -> String {
    format!("pid {}", std::process::id())
}

#[test]
fn who_locks_the_file_is_named_and_nothing_is_changed() {
    let machine = machine().operator_without("lock_timeout").operator("lock_timeout = \"100ms\"");
    let lock = locked(&machine);
    let told = message(&machine.run(["upgrade"]).code(7));
    assert!(told.first.contains("database is locked"), "{told:?}");
    assert!(told.detail.contains(&own_pid()), "{told:?}");
    assert!(told.detail.contains("holds a lock"), "{told:?}");
    drop(lock);
    assert_eq!(schema(&machine, "main"), "0002");
    machine.run(["upgrade", "--retry"]).success();
    assert_eq!(schema(&machine, "main"), "0004");
    machine.assert_clean();
}

/// Starts an upgrade that waits for a lock in its migrations, and ends it there.
fn killed(machine: &TestMachine) {
    let lock = locked(machine);
    let mut run = machine.spawn(["upgrade"]);
    // The journal of the run that made the file has the second mark too, and never the first.
    machine.wait_for_mark("quiesce done");
    machine.wait_for_mark("migrate begun");
    run.kill().unwrap();
    run.wait().unwrap();
    drop(lock);
}

fn patient(machine: TestMachine) -> TestMachine {
    machine.operator_without("lock_timeout").operator("lock_timeout = \"120s\"")
}

#[test]
fn a_run_that_was_killed_is_resumed() {
    let machine = patient(machine());
    killed(&machine);
    machine.assert_closed();
    machine.run(["upgrade", "--resume"]).success();
    assert_eq!(schema(&machine, "main"), "0004");
    assert_eq!(rows(&machine, "main"), "50 50");
    assert_eq!(machine.unit("openwatch.service"), "active");
    machine.assert_clean();
}

#[test]
fn a_run_that_was_killed_is_undone() {
    let machine = patient(machine());
    killed(&machine);
    machine.run(["upgrade", "--undo"]).success();
    assert_eq!(schema(&machine, "main"), "0002");
    assert_eq!(rows(&machine, "main"), "50 50");
}

#[test]
fn a_file_that_is_open_is_not_exchanged() {
    let machine = machine();
    machine.run(["upgrade"]).success();
    let machine = machine.with_unit("openwatch.service", "inactive");
    let reader = Connection::open(machine.file("main")).unwrap();
    reader.query_row("select count(*) from users", [], |row| row.get::<_, i64>(0)).unwrap();
    let told = message(&machine.run(["restore", "latest", "--yes"]).failure());
    assert!(told.first.contains("is open in another process"), "{told:?}");
    assert!(told.detail.contains(&own_pid()), "{told:?}");
    assert_eq!(schema(&machine, "main"), "0004");
    drop(reader);
    machine.run(["restore", "latest", "--yes"]).success();
    assert_eq!(schema(&machine, "main"), "0002");
    assert_eq!(kept(&machine).len(), 1);
}

/// Root as a unit or a container may have it: without the right to look into processes of others.
fn blind(machine: TestMachine) -> TestMachine {
    let words = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"];
    machine.within(&words.map(String::from))
}

#[test]
fn a_file_is_not_exchanged_where_nobody_could_see_who_has_it_open() {
    if !is_root() {
        left_out("only root has the right to lose");
        return;
    }
    let machine = blind(machine());
    machine.run(["preflight"]).stdout(contains("CAP_SYS_PTRACE; a restore would be refused"));
    machine.run(["upgrade"]).success();
    let machine = machine.with_unit("openwatch.service", "inactive");
    let told = message(&machine.run(["restore", "latest", "--yes"]).code(5));
    let first = format!("who has {} open cannot be seen", machine.file("main").display());
    assert!(told.first.contains(&first), "{told:?}");
    assert!(told.hint.contains("CAP_SYS_PTRACE"), "{told:?}");
    assert_eq!((schema(&machine, "main"), kept(&machine)), ("0004".into(), vec![]));
    let machine = machine.within(&[]);
    machine.run(["restore", "latest", "--yes"]).success();
    assert_eq!(schema(&machine, "main"), "0002");
}

#[test]
fn a_replaced_file_is_not_removed_where_nobody_could_see_who_has_it_open() {
    if !is_root() {
        left_out("only root has the right to lose");
        return;
    }
    let machine = machine();
    machine.run(["upgrade"]).success();
    let former = machine.dir().join("data/main.db_replaced_20200101T000000Z");
    fs::copy(machine.file("main"), &former).unwrap();
    let machine = blind(machine);
    machine.run(["backup", "prune"]).success().stdout(contains("who has it open cannot be seen"));
    assert!(former.exists());
    let machine = machine.within(&[]);
    machine.run(["backup", "prune"]).success();
    assert!(!former.exists());
}

#[test]
fn a_log_that_was_left_is_in_the_copy_and_never_beside_another_file() {
    let machine = machine();
    machine.query("main", "pragma journal_mode = wal");
    // A process that died: its log stays beside the file.
    let (live, data) = (machine.file("main"), machine.dir().join("data"));
    let aside = machine.dir().join("aside");
    fs::create_dir(&aside).unwrap();
    let writer = Connection::open(&live).unwrap();
    writer.execute_batch("insert into users values (77, 'only in the log')").unwrap();
    for name in ["main.db", "main.db-wal"] {
        fs::copy(data.join(name), aside.join(name)).unwrap();
    }
    drop(writer);
    for name in ["main.db", "main.db-wal"] {
        fs::copy(aside.join(name), data.join(name)).unwrap();
    }
    machine.run(["upgrade"]).success();
    assert_eq!(rows(&machine, "main"), "51 50");
    let machine = machine.with_unit("openwatch.service", "inactive");
    machine.run(["restore", "latest", "--yes"]).success();
    assert_eq!(rows(&machine, "main"), "51 50");
    assert_eq!(schema(&machine, "main"), "0002");
    assert_eq!(machine.query("main", "select * from pragma_integrity_check"), "ok");
}

#[test]
fn a_damaged_file_is_not_migrated() {
    let machine = machine();
    let mut bytes = fs::read(machine.file("main")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 2048].fill(0x5a);
    fs::write(machine.file("main"), &bytes).unwrap();
    let told = machine.run(["upgrade"]).failure();
    let told = String::from_utf8_lossy(&told.get_output().stderr).into_owned();
    assert!(told.contains("damaged") || told.contains("malformed"), "{told}");
    assert_eq!(fs::read(machine.file("main")).unwrap(), bytes, "something was written");
    assert_eq!(machine.points().len(), 0);
}

#[test]
fn a_restore_point_of_a_file_goes_over_to_another_directory_and_comes_back() {
    let machine = machine();
    machine.run(["backup", "create"]).success();
    let id = machine.points()[0].clone();
    let tar = machine.dir().join("point.tar").display().to_string();
    machine.run(["backup", "export", &id, &tar]).success();
    machine.run(["backup", "pin", &id]).success();
    machine.run(["backup", "unpin", &id]).success();
    fs::remove_dir_all(machine.backups().join(&id)).unwrap();
    machine.run(["backup", "import", &tar]).success();
    machine.run(["backup", "verify", "--restore", &id]).success();
    machine.run(["backup", "list"]).success().stdout(contains(&id));
    let machine = machine.with_unit("openwatch.service", "inactive");
    machine.run(["restore", &id, "--into", "other.db", "--yes"]).success();
    assert_eq!(machine.query("other", "select count(*) from users"), "50");
    // What changed since it was proven is found.
    let copy = machine.backups().join(&id).join("main/database.sqlite3");
    let mut bytes = fs::read(&copy).unwrap();
    bytes[5000] ^= 1;
    fs::write(&copy, bytes).unwrap();
    machine.run(["restore", &id, "--yes"]).failure().stderr(contains("is damaged"));
    assert_eq!(rows(&machine, "main"), "50 50");
}
