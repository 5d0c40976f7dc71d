//! Restore points that are no dumps: clones on the server, and what a command of the operator makes.
//! Real upgrades on real databases.

#![allow(unreachable_pub, reason = "the shared support module is public to every test binary")]

#[path = "../support/mod.rs"]
mod support;

mod clone;
mod external;
mod killed;

use serde_json::Value;
use support::machine::TestMachine;

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
