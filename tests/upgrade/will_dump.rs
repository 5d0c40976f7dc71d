//! Whether the dump will work: asked before an upgrade, and after it for the next one.

use super::support::machine::{TestMachine, message};
use super::support::postgres::wait_for;
use predicates::str::contains;

/// A machine whose role owns everything, and is no superuser.
fn owned() -> (TestMachine, String) {
    let machine = TestMachine::new();
    let (name, role) = (machine.dbname().to_owned(), format!("app_{}", machine.dbname()));
    machine.sql(&format!(
        "create role {role} login createdb; alter database {name} owner to {role};
         alter schema public owner to {role}; alter table machines owner to {role};
         alter table readings owner to {role}; alter table openwatch_schema_history owner to {role}"
    ));
    (machine.role(&role), role)
}

/// Row 18.
#[test]
fn everything_that_a_dump_would_fail_on_is_named_at_once_with_the_statements_that_mend_it() {
    let (machine, role) = owned();
    machine.sql(
        "create table parted (id int) partition by range (id);
         create table part_1 partition of parted for values from (0) to (9);
         create table guarded (id int); alter table guarded enable row level security;
         select lo_from_bytea(77, 'x')",
    );
    machine.sql(&format!("grant select on parted, guarded to {role}"));
    let machine = machine.ship("good");
    machine.forget_calls();
    let told = message(&machine.run(["upgrade"]).code(5));
    for part in [
        "large object 77 (owner postgres)",
        "partition public.part_1 (owner postgres)",
        "table public.guarded (row security hides rows; owner postgres)",
    ] {
        assert!(told.first.contains(part), "{part} is missing: {told:?}");
    }
    assert_eq!((machine.acts(), machine.points()), (Vec::new(), Vec::new()));
    let statements = told.hint.split('`').nth(1).unwrap();
    machine.sql(statements);
    machine.run(["upgrade"]).success();
    assert_eq!(machine.schema(), "0004");
}

#[test]
fn what_is_dumped_without_its_rows_needs_no_right() {
    let (machine, _) = owned();
    machine.sql(
        "create foreign data wrapper w; create server s foreign data wrapper w;
         create foreign table away (id int) server s; create view v as select 1 as one;
         create materialized view m as select 1 as one",
    );
    machine.run(["preflight"]).success();
    machine.run(["backup", "create"]).success();
}

#[test]
fn what_a_migration_made_unreadable_is_told_after_the_upgrade() {
    let (machine, role) = owned();
    let machine = machine.migration(
        "0003_locked.sql",
        format!("create table locked (id int); revoke select on locked from {role};"),
    );
    let assert = machine.run(["upgrade", "--json"]).success();
    let output = assert.get_output();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let finding = &report["findings"][0];
    assert_eq!(finding["kind"], "next_dump", "{report}");
    let said = finding["message"].as_str().unwrap();
    assert!(said.starts_with("the next dump would fail because the role cannot read table"));
    let grant = format!("`GRANT SELECT ON TABLE public.locked TO {role}`");
    assert!(finding["hint"].as_str().unwrap().contains(&grant), "{finding}");
    // It says the truth: the next one does fail, with the same words.
    let told = message(&machine.run(["backup", "create"]).code(6));
    assert!(told.detail.contains("table public.locked (owner"), "{told:?}");
    assert!(told.hint.contains(&grant), "{told:?}");
}

#[test]
fn who_keeps_a_table_locked_is_named_before_anything_is_stopped() {
    let machine = TestMachine::new();
    let mut holder = machine
        .server()
        .psql_command(machine.dbname())
        .env("PGAPPNAME", "month end")
        .args(["-c", "begin; lock table readings in access exclusive mode; select pg_sleep(3600)"])
        .spawn()
        .unwrap();
    wait_for("the table is locked", || {
        machine.sql(
            "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and granted
               and relation = 'readings'::regclass
               and database = (select oid from pg_database where datname = current_database())",
        ) != "0"
    });
    machine
        .run(["preflight"])
        .success()
        .stdout(contains("would wait: a table is locked by pid "))
        .stdout(contains(", user postgres, application month end, active for "));
    holder.kill().unwrap();
    holder.wait().unwrap();
}
