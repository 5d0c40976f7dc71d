//! What becomes of clones afterwards: a clone goes only where it is surely ours and surely not needed.

use std::fs;
use std::path::{Path, PathBuf};

use predicates::str::contains;
use serde_json::Value;

use super::support::machine::TestMachine;
use super::{clones, cloning, databases};

/// A machine whose only pending migration fails and leaves the data as it was.
fn failing() -> TestMachine {
    cloning().migration("0003_divides.sql", "SELECT 1 / 0;\n")
}

/// Changes the manifest of a restore point.
fn change(dir: &Path, change: impl FnOnce(&mut Value)) {
    let path = dir.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut manifest);
    fs::write(&path, manifest.to_string()).unwrap();
}

fn only_point(machine: &TestMachine) -> PathBuf {
    let points = machine.points();
    assert_eq!(points.len(), 1, "{points:?}");
    machine.backups().join(&points[0])
}

/// As `tar` unpacks it, or somebody copied it there.
#[test]
fn a_point_that_names_the_live_database_as_its_clone_does_not_drop_it() {
    let machine = TestMachine::new().ship("good");
    machine.run(["upgrade"]).success();
    let live = machine.dbname().to_owned();
    machine.server().psql("postgres", &format!("create database {live}_other"));
    let before = (machine.data(), databases(&machine));
    for name in [live.clone(), format!("{live}_other")] {
        change(&only_point(&machine), |manifest| {
            manifest["format"] = 2.into();
            manifest["databases"][0]["clone"] = name.into();
        });
        machine.run(["backup", "prune"]).success();
        assert_eq!((machine.data(), databases(&machine)), before);
    }
    // Nor does it become the database.
    let machine = machine.with_unit("openwatch.service", "inactive");
    machine.run(["restore", "latest", "--yes"]).success();
    assert!(databases(&machine).contains(&format!("{live}_other")));
}

/// A database that has the name of a clone, and the comment of somebody else.
#[test]
fn a_clone_that_another_application_marked_is_neither_dropped_nor_put_back() {
    let machine = failing();
    machine.run(["upgrade"]).code(7);
    let clone = clones(&machine).remove(0);
    let comment = |text: &str| {
        let sql = format!("comment on database \"{clone}\" is '{text}'");
        machine.server().psql("postgres", &sql);
    };
    comment("openwatch clone of another for another on elsewhere in /var");
    let id = machine.points().remove(0);
    machine.run(["restore", &id, "--yes"]).code(5).stderr(contains("not made by"));
    assert_eq!(clones(&machine), std::slice::from_ref(&clone));
    change(&only_point(&machine), |manifest| manifest["kind"] = "dump".into());
    fs::remove_file(machine.upgrade_dir().join("journal.json")).unwrap();
    machine.run(["backup", "prune"]).success();
    assert_eq!(clones(&machine), std::slice::from_ref(&clone));
}

/// A shared directory in which both call their database "main".
#[test]
fn the_clone_point_of_another_application_or_host_is_left_alone() {
    let machine = cloning().ship("good");
    machine.run(["upgrade"]).success();
    let stamp = "20200101T000000Z";
    let of_b = machine.backups().join(format!("{stamp}-1.0.0"));
    let clone = format!("{}_clone_{stamp}", machine.dbname());
    for (key, there) in [("app", false), ("host", false), ("app", true)] {
        fs::create_dir_all(&of_b).unwrap();
        let own = machine.points().into_iter().find(|id| !id.starts_with(stamp)).unwrap();
        for file in ["manifest.json", "main.contents.json"] {
            fs::copy(machine.backups().join(&own).join(file), of_b.join(file)).unwrap();
        }
        change(&of_b, |manifest| {
            manifest["id"] = format!("{stamp}-1.0.0").into();
            manifest["format"] = 2.into();
            manifest["kind"] = "clone".into();
            manifest["databases"][0]["clone"] = clone.clone().into();
            manifest[key] = "another".into();
        });
        let sql = format!(
            "create database \"{clone}\";
             comment on database \"{clone}\" is 'openwatch clone of {} for another on elsewhere in /b'",
            machine.dbname()
        );
        if there {
            sql.split(';').for_each(|sql| drop(machine.server().psql("postgres", sql)));
        }
        let manifest = fs::read(of_b.join("manifest.json")).unwrap();
        machine.run(["backup", "prune"]).success();
        assert_eq!(fs::read(of_b.join("manifest.json")).unwrap(), manifest, "{key}");
        assert_eq!(clones(&machine).len(), usize::from(there));
    }
}

#[test]
fn a_clone_that_is_not_on_the_server_asked_now_keeps_its_point() {
    let machine = failing();
    machine.run(["upgrade"]).code(7);
    let point = only_point(&machine);
    let clone = clones(&machine).remove(0);
    machine.server().psql("postgres", &format!("drop database \"{clone}\""));
    // While the last upgrade needs it, it stays whatever the server says.
    machine.run(["backup", "prune"]).success();
    assert!(point.exists());
    change(&point, |manifest| manifest["databases"][0]["identity"]["system"] = "42".into());
    fs::remove_file(machine.upgrade_dir().join("journal.json")).unwrap();
    machine.run(["backup", "prune"]).success().stderr(contains("of another server"));
    assert!(point.exists());
}

#[test]
fn no_clone_is_dropped_while_a_restore_point_cannot_be_read() {
    let machine = failing();
    machine.run(["upgrade"]).code(7);
    let point = only_point(&machine);
    let clone = clones(&machine);
    let manifest = fs::read(point.join("manifest.json")).unwrap();
    let away = machine.dir().join("away");
    // The disk with the restore points is not there, and a run needs what it published.
    fs::rename(&point, &away).unwrap();
    machine.run(["backup", "prune"]).success();
    assert_eq!(clones(&machine), clone);
    fs::rename(&away, &point).unwrap();
    // Nobody remembers that run any more.
    fs::remove_file(machine.upgrade_dir().join("journal.json")).unwrap();
    fs::remove_dir_all(machine.upgrade_dir().join("history")).unwrap();
    // A later program wrote it.
    change(&point, |manifest| manifest["format"] = 999.into());
    machine.run(["backup", "prune"]).success().stderr(contains("cannot be read"));
    assert_eq!(clones(&machine), clone);
    // Too large to be read, as one is that a disk does not give back.
    fs::write(point.join("manifest.json"), vec![b' '; 5 << 20]).unwrap();
    machine.run(["backup", "prune"]).success().stderr(contains("cannot be read"));
    assert_eq!(clones(&machine), clone);
    fs::write(point.join("manifest.json"), manifest).unwrap();
    machine.run(["restore", "latest", "--yes"]).success();
}

/// On a file system that cannot exchange two directories at once.
#[test]
fn killed_between_two_renames_the_clone_stays_and_its_point_comes_back() {
    let machine = failing();
    machine.run(["upgrade"]).code(7);
    let point = only_point(&machine);
    let id = machine.points().remove(0);
    let clone = clones(&machine);
    let aside = machine.backups().join(format!(".partial-{id}.exchanged"));
    fs::rename(&point, &aside).unwrap();
    machine.run(["upgrade", "--retry"]).code(7);
    assert!(clones(&machine).contains(&clone[0]), "{:?}", clones(&machine));
    assert!(point.exists() && !aside.exists());
}

#[test]
fn a_pinned_clone_point_becomes_a_dump_and_stays() {
    let machine = failing();
    machine.run(["upgrade"]).code(7);
    let id = machine.points().remove(0);
    machine.run(["backup", "pin", &id]).success();
    let machine = machine.migration("0003_divides.sql", "SELECT 1;\n");
    machine.run(["upgrade", "--retry"]).success();
    assert_eq!(clones(&machine), [""; 0]);
    let (_, list) = machine.json(["backup", "list"]);
    let points = list["restore_points"].as_array().unwrap();
    let pinned = points.iter().find(|point| point["id"] == id.as_str()).expect("it is pinned");
    assert_eq!((&pinned["kind"], &pinned["state"]), (&"dump".into(), &"good".into()), "{pinned}");
    assert!(!pinned["pin"].is_null(), "{pinned}");
}

#[test]
fn of_two_clones_one_was_put_back_and_the_other_goes_with_the_point() {
    let machine = TestMachine::with_databases(&["main", "stats"])
        .operator("restore_point = \"clone\"")
        .migration("0003_divides.sql", "SELECT 1 / 0;\n")
        .ship_for("stats", "good");
    machine.run(["upgrade"]).code(7);
    let id = machine.points().remove(0);
    machine.run(["restore", &id, "--database", "main", "--yes"]).success();
    let left = || {
        let name = machine.dbname_of("stats");
        let sql =
            format!("select count(*) from pg_database where datname like '{name}\\_clone\\_%'");
        machine.server().psql("postgres", &sql)
    };
    assert_eq!(left(), "1");
    fs::write(machine.migrations("main").join("0003_divides.sql"), "SELECT 1;\n").unwrap();
    machine.run(["upgrade", "--retry"]).success();
    assert_eq!(left(), "0");
    assert!(!machine.points().contains(&id));
}

/// No dump could be made of them, for days: then one was put back alone.
#[test]
fn a_clone_that_was_never_dumped_stays_when_its_sibling_was_put_back() {
    let machine = TestMachine::with_databases(&["main", "stats"])
        .operator("restore_point = \"clone\"")
        .migration("0003_more.sql", "create table more ();")
        .ship_for("stats", "good")
        .with_unit("openwatch.service", "inactive");
    // Its dump is made by whoever comes by daily, and nobody does.
    machine.run(["migrate"]).success();
    let id = machine.points().remove(0);
    machine.run(["restore", &id, "--database", "main", "--yes"]).success();
    let name = machine.dbname_of("stats");
    let sql = format!("select count(*) from pg_database where datname like '{name}\\_clone\\_%'");
    assert_eq!(machine.server().psql("postgres", &sql), "1");
    let told = machine.run(["backup", "prune"]).success();
    told.stderr(contains(format!("what is left of restore point {id} has no dump (clones: 1)")));
    assert_eq!(machine.server().psql("postgres", &sql), "1");
    assert!(machine.points().contains(&id));
}
