//! The ways out of a history that does not agree with the files: each shows what it will write, asks,
//! and writes that and nothing else, in the table of the tool whose migrations these are.

mod support;

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::machine::{TestMachine, message, program};

const ONE: &str = "CREATE TABLE one (id int);\n";
const TWO: &str = "CREATE TABLE two (id int);\n";
const THREE: &str = "CREATE TABLE three (id int);\n";

/// A machine with an empty database and three migrations of a format, none applied.
fn machine(format: &str) -> TestMachine {
    let machine = TestMachine::with_empty_database().with_unit("openwatch.service", "inactive");
    let dir = machine.migrations("main");
    for entry in fs::read_dir(&dir).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for (number, sql) in [(1, ONE), (2, TWO), (3, THREE)] {
        let (name, text) = file(format, number, sql);
        fs::write(dir.join(name), text).unwrap();
    }
    let conf = fs::read_to_string(machine.packager_conf()).unwrap();
    let conf = conf.replace("format = \"plain\"", &format!("format = {format:?}"));
    fs::write(machine.packager_conf(), conf).unwrap();
    machine
}

/// A file as the tool names and marks it.
fn file(format: &str, number: u32, sql: &str) -> (String, String) {
    let sql = sql.to_owned();
    match format {
        "goose" => (
            format!("0000{number}_x.sql"),
            format!("-- +goose Up\n{sql}-- +goose Down\nSELECT 1;\n"),
        ),
        "golang-migrate" => (format!("{number}_x.up.sql"), sql),
        "dbmate" => {
            (format!("{number}_x.sql"), format!("-- migrate:up\n{sql}-- migrate:down\nSELECT 1;\n"))
        }
        "refinery" | "flyway" => (format!("V{number}__x.sql"), sql),
        "sqlx" => (format!("{number}_x.sql"), sql),
        _ => (format!("000{number}_x.sql"), sql),
    }
}

fn rewrite(machine: &TestMachine, format: &str, number: u32, sql: &str) {
    let (name, text) = file(format, number, sql);
    fs::write(machine.migrations("main").join(name), text).unwrap();
}

/// Adds a line to `migrations` of the packager's half.
fn more(machine: &TestMachine, text: &str) {
    let conf = fs::read_to_string(machine.packager_conf()).unwrap();
    fs::write(machine.packager_conf(), conf.replace(", dir =", &format!(", {text}, dir =")))
        .unwrap();
}

fn status(machine: &TestMachine) -> (String, usize, usize) {
    let (_, json) = machine.json(["migrate", "--status"]);
    let database = &json["databases"][0];
    let pending = database["pending"].as_array().unwrap().len();
    let problems = database["problems"].as_array().unwrap().len();
    (database["state"].as_str().unwrap_or_else(|| panic!("{json:#}")).to_owned(), pending, problems)
}

fn current(machine: &TestMachine) -> Value {
    machine.json(["migrate", "--status"]).1["databases"][0]["current"].clone()
}

fn tables(machine: &TestMachine) -> String {
    machine.sql(
        "select string_agg(relname, ' ' order by relname) from pg_class \
         where relname in ('one', 'two', 'three', 'openwatch_audit')",
    )
}

const FORMATS: [&str; 7] =
    ["plain", "sqlx", "goose", "golang-migrate", "refinery", "dbmate", "flyway"];

#[test]
fn a_schema_without_history_gets_one_up_to_the_baseline_in_every_format() {
    for format in FORMATS {
        let machine = machine(format);
        machine.sql(&format!("{ONE}{TWO}"));
        assert_eq!(status(&machine).0, "unknown", "{format}");
        let (code, shown) = machine.json(["migrate", "--baseline", "2", "--dry-run"]);
        assert_eq!((code, &shown["dry_run"]), (0, &json!(true)), "{format}: {shown:#}");
        assert_eq!(status(&machine).0, "unknown", "{format}: a dry run wrote");
        let (code, written) = machine.json(["migrate", "--baseline", "2", "--yes"]);
        assert_eq!(code, 0, "{format}: {written:#}");
        assert_eq!(written["written"], shown["would_write"], "{format}");
        assert_eq!(written["written"].as_array().unwrap().len(), 2, "{format}");
        assert_eq!(status(&machine), ("pending".into(), 1, 0), "{format}");
        if format == "flyway" {
            let row = "select version, type, script, checksum is null from flyway_schema_history";
            assert_eq!(machine.sql(row), "2|BASELINE|<< Flyway Baseline >>|t");
        }
        machine.run(["migrate"]).success();
        assert_eq!(status(&machine), ("current".into(), 0, 0), "{format}");
        assert_eq!(tables(&machine), "one three two", "{format}");
        let ended = machine.run(["migrate", "--baseline", "2", "--yes"]).code(5);
        assert!(message(&ended).first.contains("has a migration history already"), "{format}");
    }
}

#[test]
fn an_empty_database_has_no_baseline() {
    let machine = machine("plain");
    let ended = machine.run(["migrate", "--baseline", "2", "--yes"]).code(5);
    assert!(message(&ended).first.contains("the database is empty"));
    machine.run(["migrate", "--baseline", "9", "--yes"]).code(2);
    assert_eq!(status(&machine).0, "empty");
}

#[test]
fn nothing_is_written_before_somebody_says_yes() {
    for words in [&["migrate", "--mark-applied", "2"][..], &["migrate", "--baseline", "2"]] {
        let machine = machine("plain");
        machine.sql(ONE);
        let before = machine.data();
        let ended = machine.run(words.iter().copied()).code(5);
        let told = message(&ended);
        assert_eq!(told.first, "the migration history is written only after a yes");
        assert_eq!(told.hint, format!("To do it, run `openwatch {} --yes`.", words.join(" ")));
        assert!(
            told.detail.contains("0002_x is recorded as applied, and not run"),
            "{}",
            told.detail
        );
        assert_eq!(machine.data(), before);
        let (code, json) = machine.json(words.iter().copied());
        assert_eq!((code, &json["outcome"]), (5, &json!("refused")));
    }
}

/// On a terminal the question is asked; `script` gives one.
#[test]
fn a_person_is_asked_and_the_answer_counts() {
    let machine = machine("plain");
    machine.sql(ONE);
    let answered = |answer: &str| {
        let root = machine.root();
        let command =
            format!("{} --root {} migrate --baseline 1", program().display(), root.display());
        let mut child = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .env("PATH", machine.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.as_mut().unwrap().write_all(answer.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = answered("n\n");
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("0001_x is recorded as applied, and not run"), "{said}");
    assert!(said.contains("Write this? [y/N]"), "{said}");
    assert_eq!(status(&machine).0, "unknown");
    let (code, said) = answered("y\n");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(status(&machine).0, "pending");
}

#[test]
fn marking_skips_one_migration_and_no_other() {
    for format in FORMATS {
        let machine = machine(format);
        machine.run(["migrate", "--to", "1"]).success();
        machine.sql(TWO);
        let (code, json) = machine.json(["migrate", "--mark-applied", "2", "--yes"]);
        assert_eq!(
            (code, json["marked"].as_array().map(Vec::len)),
            (0, Some(1)),
            "{format}: {json:#}"
        );
        assert_eq!(json["audited"], false, "{format}: nothing was rewritten");
        machine.run(["migrate"]).success();
        assert_eq!(tables(&machine), "one three two", "{format}");
        assert_eq!(status(&machine), ("current".into(), 0, 0), "{format}");
    }
}

#[test]
fn a_mark_that_hides_others_says_so() {
    let machine = machine("golang-migrate");
    machine.run(["migrate", "--to", "1"]).success();
    let (_, json) = machine.json(["migrate", "--mark-applied", "3", "--dry-run"]);
    let actions: Vec<_> = json["would_write"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| (w["version"].as_str().unwrap(), w["action"].as_str().unwrap()))
        .collect();
    assert_eq!(actions, [("2", "assume"), ("3", "record")]);
    machine.run(["migrate"]).success();
    let ended = machine.run(["migrate", "--mark-applied", "2", "--yes"]).code(2);
    assert!(message(&ended).first.contains("no database is waiting"));
    let ended =
        machine.run(["migrate", "--mark-applied", "2", "--database", "main", "--yes"]).code(5);
    assert!(message(&ended).first.contains("counts as applied already"));
}

#[test]
fn changed_files_are_repaired_with_a_row_that_says_who_and_why() {
    for format in ["plain", "sqlx", "refinery", "flyway"] {
        let machine = machine(format);
        machine.run(["migrate"]).success();
        let when = "select * from (select * from HISTORY) h order by 1";
        let history = |m: &TestMachine| m.sql(&when.replace("HISTORY", table(format)));
        let before = history(&machine);
        rewrite(&machine, format, 2, "-- for those who read it\nCREATE TABLE two (id int);\n");
        assert_eq!(status(&machine).0, "divergent", "{format}");
        let ended = machine.run(["migrate", "repair"]).code(5);
        assert!(message(&ended).detail.contains("becomes"), "{format}");
        assert_eq!(history(&machine), before, "{format}: written without a yes");
        machine.run(["migrate", "repair", "--dry-run"]).success();
        assert_eq!(history(&machine), before, "{format}: a dry run wrote");
        let (code, json) =
            machine.json(["migrate", "repair", "--yes", "--reason", "a comment, ticket 'x'"]);
        assert_eq!(code, 0, "{format}: {json:#}");
        let write = &json["written"][0];
        assert_eq!((&write["action"], &json["audited"]), (&json!("checksum"), &json!(true)));
        assert_eq!(status(&machine), ("current".into(), 0, 0), "{format}");
        let changed: Vec<_> = history(&machine)
            .lines()
            .zip(before.lines())
            .filter(|(new, old)| new != old)
            .map(|(new, _)| new.to_owned())
            .collect();
        assert_eq!(changed.len(), 1, "{format}: {changed:?}");
        let row = machine.sql(
            "select action, history, version, before, after, why, database_role, who <> '', host, \
             at <= now() from openwatch_audit",
        );
        let host =
            machine.sql("select ''") + &fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let expected = [
            "checksum".to_owned(),
            table(format).to_owned(),
            text(&write["version"]),
            text(&write["before"]),
            text(&write["after"]),
            "a comment, ticket 'x'".to_owned(),
            "postgres".to_owned(),
            "t".to_owned(),
            host.trim().to_owned(),
            "t".to_owned(),
        ];
        assert_eq!(row.split('|').collect::<Vec<_>>(), expected, "{format}");
        let (code, json) = machine.json(["migrate", "repair", "--yes"]);
        assert_eq!((code, &json["written"]), (0, &json!([])), "{format}");
        assert_eq!(machine.sql("select count(*) from openwatch_audit"), "1");
    }
}

fn table(format: &str) -> &'static str {
    match format {
        "plain" => "openwatch_schema_history",
        "sqlx" => "_sqlx_migrations",
        "refinery" => "refinery_schema_history",
        "flyway" => "flyway_schema_history",
        "goose" => "goose_db_version",
        _ => "schema_migrations",
    }
}

#[test]
fn a_dirty_database_is_cleared_and_the_migration_runs_again() {
    // As each tool leaves it when the second migration failed half way.
    for (format, dirty) in [
        ("golang-migrate", "update schema_migrations set version = 2, dirty = true"),
        (
            "sqlx",
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
                  values (2, 'x', false, '', -1)",
        ),
        (
            "plain",
            "insert into openwatch_schema_history \
                   (version, name, checksum, state, duration_ms, product_version) \
                   values ('0002', 'x', '', 'started', 0, '1')",
        ),
    ] {
        let machine = machine(format);
        machine.run(["migrate", "--to", "1"]).success();
        machine.sql(dirty);
        assert_eq!(status(&machine).0, "divergent", "{format}");
        machine.run(["migrate"]).code(5);
        let (code, json) = machine.json(["migrate", "repair", "2", "--yes"]);
        assert_eq!(code, 0, "{format}: {json:#}");
        assert_eq!(json["written"][0]["action"], "forget", "{format}");
        assert_eq!(json["written"][0]["before"], "begun", "{format}");
        assert_eq!(status(&machine), ("pending".into(), 2, 0), "{format}");
        machine.run(["migrate"]).success();
        assert_eq!(tables(&machine), "one openwatch_audit three two", "{format}");
    }
}

#[test]
fn a_dirty_migration_that_took_effect_is_marked() {
    let machine = machine("golang-migrate");
    machine.run(["migrate", "--to", "1"]).success();
    machine.sql(&format!("{TWO} update schema_migrations set version = 2, dirty = true"));
    let ended = machine.run(["migrate", "--mark-applied", "3", "--yes"]).code(5);
    assert!(
        message(&ended).hint.contains("--mark-applied 2"),
        "what is unfinished would be hidden"
    );
    let (code, json) = machine.json(["migrate", "--mark-applied", "2", "--yes"]);
    assert_eq!((code, &json["audited"]), (0, &json!(true)), "{json:#}");
    assert_eq!(machine.sql("select * from schema_migrations"), "2|f");
    machine.run(["migrate"]).success();
    assert_eq!(machine.sql("select * from schema_migrations"), "3|f");
}

#[test]
fn repair_names_only_what_it_was_asked_for() {
    let machine = machine("plain");
    machine.run(["migrate"]).success();
    for number in [1, 3] {
        rewrite(&machine, "plain", number, "-- another text\nSELECT 1;\n");
    }
    machine.run(["migrate", "repair", "9", "--yes"]).code(2);
    let (_, json) = machine.json(["migrate", "repair", "0003", "--yes"]);
    assert_eq!(json["written"].as_array().unwrap().len(), 1);
    assert_eq!(json["written"][0]["version"], "0003");
    assert_eq!(status(&machine), ("divergent".into(), 0, 1));
}

#[test]
fn the_packager_can_vouch_for_other_texts_and_take_migrations_out() {
    let machine = machine("plain");
    machine.run(["migrate"]).success();
    let recorded =
        machine.sql("select checksum from openwatch_schema_history where version = '0002'");
    rewrite(&machine, "plain", 2, "-- corrected in 2.1\nCREATE TABLE two (id bigint);\n");
    assert_eq!(status(&machine), ("divergent".into(), 0, 1));
    more(
        &machine,
        &format!("accepted_checksums = {{ \"2\" = [\"{}\"] }}", recorded.to_uppercase()),
    );
    assert_eq!(status(&machine), ("current".into(), 0, 0));
    let (_, json) = machine.json(["migrate", "repair", "--yes"]);
    assert_eq!(json["written"], json!([]), "what is accepted is left alone");

    fs::remove_file(machine.migrations("main").join("0001_x.sql")).unwrap();
    assert_eq!(status(&machine), ("missing".into(), 0, 1));
    more(&machine, "removed = [\"0001\"]");
    assert_eq!(status(&machine), ("current".into(), 0, 0));
}

#[test]
fn a_removed_migration_in_the_middle_is_no_gap() {
    let machine = machine("plain");
    fs::remove_file(machine.migrations("main").join("0002_x.sql")).unwrap();
    assert_eq!(status(&machine).2, 1, "a gap");
    more(&machine, "removed = [\"0002\"]");
    machine.run(["migrate"]).success();
    assert_eq!(tables(&machine), "one three");
    assert_eq!(status(&machine), ("current".into(), 0, 0));
}

#[test]
fn a_list_that_means_no_migration_is_an_error() {
    for (text, what) in [
        ("accepted_checksums = { \"9\" = [\"00\"] }", "accepted_checksums has 9"),
        ("removed = [\"0001\"]", "0001 is among the removed migrations, and shipped"),
    ] {
        let machine = machine("plain");
        more(&machine, text);
        let ended = machine.run(["migrate", "--status"]).code(3);
        assert!(message(&ended).first.contains(what), "{}", message(&ended).first);
    }
}

/// Row 6.
/// A checkout with other line ends is the same migration.
#[test]
fn a_checkout_with_other_line_ends_is_the_same() {
    for format in ["plain", "sqlx", "refinery"] {
        let machine = machine(format);
        machine.run(["migrate"]).success();
        rewrite(&machine, format, 2, &TWO.replace('\n', "\r\n"));
        assert_eq!(status(&machine), ("current".into(), 0, 0), "{format}");
    }
}

#[test]
fn a_run_stops_at_the_version_that_was_named() {
    for format in FORMATS {
        let machine = machine(format);
        let (code, json) = machine.json(["migrate", "--to", "2", "--dry-run"]);
        assert_eq!(code, 0, "{format}: {json:#}");
        assert_eq!(json["would_apply"][0]["versions"].as_array().unwrap().len(), 2, "{format}");
        assert_eq!(status(&machine).1, 3, "{format}: a dry run applied");
        let (code, json) = machine.json(["migrate", "--to", "2"]);
        assert_eq!(
            (code, json["applied"].as_array().map(Vec::len)),
            (0, Some(2)),
            "{format}: {json:#}"
        );
        assert_eq!(tables(&machine), "one two", "{format}");
        let version = current(&machine);
        assert_eq!(version.as_str().unwrap().trim_start_matches('0'), "2", "{format}");
        // Again: there is nothing to do, and that is no error.
        machine.run(["migrate", "--to", "2"]).success();
        let ended = machine.run(["migrate", "--to", "1"]).code(5);
        let told = message(&ended);
        assert!(told.first.contains("taken back"), "{format}: {told:#?}");
        assert_eq!(tables(&machine), "one two", "{format}");
        machine.run(["migrate", "--to", "9"]).code(2);
        machine.run(["migrate"]).success();
        assert_eq!(tables(&machine), "one three two", "{format}");
    }
}

#[test]
fn a_part_of_the_way_takes_a_restore_point_and_leaves_the_gate_closed() {
    let machine = TestMachine::new().ship("good").with_unit("openwatch.service", "inactive");
    let machine = machine.marked(None, &[]);
    let (code, json) = machine.json(["migrate", "--to", "3"]);
    assert_eq!(code, 0, "{json:#}");
    assert!(json["restore_point"].is_string(), "{json:#}");
    assert!(machine.mark().exists(), "program and schema do not agree yet");
    machine.run(["gate"]).failure();
    machine.run(["migrate"]).success();
    assert!(!machine.mark().exists());
}

#[test]
fn two_databases_want_a_name() {
    let machine =
        TestMachine::with_databases(&["main", "audit"]).with_unit("openwatch.service", "inactive");
    for name in ["main", "audit"] {
        let dir = machine.migrations(name);
        fs::write(dir.join("0003_x.sql"), THREE).unwrap();
    }
    for words in [&["migrate", "--to", "3"][..], &["migrate", "--mark-applied", "3", "--yes"]] {
        let ended = machine.run(words.iter().copied()).code(2);
        let told = message(&ended);
        assert!(told.hint.contains("--database"), "{}", told.hint);
        machine.run(words.iter().copied().chain(["--database", "nobody"])).code(2);
    }
    machine.run(["migrate", "--to", "3", "--database", "audit"]).success();
    let (_, json) = machine.json(["migrate", "--status"]);
    let states: Vec<_> = json["databases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| (d["name"].as_str().unwrap(), d["state"].as_str().unwrap()))
        .collect();
    assert_eq!(states, [("main", "pending"), ("audit", "current")]);
    machine.run(["migrate", "--mark-applied", "3", "--database", "main", "--yes"]).success();
}

#[test]
fn a_correction_waits_for_no_run_that_holds_the_database() {
    let machine = machine("plain");
    machine.sql(ONE);
    let mut holder = machine
        .server()
        .psql_command(machine.dbname())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = holder.stdin.take().unwrap();
    // The key of the database lock.
    writeln!(stdin, "select pg_advisory_lock({});", 0x6f70_656e_7761_7463_i64).unwrap();
    let held = "select count(*) from pg_locks where locktype = 'advisory' and granted \
                and database = (select oid from pg_database where datname = current_database())";
    support::postgres::wait_for("the lock is taken", || machine.sql(held) == "1");
    machine.run(["migrate", "--baseline", "1", "--yes"]).code(75);
    machine.run(["migrate", "--baseline", "1", "--dry-run"]).success();
    drop(stdin);
    holder.wait().unwrap();
    machine.run(["migrate", "--baseline", "1", "--yes"]).success();
}

#[test]
fn a_history_of_another_tool_is_not_written_beside() {
    let machine = machine("plain");
    machine.sql(&format!(
        "{ONE} create table _sqlx_migrations (version bigint primary key, description text not null, \
         installed_on timestamptz not null default now(), success boolean not null, \
         checksum bytea not null, execution_time bigint not null); \
         insert into _sqlx_migrations values (1, 'x', now(), true, '', 1)"
    ));
    let before = machine.data();
    for words in [&["--baseline", "1", "--yes"][..], &["repair", "--yes"]] {
        let ended = machine.run(["migrate"].iter().chain(words).copied());
        let code = ended.get_output().status.code();
        assert!(code == Some(5), "{words:?}: {}", message(&ended).first);
    }
    assert_eq!(machine.data(), before);
}
