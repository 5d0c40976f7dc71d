//! What is particular to sqlx: its own half-done mark, its lock, its checksums, what it ignores.

use openwatch::config::TableName;
use openwatch::migrations::{ProblemKind, State};
use openwatch::outcome::Outcome;

use super::rust_roads::Road;
use super::rust_tools::Tool;

const TWO: &[(&str, &str)] =
    &[("1_a.sql", "create table a (id int);\n"), ("2_b_and_c.sql", "create table b (id int);\n")];

fn road(dbname: &str, files: &[(&str, &str)]) -> Option<Road> {
    let road = Road::new(Tool::Sqlx, dbname)?;
    road.site.ship(files);
    Some(road)
}

#[test]
fn a_changed_file_is_refused_by_both() {
    let Some(road) = road("sqlx_changed", TWO) else { return };
    road.real().migrate().unwrap();
    road.site.ship(&[("1_a.sql", "create table a (id bigint);\n")]);
    let found = road.site.look();
    assert_eq!((found.state, found.problems[0].kind), (State::Divergent, ProblemKind::Divergent));
    assert_eq!(road.site.apply().unwrap_err().error.outcome(), Outcome::Refused);
    let said = road.real().migrate().unwrap_err();
    assert!(said.contains("migration 1 was previously applied but has been modified"), "{said}");

    road.site.mark_applied("1");
    assert_eq!(road.site.look().state, State::Current);
    assert_eq!(road.real().pending(), [""; 0]);
}

#[test]
fn other_line_ends_are_no_change() {
    let Some(road) = road("sqlx_line_ends", TWO) else { return };
    road.real().migrate().unwrap();
    road.site.ship(&[("1_a.sql", "create table a (id int);\r\n")]);
    assert_eq!(road.site.look().state, State::Current);
    // The tool minds.
    assert!(road.real().pending()[0].contains("different checksum"));
}

#[test]
fn what_is_half_done_is_refused_by_both_until_it_is_decided() {
    let Some(road) = road("sqlx_half", TWO) else { return };
    road.real().migrate().unwrap();
    road.site.psql("update _sqlx_migrations set success = false where version = 2");
    let found = road.site.look();
    assert_eq!(found.problems[0].kind, ProblemKind::Indeterminate);
    assert_eq!((found.state, found.applied), (State::Divergent, 1));
    assert!(road.real().migrate().unwrap_err().contains("migration 2 is partially applied"));
    // It took no effect: the row goes, and the tool runs it again.
    road.site.repair_as_told(&found.problems[0].detail);
    road.site.psql("drop table b");
    assert!(road.real().migrate().unwrap().starts_with("Applied 2/migrate b and c"));
    // It took effect.
    road.site.psql("update _sqlx_migrations set success = false where version = 2");
    road.site.mark_applied("2");
    assert_eq!(road.site.look().state, State::Current);
    assert_eq!(road.real().migrate().unwrap(), "");
}

#[test]
fn a_mark_is_left_where_the_end_is_not_known_and_sqlx_heeds_it() {
    let Some(road) = road("sqlx_mark", TWO) else { return };
    road.site.ship(&[("3_p.sql", "-- no-transaction\ncall committing()")]);
    road.site.psql(
        "create procedure committing() language plpgsql as \
         $$ begin create table left_behind (); commit; raise exception 'half way'; end $$",
    );
    road.site.apply().unwrap_err();
    let rows = "select version, success, execution_time < 0 from _sqlx_migrations order by 1";
    assert_eq!(road.site.psql(rows), "1|t|f\n2|t|f\n3|f|t");
    assert!(road.real().migrate().unwrap_err().contains("migration 3 is partially applied"));
}

#[test]
fn the_lock_of_the_library_is_held_with_ours_while_migrations_run() {
    let held = "select string_agg((classid::bigint << 32 | objid::bigint)::text, ' ') from pg_locks \
                where locktype = 'advisory' and database = \
                  (select oid from pg_database where datname = current_database())";
    let Some(road) = road("sqlx_lock", &[("1_a.sql", &format!("create table a as {held}"))]) else {
        return;
    };
    road.site.apply().unwrap();
    let key = 0x3d32_ad9e * i64::from(crc32fast::hash(b"sqlx_lock"));
    let keys = road.site.psql("select * from a");
    assert!(keys.split(' ').any(|had| had == key.to_string()) && keys.contains(' '), "{keys}");
    assert_eq!(road.site.psql(held), "");
}

#[test]
fn a_late_older_file_is_applied_by_both() {
    let Some(road) = road("sqlx_late", TWO) else { return };
    road.site.ship(&[("9_z.sql", "create table z (id int)")]);
    road.real().migrate().unwrap();
    road.site.ship(&[("5_m.sql", "create table m (id int)")]);
    assert_eq!(road.site.look().state, State::Pending);
    assert_eq!(road.site.apply().unwrap().versions, ["5"]);
    road.site.ship(&[("6_n.sql", "create table n (id int)")]);
    assert!(road.real().migrate().unwrap().contains("6/migrate n"));
    assert_eq!(road.site.look().state, State::Current);
}

#[test]
fn a_row_without_a_file_is_refused_by_both() {
    let Some(road) = road("sqlx_missing", TWO) else { return };
    road.real().migrate().unwrap();
    std::fs::remove_file(road.site.dir.path().join("1_a.sql")).unwrap();
    assert_eq!(road.site.look().state, State::Missing);
    assert!(
        road.real()
            .migrate()
            .unwrap_err()
            .contains("migration 1 was previously applied but is missing")
    );
}

#[test]
fn what_sqlx_ignores_is_ignored_and_what_it_stops_at_is_refused() {
    let Some(road) = road("sqlx_ignored", TWO) else { return };
    road.site.ship(&[
        ("4.sql", "broken"),
        ("5-x.sql", "broken"),
        ("6_x.SQL", "broken"),
        ("7_x.txt", "broken"),
        ("notes/8_x.sql", "broken"),
        ("9_x.down.sql", "broken"),
        ("README.md", "words"),
    ]);
    assert_eq!(road.site.apply().unwrap().versions, ["1", "2"]);
    assert_eq!(road.real().pending(), [""; 0]);

    road.site.ship(&[("first_x.sql", "select 1")]);
    let error = road.site.load().unwrap_err();
    assert_eq!(error.outcome(), Outcome::Config);
    assert!(error.message().contains("first_x.sql is not named like a migration"), "{error:?}");
    assert!(road.real().migrate().unwrap_err().contains("expected integer version prefix"));
}

#[test]
fn several_statements_outside_a_transaction_run_where_sqlx_cannot_and_count_as_installed() {
    let Some(road) = road("sqlx_several", TWO) else { return };
    road.real().migrate().unwrap();
    let both = "-- no-transaction\ncreate index concurrently i on a (id);\n\
                create index concurrently j on b (id);\n";
    road.site.ship(&[("3_i.sql", both)]);
    let said = road.real().migrate().unwrap_err();
    assert!(
        said.contains("cannot be executed within a pipeline")
            || said.contains("inside a transaction block"),
        "{said}"
    );
    assert_eq!(road.site.apply().unwrap().versions, ["3"]);
    assert_eq!(road.real().pending(), [""; 0]);
    assert_eq!(road.site.psql("select count(*) from pg_index where indisvalid and indexrelid in ('i'::regclass, 'j'::regclass)"), "2");
}

#[test]
fn another_history_table_is_the_one_of_sqlx_toml() {
    let Some(mut road) = road("sqlx_table", TWO) else { return };
    road.site.table = Some(TableName { schema: Some("app".into()), name: "history".into() });
    road.site.psql("create schema app");
    road.site.apply().unwrap();
    assert_eq!(road.site.psql("select count(*) from app.history"), "2");
    assert_eq!(road.site.psql("select to_regclass('_sqlx_migrations') is null"), "t");
    let toml = road.site.dir.path().join("sqlx.toml");
    std::fs::write(&toml, "[migrate]\ntable-name = \"app.history\"\n").unwrap();
    let info = road.real().sqlx(&["migrate", "info", "--config", toml.to_str().unwrap()]).unwrap();
    assert_eq!(info.matches("/installed ").count(), 2, "{info}");
}
