//! The line cut, and the program killed, at every message that it sends to the server while it
//! migrates, before the server has it and after: the data is the old or the new, what is said about
//! it is true, and nothing ever runs twice.

use super::support::machine::{TestMachine, message};
use super::support::postgres::wait_for;
use super::support::proxy::{Proxy, Side, Then};
use super::{code, kill_9, plain};

/// Three migrations that share a transaction and show how often they ran.
fn together() -> TestMachine {
    plain()
        .operator("auto_backup = false")
        .migration("0003_ran.sql", "create table ran (what text);")
        .migration("0004_once.sql", "insert into ran values ('0004');")
        .migration("0005_once.sql", "insert into ran values ('0005');")
}

/// One outside a transaction between two others.
fn alone() -> TestMachine {
    plain()
        .operator("auto_backup = false")
        .migration("0003_ran.sql", "create table ran (what text);")
        .migration(
            "0004_index.sql",
            "-- openwatch: no-transaction\ncreate index concurrently ran_i on ran (what)",
        )
        .migration("0005_once.sql", "insert into ran values ('0005');")
}

/// Returns the messages that a whole run sends.
fn messages(machine: TestMachine) -> Vec<String> {
    let server = machine.server().clone();
    let proxy = Proxy::open(&server);
    let dsn = proxy.conninfo(&server, machine.dbname());
    machine.dsn(&dsn).run(["migrate"]).success();
    proxy.texts()
}

/// What ran, and what the history says about it.
fn what_is(machine: &TestMachine) -> (String, String) {
    let ran = machine.sql("select to_regclass('ran') is not null");
    let ran = match ran.as_str() {
        "t" => machine.sql("select coalesce(string_agg(what, ',' order by what), '') from ran"),
        _ => "none".into(),
    };
    let history = machine.sql(
        "select string_agg(version || ' ' || state, ',' order by version) \
         from openwatch_schema_history where version > '0002'",
    );
    (ran, history)
}

fn any(_: &str) -> bool {
    true
}

/// What stands before a statement alone: that it is begun. The group before it is like any other.
fn the_mark(text: &str) -> bool {
    text.contains("0004")
}

/// Begins with the first message that is of interest.
fn each_side_of_each_message(
    make: fn() -> TestMachine,
    first: impl Fn(&str) -> bool,
    then: Then,
    check: impl Fn(&TestMachine, &str),
) {
    let all = messages(make());
    let total = all.len();
    let from = all.iter().position(|text| first(text)).expect("the run sends it") + 1;
    for at in from..=total {
        for side in [Side::Before, Side::After] {
            let machine = make();
            let server = machine.server().clone();
            let dbname = machine.dbname().to_owned();
            let proxy = Proxy::at(&server, at, side, then);
            let machine = machine.dsn(&proxy.conninfo(&server, &dbname));
            let place = format!("message {at} of {total}, {side:?}");
            match then {
                Then::Cut => {
                    let run = machine.run(["migrate"]);
                    assert!(proxy.reached(), "{place}");
                    truthful(&machine, &run, &place);
                }
                Then::Hold => {
                    let mut run = machine.spawn(["migrate"]);
                    proxy.wait();
                    kill_9(&mut run);
                    proxy.let_go();
                }
            }
            let machine = machine.dsn(&server.conninfo(&dbname));
            wait_for("the server has noticed", || {
                machine.sql(
                    "select count(*) from pg_stat_activity where datname = current_database() \
                     and pid <> pg_backend_pid() and backend_type = 'client backend'",
                ) == "0"
            });
            check(&machine, &place);
        }
    }
}

/// What the run said about the data is what is there.
fn truthful(machine: &TestMachine, run: &assert_cmd::assert::Assert, place: &str) {
    let (ran, history) = what_is(machine);
    let status = run.get_output().status.code().unwrap();
    if status == 0 {
        assert_eq!(history, "0003 applied,0004 applied,0005 applied", "{place}");
        return;
    }
    assert_eq!(status, 7, "{place}");
    let told = message(run);
    let said = match history.as_str() {
        "" => "is as before, at schema 0002",
        "0003 applied,0004 applied,0005 applied" => "is at the new schema 0005",
        _ => "between 0002 and 0005",
    };
    assert!(told.state.contains(said), "{place}: {ran}; {history}; {told:?}");
}

fn all_or_nothing(machine: &TestMachine, place: &str) {
    let before = what_is(machine);
    let old = ("none".to_owned(), String::new());
    let new = ("0004,0005".to_owned(), "0003 applied,0004 applied,0005 applied".to_owned());
    assert!(before == old || before == new, "{place}: {before:?}");
    machine.run(["migrate"]).success();
    assert_eq!(what_is(machine), new, "{place}");
}

/// A statement outside a transaction either was run and is recorded, or is run now: the index tells
/// which, also where the run ended between the statement and its mark.
fn exactly_once(machine: &TestMachine, place: &str) {
    let valid = "select coalesce((select indisvalid from pg_index where indexrelid = to_regclass('ran_i')), false)";
    let mut run = machine.spawn(["migrate"]);
    assert_eq!(code(&mut run), 0, "{place}: {}", machine.said());
    let done = ("0005".to_owned(), "0003 applied,0004 applied,0005 applied".to_owned());
    assert_eq!(what_is(machine), done, "{place}");
    assert_eq!(machine.sql(valid), "t", "{place}");
}

/// Rows 40 and 67.
#[test]
fn a_line_cut_at_any_message_leaves_all_or_nothing_and_what_is_said_is_true() {
    each_side_of_each_message(together, any, Then::Cut, all_or_nothing);
}

/// Rows 37 and 67.
#[test]
fn a_run_killed_at_any_message_leaves_all_or_nothing_and_the_next_one_finishes() {
    each_side_of_each_message(together, any, Then::Hold, all_or_nothing);
}

/// Rows 36 and 40.
#[test]
fn a_line_cut_around_a_statement_alone_never_makes_it_run_twice() {
    each_side_of_each_message(alone, the_mark, Then::Cut, exactly_once);
}

/// Rows 36, 37 and 67.
#[test]
fn a_run_killed_around_a_statement_alone_never_makes_it_run_twice() {
    each_side_of_each_message(alone, the_mark, Then::Hold, exactly_once);
}
