//! An answer that never came: what was done is asked of the server, not guessed.

use openwatch::database::swap::{End, Exchange, Server};

use super::database;
use crate::support::postgres::{self, wait_for};

/// The server has committed the renames and waits for a standby that does not exist; then the
/// connection is cut.
#[test]
fn an_exchange_whose_connection_is_lost_after_the_commit_is_known_to_be_done() {
    let server = postgres::Server::start();
    for name in ["app", "app_fresh", "other", "other_fresh"] {
        server.database(name);
    }
    let exchange = |name: &str| Exchange {
        name: name.into(),
        fresh: format!("{name}_fresh"),
        kept_as: Some(format!("{name}_old")),
        note: None,
    };
    let cut = |waiting: &str| {
        wait_for("the session that waits", || {
            server
                .psql("postgres", &format!("select count(*) from pg_stat_activity where {waiting}"))
                == "1"
        });
        let sql = format!("select pg_terminate_backend(pid) from pg_stat_activity where {waiting}");
        server.psql("postgres", &sql);
    };
    let app = database(&server, "app", "postgres");
    let mut beside = Server::beside(&app).unwrap();
    server.psql("postgres", "alter system set synchronous_standby_names = 'nobody'");
    server.psql("postgres", "select pg_reload_conf()");
    wait_for("the setting", || {
        server.psql("postgres", "show synchronous_standby_names") == "nobody"
    });
    std::thread::scope(|scope| {
        let run = scope.spawn(|| beside.exchange(&[exchange("app")], End::All));
        cut("wait_event = 'SyncRep'");
        run.join().unwrap().unwrap();
    });
    server.psql("postgres", "alter system reset synchronous_standby_names");
    server.psql("postgres", "select pg_reload_conf()");
    assert_eq!(
        server.psql("postgres", "select count(*) from pg_database where datname = 'app_old'"),
        "1"
    );
    // Cut before it could commit, it is told as it is.
    let holder = server
        .psql_command("postgres")
        .args([
            "-c",
            "begin; lock table pg_database in share row exclusive mode; select pg_sleep(600)",
        ])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn();
    let mut holder = holder.unwrap();
    wait_for("the lock", || {
        server
            .psql("postgres", "select count(*) from pg_stat_activity where wait_event = 'PgSleep'")
            == "1"
    });
    let mut beside = Server::beside(&database(&server, "other", "postgres")).unwrap();
    let error = std::thread::scope(|scope| {
        let run = scope.spawn(|| beside.exchange(&[exchange("other")], End::All));
        cut("wait_event_type = 'Lock' and query like 'begin;alter database%'");
        run.join().unwrap().unwrap_err()
    });
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_eq!(error.state_line(), Some("the present data is untouched"), "{error:?}");
    let there = "select count(*) from pg_database where datname = 'other_fresh'";
    assert_eq!(server.psql("postgres", there), "1");
}
