//! What is particular to dbmate.

use openwatch::config::{Format, TableName};
use openwatch::migrations::{ProblemKind, State};

use super::go_tools::dbmate;
use super::site::Site;

fn file(name: &str) -> String {
    format!("-- migrate:up\ncreate table {name} ();\n-- migrate:down\ndrop table {name};\n")
}

#[test]
fn a_file_that_is_older_than_the_newest_applied_one_is_applied() {
    let site = Site::new(Format::Dbmate, "dbmate_older");
    site.ship(&[("1_a.sql", &file("a")), ("3_c.sql", &file("c"))]).apply().unwrap();
    site.ship(&[("2_b.sql", &file("b"))]);
    assert_eq!(site.look().state, State::Pending);
    assert_eq!(site.apply().unwrap().versions, ["2"]);
    if let Some(status) = dbmate(&site, &["status"]) {
        assert!(status.contains("Pending: 0"), "{status}");
    }
}

#[test]
fn versions_are_text_and_files_are_in_the_order_of_their_names() {
    let site = Site::new(Format::Dbmate, "dbmate_text");
    site.ship(&[("1_a.sql", &file("a")), ("10_b.sql", &file("b")), ("001_c.sql", &file("c"))]);
    assert_eq!(site.apply().unwrap().versions, ["001", "10", "1"]);
    let refused = site.ship(&[("1_twice.sql", &file("d"))]).load().unwrap_err();
    assert!(refused.message().starts_with("two migrations have the number 1"), "{refused:?}");
}

#[test]
fn a_history_table_in_a_schema_of_its_own_is_the_same_to_both() {
    let table = || Some(TableName { schema: Some("book".into()), name: "Kept".into() });
    let history = "select version from book.\"Kept\"";
    let roads = ["dbmate_table_ours", "dbmate_table_theirs"].map(|dbname| {
        let mut site = Site::new(Format::Dbmate, dbname);
        site.table = table();
        site.ship(&[("1_a.sql", &file("a"))]);
        if dbname.ends_with("ours") {
            site.apply().unwrap();
        } else {
            dbmate(&site, &["migrate"])?;
        }
        assert_eq!(site.look().state, State::Current);
        Some(site.picture(history))
    });
    if let [ours, Some(theirs)] = roads {
        assert_eq!(ours.unwrap(), theirs);
    }
}

#[test]
fn what_dbmate_would_not_run_is_refused_while_it_is_pending() {
    let site = Site::new(Format::Dbmate, "dbmate_obstacle");
    site.ship(&[("1_a.sql", &file("a")), ("2_b.sql", "-- migrate:up\nselect 1;\n")]);
    let found = site.look();
    assert_eq!(found.problems[0].kind, ProblemKind::Unrunnable);
    assert_eq!(found.problems[0].what, "migration 2_b has no line `-- migrate:down`");
    assert!(site.apply().is_err());
    site.mark_applied("2");
    assert_eq!(site.look().state, State::Current);
}

#[test]
fn an_error_is_named_by_its_place_in_the_whole_file() {
    let site = Site::new(Format::Dbmate, "dbmate_place");
    let text =
        "-- migrate:up\r\ncreate table a ();\r\nselect 'größe', wrong;\r\n-- migrate:down\r\n";
    let failure = site.ship(&[("1_a.sql", text)]).apply().unwrap_err();
    let details = failure.error.details().join("\n");
    assert!(details.contains("line 3, column 17 of"), "{details}");
}
