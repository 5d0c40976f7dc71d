//! Health is proved by the right answer of the right process, within a limit, and never by luck.

mod support;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use openwatch::config::{ProbeSpec, Question, SecretSpec};
use openwatch::database::{Database, Source};
use openwatch::error::{Error, Result};
use openwatch::health::{self, Answer, Connect, Context, Life, Pace, Report, UnitLook, Units};
use openwatch::outcome::Outcome;
use openwatch::progress::Progress;

/// A listener that gives the n-th connection to `answer`; it ends with the test.
struct Listener {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Listener {
    fn on(address: &str, answer: impl Fn(u32, TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let requests = Arc::clone(&seen);
        std::thread::spawn(move || {
            for (count, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let request = request(&mut stream);
                requests.lock().unwrap().push(request);
                answer(u32::try_from(count).unwrap(), stream);
            }
        });
        Self { port, seen }
    }

    fn saying(status: &'static str, body: &'static str) -> Self {
        Self::on("127.0.0.1:0", move |_, stream| reply(stream, status, body))
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/readyz", self.port)
    }

    fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// Reads one request with its body; empty for a connection that says nothing.
fn request(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut text = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) | Err(_) => break,
            Ok(count) => text.extend_from_slice(&bytes[..count]),
        }
        let whole = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = whole.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .and_then(|(_, value)| value.trim().parse::<usize>().ok())
                .unwrap_or(0);
            if body.len() >= length {
                break;
            }
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn reply(mut stream: TcpStream, status: &str, body: &str) {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
}

/// A service manager that shows its looks one after the other and repeats the last.
struct Looks(Vec<UnitLook>, AtomicU32);

impl Looks {
    fn of(looks: &[(Life, u32, u32)]) -> Self {
        let look = |&(life, main_pid, restarts): &(Life, u32, u32)| UnitLook {
            life,
            words: format!("{life:?}").to_lowercase(),
            main_pid,
            restarts,
        };
        Self(looks.iter().map(look).collect(), AtomicU32::new(0))
    }
}

impl Units for Looks {
    fn look(&self, _: &str, _: Duration) -> Result<UnitLook> {
        let place = self.1.fetch_add(1, Ordering::SeqCst) as usize;
        Ok(self.0[place.min(self.0.len() - 1)].clone())
    }
}

fn nowhere() -> Connect {
    Arc::new(|name: &str| Err(Error::new(Outcome::Unreachable, format!("no database {name}"))))
}

fn context(units: &dyn Units) -> Context<'_> {
    Context {
        expected_version: Some("2.0.0".into()),
        started: None,
        units,
        connect: nowhere(),
        secrets: "/nonexistent".into(),
        pace: Pace {
            looks: 3,
            apart: Duration::from_millis(10),
            first_pause: Duration::from_millis(5),
            longest_pause: Duration::from_millis(20),
        },
    }
}

fn required(question: Question, deadline: Duration) -> ProbeSpec {
    ProbeSpec { question, required: true, deadline, compare: Vec::new(), answered_by: None }
}

fn http(url: impl Into<String>) -> Question {
    Question::Http { url: url.into(), status: 200, body: None, expect_version: false, token: None }
}

fn versioned(url: impl Into<String>) -> Question {
    Question::Http { url: url.into(), status: 200, body: None, expect_version: true, token: None }
}

const SOON: Duration = Duration::from_millis(800);
/// For wrong answers that a server needs a moment to give; asked until this has passed.
const FIRM: Duration = Duration::from_secs(3);
const LONG: Duration = Duration::from_secs(20);

fn ask(probes: &[ProbeSpec], context: &Context<'_>) -> Report {
    health::ask(probes, context, &openwatch::progress::Silent).unwrap()
}

fn last(question: Question, deadline: Duration) -> (bool, String) {
    let units = Looks::of(&[(Life::Active, 1, 0)]);
    let report = ask(&[required(question, deadline)], &context(&units));
    (report.answers[0].passed, report.answers[0].last.clone())
}

#[test]
fn the_right_status_and_version_prove_health() {
    let server = Listener::saying("200 OK", r#"{"ready":true,"version":"2.0.0"}"#);
    assert_eq!(
        last(versioned(server.url()), LONG),
        (true, "answered 200, version 2.0.0".to_owned())
    );
    assert!(server.requests().len() >= 3, "a right answer must come several times in a row");
}

/// Row 47.
#[test]
fn an_answer_of_the_old_version_is_no_proof() {
    let server = Listener::saying("200 OK", r#"{"ready":true,"version":"1.0.0"}"#);
    let (passed, last) = last(versioned(server.url()), SOON);
    assert!(!passed);
    assert_eq!(last, "answered by version 1.0.0, not 2.0.0");
}

#[test]
fn a_text_body_must_name_the_version_exactly() {
    let server = Listener::saying("200 OK", "version 12.0.0 ready");
    let (passed, answer) = last(versioned(server.url()), SOON);
    assert!(!passed);
    assert_eq!(answer, "the body does not name version 2.0.0: version 12.0.0 ready");
    let server = Listener::saying("200 OK", "version 2.0.0 ready");
    assert!(last(versioned(server.url()), LONG).0);
}

/// Row 47.
#[test]
fn an_answer_of_a_process_that_began_before_ours_is_no_proof() {
    let body = r#"{"version":"2.0.0","started_at":"2026-11-20T13:15:02Z"}"#;
    let server = Listener::saying("200 OK", body);
    let units = Looks::of(&[(Life::Active, 1, 0)]);
    let began = openwatch::system::clock::parse_rfc3339("2026-11-20T13:15:02Z").unwrap();
    let asked = |started: SystemTime, deadline| {
        let context = Context { started: Some(started), ..context(&units) };
        ask(&[required(versioned(server.url()), deadline)], &context).answers.remove(0)
    };
    let answer = asked(began + Duration::from_secs(60), SOON);
    assert!(!answer.passed);
    assert_eq!(
        answer.last,
        "answered by a process that began at 2026-11-20T13:15:02Z, before ours at \
         2026-11-20T13:16:02Z"
    );
    // Started in the same second, told in whole seconds.
    assert!(asked(began + Duration::from_millis(700), LONG).passed);
}

/// Asks for a version of a process that says it began so; ours was started at the end of 2026.
fn began(started_at: &str, deadline: Duration) -> Answer {
    let body = format!(r#"{{"version":"2.0.0","started_at":{started_at}}}"#);
    let server = Listener::on("127.0.0.1:0", move |_, stream| reply(stream, "200 OK", &body));
    let units = Looks::of(&[(Life::Active, 1, 0)]);
    let started = openwatch::system::clock::parse_rfc3339("2026-11-20T13:15:02Z");
    let context = Context { started, ..context(&units) };
    ask(&[required(versioned(server.url()), deadline)], &context).answers.remove(0)
}

/// Row 47.
#[test]
fn a_moment_in_parts_of_a_second_lets_no_old_process_pass() {
    for old in
        ["1500000000", "1500000000.5", "1500000000000", "1500000000000000", "1500000000000000000"]
    {
        let answer = began(old, SOON);
        assert!(!answer.passed, "{old}");
        let told = "answered by a process that began at 2017-07-14T02:40:00Z, before ours";
        assert!(answer.last.starts_with(told), "{old}: {answer}");
    }
    assert!(began("1800000000000", LONG).passed);
}

#[test]
fn a_moment_that_no_clock_can_hold_ends_no_run() {
    for moment in ["9223372036854775807", "18446744073709551615", "1e300", "-1", "99999999999"] {
        assert!(began(moment, LONG).passed, "{moment}");
    }
}

#[test]
fn a_probe_that_panics_is_not_healthy() {
    struct Broken;
    impl Units for Broken {
        fn look(&self, _: &str, _: Duration) -> Result<UnitLook> {
            panic!("a defect")
        }
    }
    let probe = required(Question::Unit("a.service".into()), LONG);
    let answer = ask(&[probe], &context(&Broken)).answers.remove(0);
    assert!(!answer.passed);
    assert_eq!(answer.last, "asking it failed by a defect of openwatch");
}

#[test]
fn a_wrong_status_is_told_with_its_body() {
    let server = Listener::saying("503 Service Unavailable", r#"{"reason":"schema pending"}"#);
    let (passed, last) = last(http(server.url()), SOON);
    assert!(!passed);
    assert_eq!(last, r#"answered 503: {"reason":"schema pending"}"#);
}

#[test]
fn another_status_can_be_the_right_one() {
    let server = Listener::saying("401 Unauthorized", "");
    let question = Question::Http {
        url: server.url(),
        status: 401,
        body: None,
        expect_version: false,
        token: None,
    };
    assert!(last(question, LONG).0);
}

#[test]
fn the_body_must_contain_the_stated_text() {
    let server = Listener::saying("200 OK", "starting");
    let question = Question::Http {
        url: server.url(),
        status: 200,
        body: Some("ready".into()),
        expect_version: false,
        token: None,
    };
    let (passed, last) = last(question, SOON);
    assert!(!passed);
    assert_eq!(last, "the body does not contain \"ready\": starting");
}

#[test]
fn a_body_in_chunks_is_read_whole() {
    let server = Listener::on("127.0.0.1:0", |_, mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for part in [r#"{"version":"2."#, r#"0.0"}"#] {
            let _ = stream.write_all(format!("{:x}\r\n{part}\r\n", part.len()).as_bytes());
            let _ = stream.flush();
        }
        let _ = stream.write_all(b"0\r\n\r\n");
    });
    assert!(last(versioned(server.url()), LONG).0);
}

#[test]
fn a_redirect_is_not_followed() {
    let target = Listener::saying("200 OK", "ready");
    let to = format!("{}?token=hunter2", target.url());
    let server = Listener::on("127.0.0.1:0", move |_, mut stream| {
        let head = format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
        let _ = stream.write_all(head.as_bytes());
    });
    let (passed, last) = last(http(server.url()), SOON);
    assert!(!passed);
    assert_eq!(last, format!("answered 302, a redirect to {}?…", target.url()));
    assert!(target.requests().is_empty());
}

/// Row 48.
#[test]
fn a_service_that_warms_up_is_waited_for() {
    let server = Listener::on("127.0.0.1:0", |count, stream| match count {
        0..4 => reply(stream, "503 Service Unavailable", "warming up"),
        _ => reply(stream, "200 OK", "ready"),
    });
    assert!(last(http(server.url()), LONG).0);
}

/// Row 46.
#[test]
fn an_answer_that_flaps_is_no_proof() {
    let server = Listener::on("127.0.0.1:0", |count, stream| match count % 2 {
        0 => reply(stream, "200 OK", "ready"),
        _ => reply(stream, "500 Internal Server Error", "gone again"),
    });
    assert!(!last(http(server.url()), SOON).0);
}

/// Row 49.
#[test]
fn a_server_that_never_answers_does_not_hold_us_beyond_the_deadline() {
    let server = Listener::on("127.0.0.1:0", |_, stream| {
        // Kept open, silent.
        std::mem::forget(stream);
    });
    let begin = Instant::now();
    let (passed, last) = last(http(server.url()), SOON);
    assert!(!passed);
    assert!(last.starts_with("no answer within "), "{last}");
    assert!(begin.elapsed() < LONG);
}

/// Row 49.
#[test]
fn a_body_that_drips_for_ever_does_not_hold_us_beyond_the_deadline() {
    let server = Listener::on("127.0.0.1:0", |_, mut stream| {
        std::thread::spawn(move || {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
            while stream.write_all(b"x").is_ok() {
                std::thread::park_timeout(Duration::from_millis(5));
            }
        });
    });
    let begin = Instant::now();
    assert!(!last(http(server.url()), SOON).0);
    assert!(begin.elapsed() < LONG);
}

#[test]
fn an_address_of_ipv6_is_asked() {
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("SKIPPED an_address_of_ipv6_is_asked: this machine has no IPv6 loopback");
        return;
    }
    let server = Listener::on("[::1]:0", |_, stream| reply(stream, "200 OK", "2.0.0"));
    let port = server.port;
    assert!(last(versioned(format!("http://[::1]:{port}/")), LONG).0);
    assert!(last(Question::Tcp(format!("[::1]:{port}")), LONG).0);
}

#[test]
fn a_closed_port_is_told_as_refused() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for question in [Question::Tcp(free.to_string()), http(format!("http://{free}/"))] {
        let (passed, last) = last(question, SOON);
        assert!(!passed);
        assert!(last.to_lowercase().contains("connection refused"), "{last}");
    }
}

/// Row 46.
#[test]
fn a_unit_must_keep_its_main_process() {
    for looks in [
        // A loop of restarts: active whenever we look, never the same process.
        (0..200).map(|n| (Life::Active, 100 + n, n)).collect::<Vec<_>>(),
        vec![(Life::Changing, 0, 5)],
        vec![(Life::Active, 7, 0), (Life::Down, 0, 0)],
    ] {
        let units = Looks::of(&looks);
        let probe = required(Question::Unit("a.service".into()), SOON);
        assert!(!ask(&[probe], &context(&units)).answers[0].passed, "{looks:?}");
    }
    let units = Looks::of(&[(Life::Changing, 0, 0), (Life::Active, 7, 1)]);
    let probe = required(Question::Unit("a.service".into()), LONG);
    let report = ask(&[probe], &context(&units));
    assert_eq!(report.answers[0].last, "active, main process 7, 1 restarts");
}

#[test]
fn a_unit_that_is_down_for_good_is_not_waited_for() {
    let units = Looks::of(&[(Life::Down, 0, 0)]);
    let probe = required(Question::Unit("a.service".into()), Duration::from_secs(3600));
    let answer = ask(&[probe], &context(&units)).answers.remove(0);
    assert_eq!((answer.passed, answer.attempts), (false, 3));
}

/// Row 46.
#[test]
fn a_unit_that_dies_while_a_slower_probe_is_asked_is_not_healthy() {
    let units = Looks::of(&[
        (Life::Active, 7, 0),
        (Life::Active, 7, 0),
        (Life::Active, 7, 0),
        (Life::Active, 8, 1),
    ]);
    let probe = required(Question::Unit("a.service".into()), LONG);
    let answer = ask(&[probe], &context(&units)).answers.remove(0);
    assert!(!answer.passed);
    assert_eq!(answer.last, "did not stay up: active, main process 8, 1 restarts");
}

/// Row 48.
#[test]
fn a_failed_required_probe_is_unhealthy_and_an_advisory_one_is_a_warning() {
    struct Heard(Mutex<Vec<String>>);
    impl Progress for Heard {
        fn step(&self, _: &str) {}
        fn note(&self, _: &str) {}
        fn warn(&self, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }
        fn alive(&self, _: &str, _: u64, _: Option<u64>) {}
    }
    let good = Listener::saying("200 OK", "ready");
    let bad = Listener::saying("500 Internal Server Error", "no");
    let units = Looks::of(&[(Life::Down, 0, 0)]);
    let advisory = ProbeSpec { required: false, ..required(http(bad.url()), SOON) };
    let unit = required(Question::Unit("a.service".into()), SOON);
    let heard = Heard(Mutex::default());

    let fine = [required(http(good.url()), LONG), advisory.clone()];
    let report = health::prove(&fine, &context(&units), &heard).unwrap();
    assert_eq!(report.answers.iter().map(|a| a.passed).collect::<Vec<_>>(), [true, false]);
    assert_eq!(
        *heard.0.lock().unwrap(),
        [format!("http {} (advisory): answered 500: no", bad.url())]
    );

    let ill = [required(http(bad.url()), SOON), advisory, unit];
    let error = health::prove(&ill, &context(&units), &heard).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unhealthy);
    assert_eq!(
        error.message(),
        format!("health was not proved: http {}, unit a.service", bad.url())
    );
    assert!(error.details()[0].contains("answered 500: no"), "{error:?}");
    assert!(error.details()[1].starts_with("unit a.service: down"), "{error:?}");
}

#[test]
fn a_glance_asks_once() {
    let server = Listener::saying("503 Service Unavailable", "");
    let units = Looks::of(&[(Life::Active, 7, 0)]);
    let probes =
        [required(http(server.url()), LONG), required(Question::Unit("a.service".into()), LONG)];
    let looked = health::glance(&probes, &context(&units), Duration::from_secs(5));
    let passed: Vec<bool> = looked.iter().map(|l| l.answer.passed).collect();
    assert_eq!(passed, [false, true]);
    assert_eq!(server.requests().len(), 1);
}

fn command(script: &str) -> Question {
    Question::Command(vec!["sh".into(), "-c".into(), script.into()])
}

#[test]
fn a_program_proves_health_by_its_exit_status() {
    assert_eq!(last(command("true"), LONG), (true, "exited with status 0".into()));
    let (passed, last) = last(command("echo licence expired >&2; exit 3"), SOON);
    assert_eq!((passed, last.as_str()), (false, "exited with status 3: licence expired"));
}

/// Row 49.
#[test]
fn a_program_that_hangs_is_killed_with_all_that_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    // Both ignore SIGTERM.
    let script = format!(
        "trap '' TERM; echo $$ >>{0}; (echo $BASHPID; sleep 600) >>{0}; true",
        pids.display()
    );
    let question = Question::Command(vec!["bash".into(), "-c".into(), script]);
    let (passed, last) = last(question, Duration::from_secs(1));
    assert!(!passed);
    assert!(last.starts_with("did not end within "), "{last}");
    for pid in std::fs::read_to_string(&pids).unwrap().lines() {
        let stat = format!("/proc/{pid}/stat");
        support::postgres::wait_for("the killed process is gone", || {
            // A zombie that its new parent has not reaped yet does nothing any more.
            std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "))
        });
    }
}

#[test]
fn a_program_that_does_not_exist_is_not_asked_twice() {
    let units = Looks::of(&[(Life::Active, 1, 0)]);
    let question = Question::Command(vec!["no-such-program".into()]);
    let probe = required(question, Duration::from_secs(3600));
    let answer = ask(&[probe], &context(&units)).answers.remove(0);
    assert_eq!((answer.attempts, answer.last.as_str()), (1, "there is no program no-such-program"));
}

#[test]
fn a_statement_proves_health_by_one_true_row() {
    let server = support::postgres::Server::start();
    let database = Database::resolve(&Source {
        name: "main".into(),
        conninfo: Some(server.database("app")),
        ..Source::default()
    })
    .unwrap();
    server.psql("app", "create table t (n int)");
    let units = Looks::of(&[(Life::Active, 1, 0)]);
    let connect: Connect = Arc::new(move |name: &str| {
        assert_eq!(name, "main");
        database.connect()
    });
    let context = Context { connect, ..context(&units) };
    let sql = |statement: &str, deadline| {
        let question = Question::Sql { database: "main".into(), statement: statement.into() };
        let answer = ask(&[required(question, deadline)], &context).answers.remove(0);
        (answer.passed, answer.last)
    };
    assert_eq!(sql("select true", LONG), (true, "true".into()));
    assert_eq!(sql("select false", FIRM), (false, "false".into()));
    assert_eq!(sql("select 1 / 0 = 1", FIRM).1, "division by zero (SQLSTATE 22012)");
    assert_eq!(sql("select true where false", FIRM).1, "0 rows instead of one");
    assert_eq!(sql("select 1", FIRM).1, "the answer is not a boolean");
    // A look changes nothing.
    let (passed, last) = sql("insert into t values (1) returning true", FIRM);
    assert!(!passed && last.contains("read-only transaction"), "{last}");
    // The server itself ends a statement that hangs.
    assert!(!sql("select pg_sleep(600) is not null", Duration::from_secs(1)).0);
    support::postgres::wait_for("no statement is left running", || {
        server.psql(
            "app",
            "select count(*) from pg_stat_activity where query like '%sleep(600)%' \
                            and pid <> pg_backend_pid()",
        ) == "0"
    });
    server.down();
    let (passed, last) = sql("select true", FIRM);
    assert!(!passed && last.starts_with("cannot connect to"), "{last}");
}

#[test]
fn a_database_that_accepts_and_stays_silent_does_not_hold_us() {
    let server = Listener::on("127.0.0.1:0", |_, stream| std::mem::forget(stream));
    let conninfo = format!("host=127.0.0.1 port={} dbname=app user=app", server.port);
    let source = Source { name: "main".into(), conninfo: Some(conninfo), ..Source::default() };
    let database = Database::resolve(&source).unwrap();
    let units = Looks::of(&[(Life::Active, 1, 0)]);
    let connect: Connect = Arc::new(move |_: &str| database.connect());
    let context = Context { connect, ..context(&units) };
    let question = Question::Sql { database: "main".into(), statement: "select true".into() };
    let begin = Instant::now();
    assert!(!ask(&[required(question, SOON)], &context).answers[0].passed);
    assert!(begin.elapsed() < LONG);
}

#[test]
fn all_probes_together_take_no_longer_than_the_longest() {
    let server = Listener::on("127.0.0.1:0", |_, stream| std::mem::forget(stream));
    let units = Looks::of(&[(Life::Active, 1, 0)]);
    let probes: Vec<ProbeSpec> =
        (0..30).map(|_| required(http(server.url()), Duration::from_secs(2))).collect();
    let begin = Instant::now();
    let report = ask(&probes, &context(&units));
    assert_eq!(report.failed().count(), 30);
    assert!(begin.elapsed() < Duration::from_secs(30), "one after the other takes a minute");
}

/// Makes an authority and a certificate for 127.0.0.1; returns their files.
fn certificates(dir: &std::path::Path) {
    let openssl = |args: &[&str]| {
        let output = Command::new("openssl").args(args).current_dir(dir).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let authority = ["req", "-x509", "-subj", "/CN=authority", "-days", "2", "-out", "ca.pem"];
    openssl(&[&authority[..], &key, &["-keyout", "ca.key"]].concat());
    let request = ["req", "-subj", "/CN=server", "-out", "server.csr", "-keyout", "server.key"];
    openssl(&[&request[..], &key].concat());
    std::fs::write(dir.join("ext"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl(&[
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-days",
        "2",
        "-CAcreateserial",
        "-extfile",
        "ext",
        "-out",
        "server.pem",
    ]);
}

/// Set by a test that runs itself once more: what it asks about is read once in a process.
const IN_ITS_OWN_PROCESS: &str = "OPENWATCH_TEST_URL";

#[test]
fn a_certificate_counts_only_when_the_system_trusts_its_authority() {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    if let Ok(url) = std::env::var(IN_ITS_OWN_PROCESS) {
        assert_eq!(last(versioned(url), LONG), (true, "answered 200, version 2.0.0".to_owned()));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let certificate = CertificateDer::from_pem_file(dir.path().join("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(dir.path().join("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::Stream::new(&mut tls, &mut stream);
            let mut bytes = [0; 4096];
            if matches!(stream.read(&mut bytes), Ok(1..)) {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n2.0.0");
            }
        }
    });
    let url = format!("https://127.0.0.1:{port}/");
    let (passed, last) = last(versioned(&url), SOON);
    assert!(!passed);
    assert!(last.contains("UnknownIssuer"), "{last}");

    // The trusted authorities are read once in a process: another one is asked.
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_certificate_counts_only_when_the_system_trusts_its_authority"])
        .env("SSL_CERT_FILE", dir.path().join("ca.pem"))
        .env(IN_ITS_OWN_PROCESS, url)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}

/// Row 48.
#[test]
fn a_proxy_of_the_environment_is_not_asked_for_loopback() {
    if let Ok(url) = std::env::var(IN_ITS_OWN_PROCESS) {
        assert_eq!(last(versioned(url), LONG), (true, "answered 200, version 2.0.0".to_owned()));
        return;
    }
    let server = Listener::saying("200 OK", "2.0.0");
    let proxy = Listener::saying("502 Bad Gateway", "");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_proxy_of_the_environment_is_not_asked_for_loopback"])
        .env("http_proxy", format!("http://127.0.0.1:{}", proxy.port))
        .env("HTTP_PROXY", format!("http://127.0.0.1:{}", proxy.port))
        .env("ALL_PROXY", format!("http://127.0.0.1:{}", proxy.port))
        .env(IN_ITS_OWN_PROCESS, server.url())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
    assert!(proxy.requests().is_empty());
}

fn token() -> SecretSpec {
    SecretSpec::Variable("API_TOKEN".into())
}

fn ask_with_secrets(question: Question, secrets: &str, deadline: Duration) -> Answer {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secrets.env");
    std::fs::write(&file, secrets).unwrap();
    let units = Looks::of(&[(Life::Active, 1, 0)]);
    let context = Context { secrets: file, ..context(&units) };
    ask(&[required(question, deadline)], &context).answers.remove(0)
}

#[test]
fn a_token_is_sent_and_is_in_no_answer() {
    let server = Listener::saying("200 OK", "token hunter2 belongs to ada");
    let question = |body: &str| Question::Http {
        url: server.url(),
        status: 200,
        body: Some(body.into()),
        expect_version: false,
        token: Some(token()),
    };
    let answer = ask_with_secrets(question("ada"), "API_TOKEN=hunter2\n", LONG);
    assert!(answer.passed, "{answer}");
    let asked = server.requests().remove(0);
    assert!(asked.to_lowercase().contains("authorization: bearer hunter2"), "{asked}");
    let answer = ask_with_secrets(question("nobody"), "API_TOKEN=hunter2\n", SOON);
    assert!(!answer.passed);
    assert!(answer.last.ends_with("token … belongs to ada"), "{answer}");
    let answer = ask_with_secrets(question("ada"), "", SOON);
    assert!(answer.last.starts_with("API_TOKEN is not set in"), "{answer}");
}

/// Answers the handshake of a WebSocket; `change` has the last word on what is said.
fn websockets(change: fn(String) -> String) -> Listener {
    Listener::on("127.0.0.1:0", move |_, mut stream| {
        // The key of the standard's example is never sent, and so its answer is never right.
        let _ = stream.write_all(change("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned()).as_bytes());
    })
}

fn websocket(port: u16, token: Option<SecretSpec>) -> Question {
    Question::WebSocket { url: format!("ws://127.0.0.1:{port}/live"), token }
}

const SWITCHES: &str =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n";

#[test]
fn a_handshake_that_did_not_read_the_key_is_no_websocket() {
    let server = websockets(|key| format!("{SWITCHES}Sec-WebSocket-Accept: {key}\r\n\r\n"));
    let (passed, said) = last(websocket(server.port, None), SOON);
    assert!(!passed);
    assert_eq!(said, "answered 101 with the Sec-WebSocket-Accept of another key");
    let asked = server.requests().remove(0).to_lowercase();
    assert!(asked.starts_with("get /live http/1.1\r\n"), "{asked}");
    for header in ["upgrade: websocket", "connection: upgrade", "sec-websocket-version: 13"] {
        assert!(asked.contains(header), "{asked}");
    }
    let server = websockets(|_| format!("{SWITCHES}\r\n"));
    let (_, said) = last(websocket(server.port, None), SOON);
    assert_eq!(said, "answered 101 without Sec-WebSocket-Accept");
    let server = Listener::saying("200 OK", "a page");
    let (_, said) = last(websocket(server.port, None), SOON);
    assert_eq!(said, "answered 200, and opened no WebSocket");
}

#[test]
fn a_handshake_by_another_program_opens_a_websocket() {
    let program = "import base64, hashlib, http.server, sys
class Handshake(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *_): pass
    def do_GET(self):
        if self.headers.get('Authorization') != 'Bearer hunter2':
            self.send_response(403); self.send_header('Content-Length', '0'); return self.end_headers()
        key = self.headers['Sec-WebSocket-Key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
        self.send_response(101); self.send_header('Upgrade', 'websocket'); self.send_header('Connection', 'Upgrade')
        self.send_header('Sec-WebSocket-Accept', base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handshake)
print(server.server_port, flush=True)
server.serve_forever()";
    let mut server = Command::new("python3")
        .args(["-c", program])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(server.stdout.take().unwrap()),
        &mut line,
    )
    .unwrap();
    let port = line.trim().parse().unwrap();
    let answer = ask_with_secrets(websocket(port, Some(token())), "API_TOKEN=hunter2\n", LONG);
    let refused = ask_with_secrets(websocket(port, None), "", SOON);
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(
        answer.to_string(),
        format!("websocket ws://127.0.0.1:{port}/live: opened a WebSocket")
    );
    assert!(answer.passed);
    assert_eq!(refused.last, "answered 403, and opened no WebSocket");
}
