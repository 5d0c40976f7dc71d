//! The whole upgrade on a machine: order, outcome, and the state that is left behind.

#[path = "upgrade/ahead.rs"]
mod ahead;
#[path = "upgrade/data_disk.rs"]
mod data_disk;
#[path = "upgrade/data_disk_again.rs"]
mod data_disk_again;
#[path = "upgrade/drift.rs"]
mod drift;
#[path = "upgrade/going_on.rs"]
mod going_on;
#[path = "upgrade/held.rs"]
mod held;
#[path = "upgrade/proof.rs"]
mod proof;
#[path = "upgrade/rollback.rs"]
mod rollback;
#[path = "upgrade/settings.rs"]
mod settings;
#[path = "upgrade/sides.rs"]
mod sides;
#[path = "upgrade/site_hooks.rs"]
mod site_hooks;
mod support;
#[path = "upgrade/switches.rs"]
mod switches;
#[path = "upgrade/take_back.rs"]
mod take_back;
#[path = "upgrade/tree.rs"]
mod tree;
#[path = "upgrade/used_again.rs"]
mod used_again;
#[path = "upgrade/will_dump.rs"]
mod will_dump;

use predicates::prelude::*;
use predicates::str::contains;
use std::fs;
use std::path::PathBuf;

use support::machine::{TestMachine, message};
use support::postgres::wait_for;

#[test]
fn pending_migrations_are_applied_and_the_service_is_back() {
    let machine = TestMachine::new().ship("good");
    machine.run(["upgrade", "--from", "1.0.0-1"]).success().stdout(predicate::str::starts_with(
        "openwatch 2.0.0-1 is up and healthy: applied 0003 0004",
    ));
    assert_eq!(machine.schema(), "0004");
    assert_eq!(machine.unit("openwatch.service"), "active");
    assert_eq!(machine.points().len(), 1);
    machine.assert_clean();
}

/// What the machine looks like from inside a call of the service manager.
const LOOK: &str = r#"
points=$(ls "$root/var/lib/openwatch/backups" | wc -l)
head=$(psql -X -A -t -d "$dsn" -c 'select max(version) from openwatch_schema_history')
marked=$([ -e "$(cat "$here/mark")" ] && echo marked || echo open)
echo "SEEN $points points, schema $head, $marked" >>"$here/calls"
"#;

fn looking(machine: TestMachine) -> TestMachine {
    let dsn = machine.server().conninfo(machine.dbname());
    let script = format!("PATH={}:$PATH\ndsn='{dsn}'\n{LOOK}", machine.server().bin().display());
    machine.with_hook("stop", "openwatch.service", &script).with_hook(
        "start",
        "openwatch.service",
        &script,
    )
}

#[test]
fn services_stop_before_the_dump_and_start_after_the_migrations() {
    let machine = looking(TestMachine::new().ship("good"));
    machine.run(["upgrade"]).success();
    assert_eq!(
        machine.acts(),
        [
            "stop openwatch.service",
            "SEEN 0 points, schema 0002, marked",
            "daemon-reload",
            "start openwatch.service",
            "SEEN 1 points, schema 0004, open",
        ]
    );
    machine.assert_clean();
}

#[test]
fn the_dump_is_taken_before_the_first_migration() {
    let machine = TestMachine::new().ship("good");
    machine.run(["upgrade"]).success();
    assert_eq!(
        machine.marks(),
        [
            "quiesce begun",
            "quiesce done",
            "restore_point begun",
            "restore_point done",
            "migrate begun",
            "migrate done",
            "start begun",
            "start done",
            "health begun",
            "health done",
        ]
    );
    let (_, shown) = machine.json(["backup", "show", "latest"]);
    assert_eq!(shown["restore_point"]["databases"][0]["schema"]["head"], "0002");
    machine.assert_clean();
}

// Units: only what ran, in order.

/// Row 34.
#[test]
fn units_stop_in_order_and_start_in_reverse() {
    let machine = TestMachine::new()
        .with_unit("web.service", "active")
        .with_unit("worker.service", "active")
        .services(&["web.service", "worker.service", "openwatch.service"])
        .ship("good");
    machine.run(["upgrade"]).success();
    assert_eq!(
        machine.acts(),
        [
            "stop web.service",
            "stop worker.service",
            "stop openwatch.service",
            "daemon-reload",
            "start openwatch.service",
            "start worker.service",
            "start web.service",
        ]
    );
    machine.assert_clean();
}

/// Row 32.
#[test]
fn only_units_that_ran_before_are_started_again() {
    let machine = TestMachine::new()
        .with_unit("worker.service", "inactive")
        .with_unit("broken.service", "failed")
        .with_unit("masked.service", "inactive")
        .unit_fact("masked.service", "load", "masked")
        .services(&["worker.service", "broken.service", "masked.service", "openwatch.service"])
        .ship("good");
    machine.run(["upgrade"]).success();
    assert_eq!(
        machine.acts(),
        ["stop openwatch.service", "daemon-reload", "start openwatch.service"]
    );
    machine.assert_clean();
}

/// Row 32.
///
/// To mask a unit stops nothing: it runs until the upgrade stops it.
#[test]
fn a_unit_that_was_masked_while_it_ran_stays_down_and_fails_nothing() {
    let machine = TestMachine::new()
        .with_unit("worker.service", "active")
        .unit_fact("worker.service", "load", "masked")
        .services(&["worker.service", "openwatch.service"])
        .operator("on_failure = \"restore\"")
        .operator("baseline_stop = [\"units\"]")
        .ship("good");
    machine
        .run(["upgrade"])
        .success()
        .stdout(contains("is up and healthy"))
        .stderr(contains("worker.service is masked and is left as it is"));
    assert_eq!(machine.schema(), "0004");
    assert_eq!(machine.unit("worker.service"), "inactive");
    machine.assert_clean();
}

/// Rows 32 and 33.
#[test]
fn a_unit_that_is_masked_between_two_attempts_does_not_fail_the_second() {
    let machine = TestMachine::new()
        .with_unit("worker.service", "active")
        .services(&["worker.service", "openwatch.service"])
        .ship("good")
        .with_hook("start", "worker.service", "exit 1");
    machine.run(["upgrade"]).code(8);
    let machine = machine.unit_fact("worker.service", "load", "masked");
    machine.run(["upgrade", "--retry"]).success();
    assert_eq!(machine.unit("openwatch.service"), "active");
    assert_eq!(machine.unit("worker.service"), "inactive");
    machine.assert_clean();
}

/// Row 32.
#[test]
fn a_rolling_restart_leaves_a_masked_unit_out() {
    let units = ["web.service", "worker.service", "openwatch.service"];
    let machine = TestMachine::new()
        .with_unit("web.service", "active")
        .with_unit("worker.service", "active")
        .services(&units)
        .app_line("restart = \"rolling\"\nrestart_pause = \"0s\"")
        .marked(Some("deb"), &units)
        .unit_fact("worker.service", "load", "masked");
    machine.run(["upgrade"]).success();
    let restarts = ["daemon-reload", "restart openwatch.service", "restart web.service"];
    assert_eq!(machine.acts(), restarts);
    machine.assert_clean();
}

/// Row 32.
#[test]
fn a_service_that_the_operator_had_stopped_stays_stopped() {
    let machine = TestMachine::new().with_unit("openwatch.service", "inactive").ship("good");
    machine.run(["upgrade"]).success().stdout(contains("is migrated, no unit ran"));
    assert_eq!(machine.schema(), "0004");
    assert_eq!(machine.acts(), ["daemon-reload"]);
    assert_eq!(machine.unit("openwatch.service"), "inactive");
    machine.assert_clean();
}

#[test]
fn a_unit_that_comes_up_counts_as_running() {
    let machine = TestMachine::new().with_unit("openwatch.service", "activating").ship("good");
    machine.run(["upgrade"]).success();
    assert_eq!(machine.unit("openwatch.service"), "active");
    machine.assert_clean();
}

/// Row 29.
#[test]
fn a_unit_that_will_not_stop_ends_the_run_before_anything_is_dumped() {
    let machine = TestMachine::new().ship("good").with_hook(
        "stop",
        "openwatch.service",
        "echo 'Operation refused.' >&2; exit 4",
    );
    let before = machine.data();
    let message = message(&machine.run(["upgrade"]).code(1));
    assert_eq!(message.first, "cannot stop openwatch.service: systemctl exited with status 4");
    assert!(message.state.contains("openwatch.service is running"), "{message:#?}");
    assert_eq!((machine.data(), machine.points()), (before, Vec::new()));
}

// Nothing pending: nothing is touched.

/// Row 82.
#[test]
fn nothing_pending_means_no_stop_and_no_dump() {
    let machine = TestMachine::new();
    machine.run(["upgrade"]).success().stdout("openwatch 2.0.0-1 is current, nothing to do\n");
    assert_eq!(machine.acts(), [""; 0]);
    assert_eq!(machine.points(), [""; 0]);
    machine.assert_clean();
}

#[test]
fn a_new_program_whose_services_are_down_is_not_said_to_run() {
    let machine = TestMachine::new().with_unit("openwatch.service", "inactive");
    let machine = machine.marked(Some("deb"), &[]);
    let told = "openwatch 2.0.0-1 is current, no unit ran; no migration was pending\n";
    machine.run(["upgrade"]).success().stdout(told);
    assert_eq!(machine.unit("openwatch.service"), "inactive");
    machine.assert_clean();
}

#[test]
fn a_new_program_without_migrations_is_restarted_and_nothing_else() {
    let machine = TestMachine::new().marked(Some("deb"), &["openwatch.service"]);
    machine.run(["upgrade"]).success().stdout(contains("no migration was pending"));
    assert_eq!(machine.acts(), ["daemon-reload", "restart openwatch.service"]);
    assert_eq!(machine.points(), [""; 0]);
    machine.assert_clean();
}

#[test]
fn a_new_program_without_migrations_starts_nothing_that_was_stopped() {
    let machine =
        TestMachine::new().with_unit("openwatch.service", "inactive").marked(Some("rpm"), &[]);
    machine.run(["upgrade"]).success();
    assert_eq!(machine.acts(), ["daemon-reload"]);
    machine.assert_clean();
}

/// Row 3.
#[test]
fn an_empty_database_is_initialised_without_a_dump() {
    let machine = TestMachine::with_empty_database();
    machine.run(["upgrade"]).success();
    assert_eq!(machine.schema(), "0002");
    assert_eq!(machine.points(), [""; 0]);
    machine.assert_clean();
}

#[test]
fn backups_that_are_switched_off_are_told_and_obeyed() {
    let machine = TestMachine::new().operator("auto_backup = false").ship("good");
    machine
        .run(["upgrade"])
        .success()
        .stderr(contains("main is migrated without a restore point: auto_backup is off"));
    assert_eq!((machine.schema().as_str(), machine.points().len()), ("0004", 0));
    machine.assert_clean();
}

// A migration that fails.

/// Row 35.
#[test]
fn a_failing_migration_leaves_the_data_as_before_and_the_gate_closed() {
    let machine = TestMachine::new().ship("failing");
    let before = machine.data();
    let ended = machine.run(["upgrade", "--from", "1.0.0-1"]).code(7);
    assert_eq!(machine.data(), before);
    let [point] = machine.points().try_into().unwrap();
    let message = message(&ended);
    assert_eq!(message.first, "migration 0004_audit failed: relation \"audits\" does not exist");
    let file = machine.migrations("main").join("0004_audit.sql");
    assert_eq!(
        message.detail,
        format!(
            "SQLSTATE 42P01 at line 3 of {}, in: ALTER TABLE audits ADD COLUMN who text",
            file.display()
        )
    );
    assert_eq!(
        message.state,
        format!(
            "{} is as before, at schema 0002; restore point {point} is intact; \
             openwatch.service is stopped; the gate stays closed until program 2.0.0-1 and schema \
             agree",
            machine.described("main")
        )
    );
    assert_eq!(
        message.hint,
        "Mend the cause and run `openwatch upgrade --retry`; to go back, install version 1.0.0-1."
    );
    machine.run(["backup", "verify", &point]).success();
    machine.run(["gate"]).code(10);
    machine.assert_closed();
}

#[test]
fn after_a_failure_the_hint_is_that_of_the_package_tool() {
    for (family, retry, back) in [
        ("deb", "`dpkg --configure -a`", "`apt-get install --allow-downgrades openwatch=1.0.0-1`"),
        ("rpm", "`dnf reinstall openwatch`", "`dnf downgrade openwatch-1.0.0-1`"),
    ] {
        let machine =
            TestMachine::new().ship("failing").marked(Some(family), &["openwatch.service"]);
        let message = message(&machine.run(["upgrade"]).code(7));
        assert_eq!(message.hint, format!("Mend the cause and run {retry}; to go back, {back}."));
    }
}

/// Row 33.
#[test]
fn a_retry_after_the_fix_starts_what_ran_at_the_first_attempt() {
    let machine = TestMachine::new()
        .with_unit("worker.service", "inactive")
        .services(&["worker.service", "openwatch.service"])
        .ship("failing");
    machine.run(["upgrade"]).code(7);
    machine.assert_closed();
    machine.forget_calls();
    let machine =
        machine.migration("0004_audit.sql", "CREATE TABLE audit (id bigint PRIMARY KEY);");
    machine.run(["upgrade", "--retry"]).success();
    assert_eq!(machine.acts(), ["daemon-reload", "start openwatch.service"]);
    assert_eq!(machine.schema(), "0004");
    // Nothing was written since, so that the first one is what a second would be.
    assert_eq!(machine.points().len(), 1);
    machine.assert_clean();
}

/// Rows 62 and 73.
#[test]
fn a_version_that_failed_is_not_tried_again_by_itself() {
    let machine = TestMachine::new().ship("failing");
    machine.run(["upgrade"]).code(7);
    machine.forget_calls();
    let (data, points) = (machine.data(), machine.points());
    let message = message(&machine.run(["upgrade"]).code(5));
    assert_eq!(
        message.first,
        "the upgrade to 2.0.0-1 failed before and is not tried again by itself"
    );
    assert!(message.detail.contains("migration 0004_audit failed"), "{message:#?}");
    assert_eq!(message.hint, "Mend the cause, then run `openwatch upgrade --retry`.");
    assert_eq!((machine.data(), machine.points(), machine.acts()), (data, points, Vec::new()));
    machine.assert_closed();
}

#[test]
fn a_newer_version_is_tried_after_one_that_failed() {
    let machine = TestMachine::new().ship("failing");
    machine.run(["upgrade"]).code(7);
    let machine = machine
        .version("2.0.1-1")
        .migration("0004_audit.sql", "CREATE TABLE audit (id bigint PRIMARY KEY);");
    machine.run(["upgrade"]).success();
    assert_eq!(machine.unit("openwatch.service"), "active");
    machine.assert_clean();
}

/// Row 90.
#[test]
fn a_failed_run_is_kept_in_the_history_and_in_status() {
    let machine = TestMachine::new().ship("failing").marked(Some("deb"), &["openwatch.service"]);
    machine.run(["upgrade"]).code(7);
    let (_, status) = machine.json(["status"]);
    assert_eq!(status["gate"]["state"], "closed");
    assert_eq!(status["gate"]["outcome"], "migration_failed");
    assert_eq!(status["last_run"]["outcome"], "migration_failed");
    assert_eq!(status["next"], "dpkg --configure -a");
    let (_, history) = machine.json(["history"]);
    assert_eq!(history["runs"][0]["outcome"], "migration_failed");
    assert_eq!(history["runs"][0]["restore_point"], machine.points()[0]);
}

/// Row 35.
#[test]
fn the_first_database_stays_migrated_when_the_second_fails_and_both_are_told() {
    let machine = TestMachine::with_databases(&["main", "audit"])
        .ship_for("main", "good")
        .ship_for("audit", "failing");
    let before = machine.data();
    let message = message(&machine.run(["upgrade"]).code(7));
    let (main, audit) = (machine.described("main"), machine.described("audit"));
    assert!(
        message.state.starts_with(&format!(
            "{main} is at the new schema 0004; \
             {audit} is as before, at schema 0002; restore point "
        )),
        "{message:#?}"
    );
    let point = &machine.points()[0];
    assert!(message.hint.contains(&format!("`openwatch restore {point} --yes`")), "{message:#?}");
    assert_eq!(machine.data()[1], before[1]);
    assert_eq!(machine.schema(), "0004");
    machine.assert_closed();
}

#[test]
fn both_databases_are_in_one_restore_point() {
    let machine = TestMachine::with_databases(&["main", "audit"])
        .ship_for("main", "good")
        .ship_for("audit", "good");
    machine.run(["upgrade"]).success();
    let (_, shown) = machine.json(["backup", "show"]);
    let databases = shown["restore_point"]["databases"].as_array().unwrap();
    let names: Vec<_> = databases.iter().map(|d| d["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["main", "audit"]);
    machine.assert_clean();
}

// A restore point that cannot be had.

/// Takes the file with the long values of a new table away: only a dump reads them.
fn without_long_values(machine: &TestMachine) -> (PathBuf, PathBuf) {
    let path = machine.sql(
        "create table letters (body text);
         insert into letters select string_agg(md5(n::text), '') from generate_series(1, 2000) n;
         select pg_relation_filepath(reltoastrelid) from pg_class where relname = 'letters'",
    );
    let path = machine.server().socket().join("data").join(path);
    let aside = path.with_extension("aside");
    // Down, so that no page of it is left in memory.
    machine.server().down();
    fs::rename(&path, &aside).unwrap();
    machine.server().up();
    (path, aside)
}

/// Row 15.
#[test]
fn a_failing_dump_changes_nothing_and_migrates_nothing() {
    let machine = TestMachine::with_own_server();
    machine.run(["backup", "create"]).success();
    let machine = machine.ship("good");
    let older = machine.points();
    let (path, aside) = without_long_values(&machine);
    let message = message(&machine.run(["upgrade"]).code(6));
    fs::rename(aside, path).unwrap();
    assert!(message.first.contains("pg_dump"), "{message:#?}");
    assert!(message.detail.contains("could not open file"), "{message:#?}");
    assert!(message.state.contains("is as before, at schema 0002"), "{message:#?}");
    assert!(message.state.contains("no restore point was taken"), "{message:#?}");
    assert_eq!(machine.schema(), "0002");
    assert_eq!(machine.points(), older);
    assert_eq!(machine.leftovers(), [""; 0]);
    machine.assert_closed();
    machine.run(["upgrade", "--retry"]).success();
    machine.assert_clean();
}

/// Row 18.
#[test]
fn a_table_that_the_role_may_not_read_is_refused_before_any_stop() {
    let machine = TestMachine::new().ship("good");
    let role = format!("{}_app", machine.dbname());
    machine.sql(&format!(
        "create role {role} login; grant select on all tables in schema public to {role};
         revoke select on readings from {role}"
    ));
    let machine = machine.role(&role);
    let before = machine.data();
    let message = message(&machine.run(["upgrade"]).code(5));
    assert!(message.first.contains("a dump of"), "{message:#?}");
    assert!(message.first.contains("readings"), "{message:#?}");
    assert_eq!(message.state, "nothing was changed; openwatch.service is running");
    assert_eq!(machine.acts(), [""; 0]);
    assert_eq!((machine.data(), machine.points()), (before, Vec::new()));
    machine.assert_clean();
}

/// Row 8.
#[test]
fn too_little_space_is_refused_before_any_stop() {
    let machine = TestMachine::new().operator("reserve = \"900TiB\"").ship("good");
    let machine = machine.operator_without("reserve = \"0\"");
    let message = message(&machine.run(["upgrade"]).code(5));
    assert!(
        message.first.starts_with("not enough free space for a restore point in"),
        "{message:#?}"
    );
    assert!(message.hint.contains("backup_dir"), "{message:#?}");
    assert_eq!(machine.acts(), [""; 0]);
    machine.assert_clean();
}

#[test]
fn every_reason_not_to_begin_is_told_at_once() {
    let machine = TestMachine::new()
        .operator("checks = [[\"/bin/sh\", \"-c\", \"echo two imports run >&2; exit 3\"]]")
        .ship("good");
    machine.sql("begin; insert into readings values (1, now(), 1); prepare transaction 'left'");
    let message = message(&machine.run(["upgrade"]).code(5));
    machine.sql("rollback prepared 'left'");
    assert_eq!(message.first, "preflight found 2 reasons not to begin");
    assert!(message.detail.contains("has prepared transactions that hold locks: left"));
    assert!(message.detail.contains("exited with status 3: two imports run"), "{message:#?}");
    assert_eq!(machine.acts(), [""; 0]);
    machine.assert_clean();
}

#[test]
fn a_refusal_keeps_the_gate_of_a_package_closed_and_says_so() {
    let machine = TestMachine::new()
        .operator("checks = [[\"/bin/false\"]]")
        .ship("good")
        .marked(Some("deb"), &["openwatch.service"]);
    let message = message(&machine.run(["upgrade"]).code(5));
    assert!(message.first.contains("/bin/false"), "{message:#?}");
    assert!(message.state.starts_with("nothing was changed; the gate is closed"), "{message:#?}");
    assert!(machine.mark().exists());
    assert_eq!(machine.acts(), [""; 0]);
    let (_, status) = machine.json(["status"]);
    assert_eq!(status["gate"]["outcome"], "refused");
}

// Schemas that are not pending but wrong.

fn refused(machine: &TestMachine, first: &str) {
    let before = machine.data();
    let message = message(&machine.run(["upgrade"]).code(5));
    assert!(message.first.contains(first), "{first}: {message:#?}");
    assert!(message.state.starts_with("nothing was changed"), "{message:#?}");
    assert!(!message.hint.is_empty(), "{message:#?}");
    assert_eq!(machine.data(), before);
    assert_eq!((machine.acts(), machine.points()), (Vec::new(), Vec::new()));
    machine.assert_clean();
}

/// Row 5.
#[test]
fn a_schema_ahead_of_the_program_is_refused_by_name() {
    let machine = TestMachine::new().ship("good");
    machine.run(["upgrade"]).success();
    fs::remove_file(machine.migrations("main").join("0003_owner.sql")).unwrap();
    fs::remove_file(machine.migrations("main").join("0004_index_readings.sql")).unwrap();
    let message = message(&machine.run(["upgrade"]).code(5));
    assert!(message.first.contains("0003_owner"), "{message:#?}");
    assert!(message.detail.contains("0004_index_readings"), "{message:#?}");
    machine.run(["migrate", "--check"]).code(11);
    machine.run(["gate"]).code(11);
}

/// Row 6.
#[test]
fn an_edited_migration_is_refused_by_name() {
    let machine = TestMachine::new()
        .ship("good")
        .migration("0002_readings.sql", "CREATE TABLE readings (edited int);");
    refused(&machine, "0002_readings");
}

/// Row 6.
#[test]
fn a_migration_that_is_applied_and_not_shipped_is_refused_by_name() {
    let machine = TestMachine::new().ship("good");
    fs::remove_file(machine.migrations("main").join("0001_machines.sql")).unwrap();
    refused(&machine, "0001");
}

/// Row 6.
#[test]
fn a_gap_in_the_numbers_is_refused_by_name() {
    let machine = TestMachine::new().ship("good");
    fs::remove_file(machine.migrations("main").join("0003_owner.sql")).unwrap();
    refused(&machine, "0003");
}

/// Row 3.
#[test]
fn a_database_of_somebody_else_is_refused() {
    let machine = TestMachine::with_empty_database();
    machine.sql("create table theirs (id int)");
    let before = machine.data();
    let message = message(&machine.run(["upgrade"]).code(5));
    assert!(message.first.contains(machine.dbname()) || message.first.contains("history"));
    assert_eq!(machine.data(), before);
    assert_eq!(machine.acts(), [""; 0]);
    machine.assert_clean();
}

/// Row 4.
#[test]
fn a_version_before_the_required_stop_is_refused() {
    let machine = TestMachine::new().app_line("min_upgrade_from = \"1.5.0\"").ship("good");
    let message = message(&machine.run(["upgrade", "--from", "1.4.9-1"]).code(5));
    assert_eq!(message.first, "version 1.4.9-1 cannot be upgraded to 2.0.0-1 in one step");
    assert_eq!(message.hint, "Install version 1.5.0 first, then this one.");
    assert_eq!((machine.acts(), machine.schema().as_str()), (Vec::new(), "0002"));
    machine.run(["upgrade", "--from", "1.5.0-1"]).success();
    machine.assert_clean();
}

// Health.

#[test]
fn an_unhealthy_service_is_stopped_again_and_the_way_back_is_named() {
    let machine = TestMachine::new()
        .health(
            "[[health]]\nunit = \"openwatch.service\"\ndeadline = \"500ms\"\nrequired = false\n\
             [[health]]\ncommand = [\"/bin/false\"]\ndeadline = \"300ms\"\n",
        )
        .ship("good");
    let message = message(&machine.run(["upgrade", "--from", "1.0.0-1"]).code(8));
    assert!(message.first.starts_with("health was not proved: command /bin/false"), "{message:#?}");
    let point = machine.points().remove(0);
    assert_eq!(
        message.state,
        format!(
            "{} is at the new schema 0004; restore point {point} is intact; \
             openwatch.service is stopped; the gate stays closed until program 2.0.0-1 and schema \
             agree",
            machine.described("main")
        )
    );
    assert!(message.hint.contains(&format!("`openwatch restore {point} --yes`")), "{message:#?}");
    assert_eq!(machine.schema(), "0004");
    machine.assert_closed();
    // What was wrong is mended: the same command ends well, without another dump.
    let machine = machine.health("[[health]]\ncommand = [\"/bin/true\"]\n");
    machine.run(["upgrade", "--retry"]).success();
    assert_eq!(machine.unit("openwatch.service"), "active");
    assert_eq!(machine.points(), [point]);
    machine.assert_clean();
}

/// Row 46.
#[test]
fn a_service_that_dies_at_once_is_unhealthy() {
    let machine = TestMachine::new()
        .health("[[health]]\nunit = \"openwatch.service\"\ndeadline = \"5s\"\n")
        .ship("good")
        .with_hook(
            "start",
            "openwatch.service",
            // A simple service: systemctl says yes, the process is gone a moment later.
            "(sleep 0.2; echo failed >\"$here/units/$unit/active\") >/dev/null 2>&1 &",
        );
    let message = message(&machine.run(["upgrade"]).code(8));
    assert!(message.first.contains("unit openwatch.service"), "{message:#?}");
    machine.assert_closed();
}

#[test]
fn a_service_that_does_not_start_closes_the_gate() {
    let machine = TestMachine::new()
        .with_unit("web.service", "active")
        .services(&["web.service", "openwatch.service"])
        .ship("good")
        .with_hook("start", "web.service", "exit 1");
    let message = message(&machine.run(["upgrade"]).code(8));
    assert_eq!(message.first, "cannot start web.service: systemctl exited with status 1");
    assert_eq!(machine.unit("openwatch.service"), "inactive");
    machine.assert_closed();
}

/// Row 48.
#[test]
fn an_advisory_probe_that_fails_is_only_told() {
    let machine = TestMachine::new()
        .health(
            "[[health]]\nunit = \"openwatch.service\"\nrequired = false\ndeadline = \"500ms\"\n\
             [[health]]\ntcp = \"127.0.0.1:1\"\nrequired = false\ndeadline = \"300ms\"\n",
        )
        .ship("good");
    machine.run(["upgrade"]).success().stderr(contains("warning: tcp 127.0.0.1:1"));
    machine.assert_clean();
}

#[test]
fn rows_that_a_migration_loses_are_told() {
    let machine =
        TestMachine::new().migration("0003_loses.sql", "DELETE FROM readings WHERE value <= 3;");
    machine
        .run(["upgrade"])
        .success()
        .stderr(contains("main: table public.readings had 500 rows, now 497"));
    machine.assert_clean();
}

// Others.

/// Row 41.
#[test]
fn the_second_of_two_runs_is_busy_and_names_the_first() {
    let machine = TestMachine::new().ship("slow");
    let mut first = machine.spawn(["upgrade"]);
    machine.wait_for_mark("migrate begun");
    for words in [&["upgrade"][..], &["migrate"], &["backup", "create"], &["restore", "--yes"]] {
        let message = message(&machine.run(words.iter().copied()).code(75));
        assert!(
            message.first.starts_with(&format!(
                "another run holds the lock: upgrade (pid {}, since 20",
                first.id()
            )),
            "{message:#?}"
        );
        assert_eq!(message.state, "this run changed nothing");
    }
    first.kill().unwrap();
    first.wait().unwrap();
}

/// Row 41.
#[test]
fn looking_is_never_busy() {
    let machine = TestMachine::new().ship("slow");
    let mut first = machine.spawn(["upgrade"]);
    machine.wait_for_mark("restore_point done");
    for words in [&["status"][..], &["migrate", "--status"], &["backup", "list"], &["history"]] {
        machine.run(words.iter().copied()).success();
    }
    first.kill().unwrap();
    first.wait().unwrap();
}

/// Row 41.
#[test]
fn another_host_on_the_same_database_is_busy() {
    let machine = TestMachine::new().ship("slow");
    let other = TestMachine::beside(&machine).ship("good").operator("host_wait = \"200ms\"");
    let mut first = machine.spawn(["upgrade"]);
    machine.wait_for_mark("migrate begun");
    let message = message(&other.run(["upgrade"]).code(75));
    assert!(!message.first.is_empty());
    assert_eq!(other.acts(), [""; 0]);
    first.kill().unwrap();
    first.wait().unwrap();
}

/// Row 1.
#[test]
fn a_database_that_is_away_defers_the_upgrade_and_a_later_run_finishes_it() {
    let machine =
        TestMachine::with_own_server().ship("good").marked(Some("deb"), &["openwatch.service"]);
    machine.server().down();
    let before = machine.tree();
    let message = message(&machine.run(["upgrade"]).code(4));
    assert!(message.first.starts_with("cannot connect to database"), "{message:#?}");
    assert!(message.state.starts_with("nothing was changed"), "{message:#?}");
    let mut after = machine.tree();
    // What the run said, to whom, and its lock, are all that is new.
    let told = ["run.log", "motd", "reported"];
    after.retain(|path, _| {
        !told.iter().any(|name| path.ends_with(name))
            && !path.starts_with(machine.root().join("run"))
    });
    let mut before = before;
    before.retain(|path, _| !path.starts_with(machine.root().join("run")));
    assert_eq!(after, before);
    assert_eq!(machine.acts(), [""; 0]);
    machine.server().up();
    machine.run(["upgrade"]).success();
    assert_eq!(machine.schema(), "0004");
    assert_eq!(machine.unit("openwatch.service"), "active");
    machine.assert_clean();
}

/// Row 1.
#[test]
fn a_database_that_comes_back_within_the_wait_is_waited_for() {
    let machine = TestMachine::with_own_server().ship("good").operator_without("database_wait");
    machine.server().down();
    let mut run = machine.spawn(["upgrade"]);
    wait_for("the lock", || machine.lock().exists());
    machine.server().up();
    assert!(run.wait().unwrap().success(), "{}", machine.said());
    machine.assert_clean();
}

/// Row 63.
#[test]
fn a_report_that_nobody_takes_fails_nothing() {
    let machine = TestMachine::new()
        .operator_end("[notify]\nsuccess_url = \"http://127.0.0.1:1/success\"\nlimit = \"1s\"")
        .ship("good");
    machine
        .run(["upgrade"])
        .success()
        .stderr(contains("warning: the outcome could not be reported to success_url"));
    machine.assert_clean();
}

/// Row 63.
#[test]
fn a_report_that_nobody_takes_changes_no_failure() {
    let machine = TestMachine::new()
        .operator_end("[notify]\nfailure_url = \"http://127.0.0.1:1/failed\"\nlimit = \"1s\"")
        .ship("failing");
    let ended = machine.run(["upgrade"]).code(7);
    assert!(message(&ended).first.starts_with("migration 0004_audit failed"));
    machine.assert_closed();
}

// Half a migration, and the two policies after it.

/// The first of two migrations cannot be taken back by a transaction, and the second fails.
fn half_migrated(machine: TestMachine) -> TestMachine {
    machine
        .migration(
            "0003_alone.sql",
            "-- openwatch: no-transaction\nCREATE INDEX CONCURRENTLY by_value ON readings (value);\n",
        )
        .migration("0004_divides.sql", "SELECT 1 / 0;\n")
}

/// Row 91.
#[test]
fn the_printed_command_puts_the_data_back() {
    let machine = half_migrated(TestMachine::new());
    let before = machine.data();
    let message = message(&machine.run(["upgrade"]).code(7));
    assert_eq!(message.first, "migration 0004_divides failed: division by zero");
    assert!(
        message.state.starts_with(&format!(
            "{} is at schema 0003, between 0002 and 0004; ",
            machine.described("main")
        )),
        "{message:#?}"
    );
    machine.assert_closed();
    let printed = message.hint.split('`').find(|text| text.contains(" restore ")).unwrap();
    assert_eq!(printed, format!("openwatch restore {} --yes", machine.points()[0]));
    machine.run(printed.split(' ').skip(1)).success();
    assert_eq!(machine.data(), before);
    // The data is back; the program is still the new one.
    machine.assert_closed();
}

/// Row 57.
#[test]
fn after_a_restore_the_gate_stays_closed_until_program_and_schema_agree() {
    let machine = TestMachine::new().with_unit("openwatch.service", "inactive").ship("good");
    let before = machine.data();
    machine.run(["upgrade", "--from", "1.0.0"]).success();
    let back = ["scriptlet", "deb", "preinst", "upgrade", "2.0.0", "1.0.0"];
    machine.run(back).code(5);
    let told = message(&machine.run(["restore"]).code(5));
    assert!(told.detail.contains("rows written since"), "{told:#?}");
    machine.run(["restore", "latest", "--yes"]).success();
    assert_eq!(machine.data(), before);
    machine.assert_closed();
    // The older package, which knows this schema, is let through.
    machine.run(back).success();
    // What was put back on purpose is not migrated again by a boot or a nightly run.
    let told = message(&machine.run(["upgrade"]).code(5));
    assert!(told.first.ends_with("failed before and is not tried again by itself"), "{told:#?}");
    assert_eq!(machine.data(), before);
    machine.run(["upgrade", "--retry"]).success();
    machine.assert_clean();
}

/// Row 35.
#[test]
fn the_policy_restore_puts_the_data_back_by_itself() {
    let machine = half_migrated(TestMachine::new().operator("on_failure = \"restore\""));
    let before = machine.data();
    let message = message(&machine.run(["upgrade"]).code(9));
    assert_eq!(message.first, "migration 0004_divides failed: division by zero");
    assert!(message.state.contains("is as before, at schema 0002"), "{message:#?}");
    assert_eq!(machine.data(), before);
    machine.assert_closed();
    let machine = machine.migration("0004_divides.sql", "SELECT 1;\n");
    machine.run(["upgrade", "--retry"]).success();
    assert_eq!(machine.schema(), "0004");
    machine.assert_clean();
}

#[test]
fn the_policy_restore_has_nothing_to_do_after_a_transaction_that_was_taken_back() {
    let machine = TestMachine::new().operator("on_failure = \"restore\"").ship("failing");
    let before = machine.data();
    machine.run(["upgrade"]).code(7);
    assert_eq!(machine.data(), before);
    assert!(!machine.marks().contains(&"restore begun".to_owned()));
    machine.assert_closed();
}
