//! Files of several statements outside a transaction: each by itself, recorded, taken up again.

use openwatch::config::Format;
use openwatch::migrations::{self, DataState, ProblemKind, State, Why};
use openwatch::outcome::Outcome;

use super::Bench;
use super::outside::kill;
use super::support::postgres::wait_for;

/// A file of the format of ours that opts out of transactions.
fn outside(text: &str) -> String {
    format!("-- openwatch: no-transaction\n{text}")
}

impl Bench {
    fn progress(&self) -> String {
        self.psql(
            "select string_agg(statement || ' ' || state, ', ' order by statement)
             from openwatch_migration_progress where statement > 0",
        )
    }

    fn no_progress(&self) {
        assert_eq!(self.psql("select to_regclass('openwatch_migration_progress')"), "");
    }
}

/// Everything at once that only a run outside transactions can do, and what it has in common with
/// other files.
const MIXED: &str = "-- größe; 'nichts'
create table a (id int, b text);
insert into a select n, 'ä;' || n from generate_series(1, 50) n;
create index concurrently a_id on a (id);
vacuum analyze a;
create type mood as enum ('ok');
alter type mood add value 'bad';
create table m (m mood); insert into m values ('bad');
set search_path = elsewhere, public;
create table here (id int);
set role mixed_owner;
create table owned (id int);
begin;
insert into owned values (1);
insert into owned values (2);
commit;
reset role;
create function f() returns int language sql begin atomic select 1; select 2; end;
do $$ begin perform 1; end $$;
create unique index concurrently on here (id);
reindex index concurrently public.a_id;
drop index concurrently public.a_id";

fn prepare(bench: &Bench) {
    bench.psql(
        "create schema elsewhere; grant all on schema elsewhere to public;
         do $$ begin create role mixed_owner; exception when others then end $$",
    );
}

#[test]
fn statements_run_one_by_one_and_nothing_of_ours_remains() {
    let (ours, theirs) = (Bench::new("statements_mixed"), Bench::new("statements_psql"));
    for bench in [&ours, &theirs] {
        prepare(bench);
    }
    ours.ship(&[("0001_mixed.sql", &outside(MIXED))]);
    assert!(!ours.shipped().migrations[0].transactional);
    ours.apply().unwrap();
    ours.no_progress();
    assert_eq!(ours.history(), "0001 applied");
    theirs.psql_file(MIXED);
    ours.psql("drop table openwatch_schema_history");
    assert_eq!(ours.dump(), theirs.dump());
    assert_eq!(
        ours.psql("select tableowner from pg_tables where tablename = 'owned'"),
        "mixed_owner"
    );
}

/// Rows 36 and 37.
#[test]
fn a_run_that_failed_in_the_middle_says_which_statements_ran_and_goes_on_there() {
    let bench = Bench::new("statements_failed");
    let text = |third: &str| {
        outside(&format!(
            "create table a (id int);\ninsert into a values (1);\n\n  select 'äöü', {third} from a;\n\
             create index concurrently i on a (id);"
        ))
    };
    bench.ship(&[("0001_a.sql", &text("fehlt"))]);
    let failure = bench.apply().unwrap_err();
    assert_eq!((failure.why, failure.data), (Why::Statement, DataState::Partly));
    assert_eq!(failure.error.message(), "migration 0001_a failed: column \"fehlt\" does not exist");
    let place = format!(
        "SQLSTATE 42703 at line 5, column 17 of {}, in: select 'äöü', fehlt from a",
        bench.file("0001_a.sql").display()
    );
    assert_eq!(failure.error.details()[0], place);
    assert_eq!(
        failure.error.state_line().unwrap(),
        "no migration of this run was applied whole, 0001 failed; 2 of its 4 statements took \
         effect and are recorded, the next run goes on behind them"
    );
    assert_eq!(bench.progress(), "1 done, 2 done");
    assert_eq!(bench.look().state, State::Pending);

    // The next package mends what did not run.
    bench.ship(&[("0001_a.sql", &text("id"))]);
    assert_eq!(bench.apply().unwrap().versions, ["0001"]);
    assert!(bench.notes.all().contains("goes on at statement 3 of 4"), "{}", bench.notes.all());
    assert_eq!(bench.psql("select count(*) from a"), "1");
    assert_eq!(bench.look().state, State::Current);
    bench.no_progress();
}

#[test]
fn a_statement_that_ran_and_was_edited_since_is_refused_by_name() {
    let bench = Bench::new("statements_edited");
    bench.ship(&[("0001_a.sql", &outside("create table a (id int); select nothing; vacuum"))]);
    bench.apply().unwrap_err();
    let before = bench.dump();
    bench.ship(&[("0001_a.sql", &outside("create table a (id bigint); select 1; vacuum"))]);
    let found = bench.look();
    assert_eq!((found.state, found.problems[0].kind), (State::Divergent, ProblemKind::Divergent));
    let failure = bench.apply().unwrap_err();
    assert_eq!(failure.error.outcome(), Outcome::Refused);
    assert_eq!(failure.error.message(), "statement 1 of migration 0001_a was changed after it ran");
    assert!(failure.error.details()[0].starts_with("line 2 of "), "{failure:?}");
    assert_eq!(bench.dump(), before);
    // Comments and white space around it are no change.
    let same = "\n/* mended */ create table a (id int) ;\n select 1; vacuum";
    bench.ship(&[("0001_a.sql", &outside(same))]).apply().unwrap();
}

#[test]
fn a_first_statement_that_failed_leaves_no_mark() {
    let bench = Bench::new("statements_first");
    bench.ship(&[("0001_a.sql", &outside("select nothing; vacuum"))]);
    let failure = bench.apply().unwrap_err();
    assert_eq!(failure.data, DataState::Unchanged);
    bench.no_progress();
    assert_eq!(bench.history(), "");
}

#[test]
fn settings_of_a_run_that_was_cut_off_hold_again_when_it_goes_on() {
    let bench = Bench::new("statements_settings");
    bench.psql("create schema elsewhere; create role settings_owner");
    bench.psql("grant all on schema elsewhere to settings_owner");
    let text = |third: &str| {
        outside(&format!(
            "set search_path = elsewhere; select pg_catalog.set_config('role', 'settings_owner', false);
             create table b ({third})"
        ))
    };
    bench.ship(&[("0001_a.sql", &text("id nothing"))]).apply().unwrap_err();
    bench.ship(&[("0001_a.sql", &text("id int"))]).apply().unwrap();
    let owner = "select schemaname, tableowner from pg_tables where tablename = 'b'";
    assert_eq!(bench.psql(owner), "elsewhere|settings_owner");
}

#[test]
fn what_only_the_earlier_session_had_is_not_gone_on_without() {
    let bench = Bench::new("statements_temporary");
    let text = "create temp table t as select 1 as id; create table a (id int); select nothing;
                insert into a select * from t";
    bench.ship(&[("0001_a.sql", &outside(text))]).apply().unwrap_err();
    bench.ship(&[("0001_a.sql", &outside(&text.replace("nothing", "1")))]);
    let failure = bench.apply().unwrap_err();
    assert_eq!(failure.error.outcome(), Outcome::Refused);
    assert_eq!(
        failure.error.message(),
        "migration 0001_a was cut off, and what its statement 1 made is gone"
    );
    migrations::mark_applied(&mut bench.session(), &bench.shipped(), "1", "2.0.0").unwrap();
    assert_eq!(bench.look().state, State::Current);
    bench.no_progress();
}

/// Rows 37 and 91.
#[test]
fn where_nothing_can_tell_the_statement_is_named_and_each_way_out_works_as_printed() {
    for (name, took_effect) in [("statements_yes", true), ("statements_no", false)] {
        let bench = Bench::new(name);
        bench.psql("create table done (n int)");
        bench.psql("create procedure p() language plpgsql as $$ begin insert into done values (1); commit; perform pg_sleep(60); end $$");
        bench.ship(&[("0001_a.sql", "select 1")]);
        migrations::mark_applied(&mut bench.session(), &bench.shipped(), "1", "1").unwrap();
        bench
            .ship(&[("0002_b.sql", &outside("insert into done values (0);\n call p();\n vacuum"))]);
        let failure = std::thread::scope(|scope| {
            let run = scope.spawn(|| bench.apply());
            wait_for("the procedure sleeps", || {
                bench.psql(&format!(
                    "select count(pg_terminate_backend(pid)) from pg_stat_activity
                     where datname = '{name}' and wait_event = 'PgSleep'"
                )) == "1"
            });
            run.join().unwrap().unwrap_err()
        });
        assert_eq!((failure.why, failure.data), (Why::Connection, DataState::Partly));
        bench.psql("create or replace procedure p() language sql as 'insert into done values (1)'");
        let problem = bench.look().problems.remove(0);
        assert_eq!(
            problem.what,
            "migration 0002_b was cut off at statement 2, and whether that took effect is not known"
        );
        assert!(problem.detail.contains(", call p()"), "{problem:?}");
        let ways: Vec<&str> = problem.hint.split('`').skip(1).step_by(2).collect();
        assert!(ways[0].starts_with("update ") && ways[1].starts_with("delete "), "{ways:?}");
        bench.psql(ways[usize::from(!took_effect)]);
        assert_eq!(bench.apply().unwrap().versions, ["0002"]);
        let runs = if took_effect { "1" } else { "2" };
        assert_eq!(bench.psql("select count(*) from done where n = 1"), runs);
        assert_eq!(bench.psql("select count(*) from done where n = 0"), "1");
        bench.no_progress();
    }
}

/// Row 38.
#[test]
fn a_statement_that_waits_for_a_lock_is_tried_again_by_itself() {
    let mut bench = Bench::new("statements_lock");
    bench.ship(&[("0001_a.sql", "create table a (id int);")]).apply().unwrap();
    let text = "create table once (); alter table a add b int; vacuum a";
    bench.ship(&[("0002_b.sql", &outside(text))]);
    bench.lock_timeout = std::time::Duration::from_millis(200);
    let mut holder = bench.session();
    holder.run("begin; select * from a").unwrap();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| bench.apply());
        wait_for("the first attempt gives up", || bench.notes.all().contains("attempt 1 of 5"));
        holder.run("rollback").unwrap();
        run.join().unwrap().unwrap()
    });
    assert!(bench.notes.all().contains("goes on at statement 2 of 3"), "{}", bench.notes.all());
    bench.no_progress();
}

#[test]
fn a_transaction_of_the_files_own_is_done_whole_or_not_at_all() {
    let bench = Bench::new("statements_block");
    let text = "create table a (id int);
                begin; insert into a values (1); insert into a values (2 / 0); commit; vacuum a";
    bench.ship(&[("0001_a.sql", &outside(text))]);
    let failure = bench.apply().unwrap_err();
    let details = failure.error.details().join("\n");
    assert!(details.contains("in: insert into a values (2 / 0)"), "{details}");
    assert_eq!(bench.progress(), "1 done");
    assert_eq!(bench.psql("select count(*) from a"), "0");
    bench.ship(&[("0001_a.sql", &outside(&text.replace("/ 0", "/ 1")))]).apply().unwrap();
    assert_eq!(bench.psql("select count(*) from a"), "2");
}

#[test]
fn a_procedure_that_commits_runs_outside_and_is_marked() {
    let bench = Bench::new("statements_commit");
    let text = "create table a (id int);
        create procedure p() language plpgsql as $$ begin insert into a values (1); commit; insert into a values (2); end $$;
        call p();
        do $$ begin call p(); end $$;
        do $$ begin for i in 1..3 loop insert into a values (i); commit; end loop; end $$";
    bench.ship(&[("0001_a.sql", &outside(text))]).apply().unwrap();
    assert_eq!(bench.psql("select count(*) from a"), "7");
    bench.no_progress();
}

#[test]
fn what_psql_alone_could_run_is_refused_outside_transactions_too() {
    let bench = Bench::new("statements_refused");
    for (text, word) in [
        ("vacuum; copy a from stdin;\n1\n\\.\n", "COPY FROM STDIN"),
        ("vacuum;\n\\i other.sql", "psql command"),
        ("vacuum; commit", "transaction control (COMMIT)"),
        ("begin; select 1", "BEGIN without COMMIT"),
        ("vacuum; /* open", "a comment that does not end"),
    ] {
        bench.ship(&[("0001_a.sql", &outside(text))]);
        let failure = bench.apply().unwrap_err();
        assert_eq!(failure.error.outcome(), Outcome::Refused, "{text}");
        assert!(failure.error.message().contains(word), "{failure:?}");
    }
    assert_eq!(bench.psql("select to_regclass('openwatch_schema_history')"), "");
}

#[test]
fn a_migration_under_way_that_the_package_does_not_ship_is_refused() {
    let bench = Bench::new("statements_unshipped");
    bench.ship(&[("0001_a.sql", "create table a ()")]).apply().unwrap();
    bench.ship(&[("0002_b.sql", &outside("create table b (); select nothing"))]);
    bench.apply().unwrap_err();
    std::fs::remove_file(bench.file("0002_b.sql")).unwrap();
    let found = bench.look();
    assert_eq!((found.state, found.problems[0].kind), (State::Missing, ProblemKind::Missing));
    assert!(found.problems[0].what.contains("0002 was begun outside a transaction"), "{found:?}");
    assert_eq!(bench.apply().unwrap_err().error.outcome(), Outcome::Refused);
}

#[test]
fn a_killed_statement_that_can_share_a_transaction_is_never_in_doubt() {
    let bench = Bench::new("statements_shared");
    bench.ship(&[("0001_a.sql", "create table a (id int);")]).apply().unwrap();
    let text =
        "insert into a values (1); insert into a select 2 from (select pg_sleep(60)) s; vacuum a";
    bench.ship(&[("0002_b.sql", &outside(text))]);
    let failure = std::thread::scope(|scope| {
        let run = scope.spawn(|| bench.apply());
        wait_for("the statement sleeps", || {
            bench.psql(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity
                 where datname = 'statements_shared' and wait_event = 'PgSleep'",
            ) == "1"
        });
        run.join().unwrap().unwrap_err()
    });
    assert_eq!(failure.why, Why::Connection);
    let state = failure.error.state_line().unwrap();
    assert!(state.contains("1 of its 3 statements took effect"), "{state}");
    bench.ship(&[("0002_b.sql", &outside(&text.replace("60", "0")))]).apply().unwrap();
    assert_eq!(bench.psql("select count(*) from a"), "2");
    assert!(!kill(&bench, "vacuum"));
}

/// A format, its file, what comes before the statements, and what after.
type Kind = (Format, &'static str, &'static str, &'static str);

#[test]
fn each_format_that_opts_out_goes_on_where_it_stopped() {
    let kinds: [Kind; 4] = [
        (Format::Goose, "1_a.sql", "-- +goose NO TRANSACTION\n-- +goose Up\n", ""),
        (Format::Dbmate, "1_a.sql", "-- migrate:up transaction:false\n", "\n-- migrate:down\n"),
        (Format::Sqlx, "1_a.sql", "-- no-transaction\n", ""),
        (Format::Diesel, "1_a/up.sql", "", ""),
    ];
    for (format, file, before, after) in kinds {
        let mut bench = Bench::new(&format!("statements_{}", format.word()));
        bench.format = format;
        std::fs::create_dir(bench.file("1_a")).unwrap();
        if format == Format::Diesel {
            bench.ship(&[("1_a/metadata.toml", "run_in_transaction = false\n")]);
        } else {
            std::fs::remove_dir(bench.file("1_a")).unwrap();
        }
        let text = |third: &str| {
            format!(
                "{before}create table a (id int);\ninsert into a values (1);\nselect {third};\n\
                 create index concurrently i on a (id);\n{after}"
            )
        };
        bench.ship(&[(file, &text("nothing"))]);
        let failure = bench.apply().unwrap_err();
        let state = failure.error.state_line().unwrap().to_owned();
        assert!(state.contains("2 of its 4 statements took effect"), "{format:?}: {failure:?}");
        assert_eq!(bench.progress(), "1 done, 2 done", "{format:?}");
        assert_eq!(bench.look().state, State::Pending, "{format:?}");
        if format == Format::Sqlx {
            // sqlx itself stops here, and does not begin anew.
            assert_eq!(bench.psql("select success from _sqlx_migrations"), "f");
        }
        bench.ship(&[(file, &text("1"))]);
        assert_eq!(bench.apply().unwrap().versions, ["1"], "{format:?}");
        assert_eq!(bench.psql("select count(*) from a"), "1", "{format:?}");
        assert_eq!(bench.look().state, State::Current, "{format:?}");
        bench.no_progress();
    }
}

#[test]
fn what_a_file_does_to_its_session_neither_loses_the_lock_nor_reaches_the_next() {
    let bench = Bench::new("statements_discard");
    let dump = "SET statement_timeout = 0;
        SET client_encoding = 'UTF8';
        SELECT pg_catalog.set_config('search_path', '', false);
        SET row_security = off;
        CREATE TABLE public.pasted (id int);
        CREATE TEMPORARY TABLE passing (id int);";
    bench.ship(&[
        ("0001_pasted.sql", dump),
        (
            "0002_discard.sql",
            &outside("create table d (); discard all; select pg_advisory_unlock_all(); vacuum d"),
        ),
        ("0003_outside.sql", &outside(dump.replace("pasted", "again").as_str())),
        ("0004_plain.sql", "create table plain (id int); create temp table passing (id int)"),
    ]);
    assert_eq!(bench.apply().unwrap().versions.len(), 4);
    let schemas = "select string_agg(schemaname || '.' || tablename, ' ' order by tablename)
                   from pg_tables where tablename in ('pasted', 'again', 'plain')";
    assert_eq!(bench.psql(schemas), "public.again public.pasted public.plain");
    assert_eq!(bench.look().state, State::Current);
}
