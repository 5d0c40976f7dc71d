//! `openwatch rehearse` on real databases: it measures, tells, leaves nothing, and touches nothing real.

mod support;

use std::process::Child;

use assert_cmd::assert::Assert;
use serde_json::{Value, json};
use support::archives::{deb, file};
use support::machine::{TestMachine, message};
use support::packages::{Desk, content, with};
use support::postgres::wait_for;

/// What is on the server and below the root, beside the lock of rehearsals.
fn everything(machine: &TestMachine) -> (Vec<String>, String, Vec<String>, Vec<String>) {
    let databases = machine.server().psql("postgres", "select datname from pg_database order by 1");
    let lines = databases.lines().map(str::to_owned);
    // The tests of this binary share the server.
    let own = lines.filter(|name| name.contains(machine.dbname())).collect();
    (machine.data(), machine.schema(), own, [machine.points(), machine.leftovers()].concat())
}

/// Rehearses; afterwards nothing may be different and nothing left.
#[track_caller]
fn rehearse(machine: &TestMachine, words: &[&str]) -> Assert {
    let before = everything(machine);
    let assert = machine.run(["rehearse"].into_iter().chain(words.iter().copied()));
    assert_eq!(everything(machine), before, "something changed or is left");
    assert_eq!(machine.acts(), [""; 0]);
    machine.assert_orderly();
    assert
}

#[track_caller]
fn answer(machine: &TestMachine, words: &[&str]) -> (i32, Value) {
    let words = [words, &["--json"]].concat();
    let assert = rehearse(machine, &words);
    let output = assert.get_output();
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap())
}

fn text(assert: &Assert) -> String {
    String::from_utf8_lossy(&assert.get_output().stdout).into_owned()
}

const UNTOUCHED: &str = "the real database was not touched; nothing of the rehearsal is left";

#[test]
fn a_rehearsal_tells_times_locks_rows_and_downtime_and_leaves_nothing() {
    let machine = TestMachine::new().ship("good").migration(
        "0005_rewrite.sql",
        "alter table readings alter column value type double precision; \
         delete from readings where machine = 1; create table fresh as select 1 as one;",
    );
    let (status, report) = answer(&machine, &[]);
    assert_eq!((status, &report["outcome"]), (0, &json!("ok")), "{report}");
    assert_eq!(report["restore_point"]["kept"], false);
    let database = &report["databases"][0];
    let migrations = database["migrations"].as_array().unwrap();
    let versions: Vec<&Value> = migrations.iter().map(|m| &m["version"]).collect();
    assert_eq!(versions, ["0003", "0004", "0005"]);
    let locks = migrations[2]["locks"].as_array().unwrap();
    let exclusive = json!({"table": "public.readings", "mode": "AccessExclusiveLock",
                           "keeps_out": "readers and writers"});
    assert!(locks.contains(&exclusive), "{locks:?}");
    assert_eq!(migrations[2]["rewritten"][0]["table"], "public.readings");
    assert_eq!(migrations[0]["rewritten"], json!([]));
    assert_eq!(
        database["rows"],
        json!([{"table": "public.fresh", "before": null, "after": 1},
               {"table": "public.openwatch_schema_history", "before": 2, "after": 5},
               {"table": "public.readings", "before": 500, "after": 490}])
    );
    assert_eq!(database["next_dump"], json!({"ok": true, "problems": []}));
    assert!(database["extra_bytes"].as_u64().unwrap() > 0);
    let parts = report["downtime"]["parts"].as_array().unwrap();
    assert_eq!(parts[1]["source"], "measured now, with the services running");
    assert_eq!(parts[3]["ms"], Value::Null, "no upgrade was done here yet");
    assert_eq!(report["downtime"]["complete"], false);
}

#[test]
fn what_people_read_names_each_migration_and_where_each_number_comes_from() {
    let machine = TestMachine::new().ship("good");
    let told = text(&rehearse(&machine, &["--fresh"]).success());
    for line in [
        "which is removed again",
        "main: 2 migrations applied in ",
        "\n  0003  owner  ",
        "AccessExclusiveLock on public.machines, keeps readers and writers out",
        "the next restore point can be taken",
        "expected downtime: at least ",
        "  stopping services: unknown (no upgrade was done on this machine yet)",
        "(measured in this rehearsal)",
        UNTOUCHED,
    ] {
        assert!(told.contains(line), "{line} is missing in:\n{told}");
    }
    // With an upgrade in the history of the machine every part is known.
    machine.run(["upgrade"]).success();
    let machine = machine.migration("0005_more.sql", "create index on readings (value);");
    machine.forget_calls();
    let (_, report) = answer(&machine, &[]);
    assert_eq!(report["downtime"]["complete"], true, "{report}");
    let source = report["downtime"]["parts"][0]["source"].as_str().unwrap();
    assert!(source.starts_with("upgrade to 2.0.0-1, 20"), "{source}");
}

#[test]
fn nothing_pending_is_nothing_to_rehearse() {
    let machine = TestMachine::new();
    let told = text(&rehearse(&machine, &[]).success());
    assert_eq!(told.trim(), "nothing is pending, nothing to rehearse");
}

#[test]
fn an_empty_database_is_rehearsed_without_a_restore_point() {
    let machine = TestMachine::with_empty_database();
    let before = machine.data();
    let (status, report) = machine.json(["rehearse"]);
    assert_eq!((status, &report["restore_point"]), (0, &Value::Null), "{report}");
    assert_eq!(report["databases"][0]["migrations"].as_array().unwrap().len(), 2);
    assert_eq!((machine.data(), machine.leftovers()), (before, Vec::new()));
}

#[test]
fn a_migration_that_would_fail_is_told_before_it_costs_anything() {
    let machine = TestMachine::new().ship("failing");
    let assert = rehearse(&machine, &[]).code(7);
    let told = message(&assert);
    assert!(told.first.contains("0004_audit"), "{told:?}");
    assert!(told.detail.contains("ran before it: 0003 in "), "{told:?}");
    assert_eq!(told.state, UNTOUCHED);
    assert!(told.hint.starts_with("Do not upgrade to openwatch 2.0.0-1 yet"), "{told:?}");
    assert!(told.hint.contains("`openwatch rehearse`"), "{told:?}");
}

#[test]
fn a_migration_outside_a_transaction_that_fails_half_way_leaves_nothing_either() {
    let machine = TestMachine::new().migration(
        "0003_twice.sql",
        "-- openwatch: no-transaction\ncreate unique index concurrently one on readings (machine);\n",
    );
    let told = message(&rehearse(&machine, &[]).code(7));
    assert!(told.first.contains("0003_twice"), "{told:?}");
    assert_eq!(told.state, UNTOUCHED);
}

#[test]
fn a_given_restore_point_is_rehearsed_on_and_kept() {
    let machine = TestMachine::new();
    machine.run(["backup", "create"]).success();
    let id = machine.points()[0].clone();
    machine.sql("delete from readings");
    let machine = machine.ship("good");
    for word in [id.as_str(), "latest"] {
        let (status, report) = answer(&machine, &["--from-backup", word]);
        assert_eq!(status, 0, "{report}");
        assert_eq!(report["restore_point"]["id"], id.as_str());
        assert_eq!(report["restore_point"]["kept"], true);
        let source = report["downtime"]["parts"][1]["source"].as_str().unwrap();
        assert_eq!(source, format!("as restore point {id} took"));
    }
    let told = message(&rehearse(&machine, &["--from-backup", "20200101T000000Z-1"]).code(5));
    assert!(told.first.starts_with("there is no restore point 2020"), "{told:?}");
    rehearse(&machine, &["--from-backup", &id, "--fresh"]).code(2);
}

#[test]
fn a_package_that_is_not_installed_is_rehearsed() {
    let (machine, desk) = (TestMachine::new(), Desk::new());
    let good = content(&["base", "good"]);
    let package = desk.put("new.deb", &deb("openwatch", &good));
    let (status, report) = answer(&machine, &["--package", &package]);
    assert_eq!((status, &report["package_version"]), (0, &json!("3.0.0")), "{report}");
    assert_eq!(report["databases"][0]["migrations"].as_array().unwrap().len(), 2);
    let broken = file("./usr/share/openwatch/migrations/0005_broken.sql", "select 1/0;");
    let package = desk.put("broken.deb", &deb("openwatch", &with(good, broken)));
    let told = message(&rehearse(&machine, &["--package", &package]).code(7));
    assert!(told.first.contains("0005_broken"), "{told:?}");
    assert!(told.hint.starts_with("Do not upgrade to openwatch 3.0.0 yet"), "{told:?}");
}

#[test]
fn a_role_that_only_reads_the_real_database_is_enough() {
    let machine = TestMachine::new().ship("good");
    let (name, reader) = (machine.dbname().to_owned(), format!("reader_{}", machine.dbname()));
    machine.sql(&format!(
        "create role {reader} login createdb; grant select on all tables in schema public to {reader};
         revoke create on schema public from public; create role owner_{name};
         alter table machines owner to owner_{name}; grant usage on schema public to owner_{name}"
    ));
    let machine = machine.role(&reader);
    let (status, report) = answer(&machine, &[]);
    assert_eq!(status, 0, "{report}");
    let why = report["databases"][0]["owners_left_out"].as_str().unwrap();
    assert!(why.starts_with(&format!("the role {reader} may not act for owner_{name}")), "{why}");
    assert_eq!(report["databases"][0]["migrations"].as_array().unwrap().len(), 2);
}

#[test]
fn a_role_that_may_not_create_databases_is_refused_with_the_way_out() {
    let machine = TestMachine::new().ship("good");
    let role = format!("plain_{}", machine.dbname());
    machine.sql(&format!(
        "create role {role} login; grant select on all tables in schema public to {role}"
    ));
    let machine = machine.role(&role);
    let told = message(&rehearse(&machine, &[]).code(5));
    assert!(told.first.starts_with(&format!("the role {role} may not create databases")));
    assert_eq!(told.state, UNTOUCHED);
    assert!(told.hint.contains(&format!("`ALTER ROLE {role} CREATEDB`")), "{told:?}");
    assert!(told.hint.contains("`--server-env VARIABLE`"), "{told:?}");
}

#[test]
fn another_server_bears_the_load_where_the_operator_names_one() {
    let (machine, other) = (TestMachine::new().ship("good"), TestMachine::with_own_server());
    let secrets = std::fs::read_to_string(machine.secrets()).unwrap();
    let line = format!("SPARE=\"{}\"\n", other.server().conninfo("postgres"));
    std::fs::write(machine.secrets(), secrets + &line).unwrap();
    // The role may connect here, and create nothing.
    let role = format!("plain_{}", machine.dbname());
    machine.sql(&format!(
        "create role {role} login; grant select on all tables in schema public to {role}"
    ));
    let (status, report) = answer(&machine, &["--server-env", "SPARE"]);
    assert_eq!(status, 0, "{report}");
    let left = other
        .server()
        .psql("postgres", "select count(*) from pg_database where datname ~ 'rehearsal'");
    assert_eq!(left, "0");
    let told = message(&rehearse(&machine, &["--server-env", "NO_SUCH"]).code(3));
    assert!(told.first.starts_with("NO_SUCH is not set"), "{told:?}");
}

#[test]
fn a_disk_without_room_is_refused_before_anything_is_made() {
    let machine = TestMachine::new().ship("good");
    machine.run(["backup", "create"]).success();
    let machine = machine.operator_without("reserve").operator("reserve = \"4000T\"");
    let told = message(&rehearse(&machine, &["--from-backup", "latest"]).code(5));
    assert!(told.first.starts_with("not enough free space for a rehearsal in /"), "{told:?}");
    assert!(told.detail.contains("3.9 PiB kept free"), "{told:?}");
    assert_eq!(told.state, UNTOUCHED);
    let told = message(&rehearse(&machine, &[]).code(5));
    assert!(told.first.starts_with("not enough free space"), "{told:?}");
}

#[test]
fn an_upgrade_after_which_the_next_dump_would_fail_is_refused() {
    let machine = TestMachine::new();
    let name = machine.dbname().to_owned();
    machine.sql(&format!(
        "create role app_{name} login createdb; create role other_{name}; grant other_{name} to app_{name};
         alter database {name} owner to app_{name}; alter schema public owner to app_{name};
         alter table machines owner to app_{name}; alter table readings owner to app_{name};
         alter table openwatch_schema_history owner to app_{name}"
    ));
    let machine = machine.role(&format!("app_{name}")).migration(
        "0003_hidden.sql",
        format!(
            "create table secrets (id int); alter table secrets enable row level security; \
                 alter table secrets force row level security; \
                 create table locked (id int); revoke select on locked from app_{name};"
        ),
    );
    let (status, report) = answer(&machine, &[]);
    assert_eq!((status, &report["outcome"]), (5, &json!("refused")), "{report}");
    let dump = &report["databases"][0]["next_dump"];
    assert_eq!(dump["ok"], false);
    let all = dump["problems"].to_string();
    assert!(all.contains("public.locked") && all.contains("public.secrets"), "{all}");
    assert_eq!(report["databases"][0]["owners_left_out"], Value::Null);
    let told = text(&rehearse(&machine, &[]).code(5));
    assert!(told.contains("problem  the next restore point would fail: table public.locked"));
}

/// A migration that waits until the test ends, and says when it began.
const WAITING: &str = "create table begun (); select pg_sleep(3600);";

/// Returns the sessions of the rehearsal on its scratch database that do this.
fn sessions(machine: &TestMachine, what: &str) -> usize {
    let sql = format!(
        "select count(*) from pg_stat_activity where datname ~ '^{}_rehearsal_' and query ~ '{what}'",
        machine.dbname()
    );
    machine.server().psql("postgres", &sql).parse().unwrap()
}

fn scratch_databases(machine: &TestMachine) -> String {
    let sql = format!(
        "select string_agg(datname, ',') from pg_database where datname ~ '^{}_rehearsal_'",
        machine.dbname()
    );
    machine.server().psql("postgres", &sql)
}

fn end(child: &mut Child, signal: nix::sys::signal::Signal) -> i32 {
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, signal).unwrap();
    child.wait().unwrap().code().unwrap_or(-1)
}

#[test]
fn a_rehearsal_that_is_asked_to_stop_leaves_nothing() {
    let machine = TestMachine::new().migration("0003_waiting.sql", WAITING);
    let before = everything(&machine);
    let mut child = machine.spawn(["rehearse"]);
    wait_for("the migration", || sessions(&machine, "pg_sleep") == 1);
    let status = end(&mut child, nix::sys::signal::Signal::SIGTERM);
    assert_ne!(status, 0);
    assert_eq!(everything(&machine), before, "{}", machine.said());
    assert!(machine.said().contains(UNTOUCHED), "{}", machine.said());
}

#[test]
fn what_a_killed_rehearsal_left_is_removed_by_the_next_look() {
    let machine = TestMachine::new().migration("0003_waiting.sql", WAITING);
    let before = everything(&machine);
    for verb in [&["preflight"][..], &["backup", "prune"], &["rehearse"]] {
        let mut child = machine.spawn(["rehearse"]);
        wait_for("the migration", || sessions(&machine, "pg_sleep") == 1);
        end(&mut child, nix::sys::signal::Signal::SIGKILL);
        assert_ne!(scratch_databases(&machine), "", "the database is there");
        assert_eq!(machine.leftovers().len(), 1, "and the restore point");
        // While its server process still works, nobody may call it a leftover: its lock is free.
        if verb == ["rehearse"] {
            std::fs::remove_file(machine.migrations("main").join("0003_waiting.sql")).unwrap();
        }
        machine.run(verb.iter().copied()).success();
        assert_eq!(everything(&machine), before, "after {verb:?}");
    }
}

#[test]
fn killed_while_the_copy_is_made_it_leaves_nothing_for_long() {
    let machine = TestMachine::new().ship("good");
    // Loading waits in a function that the constraint calls; the row here is older than its wait.
    machine.sql(
        "create function slowly(int) returns boolean language sql immutable as $$ select true $$;
         create table slow (n int check (slowly(n))); insert into slow values (1);
         create or replace function slowly(int) returns boolean language plpgsql immutable as
           $$ begin perform pg_sleep(3600); return true; end $$",
    );
    let before = everything(&machine);
    let mut child = machine.spawn(["rehearse"]);
    wait_for("the load", || sessions(&machine, "^COPY public.slow .*FROM stdin") == 1);
    end(&mut child, nix::sys::signal::Signal::SIGKILL);
    assert_ne!(scratch_databases(&machine), "");
    machine.run(["preflight"]).success();
    assert_eq!(everything(&machine), before);
}

#[test]
fn somebody_elses_database_of_such_a_name_is_left_alone() {
    let machine = TestMachine::new().ship("good");
    let name = format!("{}_rehearsal_20200101T000000Z", machine.dbname());
    let empty = format!("{}_rehearsal_20200101T000001Z", machine.dbname());
    machine.server().database(&name);
    machine.server().database(&empty);
    machine.server().psql(&name, "create table mine (id int)");
    machine.run(["rehearse"]).success();
    assert_eq!(scratch_databases(&machine), name, "the empty one is what a killed run leaves");
}

#[test]
fn the_dump_of_a_rehearsal_gives_way_to_an_upgrade() {
    let machine = TestMachine::new().ship("good");
    // The dump waits for this lock until an upgrade begins.
    let mut blocker = machine
        .server()
        .psql_command(machine.dbname())
        .arg("-c")
        .arg("begin; lock table readings; select pg_sleep(3600)")
        .spawn()
        .unwrap();
    let locked = || {
        machine.sql(
            "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and granted
               and relation = 'readings'::regclass and database =
                 (select oid from pg_database where datname = current_database())",
        ) == "1"
    };
    wait_for("the table lock", locked);
    let mut child = machine.spawn(["rehearse"]);
    let dumping = || {
        machine.sql("select count(*) from pg_stat_activity where query ~ '^LOCK TABLE' and datname = current_database() and wait_event_type = 'Lock'")
            != "0"
    };
    wait_for("the dump", dumping);
    let key = 0x6f70_656e_7761_7463_i64;
    let mut upgrade = machine
        .server()
        .psql_command(machine.dbname())
        .arg("-c")
        .arg(format!("select pg_advisory_lock({key}), pg_sleep(3600)"))
        .spawn()
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(75), "{}", machine.said());
    assert!(machine.said().contains("gave way"), "{}", machine.said());
    // While the upgrade runs, no rehearsal begins to dump.
    let told = message(&machine.run(["rehearse"]).code(75));
    assert!(told.first.starts_with("an upgrade is under way"), "{told:?}");
    for child in [&mut blocker, &mut upgrade] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(machine.leftovers(), [""; 0]);
}

#[test]
fn an_upgrade_is_not_held_up_by_a_rehearsal_that_migrates() {
    let machine = TestMachine::new().migration("0003_waiting.sql", WAITING);
    let mut child = machine.spawn(["rehearse"]);
    wait_for("the migration", || sessions(&machine, "pg_sleep") == 1);
    let told = message(&machine.run(["rehearse"]).code(75));
    assert!(told.first.contains("rehearsal"), "{told:?}");
    std::fs::remove_file(machine.migrations("main").join("0003_waiting.sql")).unwrap();
    machine.add_migrations("good");
    machine.run(["upgrade"]).success();
    assert_eq!(machine.schema(), "0004");
    end(&mut child, nix::sys::signal::Signal::SIGINT);
    assert_eq!(scratch_databases(&machine), "");
}

/// A tool of the application: its migrations are tables, `status` lists those that are not there.
/// `lead` may take it to another database than it was told.
fn tool(lead: &str) -> String {
    format!(
        "{lead}
         if [ $1 = status ]; then
           for table in machines extra; do
             sql \"select case when to_regclass('$table') is null then 'todo' else 'done' end || ' $table'\"
           done; exit 0
         fi
         sql 'create table extra as select * from readings'"
    )
}

#[test]
fn the_application_s_own_tool_is_rehearsed_where_it_follows_to_the_copy() {
    let machine =
        TestMachine::new().tool(&tool(""), ", pending_lines = \"todo\", applied_lines = \"done\"");
    let (status, report) = data_answer(&machine);
    assert_eq!(status, 0, "{report}");
    let database = &report["databases"][0];
    assert_eq!(database["rows"], json!([{"table": "public.extra", "before": null, "after": 500}]));
    assert!(database["migrations"][0]["version"].as_str().unwrap().contains("extra"), "{report}");
}

#[test]
fn a_tool_that_would_migrate_the_real_database_is_never_run() {
    let machine = TestMachine::new();
    let lead = format!("PGDATABASE={}; export PGDATABASE", machine.dbname());
    let machine =
        machine.tool(&tool(&lead), ", pending_lines = \"todo\", applied_lines = \"done\"");
    let before = machine.data();
    let told = message(&machine.run(["rehearse"]).code(5));
    assert!(
        told.first.contains("it says of an empty database what it says of the real"),
        "{told:?}"
    );
    assert_eq!(told.state, UNTOUCHED);
    assert_eq!((machine.data(), scratch_databases(&machine)), (before, String::new()));
}

/// Rehearses a machine whose history is not ours.
fn data_answer(machine: &TestMachine) -> (i32, Value) {
    let before = machine.data();
    let answer = machine.json(["rehearse"]);
    assert_eq!((machine.data(), scratch_databases(machine)), (before, String::new()));
    answer
}
