//! One question that hangs is one question: everything else is answered meanwhile, and it itself later.

use std::os::unix::net::{UnixListener, UnixStream};

use super::*;

/// A way to the server on which what is connected can be left without any word, as behind a proxy that
/// has forgotten it.
struct Way {
    dir: tempfile::TempDir,
    forgotten: Arc<AtomicUsize>,
}

impl Way {
    fn to(server: &Server) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let name = format!(".s.PGSQL.{}", server.port());
        let target = server.socket().join(&name);
        let listener = UnixListener::bind(dir.path().join(&name)).unwrap();
        let forgotten = Arc::new(AtomicUsize::new(0));
        let age = Arc::clone(&forgotten);
        std::thread::spawn(move || {
            for from in listener.incoming() {
                let (from, to) = (from.unwrap(), UnixStream::connect(&target).unwrap());
                let born = age.load(Ordering::SeqCst);
                for (from, to) in [
                    (from.try_clone().unwrap(), to.try_clone().unwrap()),
                    (to.try_clone().unwrap(), from.try_clone().unwrap()),
                ] {
                    let age = Arc::clone(&age);
                    std::thread::spawn(move || {
                        carry(from, to, || age.load(Ordering::SeqCst) == born)
                    });
                }
            }
        });
        Self { dir, forgotten }
    }

    fn database(&self, server: &Server) -> Database {
        let direct = server.conninfo("openwatch");
        let socket = server.socket().to_str().unwrap();
        assert!(direct.contains(socket), "{direct}");
        let conninfo = Some(direct.replace(socket, self.dir.path().to_str().unwrap()));
        Database::resolve(&Source { name: "main".into(), conninfo, ..Source::default() }).unwrap()
    }

    fn forget(&self) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
    }
}

fn carry(mut from: UnixStream, mut to: UnixStream, known: impl Fn() -> bool) {
    let mut bytes = [0; 8192];
    loop {
        let count = from.read(&mut bytes).unwrap_or(0);
        if !known() {
            // Neither end learns of it.
            std::mem::forget((from, to));
            return;
        }
        if count == 0 || to.write_all(&bytes[..count]).is_err() {
            let _ = to.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

#[test]
fn a_connection_to_the_database_that_goes_silent_is_given_up() {
    let machine = Machine::new(ALL);
    let way = Way::to(&machine.server);
    let service =
        machine.serve(Parts { database: way.database(&machine.server), ..machine.parts(ALL) });
    wait_for("the first sample", || machine.sql("select count(*) from health_samples") == "1");
    assert_eq!(service.get("/readyz").status, 200);
    assert_eq!(service.get("/hosts").status, 200);
    way.forget();
    assert_eq!(service.get("/readyz").status, 503);
    assert_eq!(service.get("/hosts").status, 503);
    wait_for("a new connection for readiness", || service.get("/readyz").status == 200);
    wait_for("a new connection for hosts", || service.get("/hosts").status == 200);
}

#[test]
fn a_table_that_somebody_has_locked_keeps_no_readiness() {
    let machine = Machine::new(ALL);
    let service = machine.serve(machine.parts(ALL));
    wait_for("the first sample", || machine.sql("select count(*) from health_samples") == "1");
    let mut session = machine.database().connect().unwrap();
    session.run("begin; lock table hosts in access exclusive mode").unwrap();
    std::thread::scope(|scope| {
        let hosts = scope.spawn(|| service.get("/hosts").status);
        wait_for("the page waits for the lock", || {
            machine.sql(
                "select count(*) from pg_stat_activity \
                 where application_name = 'openwatch serve' and wait_event_type = 'Lock'",
            ) == "1"
        });
        assert_eq!(service.get("/readyz").status, 200);
        assert_eq!(hosts.join().unwrap(), 503);
        assert_eq!(service.get("/readyz").status, 200);
    });
    session.run("rollback").unwrap();
    wait_for("hosts are shown again", || service.get("/hosts").status == 200);
}
