//! Program and packaged files replaced under a run.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use super::support::machine::{TestMachine, program};
use super::support::postgres::wait_for;

/// Waits inside a migration until it is told to go on.
const WAITS: &str = "DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM machines WHERE id = 2000) LOOP \
                     PERFORM pg_sleep(0.05); END LOOP; END $$;\n";

/// Row 74.
#[test]
fn a_run_needs_nothing_of_its_package_once_it_has_begun() {
    let machine = TestMachine::new()
        .migration("0003_waits.sql", WAITS)
        .migration("0004_after.sql", "CREATE TABLE after_it (id int);\n")
        .operator("checks = [[\"/bin/true\"]]");
    let copy = machine.dir().join("openwatch");
    fs::copy(program(), &copy).unwrap();
    let prepared = machine.command(["upgrade"]);
    let mut run = Command::new(&copy)
        .args(prepared.get_args())
        .env_clear()
        .envs(prepared.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(machine.dir().join("stderr")).unwrap())
        .spawn()
        .unwrap();
    wait_for("the migration that waits", || {
        let count = "select count(*) from pg_stat_activity where state = 'active' \
                     and pid <> pg_backend_pid() and datname = current_database()";
        machine.sql(count) == "1" && machine.said().contains("applying")
    });
    // As a package tool does it: another file takes the place, and what is left is another version's.
    let other = machine.dir().join("other");
    fs::write(&other, "#!/bin/sh\nexit 99\n").unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&other, &copy).unwrap();
    fs::remove_dir_all(machine.migrations("main")).unwrap();
    fs::write(machine.packager_conf(), "not = \"ours any more").unwrap();
    fs::write(machine.share().join("version"), "9.9.9-1\n").unwrap();
    machine.sql("insert into machines values (2000, 'go on')");
    let ended = run.wait().unwrap();
    assert!(ended.success(), "{ended}\n{}", machine.said());
    assert_eq!(machine.schema(), "0004");
    assert_eq!(machine.unit("openwatch.service"), "active");
    assert_eq!(machine.journal()["to"], "2.0.0-1");
}
