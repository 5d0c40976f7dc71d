//! Asked to stop: by Ctrl-C, by a shutdown, by a terminal that goes away.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use nix::sys::signal::Signal;

use super::support::machine::{TestMachine, message, parse_message};
use super::support::postgres::wait_for;
use super::{asleep, end_sleepers, install_old, killed_half_way, last, signal, sleeping, wake_up};

/// Rows 70 and 71.
#[test]
fn asked_to_stop_twice_the_step_is_undone_and_the_state_has_a_name() {
    let machine = TestMachine::new().migration("0003_sleeps.sql", "SELECT pg_sleep(600);\n");
    let old = machine.data();
    let mut run = machine.spawn(["upgrade", "--from", "1.0.0-1"]);
    wait_for("the migration that sleeps", || asleep(&machine) == "1");
    signal(&run, Signal::SIGINT);
    signal(&run, Signal::SIGTERM);
    assert_eq!(run.wait().unwrap().code(), Some(7));
    let told = parse_message(&machine.said());
    assert!(told.hint.contains("`openwatch upgrade --resume`"), "{told:#?}");
    assert!(told.hint.contains("`openwatch upgrade --undo`"), "{told:#?}");
    assert_eq!(machine.data(), old);
    assert_eq!(last(&machine, "outcome"), "migration_failed");
    assert!(last(&machine, "interrupted").as_str().is_some_and(|by| by.starts_with("SIG")));
    let (_, status) = machine.json(["status"]);
    assert_eq!(status["next"], "openwatch upgrade --resume", "{status}");
    assert_eq!(status["recovery"]["state"], "untouched", "{status}");
    machine.assert_closed();
    machine.run(["upgrade", "--undo"]).success();
    assert_eq!(machine.data(), old);
}

/// What a start is while the machine goes down: cancelled, and no signal has come yet.
const CANCELLED: &str = "
[ ! -e \"$here/booted\" ] || exit 0
echo '1093 shutdown.target start waiting' >\"$here/jobs\"
echo \"Job for $unit canceled.\" >&2
exit 1";

fn boot(machine: &TestMachine) {
    fs::remove_file(machine.dir().join("jobs")).unwrap();
    fs::write(machine.dir().join("booted"), "").unwrap();
}

/// Rows 70 and 71.
#[test]
fn a_start_that_a_shutdown_cancels_is_no_failed_upgrade_and_the_next_boot_goes_on() {
    for health in [false, true] {
        let machine = TestMachine::new().operator("on_failure = \"restore\"").ship("good");
        let machine = match health {
            false => machine.with_hook("start", "openwatch.service", CANCELLED),
            // It came up, and was stopped before it could answer.
            true => {
                let probe = "test -e \"$0/booted\"";
                let dir = machine.dir().to_owned();
                let going_down = CANCELLED.replace("exit 1", "exit 0");
                machine.with_hook("start", "openwatch.service", &going_down).health(&format!(
                    "[[health]]\ncommand = [\"/bin/sh\", \"-c\", {probe:?}, {dir:?}]\n\
                     deadline = \"500ms\"\n"
                ))
            }
        };
        let told = message(&machine.run(["upgrade", "--from", "1.0.0-1"]).code(8));
        assert!(told.detail.contains("the machine is shutting down"), "{told:#?}");
        assert_eq!(machine.schema(), "0004", "nothing is put back during a shutdown");
        assert_eq!(last(&machine, "interrupted"), "a shutdown");
        machine.assert_closed();
        boot(&machine);
        machine.run(["upgrade", "--unit"]).success();
        assert_eq!(machine.unit("openwatch.service"), "active");
        machine.assert_clean();
    }
}

/// Rows 67 and 71.
#[test]
fn an_undo_whose_start_a_shutdown_cancels_is_not_stuck_and_the_next_boot_goes_on() {
    let machine = sleeping(TestMachine::new().marked(Some("deb"), &["openwatch.service"]));
    let old = machine.data();
    killed_half_way(&machine, &["upgrade"]);
    let machine = install_old(machine).with_hook("restart", "openwatch.service", CANCELLED);
    let told = message(&machine.run(["upgrade", "--undo", "--adopt"]).code(8));
    assert!(told.hint.contains("as the next boot does by itself"), "{told:#?}");
    assert!(machine.mark().exists() && !machine.upgrade_dir().join("stuck").exists());
    boot(&machine);
    let told = message(&machine.run(["upgrade", "--unit"]).code(9));
    assert!(told.state.contains("the services run"), "{told:#?}");
    assert_eq!(machine.data(), old);
    assert_eq!(machine.unit("openwatch.service"), "active");
    assert!(!machine.mark().exists());
}

/// What stands in for the login manager notes who holds the machine up, and for how long.
///
/// Row 71.
#[test]
fn a_shutdown_is_held_off_while_data_is_changed_and_no_longer() {
    let machine = sleeping(TestMachine::new());
    let holder = machine.root().join("../bin/systemd-inhibit");
    let noted = machine.root().join("../inhibited");
    let script = format!(
        "#!/bin/sh\necho \"$@\" >{noted}\ncat\necho over >>{noted}\n",
        noted = noted.display()
    );
    fs::write(&holder, script).unwrap();
    fs::set_permissions(&holder, fs::Permissions::from_mode(0o755)).unwrap();
    let mut run = machine.spawn(["upgrade"]);
    wait_for("the migration that sleeps", || asleep(&machine) == "1");
    wait_for("the holder", || fs::read_to_string(&noted).is_ok_and(|text| text.ends_with('\n')));
    let text = fs::read_to_string(&noted).unwrap();
    assert!(text.starts_with("--what=shutdown:sleep --mode=block --who=openwatch"), "{text}");
    assert!(!text.contains("over"), "{text}");
    // Killed, nothing holds the machine up any more.
    signal(&run, Signal::SIGKILL);
    run.wait().unwrap();
    wait_for("the end of it", || fs::read_to_string(&noted).is_ok_and(|t| t.contains("over")));
    end_sleepers(&machine);
    wake_up(&machine);
    machine.run(["upgrade"]).success();
    machine.assert_clean();
}
