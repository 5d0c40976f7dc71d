//! Restore points against a real private PostgreSQL: made, proven, refused, restored.

#![allow(unreachable_pub, reason = "shared helpers are compiled into each test")]

#[path = "restore_points/places.rs"]
mod places;
#[path = "restore_points/shapes.rs"]
mod shapes;
mod support;
#[path = "restore_points/trial.rs"]
mod trial;

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use openwatch::config::ForeignSessions;
use openwatch::database::clients::Clients;
use openwatch::database::lacking::Owners;
use openwatch::database::{Database, Source};
use openwatch::error::Error;
use openwatch::outcome::Outcome;
use openwatch::progress::Silent;
use openwatch::restore_points::{
    Override, Reason, Request, RestoreOptions, RestorePoint, Restored, SchemaNote, Status, Store,
    Target, restore,
};
use openwatch::system::clock::{self, Clock};
use openwatch::version::Version;
use support::postgres::{Server, is_root, wait_for};

const SCHEMA: &str = "
    create table hosts (id int primary key, name text not null, added timestamptz default now());
    insert into hosts select i, 'host ' || i from generate_series(1, 500) i;
    create table samples (host int references hosts, value jsonb);
    insert into samples select 1 + i % 500, jsonb_build_object('cpu', i, 'text', repeat(md5(i::text), 9))
      from generate_series(1, 5000) i;
    create index on samples ((value ->> 'cpu'));
    create view busy as select * from samples where (value ->> 'cpu')::int > 4000;
    create schema other;
    create table other.empty (id bigserial primary key);
    create function twice(i int) returns int language sql as 'select i * 2';
";

/// A check that calls an unqualified function dumps and reads back, but does not load: the client
/// loads with an empty search path. (Servers from 17 on refuse an index of that kind at once.)
const UNLOADABLE: &str = "
    create function inner_f(i int) returns int immutable language sql as 'select i';
    create function outer_f(i int) returns int immutable language plpgsql
      as 'begin return inner_f(i); end';
    alter table hosts add check (outer_f(id) > 0);
";

/// A private server with one application database and an empty store.
struct Fixture {
    server: Server,
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self::with(SCHEMA)
    }

    fn with(sql: &str) -> Self {
        let fixture = Self { server: Server::start(), dir: tempfile::tempdir().unwrap() };
        fixture.server.database("app");
        fixture.server.psql("app", sql);
        fixture
    }

    fn database(&self) -> Database {
        self.database_of("main", &self.server.conninfo("app"))
    }

    fn database_of(&self, name: &str, conninfo: &str) -> Database {
        Database::resolve(&Source {
            name: name.into(),
            conninfo: Some(conninfo.into()),
            ..Source::default()
        })
        .unwrap()
    }

    /// The application database as another role.
    fn database_as(&self, role: &str) -> Database {
        let conninfo = format!("host={} dbname=app user={role}", self.server.socket().display());
        self.database_of("main", &conninfo)
    }

    fn store(&self) -> Store {
        Store::open(&self.dir.path().join("backups"), "app").unwrap()
    }

    fn clients(&self) -> Clients {
        Clients::In(vec![self.server.bin().to_owned()])
    }

    fn request<'a>(&self, databases: &[&'a Database]) -> Request<'a> {
        let databases = databases
            .iter()
            .map(|database| Target { database, schema: SchemaNote::default() })
            .collect();
        Request {
            reason: Reason::Manual,
            from_version: Some(Version::new("1.0-1")),
            to_version: None,
            databases,
            reserve: 0,
            lock_wait: Duration::from_secs(1),
            clock: Clock::System,
            clients: self.clients(),
        }
    }

    fn create(&self, database: &Database) -> Result<RestorePoint, Error> {
        self.store().create(&self.request(&[database]), &Silent)
    }

    /// Makes a point with a client whose `pg_dump` is this shell script; `$real` is the real one.
    fn create_with_client(&self, script: &str) -> Result<RestorePoint, Error> {
        let dir = self.dir.path().join("client");
        std::fs::create_dir_all(&dir).unwrap();
        let real = self.server.bin().display();
        let text = format!(
            "#!/bin/sh\nreal={real}/pg_dump\n\
             case \"$*\" in --version | *--host=/nonexistent*) exec $real \"$@\";; esac\n{script}\n"
        );
        write_executable(&dir.join("pg_dump"), &text);
        let restore = dir.join("pg_restore");
        if !restore.exists() {
            std::os::unix::fs::symlink(self.server.bin().join("pg_restore"), restore).unwrap();
        }
        let database = self.database();
        let mut request = self.request(&[&database]);
        request.clients = Clients::In(vec![dir]);
        self.store().create(&request, &Silent)
    }

    fn options(&self) -> RestoreOptions {
        RestoreOptions {
            foreign: Override::No,
            sessions: ForeignSessions::Refuse,
            owners: Owners::Kept,
            clock: Clock::System,
            clients: self.clients(),
        }
    }

    fn restore(&self, point: &RestorePoint, database: &Database) -> Result<Restored, Error> {
        restore(point, &[database], &self.options(), &Silent)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.store().dir())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn databases(&self) -> Vec<String> {
        let sql = "select datname from pg_database where not datistemplate order by 1";
        self.server.psql("postgres", sql).lines().map(str::to_owned).collect()
    }
}

fn write_executable(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { todo.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

fn largest_member(point: &RestorePoint) -> PathBuf {
    files_below(&point.dir().join("main"))
        .into_iter()
        .filter(|path| !path.ends_with("toc.dat"))
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap()
}

fn details(error: &Error) -> String {
    error.details().join("\n")
}

/// Asserts a failed backup that left nothing behind.
fn assert_backup_failed(fixture: &Fixture, error: &Error) {
    assert_eq!(error.outcome(), Outcome::BackupFailed, "{error:?}");
    assert_eq!(fixture.names(), Vec::<String>::new(), "{error:?}");
    assert!(error.state_line().is_some(), "{error:?}");
}

/// Row 27.
#[test]
fn a_dump_that_cannot_be_published_is_no_restore_point() {
    let fixture = Fixture::new();
    fixture.create(&fixture.database()).unwrap();
    let before = fixture.names();
    // Its final name is taken while it is dumped, so that the last rename fails.
    let script = "for a; do case $a in --file=*) dir=${a#--file=};; esac; done
        partial=${dir%/*}; store=${partial%/*}; name=${partial##*/.partial-}
        $real \"$@\" || exit; mkdir -p \"$store/$name/taken\"";
    let error = fixture.create_with_client(script).unwrap_err();
    assert_eq!(error.outcome(), Outcome::BackupFailed, "{error:?}");
    assert_eq!(
        error.state_line(),
        Some("no restore point was made; older ones are untouched"),
        "{error:?}"
    );
    let entries = fixture.store().list().unwrap();
    let good: Vec<_> = entries.iter().filter(|entry| entry.status == Status::Good).collect();
    assert_eq!(good.iter().map(|entry| entry.id.clone()).collect::<Vec<_>>(), before);
    assert!(!entries.iter().any(|entry| entry.status == Status::Partial), "{entries:?}");
}

/// Row 23.
#[test]
fn a_restore_point_is_private_whole_and_tells_what_it_is() {
    let fixture = Fixture::new();
    let database = fixture.database();
    let point = fixture.create(&database).unwrap();
    let manifest = point.manifest();
    assert!(point.id().ends_with("Z-1.0-1"), "{}", point.id());
    assert_eq!(fixture.names(), [point.id()]);
    let archive = &manifest.databases[0];
    assert_eq!(archive.identity.dbname, "app");
    assert_eq!(archive.tables, 3);
    assert!(archive.identity.system.is_some() && archive.wal_position.is_some());
    assert!(archive.client_version.starts_with(&fixture.server.major.to_string()));
    for path in files_below(point.dir()) {
        let data = path.metadata().unwrap();
        assert_eq!(data.mode() & 0o777, 0o600, "{}", path.display());
    }
    for dir in [fixture.store().dir(), point.dir(), &point.dir().join("main")] {
        assert_eq!(dir.metadata().unwrap().mode() & 0o777, 0o700, "{}", dir.display());
    }
    fixture.store().verify("latest", &Silent).unwrap();
}

#[test]
fn the_sums_are_those_that_sha256sum_computes() {
    let fixture = Fixture::new();
    let point = fixture.create(&fixture.database()).unwrap();
    let output = std::process::Command::new("sha256sum")
        .args(["--check", "--strict", "--quiet", "SHA256SUMS"])
        .current_dir(point.dir())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Row 54.
#[test]
fn a_database_is_restored_as_it_was_after_a_migration_added_dependants() {
    let fixture = Fixture::new();
    let before = fixture.server.dump("app");
    let database = fixture.database();
    let point = fixture.create(&database).unwrap();
    fixture.server.psql(
        "app",
        "create table added (host int references hosts); create view dependant as select * from busy;
         alter table hosts add column new text; delete from samples; drop table other.empty",
    );
    let restored = fixture.restore(&point, &database).unwrap();
    assert_eq!(fixture.server.dump("app"), before);
    let kept_as = restored.replaced[0].kept_as.clone().unwrap();
    assert_eq!(fixture.databases(), ["app".to_owned(), kept_as.clone(), "postgres".into()]);
    assert_eq!(fixture.server.psql(&kept_as, "select count(*) from added"), "0");
    assert!(restored.loss[0].wal_bytes.unwrap() > 0);
}

#[test]
fn grants_settings_and_comment_of_the_database_survive_a_restore() {
    let fixture = Fixture::new();
    fixture.server.psql(
        "postgres",
        "create role reader; create role \"odd \"\" role\"; revoke connect on database app from public;
         grant connect on database app to reader with grant option;
         grant temp on database app to \"odd \"\" role\";
         alter database app set search_path = \"$user\", public, other;
         alter database app set work_mem = '8MB'; alter database app set my.app = 'it''s \\ here';
         alter role reader in database app set statement_timeout = '5s';
         alter database app connection limit 7; comment on database app is 'the ''app'''",
    );
    let facts = "select datacl, datconnlimit, shobj_description(d.oid, 'pg_database'),
        (select string_agg(setrole::regrole::text || setconfig::text, ';' order by setrole)
           from pg_db_role_setting s where s.setdatabase = d.oid)
        from pg_database d where datname = 'app'";
    let before = fixture.server.psql("postgres", facts);
    let database = fixture.database();
    let point = fixture.create(&database).unwrap();
    let restored = fixture.restore(&point, &database).unwrap();
    assert_eq!(restored.left, Vec::<String>::new());
    assert_eq!(fixture.server.psql("postgres", facts), before);
}

/// Row 54.
#[test]
fn a_role_without_the_right_to_create_databases_restores_in_place() {
    let fixture = Fixture::with("");
    fixture.server.psql("postgres", "create role owner login; alter database app owner to owner");
    fixture
        .server
        .psql("app", &format!("set role owner; {SCHEMA}; select lo_from_bytea(4711, 'old')"));
    let before = fixture.server.dump("app");
    let database = fixture.database_as("owner");
    let point = fixture.create(&database).unwrap();
    fixture.server.psql(
        "app",
        "set role owner; create table added (host int references hosts);
         create type mood as enum ('good'); create domain positive as int check (value > 0);
         create view dependant as select * from busy; create table tomorrow.x (i int);
         create function new_one(positive) returns int language sql as 'select 1';
         select lo_from_bytea(4712, 'new'); delete from samples"
            .replace("create table tomorrow.x", "create schema tomorrow; create table tomorrow.x")
            .as_str(),
    );
    let restored = fixture.restore(&point, &database).unwrap();
    assert_eq!(restored.replaced[0].kept_as, None);
    assert_eq!(fixture.server.dump("app"), before);
    assert_eq!(fixture.names(), [point.id()]);
}

/// Row 53.
#[test]
fn a_failure_in_place_changes_nothing() {
    let fixture = Fixture::with("");
    fixture.server.psql("postgres", "create role owner login; alter database app owner to owner");
    fixture.server.psql("app", &format!("set role owner; {SCHEMA}"));
    let database = fixture.database_as("owner");
    fixture.server.psql("app", &format!("set role owner; {UNLOADABLE}"));
    let point = fixture.create(&database).unwrap();
    fixture.server.psql("app", "set role owner; delete from samples");
    let before = fixture.server.dump("app");
    let error = fixture.restore(&point, &database).unwrap_err();
    assert!(details(&error).contains("inner_f"), "{error:?}");
    assert_eq!(error.state_line(), Some("the present data is untouched"));
    assert_eq!(fixture.server.dump("app"), before);
}

/// The text of large objects commits by itself unless it is told otherwise. Constraints come after
/// them, and this one fails.
#[test]
fn a_failure_in_place_after_large_objects_changes_nothing() {
    let fixture = Fixture::with("");
    fixture.server.psql("postgres", "create role owner login; alter database app owner to owner");
    let lob = "select lo_from_bytea(4711, 'old')";
    fixture.server.psql("app", &format!("set role owner; {SCHEMA}; {lob}"));
    let orphans = "set session_replication_role = replica; delete from hosts where id = 7";
    fixture.server.psql("app", orphans);
    let database = fixture.database_as("owner");
    let point = fixture.create(&database).unwrap();
    fixture.server.psql("app", "set role owner; delete from samples; select lo_unlink(4711)");
    let before = fixture.server.dump("app");
    let error = fixture.restore(&point, &database).unwrap_err();
    assert!(details(&error).contains("foreign key"), "{error:?}");
    assert_eq!(error.state_line(), Some("the present data is untouched"));
    assert_eq!(fixture.server.dump("app"), before);
}

/// Row 56.
#[test]
fn a_truncated_member_is_found_before_a_restore_changes_anything() {
    let fixture = Fixture::new();
    let database = fixture.database();
    let point = fixture.create(&database).unwrap();
    let member = largest_member(&point);
    let bytes = std::fs::read(&member).unwrap();
    std::fs::write(&member, &bytes[..bytes.len() / 2]).unwrap();
    assert_damaged(&fixture, &database, &point);
}

/// Row 56.
#[test]
fn a_flipped_bit_is_found_before_a_restore_changes_anything() {
    let fixture = Fixture::new();
    let database = fixture.database();
    let point = fixture.create(&database).unwrap();
    let member = largest_member(&point);
    let mut bytes = std::fs::read(&member).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&member, bytes).unwrap();
    assert_damaged(&fixture, &database, &point);
}

#[test]
fn a_missing_member_is_found_before_a_restore_changes_anything() {
    let fixture = Fixture::new();
    let database = fixture.database();
    let point = fixture.create(&database).unwrap();
    std::fs::remove_file(largest_member(&point)).unwrap();
    assert_damaged(&fixture, &database, &point);
}

fn assert_damaged(fixture: &Fixture, database: &Database, point: &RestorePoint) {
    let before = fixture.server.dump("app");
    let error = fixture.restore(point, database).unwrap_err();
    assert_eq!(error.message(), format!("restore point {} is damaged", point.id()));
    assert_eq!(error.state_line(), Some("the present data is untouched"));
    assert_eq!(fixture.server.dump("app"), before);
    assert_eq!(fixture.databases(), ["app", "postgres"]);
    assert!(fixture.store().verify(point.id(), &Silent).is_err());
    let entry = &fixture.store().list().unwrap()[0];
    assert!(matches!(entry.status, Status::Damaged(_)), "{entry:?}");
    assert!(fixture.store().find("latest").is_err());
}

/// Row 16.
#[test]
fn a_directory_without_a_manifest_is_not_a_restore_point() {
    let fixture = Fixture::new();
    let point = fixture.create(&fixture.database()).unwrap();
    std::fs::remove_file(point.dir().join("manifest.json")).unwrap();
    let error = fixture.store().find("latest").unwrap_err();
    assert!(error.message().starts_with("there is no restore point in"), "{error:?}");
    let error = fixture.store().find(point.id()).unwrap_err();
    assert_eq!(details(&error), "no manifest");
}

/// Row 16.
#[test]
fn a_dump_that_is_killed_leaves_nothing() {
    let fixture = Fixture::new();
    let error = fixture.create_with_client("$real \"$@\"; kill -KILL $$").unwrap_err();
    assert!(error.message().ends_with("was killed by SIGKILL"), "{error:?}");
    assert_backup_failed(&fixture, &error);
}

/// Row 17.
#[test]
fn a_dump_that_loses_a_member_after_a_clean_exit_is_refused() {
    let fixture = Fixture::new();
    let script = "for a; do case $a in --file=*) dir=${a#--file=};; esac; done
        $real \"$@\" || exit; rm $(ls -S $dir/[0-9]*.dat* | head -1)";
    let error = fixture.create_with_client(script).unwrap_err();
    // Found where we compress it, or by the client that reads it back.
    let message = error.message();
    let found =
        message.contains("changed after it was written") || message.starts_with("pg_restore of");
    assert!(found, "{error:?}");
    assert_backup_failed(&fixture, &error);
}

/// Row 17.
#[test]
fn a_dump_that_is_cut_short_after_a_clean_exit_is_refused() {
    let fixture = Fixture::new();
    let script = "for a; do case $a in --file=*) dir=${a#--file=};; esac; done
        $real \"$@\" || exit; truncate -s -20 $(ls -S $dir/[0-9]*.dat* | head -1)";
    let error = fixture.create_with_client(script).unwrap_err();
    assert_backup_failed(&fixture, &error);
}

/// Row 17.
#[test]
fn a_dump_that_leaves_a_table_out_is_refused_and_the_table_is_named() {
    let fixture = Fixture::new();
    let error = fixture.create_with_client("exec $real --exclude-table=hosts \"$@\"").unwrap_err();
    assert!(error.message().ends_with("lacks 1 of 4 tables"), "{error:?}");
    assert_eq!(details(&error), "missing: public.hosts");
    assert_backup_failed(&fixture, &error);
}

/// Row 17.
#[test]
fn a_dump_without_the_data_of_a_table_is_refused() {
    let fixture = Fixture::new();
    let error =
        fixture.create_with_client("exec $real --exclude-table-data=hosts \"$@\"").unwrap_err();
    assert_eq!(details(&error), "missing: public.hosts");
    assert_backup_failed(&fixture, &error);
}

#[test]
fn a_dump_that_plants_a_link_is_refused() {
    let fixture = Fixture::new();
    let script = "for a; do case $a in --file=*) dir=${a#--file=};; esac; done
        $real \"$@\" || exit; ln -s /etc/passwd $dir/planted";
    let error = fixture.create_with_client(script).unwrap_err();
    assert_backup_failed(&fixture, &error);
}

/// Row 15.
#[test]
fn a_failed_dump_keeps_the_older_restore_points() {
    let fixture = Fixture::new();
    let point = fixture.create(&fixture.database()).unwrap();
    let error = fixture.create_with_client("exit 1").unwrap_err();
    assert_eq!(error.outcome(), Outcome::BackupFailed);
    assert_eq!(fixture.names(), [point.id()]);
    fixture.store().verify(point.id(), &Silent).unwrap();
}

/// Row 18.
#[test]
fn a_table_that_the_role_cannot_read_fails_the_backup_and_is_named_with_its_owner() {
    let fixture = Fixture::new();
    fixture.server.psql(
        "app",
        "create role clerk login; grant select on all tables in schema public to clerk;
         grant usage on schema other to clerk; select lo_from_bytea(77, 'x');
         create table guarded (id int); alter table guarded enable row level security;
         grant select on guarded to clerk",
    );
    let database = fixture.database_as("clerk");
    let found =
        openwatch::database::dumpable::undumpable(&mut database.connect().unwrap()).unwrap();
    let unreadable: Vec<String> = found.into_iter().map(|one| one.what).collect();
    assert_eq!(
        unreadable,
        [
            "large object 77 (owner postgres)",
            "sequence other.empty_id_seq (owner postgres)",
            "table other.empty (owner postgres)",
            "table public.guarded (row security hides rows; owner postgres)",
        ]
    );
    let error = fixture.create(&database).unwrap_err();
    assert_eq!(details(&error), unreadable.join("\n"));
    assert_backup_failed(&fixture, &error);
}

#[test]
fn a_superuser_can_read_everything() {
    let fixture = Fixture::new();
    let mut session = fixture.database().connect().unwrap();
    assert_eq!(openwatch::database::dumpable::undumpable(&mut session).unwrap(), []);
}

/// Row 18.
#[test]
fn row_security_that_hides_rows_fails_the_backup() {
    let fixture = Fixture::with(
        "create role clerk login; create table t (i int); grant select on t to clerk",
    );
    fixture.server.psql("app", "alter table t enable row level security");
    let error = fixture.create(&fixture.database_as("clerk")).unwrap_err();
    assert_eq!(details(&error), "table public.t (row security hides rows; owner postgres)");
    assert_backup_failed(&fixture, &error);
}

#[test]
fn a_locked_table_is_waited_for_a_bounded_time_and_the_holder_is_named() {
    let fixture = Fixture::new();
    let mut holder = fixture.database().connect().unwrap();
    holder.run("set application_name = 'nightly report'").unwrap();
    holder.run("begin; lock table hosts in access exclusive mode").unwrap();
    let error = fixture.create(&fixture.database()).unwrap_err();
    assert!(details(&error).contains("nightly report"), "{error:?}");
    assert_backup_failed(&fixture, &error);
}

/// Row 19.
#[test]
fn limits_of_the_role_do_not_end_the_dump() {
    let fixture = Fixture::new();
    fixture.server.psql(
        "postgres",
        "alter role postgres set statement_timeout = '1ms';
         alter role postgres set idle_in_transaction_session_timeout = '1ms';
         alter role postgres set lock_timeout = '1ms';
         alter database app set default_transaction_read_only = on",
    );
    let point = fixture.create(&fixture.database());
    point.unwrap();
}

/// Row 14.
#[test]
fn a_missing_client_is_named() {
    let fixture = Fixture::new();
    let database = fixture.database();
    let mut request = fixture.request(&[&database]);
    request.clients = Clients::In(vec![]);
    let error = fixture.store().create(&request, &Silent).unwrap_err();
    assert_eq!(error.message(), "pg_dump and pg_restore are not installed");
    assert!(error.hint_line().unwrap().contains("postgresql-client-"), "{error:?}");
    assert_backup_failed(&fixture, &error);
}

/// Rows 23 and 81.
#[test]
fn a_symbolic_link_as_backup_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("real")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
    let error = Store::open(&dir.path().join("link"), "app").unwrap_err();
    assert!(error.message().ends_with("is a symbolic link"), "{error:?}");
}

#[test]
fn a_relative_backup_directory_is_refused() {
    let error = Store::open(Path::new("backups"), "app").unwrap_err();
    assert_eq!(error.message(), "the backup directory backups is relative");
}

/// Row 23.
#[test]
fn a_directory_that_others_can_read_is_tightened() {
    let fixture = Fixture::with("");
    let dir = fixture.store().dir().to_owned();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    fixture.store();
    assert_eq!(dir.metadata().unwrap().mode() & 0o777, 0o700);
}

#[test]
fn an_empty_database_has_a_restore_point_too() {
    let fixture = Fixture::with("");
    let before = fixture.server.dump("app");
    let database = fixture.database();
    let point = fixture.create(&database).unwrap();
    fixture.server.psql("app", "create table t (i int)");
    fixture.restore(&point, &database).unwrap();
    assert_eq!(fixture.server.dump("app"), before);
}

#[test]
fn odd_names_are_dumped_and_restored() {
    let fixture = Fixture::with("");
    let name = "it's a=\"b\" \\ \u{e9}\u{1F600}";
    let sql_name = name.replace('"', "\"\"");
    fixture.server.psql("postgres", &format!("create database \"{sql_name}\" template template0"));
    let tables = format!(
        "create schema \"s.1\"; create table \"s.1\".\"{sql_name}\" (\"two\nlines\" int);
         insert into \"s.1\".\"{sql_name}\" values (1); create table \"line\nTABLE DATA break\" (i int)"
    );
    let psql = |sql: &str| fixture.server.psql(name, sql);
    psql(&tables);
    let database = fixture.database().with_dbname(name);
    let point = fixture.create(&database).unwrap();
    psql("drop schema \"s.1\" cascade");
    let restored = fixture.restore(&point, &database).unwrap();
    assert_eq!(psql(&format!("select * from \"s.1\".\"{sql_name}\"")), "1");
    assert!(restored.replaced[0].kept_as.as_ref().unwrap().starts_with(name));
}

/// Row 55.
#[test]
fn a_session_of_somebody_else_refuses_the_restore_and_is_named() {
    let fixture = Fixture::with("");
    fixture.server.psql(
        "postgres",
        "create role owner login createdb; create role guest login;
        alter database app owner to owner; grant owner to guest",
    );
    fixture.server.psql("app", &format!("set role owner; {SCHEMA}"));
    let database = fixture.database_as("owner");
    let point = fixture.create(&database).unwrap();
    let mut guest = fixture.database_as("guest").connect().unwrap();
    guest.run("set application_name = 'reporting'").unwrap();
    let error = fixture.restore(&point, &database).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Refused, "{error:?}");
    assert!(details(&error).contains("reporting"), "{error:?}");
    assert_eq!(error.state_line(), Some("the present data is untouched"));
    guest.run("select 1").unwrap();
    assert_eq!(fixture.databases(), ["app", "postgres"]);
}

/// Row 55.
#[test]
fn sessions_of_our_own_role_are_ended_for_a_restore() {
    let fixture = Fixture::new();
    let database = fixture.database();
    let point = fixture.create(&database).unwrap();
    let mut own = database.connect().unwrap();
    fixture.restore(&point, &database).unwrap();
    assert!(own.run("select 1").is_err());
}

/// Row 53.
#[test]
fn a_load_that_fails_leaves_the_present_data_and_no_half_loaded_database() {
    let fixture = Fixture::new();
    fixture.server.psql("app", UNLOADABLE);
    let database = fixture.database();
    let point = fixture.create(&database).unwrap();
    let before = fixture.server.dump("app");
    let error = fixture.restore(&point, &database).unwrap_err();
    assert!(details(&error).contains("inner_f"), "{error:?}");
    assert_eq!(error.state_line(), Some("the present data is untouched"));
    assert_eq!(fixture.server.dump("app"), before);
    assert_eq!(fixture.databases(), ["app", "postgres"]);
}

#[test]
fn a_half_loaded_database_of_a_killed_restore_is_removed_by_the_next() {
    let fixture = Fixture::new();
    let database = fixture.database();
    let point = fixture.create(&database).unwrap();
    fixture.server.database("app_restoring_20200101T000000Z");
    fixture.server.database("app_restoring_notes");
    fixture.restore(&point, &database).unwrap();
    let left = fixture.databases();
    assert!(!left.iter().any(|name| name == "app_restoring_20200101T000000Z"), "{left:?}");
    assert!(left.iter().any(|name| name == "app_restoring_notes"), "{left:?}");
}

/// Row 55.
#[test]
fn a_prepared_transaction_refuses_the_restore() {
    let fixture = Fixture::new();
    let database = fixture.database();
    let point = fixture.create(&database).unwrap();
    fixture.server.psql("app", "begin; delete from samples; prepare transaction 'held'");
    let error = fixture.restore(&point, &database).unwrap_err();
    assert_eq!((error.outcome(), details(&error).as_str()), (Outcome::Refused, "held"));
}

/// Row 65.
#[test]
fn a_point_of_another_database_is_refused_and_the_override_is_named() {
    let fixture = Fixture::new();
    let point = fixture.create(&fixture.database()).unwrap();
    fixture.server.database("copy");
    let other = fixture.database_of("main", &fixture.server.conninfo("copy"));
    let error = fixture.restore(&point, &other).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Refused, "{error:?}");
    assert_eq!(details(&error), "database app instead of copy");
    assert!(error.hint_line().unwrap().contains("--force-foreign"), "{error:?}");
    let mut options = fixture.options();
    options.foreign = Override::AcceptForeign;
    restore(&point, &[&other], &options, &Silent).unwrap();
    assert_eq!(fixture.server.psql("copy", "select count(*) from hosts"), "500");
}

#[test]
fn a_database_that_is_gone_is_made_again() {
    let fixture = Fixture::new();
    let before = fixture.server.dump("app");
    let database = fixture.database();
    let point = fixture.create(&database).unwrap();
    fixture.server.psql("postgres", "drop database app");
    let restored = fixture.restore(&point, &database).unwrap();
    assert_eq!(restored.replaced[0].kept_as, None);
    assert_eq!(fixture.server.dump("app"), before);
}

#[test]
fn two_databases_are_restored_together_or_not_at_all() {
    let fixture = Fixture::new();
    fixture.server.database("second");
    fixture.server.psql("second", "create table t (i int); insert into t values (1)");
    let first = fixture.database();
    let second = fixture.database_of("second", &fixture.server.conninfo("second"));
    let request = fixture.request(&[&first, &second]);
    let point = fixture.store().create(&request, &Silent).unwrap();
    fixture.server.psql("app", "delete from samples");
    fixture.server.psql("second", "delete from t");
    // The second archive cannot be loaded while the role of one of its objects is missing.
    let restored = restore(&point, &[&first, &second], &fixture.options(), &Silent).unwrap();
    assert_eq!(restored.replaced.len(), 2);
    assert_eq!(fixture.server.psql("app", "select count(*) from samples"), "5000");
    assert_eq!(fixture.server.psql("second", "select count(*) from t"), "1");
}

/// Row 53.
#[test]
fn when_one_of_two_databases_cannot_be_loaded_neither_is_exchanged() {
    let fixture = Fixture::new();
    fixture.server.database("second");
    fixture
        .server
        .psql("second", "create role gone; create table t (i int); alter table t owner to gone");
    let first = fixture.database();
    let second = fixture.database_of("second", &fixture.server.conninfo("second"));
    let request = fixture.request(&[&first, &second]);
    let point = fixture.store().create(&request, &Silent).unwrap();
    fixture.server.psql("second", "drop table t; drop role gone");
    fixture.server.psql("app", "delete from samples");
    let error = restore(&point, &[&first, &second], &fixture.options(), &Silent).unwrap_err();
    assert!(details(&error).contains("gone"), "{error:?}");
    assert_eq!(fixture.server.psql("app", "select count(*) from samples"), "0");
    assert_eq!(fixture.databases(), ["app", "postgres", "second"]);
}

/// Row 8.
#[test]
fn the_estimate_learns_from_the_last_restore_point() {
    let fixture = Fixture::new();
    let database = fixture.database();
    let first = fixture.store().estimate(&[&database]).unwrap();
    let point = fixture.create(&database).unwrap();
    let second = fixture.store().estimate(&[&database]).unwrap();
    let archive = point.manifest().databases[0].archive_bytes;
    assert!(second.needed < first.needed);
    assert!(second.needed >= archive, "{second:?} {archive}");
    // Somebody else's point tells nothing about this database, although it has the same name.
    let others = Store::open(fixture.store().dir(), "other").unwrap();
    assert_eq!(others.estimate(&[&database]).unwrap().needed, first.needed);
    second.check(&fixture.store(), 0).unwrap();
}

/// Row 8.
#[test]
fn too_little_space_is_refused_with_numbers_and_ways_out() {
    let fixture = Fixture::new();
    let estimate = fixture.store().estimate(&[&fixture.database()]).unwrap();
    let error = estimate.check(&fixture.store(), u64::MAX / 2).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Refused, "{error:?}");
    assert!(error.message().starts_with("not enough free space for a restore point in"));
    assert!(details(&error).contains("needed") && details(&error).contains("free"), "{error:?}");
    assert!(error.hint_line().unwrap().contains("backup_dir"), "{error:?}");
}

#[test]
fn rows_written_by_others_during_the_dump_do_not_confuse_the_counts() {
    let fixture = Fixture::new();
    let script = format!(
        "{}/psql -q -h {} -U postgres -d app -c 'delete from hosts where id not in (select host from samples)' \
         -c 'insert into other.empty default values' >&2; exec $real \"$@\"",
        fixture.server.bin().display(),
        fixture.server.socket().display()
    );
    let point = fixture.create_with_client(&script).unwrap();
    fixture.restore(&point, &fixture.database()).unwrap();
    assert_eq!(fixture.server.psql("app", "select count(*) from other.empty"), "0");
}

/// What a statement is that waits for the locks of `pg_dump` and goes on the moment it ends.
fn right_after_the_dump(sql: &str) -> (Fixture, RestorePoint) {
    let fixture = Fixture::new();
    let script = format!(
        "$real \"$@\" || exit; {}/psql -q -h {} -U postgres -d app -c '{sql}' >&2",
        fixture.server.bin().display(),
        fixture.server.socket().display()
    );
    let point = fixture.create_with_client(&script).unwrap();
    (fixture, point)
}

#[test]
fn a_table_that_is_truncated_as_soon_as_the_dump_is_over_comes_back_whole() {
    // The other one has another table's name by then, and no row that the snapshot sees.
    for sql in [
        "truncate hosts cascade",
        "alter table hosts rename to former; create table hosts (like former)",
    ] {
        let (fixture, point) = right_after_the_dump(sql);
        let text = std::fs::read_to_string(point.dir().join("main.contents.json")).unwrap();
        let contents: serde_json::Value = serde_json::from_str(&text).unwrap();
        let of = |list: &str, table: &str| {
            let mut list = contents[list].as_array().unwrap().iter();
            list.find(|one| one[0] == table).map(|one| one[1].clone())
        };
        assert!(of("rows", "public.hosts").unwrap()["exact"].is_null(), "{text}");
        assert_eq!(of("checksums", "public.hosts"), None, "{text}");
        assert_eq!(of("rows", "other.empty").unwrap()["exact"], 0, "{text}");
        assert!(of("checksums", "other.empty").is_some(), "{text}");
        fixture.restore(&point, &fixture.database()).unwrap();
        assert_eq!(fixture.server.psql("app", "select count(*) from hosts"), "500");
    }
}

#[test]
fn a_table_that_is_dropped_as_soon_as_the_dump_is_over_comes_back_and_nothing_panics() {
    let (fixture, point) = right_after_the_dump("drop table samples cascade");
    fixture.restore(&point, &fixture.database()).unwrap();
    assert_eq!(fixture.server.psql("app", "select count(*) from samples"), "5000");
}

/// Row 9.
#[test]
fn a_probe_leaves_nothing_behind() {
    let fixture = Fixture::with("");
    fixture.store().probe().unwrap();
    assert_eq!(fixture.names(), Vec::<String>::new());
}

#[test]
fn two_points_of_the_same_second_have_different_names() {
    let fixture = Fixture::with("");
    let database = fixture.database();
    let mut request = fixture.request(&[&database]);
    request.clock = Clock::Fixed(clock::parse_rfc3339("2026-11-20T13:15:02Z").unwrap());
    let first = fixture.store().create(&request, &Silent).unwrap();
    let second = fixture.store().create(&request, &Silent).unwrap();
    assert_eq!(first.id(), "20261120T131502Z-1.0-1");
    assert_eq!(second.id(), "20261120T131502Z-1.0-1.2");
    assert_eq!(fixture.store().find("latest").unwrap().id(), second.id());
}

/// Row 15.
#[test]
fn a_full_disk_fails_the_backup_and_leaves_nothing() {
    if !is_root() {
        eprintln!("SKIPPED a_full_disk_fails_the_backup_and_leaves_nothing: needs root to mount");
        return;
    }
    let fixture = Fixture::with(
        "create table big as select i, md5(i::text) || md5((i * 7)::text) as t
           from generate_series(1, 60000) i",
    );
    let dir = fixture.dir.path().join("backups");
    std::fs::create_dir(&dir).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs"])
        .arg(&dir)
        .status()
        .unwrap();
    assert!(mounted.success());
    let error = fixture.create(&fixture.database()).unwrap_err();
    let names = fixture.names();
    let unmounted = std::process::Command::new("umount").arg(&dir).status().unwrap();
    assert!(unmounted.success());
    assert_eq!(error.outcome(), Outcome::BackupFailed);
    assert!(details(&error).contains("No space left on device"), "{error:?}");
    assert_eq!(names, Vec::<String>::new());
}

#[test]
fn peer_authentication_as_another_user_dumps_into_a_directory_of_root() {
    if !is_root() {
        eprintln!("SKIPPED peer_authentication_as_another_user: needs root");
        return;
    }
    let fixture = Fixture::new();
    let before = fixture.server.dump("app");
    let database = Database::resolve(&Source {
        name: "main".into(),
        conninfo: Some(fixture.server.conninfo("app")),
        user: Some("nobody".into()),
        ..Source::default()
    })
    .unwrap();
    assert!(database.identity().is_some());
    let point = fixture.create(&database).unwrap();
    for path in files_below(point.dir()) {
        let data = path.metadata().unwrap();
        assert_eq!((data.uid(), data.gid(), data.mode() & 0o777), (0, 0, 0o600));
    }
    fixture.server.psql("app", "drop table samples cascade");
    fixture.restore(&point, &database).unwrap();
    assert_eq!(fixture.server.dump("app"), before);
    for path in files_below(point.dir()) {
        let data = path.metadata().unwrap();
        assert_eq!((data.uid(), data.gid(), data.mode() & 0o777), (0, 0, 0o600));
    }
    assert_eq!(point.dir().join("main").metadata().unwrap().mode() & 0o777, 0o700);
}

/// Rows 10 and 16.
#[test]
fn a_leftover_of_a_killed_run_is_labelled_and_never_found() {
    let fixture = Fixture::new();
    let dir = fixture.store().dir().join(".partial-20200101T000000Z-1.0");
    std::fs::create_dir(&dir).unwrap();
    let entry = fixture.store().list().unwrap().remove(0);
    assert_eq!(entry.status, Status::Partial);
    assert!(fixture.store().find("latest").is_err());
    assert!(entry.created.unwrap() < SystemTime::now());
}

#[test]
fn a_point_that_is_being_written_is_busy() {
    let fixture = Fixture::new();
    let gate = fixture.dir.path().join("go");
    let script = format!(
        "until [ -e {0} ]; do read -t 0.05 x < /dev/zero 2>/dev/null || sleep 0.05; done; exec $real \"$@\"",
        gate.display()
    );
    std::thread::scope(|scope| {
        let running = scope.spawn(|| fixture.create_with_client(&script));
        wait_for("the partial directory", || {
            fixture.store().list().unwrap().iter().any(|entry| entry.status == Status::Busy)
        });
        std::fs::write(&gate, "").unwrap();
        running.join().unwrap().unwrap();
    });
    assert_eq!(fixture.store().list().unwrap()[0].status, Status::Good);
}
