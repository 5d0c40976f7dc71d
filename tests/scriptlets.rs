//! What the package's scripts call, in every form that dpkg and rpm have, on the real program.

#[path = "scriptlets/deb.rs"]
mod deb;
#[path = "scriptlets/guard.rs"]
mod guard;
mod support;

use std::fs;

use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::{contains, is_empty};
use serde_json::Value;
use support::machine::{TestMachine, message};

fn mark(machine: &TestMachine) -> Value {
    serde_json::from_slice(&fs::read(machine.mark()).unwrap()).unwrap()
}

#[test]
fn forms_that_ask_nothing_of_us_touch_nothing() {
    let machine = TestMachine::new().ship("good");
    let before = machine.tree();
    for form in [
        "deb preinst install",
        "deb preinst install 1.0.0-1 2.0.0-1",
        "deb preinst abort-upgrade 2.0.0-1",
        "deb postinst configure",
        "deb postinst abort-upgrade 2.0.0-1",
        "deb postinst abort-remove",
        "deb postinst abort-remove in-favour other 1.0-1",
        "deb postinst abort-deconfigure in-favour other 1.0-1",
        "deb prerm remove",
        "deb prerm upgrade 2.0.0-1",
        "deb prerm failed-upgrade 1.0.0-1",
        "deb prerm deconfigure in-favour other 1.0-1",
        "deb postrm remove",
        "deb postrm purge",
        "deb postrm upgrade 2.0.0-1",
        "deb postrm disappear other 1.0-1",
        "deb postrm abort-install",
        "rpm pre 1 2.0.0-1",
        "rpm post 1",
        "rpm posttrans 1",
        "rpm posttrans 2",
        "rpm preun 0",
        "rpm preun 1",
        "rpm postun 0",
        "rpm postun 1",
    ] {
        let ended = machine.run(["scriptlet"].into_iter().chain(form.split(' ')));
        ended.success().stdout(is_empty()).stderr(is_empty());
        assert_eq!(machine.tree(), before, "{form}");
        assert_eq!(machine.acts(), [""; 0], "{form}");
    }
}

/// Row 3.
#[test]
fn an_empty_old_version_is_a_fresh_install() {
    let machine = TestMachine::new().ship("good");
    machine.run(["scriptlet", "deb", "postinst", "configure", ""]).success();
    assert!(!machine.mark().exists());
}

#[test]
fn an_unknown_form_is_an_error_and_touches_nothing() {
    let machine = TestMachine::new().ship("good");
    let before = machine.tree();
    for form in ["deb postinst frobnicate", "deb config configure", "rpm post two", "apk post 1"] {
        machine.run(["scriptlet"].into_iter().chain(form.split(' '))).code(2);
        assert_eq!(machine.tree(), before, "{form}");
    }
}

#[test]
fn configuring_over_an_old_version_writes_the_mark_and_stops_nothing() {
    let machine = TestMachine::new()
        .with_unit("worker.service", "inactive")
        .services(&["worker.service", "openwatch.service"])
        .ship("good");
    machine.run(["scriptlet", "deb", "postinst", "configure", "1.0.0-1"]).success();
    let mark = mark(&machine);
    assert_eq!(mark["from"], "1.0.0-1");
    assert_eq!(mark["to"], "2.0.0-1");
    assert_eq!(mark["family"], "deb");
    assert_eq!(mark["running"], serde_json::json!(["openwatch.service"]));
    assert_eq!(machine.acts(), [""; 0]);
    machine.run(["gate"]).code(10);
}

/// The application's own tool comes with another package of the run, which is configured later.
///
/// Row 75.
#[test]
fn the_work_waits_until_every_package_of_the_run_is_in_place() {
    for (begin, end) in [
        (&["deb", "postinst", "configure", "1.0.0-1"][..], &["deb", "postinst", "triggered"][..]),
        (&["rpm", "post", "2"][..], &["rpm", "posttrans", "2"][..]),
    ] {
        let machine = TestMachine::new().ship("good");
        let runtime = machine.dir().join("runtime");
        let check = format!("checks = [[\"/usr/bin/test\", \"-e\", \"{}\"]]", runtime.display());
        let machine = machine.operator(&check);
        let call = |words: &[&'static str]| [&["scriptlet"], words].concat();
        machine.run(call(begin)).success();
        assert_eq!((machine.acts(), machine.schema()), (vec![], "0002".into()));
        // The last package of the run.
        std::fs::write(&runtime, "").unwrap();
        let end =
            if end[0] == "deb" { [end, &["openwatch-upgrade"]].concat() } else { end.to_vec() };
        machine.run(call(&end)).success();
        assert_eq!(machine.schema(), "0004", "{begin:?}");
        assert_eq!(machine.unit("openwatch.service"), "active");
        machine.assert_clean();
    }
}

#[test]
fn rpm_learns_the_old_version_before_unpacking() {
    for count in ["2", "3"] {
        let machine = TestMachine::new().version("1.0.0-1");
        machine.run(["scriptlet", "rpm", "pre", count, "2.0.0-1"]).success();
        let machine = machine.version("2.0.0-1").ship("good");
        machine.run(["scriptlet", "rpm", "post", count]).success();
        let mark = mark(&machine);
        assert_eq!((&mark["from"], &mark["family"]), (&"1.0.0-1".into(), &"rpm".into()));
    }
}

/// Row 33.
#[test]
fn a_second_attempt_keeps_what_ran_at_the_first() {
    let machine = TestMachine::new().ship("failing");
    machine.run(["scriptlet", "deb", "postinst", "configure", "1.0.0-1"]).success();
    machine.run(["scriptlet", "deb", "postinst", "triggered", "openwatch-upgrade"]).code(7);
    machine.assert_closed();
    // dpkg --configure -a
    machine.run(["scriptlet", "deb", "postinst", "configure", "1.0.0-1"]).success();
    let mark = mark(&machine);
    assert_eq!(mark["running"], serde_json::json!(["openwatch.service"]));
    assert_eq!(mark["failed"], Value::Null);
    let machine = machine.migration("0004_audit.sql", "CREATE TABLE audit (id int);");
    machine.run(["scriptlet", "deb", "postinst", "triggered", "openwatch-upgrade"]).success();
    assert_eq!(machine.unit("openwatch.service"), "active");
    machine.assert_clean();
}

/// Rows 32 and 67.
/// At the boot after the cut the gate has refused the new program.
#[test]
fn what_ran_is_known_after_a_power_cut_between_unpacking_and_the_mark() {
    for (before, again, after) in [
        ("deb preinst upgrade 1.0.0-1 2.0.0-1", "", "deb postinst configure 1.0.0-1"),
        (
            "deb preinst upgrade 1.0.0-1 2.0.0-1",
            "deb preinst upgrade 1.0.0-1 2.0.0-1",
            "deb postinst configure 1.0.0-1",
        ),
        ("rpm pre 2 2.0.0-1", "rpm pre 2 2.0.0-1", "rpm post 2"),
    ] {
        let run = |machine: &TestMachine, form: &str| {
            machine.run(["scriptlet"].into_iter().chain(form.split(' '))).success();
        };
        let machine = TestMachine::new().version("1.0.0-1");
        run(&machine, before);
        let machine =
            machine.version("2.0.0-1").ship("good").with_unit("openwatch.service", "failed");
        if !again.is_empty() {
            run(&machine, again);
        }
        run(&machine, after);
        let mark = mark(&machine);
        assert_eq!(mark["from"], "1.0.0-1", "{after}");
        assert_eq!(mark["running"], serde_json::json!(["openwatch.service"]), "{after}");
    }
}

/// Row 32.
/// The attempt before ended without a change, and the operator has stopped the unit since.
#[test]
fn what_ran_at_an_attempt_that_unpacked_nothing_is_not_remembered() {
    let machine = TestMachine::new().version("1.0.0-1");
    let before = ["scriptlet", "deb", "preinst", "upgrade", "1.0.0-1", "2.0.0-1"];
    machine.run(before).success();
    let machine = machine.with_unit("openwatch.service", "inactive");
    machine.run(before).success();
    let machine = machine.version("2.0.0-1").ship("good");
    machine.run(["scriptlet", "deb", "postinst", "configure", "1.0.0-1"]).success();
    assert_eq!(mark(&machine)["running"], serde_json::json!([]));
}

/// Rows 3 and 82.
#[test]
fn reinstalling_the_same_version_writes_no_mark() {
    let machine = TestMachine::new();
    machine.run(["scriptlet", "deb", "preinst", "upgrade", "2.0.0-1", "2.0.0-1"]).success();
    machine.run(["scriptlet", "deb", "postinst", "configure", "2.0.0-1"]).success();
    assert!(!machine.mark().exists());
    machine.run(["scriptlet", "rpm", "pre", "2", "2.0.0-1"]).success();
    machine.run(["scriptlet", "rpm", "post", "2"]).success();
    assert!(!machine.mark().exists());
    machine.run(["scriptlet", "rpm", "posttrans", "2"]).success();
    assert_eq!(machine.acts(), [""; 0]);
}

#[test]
fn a_downgrade_is_refused_and_the_way_back_is_named() {
    for form in ["deb preinst upgrade 2.0.0-1 1.0.0-1", "rpm pre 2 1.0.0-1"] {
        let machine = TestMachine::new();
        let ended = machine.run(["scriptlet"].into_iter().chain(form.split(' '))).code(5);
        let message = message(&ended);
        assert_eq!(
            message.first,
            "openwatch 2.0.0-1 is not replaced by the older 1.0.0-1: the database would be newer \
             than the program"
        );
        assert_eq!(message.state, "nothing was changed");
        let allow = machine.etc().join("allow-downgrade");
        assert!(message.hint.contains("`openwatch rollback --to 1.0.0`"), "{message:#?}");
        fs::write(allow, "").unwrap();
        machine.run(["scriptlet"].into_iter().chain(form.split(' '))).success();
        assert_eq!(machine.acts(), [""; 0]);
    }
}

#[test]
fn going_back_after_a_failed_migration_needs_no_switch() {
    let machine = TestMachine::new().ship("failing");
    machine.run(["scriptlet", "deb", "postinst", "configure", "1.0.0-1"]).success();
    machine.run(["scriptlet", "deb", "postinst", "triggered", "openwatch-upgrade"]).code(7);
    machine.run(["scriptlet", "deb", "preinst", "upgrade", "2.0.0-1", "1.0.0-1"]).success();
}

/// Row 13.
#[test]
fn what_the_next_upgrade_needs_is_asked_before_unpacking() {
    let machine = TestMachine::new().operator("checks = [[\"/bin/false\"]]");
    for form in ["deb preinst upgrade 2.0.0-1 3.0.0-1", "rpm pre 2 3.0.0-1"] {
        let ended = machine.run(["scriptlet"].into_iter().chain(form.split(' '))).code(5);
        assert!(message(&ended).first.contains("/bin/false"));
        assert_eq!(machine.unit("openwatch.service"), "active");
        assert!(!machine.mark().exists());
    }
}

#[test]
fn a_database_that_is_away_before_unpacking_refuses_nothing() {
    let machine = TestMachine::with_own_server();
    machine.server().down();
    machine
        .run(["scriptlet", "deb", "preinst", "upgrade", "2.0.0-1", "3.0.0-1"])
        .success()
        .stderr(contains("preflight is left to the upgrade"));
    machine.server().up();
}

/// Row 76.
#[test]
fn without_systemd_the_mark_is_left_for_the_first_boot() {
    let machine = TestMachine::new().ship("good").without_systemd();
    machine.run(["scriptlet", "deb", "postinst", "configure", "1.0.0-1"]).success();
    machine
        .run(["scriptlet", "deb", "postinst", "triggered", "openwatch-upgrade"])
        .success()
        .stderr(contains("the upgrade to 2.0.0-1 runs at the first boot"));
    assert_eq!(mark(&machine)["from"], "1.0.0-1");
    assert_eq!(machine.schema(), "0002");
    machine.boot();
    machine.run(["upgrade", "--unit"]).success();
    assert_eq!(machine.schema(), "0004");
    machine.assert_clean();
}

/// Rows 1 and 76.
///
/// The boot's own start of the service was refused when the unit gave up for the first time.
#[test]
fn a_first_boot_with_a_late_database_starts_what_starts_with_the_machine() {
    let machine = TestMachine::with_own_server()
        .with_unit("openwatch.service", "failed")
        .with_unit("extra.service", "inactive")
        .unit_fact("extra.service", "enabled", "disabled")
        .with_unit("masked.service", "inactive")
        .unit_fact("masked.service", "load", "masked")
        .unit_fact("masked.service", "enabled", "masked")
        .services(&["extra.service", "masked.service", "openwatch.service"])
        .ship("good")
        .without_systemd();
    machine.run(["scriptlet", "deb", "preinst", "upgrade", "1.0.0-1", "2.0.0-1"]).success();
    machine.run(["scriptlet", "deb", "postinst", "configure", "1.0.0-1"]).success();
    assert_eq!(mark(&machine)["running"], Value::Null);
    machine.boot();
    machine.server().down();
    machine.run(["upgrade", "--unit"]).code(4);
    machine.server().up();
    machine.run(["upgrade", "--unit"]).success();
    assert_eq!(machine.schema(), "0004");
    assert_eq!(machine.unit("openwatch.service"), "active");
    assert_eq!(machine.unit("extra.service"), "inactive");
    assert_eq!(machine.unit("masked.service"), "inactive");
    machine.assert_clean();
}

/// Row 66.
#[test]
fn the_upgrade_runs_in_its_unit_and_its_words_are_relayed() {
    for (family, begin, end) in [
        ("deb", "postinst configure 1.0.0-1", "postinst triggered openwatch-upgrade"),
        ("rpm", "post 2", "posttrans 2"),
    ] {
        let machine = TestMachine::new().ship("good");
        machine.run(["scriptlet", family].into_iter().chain(begin.split(' '))).success();
        machine.run(["scriptlet", family].into_iter().chain(end.split(' '))).success().stderr(
            contains("openwatch: taking a restore point\n")
                .and(contains("openwatch: starting openwatch.service\n")),
        );
        assert_eq!(
            machine.acts(),
            [
                "daemon-reload",
                "start openwatch-upgrade.service",
                "stop openwatch.service",
                "daemon-reload",
                "start openwatch.service",
            ]
        );
        assert_eq!(machine.schema(), "0004");
        machine.assert_clean();
    }
}

/// Row 90.
#[test]
fn the_operators_program_is_called_once_for_each_failure() {
    let machine = TestMachine::new().ship("failing");
    let asked = ["scriptlet", "unit", "failed", "openwatch-upgrade.service"];
    machine.run(["scriptlet", "deb", "postinst", "configure", "1.0.0-1"]).success();
    machine.run(["upgrade", "--unit"]).code(7);
    machine.run(asked).success();
    // Each start of the service runs the unit again, which refuses.
    for _ in 0..2 {
        machine.run(["upgrade", "--unit"]).code(5);
        machine.run(asked).code(5);
    }
    // Another try is another failure, and so is that of another unit.
    machine.run(["upgrade", "--retry"]).code(7);
    machine.run(asked).success();
    machine.run(asked).code(5);
    machine.run(["scriptlet", "unit", "failed", "openwatch-backup-cleanup.service"]).success();
    machine.run(["scriptlet", "unit", "failed"]).code(2);
    // In doubt it is told.
    std::fs::write(machine.mark(), "{").unwrap();
    machine.run(asked).success();
}

#[test]
fn a_failure_in_the_unit_is_the_scripts_failure_with_the_whole_message() {
    let machine = TestMachine::new().ship("failing");
    machine.run(["scriptlet", "deb", "postinst", "configure", "1.0.0-1"]).success();
    let ended =
        machine.run(["scriptlet", "deb", "postinst", "triggered", "openwatch-upgrade"]).code(7);
    let message = message(&ended);
    assert_eq!(message.first, "migration 0004_audit failed: relation \"audits\" does not exist");
    assert!(message.detail.contains("SQLSTATE 42P01"), "{message:#?}");
    assert!(message.state.contains("is as before, at schema 0002"), "{message:#?}");
    assert!(message.hint.contains("`dpkg --configure -a`"), "{message:#?}");
    machine.assert_closed();
}

/// Row 1.
#[test]
fn a_database_that_is_away_defers_and_the_package_is_not_failed() {
    let machine = TestMachine::with_own_server().ship("good");
    machine.run(["scriptlet", "rpm", "post", "2"]).success();
    machine.server().down();
    machine
        .run(["scriptlet", "rpm", "posttrans", "1"])
        .success()
        .stderr(contains("deferred: the gate stays closed; the upgrade to 2.0.0-1 runs when"));
    assert!(machine.mark().exists());
    machine.server().up();
    // The unit tries again by itself.
    machine.run(["upgrade", "--unit"]).success();
    assert_eq!(machine.schema(), "0004");
    machine.assert_clean();
}

/// Row 2.
#[test]
fn a_wrong_configuration_is_not_deferred() {
    let machine = TestMachine::new().ship("good");
    machine.run(["scriptlet", "rpm", "post", "2"]).success();
    fs::write(machine.operator_conf(), "on_failure = \"explode\"\n").unwrap();
    machine.run(["scriptlet", "rpm", "posttrans", "1"]).code(3);
    assert!(machine.mark().exists());
    assert_eq!(machine.schema(), "0002");
}

#[test]
fn a_configuration_that_no_longer_fits_closes_the_gate_all_the_same() {
    let machine = TestMachine::new().ship("good");
    fs::write(machine.operator_conf(), "on_failure = \"explode\"\n").unwrap();
    machine.run(["scriptlet", "deb", "postinst", "configure", "1.0.0-1"]).code(3);
    assert!(machine.mark().exists());
}

/// The script could not look at the units; the first attempt stops them and fails.
#[test]
fn what_ran_is_started_by_a_retry_also_where_the_configuration_was_broken_at_first() {
    let machine = TestMachine::new().migration("0003_divides.sql", "SELECT 1 / 0;\n");
    let own = fs::read(machine.operator_conf()).unwrap();
    fs::write(machine.operator_conf(), "on_failure = \"explode\"\n").unwrap();
    machine.run(["scriptlet", "deb", "postinst", "configure", "1.0.0-1"]).code(3);
    fs::write(machine.operator_conf(), own).unwrap();
    assert_eq!(machine.unit("openwatch.service"), "active");
    machine.run(["upgrade"]).code(7);
    assert_eq!(machine.unit("openwatch.service"), "inactive");
    let machine = machine.migration("0003_divides.sql", "SELECT 1;\n");
    machine.run(["upgrade", "--retry"]).success();
    assert_eq!(machine.unit("openwatch.service"), "active");
}

#[test]
fn an_application_that_was_never_configured_is_upgraded_without_a_word_of_failure() {
    let machine = TestMachine::new().with_unit("openwatch.service", "inactive").ship("good");
    fs::write(machine.secrets(), "").unwrap();
    machine.run(["scriptlet", "deb", "postinst", "configure", "1.0.0-1"]).success();
    assert!(!machine.mark().exists());
    machine.run(["scriptlet", "deb", "postinst", "triggered", "openwatch-upgrade"]).success();
    assert_eq!(machine.schema(), "0002");
}

#[test]
fn a_unit_that_ends_without_a_result_is_no_success() {
    let machine = TestMachine::new()
        .ship("good")
        .marked(Some("deb"), &["openwatch.service"])
        .with_hook("start", "openwatch-upgrade.service", "exit 0");
    let ended =
        machine.run(["scriptlet", "deb", "postinst", "triggered", "openwatch-upgrade"]).code(1);
    let message = message(&ended);
    assert_eq!(message.first, "openwatch-upgrade.service ended without a result");
    assert_eq!(message.state, "the gate is closed");
    assert!(machine.mark().exists());
}

/// Rows 6 and 78.
#[test]
fn notes_of_an_upgrade_before_configuration_are_not_believed_by_the_next() {
    let machine = TestMachine::new().with_unit("openwatch.service", "inactive").ship("good");
    let (dsn, old) = (fs::read_to_string(machine.secrets()).unwrap(), machine.version("1.0.0-1"));
    fs::write(old.secrets(), "").unwrap();
    old.run(["scriptlet", "rpm", "pre", "2", "2.0.0-1"]).success();
    let machine = old.version("2.0.0-1");
    machine.run(["scriptlet", "rpm", "post", "2"]).success();
    assert!(!machine.mark().exists());
    // Configured later, and held.
    fs::write(machine.secrets(), dsn).unwrap();
    machine.run(["migrate"]).success();
    machine.run(["upgrade", "hold", "--reason", "fair"]).success();
    machine.run(["scriptlet", "rpm", "pre", "2", "3.0.0-1"]).code(5).stderr(contains("it is held"));
    machine.run(["upgrade", "release"]).success();
    machine.run(["scriptlet", "rpm", "pre", "2", "1.0.0-1"]).code(5);
    machine.run(["scriptlet", "rpm", "pre", "2", "3.0.0-1"]).success();
    let machine = machine.version("3.0.0-1");
    machine.run(["scriptlet", "rpm", "post", "2"]).success();
    assert_eq!(mark(&machine)["from"], "2.0.0-1");
}

/// Row 6.
#[test]
fn a_disk_that_takes_no_note_takes_no_upgrade() {
    let machine = TestMachine::new();
    // What cannot be replaced stands in for a disk that is full: both fail when the note is written.
    fs::create_dir_all(machine.upgrade_dir().join("from/in the way")).unwrap();
    let pre = ["scriptlet", "deb", "preinst", "upgrade", "2.0.0-1", "3.0.0-1"];
    let refused = machine.run(pre).code(5);
    assert_eq!(message(&refused).state, "nothing was changed");
    machine.assert_clean();
}

/// Row 57.
#[test]
fn a_version_that_never_came_to_act_gives_way_to_the_one_before() {
    let machine = TestMachine::new().ship("good");
    machine.run(["upgrade", "--from", "1.0.0-1"]).success();
    let machine = machine
        .version("3.0.0-1")
        .migration("0005_more.sql", "CREATE TABLE more (id int);\n")
        .operator("checks = [[\"/bin/false\"]]");
    machine.run(["scriptlet", "deb", "postinst", "configure", "2.0.0-1"]).success();
    machine.run(["upgrade"]).code(5);
    let before = machine.data();
    machine.run(["scriptlet", "deb", "preinst", "upgrade", "3.0.0-1", "2.0.0-1"]).success();
    assert_eq!(machine.data(), before);
    // An older one still is not: the data is of 2.0.0.
    machine.run(["scriptlet", "deb", "preinst", "upgrade", "3.0.0-1", "1.0.0-1"]).code(5);
}

/// Row 85.
#[test]
fn between_unpacking_and_the_mark_nothing_is_pruned() {
    let machine =
        TestMachine::new().operator("backup_retention_days = 0").operator("backup_keep = 1");
    for _ in 0..2 {
        machine.run(["backup", "create"]).success();
    }
    let machine = machine.version("1.0.0-1");
    machine.run(["scriptlet", "deb", "preinst", "upgrade", "1.0.0-1", "2.0.0-1"]).success();
    let machine = machine.version("2.0.0-1");
    let (_, pruned) = machine.json(["backup", "prune", "--dry-run"]);
    for decision in pruned["decisions"].as_array().unwrap() {
        assert_eq!(decision["verdict"], "keep", "{pruned}");
    }
    assert!(pruned.to_string().contains("version 1.0.0-1 is just being replaced"), "{pruned}");
}
