//! `status --drift`: each difference with what should be, what is, and what mends it.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::support::machine::TestMachine;

/// Looks twice as much as needed: the second look proves that the first changed nothing.
fn drift(machine: &TestMachine) -> Value {
    let before = machine.tree();
    let (code, report) = machine.json(["status", "--drift"]);
    assert_eq!(code, 0, "{report}");
    assert_eq!(machine.tree(), before, "looking changed files");
    report
}

fn told(report: &Value, key: &str) -> Vec<String> {
    let text = |found: &Value, key: &str| found[key].as_str().unwrap().to_owned();
    let all = report[key].as_array().unwrap().iter();
    all.map(|found| ["area", "subject", "is"].map(|key| text(found, key)).join("; ")).collect()
}

fn upgraded() -> TestMachine {
    let machine = TestMachine::new().ship("good");
    machine.run(["upgrade", "--from", "1.0.0-1"]).success();
    // A main process that there is, with its program: ours.
    machine.unit_fact("openwatch.service", "pid", &std::process::id().to_string())
}

#[test]
fn after_a_good_upgrade_nothing_has_drifted() {
    let report = drift(&upgraded());
    assert_eq!(report["drift"], json!([]), "{report}");
    assert_eq!(report["by_operator"], json!([]), "{report}");
    // No package tool knows this machine: that is said instead of being taken for agreement.
    let areas: Vec<&Value> =
        report["not_compared"].as_array().unwrap().iter().map(|not| &not["area"]).collect();
    assert_eq!(areas, ["files"], "{report}");
}

#[test]
fn a_definition_that_somebody_changed_is_told_until_it_is_accepted() {
    let machine = upgraded();
    machine.sql("create table by_hand (id int)");
    let report = drift(&machine);
    assert_eq!(told(&report, "drift").len(), 1, "{report}");
    assert!(
        told(&report, "drift")[0].starts_with("schema; main: table public.by_hand"),
        "{report}"
    );
    assert_eq!(report["drift"][0]["should"], "not there");
    machine.run(["baseline", "accept"]).success();
    assert_eq!(drift(&machine)["drift"], json!([]));
    machine.sql("drop table by_hand");
    let report = drift(&machine);
    assert!(told(&report, "drift")[0].contains("is gone"), "{report}");
}

#[test]
fn a_failed_upgrade_leaves_pending_migrations_and_units_that_are_down() {
    let machine = TestMachine::new().ship("failing").marked(Some("deb"), &["openwatch.service"]);
    machine.run(["upgrade"]).code(7);
    let report = drift(&machine);
    let told = told(&report, "drift");
    assert!(told.contains(&"units; openwatch.service; stopped".to_owned()), "{report}");
    assert!(told.iter().any(|t| t.starts_with("schema; main; schema ")), "{report}");
    let unit = report["drift"].as_array().unwrap().iter().find(|f| f["area"] == "units").unwrap();
    assert_eq!(unit["mend"], "The gate is closed: run `dpkg --configure -a`.");
}

#[test]
fn units_are_compared_with_what_ran_and_what_the_operator_chose_is_told_apart() {
    let machine = upgraded()
        .unit_fact("openwatch.service", "reload", "yes")
        .unit_fact(
            "openwatch.service",
            "drop-ins",
            "/etc/systemd/system/openwatch.service.d/a.conf",
        )
        .unit_fact("openwatch.service", "enabled", "disabled")
        .with_unit("openwatch.service", "failed");
    let report = drift(&machine);
    assert_eq!(
        told(&report, "drift"),
        [
            "units; openwatch.service; other files on disk than systemd has read",
            "units; openwatch.service; failed: exit-code",
        ],
        "{report}"
    );
    assert_eq!(report["drift"][1]["mend"], "Run `systemctl start openwatch.service`.");
    assert_eq!(
        told(&report, "by_operator"),
        [
            "units; openwatch.service; changed by /etc/systemd/system/openwatch.service.d/a.conf",
            "units; openwatch.service; disabled",
        ],
        "{report}"
    );
}

/// A real process whose program is replaced on disk while it runs.
#[test]
fn a_program_that_was_replaced_while_it_runs_is_named_with_its_process() {
    let machine = upgraded();
    let program = machine.dir().join("program");
    fs::copy("/bin/sleep", &program).unwrap();
    let mut child = Command::new(&program).arg("600").spawn().unwrap();
    let machine = machine.unit_fact("openwatch.service", "pid", &child.id().to_string());
    let agrees = drift(&machine);
    fs::copy("/bin/sleep", machine.dir().join("next")).unwrap();
    fs::rename(machine.dir().join("next"), &program).unwrap();
    let report = drift(&machine);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(agrees["drift"], json!([]), "{agrees}");
    assert_eq!(report["drift"][0]["area"], "program", "{report}");
    assert_eq!(report["drift"][0]["mend"], "Run `systemctl restart openwatch.service`.");
    assert!(report["drift"][0]["is"].as_str().unwrap().contains("its file was replaced"));
}

/// Makes the database that dpkg would have of this machine's package.
fn known_to_dpkg(machine: &TestMachine) {
    let database = machine.root().join("var/lib/dpkg");
    fs::create_dir_all(database.join("info")).unwrap();
    fs::create_dir_all(database.join("updates")).unwrap();
    let md5 = |path: &str| {
        let out = Command::new("md5sum").arg(machine.root().join(path)).output().unwrap();
        String::from_utf8(out.stdout).unwrap()[..32].to_owned()
    };
    let (conf, version, etc) = (
        "usr/share/openwatch/upgrade.conf",
        "usr/share/openwatch/version",
        "etc/openwatch/upgrade.conf",
    );
    if !machine.root().join(etc).exists() {
        fs::write(machine.root().join(etc), "").unwrap();
    }
    fs::write(
        database.join("status"),
        format!(
            "Package: openwatch\nStatus: install ok installed\nPriority: optional\nSection: admin\n\
             Maintainer: a <a@b>\nArchitecture: all\nVersion: 2.0.0-1\nConffiles:\n /{etc} {}\n\
             Description: x\n\n",
            md5(etc)
        ),
    )
    .unwrap();
    fs::write(database.join("info/openwatch.list"), format!("/{conf}\n/{version}\n/{etc}\n"))
        .unwrap();
    fs::write(
        database.join("info/openwatch.md5sums"),
        format!("{}  {conf}\n{}  {version}\n", md5(conf), md5(version)),
    )
    .unwrap();
}

#[test]
fn files_of_the_package_are_compared_and_edited_configuration_is_the_operators() {
    let machine = upgraded();
    known_to_dpkg(&machine);
    let report = drift(&machine);
    assert_eq!((&report["drift"], &report["not_compared"]), (&json!([]), &json!([])), "{report}");
    fs::write(machine.share().join("version"), "9.9.9-9\n").unwrap();
    let mut conf = fs::read_to_string(machine.operator_conf()).unwrap();
    conf.push_str("# by hand\n");
    fs::write(machine.operator_conf(), &conf).unwrap();
    fs::write(machine.etc().join("upgrade.conf.dpkg-dist"), "").unwrap();
    let report = drift(&machine);
    let subjects: Vec<&str> = report["drift"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["subject"].as_str().unwrap())
        .collect();
    assert_eq!(
        subjects,
        ["/usr/share/openwatch/version", "/etc/openwatch/upgrade.conf"],
        "{report}"
    );
    assert_eq!(report["drift"][0]["mend"], "Run `apt-get install --reinstall openwatch=2.0.0-1`.");
    assert_eq!(
        told(&report, "by_operator"),
        ["configuration; /etc/openwatch/upgrade.conf; edited"]
    );
}

#[test]
fn a_word_that_nobody_understands_is_drift_of_the_configuration() {
    let machine = upgraded().operator("backup_keeep = 3");
    let report = drift(&machine);
    assert_eq!(report["drift"][0]["area"], "configuration", "{report}");
    assert!(report["drift"][0]["is"].as_str().unwrap().contains("backup_keeep"), "{report}");
}
