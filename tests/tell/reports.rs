//! Reports to addresses, entries of the journal, and what is kept for a receiver that was away.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use base64::Engine as _;
use openwatch::config::{NotifySpec, SecretSpec};
use openwatch::layout::Layout;
use openwatch::notify::{Desk, Event, MessageId, Work};
use openwatch::outcome::Outcome;
use openwatch::system::clock::Clock;
use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;
use ring::hmac;

use super::JournalSocket;
use super::receiver::{Act, Receiver, days_ago};
use super::support::machine::TestMachine;

fn event(outcome: Outcome) -> Event {
    Event {
        work: Work::Upgrade,
        outcome,
        app: "openwatch".into(),
        host: "web1".into(),
        from: Some("1.0.0".into()),
        to: "2.0.0".into(),
        restore_point: Some("20261120T131502Z-1.0.0".into()),
        step: Some("health".into()),
        started: "2026-11-20T13:15:02Z".into(),
        finished: "2026-11-20T13:15:09Z".into(),
        message: "upgraded\nsecond line".into(),
        next: None,
    }
}

/// A root of its own with an operator's `[notify]`.
struct Office {
    dir: tempfile::TempDir,
    spec: NotifySpec,
}

impl Office {
    fn with(spec: NotifySpec) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("etc/openwatch")).unwrap();
        fs::create_dir_all(dir.path().join("var/lib/openwatch/upgrade")).unwrap();
        Self { dir, spec }
    }

    fn telling(url: String) -> Self {
        Self::with(NotifySpec { url: Some(url), ..NotifySpec::default() })
    }

    fn layout(&self) -> Layout {
        Layout::new(self.dir.path(), "openwatch")
    }

    fn tell(&self, event: &Event) -> Vec<String> {
        Desk { layout: &self.layout(), spec: &self.spec, clock: Clock::System }.tell(event)
    }

    fn send_later(&self) -> Vec<String> {
        Desk { layout: &self.layout(), spec: &self.spec, clock: Clock::System }
            .send_later(super::PATIENCE)
    }

    fn spool(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.layout().spool()) else { return Vec::new() };
        let mut all: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        all.sort();
        all
    }
}

#[test]
fn an_outcome_is_reported_to_its_own_address() {
    let (success, failure) = (Receiver::that(&[]), Receiver::that(&[]));
    let office = Office::with(NotifySpec {
        success_url: Some(success.url()),
        failure_url: Some(failure.url()),
        ..NotifySpec::default()
    });
    assert_eq!(office.tell(&event(Outcome::Ok)), [""; 0]);
    for outcome in [Outcome::MigrationFailed, Outcome::RolledBack, Outcome::Unreachable] {
        assert_eq!(office.tell(&event(outcome)), [""; 0]);
    }
    let requests = success.requests();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].head.starts_with("POST /hook HTTP/1.1"), "{}", requests[0].head);
    assert_eq!(requests[0].header("content-type").as_deref(), Some("application/json"));
    let mut body = requests[0].json();
    let id = body["id"].take();
    assert_eq!(requests[0].header("webhook-id").as_deref(), id.as_str());
    assert_eq!(
        body,
        serde_json::json!({
            "id": null, "event": "upgrade.succeeded",
            "outcome": "ok", "app": "openwatch", "host": "web1", "from": "1.0.0", "to": "2.0.0",
            "restore_point": "20261120T131502Z-1.0.0", "step": "health",
            "started": "2026-11-20T13:15:02Z", "finished": "2026-11-20T13:15:09Z",
            "message": "upgraded", "next": null
        })
    );
    let told: Vec<_> = failure.requests().iter().map(|r| r.json()["event"].clone()).collect();
    assert_eq!(told, ["upgrade.failed", "upgrade.rolled_back", "upgrade.deferred"]);
    // The way back is no upgrade, however well it ends.
    let back = Event { work: Work::Rollback, ..event(Outcome::Ok) };
    assert_eq!(office.tell(&back), [""; 0]);
    assert_eq!(success.requests()[1].json()["event"], "rollback.succeeded");
    assert!(office.spool().is_empty());
}

/// Row 63.
#[test]
fn a_receiver_in_trouble_is_asked_again_with_the_same_report() {
    let receiver = Receiver::that(&[Act::Answer(500), Act::Reset, Act::Answer(429)]);
    let office = Office::telling(receiver.url());
    assert_eq!(office.tell(&event(Outcome::Ok)), [""; 0]);
    let requests = receiver.requests();
    assert_eq!(requests.len(), 4);
    assert!(requests.iter().all(|request| request.body == requests[0].body));
    assert!(office.spool().is_empty());
}

/// Row 63.
#[test]
fn a_report_that_nobody_takes_is_kept_privately_and_sent_later() {
    let receiver = Receiver::that(&[Act::Answer(401), Act::Answer(404), Act::Answer(503)]);
    let office = Office::telling(receiver.url());
    for (outcome, status) in [(Outcome::MigrationFailed, "401"), (Outcome::Ok, "404")] {
        let warnings = office.tell(&event(outcome));
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains(&format!("answered {status}; it is sent again later")));
    }
    // A receiver that says no for good is not asked twice in one run.
    assert_eq!(receiver.requests().len(), 2);
    let kept = office.spool();
    assert_eq!(kept.len(), 2);
    for path in [&kept[0], &office.layout().spool()] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o077, 0, "{path:?}");
    }
    // One that is still away is asked once, not once for each report.
    assert_eq!(office.send_later().len(), 1);
    assert_eq!((receiver.requests().len(), office.spool().len()), (3, 2));
    assert_eq!(office.send_later(), [""; 0]);
    assert!(office.spool().is_empty());
    let bodies = |at: usize| receiver.requests()[at].body.clone();
    assert_eq!(
        [bodies(3), bodies(4)].iter().filter(|b| [bodies(0), bodies(1)].contains(b)).count(),
        2
    );
}

/// Row 63.
#[test]
fn a_report_that_is_refused_for_good_holds_up_no_other() {
    let receiver = Receiver::that(&[Act::Answer(400), Act::Answer(204), Act::Answer(204)]);
    let mut office = Office::telling(receiver.url());
    let keep = |office: &mut Office| {
        office.spec.limit = std::time::Duration::ZERO;
        for second in 0..3 {
            let at = format!("2026-11-20T13:15:{second:02}Z");
            office.tell(&Event { finished: at, ..event(Outcome::Ok) });
        }
        assert_eq!(office.spool().len(), 3);
    };
    keep(&mut office);
    let warnings = office.send_later();
    assert_eq!((warnings.len(), office.spool().len()), (1, 1), "{warnings:?}");
    assert!(warnings[0].contains("answered 400"), "{warnings:?}");
    assert_eq!(receiver.requests().len(), 3);
    // What is wrong with the address, or with what is needed to send there, is tried once.
    let receiver = Receiver::that(&[Act::Answer(401)]);
    let mut office = Office::telling(receiver.url());
    keep(&mut office);
    assert_eq!((office.send_later().len(), receiver.requests().len()), (1, 1));
    office.spec.token = Some(SecretSpec::File(office.dir.path().join("missing")));
    assert_eq!((office.send_later().len(), receiver.requests().len()), (1, 1));
}

/// Row 63.
#[test]
fn a_report_that_cannot_be_kept_is_not_promised_for_later() {
    let receiver = Receiver::that(&[Act::Answer(404)]);
    let office = Office::telling(receiver.url());
    fs::write(office.layout().spool(), "in the way").unwrap();
    let warnings = office.tell(&event(Outcome::Ok));
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].starts_with("the report is not kept for later: "), "{warnings:?}");
    assert!(warnings[1].ends_with("answered 404"), "{warnings:?}");
}

/// Row 63.
#[test]
fn a_receiver_that_hangs_holds_a_run_up_no_longer_than_the_limit() {
    let receiver = Receiver::that(&[Act::Hang; 64]);
    let limit = std::time::Duration::from_millis(300);
    let spec = NotifySpec { url: Some(receiver.url()), limit, ..NotifySpec::default() };
    let office = Office::with(spec);
    let warnings = office.tell(&event(Outcome::Ok));
    assert!(warnings[0].contains("no answer within"), "{warnings:?}");
    assert_eq!(receiver.requests().len(), 1);
    // With no time at all nothing is asked, and the report is kept.
    let office =
        Office::with(NotifySpec { limit: std::time::Duration::ZERO, ..office.spec.clone() });
    assert_eq!(office.tell(&event(Outcome::Ok)), [""; 0]);
    assert_eq!((receiver.requests().len(), office.spool().len()), (1, 1));
}

/// Row 63.
#[test]
fn an_address_that_leads_nowhere_is_only_a_warning() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, reason) in [
        (format!("http://user:hunter2@{free}/?token=hunter2"), "refused"),
        // The addresses of Slack and Teams are secrets from their path on.
        (format!("http://{free}/services/T0/B0/hunter2"), &format!("http://{free}/…: ")),
        ("nonsense".to_owned(), "the address"),
        ("http://no-such-host.invalid/".to_owned(), ""),
    ] {
        let limit = std::time::Duration::from_secs(1);
        let office = Office::with(NotifySpec { url: Some(url), limit, ..NotifySpec::default() });
        let warnings = office.tell(&event(Outcome::Ok));
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].to_lowercase().contains(reason), "{warnings:?}");
        assert!(!warnings[0].contains("hunter2"), "{warnings:?}");
    }
    assert_eq!(Office::with(NotifySpec::default()).tell(&event(Outcome::Failed)), [""; 0]);
}

#[test]
fn what_is_kept_is_bounded_by_number_and_age() {
    let office = Office::with(NotifySpec {
        url: Some("http://127.0.0.1:1/".into()),
        limit: std::time::Duration::ZERO,
        ..NotifySpec::default()
    });
    for second in 0..55 {
        let at = format!("2026-11-20T13:15:{second:02}Z");
        office.tell(&Event { finished: at, ..event(Outcome::Ok) });
    }
    assert_eq!(office.spool().len(), 50);
    // Written as if it had waited for three weeks.
    let one = office.spool().remove(0);
    let mut letter: serde_json::Value = serde_json::from_slice(&fs::read(&one).unwrap()).unwrap();
    letter["created"] = days_ago(21).into();
    let name = one.file_name().unwrap().to_str().unwrap().split_once('-').unwrap().1.to_owned();
    let stamp = days_ago(21).replace(['-', ':'], "");
    let old = one.with_file_name(format!("{stamp}-{name}"));
    fs::write(&old, letter.to_string()).unwrap();
    fs::write(one.with_file_name("20260101T000000Z-damaged.json"), "{").unwrap();
    let warnings = office.send_later();
    assert!(warnings.iter().any(|w| w.contains("within 14 days")), "{warnings:?}");
    assert!(!old.exists());
}

#[test]
fn a_report_is_signed_by_both_names_that_receivers_know() {
    let raw = b"an key of thirty-two bytes, this";
    let written = format!("whsec_{}", base64::engine::general_purpose::STANDARD.encode(raw));
    let receiver = Receiver::that(&[]);
    let mut office = Office::telling(receiver.url());
    let file = office.dir.path().join("key");
    fs::write(&file, format!("{written}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(office.layout().secrets(), "HOOK_TOKEN=\"t0k3n\"\n").unwrap();
    office.spec.hmac = Some(SecretSpec::File(file));
    office.spec.token = Some(SecretSpec::Variable("HOOK_TOKEN".into()));
    assert_eq!(office.tell(&event(Outcome::Ok)), [""; 0]);
    let request = receiver.requests().remove(0);
    assert_eq!(request.header("authorization").as_deref(), Some("Bearer t0k3n"));
    let key = hmac::Key::new(hmac::HMAC_SHA256, raw);
    let (id, at) =
        (request.header("webhook-id").unwrap(), request.header("webhook-timestamp").unwrap());
    let said = request.header("webhook-signature").unwrap();
    let sum = base64::engine::general_purpose::STANDARD.decode(&said[3..]).unwrap();
    assert!(said.starts_with("v1,"), "{said}");
    hmac::verify(&key, format!("{id}.{at}.{}", request.body).as_bytes(), &sum).unwrap();
    let said = request.header("x-hub-signature-256").unwrap();
    let sum = hex::decode(said.strip_prefix("sha256=").unwrap()).unwrap();
    hmac::verify(&key, request.body.as_bytes(), &sum).unwrap();
}

/// Row 63.
#[test]
fn without_its_secret_a_report_is_kept_and_no_secret_is_shown() {
    let receiver = Receiver::that(&[]);
    let mut office = Office::telling(receiver.url());
    let file = office.dir.path().join("token");
    fs::write(&file, "hunter2\n").unwrap();
    office.spec.token = Some(SecretSpec::File(file.clone()));
    for (mode, why) in [(0o644, "other users can read or change"), (0o640, "other users")] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let warnings = office.tell(&event(Outcome::Ok));
        assert!(warnings[0].contains(why) && !warnings[0].contains("hunter2"), "{warnings:?}");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&file, "hunter2 and\nmore").unwrap();
    let warnings = office.tell(&event(Outcome::Ok));
    assert!(warnings[0].contains("not one word") && !warnings[0].contains("hunter2"));
    fs::write(&file, "hunter2").unwrap();
    // Nobody on the way may read a token.
    let clear =
        NotifySpec { url: Some("http://hooks.invalid/?x=hunter2".into()), ..office.spec.clone() };
    let told = Office { spec: clear, dir: tempfile::tempdir().unwrap() }.tell(&event(Outcome::Ok));
    assert!(told.last().unwrap().contains("not sent in clear"), "{told:?}");
    assert!(told.iter().all(|w| !w.contains("hunter2")), "{told:?}");
    assert!(receiver.requests().is_empty());
    assert_eq!(office.send_later(), [""; 0]);
    assert!(!receiver.requests().is_empty());
}

/// Rows 63 and 92.
#[test]
fn an_upgrade_is_told_to_receiver_journal_and_daily_job() {
    let receiver = Receiver::that(&[Act::Answer(500); 64]);
    let machine = TestMachine::new()
        .operator_end(&format!("[notify]\nreport_url = \"{}\"\nlimit = \"700ms\"", receiver.url()))
        .ship("failing");
    let journal = JournalSocket::of(&machine);
    machine.run(["upgrade"]).code(7).stderr(contains(
        "warning: the outcome could not be reported to report_url http://127.0.0.1",
    ));
    machine.assert_closed();
    let entries = journal.entries();
    let of = |id: MessageId| {
        let wanted = format!("MESSAGE_ID={}", id.text());
        entries.iter().filter(|lines| lines.contains(&wanted)).cloned().collect::<Vec<_>>()
    };
    assert_eq!(of(MessageId::Begun).len(), 1, "{entries:?}");
    let failed = of(MessageId::Failed);
    assert_eq!(failed.len(), 1, "{entries:?}");
    let point = format!("OPENWATCH_RESTORE_POINT={}", machine.points()[0]);
    for line in [
        "OPENWATCH_APP=openwatch",
        "OPENWATCH_TO=2.0.0-1",
        "OPENWATCH_OUTCOME=migration_failed",
        "OPENWATCH_STEP=migrate",
        "PRIORITY=3",
        point.as_str(),
    ] {
        assert!(failed[0].iter().any(|own| own == line), "{line}: {failed:?}");
    }
    // Automation tries again every night; that is no news, but the status of the unit says why.
    let before = receiver.requests().len();
    machine.run(["upgrade"]).code(5);
    assert_eq!(receiver.requests().len(), before);
    let why = journal.about(MessageId::GateClosed);
    assert_eq!(why.len(), 1, "{why:?}");
    assert!(why[0].contains(&"OBJECT_SYSTEMD_UNIT=openwatch.service".to_owned()), "{why:?}");
    assert!(why[0][0].contains("next: run `openwatch upgrade --retry`"), "{why:?}");

    let (_, status) = machine.json(["status"]);
    assert_eq!(status["reports_waiting"], 1, "{status}");
    receiver.mend();
    machine.run(["backup", "prune"]).success().stderr(contains("could not").not());
    let last = receiver.requests().pop().unwrap().json();
    assert_eq!(last["event"], "upgrade.failed");
    assert_eq!(last["outcome"], "migration_failed");
    assert_eq!(last["step"], "migrate");
    assert_eq!(machine.json(["status"]).1["reports_waiting"], 0);
}

/// Rows 1 and 92.
#[test]
fn an_upgrade_that_is_put_off_is_told_once_and_its_end_too() {
    let receiver = Receiver::that(&[]);
    let machine = TestMachine::with_own_server()
        .operator_end(&format!("[notify]\nreport_url = \"{}\"", receiver.url()))
        .marked(Some("deb"), &["openwatch.service"])
        .ship("good");
    let journal = JournalSocket::of(&machine);
    machine.server().down();
    for _ in 0..3 {
        machine.run(["upgrade", "--unit"]).code(4);
    }
    assert_eq!(journal.about(MessageId::Deferred).len(), 1);
    machine.server().up();
    machine.run(["upgrade", "--unit"]).success();
    assert_eq!(journal.about(MessageId::Succeeded).len(), 1);
    let told: Vec<_> = receiver.requests().iter().map(|r| r.json()["event"].clone()).collect();
    assert_eq!(told, ["upgrade.deferred", "upgrade.succeeded"]);
}
