//! Upgrades under the protection of a clone.

use predicates::prelude::*;
use predicates::str::contains;

use super::support::machine::{TestMachine, message};
use super::{Beside, clones, cloning, databases, point};

/// A migration that commits in the middle of the chain and one that fails after it.
fn half_migrated(machine: TestMachine) -> TestMachine {
    machine
        .migration("0003_alone.sql", "-- openwatch: no-transaction\nCREATE TABLE half (id int);\n")
        .migration("0004_divides.sql", "SELECT 1 / 0;\n")
}

#[test]
fn a_clone_becomes_a_dump_of_the_same_name_once_the_services_are_back() {
    // The unit is started while the point is a clone still, and its dump is not made yet.
    let look = "ls \"$root/var/lib/openwatch/backups\"/*/ >>\"$here/seen\"";
    let machine = cloning().ship("good").with_hook("start", "openwatch.service", look);
    let before = machine.data();
    let told = machine.run(["upgrade", "--from", "1.0.0-1"]).success();
    told.stderr(
        contains(" cloned as ").and(contains("is a dump now")).and(contains("dropped the clone")),
    );
    assert_eq!(machine.schema(), "0004");
    let seen = std::fs::read_to_string(machine.dir().join("seen")).unwrap();
    assert!(seen.contains("main.contents.json") && !seen.contains("main\n"), "{seen}");
    assert_eq!(clones(&machine), [""; 0]);
    let point = point(&machine);
    assert_eq!((&point["kind"], &point["state"]), (&"dump".into(), &"good".into()), "{point}");
    machine.run(["backup", "verify", "latest"]).success();
    machine.assert_clean();
    // The dump is that of the data before the upgrade.
    machine.run(["restore", "latest", "--yes"]).code(5);
    let machine = machine.with_unit("openwatch.service", "inactive");
    machine.run(["restore", "latest", "--yes"]).success();
    assert_eq!(machine.data(), before);
}

#[test]
fn several_databases_are_cloned_and_put_back_as_one() {
    let machine = TestMachine::with_databases(&["main", "stats"])
        .operator("restore_point = \"clone\"")
        .operator("on_failure = \"restore\"")
        .ship("good")
        .ship_for("stats", "failing");
    let before = machine.data();
    let message = message(&machine.run(["upgrade"]).code(9));
    assert!(message.state.contains("is used up: its clone is the database now"), "{message:#?}");
    assert_eq!(machine.data(), before);
    for name in ["main", "stats"] {
        let own = machine.dbname_of(name);
        let names = machine.server().psql(
            "postgres",
            &format!("select datname from pg_database where starts_with(datname, '{own}_')"),
        );
        assert!(
            names.starts_with(&format!("{own}_replaced_")) && !names.contains("clone"),
            "{names}"
        );
    }
    assert_eq!(machine.points(), [""; 0]);
    machine.assert_closed();
}

#[test]
fn a_failed_migration_is_put_back_by_renaming_the_clone() {
    let machine = half_migrated(cloning().operator("on_failure = \"restore\""));
    machine.server().psql(
        "postgres",
        &format!(
            "comment on database {0} is 'the application''s'; alter database {0} set work_mem = '7MB';
             revoke connect on database {0} from public",
            machine.dbname()
        ),
    );
    let facts = format!(
        "select datallowconn, datacl, datconnlimit, shobj_description(d.oid, 'pg_database'),
           (select setconfig from pg_db_role_setting where setdatabase = d.oid)
         from pg_database d where datname = '{}'",
        machine.dbname()
    );
    let around = machine.server().psql("postgres", &facts);
    let before = machine.data();
    let message = message(&machine.run(["upgrade"]).code(9));
    assert_eq!(message.first, "migration 0004_divides failed: division by zero");
    assert!(message.state.contains("is as before, at schema 0002"), "{message:#?}");
    assert_eq!(machine.data(), before);
    assert_eq!(machine.server().psql("postgres", &facts), around);
    let names = databases(&machine);
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(machine.server().psql(&names[1], "select count(*) from half"), "0");
    machine.assert_closed();
    let machine = machine.migration("0004_divides.sql", "SELECT 1;\n");
    machine.run(["upgrade", "--retry"]).success();
    assert_eq!(machine.schema(), "0004");
    assert_eq!(clones(&machine), [""; 0]);
    machine.assert_clean();
}

#[test]
fn after_a_failure_the_clone_is_kept_and_the_printed_command_goes_back_to_it() {
    let machine = half_migrated(cloning());
    let before = machine.data();
    let message = message(&machine.run(["upgrade"]).code(7));
    assert_eq!(clones(&machine).len(), 1);
    let listed = point(&machine);
    assert_eq!((&listed["kind"], &listed["state"]), (&"clone".into(), &"good".into()), "{listed}");
    machine.run(["backup", "show", "latest"]).success().stdout(contains("cloned as "));
    let (_, status) = machine.json(["status"]);
    assert_eq!(status["restore_points"][0]["kind"], "clone");
    // Neither the clone nor its point goes while the last upgrade did not end well.
    let (_, pruned) = machine.json(["backup", "prune"]);
    assert_eq!(pruned["decisions"][0]["verdict"], "keep", "{pruned}");
    assert_eq!(clones(&machine).len(), 1);
    let printed = message.hint.split('`').find(|text| text.contains(" restore ")).unwrap();
    machine.run(printed.split(' ').skip(1)).success().stdout(contains("is kept as database"));
    assert_eq!(machine.data(), before);
    assert_eq!((clones(&machine), machine.points()), (Vec::new(), Vec::new()));
    machine.assert_closed();
    // What was used up is not offered again.
    machine.run(printed.split(' ').skip(1)).code(5);
}

#[test]
fn nobody_can_connect_to_a_clone() {
    let machine = half_migrated(cloning());
    machine.run(["upgrade"]).code(7);
    let clone = clones(&machine).remove(0);
    let output = std::process::Command::new(machine.server().bin().join("psql"))
        .args(["-X", "-c", "select 1", &machine.server().conninfo(&clone)])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("not currently accepting connections"), "{said}");
}

#[test]
fn a_session_of_somebody_else_prevents_the_clone_and_a_dump_is_taken() {
    let machine = cloning().ship("good");
    let report = Beside::report(&machine);
    let told = machine.run(["upgrade"]).success();
    told.stderr(
        contains("warning: no clone, a dump is taken instead")
            .and(contains("report (pid "))
            .and(contains("read back and hashed")),
    );
    report.end(&machine);
    assert_eq!((machine.schema(), point(&machine)["kind"].clone()), ("0004".into(), "dump".into()));
    assert_eq!(clones(&machine), [""; 0]);
    machine.assert_clean();
}

#[test]
fn a_session_is_ended_where_the_operator_wants_that_and_the_clone_is_made() {
    let machine = cloning().operator("foreign_sessions = \"end\"").ship("good");
    let report = Beside::report(&machine);
    machine.run(["upgrade"]).success().stderr(contains(" cloned as "));
    assert!(!report.ended().success());
    machine.assert_clean();
}

#[test]
fn a_role_that_may_not_create_databases_is_told_before_anything_stops_and_dumps() {
    let machine = cloning().ship("good");
    let (role, name) = (format!("{}_owner", machine.dbname()), machine.dbname());
    machine.server().psql(name, &format!(
        "create role {role} login; alter database {name} owner to {role};
         do $$ declare t text; begin
           for t in select c.oid::regclass from pg_class c where relnamespace = 'public'::regnamespace
             and relkind = 'r' loop execute 'alter table ' || t || ' owner to {role}'; end loop; end $$"
    ));
    let machine = machine.role(&role);
    let why = format!("the role {role} may not create databases");
    machine.run(["upgrade", "--plan"]).success().stdout(contains(why.as_str()));
    machine.run(["upgrade"]).success().stderr(contains(why.as_str()));
    assert_eq!(point(&machine)["kind"], "dump");
    machine.assert_clean();
}

#[test]
fn a_dump_that_cannot_be_made_is_a_warning_and_is_made_later() {
    // A directory in which nothing can be made any more, from the start of the unit on.
    let fill = "mv \"$root/var/lib/openwatch/backups\" \"$here/away\"; \
                ln -s /proc \"$root/var/lib/openwatch/backups\"";
    let machine = cloning().ship("good").with_hook("start", "openwatch.service", fill);
    let (code, reply) = machine.json(["upgrade"]);
    assert_eq!((code, &reply["restore_point_kind"]), (0, &"clone".into()), "{reply}");
    assert!(reply["warnings"].to_string().contains("backup prune"), "{reply}");
    let clone = clones(&machine);
    assert_eq!(clone.len(), 1);
    let backups = machine.backups();
    std::fs::remove_file(&backups).unwrap();
    std::fs::rename(machine.dir().join("away"), &backups).unwrap();
    assert_eq!(point(&machine)["kind"], "clone");
    machine.run(["backup", "prune", "--dry-run"]).success();
    assert_eq!(clones(&machine), clone);
    machine.run(["backup", "prune"]).success().stderr(contains("is a dump now"));
    assert_eq!((clones(&machine), point(&machine)["kind"].clone()), (Vec::new(), "dump".into()));
    machine.assert_clean();
}

#[test]
fn removing_the_point_drops_its_clone() {
    let machine = half_migrated(cloning());
    machine.run(["upgrade"]).code(7);
    let id = machine.points().remove(0);
    machine.run(["backup", "remove", &id, "--yes"]).code(5);
    assert_eq!(clones(&machine).len(), 1);
    machine.run(["backup", "remove", &id, "--yes", "--lose-way-back"]).success();
    assert_eq!((clones(&machine), machine.points()), (Vec::new(), Vec::new()));
}

#[test]
fn by_hand_the_dump_waits_for_the_services_but_not_in_a_directory_of_this_run() {
    let machine = cloning().with_unit("openwatch.service", "inactive").ship("good");
    let (_, reply) = machine.json(["migrate"]);
    assert_eq!(reply["restore_point_kind"], "clone", "{reply}");
    assert_eq!(clones(&machine).len(), 1);
    machine.run(["backup", "prune"]).success();
    assert_eq!((clones(&machine), point(&machine)["kind"].clone()), (Vec::new(), "dump".into()));

    let machine = cloning().with_unit("openwatch.service", "inactive").ship("good");
    let other = machine.dir().join("other");
    let (_, reply) = machine.json(["migrate", "--backup-dir", other.to_str().unwrap()]);
    assert_eq!(reply["restore_point_kind"], "dump", "{reply}");
    assert_eq!(clones(&machine), [""; 0]);
}

/// Row 56.
#[test]
fn a_clone_that_is_gone_is_not_called_whole() {
    let machine = half_migrated(cloning());
    machine.run(["upgrade"]).code(7);
    let there = machine.run(["backup", "verify", "latest"]).success();
    there.stdout(contains("is a clone, and lies on its server"));
    machine.run(["backup", "verify", "latest", "--restore"]).code(5);
    let clone = clones(&machine).remove(0);
    machine.server().psql("postgres", &format!("drop database \"{clone}\""));
    let gone = message(&machine.run(["backup", "verify", "latest"]).failure());
    assert!(gone.detail.contains("its clone of main is gone"), "{gone:#?}");
}

/// The journal that cannot be read may be that of an upgrade which needs its clone.
#[test]
fn under_a_journal_that_cannot_be_read_no_clone_is_dropped() {
    let machine = half_migrated(cloning());
    machine.run(["upgrade"]).code(7);
    let clone = clones(&machine);
    std::fs::write(machine.upgrade_dir().join("journal.json"), "{").unwrap();
    machine.run(["backup", "prune"]).success();
    assert_eq!((clones(&machine), point(&machine)["kind"].clone()), (clone, "clone".into()));
}

#[test]
fn a_removal_while_the_server_is_away_is_done_and_leaves_the_clone_to_the_next_prune() {
    let machine = half_migrated(cloning());
    machine.run(["upgrade"]).code(7);
    let id = machine.points().remove(0);
    let clone = clones(&machine);
    let there = machine.server().conninfo(machine.dbname());
    let machine = machine.dsn("host=/nonexistent dbname=app user=postgres");
    let words = ["backup", "remove", &id, "--yes", "--lose-way-back"];
    let told = machine.run(words).success();
    told.stdout(contains("is removed")).stderr(contains("its clone is dropped by the next prune"));
    let machine = machine.dsn(&there);
    assert_eq!((machine.points(), clones(&machine)), (Vec::new(), clone));
    machine.run(["backup", "prune"]).success();
    assert_eq!(clones(&machine), [""; 0]);
}

/// What the server must have before it can be restored: of the original, also after the dump.
fn globals(machine: &TestMachine) -> String {
    let dir = machine.backups().join(&machine.points()[0]);
    std::fs::read_to_string(dir.join("main.globals.json")).unwrap()
}

/// Gives a database what only the server knows of it, and returns the words of it.
fn around(machine: &TestMachine) -> [String; 3] {
    let (database, role) = (machine.dbname(), format!("reader_of_{}", machine.dbname()));
    machine.server().psql(
        "postgres",
        &format!(
            "create role {role} login; alter database {database} set work_mem = '7654kB'; \
             alter role {role} in database {database} set statement_timeout = '9s'"
        ),
    );
    machine.sql(&format!("grant select on machines to {role}"));
    [role, "7654kB".into(), "statement_timeout".into()]
}

#[test]
fn a_clone_tells_roles_and_settings_of_the_original() {
    let machine = half_migrated(cloning());
    let words = around(&machine);
    machine.run(["upgrade"]).code(7);
    assert_eq!(point(&machine)["kind"], "clone");
    let recorded = globals(&machine);
    assert!(words.iter().all(|word| recorded.contains(word)), "{words:?}: {recorded}");
}

/// A database has its settings by its name, so that its clone has none.
#[test]
fn the_dump_of_a_clone_tells_roles_and_settings_of_the_original() {
    let machine = cloning().ship("good");
    let words = around(&machine);
    machine.run(["upgrade"]).success();
    assert_eq!(point(&machine)["kind"], "dump");
    let recorded = globals(&machine);
    assert!(words.iter().all(|word| recorded.contains(word)), "{words:?}: {recorded}");
    machine.run(["backup", "verify", "latest"]).success();
}
