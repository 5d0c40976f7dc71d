//! Behind a real pooler: a lock that belongs to nobody is refused, one that holds is taken.

use std::process::{Child, Command, Stdio};

use super::plain;
use super::support::machine::{TestMachine, message};
use super::support::postgres::{is_root, wait_for};

/// A running pgbouncer before the server of a machine; dropping it stops it.
struct Pooler {
    dir: tempfile::TempDir,
    child: Child,
}

impl Pooler {
    fn before(machine: &TestMachine, mode: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("ow-pool-").tempdir_in("/tmp").unwrap();
        let path = dir.path().display();
        let server = machine.server().socket().display();
        let ini = format!(
            "[databases]\n* = host={server}\n[pgbouncer]\nlisten_addr =\nlisten_port = 6432\n\
             unix_socket_dir = {path}\nauth_type = trust\nauth_file = {path}/users\n\
             pool_mode = {mode}\ndefault_pool_size = 10\nlogfile = {path}/log\n"
        );
        std::fs::write(dir.path().join("ini"), ini).unwrap();
        std::fs::write(dir.path().join("users"), "\"postgres\" \"\"\n").unwrap();
        // It refuses to run as root.
        let mut command = if is_root() {
            assert!(
                Command::new("chown")
                    .args(["-R", "postgres"])
                    .arg(dir.path())
                    .status()
                    .unwrap()
                    .success()
            );
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "pgbouncer"]);
            command
        } else {
            Command::new("pgbouncer")
        };
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap());
        let child = command
            .env("PATH", path)
            .arg(dir.path().join("ini"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pgbouncer is installed: run ci/setup");
        let socket = dir.path().join(".s.PGSQL.6432");
        wait_for("the pooler listens", || socket.exists());
        Self { dir, child }
    }

    fn dsn(&self, machine: &TestMachine) -> String {
        let (dir, dbname) = (self.dir.path().display(), machine.dbname());
        format!("host={dir} port=6432 dbname={dbname} user=postgres")
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Row 42.
#[test]
fn a_pooler_in_transaction_mode_is_refused_before_anything_is_done() {
    let machine = plain().ship("good");
    let pooler = Pooler::before(&machine, "transaction");
    let dsn = pooler.dsn(&machine);
    let machine = machine.dsn(&dsn);
    let before = machine.data();
    let told = message(&machine.run(["migrate"]).code(3));
    let why = "is behind a pooler that shares server processes between connections";
    assert!(told.first.ends_with(why), "{told:?}");
    assert_eq!(told.state, "nothing was changed");
    assert!(told.hint.contains("session mode"), "{told:?}");
    assert_eq!(machine.data(), before);
    assert_eq!(machine.points(), [""; 0], "nothing was dumped for it either");
}

/// Row 42.
#[test]
fn a_pooler_in_session_mode_is_as_good_as_none() {
    let machine = plain().ship("good").migration(
        "0005_index.sql",
        "-- openwatch: no-transaction\ncreate index concurrently owner_i on machines (owner)",
    );
    let pooler = Pooler::before(&machine, "session");
    let dsn = pooler.dsn(&machine);
    let machine = machine.dsn(&dsn);
    machine.run(["migrate"]).success();
    assert_eq!(machine.schema(), "0005");
    assert_eq!(machine.points().len(), 1);
}

/// Rows 7 and 42.
#[test]
fn looking_through_any_pooler_works_and_changes_nothing() {
    let machine = plain().ship("good");
    let pooler = Pooler::before(&machine, "transaction");
    let dsn = pooler.dsn(&machine);
    let machine = machine.dsn(&dsn);
    let before = machine.data();
    let (code, json) = machine.json(["migrate", "--status"]);
    assert_eq!((code, json["databases"][0]["state"].as_str()), (0, Some("pending")), "{json}");
    machine.run(["migrate", "--check"]).code(10);
    assert_eq!(machine.data(), before);
}
