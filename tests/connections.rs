//! Connections to a real server: every way to name it, every way in which it says no.

mod support;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use openwatch::database::{Database, DatabaseLock, Source};
use openwatch::error::Error;
use openwatch::outcome::Outcome;
use support::machine::TestMachine;
use support::postgres::{Server, is_root};

const SECRET: &str = "tr0ub4dor&3 with 'quotes' and \\";

fn source(conninfo: &str) -> Source {
    let environment = [("HOME".to_owned(), "/nonexistent".to_owned())].into();
    let conninfo = Some(conninfo.to_owned());
    Source { name: "main".into(), conninfo, environment, ..Source::default() }
}

fn with(conninfo: &str, variables: &[(&str, &str)]) -> Source {
    let mut source = source(conninfo);
    source
        .environment
        .extend(variables.iter().map(|(name, value)| (name.to_string(), value.to_string())));
    source
}

fn refusal(source: &Source) -> Error {
    match Database::resolve(source).and_then(|database| database.connect()) {
        Ok(_) => panic!("connected: {source:?}"),
        Err(error) => error,
    }
}

/// Asks the session, and then psql with the variables of `call`, who and where they are.
fn both_ends(source: &Source, psql: &Path) -> String {
    let database = Database::resolve(source).unwrap_or_else(|error| panic!("{error:?}"));
    let question = "select current_user || ' ' || current_database() || ' ' || \
                    current_setting('port') || ' ' || current_setting('search_path')";
    let mut session = database.connect().unwrap_or_else(|error| panic!("{error:?}"));
    let ours: String = session.rows(question, &[]).unwrap()[0].get(0);
    let call = database.call(psql).args(["--no-password", "-X", "-A", "-t", "-c", question]);
    let theirs = match call.run() {
        Ok(output) => output.text(),
        Err(failure) => panic!("psql {failure}: {}", failure.stderr()),
    };
    assert_eq!(ours, theirs);
    if source.user.is_none() {
        assert_eq!(ours, as_written(source, psql, question), "psql by itself: {source:?}");
    }
    ours
}

/// Asks psql with the parameters as they were written.
fn as_written(source: &Source, psql: &Path, question: &str) -> String {
    let mut command = Command::new(psql);
    command.args(["--no-password", "-X", "-A", "-t", "-c", question]).env_clear();
    command.envs(&source.environment);
    if let Some(conninfo) = source.conninfo.as_ref().filter(|text| !text.is_empty()) {
        command.arg("-d").arg(conninfo);
    }
    if let Some(service) = &source.service {
        command.env("PGSERVICE", service);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{source:?} {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A server with roles, passwords and a database, reached by its socket.
struct Site {
    server: Server,
}

impl Site {
    fn new() -> Self {
        let server = Server::start();
        server.psql(
            "postgres",
            &format!(
                "set password_encryption = 'scram-sha-256';
                 create role secretive login password $p${SECRET}$p$;
                 create role \"odd name\" login"
            ),
        );
        server.database("odd db=1");
        Self { server }
    }

    /// Replaces the rules by which sessions are let in.
    fn hba(&self, rules: &str) {
        let file = self.server.psql("postgres", "show hba_file");
        std::fs::write(file, rules).unwrap();
        self.server.psql("postgres", "select pg_reload_conf()");
        support::postgres::wait_for("the new rules", || {
            let sql = "select count(*) from pg_hba_file_rules";
            let lines = rules.lines().filter(|line| !line.trim().is_empty()).count();
            self.server.psql("postgres", sql) == lines.to_string()
        });
    }

    fn dir(&self) -> String {
        self.server.socket().display().to_string()
    }

    fn psql(&self) -> std::path::PathBuf {
        self.server.bin().join("psql")
    }
}

/// The superuser by trust, everybody else by password.
const BY_PASSWORD: &str = "local all postgres trust\nlocal all all scram-sha-256\n";

/// Row 21.
#[test]
fn the_same_server_is_reached_by_every_way_to_name_it() {
    let site = Site::new();
    let (dir, psql) = (site.dir(), site.psql());
    let encoded = dir.replace('/', "%2F");
    let plain = r#"postgres postgres 5432 "$user", public"#;
    for text in [
        format!("host={dir} user=postgres"),
        format!("host = '{dir}' user=postgres dbname=postgres port=''"),
        format!("postgresql://postgres@{encoded}/"),
        format!("postgres:///postgres?host={dir}&user=postgres"),
        format!("postgres://postgres@{encoded}:5432/postgres?sslmode=require"),
        format!("host=/nonexistent,{dir} user=postgres port=5432"),
    ] {
        assert_eq!(both_ends(&source(&text), &psql), plain, "{text}");
    }
    let odd = format!(
        "postgres://odd%20name@{encoded}/odd%20db%3D1?options=-c%20search_path%3Dx,%5C%20y"
    );
    assert_eq!(both_ends(&source(&odd), &psql), "odd name odd db=1 5432 x, y");
    let variables = [("PGHOST", dir.as_str()), ("PGUSER", "postgres"), ("PGDATABASE", "odd db=1")];
    let told = both_ends(&with("", &variables), &psql);
    assert_eq!(told, r#"postgres odd db=1 5432 "$user", public"#);
}

#[test]
fn a_string_counts_before_a_service_and_a_service_before_a_variable() {
    let site = Site::new();
    let home = tempfile::tempdir().unwrap();
    let text = format!("[here]\nhost={}\nuser=postgres\ndbname=nowhere\n", site.dir());
    std::fs::write(home.path().join(".pg_service.conf"), text).unwrap();
    let home = home.path().to_str().unwrap();
    let mut source =
        with("dbname='odd db=1'", &[("HOME", home), ("PGHOST", "/x"), ("PGUSER", "x")]);
    source.service = Some("here".into());
    assert_eq!(both_ends(&source, &site.psql()), r#"postgres odd db=1 5432 "$user", public"#);
    source.service = Some("there".into());
    let error = Database::resolve(&source).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Config);
    assert!(error.hint_line().unwrap().contains(".pg_service.conf"), "{error:?}");
}

#[test]
fn a_password_is_found_in_every_place_where_libpq_looks() {
    let site = Site::new();
    site.hba(BY_PASSWORD);
    let (dir, psql) = (site.dir(), site.psql());
    let files = tempfile::tempdir().unwrap();
    let passfile = files.path().join("pass");
    let escaped = SECRET.replace('\\', "\\\\").replace(':', "\\:");
    std::fs::write(&passfile, format!("{dir}:5432:postgres:secretive:{escaped}\n")).unwrap();
    std::fs::set_permissions(&passfile, std::fs::Permissions::from_mode(0o600)).unwrap();
    let passfile = passfile.to_str().unwrap();
    let quoted = SECRET.replace('\\', "\\\\").replace('\'', "\\'");
    let base = format!("host={dir} user=secretive dbname=postgres");
    let told = r#"secretive postgres 5432 "$user", public"#;
    for source in [
        source(&format!("{base} password='{quoted}'")),
        with(&base, &[("PGPASSWORD", SECRET)]),
        with(&base, &[("PGPASSFILE", passfile)]),
        source(&format!("{base} passfile={passfile}")),
        // Not the first server: each has its own line.
        with(&base.replace("host=", "host=/nonexistent,"), &[("PGPASSFILE", passfile)]),
    ] {
        assert_eq!(both_ends(&source, &psql), told, "{source:?}");
    }
    // A scratch database is on the same server: the line of the database counts for it too.
    let scratch = Database::resolve(&with(&base, &[("PGPASSFILE", passfile)])).unwrap();
    let scratch = scratch.with_dbname("odd db=1");
    scratch.connect().unwrap();
    scratch.call(&psql).args(["--no-password", "-X", "-c", "select 1"]).run().unwrap();
    std::fs::set_permissions(passfile, std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = refusal(&with(&base, &[("PGPASSFILE", passfile)]));
    assert_eq!(error.outcome(), Outcome::Config);
    assert!(error.message().ends_with("the server asks for a password, and none is known"));
    assert!(error.details()[0].contains("others can read it"), "{error:?}");
}

/// Row 2.
#[test]
fn what_waiting_does_not_cure_is_a_matter_of_configuration() {
    let site = Site::new();
    site.hba(BY_PASSWORD);
    let dir = site.dir();
    for (text, said, hint) in [
        ("user=secretive password=wrong", "password authentication failed", "connection string"),
        ("user=postgres dbname=none", "database \"none\" does not exist", "createdb -h "),
        ("user=postgres options='-c nonsense=1x -c work_mem=x'", "", "connection of database main"),
        ("user=postgres channel_binding=require", "channel binding", "pg_hba.conf"),
        ("user=postgres target_session_attrs=standby", "is not a standby", "target_session_attrs"),
        ("user=postgres target_session_attrs=read-only", "is not read-only", "target_session"),
        ("user=postgres requirepeer=nobody", "belongs to user id", "requirepeer"),
    ] {
        let error = refusal(&source(&format!("host={dir} {text}")));
        assert_eq!(error.outcome(), Outcome::Config, "{error:?}");
        assert!(error.message().starts_with("cannot connect to database "), "{error:?}");
        assert!(error.message().contains(said), "{error:?}");
        assert!(error.hint_line().unwrap().contains(hint), "{error:?}");
    }
    site.hba("local all postgres trust\n");
    let error = refusal(&source(&format!("host={dir} user=secretive dbname=postgres")));
    assert_eq!(error.outcome(), Outcome::Config);
    assert!(error.hint_line().unwrap().contains("pg_hba.conf"), "{error:?}");
    for wanted in ["any", "read-write", "primary", "prefer-standby"] {
        let text = format!("host={dir} user=postgres target_session_attrs={wanted}");
        assert!(both_ends(&source(&text), &site.psql()).starts_with("postgres "), "{wanted}");
    }
}

#[test]
fn a_server_that_is_away_is_unreachable() {
    let site = Site::new();
    let dir = site.dir();
    let text = format!("host={dir} user=postgres");
    site.server.down();
    let error = refusal(&source(&text));
    assert_eq!(error.outcome(), Outcome::Unreachable);
    assert_eq!(
        error.message(),
        format!("cannot connect to database postgres at {dir}: there is no such socket")
    );
    let hint = format!("Start the server, or look for it with `pg_isready -h {dir} -p 5432`.");
    assert_eq!(error.hint_line(), Some(hint.as_str()));
    // A port that nobody listens on.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let error = refusal(&source(&format!("host=localhost port={port} user=x")));
    assert_eq!(error.outcome(), Outcome::Unreachable, "{error:?}");
    assert!(error.message().ends_with("Connection refused"), "{error:?}");
    assert_eq!(refusal(&source("host=a.invalid user=x")).outcome(), Outcome::Config);
    let mixed = format!("host=a.invalid,{dir} user=x");
    let error = refusal(&source(&mixed));
    assert_eq!(error.outcome(), Outcome::Unreachable);
    assert_eq!(error.details().len(), 1, "{error:?}");
    site.server.up();
    assert!(Database::resolve(&source(&text)).unwrap().connect().is_ok());
}

/// Runs the command that a hint prints, as printed.
fn run_printed(error: &Error, server: &Server) -> bool {
    let hint = error.hint_line().unwrap();
    let command = hint.split('`').nth(1).unwrap();
    let path = format!("{}:/usr/bin:/bin", server.bin().display());
    let output = Command::new("sh").args(["-c", command]).env("PATH", path).output().unwrap();
    output.status.success()
}

/// Row 91.
#[test]
fn printed_commands_do_what_they_say() {
    let site = Site::new();
    let text = format!("host={} user=postgres dbname='it''s'", site.dir()).replace("''", "\\'");
    let error = refusal(&source(&text));
    assert!(run_printed(&error, &site.server), "{error:?}");
    let database = Database::resolve(&source(&text)).unwrap();
    database.connect().unwrap();
    site.server.down();
    let error = database.connect().err().unwrap();
    assert!(!run_printed(&error, &site.server), "{error:?}");
    site.server.up();
    assert!(run_printed(&error, &site.server), "{error:?}");
}

#[test]
fn a_server_that_is_not_ready_yet_is_away() {
    let server = Server::start_configured("hot_standby = off");
    let mark = Path::new(&server.psql("postgres", "show data_directory")).join("standby.signal");
    server.down();
    std::fs::write(&mark, "").unwrap();
    if is_root() {
        let owner = std::fs::metadata(mark.parent().unwrap()).unwrap();
        std::os::unix::fs::chown(&mark, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    server.up();
    let text = format!("host={} user=postgres", server.socket().display());
    let error = refusal(&source(&text));
    assert_eq!(error.outcome(), Outcome::Unreachable, "{error:?}");
    assert!(error.message().contains("the database system is"), "{error:?}");
}

#[test]
fn a_server_that_accepts_and_stays_silent_does_not_hold_us() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let error = refusal(&source(&format!("host=127.0.0.1 port={port} user=x connect_timeout=1")));
    assert_eq!(error.outcome(), Outcome::Unreachable);
    assert!(error.message().ends_with("no answer within 2.0 s"), "{error:?}");
}

/// Speaks as a server that lets everybody in, answers so many texts, and then says nothing more.
/// Returns its port, and how many texts it was sent.
fn falls_silent_after(answers: usize) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let count = Arc::clone(&count);
            std::thread::spawn(move || serve_silently(client, answers, &count));
        }
    });
    (port, asked)
}

fn serve_silently(mut client: TcpStream, answers: usize, asked: &AtomicUsize) -> Option<()> {
    let message = |client: &mut TcpStream| {
        let mut length = [0; 4];
        client.read_exact(&mut length).ok()?;
        let mut body = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap() - 4];
        client.read_exact(&mut body).ok()
    };
    message(&mut client)?;
    // Authentication is done; a key for cancelling; ready.
    client.write_all(b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c\0\0\0\x01\0\0\0\x02Z\0\0\0\x05I").ok()?;
    for number in 0.. {
        client.read_exact(&mut [0]).ok()?;
        message(&mut client)?;
        asked.fetch_add(1, Ordering::SeqCst);
        if number < answers {
            // The text was empty; ready.
            client.write_all(b"I\0\0\0\x04Z\0\0\0\x05I").ok()?;
        }
    }
    None
}

#[test]
fn a_server_that_lets_us_in_and_stays_silent_does_not_hold_us() {
    let (port, asked) = falls_silent_after(0);
    let text = format!("host=127.0.0.1 port={port} user=x sslmode=disable connect_timeout=2");
    let error = refusal(&source(&text));
    assert_eq!(error.outcome(), Outcome::Unreachable);
    assert!(error.message().ends_with("no answer within 2.0 s"), "{error:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[test]
fn a_look_at_a_server_that_falls_silent_ends_with_a_signal() {
    let (port, asked) = falls_silent_after(1);
    let machine = TestMachine::new();
    let text = format!("host=127.0.0.1 port={port} user=x sslmode=disable");
    std::fs::write(machine.secrets(), format!("MAIN_DSN=\"{text}\"\n")).unwrap();
    for words in ["migrate --status", "migrate --check", "preflight", "status", "upgrade --plan"] {
        asked.store(0, Ordering::SeqCst);
        let mut child = machine.spawn(words.split(' '));
        support::postgres::wait_for("the question that is not answered", || {
            asked.load(Ordering::SeqCst) > 1
        });
        let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        let mut status = None;
        support::postgres::wait_for(words, || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        // `status` tells what there is without the server too.
        if words != "status" {
            assert_eq!(status.unwrap().code(), Some(1), "{words}: {}", machine.said());
            assert!(machine.said().contains("interrupted by SIGTERM"), "{}", machine.said());
        }
    }
}

#[test]
fn a_full_server_is_away_and_says_why() {
    let server =
        Server::start_configured("max_connections = 5\nsuperuser_reserved_connections = 1");
    server.psql("postgres", "create role app login");
    let text = format!("host={} dbname=postgres user=app", server.socket().display());
    let database = Database::resolve(&source(&text)).unwrap();
    let mut sessions = Vec::new();
    let error = loop {
        match database.connect() {
            Ok(session) => sessions.push(session),
            Err(error) => break error,
        }
    };
    assert!(!sessions.is_empty());
    assert_eq!(error.outcome(), Outcome::Unreachable);
    assert!(error.message().contains("no free connection slot"), "{error:?}");
}

/// Row 21.
#[test]
fn client_programs_go_to_the_server_that_was_reached() {
    let (first, second) = (Site::new(), Site::new());
    second.server.psql("postgres", "create database second_only");
    let text = format!("host={},{} user=postgres dbname=postgres", first.dir(), second.dir());
    let database = Database::resolve(&source(&text)).unwrap();
    first.server.down();
    database.connect().unwrap();
    first.server.up();
    let call = database.with_dbname("second_only").call(&second.psql());
    let output = call.args(["-X", "-A", "-t", "-c", "select current_database()"]).run().unwrap();
    assert_eq!(output.text(), "second_only");
    assert!(database.described().ends_with(&second.dir()), "{}", database.described());
    assert!(database.with_dbname("second_only").connect().is_ok());
}

/// A server behind 127.0.0.1, another one on a socket, and 127.0.0.2 with the same port before both:
/// there each connection goes where its number (from 0) says, or nowhere.
struct TwoServers {
    _near: Server,
    _far: Server,
    port: u16,
}

impl TwoServers {
    fn start(goes: impl Fn(usize) -> Goes + Send + 'static) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let near = Server::start_configured(&format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\ncluster_name = 'near'"
        ));
        let far = Server::start_configured("cluster_name = 'far'");
        let socket = |server: &Server| -> PathBuf {
            server.socket().join(format!(".s.PGSQL.{}", server.port()))
        };
        let (to_near, to_far) = (socket(&near), socket(&far));
        let listener = TcpListener::bind(("127.0.0.2", port)).unwrap();
        std::thread::spawn(move || {
            for (number, client) in listener.incoming().flatten().enumerate() {
                let target = match goes(number) {
                    Goes::Far => &to_far,
                    Goes::Near => &to_near,
                    Goes::Nowhere => continue,
                };
                pass_on(client, UnixStream::connect(target).unwrap());
            }
        });
        Self { _near: near, _far: far, port }
    }

    /// Both addresses under one name, as `localhost` has them in the resolver.
    fn source(&self, more: &str) -> Source {
        source(&format!(
            "host=db,db hostaddr=127.0.0.2,127.0.0.1 port={} user=postgres sslmode=disable {more}",
            self.port
        ))
    }
}

/// Where a connection goes.
enum Goes {
    Far,
    Near,
    Nowhere,
}

fn pass_on(client: TcpStream, server: UnixStream) {
    let (mut from_client, mut to_client) = (client.try_clone().unwrap(), client);
    let (mut from_server, mut to_server) = (server.try_clone().unwrap(), server);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Both);
    });
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
}

fn reached(database: &Database) -> String {
    let mut session = database.connect().unwrap_or_else(|error| panic!("{error:?}"));
    session.single("show cluster_name").unwrap().unwrap()
}

/// Row 21.
#[test]
fn every_session_goes_to_the_address_that_was_reached() {
    let servers = TwoServers::start(|number| if number == 0 { Goes::Nowhere } else { Goes::Far });
    let database = Database::resolve(&servers.source("")).unwrap();
    assert_eq!(reached(&database), "near", "the first address dropped the first connection");
    assert_eq!(reached(&database), "near", "the second session is on another server");
    let fresh = || Database::resolve(&servers.source("load_balance_hosts=random")).unwrap();
    assert_eq!(reached(&Database::resolve(&servers.source("")).unwrap()), "far");
    for other in ["near", "far"] {
        let mut found = None;
        support::postgres::wait_for(other, || {
            let database = fresh();
            (reached(&database) == other).then(|| found = Some(database)).is_some()
        });
        let found = found.unwrap();
        for _ in 0..5 {
            assert_eq!(reached(&found), other);
        }
    }
}

#[test]
fn a_lock_on_one_server_and_a_session_on_another_are_refused() {
    let turns = TwoServers::start(|number| if number % 2 == 0 { Goes::Far } else { Goes::Near });
    let database = Database::resolve(&turns.source("")).unwrap();
    let error = DatabaseLock::acquire(&database, "upgrade", Duration::ZERO).err().unwrap();
    assert_eq!(error.outcome(), Outcome::Config);
    assert!(error.message().ends_with("are on two servers"), "{error:?}");
    // The first server takes no more sessions while the lock is held there.
    let full = Arc::new(AtomicBool::new(false));
    let (seen, refused) = (Arc::clone(&full), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&refused);
    let servers = TwoServers::start(move |_| match seen.load(Ordering::SeqCst) {
        true => {
            count.fetch_add(1, Ordering::SeqCst);
            Goes::Nowhere
        }
        false => Goes::Far,
    });
    let database = Database::resolve(&servers.source("")).unwrap();
    let mut lock = DatabaseLock::acquire(&database, "upgrade", Duration::ZERO).unwrap();
    assert!(lock.beside(&database).is_ok());
    lock.alone();
    assert!(lock.take_beside(&database).is_ok());
    full.store(true, Ordering::SeqCst);
    for error in [lock.beside(&database).err(), lock.take_beside(&database).err()] {
        assert!(error.unwrap().message().ends_with("are on two servers"));
    }
    assert!(refused.load(Ordering::SeqCst) > 0);
    assert!(lock.still_held().unwrap());
}

#[test]
fn peer_authentication_works_for_session_and_client_program() {
    if !is_root() {
        eprintln!("SKIPPED: peer authentication as another system user needs root");
        return;
    }
    let site = Site::new();
    site.server.psql("postgres", "create role nobody login");
    site.server.database("nobody");
    site.hba("local all all peer\n".replace("local", "local all postgres trust\nlocal").as_str());
    let text = format!("host={}", site.dir());
    let mut named = source(&text);
    named.user = Some("nobody".into());
    assert_eq!(both_ends(&named, &site.psql()), r#"nobody nobody 5432 "$user", public"#);
    // The rest of the process is still root, and a wrong user is told.
    assert!(rustix::process::geteuid().is_root());
    let error = refusal(&source(&format!("{text} user=nobody")));
    assert_eq!(error.outcome(), Outcome::Config);
    assert!(error.hint_line().unwrap().starts_with("Set `user` of database main"), "{error:?}");
    named.user = Some("no-such-user".into());
    let error = Database::resolve(&named).unwrap_err();
    assert_eq!(error.message(), "there is no system user no-such-user");
}

#[test]
fn an_abstract_socket_is_reached() {
    let name = format!("@ow-test-{}", std::process::id());
    let server = Server::start_configured(&format!("unix_socket_directories = '{name}'"));
    // pg_ctl itself cannot wait on it for long; the server may still be starting.
    let database = Database::resolve(&source(&format!("host={name} user=postgres"))).unwrap();
    support::postgres::wait_for("the abstract socket", || database.connect().is_ok());
    let output = database.call(&server.bin().join("psql")).args(["-XAtc", "select 1"]).run();
    assert_eq!(output.unwrap().text(), "1");
}

/// Row 22.
#[test]
fn a_planted_password_is_nowhere_to_be_seen() {
    let planted = "Pl4nted-s3cret";
    let site = Site::new();
    site.hba(BY_PASSWORD);
    let dir = site.dir();
    let encoded = dir.replace('/', "%2F");
    let mut texts = vec![
        format!("host={dir} user=secretive password={planted}"),
        format!("host={dir} user=secretive password={planted} dbname=none sslpassword={planted}"),
        format!("postgres://secretive:{planted}@{encoded}/postgres"),
        format!("postgres://secretive:{planted}@127.0.0.1:1/postgres?connect_timeout=2"),
        // Characters that should have been escaped.
        format!("host={dir} password=x {planted}"),
        format!("host={dir} password='x' {planted}=1"),
        format!("host={dir} password='{planted}"),
        format!("host={dir} port=1{planted}"),
        format!("postgres://u:x@{planted}@h/db"),
        format!("postgres://u:1/{planted}@h/db"),
        format!("postgres://u:x/{planted}@h/db"),
        format!("postgres://u:%{planted}@h/db"),
        format!("postgres://u:x@h/db?{planted}"),
        format!("postgres://u:x@h/db?sslmode={planted}"),
        // Parameters parted as other libraries part them, and a string in the place of a name.
        format!("host=db;user=app;password={planted};port=1"),
        format!("host=127.0.0.1,user=app,password={planted}"),
        format!("postgres://127.0.0.1:1/app&password={planted}"),
        format!("host={dir} user=app;password={planted}"),
        format!("host={dir} user=postgres dbname=postgres://app:{planted}@db/app"),
    ];
    texts.push(texts[0].clone() + " require_auth=password");
    let whole = format!("postgres://app:{planted}@db/app");
    let sources = texts.iter().map(|text| (text.as_str(), "postgres"));
    let here = format!("host={dir} user=postgres");
    for (text, dbname) in sources.chain([(here.as_str(), whole.as_str())]) {
        let variables = [("PGSSLMODE", "disable"), ("PGPASSWORD", planted), ("PGDATABASE", dbname)];
        let source = with(text, &variables);
        let mut shown = format!("{source:?}");
        match Database::resolve(&source) {
            Err(error) => shown.push_str(&told(&error)),
            Ok(database) => {
                let call = database.call(Path::new("/usr/bin/true"));
                shown.push_str(&format!("{database:?} {call:?} {}", call.shown()));
                shown.push_str(&database.described());
                shown.push_str(&told(&database.connect().err().expect("the password is wrong")));
            }
        }
        assert!(!shown.contains(planted), "{text}\n{shown}");
    }
}

fn told(error: &Error) -> String {
    let mut source = std::error::Error::source(error);
    let mut text = format!(
        "{error} {error:?} {} {:?} {:?} {:?}",
        error.message(),
        error.details(),
        error.state_line(),
        error.hint_line()
    );
    while let Some(cause) = source {
        text.push_str(&format!(" {cause} {cause:?}"));
        source = cause.source();
    }
    text
}

#[test]
fn nothing_of_our_own_environment_reaches_a_client_program() {
    let site = Site::new();
    let database =
        Database::resolve(&source(&format!("host={} user=postgres", site.dir()))).unwrap();
    let output = database.call(Path::new("/usr/bin/env")).run().unwrap();
    let text = output.text();
    let variables: BTreeMap<&str, &str> = text.lines().filter_map(|l| l.split_once('=')).collect();
    let named: Vec<&str> =
        variables.keys().filter(|name| name.starts_with("PG")).copied().collect();
    assert_eq!(
        named,
        [
            "PGAPPNAME",
            "PGCONNECT_TIMEOUT",
            "PGDATABASE",
            "PGHOST",
            "PGPASSFILE",
            "PGPORT",
            "PGSSLCERT",
            "PGSSLKEY",
            "PGSSLMODE",
            "PGSSLROOTCERT",
            "PGUSER"
        ]
    );
}
