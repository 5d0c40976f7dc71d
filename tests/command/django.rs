//! A real Django project in two releases.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use predicates::str::contains;
use serde_json::json;

use super::support::machine::{Message, TestMachine, message};
use super::support::peers;
use super::support::postgres::wait_for;
use super::{Project, run_log, wait_until_gone};

/// The project on a machine whose database has its first release; none where Django is not there.
fn shop() -> Option<Project> {
    let project = fresh()?;
    project.machine.run(["migrate"]).success();
    Some(project)
}

/// The project on a machine with an empty database.
fn fresh() -> Option<Project> {
    let python = peers::python("python")?;
    let machine = TestMachine::with_empty_database().with_unit("openwatch.service", "inactive");
    let dir = machine.dir().join("django");
    let (python, dir) = (python.display(), dir.display());
    let machine = machine.migrated_by(&format!(
        "command = [\"{python}\", \"manage.py\", \"migrate\", \"--noinput\", \"--no-color\"], \
         status_command = [\"{python}\", \"manage.py\", \"showmigrations\", \"--plan\", \"--no-color\"], \
         pending_lines = \"[ ]\", applied_lines = \"[X]\", directory = \"{dir}\", \
         environment = {{ PYTHONDONTWRITEBYTECODE = \"1\" }}"
    ));
    Some(Project::new(machine, "django", "base"))
}

fn tables(project: &Project) -> String {
    project.machine.sql("select string_agg(tablename, ' ' order by tablename) from pg_tables where schemaname = 'public'")
}

#[test]
fn django_a_fresh_database_is_initialised_without_a_dump() {
    let Some(project) = fresh() else { return };
    let (_, found) = project.machine.json(["migrate", "--status"]);
    assert_eq!(found["databases"][0]["state"], "empty");
    // Looking made no table of Django's.
    assert_eq!(tables(&project), "");
    project.machine.run(["upgrade"]).success();
    assert_eq!(tables(&project), "django_migrations shop_article");
    assert_eq!(project.machine.points(), [""; 0]);
    let (code, found) = project.machine.json(["migrate", "--check"]);
    assert_eq!(code, 0, "{found}");
    assert_eq!(found["databases"][0]["state"], "current");
    assert_eq!(found["databases"][0]["applied"], 2);
    project.machine.assert_clean();
}

#[test]
fn django_the_next_release_is_applied_after_a_restore_point_and_once() {
    let Some(project) = shop() else { return };
    project.ship("good");
    let machine = &project.machine;
    let before = machine.data();
    let (code, found) = machine.json(["migrate", "--check"]);
    assert_eq!(code, 10, "{found}");
    let database = &found["databases"][0];
    assert_eq!(database["state"], "pending");
    assert_eq!(
        database["pending"],
        json!([
            {"version": "shop.0003_price", "name": "", "transactional": false},
            {"version": "shop.0004_order", "name": "", "transactional": false},
        ])
    );
    machine.run(["migrate", "--dry-run"]).success().stdout(contains("shop.0003_price"));
    assert_eq!(machine.data(), before, "looking changed something");

    machine.run(["upgrade"]).success().stdout(contains("applied shop.0003_price shop.0004_order"));
    assert_eq!(tables(&project), "django_migrations shop_article shop_order");
    assert_eq!(machine.points().len(), 1);
    let log = run_log(machine);
    assert!(log.contains("Applying shop.0004_order... OK"), "{log}");
    machine.run(["gate"]).success();
    machine.assert_clean();

    machine.run(["upgrade"]).success().stdout(contains("nothing to do"));
    machine.run(["migrate"]).success().stdout(contains("nothing is pending"));
    assert_eq!(machine.points().len(), 1);
}

#[test]
fn django_a_migration_that_is_taken_back_whole_leaves_the_data_unchanged() {
    let Some(project) = shop() else { return };
    project.ship("failing");
    let before = project.machine.data();
    let failure = project.machine.run(["upgrade"]).code(7);
    let Message { first, detail, state, hint } = message(&failure);
    assert!(first.ends_with("migrate --noinput --no-color exited with status 1"), "{first}");
    assert!(detail.contains("relation \"shop_nothing\" does not exist"), "{detail}");
    assert!(detail.contains("the database is as it was before"), "{detail}");
    assert!(state.contains("is as before"), "{state}");
    assert!(!hint.contains("restore"), "{hint}");
    assert_eq!(project.machine.data(), before);
    project.machine.assert_closed();
}

#[test]
fn django_what_a_migration_left_half_done_is_recognised_and_the_way_back_works() {
    let Some(project) = shop() else { return };
    project.ship("half");
    let machine = &project.machine;
    let before = machine.data();
    let Message { detail, state, hint, .. } = message(&machine.run(["upgrade"]).code(7));
    assert!(
        detail.contains("what it left: the schema changed (new: public.shop_parcel)"),
        "{detail}"
    );
    assert!(state.contains("was changed in part"), "{state}");
    machine.assert_closed();
    let id = machine.points().pop().unwrap();
    assert!(hint.contains(&format!("`openwatch restore {id} --yes`")), "{hint}");
    machine.run(["restore", &id, "--yes"]).success();
    assert_eq!(machine.data(), before);
}

#[test]
fn django_rows_that_a_migration_left_changed_are_recognised() {
    let Some(project) = shop() else { return };
    project.ship("data");
    let Message { detail, .. } = message(&project.machine.run(["upgrade"]).code(7));
    assert!(detail.contains("what it left: table public.shop_article has new rows"), "{detail}");
    assert!(detail.contains("RuntimeError: only the first ten were changed"), "{detail}");
}

#[test]
fn django_policy_restore_puts_back_what_was_left_half_done() {
    let Some(mut project) = shop() else { return };
    project.ship("half");
    project.machine = project.machine.operator("on_failure = \"restore\"");
    let before = project.machine.data();
    let Message { state, .. } = message(&project.machine.run(["upgrade"]).code(9));
    assert!(state.contains("is as before"), "{state}");
    assert_eq!(project.machine.data(), before);
    project.machine.assert_closed();
    // The packager's next try goes through.
    project.withdraw(&["shop/migrations/0003_half.py"]);
    project.ship("good");
    project.machine.run(["upgrade", "--retry"]).success();
    assert_eq!(tables(&project), "django_migrations shop_article shop_order");
    project.machine.assert_clean();
}

#[test]
fn django_killed_in_the_middle_of_a_migration_the_way_back_leads_before_the_first_attempt() {
    let Some(mut project) = shop() else { return };
    project.ship("slow");
    project.machine = project.machine.operator("on_failure = \"restore\"");
    let machine = &project.machine;
    let before = machine.data();
    let mut run = machine.spawn(["upgrade"]);
    wait_for("the first half of the migration", || {
        machine.sql(
            "select to_regclass('shop_parcel') is not null \
            and exists (select from pg_stat_activity where query like 'select pg_sleep(600)%' \
                        and datname = current_database())",
        ) == "t"
    });
    kill(Pid::from_raw(i32::try_from(run.id()).unwrap()), Signal::SIGKILL).unwrap();
    run.wait().unwrap();
    // The tool does not outlive us, although nobody was left to end it.
    wait_until_gone(&project.dir.display().to_string());

    // What a tool left half done cannot go on, and the policy says what becomes of it.
    let second = machine.run(["upgrade"]).code(9);
    second.stderr(contains("putting the data back from restore point"));
    assert_eq!(machine.data(), before);
    let left = machine.sql(
        "select count(*) from pg_stat_activity where query like '%pg_sleep(600)%' \
         and pid <> pg_backend_pid() and datname = current_database()",
    );
    assert_eq!(left, "0", "the server still works for the tool that was killed");
    machine.assert_closed();
}
