//! What was encrypted comes back: restored, rehearsed, put back by itself; and nothing without a key.

use super::keys::{
    OTHER_SECRET, RECIPIENT, SECRET, encrypting, encrypts, identity_file, with_identity,
};
use super::nothing_in_clear::{assert_nothing_in_clear, plant};
use crate::support::machine::{TestMachine, message};

fn stopped(machine: TestMachine) -> TestMachine {
    machine.with_unit("openwatch.service", "inactive")
}

#[test]
fn a_restore_with_the_identity_brings_the_same_data_back() {
    let machine = stopped(encrypting());
    plant(&machine);
    let before = machine.data();
    machine.run(["backup", "create"]).success();
    machine.sql("delete from readings; create table later (i int)");
    let identity = identity_file(&machine, "identity", SECRET);
    machine.run(with_identity(&["restore", "latest", "--yes"], &identity)).success();
    assert_eq!(machine.data(), before);
    let mut files = machine.tree();
    files.retain(|path, _| !path.ends_with("identity"));
    assert_nothing_in_clear(&files);
}

#[test]
fn a_restore_without_the_identity_is_refused_with_the_command() {
    let machine = stopped(encrypting());
    machine.run(["backup", "create"]).success();
    let before = machine.data();
    let id = machine.points().remove(0);
    let message = message(&machine.run(["restore", "latest", "--yes"]).code(5));
    assert_eq!(message.first, format!("restore point {id} is encrypted"));
    assert!(message.detail.contains(RECIPIENT), "{message:#?}");
    assert_eq!(message.state, "nothing was changed");
    let printed = format!("openwatch restore {id} --yes --identity FILE");
    assert!(message.hint.contains(&printed), "{message:#?}");
    assert_eq!(machine.data(), before);
    let identity = identity_file(&machine, "identity", SECRET);
    let words = printed.replace("FILE", identity.to_str().unwrap());
    machine.run(words.split(' ').skip(1)).success();
}

#[test]
fn another_identity_is_refused_before_anything_is_touched() {
    let machine = stopped(encrypting());
    machine.run(["backup", "create"]).success();
    let before = machine.data();
    let id = machine.points().remove(0);
    let other = identity_file(&machine, "other", OTHER_SECRET);
    let words = with_identity(&["restore", "latest", "--yes"], &other);
    let message = message(&machine.run(words).code(5));
    let shown = other.display();
    assert_eq!(message.first, format!("the identity in {shown} does not open restore point {id}"));
    assert_eq!(message.state, "nothing was changed");
    assert_eq!(machine.data(), before);
}

#[test]
fn a_configured_identity_is_used_without_being_named() {
    let machine = stopped(encrypting());
    let identity = identity_file(&machine, "identity", SECRET);
    let machine = machine.operator(&format!("backup_identity_file = {identity:?}"));
    let before = machine.data();
    machine.run(["backup", "create"]).success();
    machine.sql("delete from readings");
    machine.run(["restore", "latest", "--yes"]).success();
    assert_eq!(machine.data(), before);
}

#[test]
fn points_in_clear_and_encrypted_ones_live_side_by_side() {
    let machine = stopped(TestMachine::new());
    machine.run(["backup", "create"]).success();
    let machine = encrypts(machine);
    machine.run(["backup", "create"]).success();
    let points = machine.points();
    let identity = identity_file(&machine, "identity", SECRET);
    let before = machine.data();
    let plain = vec!["restore", &points[0], "--yes"];
    for words in [with_identity(&["restore", &points[1], "--yes"], &identity), plain] {
        machine.sql("delete from readings");
        machine.run(words).success();
        assert_eq!(machine.data(), before);
        // Two restores within a second would want the same name for what they replace.
        let replaced = format!("'{}_replaced%'", machine.dbname());
        let drop = format!(
            "select format('drop database %I', datname) from pg_database where datname like {replaced}"
        );
        let drop = machine.server().psql("postgres", &drop);
        machine.server().psql("postgres", &drop);
    }
}

/// The key of the run itself opens what the run made: no identity is on the machine.
#[test]
fn the_policy_restore_puts_encrypted_data_back_within_its_own_run() {
    let machine = encrypting()
        .operator("on_failure = \"restore\"")
        .migration(
            "0003_alone.sql",
            "-- openwatch: no-transaction\nCREATE INDEX CONCURRENTLY by_value ON readings (value);\n",
        )
        .migration("0004_divides.sql", "SELECT 1 / 0;\n");
    let before = machine.data();
    let message = message(&machine.run(["upgrade"]).code(9));
    assert!(message.state.contains("is as before, at schema 0002"), "{message:#?}");
    assert_eq!(machine.data(), before);
    machine.assert_closed();
}

#[test]
fn a_rehearsal_needs_no_identity_for_its_own_copy_and_one_for_a_given_point() {
    let machine = encrypting().ship("good");
    plant(&machine);
    machine.run(["rehearse"]).success();
    machine.run(["backup", "create"]).success();
    let id = machine.points().remove(0);
    let refused = message(&machine.run(["rehearse", "--from-backup", &id]).code(5));
    assert!(refused.hint.contains(&format!("rehearse --from-backup {id} --identity FILE")));
    let identity = identity_file(&machine, "identity", SECRET);
    machine.run(with_identity(&["rehearse", "--from-backup", &id], &identity)).success();
    machine.assert_clean();
}

#[test]
fn a_failed_upgrade_prints_the_restore_with_its_identity() {
    let machine = encrypting()
        .migration(
            "0003_alone.sql",
            "-- openwatch: no-transaction\nCREATE INDEX CONCURRENTLY by_value ON readings (value);\n",
        )
        .migration("0004_divides.sql", "SELECT 1 / 0;\n");
    let before = machine.data();
    let message = message(&machine.run(["upgrade"]).code(7));
    let printed = message.hint.split('`').find(|text| text.contains(" restore ")).unwrap();
    let id = &machine.points()[0];
    assert_eq!(printed, format!("openwatch restore {id} --yes --identity FILE"));
    let identity = identity_file(&machine, "identity", SECRET);
    let words = printed.replace("FILE", identity.to_str().unwrap());
    machine.run(words.split(' ').skip(1)).success();
    assert_eq!(machine.data(), before);
}
