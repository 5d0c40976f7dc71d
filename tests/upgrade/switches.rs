//! Safeties that are switched off, one by one, and the sign for a maintenance page.

use std::fs;

use predicates::prelude::*;
use predicates::str::contains;

use crate::support::machine::TestMachine;

/// Every switch, and what of an upgrade's safeties is then missing.
const SWITCHES: [&str; 3] = ["auto_backup", "keep_packages", "guard"];

fn off_in_plan(machine: &TestMachine) -> Vec<String> {
    let (code, plan) = machine.json(["upgrade", "--plan"]);
    assert_eq!(code, 0, "{plan}");
    let off = plan["switched_off"].as_array().unwrap();
    off.iter().map(|key| key.as_str().unwrap().to_owned()).collect()
}

/// What apt tells its hook.
const APT: &str = "VERSION 3\nAPT::Architecture=amd64\n\n\
                   openwatch 2.0.0-1 amd64 none < 3.0.0-1 amd64 none /a/openwatch.deb\n";

/// Row 94.
#[test]
fn a_switch_turns_off_its_own_safety_and_no_other() {
    assert!(off_in_plan(&TestMachine::new().ship("good")).is_empty());
    for off in SWITCHES {
        let machine = TestMachine::new().ship("good").operator(&format!(
            "{off} = false\nchecks = [[\"/bin/test\", \"!\", \"-e\", \"/no\"]]"
        ));
        assert_eq!(off_in_plan(&machine), [off]);
        let line = format!("  off:     {off}: ");
        machine.run(["upgrade", "--plan"]).success().stdout(contains(&line));
        // The guard asks and refuses unless it is the guard that is off.
        machine.run(["upgrade", "hold"]).success();
        let guard = ["scriptlet", "guard", "apt"];
        let code = if off == "guard" { 0 } else { 5 };
        machine.run_told(guard, ("OPENWATCH_NOW", ""), APT).code(code);
        // Hold, gate, the order of things and health have no switch at all.
        machine.run(["upgrade"]).code(5).stderr(contains("is held since"));
        machine.run(["upgrade", "release"]).success();
        machine.run(["upgrade"]).success();
        assert_eq!(machine.points().len(), usize::from(off != "auto_backup"), "{off}");
        let marks = machine.marks();
        assert!(marks.contains(&"health done".to_owned()), "{off}: {marks:?}");
        machine.assert_clean();
    }
    let all: String = SWITCHES.map(|off| format!("{off} = false\n")).concat();
    let machine = TestMachine::new().ship("failing").operator(&all);
    assert_eq!(off_in_plan(&machine), SWITCHES);
    // With every one of them off, a failure is still one: units down, gate closed, data whole.
    let old = machine.data();
    machine.run(["upgrade"]).code(7);
    machine.assert_closed();
    assert_eq!(machine.data(), old);
}

/// A machine that notes whether the sign is up whenever a unit is stopped or started.
fn signed(set: &str) -> (TestMachine, std::path::PathBuf) {
    let machine = TestMachine::new().ship(set);
    let sign = machine.root().join("run/maintenance");
    let look = format!(
        "[ -e '{}' ] && echo 'SIGN up' >>\"$here/calls\" || echo 'SIGN none' >>\"$here/calls\"",
        sign.display()
    );
    let machine = machine
        .operator(&format!("maintenance_file = {:?}", sign.display().to_string()))
        .with_hook("stop", "openwatch.service", &look)
        .with_hook("start", "openwatch.service", &look)
        .with_hook("restart", "openwatch.service", &look);
    (machine, sign)
}

/// Row 52.
#[test]
fn the_maintenance_sign_is_up_before_the_first_stop_and_goes_last() {
    let (machine, sign) = signed("good");
    machine.run(["upgrade", "--plan"]).success();
    assert!(!sign.exists());
    machine.run(["upgrade"]).success();
    let acts = machine.acts();
    let seen: Vec<&str> =
        acts.iter().map(String::as_str).filter(|a| *a != "daemon-reload").collect();
    assert_eq!(seen, ["stop openwatch.service", "SIGN up", "start openwatch.service", "SIGN up"]);
    assert!(!sign.exists());
    machine.assert_clean();
}

/// Row 52.
#[test]
fn the_maintenance_sign_stays_while_the_services_are_down_and_goes_with_what_brings_them_back() {
    let (machine, sign) = signed("failing");
    machine.run(["upgrade"]).code(7);
    machine.assert_closed();
    assert!(fs::read_to_string(&sign).unwrap().starts_with("openwatch is being upgraded since "));
    // Looking does not take it away, and a run that fails again neither.
    machine.run(["status"]).success();
    machine.run(["upgrade", "--retry"]).code(7);
    assert!(sign.exists());
    let machine = machine.migration("0004_audit.sql", "CREATE TABLE audit (id int);");
    machine.run(["upgrade", "--retry"]).success();
    assert!(!sign.exists());

    // Back instead of on.
    let (machine, sign) = signed("failing");
    machine.run(["upgrade"]).code(7);
    for entry in fs::read_dir(machine.migrations("main")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.as_str() > "0003" {
            fs::remove_file(path).unwrap();
        }
    }
    let machine = machine.version("1.0.0-1");
    machine.run(["upgrade", "--undo"]).success();
    assert_eq!(machine.unit("openwatch.service"), "active");
    assert!(!sign.exists());
}

#[test]
fn a_maintenance_sign_that_cannot_be_put_up_fails_nothing() {
    let machine =
        TestMachine::new().ship("good").operator("maintenance_file = \"/proc/no/such/place\"");
    machine.run(["upgrade"]).success().stderr(contains("/proc/no/such/place is not put up"));
    assert_eq!(machine.schema(), "0004");
    let refused = TestMachine::new().operator("maintenance_file = \"run/here\"");
    refused
        .run(["upgrade", "--plan"])
        .code(3)
        .stderr(contains("is not an absolute path").and(contains("upgrade.conf")));
}
