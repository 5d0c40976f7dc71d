//! What is particular to refinery: two letters, two widths of versions, no word for "no transaction".

use openwatch::config::Format;
use openwatch::migrations::{ProblemKind, State};
use openwatch::outcome::Outcome;

use super::rust_roads::Road;
use super::rust_tools::Tool;
use super::site::Site;

const TWO: &[(&str, &str)] = &[
    ("V1__a.sql", "create table a (id int);\n"),
    ("deeper/V0010__b.sql", "create table b (id int);\n"),
];

fn road(dbname: &str, files: &[(&str, &str)]) -> Option<Road> {
    let road = Road::new(Tool::Refinery, dbname)?;
    road.site.ship(files);
    Some(road)
}

#[test]
fn a_changed_file_is_refused_by_both_and_other_line_ends_are_no_change() {
    let Some(road) = road("refinery_changed", TWO) else { return };
    road.real().migrate().unwrap();
    road.site.ship(&[("V1__a.sql", "create table a (id int);\r\n")]);
    assert_eq!(road.site.look().state, State::Current);
    road.site.ship(&[("V1__a.sql", "create table a (id bigint);\n")]);
    assert_eq!(road.site.look().problems[0].kind, ProblemKind::Divergent);
    assert!(road.real().migrate().unwrap_err().contains("V1__a is different than"));
    // A name is part of it.
    road.site.ship(&[TWO[0]]);
    let file = |name: &str| road.site.dir.path().join(name);
    std::fs::rename(file("V1__a.sql"), file("V1__other.sql")).unwrap();
    assert_eq!(road.site.look().problems[0].kind, ProblemKind::Divergent);
}

#[test]
fn a_late_u_is_applied_by_both_and_a_late_v_refused_by_both() {
    let Some(road) = road("refinery_late", TWO) else { return };
    road.real().migrate().unwrap();
    road.site.ship(&[("U5__late.sql", "create table u ()")]);
    assert_eq!(road.site.apply().unwrap().versions, ["5"]);
    road.site.ship(&[("U6__later.sql", "create table v ()")]);
    assert!(road.real().migrate().unwrap().contains("applying migration: U6__later"));
    assert_eq!(road.site.look().state, State::Current);

    road.site.ship(&[("V7__too_late.sql", "create table w ()")]);
    assert_eq!(road.site.look().problems[0].kind, ProblemKind::Gap);
    assert_eq!(road.site.apply().unwrap_err().error.outcome(), Outcome::Refused);
    assert!(road.real().migrate().unwrap_err().contains("V7__too_late is missing"));
}

#[test]
fn what_cannot_run_in_a_transaction_runs_alone_and_refinery_finds_it_done() {
    let Some(road) = road("refinery_alone", TWO) else { return };
    road.real().migrate().unwrap();
    road.site.ship(&[("V11__i.sql", "create index concurrently i on a (id)")]);
    assert!(road.real().migrate().unwrap_err().contains("cannot run inside a transaction block"));
    road.site.apply().unwrap();
    assert!(road.site.said().contains("11_i cannot share a transaction"), "{}", road.site.said());
    assert_eq!(road.real().pending(), [""; 0]);
    assert_eq!(road.site.psql("select to_regclass('openwatch_begun') is null"), "t");
}

#[test]
fn the_time_is_one_that_refinery_reads() {
    let Some(road) = road("refinery_time", TWO) else { return };
    road.site.apply().unwrap();
    let shape = r"select bool_and(applied_on ~ '^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$') from refinery_schema_history";
    assert_eq!(road.site.psql(shape), "t");
    // It panics over any other.
    assert_eq!(road.real().pending(), [""; 0]);
}

#[test]
fn a_history_of_the_other_width_is_told_as_the_other_format() {
    let Some(road) = road("refinery_width", TWO) else { return };
    road.real().migrate().unwrap();
    let mut wide = Site::new(Format::RefineryInt8, "refinery_width_other");
    wide.dbname = road.site.dbname.clone();
    wide.ship(TWO);
    let found = wide.look();
    assert_eq!(found.state, State::Unknown);
    let told = format!("{:?}", found.problems[0]);
    assert!(told.contains("format = \\\"refinery\\\""), "{told}");
}

#[test]
fn what_refinery_ignores_is_ignored_and_what_it_stops_at_is_refused() {
    let Some(road) = road("refinery_ignored", TWO) else { return };
    road.site.ship(&[
        ("V3_one_underscore.sql", "broken"),
        ("V4__two-words.sql", "broken"),
        ("v5__small.sql", "broken"),
        ("V6__a.sql.orig", "broken"),
        ("deeper/README.md", "words"),
    ]);
    assert_eq!(road.site.apply().unwrap().versions, ["1", "10"]);
    assert_eq!(road.real().pending(), [""; 0]);

    let refused = |file: &str, message: &str, hint: &str| {
        road.site.ship(&[(file, "select 1")]);
        let error = road.site.load().unwrap_err();
        assert!(error.message().contains(message), "{error:?}");
        assert!(error.hint_line().unwrap().contains(hint), "{error:?}");
        std::fs::remove_file(road.site.dir.path().join(file)).unwrap();
    };
    refused("V1.5__half.sql", "refinery takes no version 1.5", "another version");
    refused("V20260101120000__x.sql", "no version 20260101120000", "format = \"refinery-int8\"");
    refused("|12__x.sql", "is not named like a migration", "Rename it");
    refused("V01__again.sql", "two migrations have the number 1", "another number");
}

#[test]
fn a_migration_in_rust_is_refused_while_it_is_pending() {
    let Some(road) = road("refinery_rust", TWO) else { return };
    road.site.ship(&[("V12__code.rs", "pub fn migration() -> String { \"select 1\".into() }")]);
    let found = road.site.look();
    assert_eq!(found.problems[0].kind, ProblemKind::Unrunnable);
    assert!(found.problems[0].what.contains("12_code is written in Rust"), "{found:?}");
    std::fs::remove_file(road.site.dir.path().join("V12__code.rs")).unwrap();
    road.site.apply().unwrap();
    // As the application itself leaves it.
    road.site.psql(
        "insert into refinery_schema_history values (12, 'code', '2026-01-01T00:00:00Z', '1')",
    );
    road.site.ship(&[("V12__code.rs", "")]);
    assert_eq!(road.site.look().state, State::Current);
}
