//! What is decided before anything is changed, and looking, which changes nothing.

use super::plain;
use super::support::machine::{TestMachine, message, parse_message};

/// Row 3.
#[test]
fn an_upgrade_that_finds_the_empty_database_of_an_unfinished_install_initialises_it() {
    let machine = TestMachine::with_empty_database().ship("good");
    machine.run(["scriptlet", "deb", "postinst", "configure", "1.0.0-1"]).success();
    machine.run(["scriptlet", "deb", "postinst", "triggered", "openwatch"]).success();
    assert_eq!(machine.schema(), "0004");
    assert_eq!(machine.points(), [""; 0], "there was nothing to keep");
    machine.assert_clean();
}

/// Row 3.
#[test]
fn a_package_installed_again_over_its_old_data_does_not_run_on_the_old_schema() {
    // Removed, not purged, and installed again: the scripts are told of a fresh install.
    let machine = TestMachine::new().ship("good");
    let before = machine.data();
    machine.run(["scriptlet", "deb", "postinst", "configure", ""]).success();
    assert_eq!(machine.data(), before, "a script of a fresh install migrates nothing");
    machine.run(["gate"]).code(10);
    machine.run(["upgrade"]).success();
    assert_eq!(machine.schema(), "0004");
    assert_eq!(machine.points().len(), 1, "what is there is no fresh install: it was kept first");
}

/// Row 3.
#[test]
fn tables_of_somebody_else_are_refused_and_left_alone() {
    let machine = TestMachine::with_empty_database().ship("good");
    machine.sql("create table of_somebody_else (n int)");
    let before = machine.data();
    let told = message(&machine.run(["upgrade", "--from", "1.0.0-1"]).code(5));
    assert_eq!(
        told.first,
        "the database has tables, but no history table openwatch_schema_history"
    );
    assert!(told.hint.contains("--mark-applied"), "{told:?}");
    assert_eq!(machine.data(), before);
    assert_eq!(machine.unit("openwatch.service"), "active");
}

/// Row 4.
#[test]
fn a_jump_over_a_required_version_is_refused_and_that_version_is_named() {
    let machine = TestMachine::new().ship("good").app_line("min_upgrade_from = \"1.5.0\"");
    let before = machine.data();
    for words in
        [&["upgrade", "--from", "1.0.0-1"][..], &["upgrade", "--plan", "--from", "1.0.0-1"]]
    {
        let told = message(&machine.run(words.iter().copied()).code(5));
        assert_eq!(told.first, "version 1.0.0-1 cannot be upgraded to 2.0.0-1 in one step");
        assert_eq!(told.detail, "1.5.0 is the oldest version that can");
        assert_eq!(told.hint, "Install version 1.5.0 first, then this one.");
    }
    assert_eq!(machine.data(), before);
    assert_eq!(machine.unit("openwatch.service"), "active");
    machine.run(["upgrade", "--from", "1.5.0-1"]).success();
}

/// Row 6.
#[test]
fn history_and_files_are_compared_one_by_one_and_every_difference_is_named() {
    let machine = plain().ship("good");
    machine.run(["migrate"]).success();
    machine.sql(
        "insert into openwatch_schema_history
           select '0002.5', 'odd', checksum, state, applied_at, 1, '1', null
             from openwatch_schema_history where version = '0001'
           union all select '0009', 'foreign', checksum, state, applied_at, 1, '1', null
             from openwatch_schema_history where version = '0001';
         delete from openwatch_schema_history where version = '0003'",
    );
    // As many rows as files, and not one of them proves anything.
    let machine = machine.migration("0002_readings.sql", "select 'edited';");
    let before = machine.data();
    let (code, json) = machine.json(["migrate", "--status"]);
    let problems = json["databases"][0]["problems"].as_array().unwrap().clone();
    let named: Vec<_> = problems.iter().map(|p| p["version"].as_str().unwrap()).collect();
    assert_eq!(code, 0, "it could be told: {json}");
    for version in ["0002", "0003", "0009"] {
        assert!(named.contains(&version), "{version}: {json}");
    }
    machine.run(["migrate", "--check"]).code(11);
    machine.run(["migrate"]).code(5);
    assert_eq!(machine.data(), before);
}

/// Rows 7 and 13.
#[test]
fn looking_takes_no_transaction_id_and_leaves_every_file_as_it_was() {
    let machine = TestMachine::with_own_server().ship("good");
    let db = machine.dbname().to_owned();
    machine.sql(&format!(
        "create role looker login; grant pg_read_all_data to looker;
         revoke create on schema public from public; revoke create, temporary on database {db} from public"
    ));
    let machine = machine.role("looker");
    let id = "select txid_snapshot_xmax(txid_current_snapshot())";
    let (files, data, before) = (machine.tree(), machine.data(), machine.sql(id));
    for (words, code) in [
        (&["migrate", "--status"][..], 0),
        (&["migrate", "--check"], 10),
        (&["migrate", "--dry-run"], 0),
        (&["upgrade", "--plan"], 0),
        (&["preflight"], 0),
        (&["status"], 0),
        (&["history"], 0),
        (&["backup", "list"], 0),
        (&["backup", "prune", "--dry-run"], 0),
    ] {
        machine.run(words.iter().copied()).code(code);
        assert!(machine.tree() == files, "{words:?} changed a file");
        assert_eq!(machine.sql(id), before, "{words:?} took a transaction id");
    }
    assert_eq!(machine.data(), data);
    assert_eq!(machine.acts(), [""; 0]);
}

/// Row 13.
#[test]
fn the_dry_run_refuses_with_the_words_of_the_real_run() {
    let machine = TestMachine::new().ship("good").operator("checks = [[\"/bin/false\"]]");
    let machine = machine.with_unit("openwatch.service", "inactive");
    let before = machine.data();
    let dry = machine.run(["migrate", "--dry-run"]).code(5);
    let real = machine.run(["migrate"]).code(5);
    let [dry, real] =
        [dry, real].map(|run| parse_message(&String::from_utf8_lossy(&run.get_output().stderr)));
    assert_eq!((&dry.first, &dry.detail), (&real.first, &real.detail));
    assert!(dry.first.contains("/bin/false"), "{dry:?}");
    assert_eq!(machine.data(), before);
}

/// Row 39.
#[test]
fn a_migration_has_no_limit_of_time_neither_from_the_role_nor_from_the_unit() {
    let machine = plain()
        .operator("auto_backup = false")
        .migration("0003_slow.sql", "select pg_sleep(1); create table slow ();")
        .migration(
            "0004_index.sql",
            "-- openwatch: no-transaction\ncreate index concurrently slow_i on machines (md5(name))",
        );
    let db = machine.dbname().to_owned();
    machine.sql(&format!(
        "alter database {db} set statement_timeout = '100ms';
         alter database {db} set idle_in_transaction_session_timeout = '100ms'"
    ));
    machine.run(["migrate"]).success();
    assert_eq!(machine.schema(), "0004");
    // The migrations run in a unit of their own, which the service manager lets take its time.
    let below = |path: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        std::fs::read_to_string(path).unwrap()
    };
    let unit = below("systemd/openwatch-upgrade.service");
    assert!(unit.lines().any(|line| line == "TimeoutStartSec=infinity"), "{unit}");
    let service = below("systemd/openwatch.service");
    let runs = |line: &str| line.starts_with("Exec") && line.contains("migrate");
    assert!(!service.lines().any(runs), "{service}");
}
