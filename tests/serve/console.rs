//! The pages of the service: what they show, what they forbid a browser, what hostile text becomes.

use super::*;

/// What an attacker would like to be taken for markup.
const HOSTILE: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&amp;";

const PAGES: [&str; 5] = ["/", "/restore-points", "/next", "/history", "/hosts"];

/// A status in which every text is hostile.
fn hostile_status() -> Value {
    json!({
        "outcome": "ok", "app": "openwatch", "package_version": HOSTILE,
        "gate": {"state": "closed", "why": HOSTILE, "since": HOSTILE, "by_hand": {"reason": HOSTILE, "until": HOSTILE}},
        "hold": {"state": "held", "reason": HOSTILE, "until": HOSTILE},
        "window": {"state": HOSTILE, "opens": HOSTILE},
        "given_up": HOSTILE,
        "databases": [{"name": HOSTILE, "state": HOSTILE, "current": HOSTILE, "head": HOSTILE,
            "server_version": HOSTILE, "pending": [], "problems": [{"what": HOSTILE}]}],
        "units": [HOSTILE], "warnings": [HOSTILE], "recovery": {"state": HOSTILE},
        "last_run": {"outcome": HOSTILE, "message": HOSTILE, "state": HOSTILE, "next": HOSTILE},
        "next": format!("Run `{HOSTILE}`."),
    })
}

fn run(outcome: &str, message: &str, at: u32, marks: &Value) -> Value {
    json!({
        "format": 1, "run": format!("202611{at:02}T131502Z"), "from": "1.0.0", "to": "2.0.0", "pid": 1,
        "started": format!("2026-11-{at:02}T13:15:02Z"),
        "finished": format!("2026-11-{at:02}T13:15:09Z"),
        "outcome": outcome, "message": message, "state": message, "next": message,
        "restore_point": "20261120T131502Z-1.0.0", "running": [], "marks": marks, "detail": [message],
    })
}

fn marks() -> Value {
    let mark = |step: &str, when: &str, at: u32| json!({"step": step, "when": when, "at": "x", "elapsed_ms": at});
    json!([
        mark("quiesce", "begun", 100),
        mark("quiesce", "done", 400),
        mark("restore_point", "begun", 400),
        mark("restore_point", "done", 1900),
        mark("migrate", "begun", 1900),
        mark("migrate", "done", 2400),
        mark("start", "begun", 2400),
        mark("start", "done", 3100),
        mark("health", "begun", 3100),
        mark("health", "done", 3500),
    ])
}

/// Leaves runs, restore points and the outlook on the machine, as root would.
pub fn furnish(machine: &Machine, text: &str) {
    let layout = machine.layout();
    let good = run("ok", "", 18, &marks());
    let bad = run(
        "migration_failed",
        text,
        20,
        &json!([{"step": "migrate", "when": "begun", "at": "x", "elapsed_ms": 900, "note": text}]),
    );
    machine.write(&layout.history_dir().join("20261118T131502Z.json"), &good.to_string());
    machine.write(&layout.history_dir().join("20261120T131502Z.json"), &bad.to_string());
    machine.write(&layout.journal(), &bad.to_string());
    let point = |id: &str, state: &str| {
        json!({
            "id": id, "state": state, "why": if state == "good" { Value::Null } else { json!(text) },
            "created": "2026-11-18T13:15:02Z", "bytes": 123_456_789, "kind": "dump", "reason": "upgrade",
            "proof": "restored at 2026-11-19T03:00:00Z", "restored": "2026-11-19T03:00:00Z", "from": "1.0.0", "to": text,
            "pin": text, "stays": true, "because": format!("needed by {text}"),
        })
    };
    let summary = json!({
        "format": 1, "written": "2026-11-20T03:00:00Z", "directory": "/var/lib/openwatch/backups", "free_bytes": 5_000_000_000_u64,
        "points": [point("20261118T131502Z-1.0.0", "good"), point(text, "damaged")],
    });
    machine.write(&layout.public_summary(), &summary.to_string());
    let preflight = json!({
        "package_version": "2.1.0", "package_file": text, "installed_version": "2.0.0",
        "findings": [{"message": text, "hint": text}],
        "space": {"directory": text, "restore_point_bytes": 123_456_789, "reserve_bytes": 268_435_456,
            "free_bytes": 5_000_000_000_u64, "database_bytes": 1_000_000_000},
        "plan": {"stop": [text], "databases": [{"name": "main", "restore_point": "dump", "pending": ["0008"]}]},
    });
    let rehearsal = json!({
        "package_version": "2.1.0",
        "downtime": {"complete": true, "known_ms": 3400, "parts": [{"what": text, "ms": 3400, "source": text}]},
        "databases": [{"name": "main", "bytes_before": 1_000_000, "bytes_after": 1_100_000, "extra_bytes": 300_000,
            "migrations": [{"version": "0008", "name": text, "duration_ms": 120, "locks": [{"table": text, "mode": "access exclusive"}]}]}],
    });
    let answer = |said: Value| json!({"written": "2026-11-20T03:00:00Z", "said": said});
    let outlook =
        json!({"format": 1, "preflight": answer(preflight), "rehearsal": answer(rehearsal)});
    machine.write(&layout.public_outlook(), &outlook.to_string());
}

pub fn body(service: &Running, path: &str) -> (u16, String, String) {
    raw(
        service,
        &format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nConnection: close\r\n\r\n"
        ),
    )
}

/// Sends a request as it stands; returns status, headers in lower case, and page.
pub fn raw(service: &Running, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(service.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (headers, body) = text.split_once("\r\n\r\n").unwrap();
    let status = headers.split(' ').nth(1).unwrap().parse().unwrap();
    (status, headers.to_lowercase(), body.to_owned())
}

#[test]
fn hostile_text_stays_text_on_every_page() {
    let machine = Machine::new(ALL);
    furnish(&machine, HOSTILE);
    super::acting::open(&machine);
    super::acting::lately(&machine, HOSTILE, HOSTILE);
    machine.sql(
        "insert into hosts (machine, name, app) values ('m', $$\"'><script>alert(1)</script>$$, '<img src=x onerror=alert(2)>'); \
         insert into upgrade_reports (host_id, run, outcome, message, report) \
         values (1, 'a', 'stuck', '<script>alert(3)</script>', '{}')",
    );
    let parts = Parts { status: Arc::new(hostile_status), ..machine.parts(ALL) };
    let service = machine.serve(parts);
    for page in PAGES.into_iter().chain(["/act"]) {
        let (status, _, text) = body(&service, page);
        assert_eq!(status, 200, "{page}: {text}");
        assert!(text.contains("alert("), "{page} shows it as text");
        for tag in ["<script>", "<img", "</script><", "onerror=alert(2)>"] {
            let own = text.replace("<script src=\"/console/live.js\" defer></script>", "");
            assert!(!own.contains(tag), "{page} has {tag}");
        }
    }
    let (status, _, text) = body(&service, "/%3Cscript%3Ealert(1)%3C/script%3E");
    assert_eq!(status, 404);
    assert!(!text.contains("<script>"), "{text}");
}

#[test]
fn a_page_loads_nothing_from_elsewhere_and_runs_nothing_of_its_own() {
    let machine = Machine::new(ALL);
    furnish(&machine, "plain");
    let service = machine.serve(machine.parts(ALL));
    for page in PAGES {
        let (status, headers, text) = body(&service, page);
        assert_eq!(status, 200, "{page}");
        for header in [
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
            "x-frame-options: deny",
            "content-type: text/html; charset=utf-8",
        ] {
            assert!(headers.contains(header), "{page}: {headers}");
        }
        for forbidden in
            [" style=", "<style", "http://", "https://", " onclick", "javascript:", "<form"]
        {
            assert!(!text.contains(forbidden), "{page} has {forbidden}");
        }
        assert_eq!(text.matches("<h1").count(), 1, "{page}");
        assert_eq!(text.matches("<main").count(), 1, "{page}");
        assert_eq!(text.matches("aria-current=\"page\"").count(), 1, "{page}");
        assert_eq!(text.matches("<table").count(), text.matches("<caption").count(), "{page}");
        assert!(text.contains("class=\"skip\" href=\"#main\""), "{page}");
    }
    for (path, kind) in [
        ("/console/style.css", "text/css; charset=utf-8"),
        ("/console/live.js", "text/javascript; charset=utf-8"),
        ("/console/icon.svg", "image/svg+xml"),
    ] {
        let (status, headers, _) = body(&service, path);
        assert_eq!(status, 200);
        assert!(headers.contains(&format!("content-type: {kind}")), "{headers}");
    }
}

#[test]
fn pages_show_what_root_left_and_say_when_it_left_nothing() {
    let machine = Machine::new(ALL);
    let service = machine.serve(machine.parts(ALL));
    assert!(body(&service, "/restore-points").2.contains("openwatch backup prune"));
    assert!(body(&service, "/next").2.contains("Nobody has looked at the next package yet"));
    assert!(body(&service, "/history").2.contains("No upgrade has run on this host yet"));
    furnish(&machine, "the disk was full");
    let points = body(&service, "/restore-points").2;
    for part in
        ["1 good restore point", "20261118T131502Z-1.0.0", "needed by the disk was full", "damaged"]
    {
        assert!(points.contains(part), "{part}: {points}");
    }
    let next = body(&service, "/next").2;
    for part in ["2.1.0", "0008", "Services are down for about 3.4 s", "access exclusive on"] {
        assert!(next.contains(part), "{part}: {next}");
    }
    let history = body(&service, "/history").2;
    for part in [
        "1 of 2 upgrades ended well",
        "<svg",
        "3.5 s",
        "3.0 s",
        "migration failed",
        "the disk was full",
    ] {
        assert!(history.contains(part), "{part}: {history}");
    }
    let host = body(&service, "/").2;
    assert!(host.contains("1 step of the last upgrade") && host.contains("not ended"), "{host}");
}

#[test]
fn a_page_that_cannot_be_shown_says_why() {
    let machine = Machine::new(ALL);
    let failing = || json!({"outcome": "config", "error": {"message": "upgrade.conf line 3"}});
    let parts = Parts { status: Arc::new(failing), ..machine.parts(ALL) };
    let service = machine.serve(parts);
    let (status, _, text) = body(&service, "/");
    assert!(status == 503 && text.contains("upgrade.conf line 3"), "{text}");
    machine.server.down();
    let (status, _, text) = body(&service, "/hosts");
    assert!(status == 503 && text.contains("This cannot be shown now"), "{text}");
    assert_eq!(body(&service, "/history").0, 200);
}

/// Every line of the text format, as a strict reader takes it apart: name, labels, value.
fn samples(text: &str) -> Vec<(String, String, f64)> {
    let (mut helped, mut typed) = (Vec::new(), Vec::new());
    let mut found: Vec<(String, String, f64)> = Vec::new();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            helped.push(rest.split(' ').next().unwrap().to_owned());
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["gauge", "counter"].contains(&kind), "{line}");
            assert!(!typed.contains(&name.to_owned()), "{name} is announced twice");
            typed.push(name.to_owned());
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        assert!(
            name.starts_with("openwatch_") && typed.last().is_some_and(|last| last == name),
            "{line}"
        );
        assert!(labels.is_empty() || labels.ends_with('}'), "{line}");
        let twin = found.iter().any(|(n, l, _)| n == name && l == labels);
        assert!(!twin, "twice: {line}");
        found.push((name.to_owned(), labels.to_owned(), value.parse().unwrap()));
    }
    assert_eq!(helped, typed);
    found
}

#[test]
fn metrics_are_read_by_a_strict_reader_and_say_what_is_so() {
    let machine = Machine::new(ALL);
    furnish(&machine, HOSTILE);
    let service = machine.serve(machine.parts(ALL));
    wait_for("the reports are recorded", || {
        machine.sql("select count(*) from upgrade_reports") == "2"
    });
    let (status, headers, text) = body(&service, "/metrics");
    assert_eq!(status, 200);
    assert!(
        headers.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{headers}"
    );
    let found = samples(&text);
    let value = |name: &str, label: &str| {
        let mut hits = found.iter().filter(|(n, l, _)| n == name && l.contains(label));
        hits.next().unwrap_or_else(|| panic!("{name} {label}: {text}")).2
    };
    assert!((value("openwatch_ready", "") - 1.0).abs() < 0.1);
    assert!((value("openwatch_gate_open", "") - 1.0).abs() < 0.1);
    assert!(
        (value("openwatch_last_run_outcome", "outcome=\"migration_failed\"") - 1.0).abs() < 0.1
    );
    assert!(value("openwatch_last_run_outcome", "outcome=\"ok\"").abs() < 0.1);
    assert!((value("openwatch_restore_points", "state=\"good\"") - 1.0).abs() < 0.1);
    assert!((value("openwatch_restore_points_bytes", "") - 246_913_578.0).abs() < 0.1);
    assert!(
        (value("openwatch_last_success_timestamp_seconds", "") - 1_795_007_709.0).abs() < 1.0,
        "{text}"
    );
    promtool(&text);
    machine.server.down();
    let text = body(&service, "/metrics").2;
    promtool(&text);
    assert!(text.contains("openwatch_ready{app=\"openwatch\"} 0\n"), "{text}");
    samples(&text);
}

/// Lets the checker of Prometheus read measurements; it complains of what a scrape would refuse, and of
/// names that are not as its makers want them.
fn promtool(text: &str) {
    let Some(program) = support::peers::file("promtool/promtool") else { return };
    let mut child = Command::new(program)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && told.trim().is_empty(), "{told}\n{text}");
}

#[test]
fn the_file_for_node_exporter_is_written_without_the_service_and_read_by_promtool() {
    let machine = Machine::new(0);
    install(&machine, "2.0.0", ALL);
    let file = machine.root.path().join("openwatch.prom");
    let conf = std::fs::read_to_string(machine.layout().operator_conf()).unwrap();
    let named = format!("{conf}metrics_textfile = \"{}\"\n", file.display());
    machine.write(&machine.layout().operator_conf(), &named);
    for verb in [&["migrate"][..], &["backup", "create"]] {
        let (code, told) = ended(&machine, verb);
        assert_eq!(code, Some(0), "{told}");
    }
    let text = std::fs::read_to_string(&file).unwrap();
    let found = samples(&text);
    let good = found.iter().find(|(name, labels, _)| {
        name == "openwatch_restore_points" && labels.contains("state=\"good\"")
    });
    assert!((good.unwrap().2 - 1.0).abs() < 0.1, "{text}");
    promtool(&text);
}
