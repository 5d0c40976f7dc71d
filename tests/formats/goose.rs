//! What is particular to goose.

use openwatch::config::Format;
use openwatch::migrations::{ProblemKind, State};

use super::site::Site;

const A: (&str, &str) =
    ("00001_a.sql", "-- +goose Up\ncreate table a ();\n-- +goose Down\ndrop table a;\n");
const B: (&str, &str) = ("00002_b.sql", "-- +goose Up\ncreate table b ();\n");

#[test]
fn a_migration_in_go_is_refused_while_it_is_pending_and_accepted_once_it_ran() {
    let site = Site::new(Format::Goose, "goose_go");
    site.ship(&[
        A,
        ("00002_seed.go", "package migrations\n"),
        ("helper.go", "package migrations\n"),
    ]);
    let found = site.look();
    assert_eq!(found.problems[0].kind, ProblemKind::Unrunnable);
    assert!(found.problems[0].what.starts_with("migration 2_seed is written in Go"), "{found:?}");
    assert!(site.apply().is_err());
    assert_eq!(site.psql("select to_regclass('a') is null"), "t");
    site.mark_applied("2");
    let found = site.look();
    assert_eq!((found.state, found.applied), (State::Current, 2), "{found:?}");
}

#[test]
fn an_old_history_with_rows_of_ways_back_is_read_as_goose_reads_it() {
    let site = Site::new(Format::Goose, "goose_old");
    site.psql(
        "create table goose_db_version (id serial not null, version_id bigint not null, \
         is_applied boolean not null, tstamp timestamp null default now(), primary key (id)); \
         insert into goose_db_version (version_id, is_applied) \
         values (0, true), (1, true), (2, true), (2, false); create table a ()",
    );
    site.ship(&[A, B]);
    let found = site.look();
    assert_eq!((found.state, found.current.as_deref()), (State::Pending, Some("1")), "{found:?}");
    assert_eq!(site.apply().unwrap().versions, ["2"]);
    assert_eq!(site.look().state, State::Current);
}

#[test]
fn a_table_with_nothing_but_version_zero_is_a_beginning() {
    let site = Site::new(Format::Goose, "goose_zero");
    site.ship(&[A]).apply().unwrap();
    site.psql("delete from goose_db_version where version_id = 1; drop table a");
    assert_eq!(site.look().state, State::Pending);
    assert_eq!(site.apply().unwrap().versions, ["1"]);
}

#[test]
fn a_file_that_was_never_applied_below_the_newest_is_refused() {
    let site = Site::new(Format::Goose, "goose_missing");
    site.ship(&[B]).apply().unwrap();
    site.ship(&[A]);
    let found = site.look();
    assert_eq!(found.problems[0].kind, ProblemKind::Gap, "{found:?}");
    assert!(site.apply().is_err());
}

#[test]
fn an_error_is_named_by_its_place_in_the_whole_file() {
    let site = Site::new(Format::Goose, "goose_place");
    let text = "-- +goose Up\n-- +goose StatementBegin\nselect 1;\n-- +goose StatementEnd\n\
                -- a comment\n\nselect 'größe', wrong;\n-- +goose Down\nselect 1;\n";
    let failure = site.ship(&[("1_a.sql", text)]).apply().unwrap_err();
    let details = failure.error.details().join("\n");
    assert!(details.contains("line 7, column 17 of"), "{details}");
}

#[test]
fn several_statements_without_a_transaction_are_those_of_the_file() {
    let site = Site::new(Format::Goose, "goose_alone");
    let text = "-- +goose NO TRANSACTION\n-- +goose Up\ncreate table t (a int);\n\
                create index concurrently t_a on t (a);\n";
    site.ship(&[("1_a.sql", text)]).apply().unwrap();
    assert_eq!(
        site.psql("select indisvalid from pg_index where indexrelid = 't_a'::regclass"),
        "t"
    );
    assert_eq!(site.look().state, State::Current);
    let ours = "select count(*) from pg_class where relname like 'openwatch%'";
    assert_eq!(site.psql(ours), "0");
}
