//! An attempt repeated after a failed one: its restore point is used again where it is what another
//! dump would be, and only there.

use std::fs;

use serde_json::Value;

use super::support::machine::TestMachine;

/// What a retry says of a restore point that it does not take.
const NOT: &str = "of the attempt before is not used again: ";

/// A machine whose upgrade failed, and left the data as it was.
fn failed() -> TestMachine {
    let machine = TestMachine::new().ship("failing");
    machine.run(["upgrade"]).code(7);
    assert_eq!(machine.points().len(), 1);
    machine
}

/// Tries again, in vain; returns what was said.
fn again(machine: &TestMachine) -> String {
    let run = machine.run(["upgrade", "--retry"]).code(7);
    String::from_utf8_lossy(&run.get_output().stderr).into_owned()
}

/// Tries again, and finds that another restore point is taken, for this reason.
fn not_used_again(machine: &TestMachine, why: &str) {
    let said = again(machine);
    assert!(said.contains(NOT) && said.contains(why), "{why}: {said}");
    assert_eq!(machine.points().len(), 2, "{said}");
    assert_eq!(machine.journal()["used_again"], Value::Null);
}

/// Changes the manifest of the one restore point.
fn edit(machine: &TestMachine, change: impl FnOnce(&mut Value)) {
    let path = machine.backups().join(&machine.points()[0]).join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut manifest);
    fs::write(&path, serde_json::to_vec_pretty(&manifest).unwrap()).unwrap();
}

/// Rows 73 and 86.
#[test]
fn attempts_repeated_after_a_failure_take_no_further_dump() {
    let machine = failed();
    let point = machine.points().remove(0);
    for _ in 0..2 {
        let said = again(&machine);
        let told = format!("restore point {point} of the attempt before is used again: made at ");
        assert!(said.contains(&told) && said.contains("nothing was written since"), "{said}");
        assert_eq!(machine.points(), std::slice::from_ref(&point));
        assert_eq!(machine.journal()["restore_point"], *point);
        assert_eq!(machine.journal()["used_again"], *point);
        machine.assert_closed();
    }
    // What an open run stands on stays, whatever its age.
    let machine = machine.operator("backup_retention_days = 0");
    let (_, pruned) = machine.json(["backup", "prune", "--dry-run"]);
    assert_eq!(pruned["decisions"][0]["verdict"], "keep", "{pruned}");
    let machine =
        machine.migration("0004_audit.sql", "create table audit (id bigint primary key);");
    machine.run(["upgrade", "--retry"]).success();
    assert_eq!(machine.points(), [point]);
    assert!(!machine.upgrade_dir().join("standstill.json").exists());
}

/// Row 86.
#[test]
fn after_one_row_was_written_another_dump_is_taken() {
    let machine = failed();
    machine.sql("insert into machines values (9001, 'added since')");
    not_used_again(&machine, "main: table public.machines has new rows");
}

/// Row 86.
#[test]
fn after_one_row_was_deleted_another_dump_is_taken() {
    let machine = failed();
    machine.sql("delete from readings where ctid = (select min(ctid) from readings)");
    not_used_again(&machine, "main: rows of table public.readings were deleted");
}

#[test]
fn after_a_comment_was_written_another_dump_is_taken() {
    let machine = failed();
    machine.sql("comment on table machines is 'written since'");
    not_used_again(&machine, "a sequence, a comment or a setting of the database is another one");
}

#[test]
fn after_the_schema_was_changed_another_dump_is_taken() {
    let machine = failed();
    machine.sql("create table made_since (id int)");
    not_used_again(&machine, "the schema changed (new: public.made_since)");
}

#[test]
fn a_damaged_point_is_not_used_again() {
    let machine = failed();
    let archive = machine.backups().join(&machine.points()[0]).join("main/toc.dat");
    let mut bytes = fs::read(&archive).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&archive, bytes).unwrap();
    not_used_again(&machine, "toc.dat");
}

#[test]
fn a_point_that_is_too_old_is_not_used_again() {
    let machine = failed();
    edit(&machine, |manifest| manifest["created"] = "2026-01-01T00:00:00Z".into());
    not_used_again(&machine, " old");
}

#[test]
fn a_point_of_another_database_is_not_used_again() {
    let machine = failed();
    edit(&machine, |manifest| manifest["databases"][0]["identity"]["oid"] = 1.into());
    not_used_again(&machine, "main: it may be another database");
}

#[test]
fn without_the_note_of_what_was_written_another_dump_is_taken() {
    let machine = failed();
    fs::write(machine.upgrade_dir().join("standstill.json"), "{").unwrap();
    not_used_again(&machine, "it is not known what was written since");
}
