//! Runs that are killed at every mark of the journal, and asked to stop: afterwards the data is the
//! old or the new, older restore points are there, and one more run finishes the work.

mod support;

use std::fs;
use std::process::Child;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::machine::{Message, TestMachine, parse_message};
use support::postgres::wait_for;

/// Waits in a call of the service manager until the test says go.
const WAIT: &str = "while [ ! -e \"$here/go\" ]; do sleep 0.05; done";

/// Locks a table from the stop of the unit on, in a session that the test ends.
fn holding(machine: TestMachine, table: &str, mode: &str) -> TestMachine {
    let server = machine.server();
    let psql = format!("{}/psql -X -A -t -q -d", server.bin().display());
    let dsn = server.conninfo(machine.dbname());
    let script = format!(
        "{psql} '{dsn} application_name=holder' \
           -c 'begin; lock table {table} in {mode} mode; select pg_sleep(600)' >/dev/null 2>&1 &
         held=\"select count(*) from pg_locks join pg_stat_activity using (pid)
               where relation = '{table}'::regclass and granted and application_name = 'holder'
                 and datname = current_database()\"
         while kill -0 $! && [ \"$({psql} '{dsn}' -c \"$held\")\" != 1 ]; do :; done"
    );
    machine.with_hook("stop", "openwatch.service", &script)
}

fn let_go(machine: &TestMachine) {
    machine.server().psql(
        "postgres",
        &format!(
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where application_name = 'holder' and datname = '{}'",
            machine.dbname()
        ),
    );
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

/// The data without the history, whose rows tell when and by whom.
fn rows(dump: &str) -> String {
    let table = "COPY public.openwatch_schema_history";
    let mut skip = false;
    let kept = dump.lines().filter(|line| {
        skip = line.starts_with(table) || (skip && !line.is_empty());
        !skip
    });
    kept.collect::<Vec<_>>().join("\n")
}

/// What the data must be afterwards: applied by psql, without us.
fn expected(machine: &TestMachine) -> String {
    let name = format!("{}_reference", machine.dbname());
    let server = machine.server();
    server.psql("postgres", &format!("create database {name} template ow_base"));
    for file in ["0003_owner.sql", "0004_index_readings.sql"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/migrations/good")
            .join(file);
        server.psql(&name, &fs::read_to_string(path).unwrap());
    }
    rows(&server.dump(&name))
}

/// Kills a run at this mark; the next one must finish the work, whatever the first had done.
fn killed_at(machine: &TestMachine, mark: &str, release: impl FnOnce(&TestMachine)) {
    machine.run(["backup", "create"]).success();
    let older = machine.points();
    let (old, new) = (rows(&machine.data()[0]), expected(machine));
    let mut run = machine.spawn(["upgrade", "--from", "1.0.0-1"]);
    // A mark of the journal, or a call of the service manager.
    wait_for(mark, || [machine.marks(), machine.acts()].concat().iter().any(|seen| seen == mark));
    signal(&run, Signal::SIGKILL);
    run.wait().unwrap();
    release(machine);
    let now = rows(&machine.data()[0]);
    assert!(now == old || now == new, "killed at {mark}, the data is neither old nor new:\n{now}");
    assert!(machine.points().contains(&older[0]), "{:?}", machine.points());
    machine.run(["backup", "verify", &older[0]]).success();
    let (_, status) = machine.json(["status"]);
    assert_eq!(status["last_run"]["outcome"], "interrupted");
    assert!(!status["next"].is_null(), "{status}");

    machine.run(["upgrade"]).success();
    assert_eq!(rows(&machine.data()[0]), new);
    assert_eq!(machine.unit("openwatch.service"), "active");
    assert!(machine.points().contains(&older[0]), "{:?}", machine.points());
    assert!(!machine.mark().exists());
    machine.assert_orderly();
    let (_, history) = machine.json(["history"]);
    let outcomes: Vec<_> =
        history["runs"].as_array().unwrap().iter().map(|run| run["outcome"].as_str()).collect();
    assert_eq!(outcomes, [Some("ok"), None], "the killed run is in the history");
}

fn go(machine: &TestMachine) {
    fs::write(machine.root().join("../go"), "").unwrap();
}

#[test]
fn killed_while_stopping_the_next_run_finishes() {
    let machine = TestMachine::new().ship("good").with_hook("stop", "openwatch.service", WAIT);
    killed_at(&machine, "stop openwatch.service", |machine| {
        assert!(machine.mark().exists(), "the gate closes before the first stop");
        go(machine);
        // The service manager goes on without us.
        wait_for("the stop", || machine.unit("openwatch.service") == "inactive");
    });
}

#[test]
fn killed_in_the_dump_the_next_run_starts_over() {
    let machine = holding(TestMachine::new().ship("good"), "readings", "access exclusive");
    killed_at(&machine, "restore_point begun", |machine| {
        let_go(machine);
        assert!(machine.mark().exists());
        let (_, list) = machine.json(["backup", "list"]);
        let entries = list["restore_points"].as_array().unwrap();
        let mut states: Vec<_> = entries.iter().map(|e| e["state"].as_str().unwrap()).collect();
        states.sort_unstable();
        assert!(states == ["good", "partial"] || states == ["good"], "{list}");
    });
}

/// Row 16.
#[test]
fn a_partial_restore_point_is_known_as_one_and_pruned() {
    let machine = holding(TestMachine::new().ship("good"), "readings", "access exclusive");
    let mut run = machine.spawn(["upgrade"]);
    wait_for("a partial restore point", || {
        machine.leftovers().iter().any(|name| name.starts_with(".partial-"))
    });
    let (_, list) = machine.json(["backup", "list"]);
    assert_eq!(list["restore_points"][0]["state"], "busy");
    signal(&run, Signal::SIGKILL);
    run.wait().unwrap();
    let_go(&machine);
    let (_, list) = machine.json(["backup", "list"]);
    assert_eq!(list["restore_points"][0]["state"], "partial");
    machine.run(["upgrade"]).success();
    machine.run(["backup", "prune"]).success();
    assert_eq!(machine.points().len(), 1);
    machine.assert_orderly();
}

#[test]
fn killed_after_the_dump_the_next_run_finishes() {
    let machine = holding(TestMachine::new().ship("good"), "machines", "share");
    killed_at(&machine, "restore_point done", let_go);
}

/// Rows 38 and 67.
#[test]
fn killed_while_a_migration_waits_for_a_lock_the_next_run_finishes() {
    let machine = holding(TestMachine::new().ship("good"), "machines", "share");
    killed_at(&machine, "migrate begun", let_go);
}

/// Rows 37 and 67.
#[test]
fn killed_inside_a_migration_nothing_of_it_remains() {
    let machine = TestMachine::new().ship("slow");
    killed_at(&machine, "migrate begun", |machine| {
        fs::remove_file(machine.migrations("main").join("0003_slow.sql")).unwrap();
        machine.add_migrations("good");
    });
}

#[test]
fn killed_before_the_gate_opens_the_next_run_opens_it() {
    let machine = TestMachine::new().ship("good").with_hook("daemon-reload", "manager", WAIT);
    killed_at(&machine, "daemon-reload", |machine| {
        assert!(machine.mark().exists());
        go(machine);
    });
}

#[test]
fn killed_while_starting_the_next_run_starts_what_ran() {
    let machine = TestMachine::new()
        .with_unit("worker.service", "active")
        .services(&["worker.service", "openwatch.service"])
        .ship("good")
        .with_hook("start", "openwatch.service", WAIT);
    killed_at(&machine, "start openwatch.service", |machine| {
        assert!(!machine.mark().exists(), "the schema is right, so the gate is open");
        go(machine);
    });
    assert_eq!(machine.unit("worker.service"), "active");
}

#[test]
fn killed_while_health_is_proved_the_next_run_proves_it() {
    let machine = TestMachine::new().ship("good");
    let wait = machine.root().join("../go");
    let machine = machine.health(&format!(
        "[[health]]\nunit = \"openwatch.service\"\nrequired = false\ndeadline = \"500ms\"\n\
         [[health]]\ncommand = [\"/usr/bin/test\", \"-e\", {wait:?}]\n"
    ));
    killed_at(&machine, "health begun", go);
}

// Asked to stop.

/// Sends a signal at this mark and returns the exit status and what was said.
fn asked_to_stop(machine: &TestMachine, mark: &str, with: Signal) -> (Option<i32>, Message) {
    let mut run = machine.spawn(["upgrade"]);
    machine.wait_for_mark(mark);
    signal(&run, with);
    let status = run.wait().unwrap();
    (status.code(), parse_message(&machine.said()))
}

#[test]
fn asked_to_stop_in_the_dump_only_older_points_are_left() {
    let machine = holding(TestMachine::new().ship("good"), "readings", "access exclusive");
    machine.run(["backup", "create"]).success();
    let older = machine.points();
    let before = machine.data();
    let (code, message) = asked_to_stop(&machine, "restore_point begun", Signal::SIGTERM);
    let_go(&machine);
    assert_eq!(code, Some(6), "{message:#?}");
    assert!(message.first.contains("SIGTERM"), "{message:#?}");
    assert!(message.state.contains("is as before, at schema 0002"), "{message:#?}");
    assert!(message.state.contains("no restore point was taken"), "{message:#?}");
    assert!(message.state.contains("openwatch.service is stopped"), "{message:#?}");
    assert_eq!((machine.points(), machine.leftovers()), (older, Vec::new()));
    assert_eq!(machine.data(), before);
    machine.assert_closed();
    // Cut off, not failed: the next boot goes on without being told to.
    machine.run(["upgrade"]).success();
    assert_eq!(machine.unit("openwatch.service"), "active");
    machine.assert_clean();
}

/// Row 70.
#[test]
fn asked_to_stop_in_a_migration_it_is_taken_back() {
    let machine = TestMachine::new().ship("slow");
    let before = machine.data();
    let (code, message) = asked_to_stop(&machine, "migrate begun", Signal::SIGTERM);
    assert_eq!(code, Some(7), "{message:#?}");
    assert_eq!(message.first, "migration 0003_slow was ended because we received SIGTERM");
    assert!(message.state.contains("is as before, at schema 0002"), "{message:#?}");
    assert_eq!(machine.data(), before);
    machine.assert_closed();
    fs::remove_file(machine.migrations("main").join("0003_slow.sql")).unwrap();
    let machine = machine.ship("good");
    machine.run(["upgrade"]).success();
    machine.assert_clean();
}

#[test]
fn asked_to_stop_while_health_is_proved_the_units_are_stopped() {
    let machine = TestMachine::new().ship("good").health(
        "[[health]]\nunit = \"openwatch.service\"\nrequired = false\ndeadline = \"500ms\"\n\
         [[health]]\ncommand = [\"/bin/false\"]\n",
    );
    let (code, message) = asked_to_stop(&machine, "health begun", Signal::SIGINT);
    assert!(code.is_some_and(|code| code != 0), "{message:#?}");
    assert!(message.first.contains("SIGINT"), "{message:#?}");
    assert!(message.state.contains("is at the new schema 0004"), "{message:#?}");
    machine.assert_closed();
    let machine = machine.health("[[health]]\ncommand = [\"/bin/true\"]\n");
    machine.run(["upgrade"]).success();
    assert_eq!(machine.unit("openwatch.service"), "active");
    machine.assert_clean();
}

/// Row 66.
#[test]
fn a_terminal_that_goes_away_does_not_stop_a_run_by_hand() {
    let machine = holding(TestMachine::new().ship("good"), "readings", "access exclusive");
    let mut run = machine.spawn(["upgrade"]);
    machine.wait_for_mark("restore_point begun");
    signal(&run, Signal::SIGHUP);
    let_go(&machine);
    assert!(run.wait().unwrap().success(), "{}", machine.said());
    assert_eq!(machine.unit("openwatch.service"), "active");
    machine.assert_clean();
}

// The server goes.

/// Row 40.
#[test]
fn a_server_that_stops_in_a_migration_leaves_the_old_data() {
    let machine = TestMachine::with_own_server().ship("slow");
    let before = machine.data();
    let mut run = machine.spawn(["upgrade"]);
    machine.wait_for_mark("migrate begun");
    wait_for("the migration", || {
        machine.sql("select count(*) from pg_stat_activity where wait_event = 'PgSleep'") == "1"
    });
    machine.server().down();
    assert!(!run.wait().unwrap().success());
    let message = parse_message(&machine.said());
    assert!(message.first.contains("0003_slow"), "{message:#?}");
    assert!(message.state.contains("could not be looked at"), "{message:#?}");
    assert!(message.hint.contains("openwatch restore"), "{message:#?}");
    machine.assert_closed();
    machine.server().up();
    assert_eq!(machine.data(), before);
    fs::remove_file(machine.migrations("main").join("0003_slow.sql")).unwrap();
    let machine = machine.ship("good");
    machine.run(["upgrade", "--retry"]).success();
    assert_eq!(machine.unit("openwatch.service"), "active");
    machine.assert_clean();
}

#[test]
fn a_server_that_stops_in_the_dump_leaves_no_partial() {
    let machine =
        holding(TestMachine::with_own_server().ship("good"), "readings", "access exclusive");
    let mut run = machine.spawn(["upgrade"]);
    machine.wait_for_mark("restore_point begun");
    machine.server().down();
    assert!(!run.wait().unwrap().success());
    assert_eq!((machine.points(), machine.leftovers()), (Vec::new(), Vec::new()));
    machine.assert_closed();
    machine.server().up();
    assert_eq!(machine.schema(), "0002");
    machine.run(["upgrade", "--retry"]).success();
    machine.assert_clean();
}

/// A record that was begun and never closed keeps its restore point from being pruned.
/// Row 85.
#[test]
fn the_restore_point_of_an_interrupted_run_is_not_pruned() {
    let machine = holding(
        TestMachine::new()
            .operator("backup_retention_days = 1")
            .operator("backup_keep = 1")
            .ship("good"),
        "machines",
        "share",
    );
    let mut run = machine.spawn(["upgrade"]);
    machine.wait_for_mark("migrate begun");
    signal(&run, Signal::SIGKILL);
    run.wait().unwrap();
    let_go(&machine);
    let point = machine.points().remove(0);
    let (_, pruned) = machine.json(["backup", "prune"]);
    let decisions = pruned["decisions"].as_array().unwrap();
    let own = decisions.iter().find(|d| d["id"] == point.as_str()).unwrap();
    assert_eq!(own["verdict"], "keep", "{pruned}");
    assert_eq!(machine.points(), [point]);
}

/// The retry takes the point of the failed attempt, says so in its journal, and is killed before it migrates.
///
/// Rows 67 and 86.
#[test]
fn killed_right_after_the_point_of_the_failed_attempt_was_taken_again_the_next_run_finishes() {
    let machine = TestMachine::new().ship("good").migration("0003_owner.sql", "select 1 / 0;");
    machine.run(["upgrade"]).code(7);
    let point = machine.points().remove(0);
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mended = fixtures.join("migrations/good/0003_owner.sql");
    fs::copy(mended, machine.migrations("main").join("0003_owner.sql")).unwrap();
    let (old, new) = (rows(&machine.data()[0]), expected(&machine));

    let go = machine.dir().join("go");
    let hooks = machine.etc().join("hooks.d/restore-point.after.d");
    fs::create_dir_all(&hooks).unwrap();
    let hook = hooks.join("10-waits");
    fs::write(&hook, format!("#!/bin/sh\nwhile [ ! -e {} ]; do sleep 0.05; done\n", go.display()))
        .unwrap();
    fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut run = machine.spawn(["upgrade", "--retry"]);
    wait_for("the point", || {
        machine.journal()["used_again"] == *point
            && machine.marks().contains(&"restore_point done".to_owned())
    });
    signal(&run, Signal::SIGKILL);
    run.wait().unwrap();
    fs::write(&go, "").unwrap();

    let told = fs::read_to_string(machine.upgrade_dir().join("run.log")).unwrap();
    assert_eq!(machine.journal()["used_again"], *point, "{told}");
    assert_eq!(machine.journal()["restore_point"], *point);
    assert_eq!(rows(&machine.data()[0]), old);
    machine.assert_closed();
    machine.run(["backup", "prune"]).success();
    machine.run(["backup", "verify", &point]).success();
    let (_, status) = machine.json(["status"]);
    assert_eq!(status["last_run"]["outcome"], "interrupted", "{status}");
    let next = status["next"].as_str().unwrap().strip_prefix("openwatch ").unwrap();
    machine.run(next.split(' ')).success();
    assert_eq!(rows(&machine.data()[0]), new);
    assert!(machine.points().contains(&point), "{:?}", machine.points());
    machine.run(["backup", "verify", &point]).success();
    assert_eq!(machine.unit("openwatch.service"), "active");
    machine.assert_orderly();
}
