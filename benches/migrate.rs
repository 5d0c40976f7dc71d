//! Migrations against `psql`, as ratios within one run: `cargo bench --bench migrate`, or one of
//! them: `cargo bench --bench migrate -- status` (`1000`, `10000`).
//!
//! Each figure is the median of rounds that alternate between the two, on a private server with
//! default settings except for lock memory, which one transaction of `psql` needs as much as ours.
#![allow(unreachable_pub, reason = "the shared support module is public to every binary")]

#[path = "../tests/support/postgres.rs"]
#[allow(dead_code, reason = "only a part is used here")]
mod postgres;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use openwatch::config::{FilesSpec, Format, MigrationsSpec};
use openwatch::database::{Database, DatabaseLock, Source};
use openwatch::migrations::{self, How};
use openwatch::progress::Silent;
use postgres::Server;

const PROGRAM: &str = env!("CARGO_BIN_EXE_openwatch");

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--peak") {
        return print_peak(&arguments[at + 1..]);
    }
    let server = Server::start_configured("max_locks_per_transaction = 4096");
    println!("PostgreSQL {}, {} processors", server.major, processors());
    let wanted = |word: &str| {
        let words = &arguments[1..];
        words.iter().all(|a| a.starts_with("--")) || words.iter().any(|a| a == word)
    };
    for (count, rounds) in [(1_000, 7), (10_000, 3)] {
        if wanted(&count.to_string()) {
            apply(&server, count, rounds);
        }
    }
    if wanted("status") {
        status(&server, 1_000, 31);
    }
}

/// Applies the same statements with both, in fresh databases.
fn apply(server: &Server, count: usize, rounds: usize) {
    let dir = tempfile::tempdir().unwrap();
    ship(dir.path(), count);
    let all = dir.path().join("all");
    std::fs::write(&all, (1..=count).map(statements).collect::<String>()).unwrap();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut mode = String::new();
    for _ in 0..rounds {
        let name = fresh(server);
        let start = Instant::now();
        mode = format!("{:?}", run(server, &name, dir.path()).mode);
        ours.push(start.elapsed());
        let name = fresh(server);
        let start = Instant::now();
        let mut psql = server.psql_command(&name);
        let done = psql.arg("-1").arg("-f").arg(&all).stdout(Stdio::null()).status().unwrap();
        theirs.push(start.elapsed());
        assert!(done.success());
    }
    report(&format!("apply {count} migrations ({mode}) / psql -1 -f"), ours, theirs);
}

/// Reading, looking, locking and applying: what `openwatch migrate` does to the data.
fn run(server: &Server, dbname: &str, dir: &Path) -> migrations::Applied {
    let database = database(server, dbname);
    let spec = MigrationsSpec::Files(FilesSpec::new(Format::Plain, dir));
    let shipped = migrations::load(&spec).unwrap();
    let mut lock = DatabaseLock::acquire(&database, "bench", Duration::ZERO).unwrap();
    let how = How {
        lock_timeout: Duration::from_secs(30),
        reconnect_within: Duration::from_secs(1),
        restore_point: None,
        product_version: "1.0.0".into(),
        lock: &mut lock,
        said_pending: None,
    };
    migrations::apply(&database, &shipped, how, &Silent).unwrap()
}

/// The whole program with its start, its configuration and its connection, against psql with its own.
fn status(server: &Server, count: usize, rounds: usize) {
    let root = tempfile::tempdir().unwrap();
    let share = root.path().join("usr/share/openwatch");
    let etc = root.path().join("etc/openwatch");
    for dir in [&share.join("migrations"), &etc] {
        std::fs::create_dir_all(dir).unwrap();
    }
    let files = share.join("migrations");
    ship(&files, count);
    let name = fresh(server);
    run(server, &name, &files);
    let text = format!(
        "[app]\nservices = [\"bench.service\"]\n[[database]]\nname = \"main\"\nurl_env = \"DSN\"\n\
         migrations = {{ format = \"plain\", dir = \"{}\" }}\n[[health]]\ncommand = [\"/bin/true\"]\n",
        files.display()
    );
    std::fs::write(share.join("upgrade.conf"), text).unwrap();
    std::fs::write(share.join("version"), "1.0.0\n").unwrap();
    std::fs::write(etc.join("upgrade.conf"), "").unwrap();
    let secrets = format!("DSN=\"{}\"\n", server.conninfo(&name));
    std::fs::write(etc.join("secrets.env"), secrets).unwrap();
    let mut look = vec![PROGRAM.to_owned(), "--root".into(), root.path().display().to_string()];
    look.extend(["migrate", "--status", "--json"].map(str::to_owned));
    let mut select = server.psql_command(&name);
    select.args(["-c", "select * from openwatch_schema_history"]).stdout(Stdio::null());
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let start = Instant::now();
        let output = Command::new(&look[0]).args(&look[1..]).output().unwrap();
        ours.push(start.elapsed());
        let text = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("\"state\":\"current\""), "{text}{complaint}");
        let start = Instant::now();
        assert!(select.status().unwrap().success());
        theirs.push(start.elapsed());
    }
    report(&format!("migrate --status with {count} applied / psql select"), ours, theirs);
    let own = std::env::current_exe().unwrap();
    let peak = Command::new(own).arg("--peak").args(&look).output().unwrap();
    println!("peak memory of migrate --status: {}", String::from_utf8_lossy(&peak.stdout).trim());
}

/// Runs one program and prints the most memory that it had; a process of its own, because the
/// system keeps one figure for all children.
fn print_peak(command: &[String]) {
    let status = Command::new(&command[0]).args(&command[1..]).stdout(Stdio::null()).status();
    assert!(status.unwrap().success());
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN);
    let peak = usage.unwrap().max_rss();
    println!("{peak} KiB ({:.1} MiB)", peak as f64 / 1024.0);
}

/// A small migration as they are common: a table, an index, a row.
fn statements(number: usize) -> String {
    format!(
        "create table bench_{number} (id integer primary key, kind integer not null);\n\
         create index on bench_{number} (kind);\n\
         insert into bench_{number} values ({number}, 1);\n"
    )
}

fn ship(dir: &Path, count: usize) {
    for number in 1..=count {
        let path = dir.join(format!("{number:05}_bench.sql"));
        std::fs::write(path, statements(number)).unwrap();
    }
}

fn fresh(server: &Server) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("bench_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    server.database(&name);
    // Neither of the two pays for what was written before it.
    server.psql("postgres", "checkpoint");
    name
}

fn database(server: &Server, dbname: &str) -> Database {
    let conninfo = Some(server.conninfo(dbname));
    Database::resolve(&Source { name: "main".into(), conninfo, ..Source::default() }).unwrap()
}

fn report(what: &str, ours: Vec<Duration>, theirs: Vec<Duration>) {
    let (ours, theirs) = (median(ours), median(theirs));
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    println!("{what}: {ratio:.2} ({:.1} ms / {:.1} ms)", millis(ours), millis(theirs));
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all[all.len() / 2]
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
