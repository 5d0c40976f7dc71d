//! A password is planted in the credentials file; afterwards it must be nowhere else: no argument of
//! any process, no output, no file that we wrote.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use support::machine::{TestMachine, message};
use support::postgres::Server;

/// The part of the password that every way of quoting leaves as it is.
const NEEDLE: &str = "pl4nt3d";

/// The password as the server knows it; a quote, a blank and all that URIs and shells treat apart.
const PASSWORD: &str = "a'b\"c\\d e$pl4nt3d`%/@:?#&=;é";

/// A server that asks for the password, also on its socket.
fn server() -> (Server, tempfile::TempDir) {
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    let hba = dir.path().join("hba");
    fs::write(&hba, "local all postgres trust\nlocal all all scram-sha-256\n").unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&hba, fs::Permissions::from_mode(0o644)).unwrap();
    let server = Server::start_configured(&format!("hba_file = '{}'", hba.display()));
    let quoted = PASSWORD.replace('\'', "''");
    // From a file: the watch of the test beside would rightly find it in the arguments of psql.
    let file = dir.path().join("role.sql");
    fs::write(&file, format!("create role app login superuser password '{quoted}'")).unwrap();
    let made = server.psql_command("postgres").arg("-f").arg(file).status().unwrap();
    assert!(made.success());
    (server, dir)
}

fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    text.bytes()
        .map(|b| if plain(b) { (b as char).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// Writes the connection string with this password, as a URI.
fn plant(machine: &TestMachine, password: &str) {
    let host = percent_encoded(machine.server().socket().to_str().unwrap());
    let uri = format!("postgresql://app:{}@{host}/{}", percent_encoded(password), machine.dbname());
    fs::write(machine.secrets(), format!("MAIN_DSN={uri}\n")).unwrap();
}

/// Looks at the arguments of every process until told to stop; returns those that hold the needle.
struct Watch {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<BTreeSet<String>>>,
    looked_at: Arc<Mutex<BTreeSet<String>>>,
    thread: std::thread::JoinHandle<()>,
}

impl Watch {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let looked_at = Arc::new(Mutex::new(BTreeSet::new()));
        let (end, found, all) = (Arc::clone(&stop), Arc::clone(&seen), Arc::clone(&looked_at));
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::SeqCst) {
                for entry in fs::read_dir("/proc").unwrap().flatten() {
                    let Ok(bytes) = fs::read(entry.path().join("cmdline")) else { continue };
                    let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
                    if text.contains(NEEDLE) {
                        found.lock().unwrap().insert(text.clone());
                    }
                    let program = text.split(' ').next().unwrap_or_default();
                    let name = Path::new(program).file_name().unwrap_or_default();
                    all.lock().unwrap().insert(name.to_string_lossy().into_owned());
                }
            }
        });
        Self { stop, seen, looked_at, thread }
    }

    fn end(self) -> (BTreeSet<String>, BTreeSet<String>) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
        (self.seen.lock().unwrap().clone(), self.looked_at.lock().unwrap().clone())
    }
}

/// Fails where a file below the root, other than those in which it was planted, holds the needle.
fn nowhere(machine: &TestMachine, text: &str, what: &str) {
    assert!(!text.contains(NEEDLE), "the output of {what} holds the password:\n{text}");
    for (path, (_, content)) in machine.tree() {
        if path == machine.secrets() || path == machine.operator_conf() {
            continue;
        }
        let held = content.windows(NEEDLE.len()).any(|window| window == NEEDLE.as_bytes());
        assert!(!held, "after {what}, {} holds the password", path.display());
    }
}

fn run(machine: &TestMachine, verb: &str, code: i32) -> String {
    let ended = machine.run(verb.split(' ')).code(code);
    let output = ended.get_output();
    let text = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b)).concat();
    nowhere(machine, &text, verb);
    text
}

/// Row 22.
#[test]
fn the_password_is_in_no_argument_no_output_and_no_file() {
    let (server, _dir) = server();
    let machine = TestMachine::on(server)
        .operator_end(&format!(
            "[notify]\nlimit = \"1s\"\nsuccess_url = \"http://u:{NEEDLE}@127.0.0.1:1/x?token={NEEDLE}\"\n\
             failure_url = \"http://u:{NEEDLE}@127.0.0.1:1/x?token={NEEDLE}\""
        ))
        .health(
            "[[health]]\nunit = \"openwatch.service\"\nrequired = false\ndeadline = \"500ms\"\n\
             [[health]]\nsql = \"select true\"\n",
        );
    plant(&machine, PASSWORD);
    let watch = Watch::start();
    run(&machine, "-v migrate --status", 0);
    run(&machine, "-v preflight", 0);
    run(&machine, "-v backup create", 0);
    let machine = machine.ship("failing");
    plant(&machine, PASSWORD);
    run(&machine, "-v upgrade --plan --json", 0);
    run(&machine, "-v upgrade", 7);
    run(&machine, "-v upgrade --json", 5);
    let machine =
        machine.migration("0004_audit.sql", "CREATE TABLE audit (id bigint PRIMARY KEY);");
    run(&machine, "-v upgrade --retry --json", 0);
    assert_eq!(machine.schema(), "0004");
    for verb in ["status --json", "status", "history --json", "backup list --json", "gate"] {
        run(&machine, verb, 0);
    }
    run(&machine, "backup show --json", 0);
    run(&machine, "-v backup verify", 0);
    let machine = machine.with_unit("openwatch.service", "inactive");
    run(&machine, "-v restore latest --yes", 0);
    run(&machine, "-v migrate", 0);
    run(&machine, "backup prune --json", 0);
    let (held, looked_at) = watch.end();
    assert_eq!(held, BTreeSet::new(), "arguments hold the password");
    for program in ["openwatch", "pg_dump", "pg_restore"] {
        assert!(looked_at.contains(program), "{program} was never seen: the watch saw too little");
    }
    machine.assert_clean();
}

/// Row 2.
#[test]
fn a_wrong_password_is_no_absence_and_is_not_shown() {
    let (server, _dir) = server();
    let machine = TestMachine::on(server).ship("good").marked(Some("deb"), &["openwatch.service"]);
    plant(&machine, &format!("wrong{PASSWORD}"));
    for verb in ["upgrade", "migrate --status", "preflight", "backup create"] {
        let ended = machine.run(verb.split(' ')).code(3);
        let message = message(&ended);
        assert!(message.first.contains("password authentication failed"), "{message:#?}");
        nowhere(&machine, &String::from_utf8_lossy(&ended.get_output().stderr), verb);
    }
    run(&machine, "status --json", 0);
    assert!(machine.mark().exists());
    assert_eq!(machine.acts(), [""; 0]);
}

#[test]
fn a_connection_string_that_is_not_understood_is_not_shown() {
    let machine = TestMachine::new();
    for text in [
        "postgresql://app:pl4nt3d@[::1/db",
        "postgresql://app:pl4nt3d%zz@host/db",
        "postgresql://app:pl4nt3d@host:99999999/db",
        "postgresql://app:pl4nt3d@host/db?nonsense=1",
        "host=/tmp password='pl4nt3d",
        "host=/tmp password=pl4nt3d nonsense=1",
        "pl4nt3d",
        "mysql://app:pl4nt3d@host/db",
    ] {
        fs::write(machine.secrets(), format!("MAIN_DSN=\"{text}\"\n")).unwrap();
        for verb in ["migrate --status", "upgrade --json", "status --json"] {
            let ended = machine.run(verb.split(' ')).code(3);
            let output = ended.get_output();
            let said = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b));
            nowhere(&machine, &said.concat(), &format!("{verb} with {text}"));
        }
    }
}
