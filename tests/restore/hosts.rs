//! Two hosts with one database: nobody puts data back while another migrates, and nobody migrates
//! while another puts data back.

use std::process::Child;

use super::support::machine::{TestMachine, message};
use super::support::postgres::wait_for;

/// Waits until a session of this application does something, as the server says.
fn wait_in(machine: &TestMachine, what: &str, condition: &str) {
    wait_for(what, || {
        let server = machine.server();
        server.psql("postgres", &format!("select exists (select {condition})")) == "t"
    });
}

fn ended(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A table whose rows can be written only while this database is not there: a restore of it stays
/// where it is for as long as the test wants.
fn gate(machine: &TestMachine) -> String {
    let name = format!("hold_{}", machine.dbname());
    machine.sql(&format!(
        "create function public.passes(i int) returns boolean language plpgsql as $$ begin \
           while exists (select from pg_catalog.pg_database where datname = '{name}') loop \
             perform pg_catalog.pg_sleep(0.05); \
           end loop; return true; end $$; \
         create table gated (i int check (public.passes(i))); insert into gated values (1)"
    ));
    name
}

/// Row 41.
#[test]
fn another_host_does_not_migrate_while_data_is_put_back() {
    let machine = TestMachine::new();
    let gate = gate(&machine);
    machine.run(["backup", "create"]).success();
    machine.sql("insert into machines values (1000, 'written since')");
    let other =
        TestMachine::beside(&machine).ship("good").with_unit("openwatch.service", "inactive");
    machine.server().psql("postgres", &format!("create database {gate}"));
    let machine = machine.with_unit("openwatch.service", "inactive");
    let restore = machine.spawn(["restore", "latest", "--no-copy", "--yes"]);
    let loading = format!(
        "from pg_stat_activity where datname like '{}_restoring_%' and query like 'COPY public.gated%'",
        machine.dbname()
    );
    wait_in(&machine, "the data is loaded", &loading);

    let told = message(&other.run(["migrate"]).code(75));
    assert!(told.first.starts_with("another run holds the lock of "), "{told:?}");
    assert!(told.detail.contains("openwatch restore, pid "), "{told:?}");
    assert!(told.state.contains("changed nothing"), "{told:?}");

    machine.server().psql("postgres", &format!("drop database {gate}"));
    let (code, said) = ended(restore);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(machine.sql("select count(*) from machines"), "50");
    other.run(["migrate"]).success();
}

/// Row 41.
#[test]
fn data_is_not_put_back_while_another_host_migrates() {
    let machine = TestMachine::new();
    machine.run(["backup", "create"]).success();
    let machine = machine.with_unit("openwatch.service", "inactive");
    let gate = gate(&machine);
    let other = TestMachine::beside(&machine)
        .migration("0003_gated.sql", "insert into gated values (2);")
        .with_unit("openwatch.service", "inactive");
    machine.server().psql("postgres", &format!("create database {gate}"));
    let migrating = other.spawn(["migrate"]);
    let waits = format!(
        "from pg_stat_activity where datname = '{}' and query like '%insert into gated values (2)%' \
           and state = 'active'",
        machine.dbname()
    );
    wait_in(&machine, "the other host migrates", &waits);
    let before = machine.points();

    let told = message(&machine.run(["restore", "latest", "--yes"]).code(75));
    assert!(told.first.starts_with("another run holds the lock of "), "{told:?}");
    assert!(told.detail.contains("openwatch upgrade, pid "), "{told:?}");
    assert_eq!(machine.points(), before);

    machine.server().psql("postgres", &format!("drop database {gate}"));
    let (code, said) = ended(migrating);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(other.schema(), "0003");
    machine.run(["restore", "latest", "--yes"]).success();
}
