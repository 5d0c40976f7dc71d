//! What `upgrade --plan` says of the steps that lie ahead; its JSON is a contract.

use serde_json::{Value, json};

use super::support::machine::TestMachine;

fn plan(machine: &TestMachine) -> Value {
    let before = machine.tree();
    let (code, plan) = machine.json(["upgrade", "--plan", "--from", "1.0.0-1"]);
    assert_eq!(code, 0, "{plan}");
    assert_eq!(machine.tree(), before, "a plan changed files");
    plan
}

fn column(plan: &Value, key: &str) -> Vec<String> {
    let steps = plan["order"].as_array().unwrap().iter();
    steps.map(|step| format!("{} {}", step["step"].as_str().unwrap(), step[key])).collect()
}

#[test]
fn the_steps_are_told_in_their_order_with_what_fails_and_where_the_way_back_begins_to_cost() {
    let plan = plan(&TestMachine::new().ship("good"));
    assert_eq!((&plan["from"], &plan["to"]), (&json!("1.0.0-1"), &json!("2.0.0-1")));
    let order = plan["order"].as_array().unwrap();
    assert_eq!(
        column(&plan, "exit_if_failed"),
        ["preflight 5", "quiesce 1", "restore_point 6", "migrate 7", "start 8", "health 8"]
    );
    assert_eq!(
        column(&plan, "back_when_done"),
        [
            r#"preflight "free""#,
            r#"quiesce "free""#,
            r#"restore_point "free""#,
            r#"migrate "restore""#,
            r#"start "loses_writes""#,
            r#"health "loses_writes""#,
        ]
    );
    assert_eq!(
        order[3],
        json!({
            "step": "migrate",
            "moves": ["main: 0003 0004"],
            "fails_when": ["a statement fails", "a lock is not granted within 2.0 s"],
            "outcome_if_failed": "migration_failed",
            "exit_if_failed": 7,
            "leaves_if_failed": "the gate is closed and the units are down; the data is as it was: its \
                                 one transaction takes everything back",
            "back_if_failed": "free",
            "back_when_done": "restore",
        })
    );
    assert_eq!(
        plan["boundary"],
        json!({
            "free_through": "restore_point",
            "restore_from": "migrate",
            "loses_writes_from": "start",
            "none_from": null,
            "said": "free until the migrations are committed; then a restore that loses nothing; once \
                     the units are started it loses what they wrote since",
        })
    );
}

#[test]
fn without_a_restore_point_the_plan_says_that_there_is_no_way_back() {
    let plan = plan(&TestMachine::new().ship("good").operator("auto_backup = false"));
    assert_eq!(
        column(&plan, "back_when_done"),
        [
            r#"preflight "free""#,
            r#"quiesce "free""#,
            r#"migrate "none""#,
            r#"start "none""#,
            r#"health "none""#,
        ]
    );
    assert_eq!(plan["boundary"]["none_from"], "migrate");
}

#[test]
fn where_failures_are_put_back_or_compared_the_plan_says_so() {
    let machine = TestMachine::new().ship("good").operator("on_failure = \"restore\"");
    let plan = plan(&machine.operator("baseline_stop = [\"rows\"]"));
    let migrate = &plan["order"][3];
    assert_eq!(migrate["outcome_if_failed"], "rolled_back");
    assert_eq!(migrate["back_if_failed"], "free");
    assert_eq!(migrate["fails_when"][2], "the comparison with the baseline fails: rows");
}

#[test]
fn where_nothing_is_pending_the_way_back_is_free_throughout() {
    let machine = TestMachine::new();
    let plan = plan(&machine);
    assert_eq!(plan["decision"], "nothing_pending");
    assert_eq!(plan["order"], json!([]));
    assert_eq!(plan["boundary"]["said"], "free throughout: the data does not change");
}
