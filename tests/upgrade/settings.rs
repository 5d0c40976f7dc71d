//! What the next version needs of the application's own configuration.

use std::fs;

use predicates::str::contains;

use crate::support::archives::{deb, file};
use crate::support::machine::{TestMachine, message};
use crate::support::packages::{Desk, SETTINGS, content, with};

/// A configuration that was right for the old version, and the rules of the new one about it.
fn configured(machine: &TestMachine) -> String {
    let file = machine.etc().join("shop.ini");
    fs::write(&file, "[listen]\nport = 80\n\n[cache]\nmode = \"fast\"\nsecret = planted\n")
        .unwrap();
    let file = file.display();
    format!(
        "[[setting]]\nfile = \"{file}\"\nkey = \"listen.port\"\ngone = \"Write listen.address\"\n\
         [[setting]]\nfile = \"{file}\"\nkey = \"listen.address\"\nneeded = \"Write `address = ...`\"\n\
         [[setting]]\nfile = \"{file}\"\nkey = \"cache.mode\"\none_of = [\"safe\", \"off\"]\n\
         [[setting]]\nfile = \"{file}\"\nkey = \"cache.secret\"\nneeded = \"Write one\"\n\
         [[setting]]\nfile = \"{file}.absent\"\nkey = \"any\"\nneeded = \"Write one\"\n"
    )
}

/// The three findings, each with its place.
fn assert_every_key_is_named(machine: &TestMachine, said: &str) {
    let file = machine.etc().join("shop.ini");
    let file = file.display();
    for part in [
        format!("{file}:2: the next version does not know listen.port. Write listen.address."),
        format!("{file}: the next version needs listen.address, which is not there. Write"),
        format!(
            "{file}:5: the next version does not take this cache.mode. Write one of safe, off."
        ),
    ] {
        assert!(said.contains(&part), "{part}\n{said}");
    }
    assert!(!said.contains("absent") && !said.contains("secret"), "{said}");
}

fn package(machine: &TestMachine) -> (Desk, String) {
    let desk = Desk::new();
    let settings = format!("{SETTINGS}{}", configured(machine));
    let conf = file("./usr/share/openwatch/upgrade.conf", settings);
    let path = desk.put("new.deb", &deb("openwatch", &with(content(&["base", "good"]), conf)));
    (desk, path)
}

/// Row 12.
#[test]
fn a_configuration_that_the_next_version_does_not_take_is_found_before_it_is_unpacked() {
    let machine = TestMachine::new();
    let (desk, path) = package(&machine);
    let refused = desk.look(&machine, &["preflight", "--package", &path]).code(5);
    assert_every_key_is_named(&machine, &message(&refused).detail);
    let before = machine.tree();
    let plan = format!(
        "VERSION 3\nAPT::Architecture=amd64\n\n\
         openwatch 2.0.0-1 amd64 none < 3.0.0-1 amd64 none {path}\n"
    );
    let nothing = ("OPENWATCH_NOW", "");
    let refused = machine.run_told(["scriptlet", "guard", "apt"], nothing, &plan).code(5);
    let told = message(&refused);
    assert_every_key_is_named(&machine, &told.detail);
    assert_eq!(told.state, "nothing was changed; no package of this run was unpacked");
    let dnf = ["scriptlet", "guard", "dnf", "--files", "openwatch", "0:3.0.0-1", &path];
    let refused = machine.run(dnf).code(5);
    assert_every_key_is_named(&machine, &message(&refused).detail);
    assert_eq!((machine.tree(), machine.acts()), (before, vec![]));
    // Mended, the same package is let go.
    let right = "[listen]\naddress = 0.0.0.0:80\n[cache]\nmode = 'safe'\nsecret = x\n";
    fs::write(machine.etc().join("shop.ini"), right).unwrap();
    machine.run_told(["scriptlet", "guard", "apt"], nothing, &plan).success();
    machine.run(dnf).success();
    desk.look(&machine, &["preflight", "--package", &path]).success();
}

/// By dpkg or rpm alone nobody tells us where the package lies.
///
/// Row 12.
#[test]
fn a_configuration_that_the_unpacked_version_does_not_take_is_found_before_anything_stops() {
    let machine = TestMachine::new().ship("good");
    let conf = fs::read_to_string(machine.packager_conf()).unwrap();
    fs::write(machine.packager_conf(), conf + &configured(&machine)).unwrap();
    let refused = machine.run(["upgrade"]).code(5);
    assert_every_key_is_named(&machine, &message(&refused).detail);
    assert_eq!((machine.acts(), machine.schema()), (vec![], "0002".into()));
    assert_eq!(machine.unit("openwatch.service"), "active");
}

#[test]
fn a_package_that_cannot_be_read_is_left_to_its_tool() {
    let machine = TestMachine::new();
    let desk = Desk::new();
    let path = desk.put("new.rpm", b"no package at all");
    machine
        .run(["scriptlet", "guard", "dnf", "--files", "openwatch", "0:3.0.0-1", &path])
        .success()
        .stderr(contains("new.rpm"));
    machine.run(["scriptlet", "guard", "dnf", "--files", "openwatch", "0:3.0.0-1", ""]).success();
    machine.run(["scriptlet", "guard", "dnf", "--files", "openwatch", "0:3.0.0-1"]).code(2);
}
