//! Disks that fill: the server's while migrating, our own while the state is written.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::machine::{TestMachine, message};
use super::support::postgres::is_root;

/// A small disk, mounted where the test says; dropping it takes it away.
struct Disk(PathBuf);

impl Disk {
    fn at(path: &Path, size: &str, owner: &str) -> Self {
        assert!(is_root(), "mounting needs root");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size},mode=0755"), "tmpfs"])
            .arg(path));
        run(Command::new("chown").arg(owner).arg(path));
        Self(path.to_owned())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Row 43.
#[test]
fn a_full_disk_of_the_server_is_a_class_of_its_own_and_nothing_is_restored_into_it() {
    let dir = tempfile::Builder::new().prefix("ow-full-").tempdir_in("/tmp").unwrap();
    run(Command::new("chmod").arg("0755").arg(dir.path()));
    let machine = TestMachine::with_own_server().operator("on_failure = \"restore\"");
    let disk = dir.path().join("small");
    std::fs::create_dir(&disk).unwrap();
    let disk = Disk::at(&disk, "2m", "postgres");
    machine.sql(&format!("create tablespace small location '{}'", disk.0.display()));
    let machine = machine
        .migration(
            "0003_index.sql",
            "-- openwatch: no-transaction\ncreate index concurrently by_value on readings (value)",
        )
        .migration(
            "0004_fill.sql",
            "create table filler (t text) tablespace small;
             insert into filler select repeat(md5(n::text), 20) from generate_series(1, 20000) n;",
        );
    let told = message(&machine.run(["upgrade", "--from", "1.0.0-1"]).code(7));
    assert!(told.first.contains("No space left on device"), "{told:?}");
    assert!(told.detail.contains("SQLSTATE 53100"), "{told:?}");
    assert!(told.detail.contains("the data is not put back by itself"), "{told:?}");
    // The restore point is there, whole, and the message names the command that uses it.
    let point = machine.points().pop().unwrap();
    assert!(told.state.contains(&format!("restore point {point} is intact")), "{told:?}");
    assert!(told.hint.contains(&format!("`openwatch restore {point} --yes`")), "{told:?}");
    machine.run(["backup", "verify", &point]).success();
    assert_eq!(machine.schema(), "0003");
    machine.assert_closed();
    machine.sql("drop tablespace small");
}

/// Fills what is left of a disk.
const FILL: &str =
    "dd if=/dev/zero of=\"$root/var/lib/openwatch/upgrade/filler\" bs=4k 2>/dev/null; true";

/// Row 45.
#[test]
fn where_the_journal_cannot_be_written_nothing_is_begun() {
    let machine = TestMachine::new().ship("good");
    let before = machine.data();
    let _disk = Disk::at(&machine.upgrade_dir(), "16k", "root");
    run(Command::new("dd")
        .args(["if=/dev/zero", "bs=4k", "count=4"])
        .arg(format!("of={}", machine.upgrade_dir().join("filler").display()))
        .stderr(std::process::Stdio::null()));
    let told = message(&machine.run(["upgrade", "--from", "1.0.0-1"]).failure());
    assert!(told.first.contains("upgrade"), "the file is named: {told:?}");
    assert_eq!(machine.acts(), [""; 0], "no unit was touched");
    assert_eq!(machine.unit("openwatch.service"), "active");
    assert_eq!(machine.points(), [""; 0]);
    assert_eq!(machine.data(), before);
}

/// Row 45.
#[test]
fn a_journal_that_cannot_be_written_any_more_ends_the_run_before_the_next_act() {
    let machine = TestMachine::new().ship("good").with_hook("stop", "openwatch.service", FILL);
    let before = machine.data();
    let _disk = Disk::at(&machine.upgrade_dir(), "64k", "root");
    let run = machine.run(["upgrade", "--from", "1.0.0-1"]).failure();
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert_eq!(machine.data(), before, "{said}");
    assert_eq!(machine.points(), [""; 0], "{said}");
    assert!(said.contains("o space left on device"), "{said}");
    // Room again, and one command finishes.
    std::fs::remove_file(machine.upgrade_dir().join("filler")).unwrap();
    let machine = machine.with_hook("stop", "openwatch.service", "true");
    machine.run(["upgrade", "--retry"]).success();
    assert_eq!(machine.schema(), "0004");
    assert_eq!(machine.unit("openwatch.service"), "active");
}
