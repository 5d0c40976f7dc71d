//! Packages that must have one version, which units come up first, and dumps of what each step left.

use std::fs;

use predicates::str::contains;
use serde_json::Value;

use super::support::machine::{TestMachine, message};

const SET: &str =
    "equal_versions = [\"openwatch\", \"shop-web\", \"shop-worker\", \"shop-absent\"]";

/// Lets dpkg know these packages, each with its status and its version.
fn installed(machine: &TestMachine, packages: &[(&str, &str, &str)]) {
    let dir = machine.root().join("var/lib/dpkg");
    for part in ["updates", "info", "triggers"] {
        fs::create_dir_all(dir.join(part)).unwrap();
    }
    let entry = |(name, status, version): &(&str, &str, &str)| {
        format!(
            "Package: {name}\nStatus: install ok {status}\nArchitecture: all\nVersion: {version}\n\
             Maintainer: a <a@example.org>\nDescription: a part\n\n"
        )
    };
    fs::write(dir.join("status"), packages.iter().map(entry).collect::<String>()).unwrap();
    fs::write(dir.join("info/openwatch.list"), "/usr/share/openwatch/upgrade.conf\n").unwrap();
}

const OLD: [(&str, &str, &str); 3] = [
    ("openwatch", "installed", "2.0.0-1"),
    ("shop-web", "installed", "2.0.0-1"),
    ("shop-worker", "installed", "1.0.0-1"),
];

fn with(
    at: usize,
    status: &'static str,
    version: &'static str,
) -> [(&'static str, &'static str, &'static str); 3] {
    let mut all = OLD;
    all[2] = ("shop-worker", "installed", "2.0.0-1");
    (all[at].1, all[at].2) = (status, version);
    all
}

#[test]
fn packages_that_are_not_equal_are_refused_before_anything_changes() {
    let machine = TestMachine::new().app_line(SET).ship("good");
    let before = (machine.data(), machine.points());
    for (packages, why) in [
        (
            OLD,
            "packages that must have one version do not: openwatch 2.0.0-1, shop-web 2.0.0-1, \
             but shop-worker 1.0.0-1",
        ),
        (with(1, "unpacked", "2.0.0-1"), "shop-web 2.0.0-1 is not configured yet"),
        (with(1, "half-configured", "2.0.0-1"), "shop-web 2.0.0-1 is not configured yet"),
    ] {
        installed(&machine, &packages);
        for words in [&["upgrade"][..], &["upgrade", "--plan"], &["migrate"], &["preflight"]] {
            let told = message(&machine.run(words.iter().copied()).code(5));
            assert_eq!(told.first, why, "{words:?}");
            assert!(told.state.contains("nothing was changed"), "{told:?}");
        }
    }
    assert_eq!((machine.data(), machine.points()), before);
    assert_eq!(machine.acts(), [""; 0]);
    // The owner's own script is what waits for us, and a package that is not there counts for nothing.
    installed(&machine, &with(0, "half-configured", "2.0.0-1"));
    machine.run(["upgrade"]).success();
    machine.assert_clean();
}

#[test]
fn the_gate_is_closed_by_the_first_package_and_the_engine_waits_for_the_last() {
    let machine = TestMachine::new().app_line(SET).version("1.0.0-1");
    let at = |all: [&'static str; 3]| {
        let mut packages = OLD;
        for (package, version) in packages.iter_mut().zip(all) {
            package.2 = version;
        }
        installed(&machine, &packages);
    };
    // Only the worker is unpacked: what the program knows as its version is still the old one.
    at(["1.0.0-1", "1.0.0-1", "2.0.0-1"]);
    machine.run(["scriptlet", "deb", "preinst", "upgrade", "1.0.0-1", "2.0.0-1"]).success();
    machine.run(["scriptlet", "deb", "postinst", "configure", "1.0.0-1"]).success();
    let mark = || -> Value { serde_json::from_slice(&fs::read(machine.mark()).unwrap()).unwrap() };
    assert_eq!(mark()["to"], "2.0.0-1");
    let waits = machine.run(["scriptlet", "deb", "postinst", "triggered", "shop-upgrade"]);
    waits.success().stderr(contains("waits: packages that must have one version do not"));
    assert_eq!(mark()["failed"]["outcome"], "refused");
    machine.run(["gate"]).failure();
    let next = || machine.json(["status"]).1["next"].as_str().unwrap().to_owned();
    assert_eq!(next(), "Install version 2.0.0-1 of openwatch, shop-web too.");
    // A unit that a package starts meanwhile starts no upgrade, and one more package changes nothing.
    machine.run(["upgrade"]).code(5);
    at(["1.0.0-1", "2.0.0-1", "2.0.0-1"]);
    machine.run(["scriptlet", "deb", "postinst", "configure", "1.0.0-1"]).success();
    machine.run(["scriptlet", "deb", "postinst", "triggered", "shop-upgrade"]).success();
    machine.run(["gate"]).failure();
    // What runs is left alone meanwhile: the old program on the old schema.
    assert_eq!((machine.unit("openwatch.service").as_str(), machine.acts()), ("active", vec![]));
    // The last one: nothing is waited for any more.
    at(["2.0.0-1"; 3]);
    let machine = machine.version("2.0.0-1").ship("good");
    machine.run(["scriptlet", "deb", "postinst", "configure", "1.0.0-1"]).success();
    machine.run(["upgrade"]).success();
    machine.assert_clean();
}

#[test]
fn a_run_that_would_leave_packages_unequal_is_refused_whole() {
    let machine = TestMachine::new().app_line(SET);
    installed(&machine, &with(0, "installed", "2.0.0-1"));
    let before = machine.tree();
    let one = ["scriptlet", "guard", "dnf", "shop-web", "0:3.0.0-1"];
    let told = message(&machine.run(one).code(5));
    assert!(told.first.starts_with(
        "after this run packages that must have one version do not: shop-web 3.0.0-1, but "
    ));
    assert_eq!(told.hint, "Install version 3.0.0-1 of openwatch, shop-worker in the same run.");
    assert_eq!(machine.tree(), before);
    let all = ["shop-web", "0:3.0.0-1", "openwatch", "0:3.0.0-1", "shop-worker", "0:3.0.0-1"];
    machine.run(["scriptlet", "guard", "dnf"].into_iter().chain(all)).success();
}

#[test]
fn what_each_database_was_after_its_migrations_is_dumped_and_is_no_way_back() {
    let machine = TestMachine::with_databases(&["accounts", "storage"])
        .health("")
        .services(&["web.service", "worker.service", "events.service"])
        .app_line("start_first = [\"web.service\", \"worker.service\"]")
        .operator("restore_point_after = [\"migrate\"]")
        .ship_for("accounts", "good")
        .ship_for("storage", "good")
        .with_unit("web.service", "active")
        .with_unit("worker.service", "active")
        .with_unit("events.service", "active");
    machine.run(["upgrade", "--from", "1.0.0-1"]).success();
    let acts = machine.acts();
    let started: Vec<&str> = acts.iter().filter_map(|act| act.strip_prefix("start ")).collect();
    assert_eq!(started, ["web.service", "worker.service", "events.service"]);
    let (_, listed) = machine.json(["backup", "list"]);
    let all = listed["restore_points"].as_array().unwrap();
    let held: Vec<String> = all
        .iter()
        .map(|one| {
            let names = one["databases"].as_array().unwrap().iter();
            let names: Vec<&str> = names.map(|name| name.as_str().unwrap()).collect();
            format!("{}: {}", one["reason"].as_str().unwrap(), names.join(" "))
        })
        .collect();
    assert_eq!(held, ["after step: storage", "after step: accounts", "upgrade: accounts storage"]);
    // Of the new schema, and never what `latest` means.
    let head = |at: usize| {
        let (_, shown) = machine.json(["backup", "show", all[at]["id"].as_str().unwrap()]);
        shown["restore_point"]["databases"][0]["schema"]["head"].clone()
    };
    assert!(head(0) == head(1) && head(0) != head(2));
    let (_, latest) = machine.json(["backup", "show", "latest"]);
    assert_eq!(latest["restore_point"]["reason"], "upgrade");
    let id = all[0]["id"].as_str().unwrap();
    machine.run(["backup", "verify", id]).success();
    let (_, decided) = machine.json(["backup", "prune", "--dry-run"]);
    let why = |at: usize| decided["decisions"][at]["reason"].as_str().unwrap().to_owned();
    assert!(why(0).contains("days old, limit 30"), "{decided}");
    assert!(why(2).contains("needed by the running version"), "{decided}");
    machine.assert_clean();
}
