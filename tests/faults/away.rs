//! Servers that go away in the middle of a run: without a word, stopped, restarted.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::support::machine::{TestMachine, parse_message};
use super::support::network::Host;
use super::support::postgres::{Server, wait_for};
use super::{code, ended, kill_9};

/// Peers that ask each other for a sign of life after a second, so that a test can wait for it.
const IMPATIENT: &str = "keepalives_idle=1 keepalives_interval=1 keepalives_count=2 \
                         tcp_user_timeout=3000 connect_timeout=2";

/// A machine whose database is on another host, with a migration that takes long.
fn over_a_wire(sql: &str) -> (TestMachine, Host, TestMachine) {
    let host = Host::new();
    let (server, password) = Server::start_networked("");
    let port = server.port();
    let here = TestMachine::on(server).without_systemd();
    let dsn = format!(
        "host={} port={port} dbname={} user=runner password='{password}' {IMPATIENT}",
        host.way_out(),
        here.dbname()
    );
    let there = TestMachine::beside(&here)
        .without_systemd()
        .operator("auto_backup = false")
        .migration("0003_slow.sql", sql)
        .dsn(&dsn)
        .within(&host.run_as("host-a"));
    (here, host, there)
}

const RUNS: &str = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
const LOCKED: &str = "select count(*) from pg_locks where locktype = 'advisory' and granted";

fn wait_until_it_runs(machine: &TestMachine) {
    wait_for("the migration runs", || machine.sql(RUNS) == "1");
}

/// Rows 40 and 41.
#[test]
fn a_line_that_is_dead_without_a_word_ends_the_run_in_time_and_says_so() {
    let (here, host, there) = over_a_wire("create table slow (); select pg_sleep(600);");
    let before = here.data();
    let mut run = there.spawn(["migrate"]);
    wait_until_it_runs(&here);
    host.unplug();
    let status = ended(&mut run, Duration::from_secs(60));
    assert_eq!(status.code(), Some(7), "{}", there.said());
    let told = parse_message(&there.said());
    assert!(told.detail.contains("connection lost"), "{told:?}");
    assert!(told.state.contains("could not be looked at"), "{told:?}");
    // At the other end the lock does not stay with the dead.
    wait_for("the server has given it up", || here.sql(LOCKED) == "0" && here.sql(RUNS) == "0");
    assert_eq!(here.data(), before);
    host.plug();
    let there = there.migration("0003_slow.sql", "create table slow ();");
    there.run(["migrate"]).success();
}

/// Rows 41 and 69.
#[test]
fn the_lock_of_a_host_that_lost_its_power_is_free_within_a_bound() {
    let (here, host, there) = over_a_wire("create table slow (); select pg_sleep(600);");
    let mut run = there.spawn(["migrate"]);
    wait_until_it_runs(&here);
    // Without the wire not even the kernel of that host can say goodbye.
    host.unplug();
    kill_9(&mut run);
    wait_for("the lock is free", || here.sql(LOCKED) == "0" && here.sql(RUNS) == "0");
    let here = here.operator("auto_backup = false").migration("0003_slow.sql", "select 1;");
    here.run(["migrate"]).success();
    assert_eq!(here.schema(), "0003");
}

/// Sends a signal to all processes of a server.
fn to_all(server: &Server, signal: Signal) {
    let postmaster = server.postmaster();
    let children =
        std::fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap();
    let children = children.split_whitespace().map(|pid| pid.parse().unwrap());
    for pid in std::iter::once(postmaster).chain(children) {
        // One may have ended by itself meanwhile.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// A server that stands still until this is dropped, also by a test that fails.
struct Still<'a>(&'a Server);

impl<'a> Still<'a> {
    fn keep(server: &'a Server) -> Self {
        to_all(server, Signal::SIGSTOP);
        Self(server)
    }
}

impl Drop for Still<'_> {
    fn drop(&mut self) {
        to_all(self.0, Signal::SIGCONT);
    }
}

/// Rows 40 and 89.
#[test]
fn a_server_that_stands_still_is_waited_for_and_that_is_said() {
    let machine = TestMachine::with_own_server()
        .without_systemd()
        .operator("auto_backup = false")
        .migration("0003_slow.sql", "create table slow (); select pg_sleep(1);");
    let mut run = machine.spawn(["migrate"]);
    wait_until_it_runs(&machine);
    let still = Still::keep(machine.server());
    wait_for("the silence is told", || {
        machine.said().contains("warning: the server has not answered for 1.0 s")
    });
    drop(still);
    assert_eq!(code(&mut run), 0, "{}", machine.said());
    assert_eq!(machine.schema(), "0003");
}

/// Rows 1 and 40.
#[test]
fn a_server_restarted_in_the_middle_leaves_the_old_data_and_the_next_run_finishes() {
    let machine = TestMachine::with_own_server()
        .without_systemd()
        .operator_without("database_wait")
        .operator("database_wait = \"30s\"")
        .operator("auto_backup = false")
        .migration("0003_slow.sql", "create table slow (); select pg_sleep(600);");
    let before = machine.data();
    let mut run = machine.spawn(["migrate"]);
    wait_until_it_runs(&machine);
    machine.server().down();
    machine.server().up();
    assert_eq!(code(&mut run), 7);
    let told = parse_message(&machine.said());
    assert!(told.state.contains("is as before, at schema 0002"), "{told:?}");
    assert_eq!(machine.data(), before);
    machine.migration("0003_slow.sql", "create table slow ();").run(["migrate"]).success();
}
