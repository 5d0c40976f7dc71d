//! Reports of other hosts: taken when they are signed, once, and shown; and the description of all that
//! can be asked.

use std::collections::BTreeSet;

use super::*;

use base64::Engine as _;
use openwatch::config::{NotifySpec, SecretSpec};
use openwatch::notify::{self, Desk, Event, Work};
use openwatch::system::clock::Clock;

const KEY: &str = "a key that both hosts have";

fn signed(key: &str, body: &str) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.as_bytes());
    format!("sha256={}", hex::encode(ring::hmac::sign(&key, body.as_bytes())))
}

fn post(service: &Running, body: &str, signature: Option<&str>) -> Answer {
    let signature = signature.map_or(String::new(), |s| format!("X-Hub-Signature-256: {s}\r\n"));
    service.send(&format!(
        "POST /api/v1/reports HTTP/1.1\r\nHost: console.example.org\r\nConnection: close\r\nContent-Type: application/json\r\n\
         {signature}Content-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

/// A report as `[notify]` sends it.
fn report(host: &str) -> Value {
    json!({
        "id": "msg_0123456789abcdef", "event": "upgrade.failed", "outcome": "migration_failed",
        "app": "shop", "host": host, "from": "1.0.0", "to": "2.0.0",
        "restore_point": "20261120T131502Z-1.0.0", "step": "migrate",
        "started": "2026-11-20T13:15:02Z", "finished": "2026-11-20T13:15:09Z",
        "message": "migration 0006 failed", "next": "run `openwatch --app shop upgrade --retry`",
    })
}

fn with_key(machine: &Machine) {
    machine.write(&machine.layout().secrets(), &format!("OPENWATCH_REPORTS_KEY=\"{KEY}\"\n"));
}

#[test]
fn a_signed_report_is_stored_once_and_shown() {
    let machine = Machine::new(ALL);
    with_key(&machine);
    let service = machine.serve(machine.parts(ALL));
    let body = report("web<b>1").to_string();
    let answer = post(&service, &body, Some(&signed(KEY, &body)));
    assert_eq!((answer.status, &answer.json["stored"]), (201, &json!(true)), "{}", answer.json);
    for _ in 0..2 {
        let answer = post(&service, &body, Some(&signed(KEY, &body)));
        assert_eq!((answer.status, &answer.json["stored"]), (200, &json!(false)));
    }
    assert_eq!(
        machine.sql(
            "select h.name, h.app, run, outcome, from_version, to_version, restore_point, duration, message \
             from upgrade_reports r join hosts h on h.id = r.host_id"
        ),
        "web<b>1|shop|msg_0123456789abcdef|migration_failed|1.0.0|2.0.0|20261120T131502Z-1.0.0|00:00:07|\
         migration 0006 failed"
    );
    let (status, _, page) = console::body(&service, "/hosts");
    assert_eq!(status, 200);
    assert!(page.contains("web&lt;b&gt;1") && page.contains("migration 0006 failed"), "{page}");
    let (_, _, metrics) = console::body(&service, "/metrics");
    assert!(
        metrics.contains("openwatch_host_last_upgrade_ok{app=\"shop\",host=\"web<b>1\"} 0"),
        "{metrics}"
    );
}

/// Such as the error of a cast, which quotes the whole value.
#[test]
fn a_report_with_a_long_first_line_is_taken_as_our_sender_writes_it_and_as_older_ones_did() {
    let machine = Machine::new(ALL);
    with_key(&machine);
    let service = machine.serve(machine.parts(ALL));
    let sender = tempfile::tempdir().unwrap();
    let layout = Layout::new(sender.path(), "shop");
    // The same key in one word.
    let word = base64::engine::general_purpose::STANDARD.encode(KEY);
    machine.write(&layout.secrets(), &format!("KEY=whsec_{word}\n"));
    std::fs::create_dir_all(layout.spool().parent().unwrap()).unwrap();
    let spec = NotifySpec {
        url: Some(format!("http://{}/api/v1/reports", service.address)),
        hmac: Some(SecretSpec::Variable("KEY".into())),
        ..NotifySpec::default()
    };
    let event = Event {
        work: Work::Upgrade,
        outcome: Outcome::MigrationFailed,
        app: "shop".into(),
        host: "web1".into(),
        from: None,
        to: "2.0.0".into(),
        restore_point: None,
        step: None,
        started: "2026-11-20T13:15:02Z".into(),
        finished: "2026-11-20T13:15:09Z".into(),
        message: format!("invalid input syntax: {}\nsecond line", "ü".repeat(5000)),
        next: None,
    };
    let desk = Desk { layout: &layout, spec: &spec, clock: Clock::System };
    assert_eq!(desk.tell(&event), [""; 0]);
    assert_eq!(notify::waiting(&layout), 0);

    let mut older = report("web2");
    older["message"] = "ü".repeat(5000).into();
    let older = older.to_string();
    assert_eq!(post(&service, &older, Some(&signed(KEY, &older))).status, 201);
    assert_eq!(
        machine.sql(
            "select count(*) from upgrade_reports where message like '%ü…' \
             and octet_length(message) between 1990 and 4096"
        ),
        "2"
    );
}

#[test]
fn a_report_without_our_signature_is_refused_and_leaves_nothing() {
    let machine = Machine::new(ALL);
    let service = machine.serve(machine.parts(ALL));
    let body = report("web1").to_string();
    let right = signed(KEY, &body);
    assert_eq!(post(&service, &body, Some(&right)).status, 403, "no key is set");
    machine.write(&machine.layout().secrets(), "OPENWATCH_REPORTS_KEY=short\n");
    assert_eq!(
        post(&service, &body, Some(&signed("short", &body))).status,
        403,
        "a short key is none"
    );
    with_key(&machine);
    let other = body.replace("migration_failed", "ok");
    let changed = right.replace("sha256=", "sha1=");
    for (body, signature) in [
        (&body, None),
        (&body, Some("sha256=")),
        (&body, Some("nonsense")),
        (&body, Some(changed.as_str())),
        (&other, Some(right.as_str())),
        (&body, Some(signed("another key of the same length", &body).as_str())),
    ] {
        let answer = post(&service, body, signature);
        assert_eq!(answer.status, 401, "{signature:?}");
        assert!(!answer.json.to_string().contains(KEY));
    }
    assert_eq!(machine.sql("select count(*) from upgrade_reports"), "0");
    assert_eq!(post(&service, &body, Some(&right)).status, 201);
}

#[test]
fn a_signed_body_that_is_no_report_is_refused_by_name() {
    let machine = Machine::new(ALL);
    with_key(&machine);
    let service = machine.serve(machine.parts(ALL));
    let with = |key: &str, value: Value| {
        let mut body = report("web1");
        body[key] = value;
        body.to_string()
    };
    for (body, part) in [
        ("[]".to_owned(), "not a report"),
        ("{}".to_owned(), "not a report"),
        (with("id", json!("")), "id"),
        (with("id", json!("two words")), "id"),
        (with("host", json!("a\u{0}b")), "host"),
        (with("host", json!("x".repeat(300))), "host"),
        (with("outcome", json!("splendid")), "outcome"),
        (with("finished", json!("yesterday")), "finished"),
        (with("message", json!("a\u{0}b")), "NUL"),
        (with("to", json!("x".repeat(5000))), "too long"),
    ] {
        let answer = post(&service, &body, Some(&signed(KEY, &body)));
        assert_eq!(answer.status, 400, "{body}");
        let said = answer.json["error"].as_str().unwrap();
        assert!(said.contains(part), "{said}");
    }
    let large = with("next", json!("x".repeat(70_000)));
    assert_eq!(post(&service, &large, Some(&signed(KEY, &large))).status, 413);
    assert_eq!(machine.sql("select count(*) from upgrade_reports"), "0");
    machine.server.down();
    let body = report("web1").to_string();
    assert_eq!(
        post(&service, &body, Some(&signed(KEY, &body))).status,
        503,
        "a sender tries again"
    );
}

/// What the service can be asked, as its sources name it, without pages and what they are drawn with.
fn routes() -> BTreeSet<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/commands/serve");
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let texts =
        files.filter(|path| path.is_file()).map(|path| std::fs::read_to_string(path).unwrap());
    let mut found = BTreeSet::from([
        openwatch::upgrade::baseline::shared::SERVICES.to_owned(),
        openwatch::upgrade::baseline::shared::READINESS.to_owned(),
    ]);
    for text in texts {
        for part in text.split(".route(").skip(1) {
            let quoted =
                part.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
            found.extend(quoted.map(str::to_owned));
        }
    }
    found
}

#[test]
fn the_description_names_exactly_what_can_be_asked() {
    let machine = Machine::new(ALL);
    let service = machine.serve(machine.parts(ALL));
    let described = service.get("/api/v1/openapi.json").json;
    assert_eq!(described["openapi"], "3.1.0");
    let paths = described["paths"].as_object().unwrap();
    assert_eq!(paths.keys().cloned().collect::<BTreeSet<_>>(), routes());
    for (path, methods) in paths {
        let status = service.get(path).status;
        match methods.get("get") {
            Some(get) => {
                assert!(get["responses"].get(status.to_string()).is_some(), "{path}: {status}")
            }
            None => assert_eq!(status, 405, "{path}"),
        }
    }
}

#[test]
fn schemathesis_finds_nothing_that_the_description_does_not_say() {
    let Some(program) = support::peers::file("schemathesis/bin/schemathesis") else { return };
    let machine = Machine::new(ALL);
    with_key(&machine);
    let well = Parts { platform: Arc::new(|_| (true, json!({}))), ..machine.parts(ALL) };
    let service = machine.serve(well);
    let hooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/serve");
    let output = Command::new(program)
        .arg("run")
        .arg(format!("http://{}/api/v1/openapi.json", service.address))
        .args(["--checks", "all"])
        // Signed behind its back, what it sends without a signature is taken. What a report may hold is
        // bounded closer than its schema says. Our own tests have both.
        .arg("--exclude-checks")
        .arg(
            "ignored_auth,missing_required_header,negative_data_rejection,positive_data_acceptance",
        )
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "12"])
        .args(["--generation-deterministic", "--no-color", "--suppress-health-check", "all"])
        .env("PYTHONPATH", hooks)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SCHEMATHESIS_HOOKS", "sign_reports")
        .env("HOME", machine.root.path())
        .current_dir(machine.root.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{told}");
    assert_ne!(machine.sql("select count(*) from upgrade_reports"), "0", "{told}");
}
