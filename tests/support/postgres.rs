//! A private PostgreSQL server in a temporary directory, reachable by its socket only.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A running server; dropping it stops it and removes its data.
pub struct Server {
    dir: tempfile::TempDir,
    bin: PathBuf,
    port: u16,
    /// Major version of the server.
    pub major: u32,
}

/// Finds the `bin` directories of all installed servers, newest first; with `OPENWATCH_TEST_PG` set
/// to a major, only that one, so that the same tests can be run on each.
pub fn installed() -> Vec<(u32, PathBuf)> {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for pattern in ["/usr/lib/postgresql", "/usr/pgsql"] {
        let Ok(entries) = std::fs::read_dir(pattern) else { continue };
        for entry in entries.flatten() {
            let major = entry.file_name().to_string_lossy().parse().ok();
            if let Some(major) = major.filter(|_| entry.path().join("bin/initdb").exists()) {
                found.push((major, entry.path().join("bin")));
            }
        }
    }
    if let Ok(only) = std::env::var("OPENWATCH_TEST_PG") {
        found.retain(|(major, _)| major.to_string() == only);
        assert!(!found.is_empty(), "no PostgreSQL {only} is installed");
    }
    found.sort_by(|a, b| b.cmp(a));
    assert!(!found.is_empty(), "no PostgreSQL server is installed: run ci/setup");
    found
}

impl Server {
    /// Starts a server of the newest installed major.
    pub fn start() -> Self {
        let (major, bin) = installed().swap_remove(0);
        Self::start_with(major, &bin, "")
    }

    /// Starts a server with additional lines of `postgresql.conf`.
    pub fn start_configured(conf: &str) -> Self {
        let (major, bin) = installed().swap_remove(0);
        Self::start_with(major, &bin, conf)
    }

    /// Starts a server that is reached from other hosts too, with a password; returns the password
    /// of its superuser `runner`.
    pub fn start_networked(conf: &str) -> (Self, &'static str) {
        let free = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let server = Self::start_configured(&format!(
            "listen_addresses = '*'\nport = {port}\npassword_encryption = 'scram-sha-256'\n{conf}"
        ));
        let hba = server.data().join("pg_hba.conf");
        let text = std::fs::read_to_string(&hba).unwrap();
        std::fs::write(&hba, format!("{text}\nhost all runner 0.0.0.0/0 scram-sha-256\n")).unwrap();
        server.psql(
            "postgres",
            "create role runner superuser login password 'over the wire'; select pg_reload_conf()",
        );
        (server, "over the wire")
    }

    /// Starts a server from this `bin` directory.
    pub fn start_with(major: u32, bin: &Path, conf: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("ow-pg-").tempdir_in(quick_place()).unwrap();
        let port = conf.lines().find_map(|line| line.strip_prefix("port = "));
        let port = port.map_or(5432, |port| port.parse().unwrap());
        let server = Self { dir, bin: bin.to_owned(), port, major };
        // initdb refuses root; the socket directory must be reachable for the server's user.
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(server.dir.path()));
            run(Command::new("chmod").arg("0755").arg(server.dir.path()));
        }
        run(server
            .as_server_user("initdb")
            .args(["--auth=trust", "--username=postgres", "--no-sync", "--no-instructions"])
            .args(["--encoding=UTF8", "--locale=C"])
            .arg(server.data()));
        let text = format!(
            "listen_addresses = ''\nunix_socket_directories = '{}'\nfsync = off\n\
             max_connections = 60\nmax_prepared_transactions = 5\n{conf}\n",
            server.socket().display()
        );
        let path = server.data().join("postgresql.conf");
        let mut all = std::fs::read_to_string(&path).unwrap();
        all.push_str(&text);
        std::fs::write(&path, all).unwrap();
        server.up();
        server
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Returns the socket directory, for `host=`.
    pub fn socket(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the directory with the server's programs.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    fn as_server_user(&self, program: &str) -> Command {
        let program = self.bin.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir("/").stdin(Stdio::null()).env("LC_ALL", "C");
        command
    }

    /// Starts the server again after [`Server::down`].
    pub fn up(&self) {
        run(self
            .as_server_user("pg_ctl")
            .args(["start", "--wait", "--timeout=60", "--pgdata"])
            .arg(self.data())
            .arg("--log")
            .arg(self.dir.path().join("server.log")));
    }

    /// Stops the server; sessions are ended.
    pub fn down(&self) {
        run(self
            .as_server_user("pg_ctl")
            .args(["stop", "--mode=fast", "--wait", "--pgdata"])
            .arg(self.data()));
    }

    /// Returns the port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the process id of the postmaster.
    pub fn postmaster(&self) -> i32 {
        let text = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        text.lines().next().unwrap().parse().unwrap()
    }

    /// Returns a keyword connection string for a database of this server.
    pub fn conninfo(&self, dbname: &str) -> String {
        let port = self.port;
        format!("host={} port={port} dbname={dbname} user=postgres", self.socket().display())
    }

    /// Makes a database and returns its connection string.
    pub fn database(&self, dbname: &str) -> String {
        self.psql("postgres", &format!("create database \"{dbname}\" template template0"));
        self.conninfo(dbname)
    }

    /// Runs SQL as superuser and returns the rows of all its statements, as `psql -At` prints them; any
    /// error fails the test. In this process, because most of what is asked takes less than starting psql.
    pub fn psql(&self, dbname: &str, sql: &str) -> String {
        let ask = || {
            let mut client = postgres::Config::new()
                .host_path(self.socket())
                .port(self.port)
                .user("postgres")
                .dbname(dbname)
                .application_name("psql")
                .connect(postgres::NoTls)?;
            let answer = client.simple_query(sql);
            client.close().and(answer)
        };
        let answer = ask().unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let rows = answer.iter().filter_map(|message| match message {
            postgres::SimpleQueryMessage::Row(row) => {
                let values = (0..row.len()).map(|column| row.get(column).unwrap_or_default());
                Some(values.collect::<Vec<_>>().join("|"))
            }
            _ => None,
        });
        rows.collect::<Vec<_>>().join("\n").trim_end().to_owned()
    }

    /// Prepares psql as superuser: stops at the first error, unaligned, tuples only.
    pub fn psql_command(&self, dbname: &str) -> Command {
        let mut command = Command::new(self.bin.join("psql"));
        command
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"])
            .arg(self.socket())
            .args(["-p", &self.port.to_string()])
            .arg("-d")
            .arg(dbname)
            .stdin(Stdio::null());
        command
    }

    /// Dumps a database as SQL, to compare what was before with what is now.
    pub fn dump(&self, dbname: &str) -> String {
        self.dump_with(dbname, &[])
    }

    /// Dumps the schema of a database as SQL.
    pub fn schema(&self, dbname: &str) -> String {
        self.dump_with(dbname, &["--schema-only"])
    }

    fn dump_with(&self, dbname: &str, words: &[&str]) -> String {
        let output = Command::new(self.bin.join("pg_dump"))
            .args(["-U", "postgres", "-h"])
            .arg(self.socket())
            .args(["-p", &self.port.to_string()])
            .args(words)
            .arg(dbname)
            .output()
            .unwrap();
        assert!(output.status.success(), "pg_dump: {}", String::from_utf8_lossy(&output.stderr));
        // The restrict token differs at every run.
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().filter(|line| !line.starts_with('\\')).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self
            .as_server_user("pg_ctl")
            .args(["stop", "--mode=immediate", "--pgdata"])
            .arg(self.data())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// Where servers keep their data: in memory, where there is plenty. ext4 looks long for an inode to
/// give to a file after thousands were taken back, which is what every database that goes does: a
/// fifth of all processor time of the tests (Linux 6.18, `find_inode_bit`).
fn quick_place() -> &'static str {
    let room = rustix::fs::statvfs("/dev/shm").map_or(0, |found| found.f_bavail * found.f_frsize);
    if room > 8 << 30 { "/dev/shm" } else { "/tmp" }
}

/// Waits for a condition; fails the test when it has not come true after two minutes, which a busy
/// machine with two processors never needs.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(120), "waited in vain: {what}");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Returns whether the tests run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn run(command: &mut Command) {
    let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output();
    // pg_ctl's child keeps the pipe open; `output` returns once pg_ctl itself has closed its copy.
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
