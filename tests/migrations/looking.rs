//! Looking changes nothing, and tells what is there.

use openwatch::database::{Database, Source};
use openwatch::migrations::{self, ProblemKind, State};
use openwatch::outcome::Outcome;

use super::Bench;
use super::support::machine::{TestMachine, message};

const TWO: &[(&str, &str)] = &[
    ("0001_hosts.sql", "create table hosts (id int primary key);"),
    ("0002_index.sql", "-- openwatch: no-transaction\ncreate index concurrently h on hosts (id);"),
];

/// Rows 3 and 7.
#[test]
fn a_fresh_database_is_empty_and_looking_leaves_it_so() {
    let bench = Bench::new("look_fresh");
    bench.ship(TWO);
    let before = bench.dump();
    let found = bench.look();
    assert_eq!(found.state, State::Empty);
    assert_eq!((found.current, found.applied), (None, 0));
    assert_eq!(found.head.as_deref(), Some("0002"));
    let pending: Vec<_> =
        found.pending.iter().map(|p| (p.version.as_str(), p.transactional)).collect();
    assert_eq!(pending, [("0001", true), ("0002", false)]);
    assert_eq!(found.problems, []);
    assert_eq!(bench.dump(), before);
}

/// Row 7.
#[test]
fn looking_takes_no_transaction_id_and_needs_no_right_to_create() {
    let bench = Bench::new("look_reader");
    bench.ship(TWO).apply().unwrap();
    bench.psql(
        "create role look_reader login; revoke create on schema public from public;
         grant select on openwatch_schema_history to look_reader;
         alter role look_reader set default_transaction_read_only = on",
    );
    let before = (bench.dump(), bench.psql("select txid_snapshot_xmax(txid_current_snapshot())"));
    let conninfo = bench.conninfo.replace("user=postgres", "user=look_reader");
    let source = Source { conninfo: Some(conninfo), ..Source::default() };
    let mut session = Database::resolve(&source).unwrap().connect().unwrap();
    let found = migrations::look(&mut session, &bench.shipped()).unwrap();
    assert_eq!(found.state, State::Current);
    assert_eq!(found.applied, 2);
    let xid = session.single("select txid_current_if_assigned()").unwrap();
    assert_eq!(xid, None);
    assert_eq!(bench.dump(), before.0);
}

#[test]
fn a_history_table_that_may_not_be_read_is_a_matter_of_configuration() {
    let bench = Bench::new("look_denied");
    bench.ship(TWO).apply().unwrap();
    bench.psql("create role look_denied login");
    let conninfo = bench.conninfo.replace("user=postgres", "user=look_denied");
    let source = Source { conninfo: Some(conninfo), ..Source::default() };
    let mut session = Database::resolve(&source).unwrap().connect().unwrap();
    let error = migrations::look(&mut session, &bench.shipped()).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Config);
    assert!(error.message().contains("permission denied"), "{error:?}");
    // The session can still be used.
    assert_eq!(session.single("select 1").unwrap().as_deref(), Some("1"));
}

/// Row 3.
#[test]
fn foreign_tables_without_history_are_unknown_and_refused() {
    let bench = Bench::new("look_unknown");
    bench.ship(TWO).psql("create table theirs (a int)");
    let before = bench.dump();
    assert_eq!(bench.look().state, State::Unknown);
    let failure = bench.apply().unwrap_err();
    assert_eq!(failure.error.outcome(), Outcome::Refused);
    assert_eq!(
        failure.error.message(),
        "the database has tables, but no history table openwatch_schema_history"
    );
    assert_eq!(bench.dump(), before);
}

#[test]
fn a_history_table_off_the_search_path_is_named() {
    let bench = Bench::new("look_elsewhere");
    bench.ship(TWO).psql("create schema app");
    bench.psql("alter database look_elsewhere set search_path = app, public");
    bench.apply().unwrap();
    assert_eq!(bench.look().state, State::Current);
    bench.psql("alter database look_elsewhere set search_path = public");
    let found = bench.look();
    assert_eq!(found.state, State::Unknown);
    assert!(found.problems[0].detail.contains("schema app"), "{found:?}");
}

#[test]
fn what_extensions_bring_does_not_make_a_database_unknown() {
    let bench = Bench::new("look_extension");
    bench.ship(TWO).psql("create extension pg_stat_statements");
    assert_eq!(bench.look().state, State::Empty);
}

#[test]
fn a_search_path_without_a_schema_is_refused_before_anything_runs() {
    let bench = Bench::new("look_nowhere");
    bench.ship(TWO).psql("alter database look_nowhere set search_path = nowhere");
    let failure = bench.apply().unwrap_err();
    assert_eq!(failure.error.outcome(), Outcome::Config);
    assert!(failure.error.message().contains("search path"), "{failure:?}");
}

/// Rows 5 and 6.
#[test]
fn ahead_divergent_missing_and_gaps_are_refused_by_name_and_nothing_is_written() {
    let bench = Bench::new("look_refused");
    let all: Vec<(String, String)> =
        (1..=4).map(|n| (format!("{n:04}_t.sql"), format!("create table t{n} ();"))).collect();
    for (name, text) in &all {
        bench.ship(&[(name, text)]);
    }
    bench.apply_as("3.1").unwrap();
    let before = bench.dump();
    let gone = |name: &str| std::fs::remove_file(bench.file(name)).unwrap();

    gone("0004_t.sql");
    let found = bench.look();
    assert_eq!(found.state, State::Ahead);
    assert_eq!(found.current.as_deref(), Some("0004"));
    let refusal = found.refusal(Outcome::Refused).unwrap();
    assert_eq!(
        refusal.message(),
        "the schema is ahead: migration 0004_t is newer than this package"
    );
    assert!(refusal.hint_line().unwrap().contains("version 3.1"), "{refusal:?}");

    gone("0002_t.sql");
    assert_eq!(bench.look().state, State::Missing);
    assert_eq!(bench.look().problems[0].version, "0002");

    bench.ship(&[("0002_t.sql", "create table t2 (edited int);"), ("0004_t.sql", &all[3].1)]);
    assert_eq!(bench.look().state, State::Divergent);

    bench.ship(&[("0002_t.sql", &all[1].1), ("0006_t.sql", "select 1")]);
    let found = bench.look();
    assert_eq!(found.problems[0].kind, ProblemKind::Gap);
    let failure = bench.apply().unwrap_err();
    assert!(failure.error.message().starts_with("gap: "), "{failure:?}");
    assert_eq!(bench.dump(), before);
}

#[test]
fn an_application_set_up_by_other_means_is_adopted_by_one_mark() {
    let bench = Bench::new("look_adopt");
    bench.ship(TWO).psql("create table hosts (id int primary key)");
    let marked =
        migrations::mark_applied(&mut bench.session(), &bench.shipped(), "1", "1.0").unwrap();
    assert_eq!(marked, ["0001"]);
    let found = bench.look();
    assert_eq!((found.state, found.pending.len()), (State::Pending, 1));
    bench.apply().unwrap();
    assert_eq!(bench.history(), "0001 applied, 0002 applied");
}

#[test]
fn a_mark_settles_an_edited_file_and_an_unknown_version_is_a_usage_error() {
    let bench = Bench::new("look_settle");
    bench.ship(TWO).apply().unwrap();
    bench.ship(&[("0001_hosts.sql", "create table hosts (id int primary key); -- ours")]);
    assert_eq!(bench.look().state, State::Divergent);
    let mut session = bench.session();
    migrations::mark_applied(&mut session, &bench.shipped(), "0001", "1.0").unwrap();
    assert_eq!(bench.look().state, State::Current);
    let error =
        migrations::mark_applied(&mut session, &bench.shipped(), "0009", "1.0").unwrap_err();
    assert_eq!(error.outcome(), Outcome::Usage);
}

#[test]
fn the_mark_on_the_command_line_is_the_way_out_of_an_edited_file() {
    let machine = TestMachine::new();
    let file = machine.migrations("main").join("0001_machines.sql");
    let text = std::fs::read_to_string(&file).unwrap() + "-- edited\n";
    std::fs::write(&file, text).unwrap();
    let (code, seen) = machine.json(["migrate", "--check"]);
    assert_eq!((code, &seen["databases"][0]["state"]), (11, &"divergent".into()), "{seen}");
    let hint = seen["databases"][0]["problems"][0]["hint"].as_str().unwrap();
    let command = hint.split('`').nth(1).unwrap();
    assert_eq!(command, "openwatch migrate --mark-applied 0001");
    // Nobody sits at a terminal here who could be asked.
    let asked = machine.run(command.split(' ').skip(1)).code(5);
    let sure = message(&asked).hint;
    let command = sure.split('`').nth(1).unwrap();
    machine.run(command.split(' ').skip(1)).success();
    let (code, seen) = machine.json(["migrate", "--check"]);
    assert_eq!((code, &seen["databases"][0]["state"]), (0, &"current".into()), "{seen}");
}
