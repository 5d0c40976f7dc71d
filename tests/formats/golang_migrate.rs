//! What is particular to golang-migrate: one row, which is a mark.

use std::time::Duration;

use openwatch::config::Format;
use openwatch::migrations::{ProblemKind, State};
use openwatch::outcome::Outcome;

use super::site::Site;
use super::support::machine::TestMachine;

const FILES: &[(&str, &str)] = &[
    ("1_a.up.sql", "create table a ();"),
    ("1_a.down.sql", "drop table a;"),
    ("2_b.up.sql", "create table b ();"),
    ("4_d.up.sql", "create table d ();"),
];

#[test]
fn a_file_that_is_added_below_the_mark_is_listed_and_never_run() {
    let site = Site::new(Format::GolangMigrate, "golang_below");
    site.ship(FILES).apply().unwrap();
    assert_eq!(site.look().assumed, ["1", "2"]);
    site.ship(&[("3_c.up.sql", "create table c ();")]);
    let found = site.look();
    assert_eq!((found.state, found.pending.len()), (State::Current, 0));
    assert_eq!(found.assumed, ["1", "2", "3"]);
    assert_eq!(site.apply().unwrap().versions, [""; 0]);
    assert_eq!(site.psql("select to_regclass('c') is null"), "t");
    // Marking it would set the mark back, and with it what lies between.
    let chain = site.load().unwrap();
    let refused =
        openwatch::migrations::mark_applied(&mut site.session(), &chain, "3", "1").unwrap_err();
    assert_eq!(refused.outcome(), Outcome::Refused);
    assert_eq!(site.psql("select version from schema_migrations"), "4");
}

#[test]
fn a_dirty_database_is_refused_and_both_ways_out_work() {
    let site = Site::new(Format::GolangMigrate, "golang_dirty");
    site.ship(FILES).apply().unwrap();
    site.psql("drop table d; update schema_migrations set dirty = true");
    let found = site.look();
    assert_eq!(found.problems[0].kind, ProblemKind::Indeterminate, "{found:?}");
    assert!(found.problems[0].what.contains("dirty"), "{found:?}");
    assert_eq!(site.apply().unwrap_err().error.outcome(), Outcome::Refused);
    // It took no effect: the command that is shown sets the mark back, and it runs again.
    site.repair_as_told(&found.problems[0].detail);
    assert_eq!(site.apply().unwrap().versions, ["4"]);
    // It took effect.
    site.psql("update schema_migrations set dirty = true");
    site.mark_applied("4");
    assert_eq!(site.look().state, State::Current);
}

#[test]
fn repair_of_a_mark_that_is_not_shipped_counts_nothing_above_it_as_applied() {
    let site = Site::new(Format::GolangMigrate, "golang_repair");
    site.ship(FILES).apply().unwrap();
    for (mark, left) in [("3", "2|f"), ("4", "2|f"), ("-1", ""), ("1", ""), ("9", "4|f")] {
        site.psql(&format!(
            "delete from schema_migrations; insert into schema_migrations values ({mark}, true)"
        ));
        let found = site.look();
        site.repair_as_told(&found.problems[0].detail);
        assert_eq!(site.psql("select version, dirty from schema_migrations"), left, "{mark}");
    }
}

#[test]
fn a_version_with_only_a_way_back_is_an_empty_migration() {
    let site = Site::new(Format::GolangMigrate, "golang_down_only");
    site.ship(&[("1_a.up.sql", "create table a ();"), ("2_b.down.sql", "drop table a;")]);
    assert_eq!(site.apply().unwrap().versions, ["1", "2"]);
    assert_eq!(site.psql("select to_regclass('a') is not null"), "t");
}

#[test]
fn a_running_golang_migrate_keeps_us_out_and_is_left_alone_afterwards() {
    let site = Site::new(Format::GolangMigrate, "golang_lock");
    site.ship(FILES);
    // The key of a program that was given the name of the database, not a URL.
    let names = b"public\0schema_migrations\0golang_lock";
    let key = i64::from(crc32(names).wrapping_mul(1_486_364_155));
    let mut other = site.session();
    other.run(&format!("select pg_advisory_lock({key})")).unwrap();
    let failure = site.apply_within(Duration::from_millis(100)).unwrap_err();
    assert_eq!(failure.error.outcome(), Outcome::Busy, "{failure}");
    assert!(failure.error.message().contains("golang-migrate"), "{failure}");
    other.run(&format!("select pg_advisory_unlock({key})")).unwrap();
    site.apply().unwrap();
    let free = other.single(&format!("select pg_try_advisory_lock({key})")).unwrap();
    assert_eq!(free.as_deref(), Some("t"));
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
        }
    }
    !sum
}

#[test]
fn the_program_applies_and_shows_what_is_assumed_and_auto_finds_the_same() {
    let machine = TestMachine::with_empty_database().with_unit("openwatch.service", "inactive");
    let dir = machine.migrations("main");
    for (name, text) in FILES {
        std::fs::write(dir.join(name), text).unwrap();
    }
    let of = |format: &str| format!("format = \"{format}\", dir = {dir:?}");
    let machine = machine.migrated_by(&of("golang-migrate"));
    machine.run(["migrate"]).success();
    let (_, named) = machine.json(["migrate", "--status"]);
    let database = &named["databases"][0];
    assert_eq!(database["state"], "current", "{named}");
    assert_eq!(database["assumed"], serde_json::json!(["1", "2"]));
    let machine = machine.migrated_by(&of("auto"));
    let (_, found) = machine.json(["migrate", "--status"]);
    assert_eq!(found["databases"], named["databases"]);
}
