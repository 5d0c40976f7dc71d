//! A database of its own and a directory of shipped migrations in one format.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use openwatch::config::{FilesSpec, Format, MigrationsSpec, TableName};
use openwatch::database::{Database, DatabaseLock, Session, Source};
use openwatch::migrations::{self, Applied, Chain, Comparison, Failure, How};

use super::support::notes::Notes;
use super::support::postgres::Server;

/// The server that the tests of this binary share while any of them runs.
static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

fn shared() -> Arc<Server> {
    let mut slot = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    slot.upgrade().unwrap_or_else(|| {
        let server = Arc::new(Server::start());
        *slot = Arc::downgrade(&server);
        server
    })
}

pub struct Site {
    pub server: Arc<Server>,
    pub dir: tempfile::TempDir,
    pub dbname: String,
    format: Format,
    /// The history table, where it is not the usual one.
    pub table: Option<TableName>,
    notes: Notes,
}

impl Site {
    pub fn new(format: Format, dbname: &str) -> Self {
        let server = shared();
        server.database(dbname);
        let dir = tempfile::tempdir().unwrap();
        Self { server, dir, dbname: dbname.into(), format, table: None, notes: Notes::default() }
    }

    /// Puts files below the directory of shipped migrations.
    pub fn ship(&self, files: &[(&str, &str)]) -> &Self {
        for (name, text) in files {
            let file = self.dir.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        self
    }

    pub fn load(&self) -> openwatch::error::Result<Chain> {
        let table = self.table.clone();
        let spec = FilesSpec { table, ..FilesSpec::new(self.format, self.dir.path()) };
        migrations::load(&MigrationsSpec::Files(spec))
    }

    fn database(&self) -> Database {
        let conninfo = Some(self.server.conninfo(&self.dbname));
        Database::resolve(&Source { name: "main".into(), conninfo, ..Source::default() }).unwrap()
    }

    pub fn session(&self) -> Session {
        self.database().connect().unwrap()
    }

    pub fn look(&self) -> Comparison {
        migrations::look(&mut self.session(), &self.load().unwrap()).unwrap()
    }

    pub fn apply(&self) -> Result<Applied, Failure> {
        self.apply_within(Duration::from_secs(20))
    }

    /// Applies, waiting this long for locks.
    pub fn apply_within(&self, lock_timeout: Duration) -> Result<Applied, Failure> {
        let database = self.database();
        let mut lock = DatabaseLock::acquire(&database, "test", Duration::from_secs(30)).unwrap();
        let how = How {
            lock_timeout,
            reconnect_within: Duration::from_secs(20),
            restore_point: None,
            product_version: "2.0.0".into(),
            lock: &mut lock,
            said_pending: None,
        };
        migrations::apply(&database, &self.load().unwrap(), how, &self.notes)
    }

    pub fn mark_applied(&self, version: &str) {
        let chain = self.load().unwrap();
        migrations::mark_applied(&mut self.session(), &chain, version, "2.0.0").unwrap();
    }

    /// Does what `openwatch migrate repair VERSION` does, for the command that a problem names.
    pub fn repair_as_told(&self, told: &str) {
        let command = told.split('`').nth(1).unwrap_or_else(|| panic!("{told}"));
        let version = command.strip_prefix("openwatch migrate repair ");
        let version = version.unwrap_or_else(|| panic!("{told}")).to_owned();
        let (chain, mut session) = (self.load().unwrap(), self.session());
        let plan = migrations::repair(&mut session, &chain, &[version], "2.0.0").unwrap();
        migrations::carry_out(&mut session, &plan, None).unwrap();
    }

    /// What a run said beside its result.
    pub fn said(&self) -> String {
        self.notes.all()
    }

    pub fn psql(&self, sql: &str) -> String {
        self.server.psql(&self.dbname, sql)
    }

    /// The schema as `pg_dump` has it, how many rows each table holds, and the history.
    pub fn picture(&self, history: &str) -> String {
        let counts = self.psql(
            "select format('%I.%I ', schemaname, relname) || (xpath('/row/c/text()', query_to_xml(\
               format('select count(*) c from %I.%I', schemaname, relname), false, true, '')))[1] \
             from pg_stat_user_tables order by 1",
        );
        let schema = self.server.schema(&self.dbname);
        format!("{schema}\n-- rows\n{counts}\n-- history\n{}\n", self.psql(history))
    }
}

/// The first line that two pictures do not share.
pub fn first_difference(a: &str, b: &str) -> String {
    let mut pairs = a.lines().zip(b.lines()).enumerate();
    match pairs.find(|(_, (a, b))| a != b) {
        Some((line, (a, b))) => format!("line {}:\n  {a}\n  {b}", line + 1),
        None => format!("{} and {} lines", a.lines().count(), b.lines().count()),
    }
}
