//! The database lock: one runner at a time, named to the others, useless behind a pooler.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openwatch::database::DatabaseLock;
use openwatch::outcome::Outcome;

use super::Bench;
use super::support::postgres::wait_for;
use super::support::proxy::{message, untyped};

/// Row 41.
#[test]
fn the_loser_is_busy_and_names_the_holder() {
    let bench = Bench::new("lock_busy");
    let database = bench.database();
    let mut held = DatabaseLock::acquire(&database, "upgrade", Duration::ZERO).unwrap();
    assert!(held.still_held().unwrap());
    let error =
        DatabaseLock::acquire(&database, "migrate", Duration::from_millis(250)).err().unwrap();
    assert_eq!(error.outcome(), Outcome::Busy);
    let detail = error.details().join("\n");
    let name = format!("openwatch upgrade, pid {}", std::process::id());
    for part in [&format!("held by pid {}", held.backend()), &name, "user postgres", "since 20"] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    drop(held);
    DatabaseLock::acquire(&database, "migrate", Duration::from_secs(30)).unwrap();
}

#[test]
fn two_databases_of_one_server_do_not_lock_each_other_out() {
    let (one, two) = (Bench::new("lock_one"), Bench::new("lock_two"));
    let _held = DatabaseLock::acquire(&one.database(), "upgrade", Duration::ZERO).unwrap();
    DatabaseLock::acquire(&two.database(), "upgrade", Duration::ZERO).unwrap();
}

/// Row 41.
#[test]
fn ten_runners_at_once_apply_each_migration_exactly_once() {
    let bench = Bench::new("lock_ten");
    bench.ship(&[
        ("0001_a.sql", "create table a (n serial);"),
        ("0002_b.sql", "insert into a default values;"),
        ("0003_c.sql", "-- openwatch: no-transaction\ncreate index concurrently i on a (n)"),
        ("0004_d.sql", "insert into a default values;"),
    ]);
    let versions: Vec<String> = std::thread::scope(|scope| {
        let runs: Vec<_> =
            (0..10).map(|_| scope.spawn(|| bench.apply().unwrap().versions)).collect();
        runs.into_iter().flat_map(|run| run.join().unwrap()).collect()
    });
    assert_eq!(versions, ["0001", "0002", "0003", "0004"]);
    assert_eq!(bench.psql("select count(*) from a"), "2");
}

#[test]
fn a_concurrent_index_build_does_not_wait_for_those_who_wait_for_the_lock() {
    let mut bench = Bench::new("lock_build");
    bench.ship(&[("0001_a.sql", "create table a (n int);")]).apply().unwrap();
    bench.ship(&[(
        "0002_i.sql",
        "-- openwatch: no-transaction\ncreate index concurrently i on a (n)",
    )]);
    bench.lock_timeout = Duration::from_secs(5);
    let database = bench.database();
    std::thread::scope(|scope| {
        let mut lock = DatabaseLock::acquire(&database, "holder", Duration::ZERO).unwrap();
        for _ in 0..3 {
            scope.spawn(|| {
                DatabaseLock::acquire(&database, "waiter", Duration::from_secs(30)).unwrap()
            });
        }
        wait_for("three runners wait", || {
            bench.psql("select count(*) from pg_stat_activity where application_name like 'openwatch waiter%' and datname = 'lock_build'") == "3"
        });
        let how = openwatch::migrations::How {
            lock_timeout: bench.lock_timeout,
            reconnect_within: Duration::from_secs(5),
            restore_point: None,
            product_version: "1".into(),
            lock: &mut lock,
            said_pending: None,
        };
        openwatch::migrations::apply(&database, &bench.shipped(), how, &bench.notes).unwrap();
    });
    assert_eq!(bench.psql("select indisvalid from pg_index where indexrelid = 'i'::regclass"), "t");
}

/// Row 42.
#[test]
fn a_lock_whose_session_was_ended_is_lost() {
    let bench = Bench::new("lock_lost");
    let mut held = DatabaseLock::acquire(&bench.database(), "upgrade", Duration::ZERO).unwrap();
    bench.psql(&format!("select pg_terminate_backend({})", held.backend()));
    wait_for("the lock is noticed as lost", || held.check().is_err());
}

/// Row 42.
#[test]
fn a_lock_that_somebody_released_is_lost() {
    let bench = Bench::new("lock_released");
    let mut held = DatabaseLock::acquire(&bench.database(), "upgrade", Duration::ZERO).unwrap();
    held.session().run("select pg_advisory_unlock_all()").unwrap();
    assert!(!held.still_held().unwrap());
    assert!(held.check().unwrap_err().message().contains("was lost"));
}

/// Row 42.
#[test]
fn a_pooler_that_shares_server_processes_is_refused() {
    let bench = Bench::new("lock_pooler");
    let pooler = Pooler::before(&bench.conninfo);
    let through = Bench { conninfo: pooler.conninfo.clone(), ..bench };
    let error =
        DatabaseLock::acquire(&through.database(), "upgrade", Duration::ZERO).err().unwrap();
    assert_eq!(error.outcome(), Outcome::Config);
    assert!(error.message().contains("behind a pooler"), "{error:?}");
}

/// A proxy on a socket of its own, one thread for each connection.
struct Proxy {
    _dir: tempfile::TempDir,
    conninfo: String,
}

impl Proxy {
    fn start(
        conninfo: &str,
        serve: impl Fn(UnixStream, UnixStream) + Send + Sync + 'static,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let host = conninfo.split_whitespace().find_map(|p| p.strip_prefix("host=")).unwrap();
        let target = format!("{host}/.s.PGSQL.5432");
        let listener = UnixListener::bind(dir.path().join(".s.PGSQL.5432")).unwrap();
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (serve, target) = (Arc::clone(&serve), target.clone());
                std::thread::spawn(move || {
                    if let Ok(server) = UnixStream::connect(target) {
                        serve(client, server);
                    }
                });
            }
        });
        let conninfo = conninfo.replace(host, &dir.path().display().to_string());
        Self { _dir: dir, conninfo }
    }
}

/// Passes everything on until a client sends a word; from then on that client hears nothing more.
pub(super) struct Cut {
    _proxy: Proxy,
    pub(super) conninfo: String,
}

impl Cut {
    pub(super) fn after(conninfo: &str, word: &'static [u8]) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let proxy = Proxy::start(conninfo, move |mut client, mut server| {
            let (mut to_client, mut from_server) =
                (client.try_clone().unwrap(), server.try_clone().unwrap());
            let cut = Arc::new(AtomicBool::new(false));
            let deaf = Arc::clone(&cut);
            std::thread::spawn(move || {
                let mut bytes = [0; 8192];
                while let Ok(size @ 1..) = from_server.read(&mut bytes) {
                    if deaf.load(Ordering::SeqCst) {
                        // The server has answered the commit, so it is done: now the line breaks.
                        let _ = to_client.shutdown(std::net::Shutdown::Both);
                        let _ = from_server.shutdown(std::net::Shutdown::Both);
                        return;
                    }
                    if to_client.write_all(&bytes[..size]).is_err() {
                        return;
                    }
                }
                let _ = to_client.shutdown(std::net::Shutdown::Both);
            });
            let mut bytes = [0; 8192];
            while let Ok(size @ 1..) = client.read(&mut bytes) {
                let is_word = bytes[..size].windows(word.len()).any(|w| w == word);
                if is_word && !done.swap(true, Ordering::SeqCst) {
                    cut.store(true, Ordering::SeqCst);
                }
                if server.write_all(&bytes[..size]).is_err() {
                    return;
                }
            }
            let _ = server.shutdown(std::net::Shutdown::Both);
        });
        Self { conninfo: proxy.conninfo.clone(), _proxy: proxy }
    }
}

/// A pooler in transaction mode with one server process, as PgBouncer does it.
struct Pooler {
    _proxy: Proxy,
    conninfo: String,
}

/// The one server connection, and the greeting that it gave.
#[derive(Default)]
struct Pool(Mutex<Option<(UnixStream, Vec<u8>)>>);

impl Pooler {
    fn before(conninfo: &str) -> Self {
        let pool = Arc::new(Pool::default());
        let proxy = Proxy::start(conninfo, move |mut client, mut server| {
            let Some(startup) = untyped(&mut client) else { return };
            let greeting = {
                let mut slot = pool.0.lock().unwrap();
                slot.get_or_insert_with(|| {
                    server.write_all(&startup).unwrap();
                    let (greeting, _) = until_ready(&mut server);
                    (server, greeting)
                })
                .1
                .clone()
            };
            client.write_all(&greeting).unwrap();
            while let Some(first) = message(&mut client) {
                // One client has the server process until its transaction ends.
                let mut slot = pool.0.lock().unwrap();
                let server = &mut slot.as_mut().unwrap().0;
                let mut next = Some(first);
                while let Some(message_) = next.take() {
                    if message_[0] == b'X' {
                        return;
                    }
                    server.write_all(&message_).unwrap();
                    if matches!(message_[0], b'Q' | b'S') {
                        let (answer, status) = until_ready(server);
                        client.write_all(&answer).unwrap();
                        if status == b'I' {
                            break;
                        }
                    }
                    next = message(&mut client);
                }
            }
        });
        Self { conninfo: proxy.conninfo.clone(), _proxy: proxy }
    }
}

fn until_ready(stream: &mut UnixStream) -> (Vec<u8>, u8) {
    let mut all = Vec::new();
    while let Some(message) = message(stream) {
        let status = message[message.len() - 1];
        let kind = message[0];
        all.extend(message);
        if kind == b'Z' {
            return (all, status);
        }
    }
    (all, b'I')
}
