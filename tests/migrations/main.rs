//! Migrations against a real PostgreSQL: looked at, applied, and everything that goes wrong.

#![allow(unreachable_pub, reason = "the shared support module is public to every test binary")]

#[path = "../support/mod.rs"]
mod support;

mod applying;
mod changed;
mod flyway;
mod input;
mod killed;
mod leftovers;
mod lock;
mod looking;
mod outside;
mod statements;
mod trouble;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use openwatch::config::{FilesSpec, Format, MigrationsSpec};
use openwatch::database::{Database, DatabaseLock, Session, Source};
use openwatch::migrations::{self, Applied, Chain, Comparison, Failure, How};
use support::notes::Notes;
use support::postgres::Server;

/// The server that the tests of this binary share while any of them runs.
static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

fn shared() -> Arc<Server> {
    let mut slot = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    slot.upgrade().unwrap_or_else(|| {
        let server = Arc::new(Server::start());
        *slot = Arc::downgrade(&server);
        server
    })
}

/// A database of its own and a directory of shipped migrations.
struct Bench {
    server: Arc<Server>,
    dir: tempfile::TempDir,
    dbname: String,
    conninfo: String,
    lock_timeout: Duration,
    notes: Notes,
    format: Format,
}

impl Bench {
    fn new(dbname: &str) -> Self {
        Self::on(shared(), dbname)
    }

    fn on(server: Arc<Server>, dbname: &str) -> Self {
        let conninfo = server.database(dbname);
        Self {
            conninfo,
            server,
            dir: tempfile::tempdir().unwrap(),
            dbname: dbname.into(),
            lock_timeout: Duration::from_secs(20),
            notes: Notes::default(),
            format: Format::Plain,
        }
    }

    /// Puts files into the directory of shipped migrations.
    fn ship(&self, files: &[(&str, &str)]) -> &Self {
        for (name, text) in files {
            std::fs::write(self.dir.path().join(name), text).unwrap();
        }
        self
    }

    fn spec(&self) -> MigrationsSpec {
        MigrationsSpec::Files(FilesSpec::new(self.format, self.dir.path()))
    }

    fn shipped(&self) -> Chain {
        migrations::load(&self.spec()).unwrap()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn database(&self) -> Database {
        let conninfo = Some(self.conninfo.clone());
        Database::resolve(&Source { name: "main".into(), conninfo, ..Source::default() }).unwrap()
    }

    fn session(&self) -> Session {
        self.database().connect().unwrap()
    }

    fn look(&self) -> Comparison {
        migrations::look(&mut self.session(), &self.shipped()).unwrap()
    }

    fn apply(&self) -> Result<Applied, Failure> {
        self.apply_as("2.0.0")
    }

    fn apply_as(&self, product_version: &str) -> Result<Applied, Failure> {
        let database = self.database();
        let mut lock = DatabaseLock::acquire(&database, "test", Duration::from_secs(30)).unwrap();
        let how = How {
            lock_timeout: self.lock_timeout,
            reconnect_within: Duration::from_secs(20),
            restore_point: Some("20261120T131502Z-1.0".into()),
            product_version: product_version.into(),
            lock: &mut lock,
            said_pending: None,
        };
        migrations::apply(&database, &self.shipped(), how, &self.notes)
    }

    fn psql(&self, sql: &str) -> String {
        self.server.psql(&self.dbname, sql)
    }

    /// Runs SQL that must fail, and returns what the server said.
    fn psql_fails(&self, sql: &str) -> String {
        let output = self.server.psql_command(&self.dbname).arg("-c").arg(sql).output().unwrap();
        assert!(!output.status.success(), "{sql}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Runs a file of SQL as psql does: each statement by itself.
    fn psql_file(&self, text: &str) {
        let file = self.dir.path().join("psql");
        std::fs::write(&file, text).unwrap();
        let mut command = self.server.psql_command(&self.dbname);
        let output = command.arg("-f").arg(file).output().unwrap();
        assert!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn dump(&self) -> String {
        self.server.dump(&self.dbname)
    }

    /// The versions in the history table, with their state.
    fn history(&self) -> String {
        self.psql("select string_agg(version || ' ' || state, ', ' order by version) from openwatch_schema_history")
    }
}
