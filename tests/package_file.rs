//! A package file that is not installed: shown as it would be, and never trusted.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use assert_cmd::assert::Assert;
use openwatch::package::{Family, Limits, PackageFile, Wanted};
use predicates::str::{contains, starts_with};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::archives::{
    Tag, What, cpio, deb, deb_of, deb_with, file, gzip, item, rpm, rpm_of, tar,
};
use support::machine::{TestMachine, message, program};
use support::packages::{Desk, SETTINGS, content, with, without};

fn answer(assert: &Assert) -> Value {
    serde_json::from_slice(&assert.get_output().stdout).unwrap()
}

/// Asserts what `--status --package` says of a package with the sets base and good.
#[track_caller]
fn assert_two_pending(machine: &TestMachine, desk: &Desk, package: &str) {
    let assert = desk.look(machine, &["migrate", "--status", "--package", package, "--json"]);
    let assert = assert.success();
    let found = answer(&assert);
    assert_eq!(found["package_version"], "3.0.0", "{found}");
    assert_eq!(found["package_file"], package);
    assert_eq!(found["installed_version"], "2.0.0-1");
    let database = &found["databases"][0];
    assert_eq!(database["state"], "pending");
    assert_eq!(database["applied"], 2);
    assert_eq!(
        database["pending"],
        json!([
            {"version": "0003", "name": "owner", "transactional": true},
            {"version": "0004", "name": "index_readings", "transactional": true},
        ])
    );
}

#[test]
fn status_of_a_package_file_shows_exactly_what_is_pending() {
    let (machine, desk) = (TestMachine::new(), Desk::new());
    let before = machine.data();
    let items = content(&["base", "good"]);
    for (name, bytes) in
        [("new.deb", deb("openwatch", &items)), ("new.rpm", rpm("openwatch", &items))]
    {
        let package = desk.put(name, &bytes);
        assert_two_pending(&machine, &desk, &package);
        desk.look(&machine, &["migrate", "--status", "--package", &package])
            .success()
            .stdout(starts_with(format!(
                "about {package}, version 3.0.0 of openwatch; version 2.0.0-1 is installed\n\
                 main: pending, schema 0002, package 3.0.0 has 0004, 2 applied, 2 pending\n"
            )))
            .stdout(contains("  pending  0003  owner\n  pending  0004  index_readings"));
    }
    assert_eq!(machine.data(), before);
    assert_eq!(machine.schema(), "0002");
}

#[test]
fn check_dry_run_and_preflight_look_into_the_package_too() {
    let (machine, desk) = (TestMachine::new(), Desk::new());
    let package = desk.put("new.deb", &deb("openwatch", &content(&["base", "good"])));
    desk.look(&machine, &["migrate", "--check", "--package", &package]).code(10);
    desk.look(&machine, &["migrate", "--dry-run", "--package", &package])
        .success()
        .stdout(contains("main: would apply 0003 0004; restore point: dump"));
    let assert = desk.look(&machine, &["preflight", "--package", &package, "--json"]).success();
    assert_eq!(answer(&assert)["package_version"], "3.0.0");
    desk.look(&machine, &["preflight", "--package", &package])
        .success()
        .stdout(contains("openwatch 2.0.0-1 -> 3.0.0\n  stop:    openwatch.service"))
        .stdout(contains("  migrate: main: 0003 0004\n"))
        .stdout(contains("an upgrade can begin"));
    let plan = desk.look(&machine, &["upgrade", "--plan", "--package", &package]).success();
    plan.stdout(contains("  migrate: main: 0003 0004\n"));
    desk.look(&machine, &["upgrade", "--package", &package]).code(2);
    let current = desk.put("same.deb", &deb("openwatch", &content(&["base"])));
    desk.look(&machine, &["migrate", "--check", "--package", &current]).success();
    assert_eq!(machine.schema(), "0002");
}

#[test]
fn migrations_of_other_tools_are_read_out_of_a_package_with_all_their_directories() {
    let (machine, desk) = (TestMachine::new(), Desk::new());
    machine.sql(
        "create table __diesel_schema_migrations (version varchar(50) primary key, \
           run_on timestamp not null default now()); \
         insert into __diesel_schema_migrations values ('20260101')",
    );
    let place = "./usr/share/openwatch/migrations";
    let mut items = content(&[]);
    items = with(
        items,
        file("./usr/share/openwatch/upgrade.conf", SETTINGS.replace("\"plain\"", "\"diesel\"")),
    );
    for (name, text) in [
        ("2026-01-01_first/up.sql", "create table a ()"),
        ("2026-01-02_hosts/up.sql", "create table b ()"),
        ("2026-01-03_index/up.sql", "create index concurrently i on b (id)"),
        ("2026-01-03_index/metadata.toml", "run_in_transaction = false"),
    ] {
        items = with(items, file(&format!("{place}/{name}"), text));
    }
    for (name, bytes) in
        [("new.deb", deb("openwatch", &items)), ("new.rpm", rpm("openwatch", &items))]
    {
        let package = desk.put(name, &bytes);
        let words = ["migrate", "--status", "--package", &package, "--json"];
        let database = &answer(&desk.look(&machine, &words).success())["databases"][0];
        assert_eq!(
            (&database["state"], &database["applied"], &database["pending"]),
            (
                &json!("pending"),
                &json!(1),
                &json!([
                    {"version": "20260102", "name": "hosts", "transactional": true},
                    {"version": "20260103", "name": "index", "transactional": false},
                ])
            ),
            "{database}"
        );
    }
}

#[test]
fn a_package_file_is_never_applied() {
    let (machine, desk) = (TestMachine::new(), Desk::new());
    let package = desk.put("new.deb", &deb("openwatch", &content(&["base", "good"])));
    let assert = desk.look(&machine, &["migrate", "--package", &package]).code(2);
    let told = message(&assert);
    let first = format!("the migrations of {package} cannot be applied: it is not installed");
    assert_eq!((told.first, told.state.as_str()), (first, "nothing was changed"));
    assert_eq!(machine.schema(), "0002");
}

#[test]
fn a_package_whose_required_stop_is_newer_than_what_is_installed_is_refused_by_preflight() {
    let (machine, desk) = (TestMachine::new(), Desk::new());
    let settings = SETTINGS.replacen("[app]\n", "[app]\nmin_upgrade_from = \"2.5.0\"\n", 1);
    let items =
        with(content(&["base", "good"]), file("./usr/share/openwatch/upgrade.conf", settings));
    let package = desk.put("new.rpm", &rpm("openwatch", &items));
    let assert = desk.look(&machine, &["preflight", "--package", &package]).code(5);
    assert_eq!(message(&assert).first, "version 2.0.0-1 cannot be upgraded to 3.0.0 in one step");
}

#[test]
fn a_package_that_changed_an_applied_migration_is_told_as_divergent() {
    let (machine, desk) = (TestMachine::new(), Desk::new());
    let items = with(
        content(&["base"]),
        file("./usr/share/openwatch/migrations/0002_readings.sql", "select 'other';\n"),
    );
    let package = desk.put("new.deb", &deb("openwatch", &items));
    desk.look(&machine, &["migrate", "--check", "--package", &package])
        .code(11)
        .stdout(contains("0002"));
}

#[test]
fn without_a_version_file_the_package_s_own_version_counts() {
    let (machine, desk) = (TestMachine::new(), Desk::new());
    let items = without(content(&["base"]), "./usr/share/openwatch/version");
    for (name, bytes) in
        [("new.deb", deb("openwatch", &items)), ("new.rpm", rpm("openwatch", &items))]
    {
        let package = desk.put(name, &bytes);
        let assert = desk.look(&machine, &["migrate", "--status", "--package", &package, "--json"]);
        assert_eq!(answer(&assert)["package_version"], "3.0.0-1");
    }
}

#[test]
fn the_operator_s_half_stays_that_of_the_machine() {
    let (machine, desk) = (TestMachine::new(), Desk::new());
    let items = with(
        content(&["base", "good"]),
        file("./etc/openwatch/upgrade.conf", "auto_backup = nonsense\n"),
    );
    let package = desk.put("new.deb", &deb("openwatch", &items));
    assert_two_pending(&machine, &desk, &package);
}

/// A root with secrets, for refusals that come before any database is asked.
fn bare_root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("etc/openwatch")).unwrap();
    fs::write(root.path().join("etc/openwatch/secrets.env"), "MAIN_DSN=host=/nowhere\n").unwrap();
    root
}

/// Asserts a refusal of four lines that says that nothing was changed.
#[track_caller]
fn assert_refused(desk: &Desk, root: &Path, package: &str, code: i32, reason: &str) {
    let words = ["migrate", "--status", "--package", package];
    let told = message(&desk.look_at(root, &words).code(code));
    let first = told.first.replace(package, "FILE");
    assert!(first.contains(reason), "{first}\n  instead of {reason}");
    assert_eq!(told.state, "nothing was changed", "{first}");
    assert!(!told.hint.is_empty(), "{first}");
    assert!(!first.contains("openwatch-package-"), "{first}");
}

#[test]
fn hostile_packages_are_refused_and_write_nothing() {
    let (desk, root) = (Desk::new(), bare_root());
    let good = content(&["base"]);
    let migration = "./usr/share/openwatch/migrations/0003_x.sql";
    let link = || What::Symlink("/etc".into());
    for (new, reason) in [
        (file("./../../tmp/ow-escaped", "x"), "leaves the package's own tree"),
        (file("./usr/share/openwatch/migrations/../../../../../tmp/ow-escaped", "x"), "leaves"),
        (file("/tmp/ow-escaped", "x"), "the entry \"/tmp/ow-escaped\" has an absolute path"),
        (item(migration, link()), "/usr/share/openwatch/migrations/0003_x.sql is a symbolic link"),
        (item(migration, What::HardLink("./usr/bin/openwatch".into())), "is a hard link"),
        (item(migration, What::Device), "is a device"),
        (item(migration, What::Pipe), "is a pipe"),
        (item(migration, What::Claim(600 << 20)), "is damaged: it ends too early"),
        (item("./usr/share/openwatch", link()), "/usr/share/openwatch is a symbolic link"),
        (item("./usr/share/openwatch/upgrade.conf", link()), "upgrade.conf is a symbolic link"),
        (item("./usr/share/openwatch/migrations/", link()), "migrations is a symbolic link"),
    ] {
        let items = with(good.clone(), new);
        for (name, bytes) in
            [("bad.deb", deb("openwatch", &items)), ("bad.rpm", rpm("openwatch", &items))]
        {
            let package = desk.put(name, &bytes);
            assert_refused(&desk, root.path(), &package, 3, reason);
        }
    }
    let mut twice = good.clone();
    twice.push(file("usr/share/openwatch/migrations/0001_machines.sql", "drop table machines;"));
    let package = desk.put("twice.deb", &deb("openwatch", &twice));
    assert_refused(&desk, root.path(), &package, 3, "0001_machines.sql twice");
    let long = format!("./{}", "a/".repeat(3000));
    let package = desk.put("long.deb", &deb("openwatch", &with(good, file(&long, "x"))));
    assert_refused(&desk, root.path(), &package, 3, "has a name of more than 4096 bytes");
    assert!(!Path::new("/tmp/ow-escaped").exists());
}

#[test]
fn packages_that_are_something_else_are_refused_by_name() {
    let (desk, root) = (Desk::new(), bare_root());
    let good = content(&["base"]);
    let conf = |text: &str| with(good.clone(), file("./usr/share/openwatch/upgrade.conf", text));
    let outside = SETTINGS.replace("/usr/share/openwatch/migrations", "/usr");
    for (items, reason) in [
        (
            without(good.clone(), "./usr/share/openwatch/upgrade.conf"),
            "brings nothing for openwatch",
        ),
        (
            without(good.clone(), "./usr/share/openwatch/mig"),
            "does not hold /usr/share/openwatch/mig",
        ),
        (without(good.clone(), "./usr/share/openwatch/migrations/0"), "holds no migration"),
        (conf("[app\n"), "FILE:/usr/share/openwatch/upgrade.conf"),
        (
            with(good.clone(), file("./usr/share/openwatch/version", "\u{1b}[2J3\n")),
            "is no version",
        ),
        (conf(&outside), "is not one of a package"),
        (conf(&SETTINGS.replace("MAIN_DSN", "OTHER_DSN")), "OTHER_DSN is not set"),
    ] {
        for (name, bytes) in
            [("other.deb", deb("shop", &items)), ("other.rpm", rpm("shop", &items))]
        {
            assert_refused(&desk, root.path(), &desk.put(name, &bytes), 3, reason);
        }
    }
}

#[test]
fn a_package_of_another_application_names_the_command_for_that_one() {
    let (desk, root) = (Desk::new(), bare_root());
    let items = [file("./usr/share/shop/upgrade.conf", SETTINGS)];
    let package = desk.put("shop.deb", &deb("shop-server", &items));
    let assert = desk.look_at(root.path(), &["preflight", "--package", &package]).code(3);
    let told = message(&assert);
    assert!(told.detail.starts_with("it is shop-server 3.0.0-1, without"), "{told:?}");
    let command = format!("`openwatch --app shop migrate --status --package {package}`");
    assert!(told.hint.contains(&command), "{told:?}");
}

#[test]
fn what_is_no_package_is_wrong_usage() {
    let (desk, root) = (Desk::new(), bare_root());
    let mut archive = b"!<arch>\n".to_vec();
    archive.extend(format!("{:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", "a.o", 0, 0, 0, 0, 0).bytes());
    for (bytes, reason) in [
        (&b""[..], "FILE is not a package: it is empty"),
        (b"#!/bin/sh\n", "it begins neither as a .deb nor as an .rpm"),
        (b"PK\x03\x04 and more", "it begins neither"),
        (&archive, "it is an ar archive, but not one of dpkg"),
    ] {
        assert_refused(&desk, root.path(), &desk.put("file", bytes), 2, reason);
    }
    let dir = desk.dir.path().to_str().unwrap();
    assert_refused(&desk, root.path(), dir, 2, "FILE is a directory, not a package");
    assert_refused(&desk, root.path(), "/nowhere.deb", 2, "cannot read the package FILE");
    let pipe = desk.dir.path().join("pipe.deb");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_refused(&desk, root.path(), pipe.to_str().unwrap(), 2, "is no regular file");
}

#[test]
fn forms_that_we_do_not_read_say_so() {
    let (desk, root) = (Desk::new(), bare_root());
    let mut source = rpm("openwatch", &content(&["base"]));
    source[7] = 1;
    let package = desk.put("app.src.rpm", &source);
    assert_refused(&desk, root.path(), &package, 3, "it is a source package");
    let mut bzip2 = deb("openwatch", &[]);
    let at = bzip2.windows(2).rposition(|two| two == [0x1f, 0x8b]).unwrap();
    bzip2[at..at + 3].copy_from_slice(b"BZh");
    let package = desk.put("old.deb", &bzip2);
    assert_refused(&desk, root.path(), &package, 3, "its content is compressed with bzip2");
}

#[test]
fn an_interrupted_look_leaves_nothing_behind() {
    let (desk, root) = (Desk::new(), bare_root());
    // Eight GiB that nobody wants, so that there is time to interrupt.
    let (size, piece) = (8_u64 << 30, 16_u64 << 20);
    let mut archive = tar(&[item("./usr/lib/large", What::Claim(size))]);
    archive.truncate(512);
    let mut data = gzip(&archive);
    let zeros = gzip(&vec![0; piece as usize]);
    (0..size / piece).for_each(|_| data.extend(&zeros));
    let control = tar(&[file("./control", "Package: openwatch\nVersion: 1\n")]);
    let package = desk.put("large.deb", &deb_with(&control, "data.tar.gz", &data));
    let temp = desk.dir.path().join("tmp");
    let child = Command::new(program())
        .env("TMPDIR", &temp)
        .arg("--root")
        .arg(root.path())
        .args(["migrate", "--status", "--package", &package])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = || fs::read_dir(&temp).unwrap().count() > 0;
    support::postgres::wait_for("the private directory", begun);
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("was not read to its end: stopped by SIGINT"), "{said}");
    assert_eq!(fs::read_dir(&temp).unwrap().count(), 0, "something is left in TMPDIR");
}

// Below the command line, where thousands of cases are cheap.

/// Reads a package as the program does; returns the files that it wrote, or the first line.
fn read(bytes: &[u8], limits: Limits) -> Result<BTreeMap<PathBuf, Vec<u8>>, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, bytes).unwrap();
    let into = dir.path().join("tree");
    let wanted = Wanted {
        files: vec!["usr/share/openwatch/upgrade.conf".into()],
        dirs: vec!["usr/share/openwatch/migrations".into()],
    };
    let told = |error: openwatch::error::Error| {
        assert_eq!(error.state_line(), Some("nothing was changed"));
        assert!(error.hint_line().is_some(), "{error:?}");
        error.message()
    };
    let mut package = PackageFile::open_with(&path, limits).map_err(told)?;
    package.unpack(&wanted, &into).map_err(told)?;
    let mut found = BTreeMap::new();
    for (place, (_, content)) in support::machine::tree(dir.path()) {
        if place.is_file() && place != path {
            let inside = place.strip_prefix(&into).expect("a file beside the tree");
            found.insert(inside.to_owned(), content);
        }
    }
    Ok(found)
}

#[test]
fn more_than_a_package_may_hold_is_refused() {
    let mut items = content(&["base", "good"]);
    items.push(file("./usr/lib/bomb", vec![0; 5_000_000]));
    items.push(file("./usr/share/openwatch/migrations/0009_big.sql", vec![b' '; 200_000]));
    let roomy = Limits { scanned: 10_000_000, written: 1_000_000, entries: 100 };
    for bytes in [deb("openwatch", &items), rpm("openwatch", &items)] {
        assert!(bytes.len() < 200_000, "{} bytes are no bomb", bytes.len());
        read(&bytes, roomy).unwrap();
        for (limits, reason) in [
            (Limits { scanned: 4_000_000, ..roomy }, "it unpacks to more than 4000000 bytes"),
            (Limits { written: 100_000, ..roomy }, "more than 100000 bytes are wanted"),
            (Limits { entries: 5, ..roomy }, "it has more than 5 entries"),
        ] {
            let told = read(&bytes, limits).unwrap_err();
            assert!(told.contains("is refused: ") && told.contains(reason), "{told}");
        }
    }
}

#[test]
fn a_package_cut_anywhere_is_damaged() {
    for bytes in [deb("openwatch", &content(&["base"])), rpm("openwatch", &content(&["base"]))] {
        read(&bytes, Limits::default()).unwrap();
        for length in (1..bytes.len() - 1).step_by(11) {
            let told = read(&bytes[..length], Limits::default()).unwrap_err();
            assert!(
                told.contains(" is damaged: ") || (length < 8 && told.contains("not a package")),
                "cut to {length} of {}: {told}",
                bytes.len()
            );
        }
    }
}

#[test]
fn an_rpm_with_one_other_bit_is_never_read() {
    let whole = rpm("openwatch", &content(&["base"]));
    // The lead has no digest; the kind of package in it decides nothing that is shown.
    for at in (96..whole.len()).step_by(3) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at / 3 % 8);
        let Ok(files) = read(&bytes, Limits::default()) else { continue };
        // Padding and unread bytes of the signature may differ; the digest then still fits.
        assert!(at < 96 + 16 + 16 + 72 + 8, "a changed byte {at} was read: {files:?}");
    }
}

#[test]
fn stripped_entries_of_newer_rpms_take_names_from_the_header() {
    let sql = b"create table a (b int);\n";
    let sizes = [SETTINGS.len() as u32, sql.len() as u32];
    let tags = |inodes: Vec<u32>| {
        vec![
            Tag::Numbers(5008, sizes.to_vec()),
            Tag::Numbers(1030, vec![0o100_644; 2]),
            Tag::Numbers(1095, vec![1; 2]),
            Tag::Numbers(1096, inodes),
            Tag::Numbers(1116, vec![0, 1]),
            Tag::Texts(1117, vec!["upgrade.conf".into(), "0001_a.sql".into()]),
            Tag::Texts(
                1118,
                vec!["/usr/share/openwatch/".into(), "/usr/share/openwatch/migrations/".into()],
            ),
        ]
    };
    let mut archive = Vec::new();
    for (number, content) in [(0, SETTINGS.as_bytes()), (1, sql)] {
        archive.extend(format!("07070X{number:08x}\0\0").as_bytes());
        archive.extend(content);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    archive.extend(cpio(&[]));
    let found = read(&rpm_of("openwatch", &archive, tags(vec![1, 2])), Limits::default()).unwrap();
    assert_eq!(found[Path::new("usr/share/openwatch/migrations/0001_a.sql")], sql);
    assert_eq!(found.len(), 2, "{found:?}");
    let told = read(&rpm_of("openwatch", &archive, tags(vec![1, 1])), Limits::default());
    assert!(told.unwrap_err().contains("hard links"));
    let told = read(&rpm_of("openwatch", &archive, Vec::new()), Limits::default());
    assert!(told.unwrap_err().contains("a file 0 that its header does not list"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_bytes_make_the_reader_panic(
        magic in prop::sample::select(vec![&b""[..], b"!<arch>\n", &[0xed, 0xab, 0xee, 0xdb]]),
        rest in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let _ = read(&[magic, &rest].concat(), Limits::default());
    }

    #[test]
    fn changed_bytes_of_a_package_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        kind in 0..2,
    ) {
        let items = content(&["base"]);
        let mut bytes =
            if kind == 0 { deb("openwatch", &items) } else { rpm("openwatch", &items) };
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = read(&bytes, Limits::default());
    }

    #[test]
    fn changed_bytes_of_the_archive_inside_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        kind in 0..2,
    ) {
        let items = content(&["base"]);
        let mut inside = if kind == 0 { tar(&items) } else { cpio(&items) };
        for (at, value) in changes {
            let at = at.index(inside.len());
            inside[at] = value;
        }
        let control = tar(&[file("./control", "Package: openwatch\nVersion: 1\n")]);
        let bytes = match kind {
            0 => deb_of(&control, &inside),
            _ => rpm_of("openwatch", &inside, Vec::new()),
        };
        let _ = read(&bytes, Limits { scanned: 1 << 24, ..Limits::default() });
    }
}

/// Returns a data archive as this tool compresses it; the same for all cases of a property.
fn compressed(tool: &str, arguments: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.tar");
    fs::write(&path, tar(&content(&["base", "good"]))).unwrap();
    let made = Command::new(tool).args(arguments).arg("--stdout").arg(&path).output().unwrap();
    assert!(made.status.success(), "{tool}: {}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

#[test]
fn changed_bytes_of_xz_and_zstd_are_damage_and_never_panic() {
    let control = tar(&[file("./control", "Package: openwatch\nVersion: 1\n")]);
    let ways: &[(&str, &[&str])] = &[
        ("xz", &["-6"]),
        ("xz", &["--x86", "--lzma2"]),
        ("xz", &["--delta", "--lzma2=dict=4KiB,lc=4"]),
        ("xz", &["-0", "--block-size=2000"]),
        ("zstd", &["-3"]),
        ("zstd", &["-19"]),
        ("zstd", &["-1", "--no-check"]),
    ];
    for (tool, arguments) in ways.iter().filter(|(tool, _)| installed(tool)) {
        let whole = compressed(tool, arguments);
        let package = |data: &[u8]| deb_with(&control, "data.tar.x", data);
        let right = read(&package(&whole), Limits::default()).unwrap();
        for at in (0..whole.len()).step_by(3) {
            let mut changed = whole.clone();
            changed[at] ^= 1 << (at / 3 % 8);
            let limits = Limits { scanned: 1 << 22, ..Limits::default() };
            let found = read(&package(&changed), limits);
            // The last byte of a block may mean the same with another value.
            let told = found.as_ref().is_ok_and(|files| *files != right);
            assert!(!told || arguments.contains(&"--no-check"), "{tool} {arguments:?}: byte {at}");
        }
    }
}

// Made by the tools of the distributions.

fn installed(tool: &str) -> bool {
    let found = which::which(tool).is_ok();
    if !found {
        eprintln!("SKIPPED: {tool} is not installed, so no package of its own is read");
    }
    found
}

fn stage(dir: &Path) -> PathBuf {
    let root = dir.join("stage");
    for item in content(&["base", "good"]) {
        let path = root.join(item.name.trim_start_matches("./"));
        match item.what {
            What::File(content) => {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            _ => continue,
        }
    }
    // A name that is too long for the header of a tar entry.
    let deep = root.join("usr/lib").join("a".repeat(90)).join("b".repeat(90));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("file"), "x").unwrap();
    root
}

#[test]
fn packages_of_dpkg_deb_are_read_with_every_compression() {
    if !installed("dpkg-deb") {
        return;
    }
    let (machine, desk) = (TestMachine::new(), Desk::new());
    let root = stage(desk.dir.path());
    fs::create_dir(root.join("DEBIAN")).unwrap();
    let control = "Package: openwatch\nVersion: 3.0.0-1\nArchitecture: all\n\
                   Maintainer: Nobody <nobody@localhost>\nDescription: none\n";
    fs::write(root.join("DEBIAN/control"), control).unwrap();
    for how in ["-Zgzip", "-Zxz", "-Zzstd", "-Znone"] {
        let package = desk.dir.path().join("new.deb");
        let made = Command::new("dpkg-deb")
            .args(["--root-owner-group", how, "--build"])
            .args([&root, &package])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&made.stderr);
        if how == "-Zzstd" && said.contains("unknown compression") {
            eprintln!("SKIPPED: this dpkg-deb writes no zstd");
            continue;
        }
        assert!(made.status.success(), "{how}: {said}");
        assert_two_pending(&machine, &desk, package.to_str().unwrap());
        let opened = PackageFile::open(&package).unwrap();
        assert_eq!((opened.family(), opened.identity().name.as_str()), (Family::Deb, "openwatch"));
    }
}

#[test]
fn packages_of_rpmbuild_are_read_with_every_compression() {
    if !installed("rpmbuild") {
        return;
    }
    let (machine, desk) = (TestMachine::new(), Desk::new());
    let root = stage(desk.dir.path());
    let spec = desk.put(
        "new.spec",
        b"Name: openwatch\nVersion: 3.0.0\nRelease: 1\nSummary: s\nLicense: l\nBuildArch: noarch\n\
          %description\nd\n%install\ncp -a %{stage}/. %{buildroot}/\n%files\n/usr/bin/openwatch\n\
          /usr/share/openwatch\n/usr/lib/*\n",
    );
    for how in ["w6.gzdio", "w2.xzdio", "w3.zstdio", "w.ufdio"] {
        let made = Command::new("rpmbuild")
            .arg("-bb")
            .args(["--define", &format!("_topdir {}", desk.dir.path().join("rpm").display())])
            .args(["--define", &format!("stage {}", root.display())])
            .args(["--define", &format!("_binary_payload {how}")])
            .args(["--define", "__os_install_post %{nil}"])
            .arg(&spec)
            .output()
            .unwrap();
        assert!(made.status.success(), "{how}: {}", String::from_utf8_lossy(&made.stderr));
        let package = desk.dir.path().join("rpm/RPMS/noarch/openwatch-3.0.0-1.noarch.rpm");
        assert_two_pending(&machine, &desk, package.to_str().unwrap());
        let opened = PackageFile::open(&package).unwrap();
        assert_eq!((opened.family(), opened.identity().name.as_str()), (Family::Rpm, "openwatch"));
    }
}
