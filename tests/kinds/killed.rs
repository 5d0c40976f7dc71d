//! Runs that are killed while a clone is made, dumped or put back: afterwards the data is the old or
//! the new, and one more run clears away what is left and finishes.

use std::process::Child;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::support::machine::TestMachine;
use super::support::postgres::wait_for;
use super::{Beside, clones, cloning, databases};

fn kill_it(mut run: Child) {
    kill(Pid::from_raw(i32::try_from(run.id()).unwrap()), Signal::SIGKILL).unwrap();
    run.wait().unwrap();
}

/// Holds a lock that every statement waits for which makes, renames or drops a database.
fn lock_list_of_databases(machine: &TestMachine) -> Beside {
    let holder = Beside::run(
        machine,
        "postgres",
        "beside",
        "begin; lock table pg_database in share row exclusive mode; select pg_sleep(600)",
    );
    wait_for("the lock", || {
        machine.server().psql(
            "postgres",
            "select count(*) from pg_stat_activity where application_name = 'beside' \
             and wait_event = 'PgSleep'",
        ) == "1"
    });
    holder
}

/// A machine on a server of its own: what is locked here is locked for the whole server.
fn own_server() -> TestMachine {
    TestMachine::with_own_server().operator("restore_point = \"clone\"").ship("good")
}

/// The statement that copies waits for a lock on the list of databases.
#[test]
fn killed_while_the_clone_is_made_the_next_run_drops_what_is_left() {
    let machine = own_server();
    let old = machine.data();
    let holder = lock_list_of_databases(&machine);
    let run = machine.spawn(["upgrade"]);
    wait_for("the statement that copies", || {
        machine.server().psql(
            "postgres",
            "select count(*) from pg_stat_activity where query like 'create database%' \
             and wait_event_type = 'Lock'",
        ) == "1"
    });
    assert_eq!(machine.journal()["clones"].as_array().unwrap().len(), 1);
    kill_it(run);
    holder.end(&machine);
    // The server goes on without us.
    wait_for("the end of the statement", || {
        machine.server().psql(
            "postgres",
            "select count(*) from pg_stat_activity where query like 'create database%' \
             and state = 'active'",
        ) == "0"
    });
    assert_eq!(machine.data(), old);
    assert_eq!(clones(&machine).len(), 1);
    assert!(machine.mark().exists());
    machine.run(["upgrade"]).success();
    assert_eq!((machine.schema(), clones(&machine)), ("0004".into(), Vec::new()));
    assert_eq!(machine.points().len(), 1);
    machine.assert_clean();
}

#[test]
fn killed_in_a_migration_the_clone_is_the_way_back_and_is_kept() {
    let machine = cloning()
        .migration("0003_alone.sql", "-- openwatch: no-transaction\nCREATE TABLE half (id int);\n")
        .migration("0004_sleeps.sql", "SELECT pg_sleep(600);\n");
    let old = machine.data();
    let run = machine.spawn(["upgrade"]);
    wait_for("the migration", || {
        machine.sql(
            "select count(*) from pg_stat_activity where wait_event = 'PgSleep' \
                     and datname = current_database()",
        ) == "1"
    });
    kill_it(run);
    wait_for("the end of the session", || {
        machine
            .sql(
                "select pg_terminate_backend(pid) from pg_stat_activity \
                     where wait_event = 'PgSleep' and datname = current_database()",
            )
            .is_empty()
    });
    assert_eq!(clones(&machine).len(), 1);
    machine.run(["backup", "prune"]).success();
    assert_eq!(clones(&machine).len(), 1, "what an interrupted run needs stays");
    let id = machine.points().remove(0);
    machine.run(["restore", &id, "--yes"]).success();
    assert_eq!(machine.data(), old);
    assert_eq!((clones(&machine), machine.points()), (Vec::new(), Vec::new()));
}

/// The dump of the clone waits for a lock on one of its tables.
#[test]
fn killed_while_the_clone_is_dumped_the_upgrade_stands_and_the_dump_is_made_later() {
    let machine = own_server();
    // From the start of the unit on, somebody holds a table of the clone.
    let psql = machine.server().bin().join("psql");
    let (psql, dsn) = (psql.display(), machine.server().conninfo("postgres"));
    let on = machine.server().conninfo("$clone");
    let script = format!(
        "clone=$({psql} -X -A -t -d '{dsn}' -c \"select datname from pg_database where datname like '%\\_clone\\_%'\")
         {psql} -X -q -d '{dsn}' -c \"alter database \\\"$clone\\\" allow_connections true\"
         {psql} -X -q -d \"{on} application_name=beside\" \
           -c 'begin; lock table readings; select pg_sleep(600)' >/dev/null 2>&1 &
         while [ \"$({psql} -X -A -t -d '{dsn}' -c \"select count(*) from pg_stat_activity \
           where application_name = 'beside' and wait_event = 'PgSleep'\")\" != 1 ]; do sleep 0.05; done"
    );
    let machine = machine.with_hook("start", "openwatch.service", &script);
    let run = machine.spawn(["upgrade"]);
    wait_for("the end of the run's own work", || machine.journal()["outcome"] == "ok");
    wait_for("a look at the clone that waits", || {
        machine.server().psql(
            "postgres",
            "select count(*) from pg_stat_activity where datname like '%\\_clone\\_%' \
             and wait_event_type = 'Lock'",
        ) != "0"
    });
    kill_it(run);
    machine.server().psql(
        "postgres",
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'beside'",
    );
    assert_eq!(
        (machine.schema(), machine.unit("openwatch.service")),
        ("0004".into(), "active".into())
    );
    assert_eq!(clones(&machine).len(), 1);
    machine.run(["backup", "prune"]).success();
    assert_eq!(clones(&machine), [""; 0]);
    let (_, list) = machine.json(["backup", "list"]);
    let good = list["restore_points"].as_array().unwrap().iter().filter(|p| p["state"] == "good");
    assert_eq!(good.map(|p| p["kind"].clone()).collect::<Vec<_>>(), ["dump"], "{list}");
    machine.run(["backup", "verify", "latest"]).success();
}

/// Both renames are one transaction, which waits for a lock on the list of databases.
/// Row 53.
#[test]
fn killed_while_going_back_the_data_is_the_new_or_the_old() {
    let machine =
        own_server().migration("0005_divides.sql", "-- openwatch: no-transaction\nSELECT 1 / 0;\n");
    let old = machine.data();
    machine.run(["upgrade"]).code(7);
    let new = machine.data();
    assert_ne!(old, new);
    let id = machine.points().remove(0);
    let holder = lock_list_of_databases(&machine);
    let run = machine.spawn(["restore", &id, "--yes"]);
    wait_for("a statement that waits", || {
        machine.server().psql(
            "postgres",
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' \
             and backend_type = 'client backend'",
        ) != "0"
    });
    kill_it(run);
    holder.end(&machine);
    wait_for("the end of the session", || {
        machine.server().psql(
            "postgres",
            "select count(*) from pg_stat_activity where state = 'active' and pid <> pg_backend_pid() \
             and backend_type = 'client backend'",
        ) == "0"
    });
    let now = machine.data();
    assert!(now == new || now == old);
    if clones(&machine).is_empty() {
        assert_eq!(now, old);
    } else {
        machine.run(["restore", &id, "--yes"]).success();
        assert_eq!(machine.data(), old);
    }
    assert!(databases(&machine).iter().any(|name| name.contains("_replaced_")));
}
