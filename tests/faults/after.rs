//! What is told although nothing failed, and what is left after something did.

use super::support::machine::{TestMachine, message};
use super::{plain, wait_in};

/// Row 44.
#[test]
fn what_is_in_doubt_after_a_good_run_is_told_each_by_its_own_word() {
    let machine = TestMachine::new().migration(
        "0003_doubt.sql",
        "create collation german (provider = icu, locale = 'de');
         create index by_name on machines (name collate german);
         alter table readings add constraint positive check (value >= 0) not valid;
         create index broken on machines (id);",
    );
    // As an older library left it, and a build that failed: only the server's own hand can do that.
    let machine = machine.migration(
        "0004_as_found.sql",
        "update pg_collation set collversion = '1.0' where collname = 'german';
         update pg_index set indisvalid = false where indexrelid = 'broken'::regclass;",
    );
    let (code, json) = machine.json(["upgrade", "--from", "1.0.0-1"]);
    assert_eq!((code, json["outcome"].as_str()), (0, Some("ok")), "{json}");
    let kinds: Vec<_> =
        json["findings"].as_array().unwrap().iter().map(|f| f["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["invalid_index", "not_validated", "collation_changed"], "{json}");
    assert_eq!(json["findings"][0]["severity"], "advisory");
    // What is printed settles it.
    for finding in json["findings"].as_array().unwrap().iter().take(2) {
        machine.sql(finding["hint"].as_str().unwrap());
    }
    machine.sql("alter collation german refresh version");
    let machine = machine.migration("0005_more.sql", "select 1;");
    let (_, json) = machine.json(["upgrade"]);
    assert_eq!(json["findings"].as_array().unwrap().len(), 0, "{json}");
    machine.assert_clean();
}

/// Row 44.
#[test]
fn a_database_whose_collation_changed_is_told_by_migrate_too() {
    let machine = plain().ship("good");
    if machine.server().major < 15 {
        // Older servers record no version for a database's own collation.
        return;
    }
    let name = machine.dbname().to_owned();
    let locale = if machine.server().major < 17 { "daticulocale" } else { "datlocale" };
    machine.sql(&format!(
        "update pg_database set datcollversion = '1.0', datlocprovider = 'i', \
         {locale} = 'de' where datname = '{name}'"
    ));
    let run = machine.run(["migrate", "--json"]).success();
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    let warning = format!("warning: main: the collation of database {name} changed from 1.0 to ");
    assert!(said.contains(&warning), "{said}");
    assert!(said.contains(&format!("ALTER DATABASE {name} REFRESH COLLATION VERSION")), "{said}");
}

/// Row 35.
#[test]
fn it_is_said_how_many_were_applied_which_failed_and_how_many_were_not_tried() {
    let machine = TestMachine::new()
        .migration("0003_one.sql", "create table one (n int);")
        .migration(
            "0004_two.sql",
            "-- openwatch: no-transaction\ncreate index concurrently one_n on one (n)",
        )
        .migration("0005_three.sql", "create table three (); insert into nowhere values (1);")
        .migration("0006_four.sql", "create table four ();")
        .migration("0007_five.sql", "create table five ();");
    let told = message(&machine.run(["upgrade", "--from", "1.0.0-1"]).code(7));
    assert!(
        told.detail
            .contains("2 migrations were applied (0003 to 0004), 0005 failed, 2 were not tried"),
        "{told:?}"
    );
    assert!(told.state.contains("is at schema 0004, between 0002 and 0007"), "{told:?}");
    let point = machine.points().pop().unwrap();
    for command in ["`openwatch upgrade --retry`", &format!("`openwatch restore {point} --yes`")] {
        assert!(told.hint.contains(command), "{command}: {told:?}");
    }
    assert_eq!(machine.sql("select to_regclass('three') is null"), "t");
    machine.assert_closed();
}

/// Row 35.
#[test]
fn the_policy_restore_puts_back_what_the_first_migrations_had_committed() {
    let machine = TestMachine::new()
        .operator("on_failure = \"restore\"")
        .migration(
            "0003_one.sql",
            "-- openwatch: no-transaction\ncreate index concurrently by_value on readings (value)",
        )
        .migration("0004_two.sql", "insert into nowhere values (1);");
    machine.run(["upgrade", "--from", "1.0.0-1"]).code(9);
    assert_eq!(machine.schema(), "0002");
    assert_eq!(machine.sql("select to_regclass('by_value') is null"), "t");
    machine.assert_closed();
}

/// Row 36.
#[test]
fn an_index_that_a_failed_build_left_invalid_is_named_and_removed() {
    let machine = plain()
        .migration(
            "0003_twice.sql",
            "insert into readings select machine, taken, value from readings limit 1;",
        )
        .migration(
            "0004_unique.sql",
            "-- openwatch: no-transaction\n\
             create unique index concurrently once on readings (machine, taken, value)",
        );
    let run = machine.run(["migrate"]).code(7);
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(said.contains("dropped the invalid index public.once that it left"), "{said}");
    let told = message(&run);
    assert!(told.first.starts_with("migration 0004_unique failed: could not create unique index"));
    wait_in(&machine, "no index is left", "select to_regclass('once') is null");
    assert_eq!(machine.schema(), "0003");
    // The cause mended, it runs: nothing stands in its way.
    machine.sql("delete from readings a using readings b where a.ctid < b.ctid and a = b");
    machine.run(["migrate"]).success();
    assert_eq!(machine.schema(), "0004");
}

/// Row 50.
#[test]
fn a_service_that_still_runs_the_program_from_before_is_told_and_not_restarted_blindly() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("app");
    // By another process: a child of a test beside this one could hold a file that we write open,
    // and a program that is open for writing cannot be started.
    let copied = std::process::Command::new("cp").arg("/bin/sleep").arg(&program).status();
    assert!(copied.unwrap().success());
    let mut running = std::process::Command::new(&program).arg("600").spawn().unwrap();
    let pid = running.id().to_string();
    let machine = TestMachine::new()
        .ship("good")
        .unit_fact("openwatch.service", "pid", &pid)
        .marked(Some("deb"), &["openwatch.service"]);
    let (_, status) = machine.json(["status"]);
    assert_eq!(status["units"][0], "openwatch.service is running", "{status}");
    // As dpkg and rpm do it: a new file in the place of the old one.
    std::fs::copy("/bin/sleep", dir.path().join("new")).unwrap();
    std::fs::rename(dir.path().join("new"), &program).unwrap();
    let (_, status) = machine.json(["status"]);
    running.kill().unwrap();
    running.wait().unwrap();
    let told = "openwatch.service is running, an older program than the one on disk";
    assert_eq!(status["units"][0], told, "{status}");
    assert_eq!(status["gate"]["state"], "closed", "{status}");
    machine.run(["gate"]).failure();
}
