//! `on_failure = "restore"` after health was not proved: only while nothing was written since.

use super::last;
use super::support::machine::{TestMachine, message};

fn unhealthy() -> TestMachine {
    TestMachine::new()
        .operator("on_failure = \"restore\"")
        .ship("good")
        .health("[[health]]\ncommand = [\"/bin/false\"]\ndeadline = \"100ms\"\n")
}

/// Runs SQL when the unit is started, as its program would.
fn writing(machine: TestMachine, sql: &str) -> TestMachine {
    let psql = machine.server().bin().join("psql");
    let dsn = machine.server().conninfo(machine.dbname());
    let script = format!("{} -X -q -d '{dsn}' -c \"{sql}\" >/dev/null", psql.display());
    machine.with_hook("start", "openwatch.service", &script)
}

/// Row 48.
#[test]
fn unproven_health_puts_the_data_back_where_nothing_was_written_on_the_new_schema() {
    let machine = writing(unhealthy(), "select count(*) from machines");
    let old = machine.data();
    let back = machine.run(["upgrade", "--from", "1.0.0-1"]).code(9);
    let told = message(&back);
    assert!(told.state.contains("is as before, at schema 0002"), "{told:#?}");
    assert_eq!(machine.data(), old);
    assert_eq!(last(&machine, "data"), "unchanged");
    machine.assert_closed();
}

/// Row 60.
///
/// No row of a table tells of either.
#[test]
fn unproven_health_leaves_the_data_where_a_sequence_or_a_large_object_was_written() {
    for (sql, seen) in [
        ("select setval('numbers', 100000)", "select last_value = 100000 from numbers"),
        ("select lo_put(4711, 0, 'AFTER!')", "select lo_get(4711) = 'AFTER!'"),
    ] {
        let machine = writing(unhealthy(), sql);
        machine.sql("create sequence numbers; select lo_from_bytea(4711, 'before')");
        let stopped = machine.run(["upgrade", "--from", "1.0.0-1"]).code(8);
        let told = message(&stopped);
        assert!(told.detail.contains("the data is not put back by itself"), "{sql}: {told:#?}");
        assert_eq!(machine.sql(seen), "t", "{sql}");
        machine.assert_closed();
    }
}

/// Row 60.
#[test]
fn unproven_health_leaves_the_data_where_somebody_wrote_on_the_new_schema() {
    let machine = writing(unhealthy(), "insert into machines values (2000, 'new')");
    let stopped = machine.run(["upgrade", "--from", "1.0.0-1"]).code(8);
    let told = message(&stopped);
    assert!(told.detail.contains("the data is not put back by itself"), "{told:#?}");
    assert!(told.detail.contains("machines"), "{told:#?}");
    assert_eq!(machine.sql("select name from machines where id = 2000"), "new");
    assert_eq!(machine.schema(), "0004");
    machine.assert_closed();
}
