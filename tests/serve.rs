//! The package's own service: it serves on exactly its schema, refuses any other, and remembers.

#[path = "serve/acting.rs"]
mod acting;
#[path = "serve/browser.rs"]
mod browser;
#[path = "serve/console.rs"]
mod console;
#[path = "serve/database.rs"]
mod database;
#[path = "serve/reports.rs"]
mod reports;
mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use openwatch::commands::serve::{self, Asked, Parts};
use openwatch::config::{Act, FilesSpec, Format, MigrationsSpec};
use openwatch::database::{Database, Source};
use openwatch::error::{Error, Result};
use openwatch::layout::Layout;
use openwatch::migrations::{self, Chain};
use openwatch::outcome::Outcome;
use openwatch::progress::Progress;
use support::postgres::{Server, wait_for};

/// Every line that the service told.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Heard {
    fn tell(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn has(&self, part: &str) -> bool {
        self.all().iter().any(|line| line.contains(part))
    }
}

impl Progress for Heard {
    fn step(&self, text: &str) {
        self.tell(text);
    }
    fn note(&self, text: &str) {
        self.tell(text);
    }
    fn warn(&self, text: &str) {
        self.tell(text);
    }
    fn alive(&self, _: &str, _: u64, _: Option<u64>) {}
}

fn shipped_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations")
}

/// The migrations of this repository, as a package with the first `count` of them ships them.
fn shipped(count: usize) -> Chain {
    let spec = MigrationsSpec::Files(FilesSpec::new(Format::Plain, shipped_dir()));
    let mut all = migrations::load(&spec).unwrap();
    all.migrations.truncate(count);
    all
}

const ALL: usize = 7;

/// A machine with one database and the first `count` migrations applied.
struct Machine {
    server: Server,
    root: tempfile::TempDir,
    heard: Arc<Heard>,
}

impl Machine {
    fn new(applied: usize) -> Self {
        let server = Server::start();
        server.database("openwatch");
        let root = tempfile::tempdir().unwrap();
        let machine = Self { server, root, heard: Arc::default() };
        std::fs::create_dir_all(machine.layout().history_dir()).unwrap();
        machine.write(&machine.layout().version_file(), "2.0.0-1\n");
        machine.write(&machine.root.path().join("etc/machine-id"), "0123456789abcdef\n");
        machine.migrate(applied);
        machine
    }

    fn layout(&self) -> Layout {
        Layout::new(self.root.path(), "openwatch")
    }

    fn write(&self, path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn database(&self) -> Database {
        Database::resolve(&Source {
            name: "main".into(),
            conninfo: Some(self.server.conninfo("openwatch")),
            ..Source::default()
        })
        .unwrap()
    }

    /// Applies what is missing up to the first `count` migrations, and records it.
    fn migrate(&self, count: usize) {
        let chain = shipped(count);
        for migration in &chain.migrations {
            let number = &migration.version;
            let there = "select to_regclass('openwatch_schema_history') is not null";
            let known =
                format!("select count(*) from openwatch_schema_history where version = '{number}'");
            if self.sql(there) == "t" && self.sql(&known) == "1" {
                continue;
            }
            let psql = self
                .server
                .psql_command("openwatch")
                .arg("-1")
                .arg("-f")
                .arg(chain.path(migration))
                .output()
                .unwrap();
            assert!(psql.status.success(), "{}", String::from_utf8_lossy(&psql.stderr));
            let mut session = self.database().connect().unwrap();
            migrations::mark_applied(&mut session, &shipped(ALL), number, "1.0.0").unwrap();
        }
    }

    fn sql(&self, sql: &str) -> String {
        self.server.psql("openwatch", sql)
    }

    fn parts(&self, count: usize) -> Parts {
        Parts {
            layout: self.layout(),
            database: self.database(),
            migrations: shipped(count),
            database_wait: Duration::from_secs(20),
            listen: Some("127.0.0.1:0".into()),
            names: Vec::new(),
            acts: Act::ALL.to_vec(),
            status: Arc::new(|| json!({"outcome": "ok", "app": "openwatch"})),
            platform: Arc::new(|asked| (asked == Asked::Services, json!({"asked": true}))),
            progress: Arc::clone(&self.heard) as Arc<dyn Progress>,
            stop: Arc::default(),
        }
    }

    fn serve(&self, parts: Parts) -> Running {
        let stop = Arc::clone(&parts.stop);
        let thread = std::thread::spawn(move || serve::run(parts));
        let mut running =
            Running { stop, thread: Some(thread), address: "0.0.0.0:0".parse().unwrap() };
        let heard = Arc::clone(&self.heard);
        wait_for("the service listens, or has ended", || {
            let line = heard.all().into_iter().rev().find(|line| line.contains("listens on"));
            match line.as_deref().and_then(|line| line.split_once("http://")) {
                Some((_, address)) => running.address = address.parse().unwrap(),
                None => return running.thread.as_ref().unwrap().is_finished(),
            }
            true
        });
        running
    }

    fn refused(&self, parts: Parts) -> Error {
        serve::run(parts).unwrap_err()
    }
}

/// A service in a thread; it is stopped with the test.
struct Running {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
    address: SocketAddr,
}

/// An answer as it came over the wire.
struct Answer {
    status: u16,
    headers: String,
    json: Value,
}

impl Running {
    fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
    }

    fn send(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (headers, body) = text.split_once("\r\n\r\n").unwrap();
        Answer {
            status: headers.split(' ').nth(1).unwrap().parse().unwrap(),
            headers: headers.to_lowercase(),
            json: serde_json::from_str(body).unwrap_or(Value::Null),
        }
    }

    fn end(mut self) -> Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn every_answer_tells_version_and_truth() {
    let machine = Machine::new(ALL);
    let service = machine.serve(machine.parts(ALL));

    let alive = service.get("/healthz");
    assert_eq!(alive.status, 200);
    assert_eq!(alive.json["version"], "2.0.0");
    assert_eq!(alive.json["pid"], std::process::id());
    let began = alive.json["started_at"].as_str().unwrap();
    assert!(openwatch::system::clock::parse_rfc3339(began).is_some());

    let ready = service.get("/readyz");
    assert_eq!(ready.status, 200);
    assert_eq!(
        ready.json,
        json!({"ready": true, "state": "current", "schema": "0007", "head": "0007",
               "version": "2.0.0", "started_at": began})
    );
    assert_eq!(service.get("/version").json["version"], "2.0.0");
    assert_eq!(service.get("/api/v1/upgrade").json, json!({"outcome": "ok", "app": "openwatch"}));
    for answer in [alive, ready, service.get("/nowhere")] {
        assert!(answer.headers.contains("cache-control: no-store"), "{}", answer.headers);
        assert!(answer.headers.contains("x-content-type-options: nosniff"), "{}", answer.headers);
    }
    service.end().unwrap();
    assert!(machine.heard.has("stopped"));
}

#[test]
fn what_is_not_there_too_large_or_broken_is_refused_in_json() {
    let machine = Machine::new(ALL);
    let service = machine.serve(machine.parts(ALL));
    let answer = service.get("/../etc/passwd");
    assert_eq!(
        (answer.status, &answer.json["error"]),
        (404, &json!("there is nothing at /../etc/passwd"))
    );
    let answer = service.send(
        "POST /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
    );
    assert_eq!(answer.status, 405);
    assert!(answer.headers.contains("allow: get,head"), "{}", answer.headers);
    let answer = service.send(
        "POST /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 99999999\r\n\r\n",
    );
    assert_eq!(answer.status, 413);
    let chunked = "POST /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let much = format!("{chunked}{:x}\r\n{}\r\n0\r\n\r\n", 70_000, "x".repeat(70_000));
    assert_eq!(service.send(&much).status, 413);
    let answer = service.send(&format!("{chunked}nonsense\r\n"));
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json["error"], "the request's body is broken or cut off");
}

/// Any user of the machine can open as many.
#[test]
fn connections_that_say_nothing_and_bodies_that_do_not_come_keep_nobody_waiting() {
    let machine = Machine::new(ALL);
    let service = machine.serve(machine.parts(ALL));
    let mute: Vec<TcpStream> =
        (0..300).map(|_| TcpStream::connect(service.address).unwrap()).collect();
    let began = "POST /api/v1/reports HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{";
    let cut_off = std::thread::scope(|scope| {
        let cut_off = scope.spawn(|| service.send(began));
        assert_eq!(service.get("/readyz").status, 200);
        cut_off.join().unwrap()
    });
    assert_eq!(cut_off.status, 408);
    assert_eq!(cut_off.json["error"], "the request did not come to its end");
    // Those that were let in were let go again, without a word.
    let mut first = &mute[0];
    first.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert_eq!(first.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn who_never_reads_the_answers_is_left() {
    let machine = Machine::new(ALL);
    let service = machine.serve(machine.parts(ALL));
    let mut deaf = TcpStream::connect(service.address).unwrap();
    deaf.set_write_timeout(Some(Duration::from_secs(90))).unwrap();
    let request = "GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(64);
    let error = (0..100_000).find_map(|_| deaf.write_all(request.as_bytes()).err()).unwrap();
    // Not our own patience: the connection is gone.
    assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}");
    assert_eq!(service.get("/readyz").status, 200);
}

const READINESS: &str = openwatch::upgrade::baseline::shared::READINESS;

/// Any user of the machine can ask as often.
#[test]
fn who_asks_for_much_and_goes_away_keeps_readiness_from_nobody() {
    let machine = Machine::new(ALL);
    let (begun, hold) =
        (Arc::new(AtomicUsize::new(0)), Arc::new((Mutex::new(true), Condvar::new())));
    let (count, held) = (Arc::clone(&begun), Arc::clone(&hold));
    let wait = move || {
        count.fetch_add(1, Ordering::SeqCst);
        let still = held.0.lock().unwrap();
        drop(held.1.wait_timeout_while(still, Duration::from_secs(60), |hold| *hold).unwrap());
    };
    let waits = wait.clone();
    let status = Arc::new(move || {
        waits();
        json!({})
    });
    let platform = Arc::new(move |_| {
        wait();
        (true, json!({}))
    });
    let service = machine.serve(Parts { status, platform, ..machine.parts(ALL) });
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(service.address).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        stream
    };
    let asked: Vec<TcpStream> =
        (0..40).flat_map(|_| [ask(READINESS), ask("/api/v1/upgrade"), ask("/next")]).collect();
    wait_for("the first are under way", || begun.load(Ordering::SeqCst) >= 5);
    for _ in 0..3 {
        assert_eq!(service.get("/readyz").status, 200);
    }
    drop(asked);
    assert_eq!(service.get("/readyz").status, 200);
    *hold.0.lock().unwrap() = false;
    hold.1.notify_all();
    for path in [READINESS, "/api/v1/upgrade"] {
        assert_eq!(service.get(path).status, 200);
    }
    // What was under way, and what was asked for last.
    assert_eq!(begun.load(Ordering::SeqCst), 5 + 2);
}

#[test]
fn a_probe_that_asks_this_very_service_is_answered_however_many_ask_for_it() {
    let machine = Machine::new(ALL);
    let address: Arc<OnceLock<SocketAddr>> = Arc::default();
    let own = Arc::clone(&address);
    let platform = Arc::new(move |_| {
        let url = format!("http://{}/readyz", own.get().unwrap());
        let answer = openwatch::system::http::get(&url, &[], Duration::from_secs(5));
        (answer.is_ok_and(|answer| answer.status == 200), json!({}))
    });
    let service = machine.serve(Parts { platform, ..machine.parts(ALL) });
    address.set(service.address).unwrap();
    std::thread::scope(|scope| {
        let asked: Vec<_> =
            (0..16).map(|_| scope.spawn(|| service.get(READINESS).status)).collect();
        for one in asked {
            assert_eq!(one.join().unwrap(), 200);
        }
    });
}

#[test]
fn both_package_versions_serve_on_their_own_schema() {
    let machine = Machine::new(5);
    let old = machine.serve(machine.parts(5));
    assert_eq!(old.get("/readyz").json["schema"], "0005");
    wait_for("the first sample", || machine.sql("select count(*) from health_samples") == "1");
    machine.write(
        &machine.layout().history_dir().join("20261120T131502Z.json"),
        r#"{"outcome":"ok"}"#,
    );
    old.end().unwrap();
    let before = machine.sql("select count(*) from hosts");

    machine.migrate(ALL);
    machine.heard.0.lock().unwrap().clear();
    let new = machine.serve(machine.parts(ALL));
    assert_eq!(new.get("/readyz").json["schema"], "0007");
    wait_for("a sample of the new version", || {
        machine.sql("select count(*) from health_samples where schema_version = '0007'") == "1"
    });
    wait_for("the report", || machine.sql("select count(*) from upgrade_reports") == "1");
    assert_eq!(machine.sql("select count(*) from hosts"), before);
    assert_eq!(machine.sql("select transport from host_overview"), "local");
}

/// Row 5.
#[test]
fn a_schema_that_is_not_exactly_right_is_refused_by_name() {
    let machine = Machine::new(5);
    let error = machine.refused(machine.parts(ALL));
    assert_eq!(error.outcome(), Outcome::Mismatch);
    assert_eq!(
        error.message(),
        "the schema is not the one needed: 2 migrations are pending: 0006_report_duration, \
         0007_host_connection_profile"
    );
    assert_eq!(error.state_line(), Some("the service was not started"));
    assert_eq!(error.hint_line(), Some("Run `openwatch upgrade`."));

    // The database is ahead of an older program.
    let error = machine.refused(machine.parts(4));
    assert_eq!(error.outcome(), Outcome::Mismatch);
    assert!(error.message().contains("0005"), "{error:?}");

    machine.sql("update openwatch_schema_history set checksum = 'edited' where version = '0002'");
    let error = machine.refused(machine.parts(5));
    assert_eq!(error.outcome(), Outcome::Mismatch);
    assert!(error.message().contains("0002"), "{error:?}");
}

#[test]
fn an_empty_database_is_refused() {
    let machine = Machine::new(0);
    let error = machine.refused(machine.parts(5));
    assert_eq!(error.outcome(), Outcome::Mismatch);
    assert_eq!(error.message(), "the schema is not the one needed: the database is empty");
}

#[test]
fn a_schema_that_changes_under_the_running_service_ends_its_readiness() {
    let machine = Machine::new(5);
    let service = machine.serve(machine.parts(5));
    assert_eq!(service.get("/readyz").status, 200);
    machine.migrate(6);
    let answer = service.get("/readyz");
    assert_eq!(answer.status, 503);
    assert_eq!((&answer.json["ready"], &answer.json["state"]), (&json!(false), &json!("ahead")));
    assert!(answer.json["reason"].as_str().unwrap().contains("0006"), "{}", answer.json);
    assert_eq!(service.get("/healthz").status, 200);
}

#[test]
fn a_database_that_goes_away_and_returns_is_used_again() {
    let machine = Machine::new(ALL);
    let service = machine.serve(machine.parts(ALL));
    assert_eq!(service.get("/readyz").status, 200);
    machine.server.down();
    let answer = service.get("/readyz");
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json["state"], "unreachable");
    assert!(answer.json["reason"].is_string());
    assert_eq!(service.get("/healthz").status, 200);
    machine.server.up();
    assert_eq!(service.get("/readyz").status, 200);
}

#[test]
fn a_database_that_is_away_at_start_is_waited_for() {
    let machine = Machine::new(ALL);
    machine.server.down();
    let parts = machine.parts(ALL);
    let stop = Arc::clone(&parts.stop);
    let thread = std::thread::spawn(move || serve::run(parts));
    wait_for("it says that it waits", || machine.heard.has("waiting for it"));
    machine.server.up();
    wait_for("it listens", || machine.heard.has("listens on"));
    stop.store(true, Ordering::SeqCst);
    thread.join().unwrap().unwrap();
}

#[test]
fn a_database_that_stays_away_is_unreachable_and_a_stop_is_obeyed_meanwhile() {
    let machine = Machine::new(ALL);
    machine.server.down();
    let parts = Parts { database_wait: Duration::from_millis(300), ..machine.parts(ALL) };
    let error = machine.refused(parts);
    assert_eq!(error.outcome(), Outcome::Unreachable);
    assert_eq!(error.state_line(), Some("the service was not started"));
    let parts = Parts { database_wait: Duration::from_secs(3600), ..machine.parts(ALL) };
    parts.stop.store(true, Ordering::SeqCst);
    assert!(serve::run(parts).is_ok());
}

#[test]
fn an_address_that_is_taken_or_nonsense_is_refused() {
    let machine = Machine::new(ALL);
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    let error = machine.refused(Parts { listen: Some(taken.clone()), ..machine.parts(ALL) });
    assert!(error.message().starts_with(&format!("cannot listen on {taken}: ")), "{error:?}");
    let error = machine.refused(Parts { listen: Some("*:8480".into()), ..machine.parts(ALL) });
    assert_eq!(error.outcome(), Outcome::Config);
}

#[test]
fn finished_upgrades_are_recorded_once_and_a_damaged_report_harms_nothing() {
    let machine = Machine::new(ALL);
    let history = machine.layout().history_dir();
    let run = json!({
        "format": 1, "run": "20261120T131502Z", "from": "1.0.0", "to": "2.0.0",
        "started": "2026-11-20T13:15:02Z", "finished": "2026-11-20T13:15:09Z",
        "outcome": "migration_failed", "message": "migration 0006 failed",
        "restore_point": "20261120T131502Z-1.0.0"
    });
    machine.write(&history.join("20261120T131502Z.json"), &run.to_string());
    machine.write(&history.join("20261121T131502Z.json"), r#"{"run":"x","outcome":null}"#);
    machine.write(&history.join("20261122T131502Z.json"), "{ truncat");
    machine.write(&history.join("20261123T131502Z.json"), r#"{"outcome":"ok","started":"never"}"#);
    machine.write(&history.join("20261124T131502Z.json"), r#"{"message":"a \u0000 b"}"#);
    machine.write(&history.join("notes.txt"), "not ours");
    for _ in 0..2 {
        machine.heard.0.lock().unwrap().clear();
        let service = machine.serve(machine.parts(ALL));
        wait_for("the last report was looked at", || machine.heard.has("20261124T131502Z"));
        service.end().unwrap();
    }
    assert_eq!(
        machine.sql(
            "select run, outcome, from_version, to_version, restore_point, duration \
                     from upgrade_reports order by run"
        ),
        "20261120T131502Z|migration_failed|1.0.0|2.0.0|20261120T131502Z-1.0.0|00:00:07\n\
         20261121T131502Z|failed||||00:00:00"
    );
    assert_eq!(
        machine.sql("select point, product_version from restore_points_seen"),
        "20261120T131502Z-1.0.0|1.0.0"
    );
    assert!(machine.heard.has("the report of run 20261122T131502Z is not recorded"));
    assert!(machine.heard.has("the report of run 20261123T131502Z is not recorded"));
    // The machine's identity is confidential: only a digest leaves it.
    assert_eq!(machine.sql("select count(*) from hosts where machine ~ '^[0-9a-f]{64}$'"), "1");
    assert!(!machine.server.dump("openwatch").contains("0123456789abcdef\n"));
}

#[test]
fn a_passing_error_of_the_database_keeps_no_upgrade_out_of_the_history() {
    for (code, lasts) in
        [("53100", false), ("57014", false), ("42501", false), ("25006", false), ("23514", true)]
    {
        let machine = Machine::new(ALL);
        machine.sql(&format!(
            "create function refuse() returns trigger language plpgsql \
             as $$ begin raise exception 'not now' using errcode = '{code}'; end $$; \
             create trigger refuse before insert on upgrade_reports \
             for each row execute function refuse()"
        ));
        let run = machine.layout().history_dir().join("20261120T131502Z.json");
        machine.write(&run, r#"{"outcome":"ok"}"#);
        let service = machine.serve(machine.parts(ALL));
        wait_for("it tells that it could not", || machine.heard.has("not now"));
        service.end().unwrap();
        // A report that is given up is named; a round that failed comes again.
        let given_up = machine.heard.has("the report of run 20261120T131502Z is not recorded");
        assert_eq!(given_up, lasts, "{code}: {:?}", machine.heard.all());
        assert_ne!(machine.heard.has("the history is not recorded: not now"), lasts, "{code}");
    }
}

#[test]
fn a_status_that_fails_does_not_end_the_service() {
    let machine = Machine::new(ALL);
    let parts = Parts { status: Arc::new(|| panic!("no status")), ..machine.parts(ALL) };
    let service = machine.serve(parts);
    assert_eq!(service.get("/api/v1/upgrade").status, 500);
    assert_eq!(service.get("/healthz").status, 200);
}

#[test]
fn a_connection_that_says_nothing_does_not_hold_the_end() {
    let machine = Machine::new(ALL);
    let service = machine.serve(machine.parts(ALL));
    let mut idle = TcpStream::connect(service.address).unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost:").unwrap();
    assert_eq!(service.get("/healthz").status, 200);
    service.end().unwrap();
}

#[test]
fn the_schema_is_the_same_whether_it_is_migrated_at_once_or_in_two_steps() {
    let server = Server::start();
    let chain = shipped(ALL);
    let files: Vec<PathBuf> = chain.migrations.iter().map(|m| chain.path(m)).collect();
    assert_eq!(files.len(), ALL, "0001 to 0005 are version 1, 0006 and 0007 version 2");
    let apply = |database: &str, files: &[PathBuf]| {
        let mut psql = server.psql_command(database);
        psql.arg("-1");
        for file in files {
            psql.arg("-f").arg(file);
        }
        let output = psql.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    server.database("at_once");
    apply("at_once", &files);
    server.database("two_steps");
    apply("two_steps", &files[..5]);
    let data = "insert into hosts (machine, name, app) values ('m', 'web1', 'openwatch'); \
                insert into upgrade_reports (host_id, run, outcome, started_at, finished_at, report) \
                values (1, 'a', 'ok', '2026-11-20 13:15:02Z', '2026-11-20 13:15:09Z', '{}'), \
                (1, 'b', 'stuck', '2026-11-20 13:15:02Z', '2026-11-20 13:15:01Z', '{}'), \
                (1, 'c', 'ok', null, null, '{}')";
    server.psql("two_steps", data);
    apply("two_steps", &files[5..]);
    // What version 1 wrote is filled in.
    assert_eq!(
        server.psql("two_steps", "select run, duration from upgrade_reports order by run"),
        "a|00:00:07\nb|00:00:00\nc|00:00:00"
    );
    assert_eq!(server.psql("two_steps", "select host_id from host_connection_profile"), "1");
    server.psql("two_steps", "truncate hosts cascade");
    assert_eq!(server.dump("at_once").replace("at_once", "x"), schema(&server, "two_steps"));
}

/// The schema and sequences of an emptied database as those of a new one.
fn schema(server: &Server, database: &str) -> String {
    server.psql(
        database,
        "alter table hosts alter id restart; \
                           alter table upgrade_reports alter id restart",
    );
    server.dump(database).replace(database, "x")
}

#[test]
fn samples_of_the_last_day_cannot_be_pruned() {
    let machine = Machine::new(4);
    machine.sql("insert into hosts (machine, name, app) values ('m', 'web1', 'openwatch')");
    machine.sql(
        "insert into health_samples select 1, now() - d * interval '1 day' - interval '1 hour', '1', '1', true, 5 \
                 from generate_series(0, 99) d",
    );
    assert_eq!(machine.sql("select prune_health_samples('90 days')"), "10");
    let psql = machine
        .server
        .psql_command("openwatch")
        .arg("-c")
        .arg("select prune_health_samples('1 hour')")
        .output()
        .unwrap();
    assert!(!psql.status.success());
    assert!(String::from_utf8_lossy(&psql.stderr).contains("never removed"));
}

/// A root with the files of an installed package that ships the first `count` migrations.
fn install(machine: &Machine, version: &str, count: usize) {
    let layout = machine.layout();
    let dir = layout.migrations_dir();
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let chain = shipped(count);
    for migration in &chain.migrations {
        std::fs::copy(chain.path(migration), dir.join(&migration.file)).unwrap();
    }
    machine.write(&layout.version_file(), version);
    machine.write(
        &layout.packager_conf(),
        &format!(
            "[app]\nservices = [\"openwatch.service\"]\n[[database]]\nname = \"main\"\nurl_env = \"OPENWATCH_DATABASE_DSN\"\n\
             migrations = {{ format = \"plain\", dir = \"{}\" }}\n",
            dir.display()
        ),
    );
    let backups = machine.root.path().join("backups");
    machine.write(
        &layout.operator_conf(),
        &format!("backup_dir = \"{}\"\ndatabase_wait = \"1s\"\n", backups.display()),
    );
    machine.write(
        &layout.secrets(),
        &format!(
            "OPENWATCH_DATABASE_DSN=\"{} password=hunter2\"\nOPENWATCH_LISTEN=127.0.0.1:0\n",
            machine.server.conninfo("openwatch")
        ),
    );
}

/// Prepares the program on that root.
fn program(machine: &Machine, verb: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_openwatch"));
    command.arg("--root").arg(machine.root.path()).args(verb).stdin(Stdio::null());
    command
}

/// Runs it to its end; the planted password must not appear.
fn ended(machine: &Machine, verb: &[&str]) -> (Option<i32>, String) {
    let output = program(machine, verb).output().unwrap();
    let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(!told.contains("hunter2"), "{told}");
    (output.status.code(), told)
}

/// The program as systemd starts it: told of readiness through a socket.
struct Daemon {
    child: Child,
    notified: UnixDatagram,
    log: PathBuf,
}

impl Daemon {
    fn start(machine: &Machine) -> Self {
        let socket = machine.root.path().join("notify");
        let _ = std::fs::remove_file(&socket);
        let notified = UnixDatagram::bind(&socket).unwrap();
        notified.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let log = machine.root.path().join("log");
        let child = program(machine, &["serve"])
            .env("NOTIFY_SOCKET", &socket)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, notified, log }
    }

    fn notice(&self) -> String {
        let mut bytes = [0; 512];
        let length = self.notified.recv(&mut bytes).unwrap_or_else(|error| {
            panic!("{error}: {}", std::fs::read_to_string(&self.log).unwrap())
        });
        String::from_utf8_lossy(&bytes[..length]).trim().to_owned()
    }

    fn url(&self, path: &str) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap();
        let address = log.split_once("http://").unwrap().1.split_whitespace().next().unwrap();
        format!("http://{address}{path}")
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let answer =
            openwatch::system::http::get(&self.url(path), &[], Duration::from_secs(30)).unwrap();
        (answer.status, serde_json::from_str(&answer.body).unwrap())
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_program_is_migrated_by_itself_told_to_systemd_and_ended_by_a_signal() {
    let machine = Machine::new(0);
    install(&machine, "1.0.0", 5);
    assert_eq!(ended(&machine, &["serve"]).0, Some(11), "the database is empty");
    let (code, told) = ended(&machine, &["migrate"]);
    assert_eq!(code, Some(0), "{told}");

    let mut daemon = Daemon::start(&machine);
    assert_eq!(daemon.notice(), "READY=1");
    let (status, ready) = daemon.get("/readyz");
    assert_eq!(
        (status, &ready["version"], &ready["schema"]),
        (200, &json!("1.0.0"), &json!("0005"))
    );
    let (status, upgrade) = daemon.get("/api/v1/upgrade");
    assert_eq!((status, &upgrade["databases"][0]["state"]), (200, &json!("current")));
    assert!(!upgrade.to_string().contains("hunter2"));
    wait_for("the first sample", || machine.sql("select count(*) from health_samples") == "1");
    // Settings are read at start; a reload is no reason to end.
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    assert_eq!(daemon.get("/healthz").1["pid"], daemon.child.id());
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(daemon.notice(), "STOPPING=1");
    assert_eq!(daemon.child.wait().unwrap().code(), Some(0));
    assert!(!std::fs::read_to_string(&daemon.log).unwrap().contains("hunter2"));

    // The next version refuses the old schema, and serves once it is migrated.
    install(&machine, "2.0.0", ALL);
    let (code, told) = ended(&machine, &["serve"]);
    assert_eq!(code, Some(11), "{told}");
    assert!(told.contains("2 migrations are pending: 0006_report_duration"), "{told}");
    let (code, told) = ended(&machine, &["migrate"]);
    assert_eq!(code, Some(0), "{told}");
    let daemon = Daemon::start(&machine);
    assert_eq!(daemon.notice(), "READY=1");
    assert_eq!(daemon.get("/readyz").1["schema"], "0007");
    assert_eq!(machine.sql("select count(*) from host_connection_profile"), "1");
}

/// Asked before and after, these answers are compared by a probe's `compare` as baselines are.
#[test]
fn services_and_readiness_are_answered_with_the_same_fields_before_and_after() {
    let machine = Machine::new(0);
    install(&machine, "1.0.0", 5);
    assert_eq!(ended(&machine, &["migrate"]).0, Some(0));
    let shape =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let ask = |daemon: &Daemon| {
        let (status, services) = daemon.get("/api/v1/platform/services");
        assert_eq!(status, 200, "{services}");
        (services, daemon.get("/api/v1/observability/readiness"))
    };
    let daemon = Daemon::start(&machine);
    assert_eq!(daemon.notice(), "READY=1");
    let (services, (_, readiness)) = ask(&daemon);
    assert_eq!(services["databases"][0]["schema"], "0005", "{services}");
    let of_database =
        &readiness["checks"].as_array().unwrap().iter().find(|c| c["name"] == "database main");
    assert_eq!(of_database.unwrap()["passed"], true, "{readiness}");
    assert_eq!(readiness["said"]["gate"], "open");
    drop(daemon);

    install(&machine, "2.0.0", ALL);
    assert_eq!(ended(&machine, &["migrate"]).0, Some(0));
    let daemon = Daemon::start(&machine);
    assert_eq!(daemon.notice(), "READY=1");
    let (later, (_, ready_later)) = ask(&daemon);
    assert_eq!((shape(&services), shape(&readiness)), (shape(&later), shape(&ready_later)));
    assert_eq!(services["services"], later["services"]);
    assert_eq!(readiness["checks"], ready_later["checks"]);

    // With the gate closed nothing is ready, and the answer says which check it is.
    machine.write(&machine.layout().pending_mark(), "not a mark");
    let (status, closed) = daemon.get("/api/v1/observability/readiness");
    assert_eq!((status, &closed["checks"][0]["passed"]), (503, &json!(false)), "{closed}");
    assert!(!closed.to_string().contains("hunter2"));
}

/// Row 51.
#[test]
fn the_exit_status_tells_the_unit_whether_starting_again_can_help() {
    let machine = Machine::new(5);
    install(&machine, "1.0.0", 5);
    machine.server.down();
    let (code, told) = ended(&machine, &["serve"]);
    assert_eq!(code, Some(4), "{told}");
    machine.server.up();

    let secrets = std::fs::read_to_string(machine.layout().secrets()).unwrap();
    let nonsense = secrets.replace("127.0.0.1:0", "somewhere");
    std::fs::write(machine.layout().secrets(), nonsense).unwrap();
    let (code, told) = ended(&machine, &["serve"]);
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("OPENWATCH_LISTEN is not an address with a port: somewhere"), "{told}");

    std::fs::write(machine.layout().secrets(), "").unwrap();
    assert_eq!(ended(&machine, &["serve"]).0, Some(3));
}
