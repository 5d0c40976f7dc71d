//! How far a restore point is proven: read back, or loaded into a scratch database as well.

use serde_json::{Value, json};

use super::support::machine::{TestMachine, message};
use super::support::postgres::wait_for;
use predicates::prelude::*;
use predicates::str::contains;

/// Works with the search path of the application, and not with the empty one of a restore.
const UNLOADABLE: &str = "
    create function inner_f(i bigint) returns bigint immutable language sql as 'select i';
    create function outer_f(i bigint) returns bigint immutable language plpgsql
      as 'begin return inner_f(i); end';
    alter table machines add constraint positive check (outer_f(id) > 0)";

/// Loads nowhere else than in the real database before somebody drops the constraint.
const WAITING: &str = "
    create function waits() returns bool language plpgsql as 'begin
      if current_database() ~ ''_trial_'' then perform pg_sleep(3600); end if; return true; end';
    alter table machines add constraint waiting check (waits())";

fn scratch_databases(machine: &TestMachine) -> String {
    let sql = format!(
        "select string_agg(datname, ' ') from pg_database where datname ~ '^{}_'",
        machine.dbname()
    );
    machine.server().psql("postgres", &sql)
}

fn listed(machine: &TestMachine) -> Value {
    machine.json(["backup", "list"]).1["restore_points"][0].clone()
}

fn waits_in_trial(machine: &TestMachine) -> bool {
    let sql = format!(
        "select count(*) from pg_stat_activity
          where datname ~ '^{}_trial_' and wait_event = 'PgSleep'",
        machine.dbname()
    );
    machine.server().psql("postgres", &sql) != "0"
}

#[test]
fn a_point_is_read_back_until_it_was_restored_and_every_list_says_so() {
    let machine = TestMachine::new();
    machine.run(["backup", "create"]).success();
    assert_eq!(listed(&machine)["proof"], "read_back");
    machine.run(["backup", "verify", "--restore"]).success().stdout(contains("is whole; it was"));
    let point = listed(&machine);
    assert_eq!((&point["proof"], &point["state"]), (&json!("restored"), &json!("good")), "{point}");
    assert_eq!(point["trial"].get("failed"), None, "{point}");
    machine.run(["backup", "list"]).success().stdout(contains(" restored "));
    machine.run(["backup", "show"]).success().stdout(contains("proof:    restored at 20"));
    let (_, status) = machine.json(["status"]);
    assert_eq!(status["restore_points"][0]["proof"], "restored");
    machine.run(["status"]).success().stdout(contains(", restored (1 in all)"));
    // The note changed nothing that verification or retention goes by.
    machine.run(["backup", "verify"]).success().stdout(contains("is whole"));
    machine.run(["backup", "prune", "--dry-run"]).success().stdout(contains("keep"));
    assert_eq!((scratch_databases(&machine), machine.leftovers()), (String::new(), Vec::new()));
}

#[test]
fn what_another_program_wrote_into_the_manifest_stays_when_the_proof_is_noted() {
    let machine = TestMachine::new();
    machine.run(["backup", "create"]).success();
    let path = machine.backups().join(&machine.points()[0]).join("manifest.json");
    let mut text: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    text["of_another_version"] = json!({"kept": true});
    text.as_object_mut().unwrap().remove("trial");
    std::fs::write(&path, text.to_string()).unwrap();
    machine.run(["backup", "verify", "--restore"]).success();
    let now: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(
        (&now["proof"], &now["of_another_version"]["kept"]),
        (&json!("restored"), &json!(true))
    );
}

#[test]
fn a_dump_that_reads_cleanly_and_does_not_load_is_told_with_the_reason_and_the_way_to_mend_it() {
    let machine = TestMachine::new();
    machine.sql(UNLOADABLE);
    machine.run(["backup", "create"]).success();
    machine.run(["backup", "verify"]).success();
    let told = message(&machine.run(["backup", "verify", "--restore"]).code(1));
    assert!(told.first.ends_with("cannot be restored: main does not load"), "{told:?}");
    assert!(told.detail.contains("function inner_f(bigint) does not exist, at "), "{told:?}");
    assert!(told.detail.contains("function public.outer_f(bigint)"), "{told:?}");
    assert!(told.state.contains("the real databases were not touched"), "{told:?}");
    let mend = "ALTER FUNCTION public.outer_f(i bigint) SET search_path = public, pg_temp";
    assert!(told.hint.contains(&format!("run `{mend}` in the database {}", machine.dbname())));
    let point = listed(&machine);
    assert_eq!(point["proof"], "read_back", "{point}");
    assert!(point["trial"]["failed"].as_str().unwrap().contains("inner_f"), "{point}");
    machine.run(["backup", "list"]).success().stdout(contains("could not be restored: function"));
    // As printed, it mends: the next point loads.
    machine.sql(mend);
    machine.run(["backup", "create"]).success();
    machine.run(["backup", "verify", "--restore"]).success();
    assert_eq!(scratch_databases(&machine), "");
}

#[test]
fn an_upgrade_loads_the_fresh_point_before_it_migrates_where_the_operator_wants_that() {
    let machine = TestMachine::new().ship("good").operator("verify = \"restore\"");
    machine
        .run(["upgrade"])
        .success()
        .stderr(contains("was loaded into a scratch database and compared"));
    assert_eq!(
        (machine.schema().as_str(), &listed(&machine)["proof"]),
        ("0004", &json!("restored"))
    );
    machine.assert_clean();
    assert_eq!(scratch_databases(&machine), "");
}

#[test]
fn a_point_that_cannot_be_loaded_stops_the_upgrade_before_anything_is_migrated() {
    let machine = TestMachine::new().ship("good").operator("verify = \"restore\"");
    machine.sql(UNLOADABLE);
    let before = machine.data();
    let told = message(&machine.run(["upgrade"]).code(6));
    assert!(told.first.ends_with("cannot be restored: main does not load"), "{told:?}");
    assert!(told.detail.contains("inner_f"), "{told:?}");
    let mend = "ALTER FUNCTION public.outer_f(i bigint) SET search_path = public, pg_temp";
    assert!(
        told.hint.contains(mend) && told.hint.contains("`openwatch upgrade --retry`"),
        "{told:?}"
    );
    assert_eq!(machine.data(), before);
    assert_eq!((machine.schema().as_str(), scratch_databases(&machine)), ("0002", String::new()));
    machine.assert_closed();
    machine.sql(mend);
    machine.run(["upgrade", "--retry"]).success();
    assert_eq!(machine.schema(), "0004");
    machine.assert_clean();
}

#[test]
fn a_role_that_may_not_create_databases_is_refused_before_anything_is_stopped() {
    let machine = TestMachine::new().ship("good").operator("verify = \"restore\"");
    let (name, role) = (machine.dbname().to_owned(), format!("plain_{}", machine.dbname()));
    machine.sql(&format!(
        "create role {role} login; alter database {name} owner to {role};
         alter schema public owner to {role}; alter table machines owner to {role};
         alter table readings owner to {role}; alter table openwatch_schema_history owner to {role}"
    ));
    let machine = machine.role(&role);
    machine.forget_calls();
    let told = message(&machine.run(["upgrade"]).code(5));
    assert!(told.first.contains("the restore point cannot be loaded before the migrations: main:"));
    assert!(told.first.contains(&format!("the role {role} may not create databases")), "{told:?}");
    let hint =
        format!("Run `ALTER ROLE {role} CREATEDB` as a superuser, or set `verify = \"read\"`.");
    assert_eq!(told.hint, hint);
    assert_eq!((machine.acts(), machine.points()), (Vec::new(), Vec::new()));
    message(&machine.run(["preflight"]).code(5));
    // Asked for a point that is there, it says so as well.
    machine.run(["backup", "create"]).success();
    let told = message(&machine.run(["backup", "verify", "--restore"]).code(5));
    assert!(told.first.contains("is whole, and could not be loaded"), "{told:?}");
    assert!(told.detail.contains("may not create databases"), "{told:?}");
    let machine = machine.operator_without("verify").operator("verify = \"read\"");
    machine.run(["upgrade"]).success();
    assert_eq!(listed(&machine)["proof"], "read_back");
}

#[test]
fn a_load_that_takes_too_long_is_ended_and_the_upgrade_goes_on_with_a_warning() {
    let machine = TestMachine::new().ship("good");
    let machine = machine.operator("verify = \"restore\"").operator("verify_limit = \"1s\"");
    machine.sql(WAITING);
    machine
        .run(["upgrade"])
        .success()
        .stderr(contains("was read back, not restored, and the upgrade goes on: it took longer"));
    assert_eq!(
        (machine.schema().as_str(), &listed(&machine)["proof"]),
        ("0004", &json!("read_back"))
    );
    assert_eq!(scratch_databases(&machine), "");
    machine.assert_clean();
}

#[test]
fn what_the_last_load_took_is_the_measure_of_the_next_one() {
    let machine = TestMachine::new().ship("good");
    machine.run(["backup", "create"]).success();
    machine.run(["backup", "verify", "--restore"]).success();
    let machine = machine.operator("verify = \"restore\"").operator("verify_limit = \"1ms\"");
    let (status, report) = machine.json(["preflight"]);
    assert_eq!(status, 0, "{report}");
    let finding = &report["findings"][0];
    let said = finding["message"].as_str().unwrap();
    assert!(said.contains(&format!("(as restore point {} took)", machine.points()[0])), "{said}");
    assert!(said.contains("only read back: it would take about"), "{said}");
    assert!(finding["hint"].as_str().unwrap().starts_with("Set `verify_limit`"), "{finding}");
    machine.run(["upgrade"]).success().stderr(contains("the upgrade goes on"));
    assert_eq!(machine.schema(), "0004");
}

#[test]
fn what_a_killed_trial_left_is_removed_by_the_next_run() {
    let machine = TestMachine::new();
    machine.sql(WAITING);
    machine.run(["backup", "create"]).success();
    let mut child = machine.spawn(["backup", "verify", "--restore"]);
    wait_for("the load waits", || waits_in_trial(&machine));
    child.kill().unwrap();
    child.wait().unwrap();
    let left = scratch_databases(&machine);
    assert!(left.contains("_trial_"), "{left}");
    machine.run(["backup", "prune"]).success().stderr(contains(format!("removed {left}, left by")));
    assert_eq!((scratch_databases(&machine), machine.leftovers()), (String::new(), Vec::new()));
    machine.run(["backup", "verify"]).success();
}

#[test]
fn an_upgrade_that_is_killed_while_it_loads_is_finished_by_the_next() {
    let machine = TestMachine::new().ship("good").operator("verify = \"restore\"");
    machine.sql(WAITING);
    let mut child = machine.spawn(["upgrade"]);
    wait_for("the load waits", || waits_in_trial(&machine));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(machine.schema(), "0002");
    machine.sql("alter table machines drop constraint waiting");
    machine.run(["upgrade"]).success().stderr(contains("_trial_").and(contains("left by a run")));
    assert_eq!((machine.schema().as_str(), scratch_databases(&machine)), ("0004", String::new()));
    machine.assert_clean();
}

#[test]
fn owners_that_the_role_may_not_act_for_are_left_out_of_the_trial_and_that_is_said() {
    let machine = TestMachine::new();
    let (name, reader) = (machine.dbname().to_owned(), format!("reader_{}", machine.dbname()));
    machine.sql(&format!(
        "create role {reader} login createdb; create role owner_{name};
         grant select on all tables in schema public to {reader};
         alter table machines owner to owner_{name}; grant usage on schema public to owner_{name}"
    ));
    let machine = machine.role(&reader);
    machine.run(["backup", "create"]).success();
    machine.run(["backup", "verify", "--restore"]).success();
    let why = listed(&machine)["trial"]["left_out"][0].as_str().unwrap().to_owned();
    assert!(why.contains(&format!("the role {reader} may not act for owner_{name}")), "{why}");
    machine.run(["backup", "show"]).success().stdout(contains("restored at").and(contains(why)));
}

#[test]
fn of_two_databases_the_one_that_does_not_load_is_named() {
    let machine = TestMachine::with_databases(&["main", "second"]);
    let second = machine.dbname_of("second").to_owned();
    machine.server().psql(&second, UNLOADABLE);
    machine.run(["backup", "create"]).success();
    let told = message(&machine.run(["backup", "verify", "--restore"]).code(1));
    assert!(told.first.ends_with("cannot be restored: second does not load"), "{told:?}");
    assert!(told.hint.contains(&format!("in the database {second}")), "{told:?}");
}
