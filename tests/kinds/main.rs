//! Restore points that are no dumps: clones on the server, and what a command of the operator makes.
//! Real upgrades on real databases.

#![allow(unreachable_pub, reason = "the shared support module is public to every test binary")]

#[path = "../support/mod.rs"]
mod support;

mod clone;
mod external;
mod former;
mod killed;
mod settling;

use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;
use support::machine::TestMachine;
use support::postgres::wait_for;

/// A session of somebody else that runs this and does not end by itself.
struct Beside {
    child: Child,
    application: &'static str,
    database: String,
}

impl Beside {
    fn run(machine: &TestMachine, database: &str, application: &'static str, sql: &str) -> Self {
        let conninfo = machine.server().conninfo(database);
        let child = Command::new(machine.server().bin().join("psql"))
            .arg(format!("{conninfo} application_name={application}"))
            .args(["-X", "-q", "-c", sql])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, application, database: database.to_owned() }
    }

    /// A report that reads the application's database, and is connected by now.
    fn report(machine: &TestMachine) -> Self {
        let report = Self::run(machine, machine.dbname(), "report", "select pg_sleep(600)");
        wait_for("the other session", || {
            machine.sql(
                "select count(*) from pg_stat_activity where application_name = 'report' \
                         and datname = current_database()",
            ) == "1"
        });
        report
    }

    /// Has the server end it.
    fn end(mut self, machine: &TestMachine) {
        let (name, database) = (self.application, &self.database);
        let sql = format!(
            "select pg_terminate_backend(pid) from pg_stat_activity
              where application_name = '{name}' and datname = '{database}'"
        );
        machine.server().psql("postgres", &sql);
        self.child.wait().unwrap();
    }

    /// Waits for its end, which somebody else brings about.
    fn ended(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

/// A machine that goes back to clones.
fn cloning() -> TestMachine {
    TestMachine::new().operator("restore_point = \"clone\"")
}

/// The databases of a machine's server that belong to it, without those that all of them share.
fn databases(machine: &TestMachine) -> Vec<String> {
    let name = machine.dbname();
    let sql = format!(
        "select datname from pg_database where datname = '{name}' or starts_with(datname, '{name}_')
         order by 1"
    );
    machine.server().psql("postgres", &sql).lines().map(str::to_owned).collect()
}

/// The clones among them.
fn clones(machine: &TestMachine) -> Vec<String> {
    databases(machine).into_iter().filter(|name| name.contains("_clone_")).collect()
}

/// The only restore point that is listed.
fn point(machine: &TestMachine) -> Value {
    let (_, list) = machine.json(["backup", "list"]);
    let points = list["restore_points"].as_array().unwrap();
    assert_eq!(points.len(), 1, "{list}");
    points[0].clone()
}
