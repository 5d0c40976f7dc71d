//! Histories as other tools keep them in SQLite: what they wrote is read, and what we write is theirs.

use std::fs;
use std::process::Command;

use super::support::machine::TestMachine;
use super::support::peers;

/// A chain of two migrations in the files of a tool: those of the first, those of the second.
struct Chain {
    format: &'static str,
    first: [(&'static str, &'static str); 1],
    second: [(&'static str, &'static str); 1],
}

const UP: &str = "create table notes (id integer primary key, text text);";
const MORE: &str = "create trigger told after insert on notes begin select 1; end;";

const DBMATE: Chain = Chain {
    format: "dbmate",
    first: [(
        "0001_notes.sql",
        "-- migrate:up\ncreate table notes (id integer primary key, text text);\n-- migrate:down\ndrop table notes;\n",
    )],
    second: [(
        "0002_told.sql",
        "-- migrate:up\ncreate trigger told after insert on notes begin select 1; end;\n-- migrate:down\ndrop trigger told;\n",
    )],
};
const GOOSE: Chain = Chain {
    format: "goose",
    first: [(
        "00001_notes.sql",
        "-- +goose Up\ncreate table notes (id integer primary key, text text);\n-- +goose Down\ndrop table notes;\n",
    )],
    second: [(
        "00002_told.sql",
        "-- +goose Up\ncreate index told on notes (text);\n-- +goose Down\ndrop index told;\n",
    )],
};
const GOLANG_MIGRATE: Chain = Chain {
    format: "golang-migrate",
    first: [("1_notes.up.sql", UP)],
    second: [("2_told.up.sql", MORE)],
};
const SQLX: Chain =
    Chain { format: "sqlx", first: [("1_notes.sql", UP)], second: [("2_told.sql", MORE)] };
const REFINERY: Chain =
    Chain { format: "refinery", first: [("V1__notes.sql", UP)], second: [("V2__told.sql", MORE)] };
const DIESEL: Chain = Chain {
    format: "diesel",
    first: [("2026-01-01-000001_notes/up.sql", UP)],
    second: [("2026-01-01-000002_told/up.sql", MORE)],
};

fn write(machine: &TestMachine, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = machine.migrations("main").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// A machine with an empty file and the first migration of a chain.
fn with(chain: &Chain) -> TestMachine {
    let machine = TestMachine::with_files(&[], &["main"]);
    fs::remove_file(machine.file("main")).unwrap();
    fs::remove_dir_all(machine.migrations("main")).unwrap();
    let dir = machine.migrations("main");
    fs::create_dir_all(&dir).unwrap();
    let braces = format!("format = {:?}, dir = {dir:?}", chain.format);
    let machine = machine.migrated_by_for("main", &braces);
    write(&machine, &chain.first);
    machine
}

fn state(machine: &TestMachine) -> String {
    let (_, found) = machine.json(["migrate", "--status"]);
    let database = &found["databases"][0];
    format!("{} {}", database["state"].as_str().unwrap(), database["problems"])
}

#[test]
fn every_format_records_what_it_reads_again() {
    for chain in [DBMATE, GOOSE, GOLANG_MIGRATE, SQLX, REFINERY, DIESEL] {
        let machine = with(&chain);
        machine.run(["upgrade"]).success();
        assert_eq!(state(&machine), "current []", "{}", chain.format);
        write(&machine, &chain.second);
        assert!(state(&machine).starts_with("pending"), "{}", chain.format);
        machine.run(["upgrade", "--retry"]).success();
        assert_eq!(state(&machine), "current []", "{}", chain.format);
        assert_eq!(
            machine.query("main", "select count(*) from sqlite_schema where name = 'told'"),
            "1"
        );
        assert_eq!(machine.points().len(), 1, "{}", chain.format);
    }
}

#[test]
fn a_migration_can_be_marked_as_applied() {
    let machine = with(&DBMATE);
    machine.run(["upgrade"]).success();
    write(&machine, &DBMATE.second);
    machine.run(["migrate", "--mark-applied", "0002", "--yes"]).success();
    assert_eq!(state(&machine), "current []");
    assert_eq!(
        machine.query("main", "select count(*) from sqlite_schema where name = 'told'"),
        "0"
    );
}

/// The tables as the tools make them, word for word, with a first row.
#[test]
fn what_the_tools_wrote_is_read() {
    for (chain, history) in [
        (
            DBMATE,
            "CREATE TABLE IF NOT EXISTS \"schema_migrations\" (version varchar(128) primary key);\
             insert into schema_migrations (version) values ('0001')",
        ),
        (
            GOOSE,
            "CREATE TABLE goose_db_version (id INTEGER PRIMARY KEY AUTOINCREMENT, \
             version_id INTEGER NOT NULL, is_applied INTEGER NOT NULL, \
             tstamp TIMESTAMP DEFAULT (datetime('now')));\
             INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1), (1, 1)",
        ),
        (
            GOLANG_MIGRATE,
            "CREATE TABLE IF NOT EXISTS schema_migrations (version uint64,dirty bool);\
             CREATE UNIQUE INDEX IF NOT EXISTS version_unique ON schema_migrations (version);\
             INSERT INTO schema_migrations (version, dirty) VALUES (1, 0)",
        ),
    ] {
        let machine = with(&chain);
        machine.query("main", &format!("{UP}{history}"));
        write(&machine, &chain.second);
        assert!(state(&machine).starts_with("pending []"), "{} {}", chain.format, state(&machine));
        machine.run(["upgrade"]).success();
        assert_eq!(state(&machine), "current []", "{}", chain.format);
    }
}

/// A tool that `ci/peers` brings, told to migrate the file.
fn run(machine: &TestMachine, chain: &Chain) -> Option<()> {
    let (file, dir) = (machine.file("main"), machine.migrations("main"));
    let (url, dir) = (format!("sqlite:{}", file.display()), dir.display().to_string());
    let mut call = match chain.format {
        "dbmate" => {
            let mut call = Command::new(peers::tool("dbmate")?);
            call.args(["--url", &url, "--migrations-dir", &dir, "--no-dump-schema", "up"]);
            call
        }
        _ => {
            let mut call = Command::new(peers::tool("sqlx")?);
            call.args(["migrate", "run", "--source", &dir, "--database-url", &url]);
            call
        }
    };
    let output = call.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // Built for a server alone, as `ci/peers` builds some.
    if said.contains("no driver found") || said.contains("unsupported driver") {
        peers::left_out(&format!("{} knows no SQLite here: {said}", chain.format));
        return None;
    }
    assert!(output.status.success(), "{}: {said}", chain.format);
    Some(())
}

#[test]
fn dbmate_itself_goes_on_where_we_stopped_and_we_where_it_did() {
    let machine = with(&DBMATE);
    if run(&machine, &DBMATE).is_none() {
        return;
    }
    assert_eq!(state(&machine), "current []");
    write(&machine, &DBMATE.second);
    machine.run(["upgrade"]).success();
    assert_eq!(state(&machine), "current []");
    run(&machine, &DBMATE).unwrap();
    assert_eq!(machine.query("main", "select count(*) from schema_migrations"), "2");
}
