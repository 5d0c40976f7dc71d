//! `--candidate`: what the package sources offer is fetched, looked into, and removed.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use assert_cmd::assert::Assert;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::archives::{deb_of, file, rpm, tar};
use support::machine::{TestMachine, message, program};
use support::packages::{Desk, content};

/// A machine whose openwatch 2.0.0-1 came from apt, and the repository that it came from.
struct AptMachine {
    machine: TestMachine,
    desk: Desk,
}

impl AptMachine {
    fn new() -> Self {
        let this = Self { machine: TestMachine::new(), desk: Desk::new() };
        for dir in [
            "etc/apt/apt.conf.d",
            "etc/apt/preferences.d",
            "etc/apt/sources.list.d",
            "etc/apt/trusted.gpg.d",
            "var/lib/dpkg/info",
            "var/lib/dpkg/updates",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
        ] {
            fs::create_dir_all(this.root().join(dir)).unwrap();
        }
        fs::create_dir(this.repository()).unwrap();
        // apt reads the repository as its own user.
        for dir in [this.desk.dir.path(), &this.repository()] {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let source = format!("deb [trusted=yes] file:{} ./\n", this.repository().display());
        fs::write(this.root().join("etc/apt/sources.list"), source).unwrap();
        this.status("install ok installed");
        let list =
            "/.\n/usr\n/usr/share\n/usr/share/openwatch\n/usr/share/openwatch/upgrade.conf\n";
        fs::write(this.root().join("var/lib/dpkg/info/openwatch.list"), list).unwrap();
        this
    }

    fn root(&self) -> PathBuf {
        self.machine.root()
    }

    fn repository(&self) -> PathBuf {
        self.desk.dir.path().join("repository")
    }

    /// Writes what dpkg knows of the installed package.
    fn status(&self, state: &str) {
        let text = format!(
            "Package: openwatch\nStatus: {state}\nArchitecture: all\nVersion: 2.0.0-1\n\
             Maintainer: x <x@example.org>\nDescription: x\n"
        );
        fs::write(self.root().join("var/lib/dpkg/status"), text).unwrap();
    }

    /// Offers these packages: name and version in the index, and the bytes of the file.
    fn offer(&self, offers: &[(&str, &str, &[u8])]) {
        let mut index = String::new();
        for (name, version, bytes) in offers {
            let file = format!("{name}_{version}_all.deb");
            fs::write(self.repository().join(&file), bytes).unwrap();
            index.push_str(&format!(
                "Package: {name}\nVersion: {version}\nArchitecture: all\n\
                 Maintainer: x <x@example.org>\nFilename: ./{file}\nSize: {}\nSHA256: {}\n\
                 Description: x\n\n",
                bytes.len(),
                hex::encode(Sha256::digest(bytes))
            ));
        }
        fs::write(self.repository().join("Packages"), index).unwrap();
        let root = self.root().display().to_string();
        let status = Command::new("apt-get")
            .args(["-qq", "-o", &format!("Dir={root}")])
            .args(["-o", &format!("Dir::State::status={root}/var/lib/dpkg/status"), "update"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "apt-get update");
    }

    /// Runs a verb; apt's own state and the machine are as they were, and nothing is left.
    #[track_caller]
    fn look(&self, words: &[&str]) -> Assert {
        self.desk.look(&self.machine, words)
    }
}

/// Returns a package as dpkg-deb makes them, with the migrations of base and good.
fn package(name: &str, version: &str) -> Vec<u8> {
    let control = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: all\n\
         Maintainer: x <x@example.org>\nDescription: x\n"
    );
    deb_of(&tar(&[file("./control", control)]), &tar(&content(&["base", "good"])))
}

fn apt_is_here() -> bool {
    let found = which::which("apt-get").is_ok();
    if !found {
        eprintln!("SKIPPED: apt-get is not installed, so no candidate of apt is looked for");
    }
    found
}

fn answer(assert: &Assert) -> Value {
    serde_json::from_slice(&assert.get_output().stdout).unwrap()
}

#[test]
fn what_apt_would_install_next_is_shown_and_nothing_of_apt_is_changed() {
    if !apt_is_here() {
        return;
    }
    let apt = AptMachine::new();
    apt.offer(&[
        ("openwatch", "2.0.0-1", &package("openwatch", "2.0.0-1")),
        ("openwatch", "3.0.0-1", &package("openwatch", "3.0.0-1")),
    ]);
    let status = answer(&apt.look(&["migrate", "--status", "--candidate", "--json"]).success());
    assert_eq!(status["candidate"], json!({"version": "3.0.0-1", "held": false}));
    assert_eq!(
        (&status["package_version"], &status["installed_version"]),
        (&json!("3.0.0"), &json!("2.0.0-1"))
    );
    assert_eq!(status["databases"][0]["pending"].as_array().unwrap().len(), 2);
    assert_eq!(status["package_file"], "openwatch_3.0.0-1_all.deb");
    apt.look(&["migrate", "--check", "--candidate"]).code(10);
    let told = apt.look(&["preflight", "--candidate"]).success();
    let text = String::from_utf8_lossy(&told.get_output().stdout).into_owned();
    assert!(text.contains("migrate: main: 0003 0004"), "{text}");
    let plan = answer(&apt.look(&["upgrade", "--plan", "--candidate", "--json"]).success());
    assert_eq!((&plan["decision"], &plan["from"]), (&json!("upgrade"), &json!("2.0.0-1")));
}

#[test]
fn nothing_newer_is_an_answer_and_a_held_package_is_said() {
    if !apt_is_here() {
        return;
    }
    let apt = AptMachine::new();
    apt.offer(&[("openwatch", "2.0.0-1", &package("openwatch", "2.0.0-1"))]);
    let told = apt.look(&["preflight", "--candidate"]).success();
    let text = String::from_utf8_lossy(&told.get_output().stdout).into_owned();
    assert_eq!(text.trim(), "the package sources offer nothing newer than openwatch 2.0.0-1");
    apt.offer(&[("openwatch", "3.0.0-1", &package("openwatch", "3.0.0-1"))]);
    apt.status("hold ok installed");
    let held = apt.look(&["migrate", "--status", "--candidate", "--json"]).success();
    assert_eq!(answer(&held)["candidate"]["held"], true);
    let said = String::from_utf8_lossy(&held.get_output().stderr).into_owned();
    assert!(said.contains("openwatch is held at 2.0.0-1: an upgrade passes"), "{said}");
}

#[test]
fn a_repository_that_is_away_is_refused_with_the_way_out() {
    if !apt_is_here() {
        return;
    }
    let apt = AptMachine::new();
    apt.offer(&[("openwatch", "3.0.0-1", &package("openwatch", "3.0.0-1"))]);
    fs::remove_file(apt.repository().join("openwatch_3.0.0-1_all.deb")).unwrap();
    let told = message(&apt.look(&["migrate", "--status", "--candidate"]).code(5));
    assert!(told.first.starts_with("cannot fetch openwatch 3.0.0-1 with apt"), "{told:?}");
    assert!(!told.detail.is_empty() && told.state == "nothing was changed", "{told:?}");
    assert!(told.hint.contains("`--package FILE`"), "{told:?}");
}

#[test]
fn a_file_that_is_another_package_is_refused() {
    if !apt_is_here() {
        return;
    }
    let apt = AptMachine::new();
    apt.offer(&[("openwatch", "3.0.0-1", &package("shop", "3.0.0-1"))]);
    let told = message(&apt.look(&["preflight", "--candidate"]).code(1));
    assert_eq!(told.first, "openwatch 3.0.0-1 was not among what was fetched");
    let damaged = package("openwatch", "4.0.0-1");
    apt.offer(&[("openwatch", "4.0.0-1", &damaged[..damaged.len() - 20])]);
    let told = message(&apt.look(&["preflight", "--candidate"]).code(3));
    assert!(told.first.contains("openwatch_4.0.0-1_all.deb is damaged"), "{told:?}");
    assert!(!told.first.contains("openwatch-candidate-"), "{told:?}");
}

#[test]
fn an_application_that_no_package_owns_has_no_candidate() {
    let (machine, desk) = (TestMachine::new(), Desk::new());
    let told = message(&desk.look(&machine, &["migrate", "--status", "--candidate"]).code(5));
    assert_eq!(told.first, "no installed package owns /usr/share/openwatch/upgrade.conf");
    let told = message(&desk.look(&machine, &["migrate", "--candidate"]).code(2));
    assert_eq!(
        told.first,
        "the migrations of the candidate cannot be applied: it is not installed"
    );
    desk.look(&machine, &["migrate", "--status", "--candidate", "--package", "x.deb"]).code(2);
}

/// Puts a program of this name before those of the system.
fn fake(machine: &TestMachine, name: &str, script: &str) {
    let path = machine.root().with_file_name("bin").join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn what_a_killed_look_left_is_removed_by_the_next_one() {
    let apt = AptMachine::new();
    let marker = apt.desk.dir.path().join("fetching");
    let (shown, marked) = (apt.root().display().to_string(), marker.display());
    fake(&apt.machine, "apt-cache", "echo '  Candidate: 3.0.0-1'");
    fake(&apt.machine, "apt-mark", "true");
    fake(&apt.machine, "apt-get", &format!("touch half.deb {marked}; exec tail -f /dev/null"));
    let temp = apt.desk.dir.path().join("tmp");
    let mut child = Command::new(program())
        .env_clear()
        .envs([("PATH", apt.machine.path()), ("TMPDIR", temp.display().to_string())])
        .args(["--root", &shown, "migrate", "--status", "--candidate"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    support::postgres::wait_for("the fetch", || marker.exists());
    let left: Vec<PathBuf> = fs::read_dir(&temp).unwrap().map(|e| e.unwrap().path()).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(fs::metadata(&left[0]).unwrap().permissions().mode() & 0o777, 0o700);
    end_those_in(&left[0]);
    // `look` asserts that the directory is empty afterwards.
    fake(&apt.machine, "apt-cache", "echo '  Candidate: (none)'");
    apt.look(&["migrate", "--status", "--candidate"]).success();
}

/// Ends the fetch that its killed parent could not end.
fn end_those_in(dir: &Path) {
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let pid = entry.file_name().to_string_lossy().parse::<i32>();
        let (Ok(pid), Ok(cwd)) = (pid, fs::read_link(entry.path().join("cwd"))) else { continue };
        if cwd == dir {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    }
}

/// A machine whose package rpm knows; `dnf` is what the test makes of it.
fn rpm_machine(dnf: &str) -> (TestMachine, Desk) {
    let (machine, desk) = (TestMachine::new(), Desk::new());
    let package = rpm("openwatch", &content(&["base", "good"]));
    let file = desk.put("openwatch-3.0.0-1.rpm", &package);
    let database = machine.root().join("var/lib/rpm/rpmdb.sqlite");
    fs::create_dir_all(database.parent().unwrap()).unwrap();
    fs::write(database, "").unwrap();
    fake(&machine, "rpm", "echo 'openwatch 0:2.0.0-1'");
    fake(&machine, "dnf", &format!("file={file}\n{dnf}"));
    (machine, desk)
}

const REPOQUERY: &str = "case \"$*\" in *repoquery*) echo 0:3.0.0-1; exit;; esac\n\
                         for word; do case $word in --*dir=*) dir=${word#*=};; esac; done\n";

#[test]
fn dnf_fetches_the_candidate_with_and_without_its_plugins() {
    for way in [
        "case \"$*\" in *' download '*) cp $file $dir/;; *) exit 9;; esac",
        "case \"$*\" in *' download '*) echo 'No such command: download.' >&2; exit 1;; \
         *--downloadonly*' openwatch-3.0.0-1'*) cp $file $dir/; : >$dir/dependency.txt;; esac",
    ] {
        let (machine, desk) = rpm_machine(&format!("{REPOQUERY}{way}"));
        let words = ["migrate", "--status", "--candidate", "--json"];
        let status = answer(&desk.look(&machine, &words).success());
        assert_eq!(status["candidate"], json!({"version": "3.0.0-1", "held": false}));
        assert_eq!(status["databases"][0]["pending"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn a_version_that_dnf_locks_is_said_and_a_repository_that_is_away_is_refused() {
    let locked = "case \"$*\" in *disable_excludes*repoquery*) echo 0:3.0.0-1; exit;; \
                  *repoquery*) exit;; esac\n\
                  for word; do case $word in --*dir=*) dir=${word#*=};; esac; done\n\
                  case \"$*\" in *disable_excludes*) cp $file $dir/;; *) exit 9;; esac";
    let (machine, desk) = rpm_machine(locked);
    let words = ["migrate", "--status", "--candidate", "--json"];
    let status = answer(&desk.look(&machine, &words).success());
    assert_eq!(status["candidate"]["held"], true);
    let (machine, desk) =
        rpm_machine("echo 'Failed to download metadata for repo lab' >&2; exit 1");
    let told = message(&desk.look(&machine, &["preflight", "--candidate"]).code(5));
    assert!(told.first.starts_with("cannot ask dnf for the candidate of openwatch"), "{told:?}");
    assert!(told.detail.contains("repo lab"), "{told:?}");
    // dnf may pass over a repository that is away, unless it is told not to.
    let (machine, desk) = rpm_machine(
        "case \"$*\" in *skip_if_unavailable=False*) echo 'repo lab is away' >&2; exit 1;; esac",
    );
    let told = message(&desk.look(&machine, &["preflight", "--candidate"]).code(5));
    assert!(told.detail.contains("repo lab is away"), "{told:?}");
}
