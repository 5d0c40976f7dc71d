//! One restore of a database that is restored in place and one that is exchanged: they cannot be one
//! transaction, so what one of them says of itself is not true of both.

use std::process::{Child, Command, Stdio};

use super::extensions::{given_to_a_plain_role, own};
use super::support::machine::{TestMachine, message};
use super::support::postgres::wait_for;

/// A stopped machine with a restore point of two databases: `main` has an extension that its role may not
/// make, `metrics` is exchanged. A row was added to each since.
fn divided() -> TestMachine {
    let machine = given_to_a_plain_role(TestMachine::with_databases(&["main", "metrics"]));
    let role = format!("plain_{}", machine.dbname());
    machine.sql(&format!("alter role {role} createdb"));
    own(&machine, machine.dbname_of("metrics"), &role);
    machine.sql("create extension postgres_fdw");
    machine.run(["backup", "create"]).success();
    for name in ["main", "metrics"] {
        let sql = "insert into machines values (9001, 'added since')";
        machine.server().psql(machine.dbname_of(name), sql);
    }
    machine
}

/// Whether the databases have the row that was added, in their order.
fn added(machine: &TestMachine) -> [bool; 2] {
    let sql = "select count(*) from machines where id = 9001";
    ["main", "metrics"].map(|name| machine.server().psql(machine.dbname_of(name), sql) == "1")
}

/// A superuser at a prompt, whom a plain role may not end; goes with the test.
struct Prompt(Child);

impl Prompt {
    fn open(machine: &TestMachine, name: &str, sql: &str) -> Self {
        let dbname = machine.dbname_of(name);
        let mut command: Command = machine.server().psql_command(dbname);
        command.args(["-c", &format!("{sql}; select pg_sleep(600)")]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for("the prompt", || waiting(machine, name, "wait_event = 'PgSleep'"));
        Self(child)
    }

    fn close(mut self, machine: &TestMachine, name: &str) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        machine.server().psql(
            machine.dbname_of(name),
            "select pg_terminate_backend(pid) from pg_stat_activity
              where wait_event = 'PgSleep' and datname = current_database()",
        );
    }
}

fn waiting(machine: &TestMachine, name: &str, what: &str) -> bool {
    let dbname = machine.dbname_of(name);
    let sql =
        format!("select count(*) from pg_stat_activity where datname = '{dbname}' and {what}");
    machine.server().psql("postgres", &sql) != "0"
}

#[test]
fn who_may_not_be_ended_refuses_before_anything_is_restored_in_place() {
    let machine = divided();
    let prompt = Prompt::open(&machine, "metrics", "select 1");
    let told = message(&machine.run(["restore", "latest", "--yes", "--no-copy"]).code(5));
    assert!(told.first.contains("other sessions are connected to"), "{told:?}");
    assert!(told.state.contains("the present data is untouched"), "{told:?}");
    assert_eq!(added(&machine), [true, true]);
    assert!(!machine.mark().exists(), "nothing was changed");
    prompt.close(&machine, "metrics");
}

#[test]
fn an_exchange_that_fails_after_a_restore_in_place_leaves_the_gate_shut_and_says_what_is_restored()
{
    let machine = divided();
    // What is restored in place waits for the lock; meanwhile somebody comes into the other one.
    let lock = Prompt::open(&machine, "main", "begin; lock table machines in access share mode");
    let run = machine.command(["restore", "latest", "--yes", "--no-copy"]);
    let run = { run }.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the restore in place", || waiting(&machine, "main", "wait_event_type = 'Lock'"));
    let prompt = Prompt::open(&machine, "metrics", "select 1");
    lock.close(&machine, "main");
    let ended = run.wait_with_output().unwrap();
    let told = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(12), "{told}");
    assert!(told.contains("main is restored; metrics is not"), "{told}");
    assert!(!told.contains("untouched"), "{told}");
    assert_eq!(added(&machine), [false, true]);
    machine.assert_closed();
    prompt.close(&machine, "metrics");
    // As soon as nobody is in the way, the same command does the rest.
    machine.run(["restore", "latest", "--yes", "--no-copy"]).success();
    assert_eq!(added(&machine), [false, false]);
    machine.run(["upgrade", "--retry"]).success();
    assert!(!machine.mark().exists());
}
