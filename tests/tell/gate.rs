//! The operator's word that opens the gate: dated, with a reason, shown, and over by itself.

use std::fs;
use std::path::PathBuf;

use openwatch::notify::MessageId;
use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;

use super::JournalSocket;
use super::support::machine::TestMachine;

fn word(machine: &TestMachine) -> PathBuf {
    machine.root().join("run/openwatch/gate-open")
}

fn failed() -> TestMachine {
    let machine = TestMachine::new().ship("failing");
    machine.run(["upgrade"]).code(7);
    machine
}

/// Row 93.
#[test]
fn an_opened_gate_is_dated_logged_and_shown_by_every_run() {
    let machine = failed();
    let journal = JournalSocket::of(&machine);
    machine.run(["gate"]).code(10).stderr(contains("the gate is closed since"));
    machine
        .run(["gate", "open", "--until", "2h", "--reason", "the shop must open"])
        .success()
        .stdout(contains("held open until 20").and(contains("the shop must open")));
    let told = journal.about(MessageId::GateOverridden);
    assert_eq!(told.len(), 1, "{told:?}");
    for start in ["OPENWATCH_UNTIL=20", "OPENWATCH_BY=", "OPENWATCH_REASON=the shop must open"] {
        assert!(told[0].iter().any(|line| line.starts_with(start)), "{start}: {told:?}");
    }
    machine.run(["gate"]).success().stdout(contains("held open until"));
    let shown =
        || contains("warning: the gate is held open until 20").and(contains("the shop must"));
    for words in [&["status"][..], &["migrate", "--status"], &["backup", "list"]] {
        machine.run(words.iter().copied()).success().stderr(shown());
    }
    let (_, status) = machine.json(["status"]);
    assert_eq!(status["gate"]["by_hand"]["reason"], "the shop must open", "{status}");
    assert_eq!(status["gate"]["state"], "closed", "{status}");
    machine.run(["gate", "close"]).success();
    assert_eq!(journal.about(MessageId::OverrideEnded).len(), 1);
    machine.run(["gate"]).code(10);
    machine.run(["gate", "close"]).success().stdout(contains("nobody had opened"));
}

/// Row 93.
#[test]
fn a_word_ends_by_itself_and_before_an_upgrade_begins() {
    let machine = failed();
    machine.run(["gate", "open", "--until", "1day", "--reason", "x"]).success();
    let mut over: serde_json::Value =
        serde_json::from_slice(&fs::read(word(&machine)).unwrap()).unwrap();
    over["until"] = "2026-01-01T00:00:00Z".into();
    for text in [over.to_string(), "{".into(), String::new()] {
        fs::write(word(&machine), text).unwrap();
        machine.run(["gate"]).code(10);
        machine.run(["status"]).success().stderr(contains("held open").not());
        // What only looks leaves it; the daily job takes it away, and units see it gone.
        assert!(word(&machine).exists());
        machine.run(["backup", "prune"]).success();
        assert!(!word(&machine).exists());
    }
    machine.run(["gate", "open", "--until", "1day", "--reason", "x"]).success();
    machine
        .migration("0004_audit.sql", "create table audit (id bigint)")
        .run(["upgrade", "--retry"])
        .success()
        .stderr(contains("no longer open by hand: an upgrade begins"));
}

/// Row 93.
#[test]
fn a_word_without_end_or_reason_is_not_taken() {
    let machine = failed();
    for (until, reason) in [("8d", "x"), ("2020-01-01", "x"), ("soon", "x"), ("1h", " \n")] {
        machine
            .run(["gate", "open", "--until", until, "--reason", reason])
            .code(2)
            .stderr(contains("nothing was changed"));
    }
    machine.run(["gate", "open", "--until", "1h"]).code(2);
    machine.run(["gate", "open", "--reason", "x"]).code(2);
    assert!(!word(&machine).exists());
    machine.run(["gate"]).code(10);
}
