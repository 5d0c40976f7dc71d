//! What is there before and after, to compare; made once and copied.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::support::machine::TestMachine;

/// The data without the history, whose rows tell when and by whom.
pub fn rows(dump: &str) -> String {
    let table = "COPY public.openwatch_schema_history";
    let mut skip = false;
    let kept = dump.lines().filter(|line| {
        skip = line.starts_with(table) || (skip && !line.is_empty());
        !skip
    });
    kept.collect::<Vec<_>>().join("\n")
}

/// The data of the first database.
pub fn data(machine: &TestMachine) -> String {
    rows(&machine.data()[0])
}

/// The data before: that of the base.
pub fn old() -> &'static str {
    static OLD: OnceLock<String> = OnceLock::new();
    OLD.get_or_init(|| data(&TestMachine::new()))
}

/// The data afterwards: the fixture `good` applied by psql, without us.
pub fn new() -> &'static str {
    static NEW: OnceLock<String> = OnceLock::new();
    NEW.get_or_init(|| {
        let machine = TestMachine::new();
        for file in ["0003_owner.sql", "0004_index_readings.sql"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/fixtures/migrations/good")
                .join(file);
            machine.sql(&fs::read_to_string(path).unwrap());
        }
        data(&machine)
    })
}

/// A complete restore point of the base.
struct Shelf {
    dir: tempfile::TempDir,
    id: String,
}

/// Puts a complete restore point of this day of January into the machine's directory.
pub fn put_point(machine: &TestMachine, day: u32) -> String {
    put_point_of(machine, 2026, day)
}

/// The same, of the January of another year.
pub fn put_point_of(machine: &TestMachine, year: u32, day: u32) -> String {
    static SHELF: OnceLock<Shelf> = OnceLock::new();
    let shelf = SHELF.get_or_init(|| {
        let machine = TestMachine::new();
        machine.run(["backup", "create"]).success();
        let id = machine.points().remove(0);
        let dir = tempfile::tempdir().unwrap();
        copy(&machine.backups().join(&id), &dir.path().join(&id));
        Shelf { dir, id }
    });
    let id = format!("{year}01{day:02}T101010Z-1.0.0-1");
    let to = machine.backups().join(&id);
    copy(&shelf.dir.path().join(&shelf.id), &to);
    let path = to.join("manifest.json");
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    manifest["id"] = id.clone().into();
    manifest["created"] = format!("{year}-01-{day:02}T10:10:10Z").into();
    manifest["sequence"] = day.into();
    fs::write(&path, manifest.to_string()).unwrap();
    id
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

/// Asserts that nothing may start on a schema that the installed program does not know, whoever asks:
/// the mark that units test for, and the program's own answer.
#[track_caller]
pub fn gate_is_right(machine: &TestMachine, head: &str) {
    let current = machine.schema() == head;
    assert!(current || machine.mark().exists(), "the mark is gone and the schema is not current");
    let gate = machine.run(["gate"]);
    let open = gate.get_output().status.success();
    assert!(!open || current, "the gate is open and the schema is not current");
    let stopped = machine.acts().iter().any(|act| act.starts_with("stop "));
    let up = machine.unit("openwatch.service") == "active";
    assert!(!(up && stopped) || current, "the unit was started on the old schema");
}

/// Returns the restore points that are listed as good.
pub fn good_points(machine: &TestMachine) -> Vec<String> {
    let (_, list) = machine.json(["backup", "list"]);
    let entries = list["restore_points"].as_array().unwrap();
    let good = entries.iter().filter(|entry| entry["state"] == "good");
    good.map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
}

/// Asserts that these are there, whole.
#[track_caller]
pub fn points_are_whole(machine: &TestMachine, ids: &[String]) {
    for id in ids {
        assert!(machine.points().contains(id), "{id} is gone: {:?}", machine.points());
        let told = machine.run(["backup", "verify", id]);
        let said = String::from_utf8_lossy(&told.get_output().stderr).into_owned();
        assert!(told.get_output().status.success(), "{id}: {said}");
    }
}

/// Returns the one command that `status` names, as the words after the program; none where nothing is
/// open.
#[track_caller]
pub fn next_command(machine: &TestMachine) -> Option<Vec<String>> {
    let (_, status) = machine.json(["status"]);
    let Some(next) = status["next"].as_str() else {
        assert_eq!(status["gate"]["state"], "open", "no next command: {status}");
        return None;
    };
    let words = next.strip_prefix("openwatch ").unwrap_or_else(|| panic!("not ours: {next}"));
    Some(words.split(' ').map(str::to_owned).collect())
}

/// Runs the words, which must end with this status.
#[track_caller]
pub fn finish(machine: &TestMachine, words: &[String], code: i32) {
    // Several machines at a time on a machine that is busy anyway: only a hang may end this.
    let mut command =
        assert_cmd::Command::from_std(machine.command(words.iter().map(String::as_str)));
    let output = command.timeout(Duration::from_secs(600)).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
}

/// Asserts that nothing of the program's own is left: databases beside the live one, private
/// directories with credentials.
#[track_caller]
pub fn nothing_is_left(machine: &TestMachine, but: &[&str]) {
    let name = machine.dbname();
    let sql = format!("select datname from pg_database where starts_with(datname, '{name}_')");
    let beside = machine.server().psql("postgres", &sql);
    let beside: Vec<&str> =
        beside.lines().filter(|name| !but.iter().any(|known| name.contains(known))).collect();
    assert_eq!(beside, [""; 0], "databases are left");
}
