//! Putting a restore point back: what the server must have first, beside the live database, what of
//! the present state is kept, and the files that travel along. Restores are compared by dump, and by
//! row counts and checksums per table.

#![allow(unreachable_pub, reason = "the shared support module is public to every test binary")]

#[path = "../support/mod.rs"]
mod support;

mod beside;
mod extensions;
mod files;
mod fresh_server;
mod half;
mod hosts;
mod lacking;
mod lost;
mod present;
mod replaced;
mod replication;

use std::time::Duration;

use assert_cmd::assert::Assert;
use openwatch::config::ForeignSessions;
use openwatch::database::clients::Clients;
use openwatch::database::lacking::Owners;
use openwatch::database::{Database, Source};
use openwatch::error::Error;
use openwatch::progress::Silent;
use openwatch::restore_points::{
    Override, Reason, Request, RestoreOptions, RestorePoint, SchemaNote, Store, Target,
};
use openwatch::system::clock::Clock;
use openwatch::version::Version;
use support::postgres::Server;

/// Connects to a database of a server as this role.
fn database(server: &Server, dbname: &str, role: &str) -> Database {
    let conninfo = format!("host={} dbname='{dbname}' user={role}", server.socket().display());
    Database::resolve(&Source {
        name: "main".into(),
        conninfo: Some(conninfo),
        ..Source::default()
    })
    .unwrap()
}

/// Makes a restore point of one database in a store below `dir`.
fn point(server: &Server, database: &Database, dir: &tempfile::TempDir) -> RestorePoint {
    let store = Store::open(&dir.path().join("backups"), "app").unwrap();
    let request = Request {
        reason: Reason::Manual,
        from_version: Some(Version::new("1.0-1")),
        to_version: None,
        databases: vec![Target { database, schema: SchemaNote::default() }],
        reserve: 0,
        lock_wait: Duration::from_secs(1),
        clock: Clock::System,
        clients: Clients::In(vec![server.bin().to_owned()]),
    };
    store.create(&request, &Silent).unwrap()
}

fn options(server: &Server, owners: Owners) -> RestoreOptions {
    RestoreOptions {
        foreign: Override::AcceptForeign,
        sessions: ForeignSessions::Refuse,
        owners,
        clock: Clock::System,
        clients: Clients::In(vec![server.bin().to_owned()]),
    }
}

/// What a run of the program said.
fn told(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

fn details(error: &Error) -> String {
    error.details().join("\n")
}

/// Rows and a checksum of every table that the application made.
fn sums(server: &Server, dbname: &str) -> String {
    let tables = server.psql(
        dbname,
        "select format('%I.%I', schemaname, tablename) from pg_tables
          where schemaname !~ '^pg_' and schemaname <> 'information_schema' order by 1",
    );
    let mut lines = Vec::new();
    for table in tables.lines() {
        let sql = format!(
            "select '{table} ' || count(*) || ' ' || md5(coalesce(string_agg(t::text, E'\\n'
               order by t::text), '')) from {table} t"
        );
        lines.push(server.psql(dbname, &sql));
    }
    lines.join("\n")
}

/// The databases of a server that are no templates.
fn databases(server: &Server) -> Vec<String> {
    let sql = "select datname from pg_database where not datistemplate order by 1";
    server.psql("postgres", sql).lines().map(str::to_owned).collect()
}
