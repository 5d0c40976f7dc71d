//! What an interrupted upgrade leaves, and the ways from there: on, back, by itself or by a person's
//! word. The shipped program, killed and asked to stop; real databases.

#![allow(unreachable_pub, reason = "the shared support module is public to every test binary")]

#[path = "../support/mod.rs"]
mod support;

mod again;
mod back;
mod chain;
mod changed;
mod put_off;
mod replaced;
mod stopped;
mod written;

use std::process::Child;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::machine::TestMachine;
use support::postgres::wait_for;

/// Two migrations: the first stays when the second is cut off, and the second sleeps for as long as
/// [`wake_up`] was not called.
fn sleeping(machine: TestMachine) -> TestMachine {
    let machine = machine
        .migration("0003_alone.sql", "-- openwatch: no-transaction\nCREATE TABLE half (id int);\n")
        .migration(
            "0004_sleeps.sql",
            "CREATE TABLE whole (id int);\n\
             SELECT pg_sleep(600) WHERE EXISTS (SELECT FROM machines WHERE id = 1000);\n",
        );
    machine.sql("insert into machines values (1000, 'sleep')");
    machine
}

fn wake_up(machine: &TestMachine) {
    machine.sql("delete from machines where id = 1000");
}

/// Runs an upgrade and kills it inside the second migration.
fn killed_half_way(machine: &TestMachine, words: &[&str]) {
    let run = machine.spawn(words.iter().copied());
    wait_for("the migration that sleeps", || asleep(machine) == "1");
    kill_it(run);
    end_sleepers(machine);
}

fn asleep(machine: &TestMachine) -> String {
    machine.sql(
        "select count(*) from pg_stat_activity where wait_event = 'PgSleep' \
         and datname = current_database()",
    )
}

/// The server goes on without us until it notices.
fn end_sleepers(machine: &TestMachine) {
    wait_for("the end of the session", || {
        machine
            .sql(
                "select pg_terminate_backend(pid) from pg_stat_activity \
                 where wait_event = 'PgSleep' and datname = current_database()",
            )
            .is_empty()
    });
}

fn kill_it(mut run: Child) {
    signal(&run, Signal::SIGKILL);
    run.wait().unwrap();
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

/// A package of before: version and migrations.
fn install_old(machine: TestMachine) -> TestMachine {
    for file in ["0003_alone.sql", "0004_sleeps.sql"] {
        std::fs::remove_file(machine.migrations("main").join(file)).unwrap();
    }
    machine.version("1.0.0-1")
}

/// What the run is in the journal's last record.
fn last(machine: &TestMachine, key: &str) -> serde_json::Value {
    machine.journal()[key].clone()
}
