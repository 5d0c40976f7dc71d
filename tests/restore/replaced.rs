//! Databases that a restore replaced are listed, and go by age and never too early.

use serde_json::Value;

use super::support::machine::TestMachine;

fn replaced(json: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = json["replaced"].as_array().unwrap().iter();
    all.map(|one| (text(&one["kept_as"]), text(&one["verdict"]))).collect()
}

#[test]
fn a_replaced_database_is_listed_and_goes_when_its_time_is_over() {
    let machine = TestMachine::new().with_unit("openwatch.service", "inactive");
    machine.run(["backup", "create"]).success();
    let (_, json) = machine.json(["restore", "latest", "--yes", "--no-copy"]);
    let kept = json["replaced"][0]["kept_as"].as_str().unwrap().to_owned();
    let (_, listed) = machine.json(["backup", "list"]);
    assert_eq!(replaced(&listed), [(kept.clone(), "keep".to_owned())]);
    // Another one, from long ago.
    let old = format!("{}_replaced_20200101T000000Z", machine.dbname());
    machine.server().database(&old);
    let before = machine.data();
    let (_, dry) = machine.json(["backup", "prune", "--dry-run"]);
    let wanted = [(old.clone(), "would remove".to_owned()), (kept.clone(), "keep".to_owned())];
    assert_eq!(replaced(&dry), wanted, "{dry}");
    let (_, done) = machine.json(["backup", "prune"]);
    assert_eq!(replaced(&done), [(old, "removed".to_owned()), (kept.clone(), "keep".to_owned())]);
    let (_, after) = machine.json(["backup", "list"]);
    assert_eq!(replaced(&after), [(kept, "keep".to_owned())]);
    assert_eq!(machine.data(), before);
}

/// Row 85.
#[test]
fn after_an_upgrade_that_failed_no_replaced_database_goes() {
    let machine = TestMachine::new();
    machine.run(["backup", "create"]).success();
    let machine = machine.migration("0003_divides.sql", "SELECT 1 / 0;\n");
    machine.run(["upgrade"]).code(7);
    let old = format!("{}_replaced_20200101T000000Z", machine.dbname());
    machine.server().database(&old);
    let (_, done) = machine.json(["backup", "prune"]);
    assert_eq!(replaced(&done), [(old, "keep".to_owned())], "{done}");
}
