//! What becomes of the present state: told, kept as a restore point where something was written
//! since, and never given up for one that could not be kept.

use std::io::Write as _;

use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;
use serde_json::Value;

use super::support::machine::TestMachine;
use super::support::postgres::wait_for;

/// A stopped machine with a restore point.
fn stopped() -> TestMachine {
    let machine = TestMachine::new().with_unit("openwatch.service", "inactive");
    machine.run(["backup", "create"]).success();
    machine
}

fn reasons(machine: &TestMachine) -> Vec<String> {
    let (_, json) = machine.json(["backup", "list"]);
    let points = json["restore_points"].as_array().unwrap();
    points.iter().map(|point| point["reason"].as_str().unwrap().to_owned()).collect()
}

/// Row 60.
#[test]
fn what_was_written_since_is_told_and_kept_as_a_restore_point() {
    let machine = stopped();
    let before = machine.data();
    machine.sql("insert into machines values (9001, 'added since')");
    let now = machine.data();
    let refused = machine.run(["restore"]).code(5);
    let told = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
    for part in [" old", " rows written since", "write-ahead log", "is taken first"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let (code, json) = machine.json(["restore", "latest", "--yes"]);
    assert_eq!(code, 0, "{json}");
    assert_eq!(machine.data(), before);
    assert_eq!(reasons(&machine), ["before restore", "manual"]);
    // The copy leads forward again; `latest` stays what it was.
    let copy = json["copy"].as_str().unwrap().to_owned();
    let (_, latest) = machine.json(["backup", "show", "latest"]);
    assert_ne!(latest["restore_point"]["id"], Value::String(copy.clone()));
    machine.run(["restore", &copy, "--yes", "--no-copy"]).success();
    assert_eq!(machine.data(), now);
}

/// A table without rows was written to the catalogue.
#[test]
fn a_table_that_was_made_since_counts_as_written() {
    let machine = stopped();
    machine.sql("create table made_since (id int)");
    machine.run(["restore", "latest", "--yes"]).success();
    assert_eq!(reasons(&machine), ["before restore", "manual"]);
}

/// In place nothing else keeps what a count of rows does not tell.
#[test]
fn in_place_the_present_state_is_kept_also_where_no_row_was_counted() {
    let machine = TestMachine::new().with_unit("openwatch.service", "inactive").in_place();
    let role = machine.sql("select tableowner from pg_tables where tablename = 'machines'");
    machine.sql(&format!("create sequence invoices; alter sequence invoices owner to {role}"));
    machine.run(["backup", "create"]).success();
    machine.sql("select setval('invoices', 100000)");
    let (code, json) = machine.json(["restore", "latest", "--yes"]);
    assert_eq!((code, &json["replaced"][0]["kept_as"]), (0, &Value::Null), "{json}");
    assert_eq!(machine.sql("select is_called from invoices"), "f");
    assert_eq!(reasons(&machine), ["before restore", "manual"]);
    let copy = json["copy"].as_str().unwrap().to_owned();
    machine.run(["restore", &copy, "--yes", "--no-copy"]).success();
    assert_eq!(machine.sql("select last_value from invoices"), "100000");
}

/// A server is told what a session wrote when that is idle for a while, or ends.
#[test]
fn what_an_open_session_has_not_told_the_server_counts_as_written() {
    let machine = stopped();
    let mut psql = machine
        .server()
        .psql_command(machine.dbname())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut typed = psql.stdin.take().unwrap();
    let mut type_in = |sql: &str| {
        typed.write_all(sql.as_bytes()).unwrap();
        typed.flush().unwrap();
    };
    type_in("select count(*) from readings;\n");
    type_in("delete from readings;\n");
    wait_for("the rows to be gone", || machine.sql("select count(*) from readings") == "0");
    let (code, json) = machine.json(["restore", "latest", "--yes"]);
    assert_eq!(code, 0, "{json}");
    let _ = (psql.kill(), psql.wait());
    assert_eq!(reasons(&machine), ["before restore", "manual"]);
}

/// The count began anew: nobody knows what was written before.
#[test]
fn after_the_counters_were_reset_the_present_state_counts_as_written() {
    let machine = stopped();
    machine.sql("select pg_stat_reset()");
    machine.run(["restore", "latest", "--yes"]).success();
    assert_eq!(reasons(&machine), ["before restore", "manual"]);
    machine.run(["backup", "create"]).success();
    machine
        .run(["restore", "latest", "--yes"])
        .success()
        .stdout(contains("nothing was written").not());
}

#[test]
fn without_a_copy_the_operator_is_told_where_the_former_data_stays() {
    let machine = stopped();
    machine.sql("insert into machines values (9001, 'added since')");
    let refused = machine.run(["restore", "latest", "--no-copy"]).code(5);
    let told = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
    assert!(told.contains("no copy of the present state is taken"), "{told}");
    assert!(told.contains("--no-copy --yes`"), "{told}");
    let (code, json) = machine.json(["restore", "latest", "--yes", "--no-copy"]);
    assert_eq!(code, 0, "{json}");
    assert_eq!(json["copy"], Value::Null);
    assert_eq!(reasons(&machine), ["manual"]);
    let kept = json["replaced"][0]["kept_as"].as_str().unwrap();
    let sql = "select count(*) from machines where id = 9001";
    assert_eq!(machine.server().psql(kept, sql), "1");
}

/// What cannot be dumped is not given up: a table of which rows are hidden from the role.
#[test]
fn a_copy_that_fails_stops_the_restore_and_the_way_past_it_is_named() {
    let machine = stopped();
    let role = format!("plain_{}", machine.dbname());
    machine.sql(&format!("create role {role} login createdb"));
    machine.sql(&format!("grant all on all tables in schema public to {role}"));
    machine.sql(&format!("alter database {} owner to {role}", machine.dbname()));
    machine.sql("create table secret (id int)");
    let now = machine.data();
    let machine = machine.role(&role);
    let failed = machine.run(["restore", "latest", "--yes", "--no-owner"]).code(6);
    let told = String::from_utf8(failed.get_output().stderr.clone()).unwrap();
    assert!(told.contains("--no-copy"), "{told}");
    assert!(told.contains("nothing was changed"), "{told}");
    assert_eq!(machine.data(), now);
    // What was loaded meanwhile is gone, and the gate is as it was.
    let loaded = "select count(*) from pg_database where datname like '%\\_restoring\\_%'
                   and starts_with(datname, current_database())";
    assert_eq!(machine.sql(loaded), "0");
    assert!(!machine.mark().exists(), "the gate is closed");
}

/// The load did not wait for the disk, and neither did the application afterwards.
#[test]
fn a_database_that_was_put_back_waits_for_its_commits_as_the_one_before() {
    let machine = stopped();
    let settings = "select coalesce(string_agg(array_to_string(setconfig, ','), ';'), 'none')
                      from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase
                     where datname = current_database()";
    assert_eq!(machine.sql(settings), "none");
    machine.run(["restore", "latest", "--yes", "--no-copy"]).success();
    assert_eq!(machine.sql(settings), "none");
    machine.sql(&format!("alter database {} set synchronous_commit = local", machine.dbname()));
    machine.run(["restore", "latest", "--yes", "--no-copy"]).success();
    assert_eq!(machine.sql(settings), "synchronous_commit=local");
}

/// The data of an upgrade that failed half-way is kept under another name: no second dump.
#[test]
fn the_way_back_from_a_failed_migration_takes_no_second_dump() {
    let machine = TestMachine::new()
        .migration(
            "0003_alone.sql",
            "-- openwatch: no-transaction\nCREATE INDEX CONCURRENTLY by_value ON readings (value);\n",
        )
        .migration("0004_divides.sql", "SELECT 1 / 0;\n");
    let before = machine.data();
    machine.run(["upgrade"]).code(7);
    machine.run(["restore", "latest", "--yes"]).success();
    assert_eq!(machine.data(), before);
    assert_eq!(reasons(&machine), ["upgrade"]);
}

#[test]
fn beside_the_live_database_nothing_is_stopped_closed_or_dumped() {
    let machine = TestMachine::new();
    machine.run(["backup", "create"]).success();
    machine.sql("insert into machines values (9001, 'added since')");
    let (now, journal) = (machine.data(), machine.tree());
    machine.forget_calls();
    let name = format!("{}_beside", machine.dbname());
    let (code, json) = machine.json(["restore", "latest", "--into", &name]);
    assert_eq!((code, json["into"].as_str()), (0, Some(name.as_str())), "{json}");
    assert_eq!(machine.acts(), Vec::<String>::new());
    assert_eq!(machine.data(), now);
    assert_eq!(machine.tree().len(), journal.len());
    let sql = "select count(*) from machines where id = 9001";
    assert_eq!(machine.server().psql(&name, sql), "0");
    assert_eq!(reasons(&machine), ["manual"]);
}

/// At three in the morning: somebody dropped the database, or the server is a new one.
#[test]
fn a_database_that_is_gone_comes_back_without_a_word_about_a_copy() {
    let machine = stopped();
    let before = machine.data();
    let name = machine.dbname();
    machine.server().psql("postgres", &format!("drop database {name}"));
    let refused = machine.run(["restore", "latest"]).code(5);
    let told = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
    assert!(told.contains("is not there: nothing of it is kept"), "{told}");
    for part in ["taken first", "beside it", "--no-copy"] {
        assert!(!told.contains(part), "{part}: {told}");
    }
    // The command that was printed does it.
    machine.run(["restore", "latest", "--yes"]).success();
    assert_eq!(machine.data(), before);
    assert_eq!(reasons(&machine), ["manual"]);
    assert!(!machine.mark().exists());
}

/// A tool without a question about its state is believed: the mark alone closes the gate.
#[test]
fn the_gate_is_closed_before_the_data_is_exchanged() {
    let machine = TestMachine::with_own_server().with_unit("openwatch.service", "inactive");
    machine.run(["backup", "create"]).success();
    let holder = machine
        .server()
        .psql_command("postgres")
        .args([
            "-c",
            "begin; lock table pg_database in share row exclusive mode; select pg_sleep(600)",
        ])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn();
    let mut holder = holder.unwrap();
    let count = |waiting: &str| {
        let sql = format!("select count(*) from pg_stat_activity where {waiting}");
        machine.server().psql("postgres", &sql)
    };
    wait_for("the lock", || count("wait_event = 'PgSleep'") == "1");
    assert!(!machine.mark().exists());
    let mut run = machine.spawn(["restore", "latest", "--yes", "--no-copy"]);
    wait_for("a statement that waits", || {
        count("wait_event_type = 'Lock' and query ilike '%database%'") != "0"
    });
    assert!(machine.mark().exists());
    holder.kill().unwrap();
    holder.wait().unwrap();
    machine.server().psql(
        "postgres",
        "select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'PgSleep'",
    );
    assert!(run.wait().unwrap().success());
    assert!(!machine.mark().exists(), "the installed program knows what came back");
    // Nothing was changed, so the gate is as before.
    machine.run(["restore", "latest", "--database", "nothing", "--yes"]).failure();
    assert!(!machine.mark().exists());
}

/// Row 67.
#[test]
fn a_restore_that_was_killed_opens_the_gate_once_it_is_repeated_and_agrees() {
    let machine = TestMachine::with_own_server().with_unit("openwatch.service", "inactive");
    machine.run(["backup", "create"]).success();
    let psql = |sql: &str| machine.server().psql("postgres", sql);
    let lock = "begin; lock table pg_database in share row exclusive mode; select pg_sleep(600)";
    let quiet = std::process::Stdio::null;
    let holder =
        machine.server().psql_command("postgres").args(["-c", lock]).stdout(quiet()).spawn();
    let mut holder = holder.unwrap();
    let sleeps = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
    wait_for("the lock", || psql(sleeps) == "1");
    let mut run = machine.spawn(["restore", "latest", "--yes", "--no-copy"]);
    wait_for("the closed gate", || machine.mark().exists());
    run.kill().unwrap();
    run.wait().unwrap();
    holder.kill().unwrap();
    holder.wait().unwrap();
    psql("select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'PgSleep'");
    // A restore that fails before it begins has not mended what the first may have left.
    machine.run(["restore", "latest", "--database", "nothing", "--yes"]).failure();
    assert!(machine.mark().exists());
    machine.run(["restore", "latest", "--yes", "--no-copy"]).success();
    assert!(!machine.mark().exists(), "the installed program knows what came back");
    machine.run(["gate"]).success();
    // The gate that an upgrade has closed is not a restore's to open.
    let machine = machine.marked(Some("deb"), &["openwatch.service"]);
    machine.run(["restore", "latest", "--yes", "--no-copy"]).success();
    assert!(machine.mark().exists());
}

/// Everything that was typed is in the command that is printed.
#[test]
fn the_printed_command_names_the_identity_and_the_configuration_again() {
    let machine = stopped();
    let (conf, identity) = (machine.dir().join("other.conf"), machine.dir().join("my key"));
    std::fs::copy(machine.operator_conf(), &conf).unwrap();
    let (conf, identity) = (conf.to_str().unwrap(), identity.to_str().unwrap());
    let words = ["--config", conf, "restore", "latest", "--no-owner", "--identity", identity];
    let refused = machine.run(words).code(5);
    let told = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
    let named = format!("`openwatch --config {conf} restore ");
    assert!(told.contains(&named), "{told}");
    assert!(told.contains(&format!(" --no-owner --identity '{identity}' --yes`")), "{told}");
}

/// A host that was renamed: the command that is printed is the last one to type.
#[test]
fn a_point_of_another_host_is_taken_by_the_command_that_is_printed() {
    let machine = stopped();
    let manifest = machine.backups().join(&machine.points()[0]).join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let mut text: Value = serde_json::from_str(&text).unwrap();
    text["host"] = "elsewhere".into();
    std::fs::write(&manifest, text.to_string()).unwrap();
    let refused = machine.run(["restore", "latest", "--no-copy", "--yes"]).code(5);
    let told = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
    assert!(told.contains(" --no-copy --yes --force-foreign`"), "{told}");
    machine.run(["restore", "latest", "--no-copy", "--yes", "--force-foreign"]).success();
}
