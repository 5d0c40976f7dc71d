//! What is asked for with the token: who may, how a form is judged, what reaches root, and what root does.

use super::console::{body, furnish, raw};
use super::*;
use openwatch::upgrade::asked::{self, Wish};

pub const TOKEN: &str = "0123456789abcdef0123456789";

/// What a page of a form has in its head.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Gives the machine a token, and the place that systemd makes for wishes.
pub fn open(machine: &Machine) {
    let layout = machine.layout();
    let known = std::fs::read_to_string(layout.secrets()).unwrap_or_default();
    machine.write(&layout.secrets(), &format!("{known}OPENWATCH_API_TOKEN={TOKEN}\n"));
    std::fs::create_dir_all(layout.asked_dir()).unwrap();
}

/// Notes that root has done something, as root does.
pub fn lately(machine: &Machine, outcome: &str, message: &str) {
    let act = json!({"id": "a", "act": "backup", "began": "2026-11-20T03:00:00Z",
        "ended": "2026-11-20T03:00:09Z", "outcome": outcome, "message": message});
    machine
        .write(&machine.layout().public_acts(), &json!({"format": 1, "acts": [act]}).to_string());
}

fn seal(page: &str, act: &str) -> String {
    let form = page
        .split_once(&format!("action=\"/act/{act}\""))
        .unwrap_or_else(|| panic!("no {act}: {page}"))
        .1;
    let value = form.split_once("name=\"form\" value=\"").unwrap().1;
    value.split('"').next().unwrap().to_owned()
}

struct Sending<'s> {
    service: &'s Running,
    host: &'s str,
    origin: Option<String>,
    more: &'s str,
}

impl<'s> Sending<'s> {
    fn new(service: &'s Running) -> Self {
        Self {
            service,
            host: "localhost:8480",
            origin: Some("http://localhost:8480".into()),
            more: "",
        }
    }

    /// Sends a form; returns status, headers and page.
    fn form(&self, act: &str, fields: &str) -> (u16, String, String) {
        let origin = self.origin.as_ref().map_or(String::new(), |o| format!("Origin: {o}\r\n"));
        self.raw(&format!(
            "POST /act/{act} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{origin}{}\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{fields}",
            self.host,
            self.more,
            fields.len()
        ))
    }

    fn raw(&self, request: &str) -> (u16, String, String) {
        raw(self.service, request)
    }
}

fn taken(machine: &Machine) -> Option<Wish> {
    asked::take(&machine.layout()).unwrap()
}

#[test]
fn a_form_with_the_token_leaves_a_wish_once_and_shows_what_came_of_it() {
    let machine = Machine::new(ALL);
    furnish(&machine, "plain");
    let service = machine.serve(machine.parts(ALL));
    let closed = body(&service, "/act").2;
    assert!(!closed.contains("<form") && closed.contains("OPENWATCH_API_TOKEN"), "{closed}");
    assert!(!body(&service, "/restore-points").2.contains("/act?point="));

    open(&machine);
    assert!(
        body(&service, "/restore-points").2.contains("/act?point=20261118T131502Z%2D1%2E0%2E0")
    );
    let (_, headers, page) = body(&service, "/act?point=20261118T131502Z-1.0.0");
    assert!(headers.contains(&format!("content-security-policy: {POLICY}")), "{headers}");
    assert!(headers.contains("referrer-policy: same-origin"), "{headers}");
    assert_eq!(
        page.matches("<label").count(),
        page.matches("<select").count() + page.matches("<input").count()
            - page.matches("type=\"hidden\"").count(),
        "each field has its label"
    );
    let sending = Sending::new(&service);
    let fields = format!(
        "form={}&token={TOKEN}&point=20261118T131502Z-1.0.0&until=2036-01-31&reason=audit+of+%C3%A4",
        seal(&page, "pin")
    );
    let (status, headers, _) = sending.form("pin", &fields);
    assert!(status == 303 && headers.contains("location: /act#lately"), "{status} {headers}");
    assert!(body(&service, "/act").2.contains("root has not taken it up yet"));
    let wish = taken(&machine).unwrap();
    assert_eq!(wish.act, Act::Pin);
    assert_eq!(wish.point.as_deref(), Some("20261118T131502Z-1.0.0"));
    assert_eq!(
        (wish.until.as_deref(), wish.reason.as_deref()),
        (Some("2036-01-31"), Some("audit of ä"))
    );
    let (status, _, page) = sending.form("pin", &fields);
    assert!(status == 409 && page.contains("sent already"), "{page}");
    assert_eq!(taken(&machine), None);

    lately(&machine, "refused", "restore point x is pinned <b>");
    let page = body(&service, "/act").2;
    assert!(
        page.contains("restore point x is pinned &lt;b&gt;") && page.contains("refused"),
        "{page}"
    );
    assert!(machine.heard.has("asked for over HTTP: pin 20261118T131502Z-1.0.0"));
    assert!(machine.heard.all().iter().all(|line| !line.contains(TOKEN)));
}

#[test]
fn without_the_token_the_seal_or_its_own_page_a_form_leaves_nothing() {
    let machine = Machine::new(ALL);
    furnish(&machine, "plain");
    open(&machine);
    let service = machine.serve(machine.parts(ALL));
    let page = body(&service, "/act").2;
    let own = seal(&page, "backup");
    let good = format!("form={own}&token={TOKEN}");
    let sending = || Sending::new(&service);
    let refused = |sending: Sending<'_>, fields: &str, part: &str| {
        let (status, headers, page) = sending.form("backup", fields);
        assert!(matches!(status, 400 | 403), "{status} {fields}");
        assert!(page.contains(part), "{part}: {page}");
        assert!(!page.contains(TOKEN) && !headers.contains(TOKEN), "{page}");
        assert!(headers.contains(POLICY), "{headers}");
        assert_eq!(page.matches("role=\"alert\"").count(), 1, "{page}");
    };
    let from = "not sent from a page of this service";
    refused(
        sending(),
        &format!("form={own}&token=0123456789abcdef0123456780"),
        "This is not the token",
    );
    refused(sending(), &format!("form={own}"), "This is not the token");
    refused(sending(), &format!("token={TOKEN}"), "older than the running service");
    refused(
        sending(),
        &format!("form={}&token={TOKEN}", seal(&page, "hold")),
        "older than the running",
    );
    refused(sending(), &format!("{good}&point=20261118T131502Z-1.0.0"), "about no restore point");
    refused(Sending { origin: None, ..sending() }, &good, from);
    refused(Sending { origin: Some("null".into()), ..sending() }, &good, from);
    refused(Sending { origin: Some("http://evil.example".into()), ..sending() }, &good, from);
    refused(Sending { more: "Sec-Fetch-Site: cross-site\r\n", ..sending() }, &good, from);
    let typed = format!(
        "form={}&token=x&point=20261118T131502Z-1.0.0&reason=kept%22%3E&until=2036-01-31",
        seal(&page, "pin")
    );
    let (_, _, again) = sending().form("pin", &typed);
    assert!(
        again.contains("value=\"kept&quot;&gt;\"") && again.contains("value=\"2036-01-31\""),
        "{again}"
    );
    assert_eq!(sending().form("upgrade", &good).0, 404);
    let (status, headers, _) =
        sending().raw("GET /act/pin HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(status == 303 && headers.contains("location: /act"), "{headers}");
    assert_eq!(taken(&machine), None, "nothing was left");
    assert!(machine.heard.has("without the token") && !machine.heard.has(TOKEN));
    // A token that was taken back is none, from then on.
    machine.write(&machine.layout().secrets(), "");
    assert_eq!(sending().form("backup", &good).0, 403);
    open(&machine);
    assert_eq!(sending().form("backup", &good).0, 303, "the seal is still unused");
}

#[test]
fn a_program_asks_with_the_bearer_token_and_one_wish_waits_at_a_time() {
    let machine = Machine::new(ALL);
    let parts = Parts { acts: vec![Act::Backup, Act::Verify], ..machine.parts(ALL) };
    let service = machine.serve(parts);
    let ask = |token: &str, body: &str| {
        service.send(&format!(
            "POST /api/v1/acts HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
             {token}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    };
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(ask(&bearer, "{}").status, 404, "no token is set");
    open(&machine);
    assert_eq!(ask("", r#"{"act":"backup"}"#).status, 401);
    assert_eq!(ask("Authorization: Bearer x\r\n", r#"{"act":"backup"}"#).status, 401);
    for unfit in [
        "",
        "[]",
        r#"{"act":"upgrade"}"#,
        r#"{"act":"backup","command":"rm"}"#,
        r#"{"act":"verify"}"#,
        r#"{"act":"verify","point":"../x"}"#,
        r#"{"act":"hold"}"#,
    ] {
        assert_eq!(ask(&bearer, unfit).status, 400, "{unfit}");
    }
    let answer = ask(&bearer, r#"{"act":"verify","point":"x-1","load":true}"#);
    assert_eq!(answer.status, 202, "{}", answer.json);
    assert_eq!(ask(&bearer, r#"{"act":"backup"}"#).status, 409);
    assert_eq!(service.get("/api/v1/acts").json, json!({"waiting": true, "acts": []}));
    let wish = taken(&machine).unwrap();
    assert_eq!((json!(wish.id), wish.load), (answer.json["id"].clone(), true));
    lately(&machine, "ok", "done");
    let told = service.get("/api/v1/acts").json;
    assert_eq!((&told["waiting"], &told["acts"][0]["outcome"]), (&json!(false), &json!("ok")));
}

#[test]
fn a_name_that_is_not_ours_is_answered_with_nothing() {
    let machine = Machine::new(ALL);
    furnish(&machine, "plain");
    let parts = Parts { names: vec!["console.example.org".into()], ..machine.parts(ALL) };
    let service = machine.serve(parts);
    let ask = |head: &str| service.send(&format!("{head}Connection: close\r\n\r\n")).status;
    for path in
        ["/", "/act", "/metrics", "/readyz", "/api/v1/upgrade", "/console/live.js", "/nowhere"]
    {
        assert_eq!(
            ask(&format!("GET {path} HTTP/1.1\r\nHost: evil.example:8480\r\n")),
            421,
            "{path}"
        );
        let answer = service.send(&format!(
            "GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
        ));
        assert!(
            answer.headers.contains("content-security-policy: default-src 'none'"),
            "{}",
            answer.headers
        );
    }
    for good in ["localhost:1", "127.0.0.1:8480", "[::1]:8480", "Console.Example.Org"] {
        assert_eq!(ask(&format!("GET /healthz HTTP/1.1\r\nHost: {good}\r\n")), 200, "{good}");
    }
    assert_eq!(ask("GET /healthz HTTP/1.1\r\n"), 400);
    assert_eq!(ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n"), 400);
    assert_eq!(ask("GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n"), 421);
    assert_eq!(ask("GET /healthz HTTP/1.0\r\n"), 200, "a load balancer that looks");
}

/// Asks root for an act, and has root do it.
fn root_does(machine: &Machine, wish: &Wish) -> Value {
    asked::leave(&machine.layout(), wish).unwrap();
    let (code, told) = ended(machine, &["asked"]);
    assert_eq!(code, Some(0), "{told}");
    let record = asked::read(&machine.layout());
    assert_eq!(record.acts[0].id, wish.id);
    json!(record.acts[0])
}

#[test]
fn root_does_what_is_asked_for_and_takes_back_only_what_the_console_did() {
    let machine = Machine::new(0);
    install(&machine, "2.0.0", ALL);
    assert_eq!(ended(&machine, &["migrate"]).0, Some(0));
    let wish = |id: &str, act| Wish::of(id.into(), act);
    std::fs::create_dir_all(machine.layout().asked_dir()).unwrap();
    let refused = root_does(&machine, &wish("a", Act::Backup));
    assert_eq!(refused["outcome"], "refused", "there is no token: {refused}");
    assert!(refused["message"].as_str().unwrap().contains("OPENWATCH_API_TOKEN"), "{refused}");

    open(&machine);
    let made = root_does(&machine, &wish("b", Act::Backup));
    assert_eq!(made["outcome"], "ok", "{made}");
    let summary: Value =
        serde_json::from_str(&std::fs::read_to_string(machine.layout().public_summary()).unwrap())
            .unwrap();
    let point = summary["points"][0]["id"].as_str().unwrap().to_owned();
    let about = |id: &str, act| Wish { point: Some(point.clone()), ..wish(id, act) };
    assert_eq!(root_does(&machine, &about("c", Act::Verify))["outcome"], "ok");

    // Its own pin goes again; one that was made on the host stays.
    let pin = Wish {
        reason: Some("audit".into()),
        until: Some("2036-01-31".into()),
        ..about("d", Act::Pin)
    };
    assert_eq!(root_does(&machine, &pin)["outcome"], "ok");
    assert_eq!(root_does(&machine, &about("e", Act::Unpin))["outcome"], "ok");
    assert_eq!(ended(&machine, &["backup", "pin", &point]).0, Some(0));
    for (id, act) in [("f", Act::Unpin), ("g", Act::Pin)] {
        let kept = root_does(&machine, &about(id, act));
        assert_eq!(kept["outcome"], "refused", "{kept}");
        assert!(
            kept["hint"].as_str().unwrap().contains(&format!("backup unpin {point}")),
            "{kept}"
        );
    }

    assert_eq!(root_does(&machine, &wish("h", Act::Hold))["outcome"], "ok");
    let status = program(&machine, &["status", "--json"]).output().unwrap();
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["hold"]["by"], asked::CONSOLE, "{status}");
    assert_eq!(root_does(&machine, &wish("i", Act::Release))["outcome"], "ok");
    assert_eq!(ended(&machine, &["upgrade", "hold"]).0, Some(0));
    for (id, act) in [("j", Act::Release), ("k", Act::Hold)] {
        assert_eq!(root_does(&machine, &wish(id, act))["outcome"], "refused");
    }

    // What the operator does not allow is not done, whoever left the wish.
    let conf = std::fs::read_to_string(machine.layout().operator_conf()).unwrap();
    machine
        .write(&machine.layout().operator_conf(), &format!("{conf}console_acts = [\"verify\"]\n"));
    let refused = root_does(&machine, &wish("l", Act::Backup));
    assert!(refused["message"].as_str().unwrap().contains("console_acts"), "{refused}");
    machine.write(&machine.layout().asked_dir().join("wish"), "{\"act\": \"upgrade\"}");
    assert_eq!(ended(&machine, &["asked"]).0, Some(2));
    assert!(!asked::waiting(&machine.layout()));
    assert_eq!(ended(&machine, &["asked"]).0, Some(0), "nothing was asked for");
}

#[test]
fn the_page_of_the_next_upgrade_has_its_plan_its_room_and_its_time() {
    let machine = Machine::new(0);
    install(&machine, "1.0.0", 5);
    assert_eq!(ended(&machine, &["migrate"]).0, Some(0));
    let (code, told) = ended(&machine, &["preflight", "--for-console"]);
    assert_eq!(code, Some(0), "{told}");
    furnish_history(&machine);
    let service = machine.serve(machine.parts(5));
    let page = body(&service, "/next").2;
    for part in [
        "There is room for the restore point",
        "Must stay free",
        "Free there",
        "The last 2 upgrades kept services down for",
        "preflight --package FILE --for-console",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let text = std::fs::read_to_string(machine.layout().public_outlook()).unwrap();
    let mut outlook: Value = serde_json::from_str(&text).unwrap();
    let space = &outlook["preflight"]["said"]["space"];
    assert!(space["restore_point_bytes"].as_u64().unwrap() > 0, "{space}");
    assert_eq!(space["reserve_bytes"], 256 << 20);
    outlook["preflight"]["said"]["space"]["free_bytes"] = json!(1 << 20);
    machine.write(&machine.layout().public_outlook(), &outlook.to_string());
    let page = body(&service, "/next").2;
    assert!(page.contains("There is no room for the restore point"), "{page}");
}

/// Two upgrades that ended well.
fn furnish_history(machine: &Machine) {
    for (day, down) in [(17, 2000), (18, 5000)] {
        let mark = |step: &str, when: &str, at: u32| json!({"step": step, "when": when, "at": "x", "elapsed_ms": at});
        let run = json!({
            "format": 1, "run": format!("202611{day}T131502Z"), "from": "1.0.0", "to": "2.0.0", "pid": 1,
            "started": format!("2026-11-{day}T13:15:02Z"), "finished": format!("2026-11-{day}T13:15:09Z"),
            "outcome": "ok", "running": [], "marks": [mark("quiesce", "begun", 100), mark("start", "done", 100 + down)],
        });
        machine.write(
            &machine.layout().history_dir().join(format!("202611{day}T131502Z.json")),
            &run.to_string(),
        );
    }
}
