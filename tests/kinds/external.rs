//! Restore points that a command of the operator makes, and another one puts back.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use predicates::prelude::*;
use predicates::str::contains;

use super::point;
use super::support::machine::{TestMachine, message};

/// A machine whose restore points are made by this script; `$1` is an argument from the configuration.
fn with_command(script: &str) -> TestMachine {
    let machine = TestMachine::new();
    let command = executable(&machine, "snapshot", script);
    machine
        .operator("restore_point = \"external\"")
        .operator(&format!("restore_point_command = [{command:?}, \"--tag=nightly run\"]"))
}

fn executable(machine: &TestMachine, name: &str, script: &str) -> String {
    let path = machine.dir().join(name);
    let dir = machine.dir().display();
    fs::write(&path, format!("#!/bin/sh\ndir={dir}\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A snapshot of the database made of a copy, and the command that puts it back.
fn copying(machine: TestMachine) -> TestMachine {
    let bin = machine.server().bin().display().to_string();
    let (name, dsn) = (machine.dbname().to_owned(), machine.server().conninfo("postgres"));
    let (psql, own) = (format!("{bin}/psql -X -q -d '{dsn}' -c"), machine.server().conninfo(&name));
    let dump = format!("{bin}/pg_dump -Fc -f \"$dir/snap\" -d '{own}'");
    executable(&machine, "snapshot", &format!("{dump} >&2 && echo pool/{name}@1"));
    let back = executable(
        &machine,
        "back",
        &format!(
            "echo \"$@\" >\"$dir/back.args\"\n\
             {psql} 'drop database {name} with (force)' \
             && {psql} 'create database {name} template template0' \
             && {bin}/pg_restore -d '{own}' \"$dir/snap\""
        ),
    );
    machine.operator(&format!("restore_command = [{back:?}, \"--force\"]"))
}

/// Row 28.
#[test]
fn the_identifier_is_kept_and_named_everywhere() {
    let look = "env >\"$dir/env\"; echo \"$@\" >\"$dir/args\"; cat \"$dir/units/openwatch.service/active\" \
                >\"$dir/unit\"; echo making >&2; echo tank/pg@ow-1";
    let machine = with_command(look).ship("good");
    machine
        .run(["upgrade", "--plan"])
        .success()
        .stdout(contains("main: external").and(contains("there is no restore_command")));
    let (code, reply) = machine.json(["upgrade", "--from", "1.0.0-1"]);
    assert_eq!((code, &reply["restore_point_kind"]), (0, &"external".into()), "{reply}");
    let read = |name: &str| fs::read_to_string(machine.dir().join(name)).unwrap();
    assert_eq!(read("args"), "--tag=nightly run\n");
    assert_eq!(read("unit").trim(), "inactive", "the services are down by then");
    let env = read("env");
    assert!(env.contains("OPENWATCH_APP=openwatch\n"), "{env}");
    assert!(env.contains("OPENWATCH_FROM_VERSION=1.0.0-1\n"), "{env}");
    assert!(!env.contains("PG") && !env.contains("DSN"), "{env}");
    let listed = point(&machine);
    assert_eq!(listed["identifier"], "tank/pg@ow-1", "{listed}");
    assert_eq!(listed["proof"], "stated", "{listed}");
    machine.run(["backup", "list"]).success().stdout(contains("external tank/pg@ow-1"));
    machine.run(["backup", "show", "latest"]).success().stdout(contains("tank/pg@ow-1"));
    let (_, status) = machine.json(["status"]);
    assert_eq!(status["restore_points"][0]["identifier"], "tank/pg@ow-1", "{status}");
    machine.assert_clean();
}

/// Row 28.
#[test]
fn a_command_that_does_not_end_well_with_one_identifier_is_no_restore_point() {
    for (script, first) in [
        ("echo pool@1; echo no such pool >&2; exit 3", "exited with status 3"),
        ("true", "printed no identifier: it printed nothing"),
        ("echo", "printed no identifier: its line is empty"),
        ("echo one; echo two", "printed no identifier: it printed more than one line"),
        ("echo --all", "printed no identifier: its line begins with a dash"),
        ("printf 'a\\033[2Jb\\n'", "is not printable ASCII without blanks"),
        ("head -c 100000 /dev/zero | tr '\\0' x", "its line is longer than 200 bytes"),
        ("kill -KILL $$", "was killed by SIGKILL"),
    ] {
        let machine = with_command(script).ship("good");
        let before = machine.data();
        let message = message(&machine.run(["upgrade"]).code(6));
        assert!(message.first.contains(first), "{script}: {message:#?}");
        assert!(message.state.contains("is as before, at schema 0002"), "{message:#?}");
        assert!(message.state.contains("no restore point was taken"), "{message:#?}");
        assert_eq!((machine.data(), machine.points()), (before, Vec::new()), "{script}");
        assert_eq!(machine.leftovers(), [""; 0]);
        machine.assert_closed();
    }
}

#[test]
fn a_command_that_does_not_end_is_ended_with_what_it_started() {
    let machine = with_command("sleep 600 & echo $! >\"$dir/pid\"; wait")
        .operator("restore_point_timeout = \"300ms\"")
        .ship("good");
    let message = message(&machine.run(["upgrade"]).code(6));
    assert!(message.first.contains("did not end within"), "{message:#?}");
    let pid = fs::read_to_string(machine.dir().join("pid")).unwrap();
    super::support::postgres::wait_for("the end of what it started", || {
        !std::path::Path::new("/proc").join(pid.trim()).exists()
    });
    machine.assert_closed();
}

#[test]
fn a_command_that_is_no_program_is_found_before_anything_stops() {
    let machine = TestMachine::new()
        .operator("restore_point = \"external\"")
        .operator("restore_point_command = [\"/nonexistent/snapshot\"]")
        .ship("good");
    let message = message(&machine.run(["upgrade"]).code(5));
    assert!(message.first.contains("/nonexistent/snapshot is no program"), "{message:#?}");
    assert_eq!(machine.unit("openwatch.service"), "active");
}

/// Row 28.
#[test]
fn without_a_command_to_put_it_back_the_identifier_is_named_and_nothing_is_touched() {
    let machine = with_command("echo pool@1")
        .operator("on_failure = \"restore\"")
        .migration("0003_alone.sql", "-- openwatch: no-transaction\nCREATE TABLE half (id int);\n")
        .migration("0004_divides.sql", "SELECT 1 / 0;\n");
    let told = message(&machine.run(["upgrade"]).code(7));
    assert!(told.detail.contains("there is no restore_command"), "{told:#?}");
    assert!(told.hint.contains("put back pool@1 with the tool that made it"), "{told:#?}");
    let id = machine.points().remove(0);
    let refused = message(&machine.run(["restore", &id, "--yes"]).code(5));
    assert!(refused.first.contains("is pool@1, which is not ours to put back"), "{refused:#?}");
    assert!(refused.hint.contains("Put pool@1 back"), "{refused:#?}");
    machine.assert_closed();
}

/// Row 28.
#[test]
fn the_command_of_the_operator_puts_it_back_after_a_failed_migration() {
    let machine = copying(with_command("false")).operator("on_failure = \"restore\"");
    let machine = machine
        .migration("0003_alone.sql", "-- openwatch: no-transaction\nCREATE TABLE half (id int);\n")
        .migration("0004_divides.sql", "SELECT 1 / 0;\n");
    let before = machine.data();
    let message = message(&machine.run(["upgrade"]).code(9));
    assert_eq!(message.first, "migration 0004_divides failed: division by zero");
    assert_eq!(machine.data(), before);
    let args = fs::read_to_string(machine.dir().join("back.args")).unwrap();
    assert_eq!(args, format!("--force pool/{}@1\n", machine.dbname()));
    machine.assert_closed();
}

#[test]
fn a_restore_asks_first_and_looks_at_the_schema_afterwards() {
    let machine = copying(with_command("false")).ship("good");
    let before = machine.data();
    machine.run(["upgrade", "--from", "1.0.0-1"]).success();
    let told = message(&machine.run(["restore", "latest"]).code(5));
    assert!(told.first.contains(&format!("put back pool/{}@1", machine.dbname())), "{told:#?}");
    machine.run(["restore", "latest", "--yes"]).code(5);
    let machine = machine.with_unit("openwatch.service", "inactive");
    machine.run(["restore", "latest", "--yes", "--database", "main"]).code(2);
    machine.run(["restore", "latest", "--yes"]).success().stdout(contains("version 1.0.0-1"));
    assert_eq!(machine.data(), before);
    machine.assert_closed();
    // A command that ends well and puts nothing back is found out.
    machine.run(["upgrade", "--retry"]).success();
    executable(&machine, "back", "true");
    let machine = machine.with_unit("openwatch.service", "inactive");
    let told = message(&machine.run(["restore", "latest", "--yes"]).code(12));
    assert!(told.first.contains("is at schema 0004 and not at 0002"), "{told:#?}");
    machine.assert_closed();
}

#[test]
fn the_newest_dump_stays_whatever_was_made_after_it() {
    let machine = with_command("echo pool@1")
        .operator("backup_retention_days = 1")
        .operator("backup_keep = 1")
        .ship("good");
    machine.run(["backup", "create"]).success();
    let dump = machine.points().remove(0);
    machine.run(["upgrade"]).success();
    let (_, pruned) = machine.json(["backup", "prune"]);
    let decisions = pruned["decisions"].as_array().unwrap();
    let own = decisions.iter().find(|d| d["id"] == dump.as_str()).unwrap();
    assert_eq!((&own["verdict"], &own["reason"]), (&"keep".into(), &"the newest good one".into()));
}

/// Row 56.
/// Nobody can read what the command made, so that nobody says it were whole.
#[test]
fn of_what_a_command_made_nothing_is_called_whole() {
    let machine = with_command("echo tank/pg@ow-1").ship("good");
    machine.run(["upgrade"]).success();
    let told = machine.run(["backup", "verify", "latest"]).success();
    told.stdout(contains("is tank/pg@ow-1, as its command stated").and(contains("whole").not()));
    let refused = message(&machine.run(["backup", "verify", "latest", "--restore"]).code(5));
    assert!(refused.first.contains("has no archive to load"), "{refused:#?}");
    let (_, shown) = machine.json(["backup", "show", "latest"]);
    assert_eq!(shown["restore_point"]["trial"], serde_json::Value::Null, "{shown}");
}

/// The package was taken back first; what is printed is typed as it stands.
#[test]
fn after_a_failed_upgrade_the_next_command_is_named_and_keeps_what_was_typed() {
    let machine = copying(with_command("false"))
        .migration("0003_alone.sql", "-- openwatch: no-transaction\nCREATE TABLE half (id int);\n")
        .migration("0004_divides.sql", "SELECT 1 / 0;\n");
    let before = machine.data();
    machine.run(["upgrade"]).code(7);
    for file in ["0003_alone.sql", "0004_divides.sql"] {
        fs::remove_file(machine.migrations("main").join(file)).unwrap();
    }
    let told = message(&machine.run(["restore", "latest", "--force-foreign"]).code(5));
    assert!(told.hint.contains(" --force-foreign --yes`"), "{told:#?}");
    let told = machine.run(["restore", "latest", "--yes"]).success();
    told.stdout(contains("next: run `openwatch upgrade --retry`"));
    assert_eq!(machine.data(), before);
    machine.run(["upgrade", "--retry"]).success();
    machine.assert_clean();
}
