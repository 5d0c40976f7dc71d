//! Several runners on one database, on this host and on others.

use std::process::Child;

use openwatch::database::{Database, Source};

use super::support::machine::{TestMachine, parse_message};
use super::support::network::Host;
use super::support::postgres::{Server, wait_for};
use super::{code, kill_9};

/// Migrations that show how often they ran, one of them outside a transaction.
fn counting(machine: TestMachine) -> TestMachine {
    machine
        .migration("0003_ran.sql", "create table ran (what text);")
        .migration("0004_once.sql", "insert into ran values ('0004');")
        .migration(
            "0005_index.sql",
            "-- openwatch: no-transaction\ncreate index concurrently ran_i on ran (what)",
        )
        .migration("0006_once.sql", "insert into ran values ('0006');")
}

/// Machines on two hosts, turn about, all on the database of the first.
fn on_two_hosts(count: usize, ship: impl Fn(TestMachine) -> TestMachine) -> Hosts {
    let hosts = [Host::new(), Host::new()];
    let (server, password) = Server::start_networked("");
    let port = server.port();
    let first = TestMachine::on(server);
    let dbname = first.dbname().to_owned();
    let machines = (0..count)
        .map(|n| {
            let host = &hosts[n % 2];
            let name = ["host-a", "host-b"][n % 2];
            let dsn = format!(
                "host={} port={port} dbname={dbname} user=runner password='{password}'",
                host.way_out()
            );
            ship(TestMachine::beside(&first).without_systemd())
                .operator("auto_backup = false")
                .dsn(&dsn)
                .within(&host.run_as(name))
        })
        .collect();
    Hosts { first, machines, hosts }
}

struct Hosts {
    first: TestMachine,
    machines: Vec<TestMachine>,
    hosts: [Host; 2],
}

fn versions(machine: &TestMachine) -> String {
    machine.sql("select string_agg(version || ' ' || state, ',' order by version) from openwatch_schema_history")
}

/// Row 41.
#[test]
fn ten_runners_on_two_hosts_apply_each_migration_exactly_once() {
    let all = on_two_hosts(10, counting);
    let mut runs: Vec<Child> = all.machines.iter().map(|m| m.spawn(["migrate"])).collect();
    let codes: Vec<i32> = runs.iter_mut().map(code).collect();
    for (code, machine) in codes.iter().zip(&all.machines) {
        let said = machine.said();
        // Done by it, found done, or told who is at it.
        assert!([0, 75].contains(code), "exit {code}: {said}");
        let busy = said.contains("openwatch upgrade, pid") && said.contains(" on host-");
        assert!(*code == 0 || busy, "{said}");
    }
    assert!(codes.contains(&0), "{codes:?}");
    // Each run claims what it did itself, and no other.
    let claim = |machine: &&TestMachine| machine.said().contains("applying ");
    assert_eq!(all.machines.iter().filter(claim).count(), 1);
    assert_eq!(all.first.sql("select string_agg(what, ',' order by what) from ran"), "0004,0006");
    let done = "0001 applied,0002 applied,0003 applied,0004 applied,0005 applied,0006 applied";
    assert_eq!(versions(&all.first), done);
}

/// Row 41.
/// A run that ends drops its table of progress: between the question whether it is there, and the look.
#[test]
fn a_look_at_the_end_of_another_run_does_not_miss_the_table_that_it_takes_away() {
    let machine = TestMachine::new().without_systemd();
    machine.sql("create table openwatch_migration_progress ()");
    let conninfo = machine.server().conninfo(machine.dbname());
    let source = Source { name: "main".into(), conninfo: Some(conninfo), ..Source::default() };
    let mut other = Database::resolve(&source).unwrap().connect().unwrap();
    other.run("begin; lock table openwatch_migration_progress").unwrap();
    let mut look = machine.spawn(["migrate", "--status"]);
    let waits = "select count(*) from pg_locks where not granted \
                 and relation = 'openwatch_migration_progress'::regclass";
    wait_for("the look waits", || machine.sql(waits) == "1");
    other.run("drop table openwatch_migration_progress; commit").unwrap();
    assert_eq!(code(&mut look), 0, "{}", machine.said());
}

/// Rows 41 and 69.
#[test]
fn the_loser_names_the_holder_and_where_it_runs_and_once_it_is_killed_goes_on() {
    let all = on_two_hosts(2, |machine| {
        machine.migration("0003_slow.sql", "create table slow (); select pg_sleep(600);")
    });
    let [one, two] = all.machines.as_slice() else { unreachable!() };
    let mut holder = one.spawn(["migrate"]);
    wait_for("the migration runs", || {
        all.first.sql("select count(*) from pg_stat_activity where wait_event = 'PgSleep'") == "1"
    });
    let mut loser = two.spawn(["migrate"]);
    assert_eq!(code(&mut loser), 75);
    let told = parse_message(&two.said());
    assert!(told.first.starts_with("another run holds the lock of database "), "{told:?}");
    let from = all.hosts[0].way_out().rsplit_once('.').unwrap().0.to_owned();
    for part in ["openwatch upgrade, pid ", " on host-a", "user runner", &format!("from {from}.")] {
        assert!(told.detail.contains(part), "{part}: {told:?}");
    }
    assert_eq!(told.state, "this run changed nothing");

    // The killed program says goodbye to nobody; its kernel does, and the server looks every second.
    kill_9(&mut holder);
    let held = "select count(*) from pg_locks where locktype = 'advisory' and granted";
    wait_for("the lock is free", || all.first.sql(held) == "0");
    let two = all
        .machines
        .into_iter()
        .nth(1)
        .unwrap()
        .migration("0003_slow.sql", "create table slow ();");
    two.run(["migrate"]).success();
    assert_eq!(two.schema(), "0003");
}
