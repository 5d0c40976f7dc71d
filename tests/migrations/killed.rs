//! The shipped program, killed at every message of a run outside transactions: afterwards each
//! statement took effect exactly once.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use openwatch::database::{Database, Source};

use super::support::machine::TestMachine;
use super::support::postgres::wait_for;
use super::support::proxy::{Proxy, Side, Then};

/// One of each kind: what shares a transaction with its mark, what cannot, a transaction of its own.
const TEXT: &str = "-- openwatch: no-transaction
insert into ran values ('one');
create index concurrently ran_i on ran (what);
vacuum ran;
begin; insert into ran values ('two'); insert into ran values ('three'); commit;
drop index concurrently ran_i;";

fn machine() -> TestMachine {
    TestMachine::new()
        .without_systemd()
        .operator("auto_backup = false")
        .migration("0003_ran.sql", "create table ran (what text, n serial);")
        .migration("0004_each.sql", TEXT)
        .migration("0005_end.sql", "insert into ran values ('end');")
}

/// Runs the program through a line that is held at one message, kills it there, and runs it again;
/// returns whether the line was reached at all.
fn killed_at(message: usize, side: Side) -> bool {
    let machine = machine();
    let proxy = Proxy::at(machine.server(), message, side, Then::Hold);
    let direct = machine.server().conninfo(machine.dbname());
    let machine = {
        let through = proxy.conninfo(machine.server(), machine.dbname());
        machine.dsn(&through)
    };
    let mut child = machine.spawn(["migrate"]);
    while !proxy.reached() {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    proxy.let_go();
    let at = format!("killed {side:?} message {message}: {:?}", proxy.texts().last());
    let machine = machine.dsn(&direct);
    let said = machine.run(["migrate"]).get_output().clone();
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.success(), "{at}\n{text}");
    let sql = "select string_agg(what, ',' order by n) from ran";
    assert_eq!(machine.sql(sql), "one,two,three,end", "{at}\n{text}");
    let history = "select string_agg(version || state, ',' order by version)
                   from openwatch_schema_history where version > '0002'";
    assert_eq!(machine.sql(history), "0003applied,0004applied,0005applied", "{at}\n{text}");
    assert_eq!(machine.sql("select to_regclass('openwatch_migration_progress')"), "", "{at}");
    assert_eq!(machine.sql("select count(*) from pg_index where not indisvalid"), "0", "{at}");
    true
}

/// Walks all messages of the session that runs migrations.
fn walk(side: Side) {
    let mut message = 1;
    while killed_at(message, side) {
        message += 1;
    }
    assert!(message > 20, "the walk ended after {message} messages");
}

/// Rows 37 and 67.
#[test]
fn killed_before_any_message_each_statement_took_effect_exactly_once() {
    walk(Side::Before);
}

/// Rows 37 and 67.
#[test]
fn killed_after_any_message_each_statement_took_effect_exactly_once() {
    walk(Side::After);
}

#[test]
fn asked_to_stop_it_ends_at_a_statement_that_can_be_taken_back_and_goes_on_there_later() {
    let text = "-- openwatch: no-transaction
        create table one ();
        select pg_advisory_lock(4711);
        vacuum one;";
    let machine = TestMachine::new()
        .without_systemd()
        .operator("auto_backup = false")
        .migration("0003_stop.sql", text);
    let conninfo = Some(machine.server().conninfo(machine.dbname()));
    let source = Source { name: "main".into(), conninfo, ..Source::default() };
    let mut holder = Database::resolve(&source).unwrap().connect().unwrap();
    holder.run("select pg_advisory_lock(4711)").unwrap();
    let mut child = machine.spawn(["migrate"]);
    wait_for("the statement waits", || {
        machine.sql(
            "select count(*) from pg_locks where locktype = 'advisory' and not granted
             and objid = 4711 and database =
               (select oid from pg_database where datname = current_database())",
        ) == "1"
    });
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert!(!child.wait().unwrap().success());
    let said = machine.said();
    assert!(said.contains("migration 0003_stop was ended because we received SIGTERM"), "{said}");
    let progress = "select string_agg(statement || state, ',' order by statement)
                    from openwatch_migration_progress where statement > 0";
    assert_eq!(machine.sql(progress), "1done");
    holder.run("select pg_advisory_unlock_all()").unwrap();
    machine.run(["migrate"]).success();
    assert_eq!(machine.schema(), "0003");
}
