//! Two versions at once, where no migration is pending: rolling restarts, and two sides of which one serves.

use std::fs;
use std::os::unix::fs::symlink;

use predicates::str::contains;

use super::support::machine::{TestMachine, message};
use super::support::postgres::wait_for;
use super::tree::Trees;

/// Waits until the test says go.
const WAIT: &str = "while [ ! -e \"$here/go\" ]; do sleep 0.05; done";

/// Begins a run, and kills it where it has come to what waits.
fn killed_at(machine: &TestMachine, words: &[&str], place: &str, there: impl FnMut() -> bool) {
    let mut run = machine.spawn(words.iter().copied());
    wait_for(place, there);
    run.kill().unwrap();
    run.wait().unwrap();
    fs::write(machine.dir().join("go"), "").unwrap();
}

const ONE: &str = "app@1.service";
const TWO: &str = "app@2.service";

/// Two instances of a packaged application; each is asked by a probe of its own.
fn rolling() -> TestMachine {
    let probes = [ONE, TWO].map(|unit| {
        format!("[[health]]\ncommand = [\"/usr/bin/test\", \"!\", \"-e\", \"/nonexistent/{unit}\"]\nanswered_by = \"{unit}\"\n")
    });
    TestMachine::new()
        .with_unit(ONE, "active")
        .with_unit(TWO, "active")
        .services(&[TWO, ONE])
        .app_line("restart = \"rolling\"\nrestart_pause = \"1ms\"")
        .health(&probes.concat())
        .ship("base")
        .marked(None, &[TWO, ONE])
}

#[test]
fn a_rolling_restart_proves_each_unit_before_the_next_one() {
    let machine = rolling();
    // Whoever is restarted looks whether the other one is up.
    let up = |other: &str| format!("test \"$(cat \"$here/units/{other}/active\")\" = active");
    let machine = machine.with_hook("restart", ONE, &up(TWO)).with_hook("restart", TWO, &up(ONE));
    machine.run(["upgrade"]).success();
    assert_eq!(
        machine.acts(),
        ["daemon-reload", &format!("restart {ONE}"), &format!("restart {TWO}")]
    );
    machine.assert_clean();
}

#[test]
fn a_unit_that_is_not_proved_ends_a_rolling_restart_and_the_others_stay() {
    let machine = rolling();
    let conf = fs::read_to_string(machine.packager_conf()).unwrap();
    let conf = conf.replace(&format!("/nonexistent/{ONE}\"]"), "/\"]\ndeadline = \"1s\"");
    fs::write(machine.packager_conf(), conf).unwrap();
    let told = message(&machine.run(["upgrade"]).code(8));
    assert!(told.detail.contains("unit 1 of 2; the others were left as they run"), "{told:?}");
    assert_eq!((machine.unit(ONE).as_str(), machine.unit(TWO).as_str()), ("inactive", "active"));
    assert!(machine.mark().exists());
    assert!(!machine.acts().iter().any(|act| act.contains(TWO)), "{:?}", machine.acts());
}

/// Row 67.
#[test]
fn a_rolling_restart_killed_between_two_units_is_finished_by_the_named_command() {
    let machine = rolling().with_hook("restart", TWO, WAIT);
    killed_at(&machine, &["upgrade"], "the second unit", || {
        machine.acts().contains(&format!("restart {TWO}"))
    });
    // The service manager goes on without us.
    wait_for("its restart", || machine.unit(TWO) == "active");
    let (_, status) = machine.json(["status"]);
    assert_eq!(status["last_run"]["outcome"], "interrupted", "{status}");
    finish(&machine, &status);
    assert_eq!((machine.unit(ONE).as_str(), machine.unit(TWO).as_str()), ("active", "active"));
    let after = machine.acts().iter().skip(3).filter(|act| act.starts_with("restart")).count();
    assert_eq!(after, 2, "nobody knows which unit runs what: {:?}", machine.acts());
    machine.assert_clean();
}

/// Runs the command that `status` names.
fn finish(machine: &TestMachine, status: &serde_json::Value) {
    let next = status["next"].as_str().unwrap_or_else(|| panic!("no next command: {status}"));
    let words = next.strip_prefix("openwatch ").unwrap_or_else(|| panic!("not ours: {next}"));
    machine.run(words.split(' ')).success();
}

const BLUE: &str = "app@blue.service";
const GREEN: &str = "app@green.service";

/// 2.2 serves on blue; `switch` writes down what it is told.
fn sides(more: &str) -> Trees {
    let machine = TestMachine::new()
        .with_unit(BLUE, "active")
        .with_unit(GREEN, "inactive")
        .services(&[BLUE, GREEN]);
    let log = machine.dir().join("switched");
    let switch = format!("echo $OPENWATCH_SIDE $OPENWATCH_VERSION >> {}", log.display());
    let trees = Trees::on(
        machine,
        &format!(
            "switch = [\"sh\", \"-c\", \"{switch}\"]\n\
             sides = {{ blue = [\"{BLUE}\"], green = [\"{GREEN}\"] }}\n{more}"
        ),
    );
    symlink(trees.home().join("versions/v2.2"), trees.home().join("blue")).unwrap();
    trees
}

fn states(trees: &Trees) -> (String, String) {
    (trees.machine.unit(BLUE), trees.machine.unit(GREEN))
}

fn switched(trees: &Trees) -> String {
    fs::read_to_string(trees.machine.dir().join("switched")).unwrap_or_default()
}

fn leads(trees: &Trees, side: &str) -> String {
    let target = fs::read_link(trees.home().join(side)).unwrap();
    target.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_version_is_proved_on_the_idle_side_before_anything_is_switched() {
    let trees = sides("");
    let machine = &trees.machine;
    machine.run(["upgrade", "--to", "v2.3"]).success();
    assert_eq!(states(&trees), ("inactive".into(), "active".into()));
    assert_eq!(switched(&trees), "green 2.3\n");
    assert_eq!((trees.linked().as_str(), leads(&trees, "green").as_str()), ("2.3", "2.3"));
    let acts =
        ["daemon-reload", &format!("restart {GREEN}"), "daemon-reload", &format!("stop {BLUE}")];
    assert_eq!(machine.acts(), acts);
    machine.assert_clean();

    // With a migration the side that serves stays the one that serves.
    machine.run(["upgrade", "--to", "v2.4"]).success();
    assert_eq!(states(&trees), ("inactive".into(), "active".into()));
    assert_eq!((leads(&trees, "green").as_str(), machine.schema().as_str()), ("2.4", "0004"));
    machine.run(["rollback", "--yes"]).success();
    assert_eq!(states(&trees), ("inactive".into(), "active".into()));
    assert_eq!((leads(&trees, "green").as_str(), trees.linked().as_str()), ("2.3", "2.3"));
    assert!(switched(&trees).ends_with("green 2.4\ngreen 2.3\n"), "{}", switched(&trees));
    machine.assert_clean();
}

#[test]
fn a_side_that_is_not_proved_is_stopped_and_nothing_is_switched() {
    let trees = sides("");
    let machine = &trees.machine;
    let bad = format!(
        "[[health]]\ncommand = [\"/usr/bin/test\", \"!\", \"-e\", \"{}/bad\"]\n\
         deadline = \"1s\"\nanswered_by = \"{GREEN}\"\n",
        trees.home().join("green").display()
    );
    let conf = fs::read_to_string(machine.packager_conf()).unwrap();
    fs::write(machine.packager_conf(), conf + &bad).unwrap();
    fs::write(trees.release("v2.3").join("bad"), "").unwrap();
    let told = message(&machine.run(["upgrade", "--to", "v2.3"]).code(8));
    assert_eq!(told.state, "nothing was switched; version 2.2 serves on blue");
    assert_eq!(told.hint, "Mend the cause, then run `openwatch upgrade --to 2.3`.");
    assert_eq!(states(&trees), ("active".into(), "inactive".into()));
    assert_eq!((switched(&trees).as_str(), trees.linked().as_str()), ("", "v2.2"));
    assert!(!machine.acts().iter().any(|act| act.contains(BLUE)), "{:?}", machine.acts());
    machine.assert_clean();
}

#[test]
fn what_fails_behind_the_switch_is_switched_back_to_the_side_that_still_serves() {
    let trees = sides("");
    let machine = &trees.machine;
    let bad = format!(
        "[[health]]\ncommand = [\"/usr/bin/test\", \"!\", \"-e\", \"{}/bad\"]\ndeadline = \"1s\"\n",
        trees.home().join("current").display()
    );
    let conf = fs::read_to_string(machine.packager_conf()).unwrap();
    fs::write(machine.packager_conf(), conf + &bad).unwrap();
    fs::write(trees.release("v2.3").join("bad"), "").unwrap();
    let told = message(&machine.run(["upgrade", "--to", "v2.3"]).code(9));
    assert_eq!(told.state, "version 2.2 serves on blue again; no data was touched");
    assert_eq!(states(&trees), ("active".into(), "inactive".into()));
    assert_eq!(switched(&trees), "green 2.3\nblue 2.2\n");
    assert_eq!(trees.linked(), "v2.2");
    assert!(!machine.acts().iter().any(|act| act.contains(BLUE)), "{:?}", machine.acts());
    assert!(!machine.mark().exists());
}

#[test]
fn sides_that_are_not_two_with_all_units_are_refused() {
    let trees = sides("");
    let conf = fs::read_to_string(trees.machine.packager_conf()).unwrap();
    let both = format!("{{ blue = [\"{BLUE}\"], green = [\"{GREEN}\"] }}");
    for (other, fault) in [
        (format!("{{ blue = [\"{BLUE}\"] }}"), "does not name two sides"),
        (format!("{{ blue = [\"{BLUE}\"], green = [] }}"), "has a side without units"),
        (format!("{{ blue = [\"{BLUE}\"], green = [\"{BLUE}\"] }}"), "names a unit twice"),
        (format!("{{ blue = [\"{BLUE}\"], green = [\"x.service\"] }}"), "is not in app.services"),
    ] {
        fs::write(trees.machine.packager_conf(), conf.replace(&both, &other)).unwrap();
        trees.machine.run(["status"]).code(3).stderr(contains(fault));
    }
}

/// Nothing is marked yet: what serves goes on, and the same command again finds the rest.
///
/// Row 67.
#[test]
fn killed_while_the_idle_side_starts_the_other_one_serves_on() {
    let trees = sides("");
    let machine = &trees.machine;
    let hook = machine.dir().join(format!("hooks/restart.{GREEN}"));
    fs::write(&hook, WAIT).unwrap();
    killed_at(machine, &["upgrade", "--to", "v2.3"], "the idle side", || {
        machine.acts().contains(&format!("restart {GREEN}"))
    });
    assert_eq!((switched(&trees).as_str(), trees.linked().as_str()), ("", "v2.2"));
    assert!(!machine.mark().exists());
    wait_for("the start that goes on", || machine.unit(GREEN) == "active");
    assert_eq!(machine.unit(BLUE), "active");
    machine.run(["gate"]).success();
    machine.run(["upgrade", "--to", "v2.3"]).success();
    only_green_serves(&trees);
}

/// The new side runs, the link still leads to the old version.
///
/// Row 67.
#[test]
fn killed_in_the_hand_over_between_two_sides_the_named_command_finishes_it() {
    let trees = sides("");
    let machine = &trees.machine;
    let conf = fs::read_to_string(machine.packager_conf()).unwrap();
    let go = machine.dir().join("go");
    let waiting = format!("; while [ ! -e {} ]; do sleep 0.05; done\"]", go.display());
    let log = format!("{}\"]", machine.dir().join("switched").display());
    let changed = conf.replace(&log, &log.replace("\"]", &waiting));
    assert_ne!(changed, conf);
    fs::write(machine.packager_conf(), changed).unwrap();
    killed_at(machine, &["upgrade", "--to", "v2.3"], "the hand-over", || {
        switched(&trees) == "green 2.3\n"
    });
    assert_eq!(states(&trees), ("active".into(), "active".into()));
    assert!(machine.mark().exists(), "the mark is written before anything is switched");
    let (_, status) = machine.json(["status"]);
    finish(machine, &status);
    only_green_serves(&trees);
}

/// Switched and proved, but the former side still runs.
///
/// Row 67.
#[test]
fn killed_while_the_former_side_stops_it_is_stopped_by_the_next_run() {
    let trees = sides("");
    let machine = &trees.machine;
    let hook = machine.dir().join(format!("hooks/stop.{BLUE}"));
    // This stop is lost, as one is that the service manager was never asked for.
    let lost = "[ ! -e \"$here/lost\" ] || exit 0; touch \"$here/lost\"";
    fs::write(&hook, format!("{lost}\n{WAIT}\nexit 1\n")).unwrap();
    killed_at(machine, &["upgrade", "--to", "v2.3"], "the stop of the former side", || {
        machine.acts().contains(&format!("stop {BLUE}"))
    });
    assert_eq!(trees.linked(), "2.3");
    assert_eq!(machine.unit(GREEN), "active");
    machine.run(["gate"]).success();
    machine.run(["upgrade", "--to", "v2.3"]).success();
    only_green_serves(&trees);
}

fn only_green_serves(trees: &Trees) {
    assert_eq!(states(trees), ("inactive".into(), "active".into()));
    assert_eq!((trees.linked().as_str(), leads(trees, "green").as_str()), ("2.3", "2.3"));
    assert!(switched(trees).ends_with("green 2.3\n"), "{}", switched(trees));
    trees.machine.assert_clean();
}
