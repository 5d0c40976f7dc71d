//! What a run leaves behind when it succeeds, and when a statement fails.

use openwatch::config::Format;
use openwatch::database::{Limits, ScriptError};
use openwatch::migrations::{DataState, Mode, State, Why};
use openwatch::outcome::Outcome;

use super::Bench;

/// Rows 35 and 37.
#[test]
fn all_pending_migrations_and_their_history_are_one_transaction() {
    let bench = Bench::new("apply_all");
    bench.ship(&[
        ("0001_a.sql", "create table a (id int); insert into a values (1);"),
        ("0002_b.sql", "create table b (id int);"),
        ("0003_c.sql", "-- deliberately nothing\n"),
        ("README.md", "no migration"),
        (".0004_draft.sql", "garbage"),
    ]);
    let applied = bench.apply().unwrap();
    assert_eq!(applied.versions, ["0001", "0002", "0003"]);
    assert_eq!(applied.mode, Mode::All);
    assert_eq!(bench.look().state, State::Current);
    let transactions = bench.psql(
        "select count(distinct x) from (select xmin::text x from openwatch_schema_history
         union all select xmin::text from a
         union all select xmin::text from pg_class where relname in ('a', 'b')) s",
    );
    assert_eq!(transactions, "1");
    assert_eq!(
        bench.psql("select distinct product_version, restore_point from openwatch_schema_history"),
        "2.0.0|20261120T131502Z-1.0"
    );
    // A second run finds nothing to do and writes nothing.
    let before = bench.dump();
    assert_eq!(bench.apply().unwrap().versions, Vec::<String>::new());
    assert_eq!(bench.dump(), before);
}

/// Row 35.
#[test]
fn after_a_failing_migration_the_schema_is_what_it_was() {
    let bench = Bench::new("apply_fails");
    bench.ship(&[("0001_a.sql", "create table a (id int);")]).apply().unwrap();
    let before = bench.dump();
    bench.ship(&[
        ("0002_b.sql", "create table b (id int);"),
        (
            "0003_c.sql",
            "-- Größe ändern\nalter table a\n  add column größe text; select 'ä', fehlt from a;",
        ),
        ("0004_d.sql", "create table d (id int);"),
    ]);
    let failure = bench.apply().unwrap_err();
    assert_eq!(bench.dump(), before);
    assert_eq!(failure.error.outcome(), Outcome::MigrationFailed);
    assert_eq!(failure.error.message(), "migration 0003_c failed: column \"fehlt\" does not exist");
    let place = format!(
        "SQLSTATE 42703 at line 3, column 38 of {}, in: select 'ä', fehlt from a",
        bench.file("0003_c.sql").display()
    );
    assert_eq!(failure.error.details()[0], place);
    assert_eq!(
        failure.error.state_line().unwrap(),
        "the schema is unchanged: no migration of this run was applied, 0003 failed, 1 was not tried"
    );
    assert_eq!((failure.data, failure.why), (DataState::Unchanged, Why::Statement));
    assert_eq!(failure.applied, Vec::<String>::new());
    assert_eq!(failure.failed.as_deref(), Some("0003"));
    assert_eq!(failure.not_applied, ["0002", "0003", "0004"]);
}

#[test]
fn the_statement_is_named_when_the_server_gives_no_position() {
    let bench = Bench::new("apply_statement");
    bench.ship(&[
        ("0001_a.sql", "create table a (id int primary key);"),
        (
            "0002_b.sql",
            "insert into a values (1);\n\n-- twice\ninsert into a\n  values (1);\nselect 1;",
        ),
    ]);
    let failure = bench.apply().unwrap_err();
    let details = failure.error.details().join("\n");
    let file = bench.file("0002_b.sql");
    let place =
        format!("SQLSTATE 23505 at line 4 of {}, in: insert into a values (1)", file.display());
    assert!(details.contains(&place), "{details}");
    assert!(details.contains("constraint a_pkey"), "{details}");
    assert_eq!(bench.psql("select count(*) from pg_class where relname = 'a'"), "0");
}

#[test]
fn no_setting_of_one_file_reaches_the_next() {
    let bench = Bench::new("apply_settings");
    bench.psql("create role settings_other; create schema elsewhere");
    bench.ship(&[
        ("0001_a.sql", "set search_path = ''; set role settings_other; set standard_conforming_strings = off;
             select set_config('statement_timeout', '1', false), set_config('lock_timeout', '1', false);"),
        ("0002_b.sql", "create temp table t (a int) on commit drop; set session authorization settings_other; set check_function_bodies = off"),
        ("0003_c.sql", "create temp table t (a int); create table seen as select current_user::text u,
             current_setting('search_path') p, current_setting('statement_timeout') s,
             current_setting('check_function_bodies') f, 'a\\b'::text e; select pg_sleep(0.02)"),
        ("0004_d.sql", "set search_path = elsewhere"),
    ]);
    bench.apply().unwrap();
    assert_eq!(bench.psql("select * from public.seen"), "postgres|\"$user\", public|0|on|a\\b");
    assert_eq!(bench.look().state, State::Current);
}

#[test]
fn what_a_file_says_of_encoding_and_strings_counts_for_no_text_behind_it() {
    let bench = Bench::new("apply_encoding");
    bench.ship(&[
        (
            "0001_dump.sql",
            "set client_encoding = 'LATIN1'; set standard_conforming_strings = off;
            create table a (t text)",
        ),
        ("0002_b.sql", "insert into a values ('größe'), ('C:\\temp\\new') -- and no end"),
        ("0003_last.sql", "set names 'LATIN1'; set standard_conforming_strings = off"),
    ]);
    bench.apply().unwrap();
    assert_eq!(bench.psql("select t from a"), "größe\nC:\\temp\\new");
    assert_eq!(bench.look().state, State::Current);
    assert_eq!(bench.history(), "0001 applied, 0002 applied, 0003 applied");
}

#[test]
fn a_commit_that_strings_of_another_file_would_hide_is_seen_before_anything_runs() {
    let bench = Bench::new("apply_hidden");
    bench.ship(&[
        ("0001_a.sql", "create table a (t text); set standard_conforming_strings = off"),
        ("0002_b.sql", "insert into a values ('a\\'); commit; --')"),
    ]);
    assert_eq!(bench.apply().unwrap_err().error.outcome(), Outcome::Refused);
    bench.ship(&[("0002_b.sql", "insert into a values ('a\\''); commit; --')")]);
    bench.apply().unwrap();
    assert_eq!(bench.psql("select t from a"), "a\\'); commit; --");
}

/// Row 39.
#[test]
fn limits_of_the_role_do_not_end_a_migration() {
    let bench = Bench::new("apply_limits");
    bench.psql(
        "create role limits_app login superuser;
         alter role limits_app set statement_timeout = '10ms';
         alter role limits_app set idle_in_transaction_session_timeout = '10ms';
         alter role limits_app set default_transaction_read_only = on;
         alter role limits_app set default_transaction_isolation = 'serializable'",
    );
    let mut bench = bench;
    bench.conninfo = bench.conninfo.replace("user=postgres", "user=limits_app");
    bench.ship(&[
        ("0001_a.sql", "select pg_sleep(0.1); create table a (id int)"),
        ("0002_b.sql", "-- openwatch: no-transaction\nvacuum a"),
    ]);
    bench.apply().unwrap();
    assert_eq!(bench.history(), "0001 applied, 0002 applied");
    let notes = bench.notes.all();
    for limit in ["statement_timeout = 10ms, which role, database or server set", "read_only = on"]
    {
        assert!(notes.contains(limit), "{notes}");
    }
}

#[test]
fn a_new_enum_value_used_by_the_next_file_falls_back_to_one_transaction_each() {
    let bench = Bench::new("apply_enum");
    bench
        .ship(&[("0001_a.sql", "create type mood as enum ('ok'); create table m (m mood);")])
        .apply()
        .unwrap();
    bench.ship(&[
        ("0002_b.sql", "alter type mood add value 'bad';"),
        ("0003_c.sql", "insert into m values ('bad');"),
    ]);
    let applied = bench.apply().unwrap();
    assert_eq!(applied.mode, Mode::Each);
    assert_eq!(applied.versions, ["0002", "0003"]);
    assert!(bench.notes.all().contains("one transaction for each"), "{}", bench.notes.all());
}

#[test]
fn pending_trigger_events_fall_back_to_one_transaction_each() {
    let bench = Bench::new("apply_trigger");
    bench.ship(&[
        (
            "0001_a.sql",
            "create table p (id int primary key);
            create table c (id int references p deferrable initially deferred);
            insert into p values (1); insert into c values (1);",
        ),
        ("0002_b.sql", "alter table c add column x int not null default 0;"),
    ]);
    let applied = bench.apply().unwrap();
    assert_eq!(applied.mode, Mode::Each);
    assert_eq!(bench.history(), "0001 applied, 0002 applied");
}

#[test]
fn a_deferred_constraint_fails_at_the_commit_and_leaves_nothing() {
    let bench = Bench::new("apply_deferred");
    bench.ship(&[(
        "0001_a.sql",
        "create table p (id int primary key);
        create table c (id int references p deferrable initially deferred);
        insert into c values (1);",
    )]);
    let before = bench.dump();
    let failure = bench.apply().unwrap_err();
    assert!(failure.error.message().contains("could not be committed"), "{failure:?}");
    assert!(failure.error.details()[0].contains("c_id_fkey"), "{failure:?}");
    assert_eq!(failure.data, DataState::Unchanged);
    assert_eq!(bench.dump(), before);
}

#[test]
fn more_than_two_thousand_run_in_batches() {
    let bench = Bench::new("apply_many");
    let mut files: Vec<(String, &str)> =
        (1..=2001).map(|n| (format!("{n:04}_x.sql"), "select 1")).collect();
    files.push(("2002_x.sql".into(), "select nothing"));
    for (name, text) in &files {
        bench.ship(&[(name, text)]);
    }
    let failure = bench.apply().unwrap_err();
    assert_eq!(failure.applied.len(), 2000);
    assert_eq!(failure.data, DataState::Partly);
    assert_eq!(
        failure.error.state_line().unwrap(),
        "2000 migrations were applied (0001 to 2000), 2002 failed"
    );
    std::fs::remove_file(bench.file("2002_x.sql")).unwrap();
    assert_eq!(bench.apply().unwrap().versions, ["2001"]);
}

#[test]
fn a_hidden_commit_is_refused_before_anything_runs() {
    let bench = Bench::new("apply_commit");
    bench.ship(&[
        ("0001_a.sql", "create table a (id int);"),
        ("0002_b.sql", "create table b (id int);\n  commit;\ncreate table c (id int);"),
    ]);
    let before = bench.dump();
    let failure = bench.apply().unwrap_err();
    assert_eq!(failure.error.outcome(), Outcome::Refused);
    assert_eq!(
        failure.error.message(),
        "migration 0002_b contains transaction control (COMMIT), which cannot run here"
    );
    assert!(failure.error.details()[0].starts_with("line 2 of "), "{failure:?}");
    assert_eq!(bench.dump(), before);
}

#[test]
fn a_transaction_that_ended_is_noticed_before_the_next_file_runs() {
    let bench = Bench::new("apply_ended");
    for escape in ["commit", "rollback", "commit; begin", "commit; begin; create table x ()"] {
        let mut session = bench.session();
        let limits = Limits::for_session(&mut session, bench.lock_timeout).unwrap();
        let mark = session.begin_script(&limits).unwrap();
        session.run_script(&mark, &limits, "select 1").unwrap();
        session.run_script(&mark, &limits, escape).unwrap();
        let next = session.run_script(&mark, &limits, "create table never (id int)");
        assert!(matches!(next, Err(ScriptError::TransactionEnded)), "{escape}: {next:?}");
    }
    assert_eq!(bench.psql("select to_regclass('never')"), "");
}

/// The next file is on its way while the server runs one: nothing of it is run where that one ends the
/// transaction or fails, and what is asked afterwards has its own answer.
#[test]
fn a_file_that_was_sent_ahead_is_not_run_in_another_transaction() {
    let bench = Bench::new("apply_ahead");
    for (first, fails) in
        [("commit", false), ("rollback", false), ("commit; begin", false), ("select 1 / 0", true)]
    {
        let mut session = bench.session();
        let limits = Limits::for_session(&mut session, bench.lock_timeout).unwrap();
        let mark = session.begin_script(&limits).unwrap();
        let sent = [first, "create table never (id int)", "create table never (id int)"]
            .map(|sql| session.send_script(&mark, &limits, sql));
        let [first, second, _] = sent;
        assert_eq!(session.end_script(first).is_err(), fails);
        match session.end_script(second) {
            Err(ScriptError::TransactionEnded) => assert!(!fails),
            Err(ScriptError::Sql(error)) => assert_eq!(error.code.as_deref(), Some("25P02")),
            Ok(()) => panic!("it was run"),
        }
        session.roll_back_script().unwrap();
        assert_eq!(session.single("select 'asked'").unwrap().as_deref(), Some("asked"));
    }
    assert_eq!(bench.psql("select to_regclass('never')"), "");
}

/// Its text is sent when the one before it has ended, and its error is its own.
#[test]
fn a_file_of_megabytes_runs_among_small_ones() {
    let bench = Bench::new("apply_large");
    let large = format!("-- {}\ninsert into a values (2);\n", "x".repeat(3 << 20));
    let wrong = format!("-- {}\nselect 1 / 0;\n", "x".repeat(3 << 20));
    let small = ["create table a (id int);", "insert into a values (1);"];
    bench.ship(&[("0001_a.sql", small[0]), ("0002_b.sql", &large), ("0003_c.sql", small[1])]);
    bench.apply().unwrap();
    assert_eq!(bench.psql("select string_agg(id::text, ' ') from a"), "2 1");
    bench.ship(&[("0004_d.sql", small[1]), ("0005_e.sql", &wrong), ("0006_f.sql", small[1])]);
    let failure = bench.apply().unwrap_err();
    assert_eq!(failure.failed.as_deref(), Some("0005"), "{failure:?}");
    assert_eq!(bench.psql("select string_agg(id::text, ' ') from a"), "2 1");
}

#[test]
fn what_only_psql_can_run_is_refused_before_anything_runs() {
    let bench = Bench::new("apply_psql");
    for (text, word) in [
        ("create table a (id int);\ncopy a from stdin;\n1\n\\.\n", "COPY FROM STDIN"),
        ("\\set x 1\nselect :x;", "psql command"),
    ] {
        bench.ship(&[("0001_a.sql", text)]);
        let failure = bench.apply().unwrap_err();
        assert!(failure.error.message().contains(word), "{failure:?}");
    }
    assert_eq!(bench.psql("select to_regclass('openwatch_schema_history')"), "");
}

#[test]
fn a_place_is_that_of_the_file_also_where_its_section_begins_later() {
    let text =
        "-- größe\n\n-- +goose Up\nselect 1;\nselect 'ä', fehlt;\n\n-- +goose Down\nselect 2;\n";
    for directive in ["", "-- +goose NO TRANSACTION"] {
        let mut bench = Bench::new(&format!("apply_section_{}", directive.len()));
        bench.format = Format::Goose;
        bench.ship(&[("1_a.sql", &text.replacen("\n\n", &format!("\n{directive}\n"), 1))]);
        let failure = bench.apply().unwrap_err();
        let place =
            format!("SQLSTATE 42703 at line 5, column 13 of {}", bench.file("1_a.sql").display());
        assert!(failure.error.details()[0].starts_with(&place), "{failure:?}");
    }
}
