//! `--into NAME`: loaded beside the live database, which is left alone.

use openwatch::database::lacking::Owners;
use openwatch::outcome::Outcome;
use openwatch::progress::Silent;
use openwatch::restore_points::restore_into;

use super::support::postgres::Server;
use super::{database, databases, options, point, sums};

#[test]
fn the_live_database_and_its_sessions_are_left_alone() {
    let (server, dir) = (Server::start(), tempfile::tempdir().unwrap());
    server.database("app");
    server.psql("app", "create table t as select i from generate_series(1, 90) i");
    server.psql("postgres", "alter database app set work_mem = '3MB'");
    let before = sums(&server, "app");
    let live = database(&server, "app", "postgres");
    let point = point(&server, &live, &dir);
    server.psql("app", "delete from t where i > 50; create table since (id int)");
    let now = server.dump("app");
    let mut session = live.connect().unwrap();
    session.run("create temp table mine as select 1").unwrap();
    let left = restore_into(&point, &live, "app \"old\"", &options(&server, Owners::Kept), &Silent);
    assert_eq!(left.unwrap(), Vec::<String>::new());
    assert_eq!(sums(&server, "app \"old\""), before);
    assert_eq!(server.psql("app \"old\"", "show work_mem"), "3MB");
    assert_eq!(server.dump("app"), now);
    session.run("select * from mine").unwrap();
    assert_eq!(databases(&server), ["app", "app \"old\"", "postgres"]);
}

#[test]
fn a_name_that_is_taken_is_refused() {
    let (server, dir) = (Server::start(), tempfile::tempdir().unwrap());
    server.database("app");
    server.psql("app", "create table t (id int)");
    let live = database(&server, "app", "postgres");
    let point = point(&server, &live, &dir);
    for name in ["app", "postgres", "", &"x".repeat(64)] {
        let error = restore_into(&point, &live, name, &options(&server, Owners::Kept), &Silent)
            .unwrap_err();
        assert_eq!(error.outcome(), Outcome::Refused, "{error:?}");
        assert_eq!(error.state_line(), Some("nothing was changed"), "{error:?}");
    }
    assert_eq!(databases(&server), ["app", "postgres"]);
}

#[test]
fn a_role_that_may_not_create_databases_is_refused() {
    let (server, dir) = (Server::start(), tempfile::tempdir().unwrap());
    server.psql("postgres", "create role plain login");
    server.psql("postgres", "create database app owner plain");
    let live = database(&server, "app", "plain");
    let point = point(&server, &live, &dir);
    let error = restore_into(&point, &live, "beside", &options(&server, Owners::Kept), &Silent)
        .unwrap_err();
    assert!(error.message().contains("plain may not create databases"), "{error:?}");
}
