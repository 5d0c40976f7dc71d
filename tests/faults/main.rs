//! What goes wrong between the program, the server and others on the same database: the shipped
//! program, real servers, real networks. Each test names the rows of the failure catalogue it is
//! about; the messages are those that an operator reads.
//!
//! `OPENWATCH_TEST_PG=NN` runs all of it on that installed major.

#![allow(unreachable_pub, reason = "the shared support module is public to every test binary")]

#[path = "../support/mod.rs"]
mod support;

mod after;
mod away;
mod before;
mod cut;
mod locks;
mod masks;
mod pooler;
mod runners;
mod space;

use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::machine::TestMachine;
use support::postgres::wait_for;

/// A machine without units, on which `openwatch migrate` is the whole run.
fn plain() -> TestMachine {
    TestMachine::new().without_systemd()
}

/// Waits for a child; fails the test when it has not ended in time.
fn ended(child: &mut Child, within: Duration) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(start.elapsed() < within, "the program has not ended within {within:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn code(child: &mut Child) -> i32 {
    ended(child, Duration::from_secs(90)).code().expect("the program ended by itself")
}

fn kill_9(child: &mut Child) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
}

/// Waits until this holds in a database, asked by a superuser.
fn wait_in(machine: &TestMachine, what: &str, sql: &str) {
    wait_for(what, || machine.sql(sql) == "t");
}
