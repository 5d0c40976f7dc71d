//! Logical replication belongs to a database and not to its name: what does not follow a restore is told
//! with the way to mend it, and hinders nothing.

use std::process::{Child, Stdio};

use super::support::machine::TestMachine;
use super::support::postgres::{Server, wait_for};
use super::told;

/// The names of replaced databases.
const REPLACED: &str = "select datname from pg_database where datname like '%_replaced_%'";

/// A machine whose server can send and receive changes, with a restore point.
fn machine() -> TestMachine {
    let server =
        Server::start_configured("wal_level = logical\nwal_retrieve_retry_interval = '100ms'\n");
    let machine = TestMachine::on(server).with_unit("openwatch.service", "inactive");
    machine.server().psql(machine.dbname(), "create table news (id integer primary key)");
    machine
}

/// Fills table `news` of the application from a database `source` of the same server.
fn subscribe(machine: &TestMachine) {
    let (server, app) = (machine.server(), machine.dbname());
    server.database("source");
    for sql in [
        "create table news (id integer primary key)",
        "insert into news values (1)",
        "create publication news for table news",
        "select pg_create_logical_replication_slot('news', 'pgoutput')",
    ] {
        server.psql("source", sql);
    }
    let source = server.conninfo("source").replace('\'', "''");
    // On one server the slot must be there before.
    server.psql(
        app,
        &format!(
            "create subscription news connection '{source}' publication news \
             with (create_slot = false, slot_name = 'news')"
        ),
    );
    wait_for("the first row", || server.psql(app, "select count(*) from news") == "1");
}

/// A machine whose database with a subscription was replaced so long ago that it goes; with its name.
fn replaced_long_ago() -> (TestMachine, String) {
    let machine = machine();
    subscribe(&machine);
    let (server, app) = (machine.server(), machine.dbname());
    machine.run(["backup", "create"]).success();
    machine.run(["restore", "latest", "--yes", "--no-copy"]).success();
    let old = format!("{app}_replaced_20200101T000000Z");
    let now = server.psql("postgres", REPLACED);
    server.psql("postgres", &format!("alter database \"{now}\" rename to \"{old}\""));
    (machine, old)
}

fn subscriptions(server: &Server) -> String {
    server.psql(
        "postgres",
        "select regexp_replace(datname, '_[0-9]{8}T.*', ''), subname, subenabled \
         from pg_subscription join pg_database d on d.oid = subdbid order by 1",
    )
}

/// Reads a slot of the application's database until it is ended.
fn reader(machine: &TestMachine) -> Child {
    let server = machine.server();
    let child = std::process::Command::new(server.bin().join("pg_recvlogical"))
        .args(["--start", "--slot", "cdc", "--no-loop", "-f", "/dev/null", "-U", "postgres", "-d"])
        .arg(machine.dbname())
        .arg("-h")
        .arg(server.socket())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the reader", || {
        server.psql("postgres", "select active from pg_replication_slots where slot_name = 'cdc'")
            == "t"
    });
    child
}

#[test]
fn a_database_that_a_subscription_fills_is_restored_and_the_former_one_takes_nothing_more() {
    let machine = machine();
    subscribe(&machine);
    let (server, app) = (machine.server(), machine.dbname());
    machine.run(["backup", "create"]).success();
    server.psql("source", "insert into news values (2)");
    wait_for("the second row", || server.psql(app, "select count(*) from news") == "2");
    let said = told(&machine.run(["restore", "latest"]).code(5));
    assert!(said.contains("left behind: subscription news"), "{said}");
    let done = told(&machine.run(["restore", "latest", "--yes"]).success());
    assert!(done.contains("subscription news does not fill the database any more"), "{done}");
    assert!(done.contains("`ALTER SUBSCRIPTION \"news\" ENABLE`"), "{done}");
    assert_eq!(server.psql(app, "select count(*) from news"), "1");
    let both = format!("{app}|news|f\n{app}_replaced|news|f");
    assert_eq!(subscriptions(server), both);
    // As it is told: enabled again, it goes on with what comes.
    server.psql(app, "alter subscription news enable");
    server.psql(app, "alter subscription news refresh publication with (copy_data = false)");
    server.psql("source", "insert into news values (3)");
    wait_for("the third row", || server.psql(app, "select count(*) from news where id = 3") == "1");
}

#[test]
fn a_replaced_database_with_a_subscription_is_pruned_and_the_publisher_keeps_its_slot() {
    let (machine, _) = replaced_long_ago();
    let (server, app) = (machine.server(), machine.dbname());
    machine.run(["backup", "prune"]).success();
    assert_eq!(server.psql("postgres", REPLACED), "");
    assert_eq!(subscriptions(server), format!("{app}|news|f"));
    let slot = "select slot_name, database from pg_replication_slots";
    assert_eq!(server.psql("postgres", slot), "news|source");
}

/// A kill between the exchange of the names and the end of the former subscription leaves this behind.
#[test]
fn a_replaced_database_that_a_subscription_still_fills_is_pruned() {
    let (machine, old) = replaced_long_ago();
    let (server, app) = (machine.server(), machine.dbname());
    server.psql(&old, "alter subscription news enable");
    wait_for("the worker", || {
        let workers =
            "select count(*) from pg_stat_activity where backend_type like 'logical%worker'";
        server.psql("postgres", &format!("{workers} and datname = '{old}'")) == "1"
    });
    machine.run(["backup", "prune"]).success();
    assert_eq!(server.psql("postgres", REPLACED), "");
    assert_eq!(subscriptions(server), format!("{app}|news|f"));
}

#[test]
fn a_reader_of_changes_is_ended_and_its_slot_is_told_with_what_drops_it() {
    let machine = machine().migration("0003_more.sql", "create table more (id integer);\n");
    let (server, app) = (machine.server(), machine.dbname());
    server.psql(app, "select pg_create_logical_replication_slot('cdc', 'test_decoding')");
    let mut reader = reader(&machine);
    machine.run(["backup", "create"]).success();
    let (_, foreseen) = machine.json(["preflight"]);
    assert!(foreseen.to_string().contains("leaves out: replication slot cdc"), "{foreseen}");
    let done = told(&machine.run(["restore", "latest", "--yes"]).success());
    reader.wait().unwrap();
    assert!(done.contains("left behind: replication slot cdc"), "{done}");
    let command = "SELECT pg_drop_replication_slot('cdc')";
    assert!(done.contains(&format!("keeps write-ahead log until `{command}`")), "{done}");
    server.psql("postgres", command);
}

#[test]
fn a_subscription_that_our_role_may_not_stop_refuses_a_restore_before_anything_is_loaded() {
    let machine = machine();
    subscribe(&machine);
    let (server, app) = (machine.server(), machine.dbname());
    server.psql("postgres", "create role plain login createdb");
    server.psql("postgres", &format!("alter database {app} owner to plain"));
    // The subscription stays with the superuser who made it.
    server.psql(
        app,
        "do $$ declare t text; begin alter schema public owner to plain; \
         for t in select format('%I', tablename) from pg_tables where schemaname = 'public' \
         loop execute 'alter table ' || t || ' owner to plain'; end loop; end $$",
    );
    let machine = machine.role("plain");
    machine.run(["backup", "create"]).success();
    let before = machine.data();
    let said = told(&machine.run(["restore", "latest", "--yes"]).code(5));
    assert!(said.contains("subscription news fills database"), "{said}");
    assert!(said.contains("`ALTER SUBSCRIPTION \"news\" DISABLE`"), "{said}");
    assert!(said.contains("nothing was changed"), "{said}");
    assert_eq!(machine.data(), before);
    let beside = "select count(*) from pg_database where datname like '%_restoring_%'";
    assert_eq!(machine.server().psql("postgres", beside), "0");
}

#[test]
fn no_clone_is_made_of_a_database_that_a_subscription_keeps_in_use() {
    let machine = machine().operator("restore_point = \"clone\"");
    subscribe(&machine);
    let machine = machine.migration("0003_more.sql", "create table more (id integer);\n");
    let said = told(&machine.run(["upgrade"]).success());
    assert!(said.contains("worker of a subscription"), "{said}");
    let (_, listed) = machine.json(["backup", "list"]);
    assert_eq!(listed["restore_points"][0]["kind"], "dump", "{listed}");
}
