//! What is decided before anything is changed, and looking, which changes nothing.

use std::os::unix::fs::PermissionsExt as _;

use predicates::str::contains;

use super::plain;
use super::support::machine::{TestMachine, message, parse_message, tree};
use super::support::postgres::wait_for;

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

/// Each session costs the server some ten milliseconds; more than these were half of a short run.
#[test]
fn a_migrate_makes_three_sessions_with_the_server() {
    let machine = plain().operator("auto_backup = false").ship("good");
    // Counted since PostgreSQL 14, and told by each session as it ends.
    let sql =
        format!("select sessions from pg_stat_database where datname = '{}'", machine.dbname());
    let made = || machine.server().psql("postgres", &sql).parse::<u32>().unwrap();
    let before = made();
    machine.run(["migrate"]).success();
    wait_for("the server to count", || made() >= before + 3);
    assert_eq!(made(), before + 3);
    assert_eq!(machine.schema(), "0004");
}

/// Rows 20 and 39.
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

/// Row 10.
#[test]
fn what_lies_in_the_backup_directory_already_is_labelled_and_left_where_it_is() {
    let machine = TestMachine::new().ship("good");
    let backups = machine.backups();
    let stray = ["lost+found", ".partial-20200101T000000Z-1.0", "20200102T000000Z-1.0"];
    for name in stray {
        std::fs::create_dir_all(backups.join(name)).unwrap();
        std::fs::write(backups.join(name).join("toc.dat"), "half").unwrap();
    }
    std::fs::set_permissions(&backups, std::fs::Permissions::from_mode(0o700)).unwrap();
    machine.run(["upgrade"]).success();
    for name in stray {
        let kept = std::fs::read_to_string(backups.join(name).join("toc.dat")).unwrap();
        assert_eq!(kept, "half", "{name}");
    }
    let (_, list) = machine.json(["backup", "list"]);
    let state = |id: &str| {
        let mut all = list["restore_points"].as_array().unwrap().iter();
        all.find(|point| point["id"] == id).unwrap()["state"].clone()
    };
    assert_eq!(stray.map(state), ["foreign", "partial", "damaged"]);
    let (_, shown) = machine.json(["backup", "show", "latest"]);
    assert_eq!(shown["restore_point"]["reason"], "upgrade", "{shown}");
}

/// Row 9.
#[test]
fn a_disk_that_should_be_mounted_and_is_not_is_named_before_anything_is_written_under_it() {
    let machine = TestMachine::new().ship("good");
    let point = machine.backups().parent().unwrap().to_owned();
    let etc = machine.root().join("etc");
    std::fs::write(etc.join("fstab"), "/dev/sdz1 /var/lib/openwatch ext4 nofail 0 2\n").unwrap();
    let refused = message(&machine.run(["upgrade"]).code(5));
    assert!(refused.first.contains("is not mounted"), "{refused:#?}");
    assert!(refused.hint.contains(&format!("`mount {}`", point.display())), "{refused:#?}");
    assert_eq!(tree(&machine.backups()).len(), 0, "nothing is written under it");
    assert_eq!(
        (machine.schema(), machine.unit("openwatch.service")),
        ("0002".into(), "active".into())
    );
    // Another disk is none of our business.
    std::fs::write(etc.join("fstab"), "/dev/sdz1 /srv ext4 defaults 0 2\n").unwrap();
    machine.run(["upgrade"]).success();
    assert_eq!(machine.schema(), "0004");
}

/// Row 79.
#[test]
fn what_the_surroundings_of_the_run_deny_is_named_with_its_path_before_anything_stops() {
    let machine = TestMachine::new().ship("good");
    machine.run(["backup", "create"]).success();
    let (schema, points) = (machine.schema(), machine.points());
    let dir = machine.backups().display().to_string();
    // As a unit with `ReadOnlyPaths=` sees it, or a domain of a security module that may not write.
    let denied = format!(
        "mount --bind '{dir}' '{dir}' && mount -o remount,bind,ro '{dir}' && exec \"$0\" \"$@\""
    );
    let words = ["unshare", "-m", "--propagation", "private", "sh", "-c", &denied];
    let machine = machine.within(&words.map(str::to_owned));
    machine.forget_calls();
    for verb in ["preflight", "upgrade"] {
        let refused = message(&machine.run([verb]).code(5));
        let told = format!("the backup directory {dir} cannot be written");
        assert!(refused.first.contains(&told), "{refused:#?}");
        assert!(refused.first.contains("Read-only file system"), "{refused:#?}");
    }
    assert_eq!((machine.schema(), machine.points()), (schema, points));
    assert_eq!(machine.unit("openwatch.service"), "active");
    assert!(!machine.acts().iter().any(|act| act.starts_with("stop")), "{:?}", machine.acts());
}

/// Row 25.
#[test]
fn a_listed_file_that_cannot_be_read_is_found_before_anything_stops() {
    let machine = TestMachine::new();
    let key = machine.dir().join("key");
    std::fs::create_dir(&key).unwrap();
    let machine = machine.operator(&format!("keep_files = [{key:?}]")).ship("good");
    let refused = message(&machine.run(["upgrade"]).code(5));
    assert!(refused.first.contains(&format!("cannot keep {}", key.display())), "{refused:#?}");
    assert_eq!(
        (machine.schema(), machine.unit("openwatch.service")),
        ("0002".into(), "active".into())
    );
    assert!(machine.points().is_empty());
}

/// Row 26.
#[test]
fn a_point_that_no_installed_client_reads_any_more_is_told_by_every_look() {
    let machine = TestMachine::new();
    machine.run(["backup", "create"]).success();
    let path = machine.backups().join(&machine.points()[0]).join("manifest.json");
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    manifest["databases"][0]["client_version"] = "99.1".into();
    std::fs::write(&path, manifest.to_string()).unwrap();
    for look in [&["backup", "list"][..], &["status"], &["preflight"]] {
        let told = machine.run(look.iter().copied()).success();
        told.stderr(contains("no installed pg_restore can load an archive of pg_dump 99.1"));
    }
}
