//! Migrations that run outside a transaction: marked before and after.

use openwatch::migrations::{self, DataState, Mode, ProblemKind, State, Why};
use openwatch::outcome::Outcome;

use super::Bench;
use super::support::postgres::wait_for;

const BASE: (&str, &str) =
    ("0001_a.sql", "create table a (id int); insert into a values (1), (1);");

#[test]
fn it_runs_alone_between_the_others() {
    let bench = Bench::new("outside_between");
    bench.ship(&[
        BASE,
        (
            "0002_i.sql",
            "-- openwatch: no-transaction\n-- why: big\ncreate index concurrently i on a (id);\n",
        ),
        ("0003_c.sql", "create table c (id int);"),
    ]);
    let applied = bench.apply().unwrap();
    assert_eq!(applied.mode, Mode::Batches);
    assert_eq!(bench.history(), "0001 applied, 0002 applied, 0003 applied");
}

#[test]
fn a_file_that_forgot_to_say_so_runs_alone_all_the_same() {
    let bench = Bench::new("outside_forgot");
    bench.ship(&[BASE, ("0002_i.sql", "create index concurrently i on a (id);")]);
    bench.apply().unwrap();
    assert!(
        bench.notes.all().contains("0002_i cannot share a transaction"),
        "{}",
        bench.notes.all()
    );
    assert_eq!(bench.history(), "0001 applied, 0002 applied");
}

/// Row 36.
#[test]
fn a_failed_index_build_leaves_no_invalid_index_and_can_be_tried_again() {
    let bench = Bench::new("outside_invalid");
    let build =
        "-- openwatch: no-transaction\ncreate unique index concurrently if not exists u on a (id)";
    bench.ship(&[BASE, ("0002_u.sql", build)]);
    let failure = bench.apply().unwrap_err();
    assert_eq!(failure.applied, ["0001"]);
    assert_eq!(failure.data, DataState::Partly);
    assert_eq!(failure.error.state_line().unwrap(), "1 migration was applied (0001), 0002 failed");
    assert!(failure.error.details().join("\n").contains("line 2 of"), "{failure:?}");
    assert_eq!(bench.psql("select count(*) from pg_index where not indisvalid"), "0");
    assert_eq!(bench.history(), "0001 applied");
    bench.psql("delete from a where ctid = (select min(ctid) from a)");
    assert_eq!(bench.apply().unwrap().versions, ["0002"]);
    assert_eq!(bench.psql("select indisvalid from pg_index where indexrelid = 'u'::regclass"), "t");
}

/// Row 36.
#[test]
fn a_build_that_was_cut_off_is_begun_anew_and_its_invalid_index_removed() {
    let bench = Bench::new("outside_killed");
    bench.ship(&[BASE]).apply().unwrap();
    bench.ship(&[(
        "0002_i.sql",
        "-- openwatch: no-transaction\ncreate index concurrently i on a (id)",
    )]);
    // The build waits for this transaction; then its server process is ended.
    let mut holder = bench.session();
    holder.run("begin; insert into a values (2)").unwrap();
    let failure = std::thread::scope(|scope| {
        let run = scope.spawn(|| bench.apply());
        wait_for("the build waits", || kill(&bench, "create index concurrently"));
        run.join().unwrap().unwrap_err()
    });
    holder.run("rollback").unwrap();
    assert_eq!(failure.why, Why::Connection);
    assert_eq!(failure.data, DataState::Partly);
    let text = format!("{:?}", failure.error);
    assert!(text.contains("public.i"), "the invalid index is named: {text}");
    assert_eq!(bench.history(), "0001 applied, 0002 started");
    assert_eq!(bench.look().state, State::Pending);
    assert_eq!(bench.apply().unwrap().versions, ["0002"]);
    let notes = bench.notes.all();
    assert!(notes.contains("dropped the invalid index public.i that it left"), "{notes}");
    assert!(notes.contains("migration 0002_i goes on at statement 1 of 1"), "{notes}");
    assert_eq!(bench.psql("select indisvalid from pg_index where indexrelid = 'i'::regclass"), "t");
    assert_eq!(bench.history(), "0001 applied, 0002 applied");
    assert_eq!(bench.psql("select to_regclass('openwatch_migration_progress')"), "");
}

/// Rows 36 and 37.
#[test]
fn what_a_failed_procedure_committed_demands_a_decision() {
    let bench = Bench::new("outside_call");
    bench.psql("create table done (n int)");
    bench.psql("create procedure p() language plpgsql as $$ begin insert into done values (1); commit; raise exception 'half way'; end $$");
    bench.ship(&[("0001_p.sql", "-- openwatch: no-transaction\ncall p()")]);
    migrations::mark_applied(&mut bench.session(), &bench.shipped(), "1", "1.0").unwrap();
    bench.ship(&[("0002_p.sql", "-- openwatch: no-transaction\ncall p()")]);
    let failure = bench.apply().unwrap_err();
    assert_eq!(bench.history(), "0001 applied, 0002 started");
    assert_eq!(failure.data, DataState::Partly);
    assert!(failure.error.state_line().unwrap().contains("whether it took effect is not known"));
    let found = bench.look();
    assert_eq!(
        (found.state, found.problems[0].kind),
        (State::Divergent, ProblemKind::Indeterminate)
    );
    assert_eq!(
        found.problems[0].what,
        "migration 0002_p was cut off at statement 1, and whether that took effect is not known"
    );
    let again = bench.apply().unwrap_err();
    assert_eq!(again.error.outcome(), Outcome::Refused);
    assert_eq!(bench.psql("select count(*) from done"), "1");
    migrations::mark_applied(&mut bench.session(), &bench.shipped(), "0002", "2.0.0").unwrap();
    assert_eq!(bench.look().state, State::Current);
    assert_eq!(bench.psql("select to_regclass('openwatch_migration_progress')"), "");
}

/// Ends the session that runs this statement, once it waits for a lock.
pub fn kill(bench: &Bench, statement: &str) -> bool {
    let sql = format!(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where pid <> pg_backend_pid() \
         and datname = '{}' and wait_event_type = 'Lock' and query ilike '%{statement}%'",
        bench.dbname
    );
    bench.psql(&sql) != "0"
}
