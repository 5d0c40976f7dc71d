//! The scripts of the deb themselves, by the shell, on a root of their own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use assert_cmd::assert::{Assert, OutputAssertExt as _};
use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;

/// A root with the directories of the package, and tools of systemd that note how they are called.
struct Debian {
    root: tempfile::TempDir,
}

impl Debian {
    fn new() -> Self {
        let debian = Self { root: tempfile::tempdir().unwrap() };
        let below = "var/lib/openwatch";
        for dir in [
            "etc/openwatch",
            &format!("{below}/backups"),
            &format!("{below}/upgrade"),
            "run/systemd/system",
            "bin",
        ] {
            fs::create_dir_all(debian.path(dir)).unwrap();
        }
        for tool in ["deb-systemd-helper", "deb-systemd-invoke", "systemctl"] {
            debian.tool(tool, "exit 0");
        }
        debian
    }

    fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    fn tool(&self, name: &str, script: &str) {
        let (file, calls) = (self.path("bin").join(name), self.path("calls"));
        let text = format!("#!/bin/sh\necho {name} \"$@\" >> {}\n{script}\n", calls.display());
        fs::write(&file, text).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn write(&self, below: &str) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    fn run(&self, script: &str, arguments: &[&str]) -> Assert {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("packaging/deb").join(script);
        let mut text = fs::read_to_string(path).unwrap();
        for dir in ["/etc/", "/var/lib/", "/run/"] {
            let here = format!("{}{dir}", self.root.path().display());
            text = text.replace(&format!(" {dir}"), &format!(" {here}"));
            text = text.replace(&format!("\"{dir}"), &format!("\"{here}"));
            text = text.replace(&format!("={dir}"), &format!("={here}"));
        }
        let tools = format!("{}:/usr/bin:/bin", self.path("bin").display());
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(text).arg(script).args(arguments).env("PATH", tools).assert()
    }
}

#[test]
fn a_purge_leaves_what_may_open_the_restore_points_and_says_so() {
    let debian = Debian::new();
    let key = "etc/openwatch/master.key";
    for file in [
        "var/lib/openwatch/backups/20260101T000000Z_1.0.0/manifest.json",
        "etc/openwatch/upgrade.conf",
        "etc/openwatch/secrets.env",
        "etc/openwatch/upgrade.conf.d/10-own.conf",
        "etc/openwatch/allow-downgrade",
        key,
    ] {
        debian.write(file);
    }
    debian.run("postrm", &["purge"]).success().stderr(contains("keeps what else was there"));
    let left: Vec<_> = fs::read_dir(debian.path("etc/openwatch")).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(debian.path(key).exists());
    // The operator's own word takes both.
    debian.write("etc/openwatch/purge-restore-points");
    debian.run("postrm", &["purge"]).success();
    assert!(!debian.path("etc/openwatch").exists() && !debian.path("var/lib/openwatch").exists());
}

#[test]
fn a_purge_leaves_nothing_where_everything_was_ours() {
    let debian = Debian::new();
    debian.write("etc/openwatch/upgrade.conf.d/10-own.conf");
    fs::create_dir_all(debian.path("etc/openwatch/hooks.d/migrate.before.d")).unwrap();
    let told = debian.run("postrm", &["purge"]).success();
    told.stderr(contains("keeps").not());
    assert!(!debian.path("etc/openwatch").exists() && !debian.path("var/lib/openwatch").exists());
}

#[test]
fn a_removal_that_dpkg_takes_back_starts_what_it_stopped_and_no_more() {
    let debian = Debian::new();
    let starts = || {
        let calls = fs::read_to_string(debian.path("calls")).unwrap_or_default();
        calls.lines().filter(|call| call.contains(" start ")).map(str::to_owned).collect::<Vec<_>>()
    };
    debian.tool("systemctl", "[ \"$2\" = openwatch-backup-cleanup.timer ] || { echo active; exit 0; }\necho inactive; exit 3");
    debian.run("prerm", &["remove"]).success();
    debian.run("postinst", &["abort-remove"]).success();
    assert_eq!(starts(), ["systemctl start openwatch.service"]);
    // Once: what comes after it is not about that removal.
    debian.run("postinst", &["abort-remove"]).success();
    assert_eq!(starts().len(), 1);
    debian.tool("systemctl", "echo inactive; exit 3");
    debian.run("prerm", &["remove", "in-favour", "other", "1.0-1"]).success();
    debian.run("postinst", &["abort-remove", "in-favour", "other", "1.0-1"]).success();
    assert_eq!(starts().len(), 1);
}
