//! Locks that are not to be had, lost connections, a server at its limits.

use std::sync::Arc;
use std::time::Duration;

use openwatch::migrations::{DataState, Mode, State, Why};
use openwatch::outcome::Outcome;

use super::Bench;
use super::support::postgres::{Server, wait_for};

/// Row 38.
#[test]
fn who_blocks_is_named_and_secrets_in_its_statement_are_not() {
    let mut bench = Bench::new("trouble_blocked");
    bench.ship(&[("0001_a.sql", "create table a (id int);")]).apply().unwrap();
    bench.ship(&[("0002_b.sql", "create table b ();"), ("0003_c.sql", "alter table a add x int;")]);
    let before = bench.dump();
    bench.lock_timeout = Duration::from_millis(200);
    let mut holder = bench.session();
    holder.run("set application_name = 'nightly report'").unwrap();
    holder.run("begin").unwrap();
    holder.run("select * from a where 'hunter2' <> ''").unwrap();
    let failure = bench.apply().unwrap_err();
    assert_eq!((failure.why, failure.data), (Why::Blocked, DataState::Unchanged));
    assert_eq!(failure.error.outcome(), Outcome::MigrationFailed);
    let details = failure.error.details().join("\n");
    assert!(details.contains("SQLSTATE 55P03"), "{details}");
    assert!(
        details.contains("user postgres, application nightly report, idle in transaction for"),
        "{details}"
    );
    assert!(details.contains("select * from a where '…' <> '…'"), "{details}");
    assert!(!details.contains("hunter2") && !bench.notes.all().contains("hunter2"));
    assert!(bench.notes.all().contains("attempt 4 of 5"), "{}", bench.notes.all());
    holder.run("rollback").unwrap();
    assert_eq!(bench.dump(), before);
}

/// Row 38.
#[test]
fn the_whole_transaction_is_tried_again_when_the_lock_is_free() {
    let mut bench = Bench::new("trouble_retry");
    bench.ship(&[("0001_a.sql", "create table a (id int);")]).apply().unwrap();
    bench.ship(&[("0002_b.sql", "create table b ();"), ("0003_c.sql", "alter table a add x int;")]);
    bench.lock_timeout = Duration::from_millis(200);
    let mut holder = bench.session();
    holder.run("begin; select * from a").unwrap();
    let applied = std::thread::scope(|scope| {
        let run = scope.spawn(|| bench.apply());
        wait_for("the first attempt gives up", || bench.notes.all().contains("attempt 1 of 5"));
        holder.run("rollback").unwrap();
        run.join().unwrap().unwrap()
    });
    assert_eq!(applied.versions, ["0002", "0003"]);
    assert_eq!(applied.mode, Mode::All);
}

/// Row 40.
#[test]
fn when_the_server_ends_the_session_nothing_of_the_run_remains() {
    let bench = Bench::new("trouble_killed");
    bench.ship(&[
        ("0001_a.sql", "create table a (id int);"),
        ("0002_b.sql", "create table b (id int); select pg_sleep(60);"),
        ("0003_c.sql", "create table c (id int);"),
    ]);
    let before = bench.dump();
    let failure = std::thread::scope(|scope| {
        let run = scope.spawn(|| bench.apply());
        wait_for("the migration runs", || {
            bench.psql(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity
                 where datname = 'trouble_killed' and wait_event = 'PgSleep'",
            ) == "1"
        });
        run.join().unwrap().unwrap_err()
    });
    assert_eq!((failure.why, failure.data), (Why::Connection, DataState::Unchanged));
    assert_eq!(failure.failed.as_deref(), Some("0002"));
    assert_eq!(bench.dump(), before);
    assert_eq!(bench.look().state, State::Empty);
}

/// Row 40.
#[test]
fn a_commit_that_came_through_is_a_success_although_the_answer_was_lost() {
    // The server process is ended inside the commit: after the commit record, before the answer.
    let bench = Bench::new("trouble_answer");
    bench.ship(&[("0001_a.sql", "create table a (id int);"), ("0002_b.sql", "select 2;")]);
    let held = openwatch::database::DatabaseLock::acquire(&bench.database(), "x", Duration::ZERO);
    drop(held.unwrap());
    let proxy = super::lock::Cut::after(&bench.conninfo, b"commit\0");
    let mut through = Bench { conninfo: proxy.conninfo.clone(), ..bench };
    let applied = through.apply().unwrap();
    assert_eq!(applied.versions, ["0001", "0002"]);
    assert!(through.notes.all().contains("lost after the commit"), "{}", through.notes.all());
    through.conninfo = through.server.conninfo("trouble_answer");
    assert_eq!(through.history(), "0001 applied, 0002 applied");
}

/// Row 40.
#[test]
fn when_the_server_restarts_in_the_middle_the_schema_is_what_it_was() {
    let bench = Bench::on(Arc::new(Server::start()), "trouble_restart");
    bench.ship(&[
        ("0001_a.sql", "create table a (id int);"),
        ("0002_b.sql", "select pg_sleep(60);"),
    ]);
    let before = bench.dump();
    let failure = std::thread::scope(|scope| {
        let run = scope.spawn(|| bench.apply());
        wait_for("the migration runs", || {
            bench.psql("select count(*) from pg_stat_activity where wait_event = 'PgSleep'") == "1"
        });
        bench.server.down();
        bench.server.up();
        run.join().unwrap().unwrap_err()
    });
    assert_eq!((failure.why, failure.data), (Why::Connection, DataState::Unchanged));
    assert_eq!(bench.dump(), before);
}

/// Row 40.
#[test]
fn when_the_server_stays_away_the_state_is_said_to_be_unknown() {
    let bench = Bench::on(Arc::new(Server::start()), "trouble_away");
    bench.ship(&[("0001_a.sql", "select pg_sleep(60);")]);
    let failure = std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            let database = bench.database();
            let mut lock =
                openwatch::database::DatabaseLock::acquire(&database, "t", Duration::ZERO).unwrap();
            let how = openwatch::migrations::How {
                lock_timeout: Duration::from_secs(1),
                reconnect_within: Duration::from_millis(300),
                restore_point: None,
                product_version: "1".into(),
                lock: &mut lock,
                said_pending: None,
            };
            openwatch::migrations::apply(&database, &bench.shipped(), how, &bench.notes)
        });
        wait_for("the migration runs", || {
            bench.psql("select count(*) from pg_stat_activity where wait_event = 'PgSleep'") == "1"
        });
        bench.server.down();
        run.join().unwrap().unwrap_err()
    });
    assert_eq!((failure.why, failure.data), (Why::Connection, DataState::Unknown));
}

#[test]
fn a_server_without_room_for_the_locks_gets_batches() {
    let conf = "max_locks_per_transaction = 10\nmax_connections = 20";
    let bench = Bench::on(Arc::new(Server::start_configured(conf)), "trouble_locks");
    for n in 1..=600 {
        bench.ship(&[(
            &format!("{n:04}_t.sql"),
            &format!("create table t{n} (id int primary key, b text)"),
        )]);
    }
    let applied = bench.apply().unwrap();
    assert_eq!(applied.versions.len(), 600);
    assert_eq!(applied.mode, Mode::Batches);
    assert!(bench.notes.all().contains("no room for so many locks"), "{}", bench.notes.all());
    assert_eq!(bench.look().state, State::Current);
}

/// Row 43.
#[test]
fn a_server_without_space_is_a_class_of_its_own() {
    let bench = Bench::new("trouble_space");
    let full = "do $$ begin raise 'could not extend file: No space left on device' \
                using errcode = 'disk_full'; end $$";
    bench.ship(&[("0001_a.sql", full)]);
    let failure = bench.apply().unwrap_err();
    assert_eq!((failure.why, failure.data), (Why::Space, DataState::Unchanged));
    assert!(failure.error.details()[0].starts_with("SQLSTATE 53100"), "{failure:?}");
}

/// Row 42.
#[test]
fn a_lost_lock_stops_the_run_before_it_commits() {
    let bench = Bench::new("trouble_lost");
    bench.ship(&[
        ("0001_a.sql", "create table a (id int);"),
        ("0002_b.sql", "select pg_sleep(0.5);"),
    ]);
    let before = bench.dump();
    let failure = std::thread::scope(|scope| {
        let run = scope.spawn(|| bench.apply());
        wait_for("the lock is held and the migration runs", || {
            bench.psql(
                "select count(pg_terminate_backend(pid)) from pg_locks
                 where locktype = 'advisory' and granted
                   and database = (select oid from pg_database where datname = 'trouble_lost')
                   and exists (select from pg_stat_activity
                     where datname = 'trouble_lost' and wait_event = 'PgSleep')",
            ) == "1"
        });
        run.join().unwrap().unwrap_err()
    });
    assert_eq!(failure.data, DataState::Unchanged);
    assert!(failure.error.message().contains("lock of"), "{failure:?}");
    assert_eq!(bench.dump(), before);
}
