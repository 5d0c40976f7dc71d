//! The guards of whole runs of apt and dnf, and hold and window in the package's own scripts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use predicates::prelude::*;
use predicates::str::{contains, is_empty};

use crate::support::machine::{TestMachine, message};

const NOTHING: (&str, &str) = ("OPENWATCH_NOW", "");

/// What apt tells its hook of a run with another package in it.
fn plan(line: &str) -> String {
    format!(
        "VERSION 3\nAPT::Architecture=amd64\n\ntree 2.0-1 amd64 none < 2.1-1 amd64 none /a/tree.deb\n\
         {line}\ntree 2.0-1 amd64 none < 2.1-1 amd64 none **CONFIGURE**\n"
    )
}

fn ours() -> String {
    plan("openwatch 2.0.0-1 amd64 none < 3.0.0-1 amd64 none /var/cache/apt/archives/openwatch.deb")
}

const APT: [&str; 3] = ["scriptlet", "guard", "apt"];
const DNF: [&str; 7] = ["scriptlet", "guard", "dnf", "tree", "0:2.1-1", "openwatch", "0:3.0.0-1"];
const DNF5: [&str; 5] = ["scriptlet", "guard", "dnf5", "openwatch", "3.0.0-1"];

/// Row 78.
#[test]
fn a_held_package_refuses_the_whole_run_of_every_tool() {
    let machine = TestMachine::new();
    machine.run(["upgrade", "hold", "--reason", "audit"]).success();
    let before = machine.tree();
    let refused = machine.run_told(APT, NOTHING, &ours()).code(5);
    let told = message(&refused);
    let start = "openwatch is not upgraded from 2.0.0-1 to 3.0.0-1 now: it is held since ";
    assert!(told.first.starts_with(start) && told.first.ends_with(": audit"), "{told:#?}");
    assert_eq!(told.detail, "`apt-mark hold openwatch` lets the other packages go on without it");
    assert_eq!(told.state, "nothing was changed; no package of this run was unpacked");
    assert_eq!(
        told.hint,
        "Run `openwatch upgrade release`, or put `OPENWATCH_NOW=1` before the command for this once."
    );
    machine.run(DNF).code(5).stderr(contains("`--exclude=openwatch` lets the other packages"));
    let line = predicate::str::starts_with(format!("error={start}"))
        .and(contains("OPENWATCH_NOW=1"))
        .and(predicate::function(|said: &str| said.lines().count() == 1));
    machine.run(DNF5).code(5).stdout(line).stderr(is_empty());
    assert_eq!(machine.tree(), before);
    assert_eq!(machine.acts(), [""; 0]);
}

/// Rows 5 and 41.
#[test]
fn a_host_whose_schema_another_host_moved_on_is_let_go_to_the_version_that_did_it() {
    let first = TestMachine::new().ship("good");
    let late = TestMachine::beside(&first).version("1.0.0-1");
    first.run(["upgrade"]).success();
    late.run(["gate"]).code(11);
    let to = |version: &str| {
        plan(&format!("openwatch 1.0.0-1 amd64 none < {version} amd64 none /a.deb"))
    };
    let before_unpack = |version| ["scriptlet", "deb", "preinst", "upgrade", "1.0.0-1", version];
    for version in ["2.0.0-1", "3.0.0-1"] {
        late.run_told(APT, NOTHING, &to(version)).success();
        late.run(before_unpack(version)).success();
    }
    // A version that is too old as well is told so before anything is unpacked.
    late.run_told(APT, NOTHING, &to("1.5.0-1")).code(5).stderr(contains("the schema is ahead"));
    late.run(before_unpack("1.5.0-1")).code(5).stderr(contains("Install version 2.0.0"));
}

/// Row 93.
#[test]
fn one_run_is_let_go_at_once_and_the_history_says_so() {
    let machine = TestMachine::new();
    machine.run(["upgrade", "hold", "--reason", "audit"]).success();
    let now = ("OPENWATCH_NOW", "1");
    machine.run_told(APT, now, &ours()).success().stderr(contains("as OPENWATCH_NOW asks"));
    machine.run_told(DNF, now, "").success();
    machine.run_told(APT, ("OPENWATCH_GUARD", "0"), &ours()).success();
    // What the guard let go, the package's scripts are asked again.
    let before_unpack = ["scriptlet", "deb", "preinst", "upgrade", "2.0.0-1", "3.0.0-1"];
    machine.run(before_unpack).code(5).stderr(contains("it is held since"));
    machine.run(["scriptlet", "rpm", "pre", "2", "3.0.0-1"]).code(5);
    machine.run_told(before_unpack, now, "").success();
    let machine = machine.version("3.0.0-1").ship("good");
    machine.run_told(["scriptlet", "deb", "postinst", "configure", "2.0.0-1"], now, "").success();
    machine.run(["scriptlet", "deb", "postinst", "triggered", "openwatch-upgrade"]).success();
    assert_eq!(machine.schema(), "0004");
    assert!(machine.journal()["overrode"].as_str().unwrap().ends_with(": audit"));
}

#[test]
fn what_is_not_an_upgrade_of_ours_is_let_go() {
    let machine = TestMachine::new().operator("checks = [[\"/bin/false\"]]");
    machine.run(["upgrade", "hold"]).success();
    for line in [
        "",
        "other 1.0 amd64 none < 2.0 amd64 none /a/other.deb",
        "openwatch 2.0.0-1 amd64 none = 2.0.0-1 amd64 none /a/openwatch.deb",
        "openwatch 2.0.0-1 amd64 none > 1.0.0-1 amd64 none /a/openwatch.deb",
        "openwatch 2.0.0-1 amd64 none < 3.0.0-1 amd64 none **CONFIGURE**",
        "openwatch 2.0.0-1 amd64 none > - - none **REMOVE**",
    ] {
        machine.run_told(APT, NOTHING, &plan(line)).success().stderr(is_empty());
    }
    machine.run(["scriptlet", "guard", "dnf"]).success();
    machine.run(["scriptlet", "guard", "dnf", "openwatch", "0:2.0.0-1"]).success();
    machine.run(["scriptlet", "guard", "dnf5", "openwatch-doc", "3.0.0-1"]).success();
}

/// Row 11.
#[test]
fn preflight_is_asked_for_the_whole_run() {
    let machine = TestMachine::new().operator("checks = [[\"/bin/false\"]]");
    let refused = machine.run_told(APT, NOTHING, &ours()).code(5);
    assert!(message(&refused).first.contains("/bin/false"));
    // A person's haste is no answer to it.
    machine.run_told(APT, ("OPENWATCH_NOW", "1"), &ours()).code(5);
    let machine = machine.operator("guard = false");
    machine.run_told(APT, NOTHING, &ours()).success().stderr(is_empty());
    machine.run(["scriptlet", "deb", "preinst", "upgrade", "2.0.0-1", "3.0.0-1"]).code(5);
}

#[test]
fn the_repair_of_what_has_begun_is_never_refused() {
    let machine = TestMachine::new().marked(Some("deb"), &["openwatch.service"]);
    machine.run(["upgrade", "hold"]).success();
    machine.run_told(APT, NOTHING, &ours()).success();
    machine.run(DNF).success();
    machine.run(["scriptlet", "deb", "preinst", "upgrade", "2.0.0-1", "3.0.0-1"]).success();
}

#[test]
fn a_guard_that_cannot_ask_lets_the_run_go() {
    let machine = TestMachine::with_own_server();
    for (input, code) in [("", 1), ("VERSION 9\n\n", 1), ("\u{0}\n\n\n", 1)] {
        machine.run_told(APT, NOTHING, input).code(code);
    }
    machine.server().down();
    machine.run_told(APT, NOTHING, &ours()).success().stderr(contains("left to the upgrade"));
    machine.server().up();
    fs::write(machine.operator_conf(), "on_failure = \"explode\"\n").unwrap();
    machine.run_told(APT, NOTHING, &ours()).success().stderr(contains("on_failure"));
    fs::write(machine.operator_conf(), "").unwrap();
    fs::set_permissions(machine.upgrade_dir(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_dir_all(machine.upgrade_dir()).unwrap();
    machine.run_told(APT, NOTHING, &ours()).success().stderr(is_empty());
}

#[test]
fn every_application_of_ours_in_the_run_is_asked() {
    let machine = TestMachine::new();
    for name in ["shop", "strange"] {
        fs::create_dir_all(machine.root().join("usr/share").join(name)).unwrap();
        fs::create_dir_all(machine.root().join("var/lib").join(name).join("upgrade")).unwrap();
    }
    let conf = fs::read_to_string(machine.packager_conf()).unwrap();
    fs::write(machine.root().join("usr/share/shop/upgrade.conf"), conf).unwrap();
    fs::write(machine.root().join("usr/share/strange/upgrade.conf"), "not ours at all").unwrap();
    machine.run(["--app", "shop", "upgrade", "hold", "--reason", "stocktaking"]).success();
    let shop = "shop 1.0 amd64 none < 1.1 amd64 none /a/shop.deb";
    let refused = machine.run_told(APT, NOTHING, &plan(shop)).code(5);
    let told = message(&refused);
    assert!(told.first.contains("shop is not upgraded from 1.0 to 1.1 now"), "{told:#?}");
    assert!(told.hint.contains("`openwatch --app shop upgrade release`"), "{told:#?}");
    let strange = "strange 1.0 amd64 none < 1.1 amd64 none /a/strange.deb";
    machine.run_told(APT, NOTHING, &plan(strange)).success();
    machine.run_told(APT, NOTHING, &plan(&format!("{strange}\n{shop}"))).code(5);
    // The tool does not say what is installed, and no database of packages is here.
    machine.run(["scriptlet", "guard", "dnf", "shop", "1.1"]).success();
}

/// A version in the metadata of a package source is signed by nobody, and root's shell would read it.
#[test]
fn no_guard_hands_words_of_a_package_source_to_a_shell_as_program_text() {
    let actions = fs::read_to_string("packaging/guard/dnf5.actions").unwrap();
    let line = actions.lines().find(|line| !line.starts_with('#')).unwrap();
    let (_, command) = line.split_once(":/bin/sh -c ").unwrap();
    // An argument ends at a space that is not escaped.
    let end = command.match_indices(' ').find(|(at, _)| !command[..*at].ends_with('\\')).unwrap().0;
    let (program, words) = command.split_at(end);
    assert!(!program.contains("${"), "{program}");
    assert_eq!(words.trim(), "guard ${pkg.name} ${pkg.evr}");
    // What the shell then reads, with hostile words.
    let script = program.replace("\\ ", " ").replace("\\\"", "\"");
    let script = script.replace("/usr/bin/openwatch", "printf '%s\\n'");
    let said = std::process::Command::new("/bin/sh")
        .args(["-c", &script, "guard", "name", "1; echo pwned"])
        .output()
        .unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert_eq!(said, "scriptlet\nguard\ndnf5\nname\n1; echo pwned\n");
}
