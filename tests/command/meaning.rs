//! What the answers of a tool mean, and what every verb makes of them.

use predicates::str::contains;
use serde_json::json;

use super::support::archives::{deb, file};
use super::support::machine::{Message, TestMachine, message};
use super::support::packages::{Desk, SETTINGS, content, with};

/// A tool that keeps its own history: `step` tables, of which release 2 wants both.
const STEPS: &str = r#"
have() { [ "$(sql "select to_regclass('step_$1') is not null")" = t ]; }
case $1 in
    apply)
        for n in 1 2; do
            have $n || { echo "making step $n"; sql "create table step_$n (id int)" || exit 3; }
        done ;;
    status)
        for n in 1 2; do if have $n; then echo "done step_$n"; else echo "todo step_$n"; fi; done ;;
    version) sql "select count(*) from pg_tables where tablename like 'step%'" ;;
esac
"#;

const LINES: &str = ", pending_lines = \"todo\", applied_lines = \"done\"";

fn steps() -> TestMachine {
    TestMachine::new().tool(STEPS, LINES)
}

#[test]
fn what_the_tool_names_is_what_every_verb_shows() {
    let machine = steps();
    let (code, found) = machine.json(["migrate", "--check"]);
    assert_eq!((code, &found["databases"][0]["state"]), (10, &json!("pending")));
    assert_eq!(found["databases"][0]["pending"][1]["version"], "step_2");
    let (_, found) = machine.json(["upgrade", "--plan"]);
    assert_eq!(found["databases"][0]["pending"], json!(["step_1", "step_2"]));
    assert_eq!(found["databases"][0]["restore_point"], "dump");
    machine.run(["gate"]).code(10);
    machine.run(["preflight"]).success();

    machine.run(["upgrade"]).success().stdout(contains("applied step_1 step_2"));
    let (code, found) = machine.json(["migrate", "--check"]);
    assert_eq!((code, &found["databases"][0]["state"]), (0, &json!("current")));
    assert_eq!(found["databases"][0]["applied"], 2);
    machine.run(["gate"]).success();
    machine.run(["status"]).success().stdout(contains("is current"));
    machine.assert_clean();
}

#[test]
fn a_tool_that_starts_slowly_is_not_asked_the_same_twice_while_services_are_down() {
    let machine = TestMachine::new();
    let asked = machine.dir().join("asked");
    let script = format!("echo $1 >>{}\n{STEPS}", asked.display());
    let more =
        format!("{LINES}, version_command = [{:?}, \"version\"]", machine.dir().join("tool"));
    let machine = machine.tool(&script, &more);
    machine.run(["upgrade"]).success();
    let words = std::fs::read_to_string(&asked).unwrap();
    // Before the lock, under it, and after what was applied.
    let words: Vec<&str> = words.lines().collect();
    assert_eq!(words, ["status", "version", "status", "version", "apply", "status", "version"]);
    machine.run(["gate"]).success();
    let words = std::fs::read_to_string(&asked).unwrap();
    assert_eq!(
        words.lines().skip(7).collect::<Vec<_>>(),
        ["status"],
        "the gate asks for no version"
    );
}

#[test]
fn without_a_question_to_ask_every_upgrade_runs_the_tool() {
    let machine = TestMachine::new();
    let script = "#!/bin/sh\necho run >>\"$(dirname \"$0\")/runs\"\n";
    let path = machine.dir().join("tool");
    std::fs::write(&path, script).unwrap();
    let machine = machine.migrated_by(&format!("command = [\"/bin/sh\", \"{}\"]", path.display()));
    let (code, found) = machine.json(["migrate", "--check"]);
    assert_eq!((code, &found["databases"][0]["state"]), (10, &json!("unknown")));
    // Nobody can say that the schema does not fit; only the mark closes the gate then.
    machine.run(["gate"]).success();
    for runs in [1, 2] {
        machine.run(["upgrade"]).success().stdout(contains("applied all"));
        let text = std::fs::read_to_string(machine.dir().join("runs")).unwrap();
        assert_eq!(text.lines().count(), runs);
        assert_eq!(machine.points().len(), runs);
    }
    machine.assert_clean();
}

#[test]
fn an_answer_that_was_not_announced_is_an_error_and_changes_nothing() {
    for (script, why) in [
        ("[ $1 = apply ] || exit 2", "exited with status 2"),
        ("[ $1 = apply ] || kill -SEGV $$", "was killed by SIGSEGV"),
        ("[ $1 = apply ] || echo 'no such option --plan'", "printed no line that begins with"),
    ] {
        let machine = TestMachine::new().tool(script, LINES);
        let before = machine.data();
        let Message { first, state, hint, .. } = message(&machine.run(["upgrade"]).code(1));
        assert!(first.contains("does not say what is pending") && first.contains(why), "{first}");
        assert!(state.contains("nothing was changed"), "{state}");
        assert!(hint.contains("/tool status`"), "{hint}");
        assert_eq!((machine.data(), machine.acts()), (before, vec![]));
    }
}

#[test]
fn a_question_cannot_write() {
    let script = "[ $1 = apply ] || sql 'create table looked (id int)'";
    let machine = TestMachine::new().tool(script, ", pending_exit = 40");
    let Message { detail, .. } = message(&machine.run(["migrate", "--status"]).failure());
    assert!(detail.contains("in a read-only transaction"), "{detail}");
    assert_eq!(machine.sql("select to_regclass('looked')"), "");
}

#[test]
fn a_tool_that_says_done_while_something_is_pending_has_failed() {
    let machine = TestMachine::new().tool("[ $1 = apply ] || exit 1", "");
    let Message { first, detail, .. } = message(&machine.run(["upgrade"]).code(7));
    assert!(first.ends_with("apply exited with status 0, but pending is still: all"), "{first}");
    assert!(detail.contains("the database is as it was before"), "{detail}");
    machine.assert_closed();
}

#[test]
fn an_exit_status_of_its_own_means_pending() {
    let script = "case $1 in
        apply) sql 'create table made (id int)' ;;
        status) [ \"$(sql \"select to_regclass('made')\")\" ] || exit 40 ;;
        esac";
    let machine = TestMachine::new().tool(script, ", pending_exit = 40");
    machine.run(["migrate", "--check"]).code(10);
    machine.run(["upgrade"]).success();
    machine.run(["migrate", "--check"]).success();
}

#[test]
fn the_history_of_the_tool_is_not_ours_to_write() {
    let machine = steps();
    let Message { first, hint, .. } =
        message(&machine.run(["migrate", "--mark-applied", "step_1"]).code(2));
    assert!(first.contains("belongs to the application's own tool"), "{first}");
    assert!(hint.contains("alembic stamp"), "{hint}");
}

#[test]
fn two_hosts_run_the_tool_once() {
    let one = TestMachine::new().tool(STEPS, LINES);
    let two = TestMachine::beside(&one).tool(STEPS, LINES);
    let runs = [one.spawn(["upgrade"]), two.spawn(["upgrade"])];
    for mut run in runs {
        let code = run.wait().unwrap().code();
        assert!(matches!(code, Some(0 | 75)), "{code:?}: {} {}", one.said(), two.said());
    }
    let made = |machine: &TestMachine| machine.said().matches("making step 1").count();
    assert_eq!(made(&one) + made(&two), 1);
}

#[test]
fn a_tool_that_is_not_there_is_named_before_anything_is_stopped() {
    let machine = TestMachine::new().migrated_by("command = [\"/opt/nothing/here\", \"migrate\"]");
    let Message { first, state, .. } = message(&machine.run(["upgrade"]).code(3));
    assert!(first.contains("/opt/nothing/here is not there"), "{first}");
    assert!(state.contains("nothing was changed"), "{state}");
    assert_eq!(machine.acts(), [""; 0]);
}

#[test]
fn of_a_package_that_is_not_installed_nothing_is_run() {
    let machine = steps();
    let desk = Desk::new();
    let runs = desk.dir.path().join("runs");
    let settings = SETTINGS.replace(
        "format = \"plain\", dir = \"/usr/share/openwatch/migrations\"",
        &format!(
            "command = [\"/bin/sh\", \"-c\", \"echo ran >>{0}\"], \
             status_command = [\"/bin/sh\", \"-c\", \"echo asked >>{0}\"]",
            runs.display()
        ),
    );
    let items = with(content(&[]), file("./usr/share/openwatch/upgrade.conf", settings));
    let package = desk.put("new.deb", &deb("openwatch", &items));
    let look = |words: &[&str]| desk.look(&machine, &[words, &["--package", &package]].concat());
    look(&["migrate", "--status"]).success().stdout(contains("main: unknown, schema none"));
    look(&["migrate", "--check"]).code(10);
    look(&["migrate", "--dry-run"]).success().stdout(contains("would apply all"));
    look(&["preflight"]).success();
    assert!(!runs.exists());
}

#[test]
fn an_older_package_is_let_through_once_the_data_is_put_back() {
    let script = "case $1 in
        apply) sql 'create table half (id int)'; exit 9 ;;
        status) echo todo rest ;;
        esac";
    let machine = TestMachine::new().tool(script, LINES);
    let before = machine.data();
    machine.run(["upgrade", "--from", "1.0.0-1"]).code(7);
    let id = machine.points().pop().unwrap();
    let older = ["scriptlet", "deb", "preinst", "upgrade", "2.0.0-1", "1.0.0-1"];
    // Which version a tool says it is at does not tell what it left half done: the data comes back.
    let first = machine.run(older).success();
    first.stderr(contains(format!("restore point {id} comes back before version 1.0.0-1 does")));
    assert_eq!(machine.data(), before);
    machine.run(older).success();
}

#[test]
fn a_second_attempt_does_not_take_the_way_back_away() {
    let script = "case $1 in
        apply) sql 'create table half (id int)'; exit 9 ;;
        status) echo todo rest ;;
        esac";
    let machine = TestMachine::new().tool(script, LINES);
    let before = machine.data();
    machine.run(["upgrade"]).code(7);
    let first = machine.points().pop().unwrap();
    let Message { detail, state, hint, .. } = message(&machine.run(["upgrade", "--retry"]).code(7));
    // This attempt changed nothing, and the data is still what the first one left.
    assert!(detail.contains("the database is as it was before this run"), "{detail}");
    assert!(state.contains("was changed in part"), "{state}");
    assert!(hint.contains(&format!("`openwatch restore {first} --yes`")), "{hint}");
    let (_, pruned) = machine.json(["backup", "prune", "--dry-run"]);
    let kept = pruned["decisions"].as_array().unwrap().iter().find(|d| d["id"] == first.as_str());
    assert!(kept.unwrap()["reason"].as_str().unwrap().contains("did not end well"), "{pruned}");
    machine.run(["restore", &first, "--yes"]).success();
    assert_eq!(machine.data(), before);
}

/// Rows 42 and 67.
#[test]
fn what_a_tool_left_half_done_is_undone_also_after_an_attempt_that_never_came_to_it() {
    let script = "case $1 in
        apply) sql 'create table half (id int)'; exit 9 ;;
        status) echo todo rest ;;
        esac";
    let machine = TestMachine::new().tool(script, LINES).marked(Some("deb"), &[]);
    let before = machine.data();
    machine.run(["upgrade", "--from", "1.0.0-1"]).code(7);
    // The second attempt ends before the tool.
    let dir = machine.etc().join("hooks.d/restore-point.before.d");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("10-fails"), "#!/bin/sh\nexit 9\n").unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.join("10-fails"), executable).unwrap();
    let told = message(&machine.run(["upgrade", "--retry"]).failure());
    assert!(told.state.contains("may have been changed in part"), "{told:#?}");
    assert_eq!(machine.json(["status"]).1["recovery"]["state"], "half_done");
    machine.run(["upgrade", "--undo"]).success();
    assert_eq!(machine.data(), before);
}

#[test]
fn of_two_databases_both_are_put_back_when_the_second_fails() {
    let machine = TestMachine::with_databases(&["main", "side"])
        .tool(STEPS, LINES)
        .ship_for("side", "failing")
        .operator("on_failure = \"restore\"");
    let before = machine.data();
    machine.run(["upgrade"]).code(9);
    assert_eq!(machine.data(), before);
    machine.assert_closed();
    let machine = machine.operator_without("on_failure");
    let Message { state, .. } = message(&machine.run(["upgrade", "--retry"]).code(7));
    let main = machine.described("main");
    assert!(state.contains(&format!("{main} is at the new schema")), "{state}");
}
