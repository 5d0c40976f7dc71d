//! A real Alembic project in two releases.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use predicates::str::contains;

use super::support::machine::{Message, TestMachine, message};
use super::support::peers;
use super::support::postgres::wait_for;
use super::{Project, wait_until_gone};

/// The project on a machine whose database has its first release; none where Alembic is not there.
fn hosts() -> Option<Project> {
    let alembic = peers::python("alembic")?;
    let machine = TestMachine::with_empty_database();
    let dir = machine.dir().join("alembic");
    let (alembic, dir) = (alembic.display(), dir.display());
    let machine = machine.migrated_by(&format!(
        "command = [\"{alembic}\", \"upgrade\", \"head\"], \
         status_command = [\"{alembic}\", \"current\", \"--check-heads\"], pending_exit = 255, \
         pending_lines = \"FAILED: Database is not on all head revisions\", \
         version_command = [\"{alembic}\", \"current\"], directory = \"{dir}\""
    ));
    let project = Project::new(machine, "alembic", "base");
    project.machine.run(["upgrade"]).success();
    Some(project)
}

#[test]
fn alembic_the_next_release_is_applied_and_the_versions_are_recorded() {
    let Some(project) = hosts() else { return };
    project.ship("good");
    let machine = &project.machine;
    let (code, found) = machine.json(["migrate", "--check"]);
    assert_eq!(code, 10, "{found}");
    assert_eq!(found["databases"][0]["current"], "a002");
    assert_eq!(found["databases"][0]["pending"][0]["version"], "all");
    machine.run(["upgrade"]).success();
    let (_, found) = machine.json(["status"]);
    assert_eq!(found["databases"][0]["state"], "current");
    assert_eq!(found["databases"][0]["current"], "a004 (head)");
    let (_, shown) = machine.json(["backup", "show", "latest"]);
    assert_eq!(shown["restore_point"]["databases"][0]["schema"]["head"], "a002");
    machine.run(["upgrade"]).success().stdout(contains("nothing to do"));
    machine.assert_clean();
}

#[test]
fn alembic_takes_all_back_when_one_fails_and_nothing_is_restored() {
    let Some(mut project) = hosts() else { return };
    project.ship("failing");
    project.machine = project.machine.operator("on_failure = \"restore\"");
    let before = project.machine.data();
    let Message { detail, state, .. } = message(&project.machine.run(["upgrade"]).code(7));
    assert!(detail.contains("the database is as it was before"), "{detail}");
    assert!(state.contains("is as before, at schema a002"), "{state}");
    assert_eq!(project.machine.data(), before);
    project.machine.assert_closed();
}

#[test]
fn alembic_a_block_that_committed_by_itself_is_put_back() {
    let Some(mut project) = hosts() else { return };
    project.ship("half");
    project.machine = project.machine.operator("on_failure = \"restore\"");
    let before = project.machine.data();
    let Message { detail, .. } = message(&project.machine.run(["upgrade"]).code(9));
    assert!(detail.contains("what it left: definitions of the schema changed"), "{detail}");
    assert_eq!(project.machine.data(), before);
    project.machine.assert_closed();
}

#[test]
fn alembic_a_schema_of_a_newer_release_is_no_answer_rather_than_nothing_pending() {
    let Some(project) = hosts() else { return };
    project.machine.sql("update alembic_version set version_num = 'b999'");
    let before = project.machine.data();
    let Message { first, detail, state, .. } = message(&project.machine.run(["upgrade"]).failure());
    assert!(first.contains("alembic current"), "{first}");
    assert!(detail.contains("Can't locate revision identified by 'b999'"), "{detail}");
    assert!(state.contains("nothing was changed"), "{state}");
    assert_eq!(project.machine.data(), before);
}

#[test]
fn alembic_asked_to_stop_the_tool_and_its_session_are_ended() {
    let Some(project) = hosts() else { return };
    project.ship("slow");
    let machine = &project.machine;
    let mut run = machine.spawn(["upgrade"]);
    wait_for("the second half of the migration", || {
        machine.sql(
            "select count(*) from pg_stat_activity where query like 'select pg_sleep(600)%' \
                     and datname = current_database()",
        ) == "1"
    });
    kill(Pid::from_raw(i32::try_from(run.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(7));
    wait_until_gone(&project.dir.display().to_string());
    let said = machine.said();
    assert!(said.contains("was ended because we received SIGTERM"), "{said}");
    assert!(said.contains("what it left: definitions of the schema changed"), "{said}");
    machine.assert_closed();
}
