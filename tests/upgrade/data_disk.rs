//! A data disk that two systems hand on to each other: two roots, one database, one directory.

use std::fs;
use std::path::{Path, PathBuf};

use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;
use serde_json::Value;

use crate::support::machine::{TestMachine, message};

/// The disk: a directory, which below another root needs no mount.
pub struct Disk(tempfile::TempDir);

impl Disk {
    pub fn new() -> Self {
        Self(tempfile::Builder::new().prefix("ow-disk-").tempdir_in("/tmp").unwrap())
    }

    pub fn state(&self) -> Value {
        let text = fs::read_to_string(self.dir().join("upgrade-state.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    pub fn phase(&self) -> String {
        self.state()["upgrade"]["phase"].as_str().unwrap_or("none").to_owned()
    }

    pub fn dir(&self) -> PathBuf {
        self.0.path().join("openwatch")
    }

    pub fn points(&self) -> usize {
        self.names().len()
    }

    /// Returns the names of the restore points, oldest first.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir().join("backups")).unwrap().flatten();
        let points = entries.filter(|entry| entry.path().join("manifest.json").exists());
        let mut names: Vec<String> =
            points.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Gives a machine this disk, and a machine-id of its own.
    pub fn of(&self, machine: TestMachine, id: &str) -> TestMachine {
        let table = format!("[appliance]\ndata_disk = {:?}\n", self.0.path());
        let text = fs::read_to_string(machine.packager_conf()).unwrap();
        fs::write(machine.packager_conf(), text + &table).unwrap();
        fs::create_dir_all(machine.root().join("etc")).unwrap();
        fs::write(machine.root().join("etc/machine-id"), format!("{id}\n")).unwrap();
        machine
    }
}

pub fn append(path: &Path, text: &str) {
    fs::write(path, fs::read_to_string(path).unwrap() + text).unwrap();
}

/// The old system with the disk, which it has marked, taken and prepared.
pub fn prepared() -> (Disk, TestMachine) {
    let disk = Disk::new();
    let old = disk.of(TestMachine::new().version("1.0.0-1"), "old");
    old.run(["disk", "init"]).success();
    old.run(["disk", "attach"]).success().stdout(contains("they belong together"));
    old.run(["upgrade", "--prepare", "--for", "2.0.0-1"]).success().stdout(contains("pre-v2.0.0"));
    (disk, old)
}

/// The next system, with what the old one let go.
pub fn next(disk: &Disk, old: &TestMachine, set: &str) -> TestMachine {
    old.run(["disk", "detach"]).success();
    let new = TestMachine::beside(old).with_unit("openwatch.service", "inactive").ship(set);
    disk.of(new, "new")
}

#[test]
fn a_prepared_disk_is_upgraded_by_the_next_system_which_starts_what_ran_on_the_old_one() {
    let (disk, old) = prepared();
    assert_eq!((disk.phase().as_str(), disk.points()), ("prepared", 1));
    let new = next(&disk, &old, "good");
    new.run(["disk", "attach"]).success().stdout(contains("it is upgraded"));
    assert!(new.mark().exists(), "the gate is closed until the data is that of this version");
    new.run(["upgrade", "--unit", "--boot"]).success();
    assert_eq!(new.schema(), "0004");
    assert_eq!(new.unit("openwatch.service"), "active");
    assert_eq!((disk.phase().as_str(), disk.points()), ("done", 2));
    assert_eq!(disk.state()["version"], "2.0.0-1");
    // The older system is told whose data that is, and touches nothing.
    new.run(["disk", "detach"]).success();
    old.run(["disk", "attach"]).success();
    old.run(["upgrade"]).code(5).stderr(contains("holds data of version 2.0.0-1"));
    assert_eq!(old.schema(), "0004");
}

#[test]
fn a_failing_migration_is_put_back_flagged_and_taken_back_by_the_old_system_by_itself() {
    let (disk, old) = prepared();
    let data = old.data();
    let new = next(&disk, &old, "failing");
    new.run(["disk", "attach"]).success();
    new.run(["upgrade", "--unit", "--boot"]).code(1);
    assert_eq!(disk.phase(), "failed");
    assert_eq!(new.unit("openwatch.service"), "inactive");
    new.run(["upgrade"]).failure();
    new.run(["disk", "detach"]).success();
    // The old system boots: its service is down until the disk has been looked at.
    let old = old.with_unit("openwatch.service", "inactive");
    old.run(["disk", "attach"]).success().stdout(contains("goes back"));
    assert!(old.mark().exists());
    old.run(["upgrade", "--unit", "--boot"]).success().stdout(contains("runs again"));
    assert_eq!(old.data(), data);
    assert_eq!(old.unit("openwatch.service"), "active");
    assert_eq!((disk.phase().as_str(), old.mark().exists()), ("went_back", false));
    old.run(["upgrade"]).success().stdout(contains("nothing to do"));
}

#[test]
fn a_system_that_migrated_and_proved_no_health_is_gone_back_from_with_all_that_the_old_one_wrote() {
    let (disk, old) = prepared();
    // Written after the preparation: the restore point of the new system has it.
    old.sql("insert into machines values (1000, 'late')");
    let data = old.data();
    let new = next(&disk, &old, "good")
        .health("[[health]]\ncommand = [\"/bin/false\"]\ndeadline = \"100ms\"\n");
    let new = disk.of(new, "new");
    new.run(["disk", "attach"]).success();
    new.run(["upgrade", "--unit", "--boot"]).code(1);
    assert_eq!(disk.phase(), "failed");
    new.run(["disk", "detach"]).success();
    let old = old.with_unit("openwatch.service", "inactive");
    old.run(["disk", "attach"]).success();
    old.run(["upgrade", "--unit", "--boot"]).success();
    assert_eq!(old.data(), data);
    assert_eq!(old.schema(), "0002");
    assert_eq!(disk.phase(), "went_back");
}

#[test]
fn a_disk_that_another_machine_has_not_let_go_is_left_alone_until_a_person_says_so() {
    let (disk, old) = prepared();
    let new = disk.of(TestMachine::beside(&old).ship("good"), "new");
    let told = message(&new.run(["disk", "attach"]).code(5));
    assert!(told.first.contains("attached to another machine"), "{told:?}");
    assert!(!new.mark().exists());
    new.run(["upgrade"]).code(5);
    assert_eq!(new.schema(), "0002");
    new.run(["disk", "attach", "--take"]).success().stderr(contains("taken over"));
    old.run(["disk", "detach"]).success().stdout(contains("did not have the disk"));
}

#[test]
fn a_disk_of_somebody_else_is_refused_and_named() {
    let (disk, old) = prepared();
    // A disk without a marker, one of another application, another one than before.
    let blank = Disk::new();
    let new = blank.of(TestMachine::beside(&old), "new");
    new.run(["disk", "attach"]).code(5).stderr(contains("no marker of ours"));
    new.run(["disk", "init"]).success();
    new.run(["disk", "attach"]).success();
    let marker = disk.dir().join("disk.json");
    let text = fs::read_to_string(&marker).unwrap();
    fs::copy(&marker, blank.dir().join("disk.json")).unwrap();
    fs::remove_file(new.root().join("run/openwatch/data-disk")).unwrap();
    new.run(["disk", "attach"]).code(5).stderr(contains("this system had disk"));
    fs::write(&marker, text.replace("\"openwatch\"", "\"shop\"")).unwrap();
    old.run(["disk", "attach"]).code(5).stderr(contains("of shop"));
}

#[test]
fn an_unprepared_disk_is_upgraded_only_when_a_person_says_so() {
    let disk = Disk::new();
    let old = disk.of(TestMachine::new().version("1.0.0-1"), "old");
    old.run(["disk", "init"]).success();
    old.run(["disk", "attach"]).success();
    let new = next(&disk, &old, "good");
    new.run(["disk", "attach"]).success().stdout(contains("nobody prepared it"));
    new.run(["upgrade"]).code(5).stderr(contains("not prepared for 2.0.0-1"));
    new.run(["gate"]).failure();
    new.run(["upgrade", "--retry"]).success();
    assert_eq!((new.schema().as_str(), disk.phase().as_str()), ("0004", "done"));
}

#[test]
fn a_preparation_says_all_that_is_in_the_way_at_once_and_changes_nothing() {
    let disk = Disk::new();
    // A window of one minute, twelve hours from now.
    let clock = |when: &str| {
        let told = std::process::Command::new("date").args(["-d", when, "+%H:%M"]).output();
        String::from_utf8(told.unwrap().stdout).unwrap().trim().to_owned()
    };
    let minute = format!("{}-{}", clock("12 hours"), clock("12 hours 1 minute"));
    let old = TestMachine::new()
        .version("1.0.0-1")
        .operator(&format!("window = [{minute:?}]"))
        .operator("checks = [[\"/bin/sh\", \"-c\", \"echo 12 days are left >&2; exit 1\"]]")
        .operator("verify_image = [\"/bin/false\"]");
    let old = disk.of(old, "old");
    old.run(["disk", "init"]).success();
    old.run(["disk", "attach"]).success();
    let image = old.dir().join("image.raw");
    fs::write(&image, "image").unwrap();
    let told = old.run(["upgrade", "--prepare", "--image", image.to_str().unwrap()]).code(5);
    let told = String::from_utf8(told.get_output().stderr.clone()).unwrap();
    for finding in ["12 days are left", "outside the maintenance window", "does not verify"] {
        assert!(told.contains(finding), "{finding}: {told}");
    }
    assert_eq!(disk.phase(), "none");
    assert!(!disk.dir().join("backups").exists());
}

#[test]
fn an_image_whose_signature_nobody_could_check_is_refused_without_being_blamed() {
    let install = "Install the program, or name another in `verify_image`.";
    let again = "Run this again; do not boot the image before.";
    for (program, why, hint) in [
        (r#"["/no/gpgv"]"#, "/no/gpgv could not be started", install),
        (r#"["/bin/sh", "-c", "kill -KILL $$"]"#, "/bin/sh was killed by SIGKILL", again),
    ] {
        let disk = Disk::new();
        let old = TestMachine::new().version("1.0.0-1");
        let old = disk.of(old.operator(&format!("verify_image = {program}")), "old");
        old.run(["disk", "init"]).success();
        old.run(["disk", "attach"]).success();
        let image = old.dir().join("image.raw");
        fs::write(&image, "image").unwrap();
        old.run(["upgrade", "--prepare", "--image", image.to_str().unwrap()])
            .code(5)
            .stderr(contains(format!("was not checked: {why}")))
            .stderr(contains(hint))
            .stderr(contains("does not verify").not());
        assert_eq!(disk.phase(), "none");
    }
}

/// The data was back and the service up, and only the proof of health failed: from then on somebody writes.
#[test]
fn a_way_back_whose_health_is_not_proved_puts_the_data_back_once_and_keeps_what_is_written_since() {
    let (disk, old) = prepared();
    let new = next(&disk, &old, "failing");
    new.run(["disk", "attach"]).success();
    new.run(["upgrade", "--unit", "--boot"]).failure();
    new.run(["disk", "detach"]).success();
    // As after a power cut: what it left of the data was never noted.
    let mut state = disk.state();
    state["upgrade"]["data"] = Value::Null;
    state["upgrade"]["phase"] = "begun".into();
    fs::write(disk.dir().join("upgrade-state.json"), state.to_string()).unwrap();
    let sick = "[[health]]\ncommand = [\"/bin/false\"]\ndeadline = \"100ms\"\n";
    let old = disk.of(old.with_unit("openwatch.service", "inactive").health(sick), "old");
    old.run(["disk", "attach"]).success();
    let told = old.run(["upgrade", "--unit", "--boot"]).failure();
    told.stderr(contains("putting the data back").and(contains("health was not proved")));
    old.sql("insert into machines values (2000, 'since')");
    let data = old.data();
    old.run(["upgrade", "--unit", "--boot"]).failure().stderr(contains("nothing was tried"));
    old.run(["upgrade", "--undo"]).failure();
    assert_eq!(old.data(), data);
    let old = disk.of(old.health(""), "old");
    old.run(["upgrade", "--undo"]).success();
    assert_eq!((old.data(), disk.phase().as_str()), (data, "went_back"));
}

/// Rows 32 and 60.
#[test]
fn what_was_stopped_when_the_disk_was_prepared_stays_down_and_is_not_told_as_running() {
    let disk = Disk::new();
    let old = TestMachine::new().version("1.0.0-1").with_unit("openwatch.service", "inactive");
    let old = disk.of(old, "old");
    old.run(["disk", "init"]).success();
    old.run(["disk", "attach"]).success();
    old.run(["upgrade", "--prepare", "--for", "2.0.0-1"]).success();
    let new = next(&disk, &old, "failing");
    new.run(["disk", "attach"]).success();
    new.run(["upgrade", "--unit", "--boot"]).code(1);
    new.run(["disk", "detach"]).success();
    old.run(["disk", "attach"]).success();
    let back = old.run(["upgrade", "--unit", "--boot"]).success();
    back.stdout(contains("no unit ran").and(contains("runs again").not()));
    assert_eq!(old.unit("openwatch.service"), "inactive");
    assert_eq!((disk.phase().as_str(), old.mark().exists()), ("went_back", false));
}

/// The week between is in nothing but the data and the second restore point.
#[test]
fn a_disk_that_comes_a_second_time_is_not_taken_back_to_before_the_first() {
    let (disk, old) = prepared();
    let new = next(&disk, &old, "base")
        .migration("0003_alone.sql", "-- openwatch: no-transaction\nCREATE TABLE half (id int);\n")
        .migration("0004_fails.sql", "-- openwatch: no-transaction\nSELECT 1/0;\n")
        .operator("on_failure = \"stop\"");
    let new = disk.of(new, "new");
    new.run(["disk", "attach"]).success();
    new.run(["upgrade", "--unit", "--boot"]).code(1);
    assert_eq!(new.schema(), "0003", "the data is half done");
    new.run(["disk", "detach"]).success();
    let old = old.with_unit("openwatch.service", "inactive");
    old.run(["disk", "attach"]).success();
    old.run(["upgrade", "--unit", "--boot"]).success();
    old.sql("insert into machines values (3000, 'a week of work')");
    old.run(["upgrade", "--prepare", "--for", "2.0.0-1"]).success();
    old.run(["disk", "detach"]).success();
    let data = old.data();
    let new = disk.of(new.operator_without("on_failure"), "new");
    new.run(["disk", "attach"]).success().stdout(contains("it is upgraded"));
    let (_, status) = new.json(["status"]);
    assert_eq!(status["gate"]["outcome"], Value::Null, "{status}");
    // Nobody said a word: it is another upgrade than the one that failed.
    new.run(["upgrade", "--unit", "--boot"]).code(1).stderr(contains("division by zero"));
    assert_eq!(new.data(), data);
    assert_eq!(
        (disk.phase().as_str(), disk.state()["version"].as_str()),
        ("failed", Some("1.0.0-1"))
    );
    // What the first attempt was is still told.
    let (_, history) = new.json(["history"]);
    assert_eq!(history["runs"].as_array().map(Vec::len), Some(2), "{history}");
}

/// Its restore points are those of another host here, which nothing else protects.
#[test]
fn under_a_state_of_the_disk_that_cannot_be_read_nothing_is_pruned() {
    let (disk, old) = prepared();
    old.run(["backup", "unpin", "latest"]).success();
    append(&disk.dir().join("upgrade-state.json"), "{");
    let (_, pruned) = old.json(["backup", "prune"]);
    let told = pruned["decisions"][0]["reason"].as_str().unwrap();
    assert!(told.contains("what the data disk tells cannot be read"), "{pruned}");
}

#[test]
fn a_state_of_a_later_form_keeps_the_gate_closed() {
    let (disk, old) = prepared();
    let path = disk.dir().join("upgrade-state.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"format\": 1", "\"format\": 2", 1)).unwrap();
    let new = next(&disk, &old, "good");
    new.run(["disk", "attach"]).code(5).stderr(contains("later version of this program"));
    new.run(["upgrade"]).code(5);
    append(&path, "{");
    new.run(["upgrade"]).code(12);
    assert_eq!(new.schema(), "0002");
}
