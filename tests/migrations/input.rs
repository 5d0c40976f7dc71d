//! What a package can ship by mistake.

use std::path::Path;

use openwatch::config::{FilesSpec, Format, MigrationsSpec};
use openwatch::error::Error;
use openwatch::migrations::{self, Chain, Migration};
use openwatch::outcome::Outcome;

fn chain(dir: &Path) -> Result<Chain, Error> {
    migrations::load(&MigrationsSpec::Files(FilesSpec::new(Format::Plain, dir)))
}

fn load(dir: &Path) -> Result<Vec<Migration>, Error> {
    Ok(chain(dir)?.migrations)
}

/// Loads a directory that holds one good migration and what `spoil` puts beside it.
fn refusal(spoil: impl FnOnce(&Path)) -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("0001_good.sql"), "select 1;").unwrap();
    spoil(dir.path());
    let error = load(dir.path()).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Config);
    assert_eq!(error.state_line(), Some("nothing was changed"));
    assert!(error.hint_line().is_some(), "{error:?}");
    assert!(!error.message().ends_with('.') && !error.message().contains('\n'), "{error:?}");
    let mut text = error.message();
    for detail in error.details() {
        text = format!("{text}; {detail}");
    }
    text.replace(&dir.path().display().to_string(), "DIR")
}

fn refused_text(name: &'static str, text: &'static [u8]) -> String {
    refusal(move |dir| std::fs::write(dir.join(name), text).unwrap())
}

#[test]
fn each_mistake_is_named_with_its_file() {
    assert_eq!(
        refused_text("0001_twice.sql", b"select 2"),
        "two migrations have the number 0001; DIR/0001_good.sql and DIR/0001_twice.sql"
    );
    assert!(refused_text("1_twice.sql", b"select 2").starts_with("two migrations have the number"));
    for name in
        ["hosts.sql", "0002-hosts.sql", "0002_.sql", "0002_a.down.sql", "0002_A.SQL", "x0002_a.sql"]
    {
        let wanted = format!("DIR/{name} is not named like a migration");
        let text = refused_text(Box::leak(name.to_owned().into_boxed_str()), b"select 1");
        assert!(text.starts_with(&wanted), "{text}");
    }
    assert!(refused_text("0002_a.sql", b" \n\t\n").starts_with("DIR/0002_a.sql is empty"));
    assert!(refused_text("0002_a.sql", b"").starts_with("DIR/0002_a.sql is empty"));
    assert_eq!(
        refused_text("0002_a.sql", b"-- one\n-- two\nselect '\xff';"),
        "cannot read the migration DIR/0002_a.sql: not UTF-8 at line 3 (byte 22)"
    );
    assert_eq!(
        refused_text("0002_a.sql", b"select 1;\nselect '\0';"),
        "DIR/0002_a.sql has a NUL character at line 2"
    );
    assert!(
        refused_text("0002_a.sql", b"-- openwatch: no-transactoin\nvacuum")
            .starts_with("DIR/0002_a.sql has the unknown directive no-transactoin at line 1")
    );
    assert!(
        refused_text("0002_a.sql", b"\n-- openwatch: no-transaction\nvacuum").contains("at line 2")
    );
    assert!(refused_text("99999999999999999999_a.sql", b"select 1").contains("too long"));
}

#[test]
fn what_is_no_regular_file_is_refused_without_opening_it() {
    let text = refusal(|dir| std::fs::create_dir(dir.join("0002_a.sql")).unwrap());
    assert_eq!(text, "DIR/0002_a.sql is a directory, not a file");
    let text =
        refusal(|dir| std::os::unix::fs::symlink("0001_good.sql", dir.join("0002_a.sql")).unwrap());
    assert_eq!(text, "DIR/0002_a.sql is a symbolic link, not a file");
    let text = refusal(|dir| {
        drop(std::os::unix::net::UnixListener::bind(dir.join("0002_a.sql")).unwrap());
    });
    assert_eq!(text, "DIR/0002_a.sql is a device, pipe or socket, not a file");
}

#[test]
fn a_directory_that_is_missing_empty_or_a_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(load(dir.path()).unwrap_err().message().contains("holds no migration"));
    let missing = dir.path().join("missing");
    let message = load(&missing).unwrap_err().message();
    assert!(message.contains("cannot read the migrations directory"), "{message}");
    std::fs::write(&missing, "").unwrap();
    assert!(load(&missing).unwrap_err().message().contains("Not a directory"));
}

#[test]
fn what_is_no_sql_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    for name in [
        "0001_a.sql",
        "README",
        "README.md",
        ".0002_b.sql",
        ".hidden",
        "0002_b.sql~",
        "0002_b.sql.rpmnew",
        "0002_b.sql.dpkg-old",
    ] {
        std::fs::write(dir.path().join(name), "select 1").unwrap();
    }
    std::fs::create_dir(dir.path().join("drafts")).unwrap();
    let loaded = load(dir.path()).unwrap();
    assert_eq!(loaded.len(), 1);
    assert_eq!(loaded[0].label(), "0001_a");
}

#[test]
fn a_checkout_with_other_line_endings_is_the_same_migration() {
    let (unix, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(unix.path().join("0001_a.sql"), "-- openwatch: no-transaction\nvacuum;\n")
        .unwrap();
    std::fs::write(
        other.path().join("0001_a.sql"),
        "\u{feff}-- openwatch: no-transaction\r\nvacuum;\r\n",
    )
    .unwrap();
    let (a, b) = (chain(unix.path()).unwrap(), chain(other.path()).unwrap());
    assert_eq!(a.sql(&a.migrations[0]).unwrap(), b.sql(&b.migrations[0]).unwrap());
    let (a, b) = (&a.migrations[0], &b.migrations[0]);
    assert_eq!((&a.checksum, a.transactional), (&b.checksum, b.transactional));
    assert!(!b.transactional);
}

#[test]
fn numbers_order_the_files_whatever_their_width() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["9_a.sql", "10_b.sql", "0008_c.sql"] {
        std::fs::write(dir.path().join(name), "select 1").unwrap();
    }
    let labels: Vec<String> = load(dir.path()).unwrap().iter().map(|m| m.label()).collect();
    assert_eq!(labels, ["0008_c", "9_a", "10_b"]);
}
