//! The command line: words and numbers that others rely on, one JSON object, and verbs that only look.

mod support;

use std::fs;
use std::os::unix::fs::symlink;

use openwatch::outcome::Outcome;
use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::{contains, is_empty, starts_with};
use serde_json::Value;
use support::machine::{TestMachine, message, program};

/// Row 92.
#[test]
fn exit_codes_and_words_are_those_of_the_contract() {
    let frozen = [
        (0, "ok"),
        (1, "failed"),
        (2, "usage"),
        (3, "config"),
        (4, "unreachable"),
        (5, "refused"),
        (6, "backup_failed"),
        (7, "migration_failed"),
        (8, "unhealthy"),
        (9, "rolled_back"),
        (10, "pending"),
        (11, "mismatch"),
        (12, "stuck"),
        (75, "busy"),
    ];
    let ours: Vec<(u8, &str)> =
        Outcome::ALL.iter().map(|outcome| (outcome.exit_code(), outcome.word())).collect();
    assert_eq!(ours, frozen);
}

fn bare(words: &[&str]) -> assert_cmd::assert::Assert {
    assert_cmd::Command::new(program()).env_clear().args(words).assert()
}

#[test]
fn every_verb_has_help() {
    for verb in ["migrate", "upgrade", "preflight", "backup", "restore", "status", "history"] {
        bare(&[verb, "--help"]).success().stdout(contains("Usage:")).stderr(is_empty());
    }
    for verb in [
        "gate",
        "serve",
        "scriptlet",
        "backup create",
        "backup list",
        "backup show",
        "migrate lint",
    ] {
        let words: Vec<&str> = verb.split(' ').chain(["--help"]).collect();
        bare(&words).success().stdout(contains("Usage:"));
    }
    bare(&["--help"]).success().stdout(contains("upgrade").and(contains("scriptlet").not()));
}

#[test]
fn the_options_of_every_command_stand_behind_its_own() {
    let help = bare(&["migrate", "--help"]).success().get_output().stdout.clone();
    let help = String::from_utf8(help).unwrap();
    let (own, common) = help.split_once("\nOptions of every command:\n").expect(&help);
    let all = ["--app", "--config", "--identity", "--root", "--json", "--verbose", "--quiet"];
    assert!(all.iter().all(|word| !own.contains(&format!("{word} ")) && common.contains(word)));
    assert!(own.contains("--status") && !common.contains("--status"), "{help}");
}

#[test]
fn the_version_is_one_line() {
    bare(&["--version"]).success().stdout(starts_with("openwatch ")).stderr(is_empty());
}

#[test]
fn wrong_usage_is_exit_2() {
    for words in [
        &[][..],
        &["frobnicate"],
        &["upgrade", "--frobnicate"],
        &["migrate", "--status", "--check"],
        &["backup"],
        &["status", "-q", "-v"],
    ] {
        bare(words).code(2).stdout(is_empty());
    }
}

#[test]
fn the_name_of_an_application_cannot_leave_its_directories() {
    for name in ["../etc", "a/b", ".", "..", "", ".hidden", "a b", "a\nb", "a\u{0}b", "ä"] {
        if name.contains('\0') {
            continue;
        }
        let ended = bare(&["--app", name, "status"]).code(2);
        assert!(message(&ended).first.ends_with("is not the name of an application"), "{name:?}");
    }
}

#[test]
fn a_relative_root_is_refused() {
    let ended = bare(&["--root", "some/where", "status"]).code(2);
    assert_eq!(message(&ended).first, "the root some/where is not an absolute path");
}

#[test]
fn a_relative_backup_directory_is_refused() {
    let machine = TestMachine::new().ship("good");
    for words in [
        &["upgrade", "--backup-dir", "there"][..],
        &["migrate", "--backup-dir", "there"],
        &["backup", "create", "--backup-dir", "there"],
    ] {
        let ended = machine.run(words.iter().copied()).code(2);
        assert_eq!(message(&ended).first, "the backup directory there is not an absolute path");
    }
    assert_eq!(machine.acts(), [""; 0]);
}

#[test]
fn a_backup_directory_on_the_command_line_is_used() {
    let machine = TestMachine::new().ship("good");
    let dir = machine.root().join("srv/points");
    fs::create_dir_all(machine.root().join("srv")).unwrap();
    machine.run(["upgrade", "--backup-dir", dir.to_str().unwrap()]).success();
    assert_eq!(fs::read_dir(dir).unwrap().count(), 1);
    assert_eq!(machine.points(), [""; 0]);
    machine.assert_clean();
}

#[test]
fn another_application_has_its_own_paths() {
    let machine = TestMachine::new();
    let ended = machine.run(["--app", "other", "status"]).code(3);
    assert!(message(&ended).first.contains("usr/share/other/upgrade.conf"));
}

#[test]
fn a_link_named_migrate_is_the_verb() {
    let machine = TestMachine::new().ship("good").with_unit("openwatch.service", "inactive");
    let link = machine.root().join("migrate");
    symlink(program(), &link).unwrap();
    let run = |words: &[&str]| {
        let root = machine.root();
        let mut command = assert_cmd::Command::new(&link);
        command.env_clear().env("PATH", machine.path()).args(["--root"]).arg(root).args(words);
        command.assert()
    };
    run(&["--status"]).success().stdout(contains("pending  0003  owner"));
    run(&["--check"]).code(10);
    run(&[]).success().stdout(starts_with("applied 0003 0004, restore point "));
    run(&["--check"]).code(0);
    assert_eq!(machine.schema(), "0004");
}

#[test]
fn migrate_refuses_while_a_unit_runs_and_names_the_verb_that_stops_it() {
    let machine = TestMachine::new().ship("good");
    let before = machine.data();
    let message = message(&machine.run(["migrate"]).code(5));
    assert!(message.first.starts_with("openwatch.service runs"), "{message:#?}");
    assert!(message.hint.contains("`openwatch upgrade`"), "{message:#?}");
    assert_eq!((machine.data(), machine.points()), (before, Vec::new()));
    machine.assert_clean();
}

#[test]
fn migrate_takes_a_restore_point_and_applies() {
    let machine = TestMachine::new().with_unit("openwatch.service", "inactive").ship("good");
    machine.run(["migrate"]).success();
    assert_eq!((machine.schema().as_str(), machine.points().len()), ("0004", 1));
    assert_eq!(machine.acts(), [""; 0]);
    machine.assert_clean();
}

#[test]
fn a_failed_migrate_says_what_is_true_and_how_to_go_on() {
    let machine = TestMachine::new().with_unit("openwatch.service", "inactive").ship("failing");
    let before = machine.data();
    let message = message(&machine.run(["migrate"]).code(7));
    assert!(message.first.starts_with("migration 0004_audit failed"), "{message:#?}");
    assert!(message.state.contains("is as before, at schema 0002"), "{message:#?}");
    assert!(message.hint.contains("`openwatch migrate`"), "{message:#?}");
    assert_eq!(machine.data(), before);
}

/// Every verb that can be run by itself, with the outcome of a machine with pending migrations.
const VERBS: &[(&str, i32)] = &[
    ("migrate --status", 0),
    ("migrate --check", 10),
    ("migrate --dry-run", 0),
    ("migrate", 5),
    ("upgrade --plan", 0),
    ("preflight", 0),
    ("status", 0),
    ("history", 0),
    ("gate", 10),
    ("backup list", 0),
    ("backup show", 5),
    ("backup verify", 5),
    ("backup prune --dry-run", 0),
    ("restore", 5),
    ("backup create", 0),
    ("backup show", 0),
    ("backup verify", 0),
    ("backup prune", 0),
    ("backup pin latest", 0),
    ("backup unpin latest", 0),
    ("backup remove 20000101T000000Z-1", 5),
    ("backup export latest /", 5),
    ("backup import /", 2),
    ("backup show 20000101T000000Z-1", 5),
    ("upgrade --backup-dir there", 2),
    ("upgrade", 0),
    ("migrate --check", 0),
    ("gate", 0),
];

#[test]
fn json_is_one_object_with_outcome_and_app_for_every_verb() {
    let machine = TestMachine::new().ship("good");
    for (verb, code) in VERBS {
        let (status, json) = machine.json(verb.split(' '));
        assert_eq!(status, *code, "{verb}: {json}");
        let outcome = json["outcome"].as_str().unwrap();
        assert_eq!(i32::from(Outcome::from_word(outcome).unwrap().exit_code()), *code, "{verb}");
        assert_eq!(json["app"], "openwatch", "{verb}");
        if *code != 0 && !verb.contains("--check") {
            for key in ["message", "detail", "state", "hint"] {
                assert!(json["error"].get(key).is_some(), "{verb}: no {key} in {json}");
            }
        }
    }
    machine.assert_clean();
}

#[test]
fn json_is_one_object_where_nothing_can_be_read() {
    let machine = TestMachine::new();
    fs::write(machine.operator_conf(), "auto_backup = maybe\n").unwrap();
    for verb in ["status", "upgrade", "migrate --status", "backup list", "gate", "preflight"] {
        let (status, json) = machine.json(verb.split(' '));
        assert_eq!((status, &json["outcome"]), (3, &"config".into()), "{verb}: {json}");
    }
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn the_status_of_migrations_has_the_keys_of_the_contract() {
    let machine = TestMachine::new().ship("good");
    let (_, json) = machine.json(["migrate", "--status"]);
    for key in ["outcome", "app", "package_version", "databases"] {
        assert!(keys(&json).contains(&key), "{key}: {json}");
    }
    let database = &json["databases"][0];
    for key in
        ["name", "server_version", "state", "current", "head", "applied", "pending", "problems"]
    {
        assert!(keys(database).contains(&key), "{key}: {json}");
    }
    assert_eq!(json["package_version"], "2.0.0-1");
    assert_eq!(database["name"], "main");
    assert_eq!(database["state"], "pending");
    assert_eq!(database["current"], "0002");
    assert_eq!(database["head"], "0004");
    assert_eq!(database["applied"], 2);
    assert_eq!(
        database["pending"][0],
        serde_json::json!({"version": "0003", "name": "owner", "transactional": true})
    );
    assert_eq!(database["problems"], serde_json::json!([]));
}

/// Row 92.
#[test]
fn every_state_of_a_schema_has_its_word_and_its_exit_code() {
    let state = |machine: &TestMachine| {
        let (code, json) = machine.json(["migrate", "--check"]);
        let (status, _) = machine.json(["migrate", "--status"]);
        assert_eq!(status, 0, "it told the truth");
        (json["databases"][0]["state"].as_str().unwrap().to_owned(), code)
    };
    let machine = TestMachine::with_empty_database();
    assert_eq!(state(&machine), ("empty".into(), 10));
    machine.sql("create table theirs ()");
    assert_eq!(state(&machine), ("unknown".into(), 11));
    let machine = TestMachine::new();
    assert_eq!(state(&machine), ("current".into(), 0));
    let machine = machine.ship("good");
    assert_eq!(state(&machine), ("pending".into(), 10));
    fs::remove_file(machine.migrations("main").join("0001_machines.sql")).unwrap();
    assert_eq!(state(&machine), ("missing".into(), 11));
    let machine = TestMachine::new().migration("0001_machines.sql", "select 1;");
    assert_eq!(state(&machine), ("divergent".into(), 11));
    let machine = TestMachine::new();
    fs::remove_file(machine.migrations("main").join("0002_readings.sql")).unwrap();
    assert_eq!(state(&machine), ("ahead".into(), 11));
}

#[test]
fn looking_changes_nothing() {
    let machine = TestMachine::new().ship("good");
    fs::remove_dir(machine.backups()).unwrap();
    let (tree, data) = (machine.tree(), machine.data());
    for verb in [
        "migrate --status",
        "migrate --check",
        "migrate --dry-run",
        "upgrade --plan",
        "preflight",
        "status",
        "history",
        "gate",
        "backup list",
        "backup prune --dry-run",
    ] {
        machine.run(verb.split(' '));
        let now = machine.tree();
        let new: Vec<_> = now.keys().filter(|path| !tree.contains_key(*path)).collect();
        assert_eq!(new, [""; 0], "{verb}");
        assert_eq!(now, tree, "{verb}");
        assert_eq!(machine.acts(), [""; 0], "{verb}");
    }
    assert_eq!(machine.data(), data);
}

#[test]
fn looking_needs_no_right_but_reading() {
    let machine = TestMachine::new().ship("good");
    let role = format!("{}_reader", machine.dbname());
    machine.sql(&format!("create role {role} login; grant pg_read_all_data to {role}"));
    let machine = machine.role(&role);
    machine.run(["migrate", "--status"]).success().stdout(contains("2 pending"));
    machine.run(["migrate", "--check"]).code(10);
    machine.run(["status"]).success();
}

#[test]
fn the_plan_names_what_would_be_done() {
    let machine = TestMachine::new().ship("good");
    machine.run(["upgrade", "--plan", "--from", "1.0.0-1"]).success().stdout(
        contains("openwatch 1.0.0-1 -> 2.0.0-1\n")
            .and(contains("stop:    openwatch.service\n"))
            .and(contains("dump:    main: dump\n"))
            .and(contains("migrate: main: 0003 0004\n"))
            .and(contains("start:   openwatch.service\n")),
    );
}

#[test]
fn quiet_tells_failures_only() {
    let machine = TestMachine::new().ship("failing");
    let ended = machine.run(["-q", "upgrade"]).code(7).stdout(is_empty());
    let said = String::from_utf8_lossy(&ended.get_output().stderr).into_owned();
    assert!(said.starts_with("openwatch: migration 0004_audit failed"), "{said}");
}
