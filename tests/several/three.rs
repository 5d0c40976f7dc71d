//! Three services, two helpers and three databases with three tools: one upgrade.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use predicates::str::contains;

use super::support::machine::{TestMachine, message, parse_message};
use super::support::postgres::wait_for;

/// In stop order: what brings the services up again goes first.
const UNITS: [&str; 5] =
    ["tick.timer", "web.socket", "web.service", "dispatcher.service", "events.service"];

/// A tool that commits each statement by itself and knows what it has done, as Django and Alembic do.
/// It moves its database from `step_1` to the last step; `at N` runs before step N.
fn tool(steps: u32, before: &str) -> String {
    format!(
        "there() {{ [ \"$(sql \"select to_regclass('step_$1')\")\" ]; }}
         at() {{ :; }}
         {before}
         case $1 in
           status) there {steps}; exit $? ;;
           apply) for n in $(seq {steps}); do
               at $n; there $n || sql \"create table step_$n (id int); insert into step_$n values ($n)\"
             done ;;
         esac"
    )
}

/// Accounts in files, compute and storage by tools of their own; everything runs but the dispatcher.
fn application() -> TestMachine {
    let mut machine = TestMachine::with_databases(&["accounts", "compute", "storage"])
        .health("")
        .services(&UNITS);
    for unit in UNITS {
        machine = machine.with_unit(unit, "active");
    }
    let machine = machine
        .with_unit("dispatcher.service", "inactive")
        .tool_for("compute", &tool(1, ""), "")
        .tool_for("storage", &tool(1, ""), "");
    // Both are at the first step.
    machine.run(["upgrade"]).success();
    machine.run(["backup", "remove", &machine.points()[0], "--yes", "--lose-way-back"]).success();
    machine.forget_calls();
    machine.ship_for("accounts", "good")
}

/// What the tools of the next release do; `compute` and `storage` run before a step of theirs.
fn released(machine: TestMachine, compute: &str, storage: &str) -> TestMachine {
    machine.tool_for("compute", &tool(3, compute), "").tool_for("storage", &tool(3, storage), "")
}

fn has(machine: &TestMachine, database: &str, table: &str) -> bool {
    let sql = format!("select to_regclass('{table}') is not null");
    machine.server().psql(machine.dbname_of(database), &sql) == "t"
}

/// Which units run that ran before, in alphabetic order of the list.
fn running(machine: &TestMachine) -> Vec<&'static str> {
    UNITS.into_iter().filter(|unit| machine.unit(unit) == "active").collect()
}

const RAN: [&str; 4] = ["tick.timer", "web.socket", "web.service", "events.service"];

fn notes_of(machine: &TestMachine, step: &str) -> Vec<String> {
    let journal = machine.journal();
    let marks = journal["marks"].as_array().unwrap().iter();
    let of_step = marks.filter(|m| m["step"] == step && m["when"] == "begun");
    of_step.map(|m| m["note"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Asserts that each database is at the new schema, and everything runs that ran.
#[track_caller]
fn assert_new(machine: &TestMachine) {
    assert!(has(machine, "accounts", "readings_by_time"));
    assert!(has(machine, "compute", "step_3") && has(machine, "storage", "step_3"));
    assert_eq!(running(machine), RAN);
    machine.assert_clean();
}

/// Rows 32 and 34.
#[test]
fn several_databases_and_units_are_one_upgrade_in_the_declared_order() {
    let machine = released(application(), "", "");
    machine.run(["upgrade", "--from", "1.0.0-1"]).success();
    assert_eq!(
        machine.acts(),
        [
            "stop tick.timer",
            "stop web.socket",
            "stop web.service",
            "stop events.service",
            "daemon-reload",
            "start events.service",
            "start web.service",
            "start web.socket",
            "start tick.timer",
        ]
    );
    let migrated = notes_of(&machine, "migrate");
    let order: Vec<&str> = migrated.iter().filter_map(|note| note.split(':').next()).collect();
    assert_eq!(order, ["accounts", "compute", "storage"]);
    // One restore point holds all of them.
    assert_eq!(machine.points().len(), 1);
    let (_, shown) = machine.json(["backup", "show", "latest"]);
    let held = shown["restore_point"]["databases"].as_array().unwrap();
    let held: Vec<&str> = held.iter().map(|d| d["name"].as_str().unwrap()).collect();
    assert_eq!(held, ["accounts", "compute", "storage"]);
    assert_new(&machine);
}

const NO_SPACE_FOR_THE_THIRD: &str =
    "at() { [ $1 != 3 ] || { echo 'no step 3 today' >&2; exit 9; }; }";

/// Row 35.
#[test]
fn the_third_that_fails_puts_the_first_two_back() {
    let machine = application().operator("on_failure = \"restore\"");
    let machine = released(machine, "", NO_SPACE_FOR_THE_THIRD);
    let before = machine.data();
    let told = message(&machine.run(["upgrade", "--from", "1.0.0-1"]).code(9));
    assert!(told.detail.contains("no step 3 today"), "{told:#?}");
    for name in ["accounts", "compute", "storage"] {
        let back = format!("{} is as before", machine.described(name));
        assert!(told.state.contains(&back), "{told:#?}");
    }
    assert_eq!(machine.data(), before);
    machine.assert_closed();
    // Mended, the next attempt goes the whole way and starts what ran before the first.
    let machine = released(machine, "", "");
    machine.run(["upgrade", "--retry"]).success();
    assert_new(&machine);
}

/// Row 35.
#[test]
fn the_third_that_fails_says_where_each_of_them_is() {
    let machine = released(application(), "", NO_SPACE_FOR_THE_THIRD);
    let before = machine.data();
    let told = message(&machine.run(["upgrade", "--from", "1.0.0-1"]).code(7));
    for (name, place) in [
        ("accounts", "is at the new schema 0004"),
        ("compute", "is at the new schema"),
        ("storage", "was changed in part"),
    ] {
        let place = format!("{} {place}", machine.described(name));
        assert!(told.state.contains(&place), "{told:#?}");
    }
    let [point] = machine.points().try_into().unwrap();
    assert!(told.state.contains(&format!("restore point {point} is intact")), "{told:#?}");
    machine.assert_closed();
    // The way back, as printed, takes all three.
    let printed = format!("`openwatch restore {point} --yes`");
    assert!(told.hint.contains(&printed), "{told:#?}");
    machine.run(["restore", &point, "--yes"]).success();
    assert_eq!(machine.data(), before);
}

/// Row 35.
#[test]
fn the_second_that_fails_leaves_the_third_alone() {
    let fails = "at() { [ $1 != 2 ] || { echo 'not today' >&2; exit 9; }; }";
    let machine = released(application(), fails, "at() { echo 'REACHED' >>\"$0.reached\"; }");
    let storage = machine.server().dump(machine.dbname_of("storage"));
    let told = message(&machine.run(["upgrade"]).code(7));
    assert!(told.state.contains(&format!("{} is as before", machine.described("storage"))));
    assert_eq!(machine.server().dump(machine.dbname_of("storage")), storage);
    assert!(!machine.dir().join("tool-storage.reached").exists());
    machine.assert_closed();
    let machine = released(machine, "", "");
    machine.run(["upgrade", "--retry"]).success();
    assert_new(&machine);
}

/// Rows 29, 33 and 34.
#[test]
fn a_stop_that_fails_half_way_is_told_and_everything_runs_again_after_the_retry() {
    let machine = released(application(), "", "").with_hook(
        "stop",
        "web.service",
        "[ -e \"$here/mended\" ] || { echo 'Operation refused.' >&2; exit 4; }",
    );
    let before = machine.data();
    let told = message(&machine.run(["upgrade"]).code(1));
    assert_eq!(told.first, "cannot stop web.service: systemctl exited with status 4");
    for state in [
        "tick.timer is stopped",
        "web.socket is stopped",
        "web.service is running",
        "dispatcher.service is stopped",
        "events.service is running",
    ] {
        assert!(told.state.contains(state), "{told:#?}");
    }
    assert_eq!((machine.data(), machine.points()), (before, Vec::new()));
    // Nothing may start the helpers on the old schema meanwhile; the record of what ran stays.
    assert!(machine.mark().exists());
    fs::write(machine.dir().join("mended"), "").unwrap();
    machine.run(["upgrade", "--retry"]).success();
    assert_new(&machine);
}

/// Rows 32 and 33.
#[test]
fn a_start_that_fails_stops_the_rest_again_and_the_retry_starts_all_of_them() {
    let machine = released(application(), "", "").with_hook(
        "start",
        "web.service",
        "[ -e \"$here/mended\" ] || { echo 'no port' >&2; exit 1; }",
    );
    machine.run(["upgrade"]).code(8).stderr(contains("cannot start web.service"));
    machine.assert_closed();
    fs::write(machine.dir().join("mended"), "").unwrap();
    machine.run(["upgrade", "--retry"]).success();
    assert_new(&machine);
}

/// The second tool, once it has made its second step, until the test has killed the run.
fn cut_off_in_the_second(machine: TestMachine) -> TestMachine {
    let waits = "at() { [ $1 != 3 ] || [ -e \"$0.go\" ] || { touch \"$0.half\"; sleep 70010; }; }";
    let machine = released(machine, waits, "");
    let mut run = machine.spawn(["upgrade", "--from", "1.0.0-1"]);
    let half = machine.dir().join("tool-compute.half");
    wait_for("the second step", || half.exists() || run.try_wait().unwrap().is_some());
    kill(Pid::from_raw(i32::try_from(run.id()).unwrap()), Signal::SIGKILL).unwrap();
    run.wait().unwrap();
    let tool = machine.dir().join("tool-compute");
    wait_for("the end of the tool", || !is_running(&tool));
    assert!(has(&machine, "accounts", "readings_by_time"), "the first was done");
    assert!(has(&machine, "compute", "step_2") && !has(&machine, "compute", "step_3"));
    fs::write(machine.dir().join("tool-compute.go"), "").unwrap();
    machine
}

fn is_running(program: &Path) -> bool {
    let found = Command::new("pgrep").args(["-f", &program.display().to_string()]).output();
    found.unwrap().status.success()
}

/// Rows 33, 35 and 67.
#[test]
fn killed_in_the_second_the_next_run_finishes_all_of_them() {
    let machine = cut_off_in_the_second(application());
    assert!(machine.mark().exists(), "the gate is open");
    machine.run(["upgrade"]).success();
    assert_new(&machine);
}

/// Rows 35 and 67.
#[test]
fn killed_in_the_second_and_failed_in_the_third_all_of_them_go_back() {
    let machine = application().operator("on_failure = \"restore\"");
    let before = machine.data();
    let machine = cut_off_in_the_second(machine);
    let machine = released(machine, "", NO_SPACE_FOR_THE_THIRD);
    let ended = machine.run(["upgrade"]).code(9);
    let told = parse_message(&String::from_utf8_lossy(&ended.get_output().stderr));
    assert_eq!(machine.data(), before, "{told:#?}");
    machine.assert_closed();
}

#[test]
fn each_database_is_part_of_the_baseline() {
    let lossy = "at() { [ $1 != 3 ] || sql 'drop table step_1'; }";
    let machine = released(application(), lossy, "");
    let (code, json) = machine.json(["upgrade"]);
    assert_eq!(code, 0, "{json:#}");
    let warnings = json["warnings"].to_string();
    assert_eq!(warnings, r#"["compute: table public.step_1 is gone, with 1 column"]"#);
}
