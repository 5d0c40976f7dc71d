//! A server that has nothing of what a dump takes for granted: roles, settings, tablespaces.

use openwatch::database::lacking::Owners;
use openwatch::outcome::Outcome;
use openwatch::progress::Silent;
use openwatch::restore_points::{check, restore};

use super::support::postgres::{Server, is_root};
use super::{database, databases, details, options, point, sums};

const WORLD: &str = "
    create role \"app owner\" login createdb password 'geheim-1';
    create role reader nologin; create role \"o'malley\" login in role reader connection limit 3;
    alter role \"app owner\" set work_mem = '5MB';
    alter role \"app owner\" set search_path = \"$user\", public;
    alter role \"app owner\" set app.token = 'geheim-2';
    create database app owner \"app owner\" template template0 encoding 'UTF8' lc_collate 'C' lc_ctype 'C';
    alter database app set timezone = 'Pacific/Auckland';
    alter role reader in database app set statement_timeout = '7s';
    revoke connect on database app from public; grant connect on database app to reader;
    comment on database app is 'it''s ours'";

const TABLES: &str = "
    set role \"app owner\";
    create table hosts (id int primary key, name text);
    insert into hosts select i, 'host ' || i from generate_series(1, 300) i;
    grant select on hosts to reader;
    create function twice(i int) returns int language sql as 'select i * 2';";

fn world(server: &Server) {
    for statement in WORLD.split(';') {
        server.psql("postgres", statement);
    }
    server.psql("app", TABLES);
}

fn roles(server: &Server) -> String {
    server.psql(
        "postgres",
        "select rolname, rolcanlogin, rolcreatedb, rolconnlimit, rolconfig,
                array(select roleid::regrole from pg_auth_members m where m.member = r.oid)
           from pg_roles r where rolname !~ '^pg_' order by 1",
    )
}

fn settings(server: &Server) -> String {
    server.psql(
        "postgres",
        "select datdba::regrole, pg_encoding_to_char(encoding), datcollate, datacl,
                shobj_description(oid, 'pg_database'),
                array(select concat(setrole::regrole, setconfig) from pg_db_role_setting s
                       where s.setdatabase = d.oid order by 1)
           from pg_database d where datname = 'app'",
    )
}

#[test]
fn what_a_fresh_server_lacks_is_told_at_once_and_the_printed_statements_mend_it() {
    let (old, new, dir) = (Server::start(), Server::start(), tempfile::tempdir().unwrap());
    world(&old);
    let point = point(&old, &database(&old, "app", "postgres"), &dir);
    let target = database(&new, "app", "postgres");
    let options = options(&new, Owners::Kept);
    let error = restore(&point, &[&target], &options, &Silent).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Refused, "{error:?}");
    let told = details(&error);
    assert!(told.contains("the server has no role app owner"), "{told}");
    assert!(told.contains("the server has no role reader"), "{told}");
    assert!(!told.contains("geheim"), "{told}");
    assert!(error.hint_line().unwrap().contains("--no-owner"), "{error:?}");
    assert_eq!(databases(&new), ["postgres"]);
    // As printed, but for the value that is not shown.
    for statement in error.details().iter().filter(|line| line.contains(';')) {
        if !statement.contains('…') {
            new.psql("postgres", statement);
        }
    }
    check(&point, &[&target], &options).unwrap();
    let restored = restore(&point, &[&target], &options, &Silent).unwrap();
    assert_eq!(restored.left, Vec::<String>::new());
    old.psql("postgres", "alter role \"app owner\" reset app.token");
    assert_eq!(roles(&new), roles(&old));
    assert_eq!(settings(&new), settings(&old));
    assert_eq!(new.dump("app"), old.dump("app"));
    assert_eq!(sums(&new, "app"), sums(&old, "app"));
}

#[test]
fn without_owners_a_restore_needs_none_of_the_roles() {
    let (old, new, dir) = (Server::start(), Server::start(), tempfile::tempdir().unwrap());
    world(&old);
    let point = point(&old, &database(&old, "app", "postgres"), &dir);
    let target = database(&new, "app", "postgres");
    restore(&point, &[&target], &options(&new, Owners::LeftOut), &Silent).unwrap();
    assert_eq!(sums(&new, "app"), sums(&old, "app"));
    let sql = "select distinct tableowner from pg_tables where schemaname = 'public'";
    assert_eq!(new.psql("app", sql), "postgres");
}

/// In a policy the role cannot be left out.
#[test]
fn a_role_that_a_policy_names_is_needed_even_without_owners() {
    let (old, new, dir) = (Server::start(), Server::start(), tempfile::tempdir().unwrap());
    world(&old);
    old.psql(
        "app",
        "alter table hosts enable row level security;
         create policy few on hosts to reader using (id < 10)",
    );
    let point = point(&old, &database(&old, "app", "postgres"), &dir);
    let target = database(&new, "app", "postgres");
    let error = restore(&point, &[&target], &options(&new, Owners::LeftOut), &Silent).unwrap_err();
    let lines = error.details();
    let wanted: Vec<&String> =
        lines.iter().filter(|line| line.starts_with("the server has no role")).collect();
    assert_eq!(wanted, ["the server has no role reader"], "{error:?}");
}

#[test]
fn a_tablespace_that_is_not_there_is_named_with_its_directory() {
    let (old, new, dir) = (Server::start(), Server::start(), tempfile::tempdir().unwrap());
    let place = old.socket().join("fast");
    std::fs::create_dir(&place).unwrap();
    if is_root() {
        let owner = std::process::Command::new("chown").arg("postgres").arg(&place).status();
        assert!(owner.unwrap().success());
    }
    old.psql("postgres", &format!("create tablespace fast location '{}'", place.display()));
    old.database("app");
    old.psql("app", "create table hot (id int) tablespace fast; insert into hot values (1)");
    let point = point(&old, &database(&old, "app", "postgres"), &dir);
    let target = database(&new, "app", "postgres");
    let error = restore(&point, &[&target], &options(&new, Owners::Kept), &Silent).unwrap_err();
    let told = details(&error);
    assert!(told.contains("the server has no tablespace fast"), "{told}");
    assert!(told.contains(&format!("location '{}'", place.display())), "{told}");
    restore(&point, &[&target], &options(&new, Owners::LeftOut), &Silent).unwrap();
    assert_eq!(sums(&new, "app"), sums(&old, "app"));
}

/// The file of the restore point names an extension that no server offers.
#[test]
fn an_extension_that_the_server_does_not_offer_is_named_before_anything_starts() {
    let (server, dir) = (Server::start(), tempfile::tempdir().unwrap());
    server.database("app");
    server.psql("app", "create table kept (id int)");
    let target = database(&server, "app", "postgres");
    let point = point(&server, &target, &dir);
    let globals = point.dir().join("main.globals.json");
    let text = std::fs::read_to_string(&globals).unwrap();
    let text = text.replace("\"name\":\"plpgsql\"", "\"name\":\"no_such_extension\"");
    std::fs::write(&globals, text).unwrap();
    let error = check(&point, &[&target], &options(&server, Owners::Kept)).unwrap_err();
    assert_eq!(details(&error), "the server does not offer the extension no_such_extension");
    assert!(error.hint_line().unwrap().contains("no_such_extension"), "{error:?}");
}

/// Owner of the tables is a role that ours may not act for: found before anything is loaded.
#[test]
fn a_role_that_may_not_act_for_an_owner_is_told_what_it_needs() {
    let (server, dir) = (Server::start(), tempfile::tempdir().unwrap());
    world(&server);
    let point = point(&server, &database(&server, "app", "postgres"), &dir);
    server.psql("postgres", "create role other login createdb");
    let before = sums(&server, "app");
    let target = database(&server, "app", "other");
    server.psql("postgres", "grant connect on database app to other");
    let error = check(&point, &[&target], &options(&server, Owners::Kept)).unwrap_err();
    let told = details(&error);
    assert!(told.contains("the role other may not act for app owner"), "{told}");
    let grant = "grant \"app owner\" to \"other\";";
    assert!(told.contains(grant), "{told}");
    // It does not own the database yet, so it would have to drop tables of others.
    assert!(!error.hint_line().unwrap().contains("--no-owner"), "{error:?}");
    server.psql("postgres", grant);
    server.psql("app", "delete from hosts");
    restore(&point, &[&target], &options(&server, Owners::Kept), &Silent).unwrap();
    assert_eq!(sums(&server, "app"), before);
}

/// Restore points from before this was recorded are restored as ever.
#[test]
fn a_point_without_this_file_is_restored() {
    let (server, dir) = (Server::start(), tempfile::tempdir().unwrap());
    server.database("app");
    server.psql("app", "create table kept as select 7 as id");
    let target = database(&server, "app", "postgres");
    let mut point = point(&server, &target, &dir);
    std::fs::remove_file(point.dir().join("main.globals.json")).unwrap();
    point = resealed(point);
    server.psql("app", "drop table kept");
    restore(&point, &[&target], &options(&server, Owners::Kept), &Silent).unwrap();
    assert_eq!(server.psql("app", "select id from kept"), "7");
}

/// Writes sums and manifest anew, as the program before would have.
fn resealed(
    point: openwatch::restore_points::RestorePoint,
) -> openwatch::restore_points::RestorePoint {
    use openwatch::restore_points::Store;
    use sha2::Digest as _;
    let dir = point.dir().to_owned();
    let sums = std::fs::read_to_string(dir.join("SHA256SUMS")).unwrap();
    let kept: String =
        sums.lines().filter(|l| !l.contains("globals")).map(|l| format!("{l}\n")).collect();
    std::fs::write(dir.join("SHA256SUMS"), &kept).unwrap();
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.join("manifest.json")).unwrap()).unwrap();
    manifest["sums_sha256"] = hex::encode(sha2::Sha256::digest(kept.as_bytes())).into();
    let files = |dir: &std::path::Path| -> u64 {
        let mut bytes = 0;
        let mut todo = vec![dir.to_owned()];
        while let Some(dir) = todo.pop() {
            for entry in std::fs::read_dir(dir).unwrap().flatten() {
                match entry.metadata().unwrap() {
                    data if data.is_dir() => todo.push(entry.path()),
                    _ if entry.file_name() == "manifest.json" => {}
                    data => bytes += data.len(),
                }
            }
        }
        bytes
    };
    manifest["bytes"] = files(&dir).into();
    std::fs::write(dir.join("manifest.json"), manifest.to_string()).unwrap();
    Store::open(dir.parent().unwrap(), "app").unwrap().find("latest").unwrap()
}
