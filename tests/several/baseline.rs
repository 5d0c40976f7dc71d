//! Baselines by hand and of upgrades: recorded before, compared afterwards, stopped at where wanted.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;
use serde_json::{Value, json};

use super::support::machine::{TestMachine, message};

/// The changes of one check in a comparison, as severity and text.
fn changes(comparison: &Value, check: &str) -> Vec<String> {
    let all = comparison["checks"].as_array().unwrap();
    let found = all.iter().find(|one| one["check"] == check).unwrap_or_else(|| panic!("{check}"));
    let line = |change: &Value| {
        format!("{}: {}", change["severity"].as_str().unwrap(), change["what"].as_str().unwrap())
    };
    found["changes"].as_array().unwrap().iter().map(line).collect()
}

fn file(machine: &TestMachine, name: &str) -> PathBuf {
    machine.upgrade_dir().join("baselines").join(format!("{name}.json"))
}

fn compared(machine: &TestMachine, code: i32) -> Value {
    let (ended, json) = machine.json(["baseline", "compare"]);
    assert_eq!(ended, code, "{json:#}");
    json["comparison"].clone()
}

#[test]
fn nothing_is_different_where_nothing_happened() {
    let machine = TestMachine::new();
    let before = (machine.data(), machine.acts());
    machine.run(["baseline", "record", "quiet"]).success();
    machine
        .run(["baseline", "compare", "quiet", "--strict"])
        .success()
        .stdout(contains("nothing is different"));
    assert_eq!((machine.data(), machine.acts()), before);
}

#[test]
fn a_baseline_is_private_and_holds_no_row() {
    let machine = TestMachine::new();
    machine.sql(
        "create table secrets (word text); insert into secrets values ('xyzzy-in-a-row');
         create function hidden() returns text language sql as 'select ''xyzzy-in-a-body''::text'",
    );
    machine.run(["baseline", "record", "one"]).success();
    let text = fs::read_to_string(file(&machine, "one")).unwrap();
    assert!(text.contains("table public.secrets") && text.contains("function public.hidden()"));
    assert!(!text.contains("xyzzy"), "{text}");
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(file(&machine, "one")), 0o600);
    assert_eq!(mode(machine.upgrade_dir().join("baselines")), 0o700);
}

/// Row 44.
#[test]
fn losses_fail_their_check_and_gains_do_not() {
    let machine = TestMachine::new();
    machine.sql(
        "create table legacy (id int primary key, what text); insert into legacy values (1, 'a');
         create index legacy_what on legacy (what); create sequence tickets;
         select setval('tickets', 100)",
    );
    machine.run(["baseline", "record"]).success();
    machine.sql(
        "drop table legacy; delete from readings where value < 10; select setval('tickets', 7);
         create table fresh (id int); insert into machines values (1000, 'another');
         alter table machines add constraint named check (name <> '') not valid;
         alter table readings add note text",
    );
    let found = compared(&machine, 11);
    assert_eq!(
        changes(&found, "schema"),
        [
            "doubt: table public.legacy is gone, with 2 columns, 1 constraint, 2 indexes",
            "note: column public.readings.note is new",
            "note: constraint public.machines.named is new",
            "note: table public.fresh is new, with 1 column",
        ]
    );
    assert_eq!(
        changes(&found, "rows"),
        [
            "note: table public.machines had 50 rows, now 51",
            "doubt: table public.readings had 500 rows, now 491",
        ]
    );
    assert_eq!(
        changes(&found, "sequences"),
        ["doubt: sequence public.tickets was at 100, now at 7: keys that are taken may come again"]
    );
    assert_eq!(
        changes(&found, "constraints"),
        ["doubt: older rows are not checked against the constraint public.machines named"]
    );
    assert_eq!(changes(&found, "collations"), [""; 0]);
    assert_eq!((&found["first_failed"], &found["doubts"]), (&json!("schema"), &json!(4)));
}

#[test]
fn what_the_packager_declares_is_expected_and_nothing_else() {
    let machine = TestMachine::new().health(
        "[[expect]]\ngone = \"table public.legacy\"\n\
         [[expect]]\nrenamed = \"table public.sessions\"\nto = \"public.user_sessions\"\n\
         [[expect]]\nfewer_rows = \"public.read*\"\n\
         [[expect]]\ngone = \"table public.kept\"\nmigration = \"0099\"\n",
    );
    machine.sql(
        "create table legacy (id int); create table kept (id int);
         create table sessions (id int primary key, at timestamptz);
         insert into sessions select n, now() from generate_series(1, 9) n",
    );
    machine.run(["baseline", "record"]).success();
    machine.sql(
        "drop table legacy, kept; alter table sessions rename to user_sessions;
         delete from user_sessions where id = 1; delete from readings where value < 10",
    );
    let found = compared(&machine, 11);
    assert_eq!(
        changes(&found, "schema"),
        [
            "expected: table public.sessions is now public.user_sessions",
            "doubt: table public.kept is gone, with 1 column",
            "expected: table public.legacy is gone, with 1 column",
            "note: index public.sessions_pkey is different",
        ]
    );
    // Under its new name its rows are compared all the same.
    assert_eq!(
        changes(&found, "rows"),
        [
            "expected: table public.readings had 500 rows, now 491",
            "doubt: table public.sessions had 9 rows, now 8",
        ]
    );
}

/// Row 44.
#[test]
fn text_that_is_sorted_by_other_rules_than_before_is_in_doubt() {
    let machine = TestMachine::new();
    machine.sql("create table words (w text collate \"en-x-icu\"); create index on words (w)");
    machine.run(["baseline", "record", "old"]).success();
    // As it would have been recorded before the system's libraries were replaced.
    let text = fs::read_to_string(file(&machine, "old")).unwrap();
    let mut old: Value = serde_json::from_str(&text).unwrap();
    let versions = old["databases"]["main"]["collations"].as_object_mut().unwrap();
    let icu = versions.get_mut("pg_catalog.\"en-x-icu\"").unwrap();
    let now = icu.as_str().unwrap().to_owned();
    *icu = json!("1.0");
    fs::write(file(&machine, "old"), old.to_string()).unwrap();
    let found = compared(&machine, 11);
    assert_eq!(found["first_failed"], "collations");
    let told = changes(&found, "collations").join("\n");
    let sorted = format!(
        "doubt: text in the collation of pg_catalog.\"en-x-icu\" was sorted by version 1.0, now {now}"
    );
    assert!(told.starts_with(&sorted), "{told}");
}

#[test]
fn two_baselines_are_compared_with_each_other() {
    let machine = TestMachine::new();
    machine.run(["baseline", "record", "one"]).success();
    machine.sql("alter table readings drop column value");
    machine.run(["baseline", "record", "two"]).success();
    machine.sql("alter table readings drop column taken");
    let found = machine.run(["baseline", "compare", "one", "--with", "two"]).code(11);
    found.stdout(contains("column public.readings.value is gone").and(contains("taken").not()));
    machine.run(["baseline", "list"]).success().stdout(contains("one  ").and(contains("two  ")));
    let (_, shown) = machine.json(["baseline", "show", "two"]);
    assert_eq!(shown["baseline"]["databases"]["main"]["schema"], "0002");
    machine.run(["baseline", "remove", "one"]).success();
    let told = message(&machine.run(["baseline", "compare", "one"]).code(2));
    assert_eq!(told.first, "there is no baseline one");
    assert_eq!(told.hint, "See `openwatch baseline list`.");
}

#[test]
fn a_name_is_taken_once_and_is_no_path() {
    let machine = TestMachine::new();
    machine.run(["baseline", "record", "one"]).success();
    let told = message(&machine.run(["baseline", "record", "one"]).code(5));
    assert_eq!(told.first, "there is a baseline one already");
    for name in ["../one", ".one", "a/b", ""] {
        machine.run(["baseline", "record", name]).code(2);
    }
}

/// A service that answers every question with this body.
struct Service {
    body: Arc<Mutex<String>>,
    address: String,
}

impl Service {
    fn saying(body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let body = Arc::new(Mutex::new(body.to_owned()));
        let said = Arc::clone(&body);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let _ = stream.read(&mut [0; 4096]);
                let body = said.lock().unwrap().clone();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                let _ = stream.write_all(format!("{head}{body}").as_bytes());
            }
        });
        Self { body, address }
    }

    fn say(&self, body: &str) {
        *self.body.lock().unwrap() = body.to_owned();
    }
}

#[test]
fn answers_are_compared_by_the_parts_that_are_selected() {
    let service = Service::saying(r#"{"version":"1.0.0","services":["a","b"],"uptime":1}"#);
    let machine = TestMachine::new().health(&format!(
        "[[health]]\nhttp = \"http://{}/services\"\ncompare = [\"/services\"]\n",
        service.address
    ));
    machine.run(["baseline", "record"]).success();
    service.say(r#"{"version":"2.0.0","services":["a","b"],"uptime":99}"#);
    let probe = format!("http http://{}/services", service.address);
    let found = compared(&machine, 0);
    let version = format!("note: {probe}: version was 1.0.0, now 2.0.0");
    assert_eq!(changes(&found, "probes").join("\n"), version);
    service.say(r#"{"version":"2.0.0","services":["a"],"uptime":99}"#);
    let found = compared(&machine, 11);
    let services = format!(r#"{probe}: /services was ["a","b"], now ["a"]"#);
    assert_eq!(changes(&found, "probes"), [version.clone(), format!("doubt: {services}")]);
    let machine = machine.health(&format!(
        "[[health]]\nhttp = \"http://{}/services\"\ncompare = [\"/services\"]\n\
         [[expect]]\nanswer = \"{probe}\"\n",
        service.address
    ));
    let found = compared(&machine, 0);
    assert_eq!(changes(&found, "probes"), [version, format!("expected: {services}")]);
}

#[test]
fn units_that_do_something_else_are_in_doubt() {
    let machine = TestMachine::new()
        .with_unit("timer.timer", "inactive")
        .with_unit("worker.service", "active")
        .services(&["openwatch.service", "worker.service", "timer.timer"]);
    machine.run(["baseline", "record"]).success();
    let machine = machine
        .with_unit("openwatch.service", "failed")
        .with_unit("timer.timer", "active")
        .unit_fact("worker.service", "restarts", "3");
    assert_eq!(
        changes(&compared(&machine, 11), "units"),
        [
            "doubt: openwatch.service ran, now failed (failed)",
            "doubt: timer.timer did not run, now active (running)",
            "doubt: worker.service was restarted by the service manager: 0 times, now 3",
        ]
    );
}

// The upgrade.

#[test]
fn an_upgrade_records_before_its_first_change_and_compares_afterwards() {
    let machine = TestMachine::new().ship("good");
    let (code, json) = machine.json(["upgrade", "--from", "1.0.0-1"]);
    assert_eq!((code, &json["warnings"]), (0, &json!([])), "{json:#}");
    let (_, status) = machine.json(["status"]);
    let found = &status["last_run"]["comparison"];
    assert_eq!((&found["version"], &found["doubts"]), (&json!("1.0.0-1"), &json!(0)));
    assert_eq!(
        changes(found, "schema"),
        ["note: column public.machines.owner is new", "note: index public.readings_by_time is new"]
    );
    let (_, history) = machine.json(["history"]);
    assert_eq!(history["runs"][0]["comparison"]["baseline"], found["baseline"]);
    // What was recorded stays, and is compared again by hand.
    let name = found["baseline"].as_str().unwrap();
    machine.run(["baseline", "compare", name]).success();
    machine.assert_clean();
}

#[test]
fn a_loss_of_an_upgrade_is_told_and_fails_nothing() {
    let machine = TestMachine::new()
        .migration("0003_lost.sql", "ALTER TABLE readings DROP COLUMN value; DELETE FROM machines WHERE id > 49 AND id NOT IN (SELECT machine FROM readings); CREATE VIEW v AS SELECT 1");
    machine.sql("insert into machines values (1000, 'unused')");
    let (code, json) = machine.json(["upgrade"]);
    assert_eq!(code, 0, "{json:#}");
    assert_eq!(
        json["warnings"],
        json!([
            "main: column public.readings.value is gone",
            "main: table public.machines had 51 rows, now 50"
        ])
    );
    assert_eq!(json["findings"][0]["severity"], "doubt");
    assert_eq!(json["findings"][0]["kind"], "baseline_schema");
    machine.run(["status"]).success().stdout(contains("2 losses that nobody declared"));
    machine.run(["history"]).success().stdout(contains("2 in doubt"));
    machine.assert_clean();
}

/// The first check that fails is the boundary: what comes after it is not reached.
#[test]
fn an_upgrade_stops_at_the_first_check_that_fails_before_anything_starts() {
    let machine = TestMachine::new()
        .operator("baseline_stop = [\"schema\", \"rows\"]")
        .migration("0003_lost.sql", "ALTER TABLE readings DROP COLUMN value; TRUNCATE readings");
    let ended = machine.run(["upgrade", "--from", "1.0.0-1"]).code(8);
    let told = message(&ended);
    assert_eq!(
        told.first,
        "the comparison of schema with the baseline failed: main: column public.readings.value is gone"
    );
    assert!(told.detail.contains("stopped there, before: constraints, indexes, rows"), "{told:#?}");
    assert!(told.hint.contains("; to go back, `openwatch restore "), "{told:#?}");
    assert_eq!(machine.acts(), ["stop openwatch.service"]);
    machine.assert_closed();
    // A person who looked at it accepts it by trying again.
    machine.run(["upgrade", "--retry"]).success();
    assert_eq!(machine.unit("openwatch.service"), "active");
}

#[test]
fn where_the_operator_wants_it_a_loss_is_put_back() {
    let machine = TestMachine::new()
        .operator("baseline_stop = [\"rows\"]")
        .operator("on_failure = \"restore\"")
        .migration("0003_lost.sql", "DELETE FROM readings");
    let before = machine.data();
    machine.run(["upgrade"]).code(9).stderr(contains("table public.readings had 500 rows, now 0"));
    assert_eq!(machine.data(), before);
    machine.assert_closed();
}

#[test]
fn a_declared_loss_stops_nothing() {
    let machine = TestMachine::new()
        .operator("baseline_stop = [\"rows\"]")
        .health("[[expect]]\nfewer_rows = \"public.readings\"\nmigration = \"0003\"\n")
        .migration("0003_lost.sql", "DELETE FROM readings");
    let (code, json) = machine.json(["upgrade"]);
    assert_eq!((code, &json["warnings"]), (0, &json!([])), "{json:#}");
    machine.assert_clean();
}

#[test]
fn an_answer_that_differs_stops_the_upgrade_where_the_operator_wants_it() {
    let service = Service::saying(r#"{"ready":["a","b"]}"#);
    let (address, body) = (service.address.clone(), Arc::clone(&service.body));
    let machine = TestMachine::new()
        .operator("baseline_stop = [\"probes\"]")
        .health(&format!("[[health]]\nhttp = \"http://{address}/\"\ncompare = [\"/ready\"]\n"))
        .ship("good")
        .with_hook("start", "openwatch.service", "touch \"$here/started\"");
    let started = machine.dir().join("started");
    let watch = std::thread::spawn(move || {
        super::support::postgres::wait_for("the start", || started.exists());
        *body.lock().unwrap() = r#"{"ready":["a"]}"#.to_owned();
    });
    let told = message(&machine.run(["upgrade"]).code(8));
    watch.join().unwrap();
    assert!(
        told.first.starts_with("the comparison of probes with the baseline failed"),
        "{told:#?}"
    );
    machine.assert_closed();
}

#[test]
fn a_second_attempt_is_compared_with_what_was_before_the_first() {
    let machine = TestMachine::new()
        .operator("baseline_stop = [\"units\"]")
        .with_unit("worker.service", "active")
        .services(&["worker.service", "openwatch.service"])
        .ship("failing");
    machine.run(["upgrade"]).code(7);
    let first = machine.journal()["baseline"]["name"].clone();
    let told = message(&machine.run(["baseline", "remove", first.as_str().unwrap()]).code(5));
    assert!(told.first.starts_with("the upgrade that has not ended well"), "{told:#?}");
    fs::remove_file(machine.migrations("main").join("0004_audit.sql")).unwrap();
    machine.run(["upgrade", "--retry"]).success();
    let found = machine.journal()["comparison"].clone();
    assert_eq!(found["baseline"], first);
    assert_eq!(changes(&found, "units").iter().filter(|c| c.starts_with("doubt")).count(), 0);
    machine.assert_clean();
}

#[test]
fn without_a_baseline_to_compare_with_an_upgrade_that_must_stop_does_not_begin() {
    let machine = TestMachine::new().operator("baseline_stop = [\"schema\"]").ship("good");
    fs::create_dir_all(machine.upgrade_dir()).unwrap();
    fs::write(machine.upgrade_dir().join("baselines"), "in the way").unwrap();
    let before = machine.data();
    let told = message(&machine.run(["upgrade"]).code(5));
    assert!(told.first.starts_with("there is no baseline to compare with"), "{told:#?}");
    assert_eq!((machine.data(), machine.acts()), (before, Vec::new()));
}
