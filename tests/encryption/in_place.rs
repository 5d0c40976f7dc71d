//! A role that may not create databases: the content is replaced inside the present one, in one
//! transaction, through pipes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use openwatch::config::ForeignSessions;
use openwatch::database::clients::Clients;
use openwatch::database::{Database, Source};
use openwatch::error::Error;
use openwatch::progress::Silent;
use openwatch::restore_points::{
    Keyring, Override, Reason, Request, RestoreOptions, RestorePoint, Restored, SchemaNote, Store,
    Target, restore,
};
use openwatch::system::clock::Clock;
use openwatch::system::encryption::Recipient;

use super::keys::{RECIPIENT, SECRET};
use super::nothing_in_clear::{NEEDLES, assert_nothing_in_clear};
use crate::support::machine::tree;
use crate::support::postgres::Server;

/// A private server whose application role owns its database and may create no other.
struct Fixture {
    server: Server,
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let fixture = Self { server: Server::start(), dir: tempfile::tempdir().unwrap() };
        fixture.server.database("app");
        fixture
            .server
            .psql("postgres", "create role owner login; alter database app owner to owner");
        let [table, value] = NEEDLES;
        fixture.act(&format!(
            "create table {table} (id int primary key, v text);
             insert into {table} select n, '{value} ' || n from generate_series(1, 3000) n;
             create procedure ends() language plpgsql as $$ begin
COMMIT;
end $$;
             select lo_from_bytea(4711, 'a large object')"
        ));
        fixture
    }

    fn act(&self, sql: &str) {
        self.server.psql("app", &format!("set role owner; {sql}"));
    }

    fn database(&self) -> Database {
        let conninfo = format!("host={} dbname=app user=owner", self.server.socket().display());
        let source = Source { name: "main".into(), conninfo: Some(conninfo), ..Source::default() };
        Database::resolve(&source).unwrap()
    }

    fn keyring(&self) -> Keyring {
        let identity = self.dir.path().join("identity");
        fs::write(&identity, SECRET).unwrap();
        fs::set_permissions(&identity, fs::Permissions::from_mode(0o600)).unwrap();
        Keyring::new(vec![Recipient::parse(RECIPIENT).unwrap()], None, Some(identity))
    }

    fn store(&self) -> Store {
        let dir = self.dir.path().join("backups");
        // A keyring of its own each time: what opens a point later is the identity.
        Store::open(&dir, "app").unwrap().with_keyring(self.keyring())
    }

    fn create(&self, database: &Database) -> RestorePoint {
        let request = Request {
            reason: Reason::Manual,
            from_version: None,
            to_version: None,
            databases: vec![Target { database, schema: SchemaNote::default() }],
            reserve: 0,
            lock_wait: Duration::from_secs(5),
            clock: Clock::System,
            clients: Clients::In(vec![self.server.bin().to_owned()]),
        };
        let id = self.store().create(&request, &Silent).unwrap().id().to_owned();
        self.store().find(&id).unwrap()
    }

    fn restore(
        &self,
        point: &RestorePoint,
        database: &Database,
        bin: &Path,
    ) -> Result<Restored, Error> {
        let options = RestoreOptions {
            foreign: Override::No,
            sessions: ForeignSessions::Refuse,
            owners: openwatch::database::lacking::Owners::Kept,
            clock: Clock::System,
            clients: Clients::In(vec![bin.to_owned()]),
        };
        restore(point, &[database], &options, &Silent)
    }

    /// The client with another `pg_restore`, a shell script; `$real` is the real one.
    fn client_with(&self, script: &str) -> std::path::PathBuf {
        let dir = self.dir.path().join("client");
        fs::create_dir(&dir).unwrap();
        let real = self.server.bin();
        for name in ["pg_dump", "psql"] {
            std::os::unix::fs::symlink(real.join(name), dir.join(name)).unwrap();
        }
        let text = format!("#!/bin/sh\nreal={}/pg_restore\n{script}\n", real.display());
        fs::write(dir.join("pg_restore"), text).unwrap();
        fs::set_permissions(dir.join("pg_restore"), fs::Permissions::from_mode(0o755)).unwrap();
        dir
    }
}

#[test]
fn an_encrypted_point_is_restored_in_place() {
    let fixture = Fixture::new();
    let (database, before) = (fixture.database(), fixture.server.dump("app"));
    let point = fixture.create(&database);
    let [table, _] = NEEDLES;
    fixture.act(&format!(
        "delete from {table}; create table later (i int references {table});
         select lo_from_bytea(4712, 'new')"
    ));
    let restored = fixture.restore(&point, &database, fixture.server.bin()).unwrap();
    assert_eq!(restored.replaced[0].kept_as, None);
    assert_eq!(fixture.server.dump("app"), before);
    assert_nothing_in_clear(&tree(fixture.store().dir()));
}

/// Constraints are made after everything else was loaded, large objects among it; this one fails.
/// Row 53.
#[test]
fn a_failure_after_the_data_takes_everything_back() {
    let fixture = Fixture::new();
    let [table, _] = NEEDLES;
    fixture.act(&format!(
        "create table child (id int references {table}); insert into child values (7)"
    ));
    let orphan =
        format!("set session_replication_role = replica; delete from {table} where id = 7");
    fixture.server.psql("app", &orphan);
    let database = fixture.database();
    let point = fixture.create(&database);
    fixture.act(&format!("delete from {table}; select lo_from_bytea(4712, 'new')"));
    let before = fixture.server.dump("app");
    let error = fixture.restore(&point, &database, fixture.server.bin()).unwrap_err();
    assert!(format!("{error:?}").contains("foreign key"), "{error:?}");
    assert_eq!(error.state_line(), Some("the present data is untouched"));
    assert_eq!(fixture.server.dump("app"), before);
}

/// What ends badly after it wrote everything, and what wrote half of it, commits nothing.
/// Row 54.
#[test]
fn a_text_that_breaks_off_or_ends_badly_is_never_committed() {
    let fixture = Fixture::new();
    let database = fixture.database();
    let point = fixture.create(&database);
    let [table, _] = NEEDLES;
    fixture.act(&format!("delete from {table} where id > 7"));
    for script in [
        "case \"$*\" in *--single-transaction*) $real \"$@\"; exit 3;; *) exec $real \"$@\";; esac",
        "case \"$*\" in *--single-transaction*) $real \"$@\" | head -c 3000;; *) exec $real \"$@\";; esac",
    ] {
        let before = fixture.server.dump("app");
        let client = fixture.client_with(script);
        let error = fixture.restore(&point, &database, &client).unwrap_err();
        assert_eq!(error.state_line(), Some("the present data is untouched"), "{error:?}");
        assert_eq!(fixture.server.dump("app"), before, "{script}");
        fs::remove_dir_all(client).unwrap();
    }
}
