//! No byte of the data lies in clear on the disk: not in the restore point, not beside it, not while
//! it is made.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use openwatch::database::clients::Clients;
use openwatch::database::{Database, Source};
use openwatch::progress::Silent;
use openwatch::restore_points::{Keyring, Reason, Request, SchemaNote, Store, Target};
use openwatch::system::clock::Clock;
use openwatch::system::encryption::Recipient;

use super::keys::{MAGIC, RECIPIENT, encrypting, identity_file, with_identity};
use crate::support::machine::{TestMachine, tree};
use crate::support::postgres::{Server, wait_for};

/// A table's name and a row's value that are nowhere else.
pub const NEEDLES: [&str; 2] = ["n4me_of_a_table", "v4lue-of-a-row"];

/// Puts the needles into the first database of a machine.
pub fn plant(machine: &TestMachine) {
    let [table, value] = NEEDLES;
    machine.sql(&format!(
        "create table {table} (id int primary key, v text);
         insert into {table} select n, '{value} ' || n from generate_series(1, 3000) n"
    ));
}

/// Fails where a file holds a needle, or could be an archive of a client.
pub fn assert_nothing_in_clear(files: &BTreeMap<PathBuf, (u32, Vec<u8>)>) {
    for (path, (_, content)) in files {
        for needle in NEEDLES.iter().copied().chain(["PGDMP"]) {
            let held = content.windows(needle.len()).any(|window| window == needle.as_bytes());
            assert!(!held, "{} holds {needle}", path.display());
        }
    }
}

/// Fails where a restore point holds anything else than encrypted files, the manifest and the sums.
fn assert_encrypted(point: &Path) {
    let mut encrypted = 0;
    for (path, (mode, content)) in tree(point) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(mode & 0o077, 0, "{name} can be read by others");
        if name.ends_with(".age") {
            assert!(content.starts_with(MAGIC), "{name} is not encrypted");
            encrypted += 1;
        } else {
            assert!(["manifest.json", "SHA256SUMS"].contains(&name.as_str()), "{name}");
        }
    }
    assert!(encrypted >= 2, "archive and contents");
}

#[test]
fn a_restore_point_holds_encrypted_files_and_what_retention_needs() {
    let machine = encrypting();
    plant(&machine);
    machine.run(["backup", "create"]).success();
    let point = machine.backups().join(&machine.points()[0]);
    assert_encrypted(&point);
    assert_nothing_in_clear(&tree(&machine.root()));
    let (_, shown) = machine.json(["backup", "show"]);
    assert_eq!(shown["restore_point"]["encryption"]["recipients"][0], RECIPIENT);
    assert_eq!(shown["restore_point"]["format"], 2);
    let (_, listed) = machine.json(["backup", "list"]);
    assert_eq!(listed["restore_points"][0]["state"], "good");
    machine.assert_clean();
}

/// The stream arrives whole at a client that then does not end, so that the moment stands still.
#[test]
fn nothing_lies_in_clear_while_a_restore_point_is_made() {
    let server = Server::start();
    let conninfo = server.database("app");
    let [table, value] = NEEDLES;
    server.psql(
        "app",
        &format!(
            "create table {table} (v text);
             insert into {table} select '{value} ' || n from generate_series(1, 20000) n"
        ),
    );
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("client");
    fs::create_dir(&bin).unwrap();
    let real = server.bin().display();
    let (arrived, go_on) = (dir.path().join("arrived"), dir.path().join("go-on"));
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in --version | *--host=/nonexistent*) exec {real}/pg_dump \"$@\";; esac\n\
         {real}/pg_dump \"$@\" || exit 1\ntouch {}\nwhile [ ! -e {} ]; do sleep 0.1; done\n",
        arrived.display(),
        go_on.display()
    );
    fs::write(bin.join("pg_dump"), script).unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(bin.join("pg_dump"), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink(server.bin().join("pg_restore"), bin.join("pg_restore")).unwrap();
    let source = Source { name: "main".into(), conninfo: Some(conninfo), ..Source::default() };
    let database = Database::resolve(&source).unwrap();
    let keys = Keyring::new(vec![Recipient::parse(RECIPIENT).unwrap()], None, None);
    let store = Store::open(&dir.path().join("backups"), "app").unwrap().with_keyring(keys);
    let request = Request {
        reason: Reason::Manual,
        from_version: None,
        to_version: None,
        databases: vec![Target { database: &database, schema: SchemaNote::default() }],
        reserve: 0,
        lock_wait: Duration::from_secs(1),
        clock: Clock::System,
        clients: Clients::In(vec![bin]),
    };
    std::thread::scope(|scope| {
        let running = scope.spawn(|| store.create(&request, &Silent));
        wait_for("the stream", || arrived.exists() || running.is_finished());
        let found = tree(store.dir());
        fs::write(&go_on, "").unwrap();
        assert!(found.keys().any(|path| path.ends_with("main.dump.age")), "{:?}", found.keys());
        assert_nothing_in_clear(&found);
        let point = running.join().unwrap().unwrap();
        assert_encrypted(point.dir());
    });
}

/// What the server says about rows that do not load quotes them; the manifest is in clear.
#[test]
fn a_trial_that_fails_is_noted_without_the_servers_words() {
    let machine = encrypting();
    let [table, value] = NEEDLES;
    machine.sql(&format!(
        "create table {table} (v text primary key); insert into {table} values ('{value}');
         create table child (v text references {table}); insert into child values ('{value}');
         set session_replication_role = replica; delete from {table}"
    ));
    machine.run(["backup", "create"]).success();
    let identity = identity_file(&machine, "identity", super::keys::SECRET);
    let ended = machine.run(with_identity(&["backup", "verify", "--restore"], &identity)).failure();
    let said = String::from_utf8_lossy(&ended.get_output().stderr).into_owned();
    assert!(said.contains(table), "the failure is told to who has the identity: {said}");
    let point = machine.backups().join(&machine.points()[0]);
    assert!(
        std::fs::read_to_string(point.join("manifest.json")).unwrap().contains("another trial")
    );
    assert_nothing_in_clear(&tree(&machine.root()));
    // Cured, it loads; the next point is proven as one in clear would be.
    machine.sql("delete from child");
    machine.run(["backup", "create"]).success();
    machine.run(with_identity(&["backup", "verify", "--restore"], &identity)).success();
    let (_, shown) = machine.json(["backup", "show"]);
    assert_eq!(shown["restore_point"]["proof"], "restored");
}

/// Who has the identity needs nothing of ours: the files are what `age` and `pg_restore` read.
#[test]
fn age_and_pg_restore_alone_read_the_archive() {
    if Command::new("age").arg("--version").output().is_err() {
        crate::support::peers::left_out("age is not installed");
        return;
    }
    let machine = encrypting();
    plant(&machine);
    machine.run(["backup", "create"]).success();
    let archive = machine.backups().join(&machine.points()[0]).join("main.dump.age");
    let identity = identity_file(&machine, "identity", super::keys::SECRET);
    let opened = Command::new("sh")
        .args(["-c", "age -d -i \"$1\" \"$2\" | \"$3\"/pg_restore -f -", "sh"])
        .args([identity.as_path(), &archive, machine.server().bin()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&opened.stdout);
    assert!(opened.status.success() && text.contains(NEEDLES[1]), "{opened:?}");
}

/// Opens the newest restore point with the identity, and returns what was said.
pub fn verified(machine: &TestMachine, identity: &Path) -> String {
    let ended = machine.run(with_identity(&["backup", "verify"], identity)).success();
    String::from_utf8_lossy(&ended.get_output().stdout).into_owned()
}

/// Loading through a pipe has the limit that loading a directory has.
#[test]
fn a_load_of_an_encrypted_point_that_takes_too_long_is_ended() {
    let machine = encrypting().ship("good").operator("verify = \"restore\"");
    let machine = machine.operator("verify_limit = \"1s\"");
    machine.sql(
        "create function waits() returns bool language plpgsql as 'begin
           if current_database() ~ ''_trial_'' then perform pg_sleep(3600); end if; return true; end';
         alter table machines add constraint waiting check (waits())",
    );
    machine
        .run(["upgrade"])
        .success()
        .stderr(predicates::str::contains("not restored, and the upgrade goes on: it took longer"));
    assert_eq!(machine.schema(), "0004");
    assert_eq!(machine.json(["backup", "list"]).1["restore_points"][0]["proof"], "read_back");
    machine.assert_clean();
}

/// A clone lies on the server; what its directory says of it until its dump is made names no table, and
/// the files that travel with it are in the dump although no identity was at hand.
#[test]
fn of_a_clone_nothing_lies_in_clear_either_and_its_dump_has_the_files_that_travel() {
    let machine = encrypting().operator("restore_point = \"clone\"");
    let key = machine.dir().join("key");
    fs::write(&key, NEEDLES[1]).unwrap();
    let machine = machine.operator(&format!("keep_files = [{key:?}]"));
    plant(&machine);
    let machine = machine
        .migration("0003_alone.sql", "-- openwatch: no-transaction\nCREATE TABLE half (id int);\n")
        .migration("0004_divides.sql", "SELECT 1 / 0;\n");
    machine.run(["upgrade"]).code(7);
    let (_, listed) = machine.json(["backup", "list"]);
    assert_eq!(listed["restore_points"][0]["kind"], "clone", "{listed}");
    assert_nothing_in_clear(&tree(&machine.backups()));
    let machine = machine.migration("0004_divides.sql", "SELECT 1;\n");
    machine.run(["upgrade", "--retry"]).success();
    machine.run(["backup", "prune"]).success();
    let ids = machine.points();
    assert_eq!(ids.len(), 2);
    for id in &ids {
        assert_encrypted(&machine.backups().join(id));
    }
    // The identity shows that the copy is the file.
    let identity = identity_file(&machine, "identity", super::keys::SECRET);
    fs::write(&key, "another key").unwrap();
    let machine = machine.with_unit("openwatch.service", "inactive");
    let words = ["restore", "latest", "--with-files", "--yes"];
    machine.run(with_identity(&words, &identity)).success();
    assert_eq!(fs::read_to_string(&key).unwrap(), NEEDLES[1]);
}
