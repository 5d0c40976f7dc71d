//! Hold and maintenance windows: nothing is upgraded against them, and what has begun is finished.

use std::fs;
use std::time::SystemTime;

use predicates::prelude::*;
use predicates::str::contains;

use crate::support::machine::{TestMachine, message};

/// A window that is closed whenever the tests run: some days from now. The machine has no zone: UTC.
pub fn elsewhen() -> String {
    let days = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() / 86_400;
    // The first day of 1970 was a Thursday.
    let day = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"][(days as usize + 3 + 3) % 7];
    format!("{day} 10:00-11:00")
}

/// Row 78.
#[test]
fn a_hold_refuses_until_it_is_released() {
    let machine = TestMachine::new().ship("good");
    let placed = ["upgrade", "hold", "--until", "2099-01-31", "--reason", "audit week"];
    machine.run(placed).success().stdout(contains("until Sun 2099-02-01 00:00 UTC: audit week"));
    let refused = machine.run(["upgrade"]).code(5);
    let message = message(&refused);
    assert!(message.first.starts_with("openwatch is held since "), "{message:#?}");
    assert!(message.first.ends_with(" until Sun 2099-02-01 00:00 UTC: audit week"));
    assert!(message.state.starts_with("nothing was changed"), "{message:#?}");
    assert_eq!(
        message.hint,
        "To do it now, run `openwatch upgrade release`, or run `openwatch upgrade --now`."
    );
    assert_eq!((machine.acts(), machine.schema()), (vec![], "0002".into()));
    assert!(!machine.mark().exists() && !machine.upgrade_dir().join("journal.json").exists());
    machine.run(["migrate"]).code(5);
    let (code, status) = machine.json(["status"]);
    assert_eq!((code, &status["hold"]["state"]), (0, &"held".into()));
    assert_eq!(status["hold"]["until"], "2099-02-01T00:00:00Z");
    machine.run(["status"]).success().stdout(contains("  hold:          held since "));
    machine.run(["preflight"]).success().stdout(contains("could begin, but openwatch is held"));
    machine.run(["upgrade", "--plan"]).success().stdout(contains("  not now: held since "));

    machine.run(["upgrade", "release"]).success().stdout("openwatch is no longer held\n");
    machine.run(["upgrade", "release"]).success().stdout("openwatch was not held\n");
    machine.run(["upgrade"]).success();
    assert_eq!(machine.schema(), "0004");
    assert_eq!(machine.json(["status"]).1["hold"], serde_json::Value::Null);
}

/// Row 93.
#[test]
fn now_goes_against_a_hold_once_and_the_journal_says_so() {
    let machine = TestMachine::new().ship("good");
    machine.run(["upgrade", "hold", "--reason", "audit"]).success();
    machine.run(["upgrade", "--now"]).success().stderr(contains("upgraded now all the same"));
    assert_eq!(machine.schema(), "0004");
    let overrode = machine.journal()["overrode"].as_str().unwrap().to_owned();
    assert!(overrode.starts_with("held since ") && overrode.ends_with(": audit"), "{overrode}");
    machine.run(["history"]).success().stdout(contains(format!("  although {overrode}")));
    // For that run alone.
    let machine = machine.migration("0005_more.sql", "CREATE TABLE more (id int);");
    machine.run(["upgrade"]).code(5);
    assert_eq!(machine.schema(), "0004");
}

/// Row 93.
#[test]
fn a_hold_that_has_lapsed_is_told_and_ignored() {
    let machine = TestMachine::new().ship("good");
    let hold = r#"{"since": "2020-01-01T00:00:00Z", "until": "2020-01-08T00:00:00Z"}"#;
    fs::write(machine.upgrade_dir().join("hold"), hold).unwrap();
    machine.run(["status"]).success().stdout(contains("  hold:          lapsed: held since "));
    machine.run(["upgrade"]).success().stderr(contains(
        "a hold has lapsed and is ignored: held since Wed 2020-01-01 00:00 UTC until Wed 2020-01-08 \
         00:00 UTC; `openwatch upgrade release` removes it",
    ));
    assert_eq!(machine.schema(), "0004");
    assert!(machine.journal().get("overrode").is_none());
}

#[test]
fn a_hold_that_makes_no_sense_is_not_placed_and_a_damaged_one_holds() {
    let machine = TestMachine::new().ship("good");
    let before = machine.tree();
    for until in ["yesterday", "2020-01-01", "2026-02-30", ""] {
        machine.run(["upgrade", "hold", "--until", until]).code(2);
    }
    machine.run(["upgrade", "--now", "hold"]).code(2);
    assert_eq!(machine.tree(), before);
    fs::write(machine.upgrade_dir().join("hold"), "{").unwrap();
    machine.run(["upgrade"]).code(5).stderr(contains("upgrade/hold cannot be read"));
    // Neither word needs a configuration that is whole.
    fs::write(machine.secrets(), "").unwrap();
    machine.run(["upgrade", "release"]).success();
    machine.run(["upgrade", "hold"]).success();
}

/// Row 78.
#[test]
fn outside_the_window_it_is_told_when_the_next_one_opens() {
    let window = elsewhen();
    let machine = TestMachine::new().ship("good").operator(&format!("window = {window:?}"));
    let refused = machine.run(["upgrade"]).code(5);
    let said = message(&refused).first;
    let start = format!("openwatch is outside the maintenance window {window}; it opens ");
    assert!(said.starts_with(&start) && said.ends_with(" 10:00 UTC"), "{said}");
    let (_, status) = machine.json(["status"]);
    assert_eq!(status["window"]["open"], false);
    assert_eq!(status["window"]["windows"], serde_json::json!([window]));
    assert!(status["window"]["next"].as_str().unwrap().ends_with("T10:00:00Z"), "{status}");
    assert_eq!(machine.json(["upgrade", "--plan"]).1["window"], status["window"]);
    machine.run(["upgrade", "--now"]).success();
    assert_eq!(machine.schema(), "0004");
    let machine = TestMachine::new().ship("good").operator("window = \"00:00-24:00\"");
    machine.run(["upgrade"]).success();
    assert_eq!(machine.json(["status"]).1["window"]["open"], true);
}

#[test]
fn a_window_that_is_none_refuses_and_names_the_line() {
    let machine = TestMachine::new().ship("good").operator("window = \"Sat 22-04\"");
    machine.run(["upgrade"]).code(3).stderr(
        contains("upgrade.conf:1: window \"Sat 22-04\" has \"22\", which is no time HH:MM")
            .and(contains("write `window = \"Sat 22:00-04:00\"`")),
    );
}

#[test]
fn what_has_begun_is_finished_at_any_time() {
    let machine = TestMachine::new()
        .ship("good")
        .operator(&format!("window = {:?}", elsewhen()))
        .marked(Some("deb"), &["openwatch.service"]);
    machine.run(["upgrade", "hold"]).success();
    machine.run(["upgrade", "--unit"]).success().stderr(contains("has begun and is finished"));
    assert_eq!(machine.schema(), "0004");
    machine.assert_clean();
}

#[test]
fn the_first_schema_of_a_new_database_waits_for_no_window() {
    let machine = TestMachine::with_empty_database()
        .with_unit("openwatch.service", "inactive")
        .operator(&format!("window = {:?}", elsewhen()));
    machine.run(["upgrade", "hold"]).success();
    machine.run(["migrate"]).success();
    assert_eq!(machine.schema(), "0002");
}
