//! The identity itself: proven before it is needed, refused where others could read it, never shown.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::keys::{
    OTHER_SECRET, RECIPIENT, SECRET, encrypting, encrypts, identity_file, with_identity,
};
use super::nothing_in_clear::verified;
use crate::support::machine::{TestMachine, message};

fn findings(machine: &TestMachine) -> String {
    let (_, found) = machine.json(["preflight"]);
    found["findings"].to_string()
}

#[test]
fn an_identity_that_nobody_has_shown_is_told_before_the_upgrade_until_it_is() {
    let machine = encrypting().ship("good");
    assert!(findings(&machine).contains("nobody has shown on this machine"));
    machine.run(["backup", "create"]).success();
    let id = machine.points().remove(0);
    // Without the identity the files are whole; that is not the same.
    let (_, answer) = machine.json(["backup", "verify"]);
    assert_eq!(answer["identity_proven"], false);
    assert!(findings(&machine).contains("nobody has shown on this machine"));
    let (_, status) = machine.json(["status"]);
    assert!(status["encryption"]["identity_proven"].is_null());
    let identity = identity_file(&machine, "identity", SECRET);
    assert!(verified(&machine, &identity).contains(RECIPIENT));
    assert!(!findings(&machine).contains("nobody has shown"));
    let (_, status) = machine.json(["status"]);
    assert_eq!(status["encryption"]["identity_proven"]["point"], id.as_str());
    assert_eq!(status["encryption"]["recipients"][0], RECIPIENT);
    machine.run(["status"]).success().stdout(predicates::str::contains(format!("opened {id} at")));
    // Of a recipient that came later nothing is shown yet.
    let machine = machine
        .operator_without("backup_recipients")
        .operator(&format!("backup_recipients = [\"{}\"]", super::keys::OTHER_RECIPIENT));
    assert!(findings(&machine).contains("nobody has shown on this machine"));
}

#[test]
fn a_configured_identity_that_fits_no_recipient_refuses_the_upgrade() {
    let machine = encrypting().ship("good");
    let other = identity_file(&machine, "other", OTHER_SECRET);
    let machine = machine.operator(&format!("backup_identity_file = {other:?}"));
    let before = machine.data();
    for verb in ["preflight", "upgrade"] {
        let message = message(&machine.run([verb]).code(5));
        assert!(message.first.contains("belongs to none of the recipients"), "{message:#?}");
        assert!(message.hint.contains("backup_identity_file"), "{message:#?}");
    }
    assert_eq!(machine.data(), before);
    let own = identity_file(&machine, "own", SECRET);
    let machine = machine
        .operator_without("backup_identity_file")
        .operator(&format!("backup_identity_file = {own:?}"));
    assert!(!findings(&machine).contains("identity"), "{}", findings(&machine));
    machine.run(["upgrade"]).success();
}

#[test]
fn the_policy_restore_without_an_identity_is_told_what_it_cannot_do() {
    let machine = encrypting().ship("good").operator("on_failure = \"restore\"");
    assert!(findings(&machine).contains("not after it was killed"));
}

#[test]
fn an_identity_file_that_others_can_read_is_refused() {
    let machine = encrypting();
    machine.run(["backup", "create"]).success();
    let identity = identity_file(&machine, "identity", SECRET);
    let words = || with_identity(&["backup", "verify"], &identity);
    fs::set_permissions(&identity, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = message(&machine.run(words()).code(3));
    assert!(refused.first.contains("other users can read"), "{refused:#?}");
    assert!(refused.hint.contains("chmod 0600"), "{refused:#?}");
    fs::set_permissions(&identity, fs::Permissions::from_mode(0o400)).unwrap();
    let link = machine.dir().join("link");
    std::os::unix::fs::symlink(&identity, &link).unwrap();
    machine.run(with_identity(&["backup", "verify"], &link)).code(3);
    machine.run(words()).success();
}

#[test]
fn recipients_that_make_no_sense_never_turn_encryption_off() {
    let machine = TestMachine::new();
    let file = machine.dir().join("recipients");
    fs::write(&file, "# nobody yet\n").unwrap();
    let machine = machine.operator(&format!("backup_recipients_file = {file:?}"));
    let told = message(&machine.run(["backup", "create"]).code(3));
    assert!(told.first.contains("names no recipient"), "{told:#?}");
    fs::remove_file(&file).unwrap();
    machine.run(["backup", "create"]).code(3);
    assert!(!machine.backups().exists() || machine.points().is_empty());
    fs::write(&file, format!("{RECIPIENT}\n")).unwrap();
    machine.run(["backup", "create"]).success();
    let (_, shown) = machine.json(["backup", "show"]);
    assert_eq!(shown["restore_point"]["encryption"]["recipients"][0], RECIPIENT);
}

#[test]
fn a_secret_key_among_the_recipients_is_refused_and_not_shown() {
    let machine = TestMachine::new().operator(&format!("backup_recipients = [\"{SECRET}\"]"));
    let ended = machine.run(["backup", "create"]).code(3);
    let said = String::from_utf8_lossy(&ended.get_output().stderr).into_owned();
    assert!(said.contains("secret identity"), "{said}");
    assert!(!said.contains("QFSRRUUYXFS0QU9SDK4M4ZL8"), "{said}");
}

/// The needle of the secret must be in the identity file alone.
#[test]
fn the_identity_is_in_no_output_and_no_file() {
    const NEEDLE: &str = "QFSRRUUYXFS0QU9SDK4M4ZL8";
    let machine = encrypts(TestMachine::new())
        .operator("on_failure = \"restore\"")
        .with_unit("openwatch.service", "inactive");
    let identity = identity_file(&machine, "identity", SECRET);
    let machine = machine.operator(&format!("backup_identity_file = {identity:?}"));
    for words in [
        "-v backup create",
        "-v backup verify --json",
        "-v backup show --json",
        "-v preflight --json",
        "-v status --json",
        "-v restore latest --yes --json",
        "-v history --json",
    ] {
        let ended = machine.run(words.split(' ')).success();
        let output = ended.get_output();
        let said = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b)).concat();
        assert!(!said.to_uppercase().contains(NEEDLE), "{words}:\n{said}");
    }
    // A file that is no identity file is not echoed either.
    fs::write(&identity, format!("{SECRET}x\n")).unwrap();
    let ended = machine.run(["backup", "verify"]).code(3);
    let said = String::from_utf8_lossy(&ended.get_output().stderr).to_uppercase();
    assert!(!said.contains(NEEDLE), "{said}");
    for (path, (_, content)) in machine.tree() {
        let held = content.windows(NEEDLE.len()).any(|window| window == NEEDLE.as_bytes());
        assert!(!held, "{} holds the identity", path.display());
    }
}
