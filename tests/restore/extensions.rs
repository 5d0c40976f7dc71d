//! Databases with extensions that keep rows of their own, work by themselves, or can be in one database
//! of a server only.

use openwatch::database::facts::RowCount;
use openwatch::database::restore::compare;

use super::support::machine::{TestMachine, shared};
use super::support::peers::left_out;
use super::support::postgres::{Server, wait_for};
use super::{database, details, told};

/// A machine on a server whose `pg_cron` works in the application's database; none where there is none.
fn with_jobs() -> Option<TestMachine> {
    let offered = "select count(*) from pg_available_extensions where name = 'pg_cron'";
    if shared().psql("postgres", offered) == "0" {
        left_out("the server has no pg_cron: run ci/setup");
        return None;
    }
    // As the machine names it.
    let conf = "shared_preload_libraries = 'pg_cron'\ncron.database_name = 'ow_base'\n";
    let machine = TestMachine::on(Server::start_configured(conf));
    assert_eq!(machine.dbname(), "ow_base");
    Some(machine)
}

fn launcher(machine: &TestMachine) -> String {
    let sql = "select count(*) from pg_stat_activity where backend_type = 'pg_cron launcher' \
               and datname = 'ow_base'";
    machine.server().psql("postgres", sql)
}

/// A machine whose role owns all of the application and may not create databases.
pub fn of_a_plain_role() -> TestMachine {
    given_to_a_plain_role(TestMachine::new())
}

/// Gives the first database of a machine to such a role.
pub fn given_to_a_plain_role(machine: TestMachine) -> TestMachine {
    let role = format!("plain_{}", machine.dbname());
    machine.sql(&format!("create role {role} login"));
    own(&machine, machine.dbname(), &role);
    machine.with_unit("openwatch.service", "inactive").role(&role)
}

/// Gives a database and all that the application has in it to a role.
pub fn own(machine: &TestMachine, dbname: &str, role: &str) {
    machine.sql(&format!("alter database {dbname} owner to {role}"));
    machine.server().psql(
        dbname,
        &format!(
            "do $$ declare t text; begin alter schema public owner to {role}; \
             for t in select format('%I', tablename) from pg_tables where schemaname = 'public' \
             loop execute 'alter table ' || t || ' owner to {role}'; end loop; end $$"
        ),
    );
}

/// The newest point brings the data back, and the run says so in these words.
pub fn comes_back(machine: &TestMachine, before: &[String], words: &str) {
    let said = told(&machine.run(["restore", "latest", "--yes"]).success());
    assert!(said.contains(words), "{said}");
    assert_eq!(machine.data(), before);
}

/// A role that may not create databases replaces what is there; of a superuser's that is all.
#[test]
fn jobs_of_an_extension_that_one_database_may_have_come_back_in_place() {
    let Some(machine) = with_jobs() else { return };
    let machine = machine.with_unit("openwatch.service", "inactive");
    for sql in [
        "create extension pg_cron",
        "create foreign data wrapper own",
        "create server other foreign data wrapper own",
        "create function no_drops() returns event_trigger language plpgsql as \
         $$ begin raise 'nothing is dropped here'; end $$",
        "select cron.schedule('nightly', '0 3 1 1 *', 'select 1')",
        "create event trigger watch on sql_drop execute function no_drops()",
    ] {
        machine.sql(sql);
    }
    machine.run(["backup", "create"]).success();
    let told = told(&machine.run(["backup", "verify", "--restore", "latest"]).code(5));
    assert!(told.contains("pg_cron can be created in one database"), "{told}");
    let before = machine.data();
    machine.sql("select cron.unschedule('nightly')");
    machine.sql("select cron.schedule('later', '0 4 1 1 *', 'select 2')");
    machine.sql("insert into machines values (9001, 'added since')");
    machine.run(["restore", "latest", "--yes"]).success();
    assert_eq!(machine.sql("select string_agg(jobname, ' ') from cron.job"), "nightly");
    assert_eq!(machine.data(), before);
}

/// That of pg_cron 1.4 does not come back before the server is started again.
#[test]
fn a_worker_of_an_extension_is_ended_for_a_restore_and_told_and_never_for_a_clone() {
    let Some(machine) = with_jobs() else { return };
    let before = machine.data();
    wait_for("the worker", || launcher(&machine) == "1");
    let machine = machine.ship("good").operator("restore_point = \"clone\"");
    let (_, found) = machine.json(["preflight"]);
    assert!(found.to_string().contains("no clone can be made"), "{found}");
    assert!(found.to_string().contains("keeps ow_base in use"), "{found}");
    machine.run(["backup", "create"]).success();
    machine.sql("insert into machines values (9001, 'added since')");
    let machine = machine.with_unit("openwatch.service", "inactive");
    comes_back(&machine, &before, "ended pg_cron scheduler");
}

/// A partitioned table depends on the columns of its own key.
#[test]
fn in_place_a_partitioned_table_and_a_foreign_server_are_replaced() {
    let machine = of_a_plain_role();
    let role = format!("plain_{}", machine.dbname());
    machine.sql("create extension postgres_fdw");
    machine.sql(&format!("grant usage on foreign data wrapper postgres_fdw to {role}"));
    machine.sql(&format!(
        "set role {role}; create server other foreign data wrapper postgres_fdw; \
         create table parted (id int, at date) partition by range (at); \
         create table parted_1 partition of parted for values from ('2026-01-01') to ('2027-01-01'); \
         insert into parted values (1, '2026-05-05')"
    ));
    machine.run(["backup", "create"]).success();
    let before = machine.data();
    machine.sql("insert into parted values (2, '2026-05-06')");
    comes_back(&machine, &before, "restoring in place");
}

/// The same upgrade that makes the restore point may bring the newer extension; a load makes that one.
#[test]
fn a_table_that_a_newer_version_of_an_extension_keeps_or_no_longer_keeps_fails_no_comparison() {
    let machine = TestMachine::new();
    // What `pg_extension_config_dump` does.
    for sql in [
        "create extension tcn",
        "create table kept (id int)",
        "create table once (id int)",
        "alter extension tcn add table kept",
        "alter extension tcn add table once",
        "update pg_extension set extconfig = array['kept'::regclass::oid], extcondition = '{\"\"}'
          where extname = 'tcn'",
    ] {
        machine.sql(sql);
    }
    let database = database(machine.server(), machine.dbname(), "postgres");
    let own = ["machines", "readings", "openwatch_schema_history"];
    let dumped = |more: &[&str]| -> Vec<(String, RowCount)> {
        let tables = own.iter().chain(more).map(|table| format!("public.{table}"));
        tables.map(|table| (table, RowCount::Estimate(0))).collect()
    };
    compare(&database, &dumped(&[]), &[]).unwrap();
    compare(&database, &dumped(&["once"]), &[]).unwrap();
    // Of its own tables none may be missing, or be there that was not.
    let error = compare(&database, &dumped(&["gone"]), &[]).unwrap_err();
    assert_eq!(details(&error), "public.gone is missing");
    machine.sql("create table added (id int)");
    let error = compare(&database, &dumped(&["kept"]), &[]).unwrap_err();
    assert_eq!(details(&error), "public.added was not in the dump");
}
