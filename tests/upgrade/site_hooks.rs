//! Programs of the site before and after each step.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use predicates::prelude::*;
use predicates::str::contains;

use crate::support::machine::{TestMachine, message};

/// Places a hook of the operator; `dir` is such as `quiesce.before`.
fn hook(machine: &TestMachine, dir: &str, name: &str, script: &str) -> PathBuf {
    place(&machine.etc().join("hooks.d").join(format!("{dir}.d")), name, script)
}

fn place(dir: &std::path::Path, name: &str, script: &str) -> PathBuf {
    fs::create_dir_all(dir).unwrap();
    let path = dir.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

const STEPS: [&str; 6] = ["preflight", "quiesce", "restore-point", "migrate", "start", "health"];

/// Row 77.
#[test]
fn hooks_run_around_each_step_in_order_with_facts_and_nothing_to_read() {
    let machine = TestMachine::new().ship("good");
    let log = machine.dir().join("hooks.log");
    let script = format!(
        "read -r line && exit 9\n[ -z \"$PGPASSWORD$MAIN_DSN\" ] || exit 9\n\
         echo \"$(basename \"$0\") $OPENWATCH_APP $OPENWATCH_STEP $OPENWATCH_WHEN $OPENWATCH_FROM \
         $OPENWATCH_TO ${{OPENWATCH_RESTORE_POINT:+point}}\" >>{}\necho told by a hook",
        log.display()
    );
    for step in STEPS {
        hook(&machine, &format!("{step}.before"), "10-first", &script);
        hook(&machine, &format!("{step}.after"), "90-last", &script);
    }
    // The packager's come first, whatever their names.
    place(&machine.share().join("hooks.d/quiesce.before.d"), "99-product", &script);
    hook(&machine, "quiesce.before", "README.md", "exit 9");
    hook(&machine, "quiesce.before", ".hidden", "exit 9");
    let off = hook(&machine, "quiesce.before", "20-off", "exit 9");
    fs::set_permissions(off, fs::Permissions::from_mode(0o644)).unwrap();
    machine.run(["upgrade", "--from", "1.0.0-1"]).success().stderr(
        contains("10-first: told by a hook")
            .and(contains("README.md is no hook"))
            .and(contains("20-off is not executable")),
    );
    let told = |name: &str, step: &str, when: &str, point: &str| {
        format!("{name} openwatch {step} {when} 1.0.0-1 2.0.0-1 {point}")
    };
    let expected = [
        told("10-first", "preflight", "before", ""),
        told("99-product", "quiesce", "before", ""),
        told("10-first", "quiesce", "before", ""),
        told("90-last", "quiesce", "after", ""),
        told("10-first", "restore_point", "before", ""),
        told("90-last", "restore_point", "after", "point"),
        told("10-first", "migrate", "before", "point"),
        told("90-last", "migrate", "after", "point"),
        told("10-first", "start", "before", "point"),
        told("90-last", "start", "after", "point"),
        told("10-first", "health", "before", "point"),
        told("90-last", "health", "after", "point"),
    ];
    let said = fs::read_to_string(log).unwrap();
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    let kept = fs::read_to_string(machine.upgrade_dir().join("run.log")).unwrap();
    assert!(kept.contains("10-first: told by a hook"), "{kept}");
    machine.assert_clean();
}

#[test]
fn hooks_of_a_step_that_there_is_not_are_told_and_never_run() {
    let machine = TestMachine::new().ship("good");
    for dir in ["restore_point.before", "preflight.after", "migrate"] {
        hook(&machine, dir, "50-site", "exit 9");
    }
    hook(&machine, "restore-point.before", "50-site", "exit 0");
    let mut told = machine.run(["upgrade"]).success();
    for dir in ["restore_point.before.d", "preflight.after.d", "migrate.d"] {
        let line = format!("hooks.d/{dir} belongs to no step: nothing in it is run");
        told = told.stderr(contains(line));
    }
    machine.assert_clean();
}

#[test]
fn a_failing_hook_before_the_services_stop_refuses_and_nothing_is_changed() {
    for step in ["preflight.before", "quiesce.before"] {
        let machine = TestMachine::new().ship("good");
        hook(&machine, step, "50-site", "echo no announcement was made >&2; exit 3");
        let told = message(&machine.run(["upgrade"]).code(5));
        assert!(told.first.ends_with("exited with status 3: no announcement was made"), "{told:?}");
        assert!(told.state.starts_with("nothing was changed"), "{told:?}");
        assert_eq!((machine.acts(), machine.schema()), (vec![], "0002".into()));
        assert!(!machine.mark().exists());
    }
}

#[test]
fn a_failing_hook_further_on_stops_there_and_one_after_a_step_is_told() {
    for (step, code, schema) in
        [("restore-point", 6, "0002"), ("migrate", 7, "0002"), ("start", 1, "0004")]
    {
        let machine = TestMachine::new().ship("good");
        hook(&machine, &format!("{step}.before"), "50-site", "exit 3");
        machine.run(["upgrade"]).code(code).stderr(contains("50-site"));
        assert_eq!(machine.schema(), schema, "{step}");
        machine.assert_closed();
    }
    let machine = TestMachine::new().ship("good");
    for step in STEPS {
        hook(&machine, &format!("{step}.after"), "50-site", "exit 3");
    }
    machine.run(["upgrade"]).success().stderr(contains("exited with status 3"));
    assert_eq!(machine.schema(), "0004");
    machine.assert_clean();
}

/// Row 49.
#[test]
fn a_hook_that_hangs_is_ended_with_all_that_it_started() {
    let machine = TestMachine::new().ship("good").operator("hook_timeout = \"1s\"");
    let pids = machine.dir().join("pids");
    let script = format!("setsid sleep 100000 & echo $! >{0}\necho $$ >>{0}\nwait", pids.display());
    hook(&machine, "quiesce.before", "50-site", &script);
    machine.run(["upgrade"]).code(5).stderr(contains("did not end within 1.0 s"));
    for pid in fs::read_to_string(pids).unwrap().lines() {
        // Dead, though whoever inherited it may not have asked for its end yet.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").map_or("gone", |(_, rest)| rest);
        assert!(state == "gone" || state.starts_with(['Z', 'X']), "{pid} lives: {state}");
    }
    assert_eq!(machine.schema(), "0002");
}

/// Row 11.
#[test]
fn jobs_that_run_are_waited_for_and_then_refused() {
    let machine = TestMachine::new().ship("good");
    let asked = machine.dir().join("asked");
    let job = format!(
        "[ -e {0} ] && exit 0; touch {0}; echo a scan is running; exit 75",
        asked.display()
    );
    place(&machine.share().join("hooks.d/preflight.before.d"), "50-jobs", &job);
    machine.run(["upgrade"]).success().stderr(contains("50-jobs says: not yet"));
    assert_eq!(machine.schema(), "0004");

    let machine = TestMachine::new().operator("hook_timeout = \"1s\"").ship("good");
    let job = "echo a scan is running; exit 75";
    place(&machine.share().join("hooks.d/preflight.before.d"), "50-jobs", job);
    let told = message(&machine.run(["upgrade"]).code(5)).first;
    assert!(told.ends_with("still said \"not yet\" after 1.0 s: a scan is running"), "{told}");
    // Before anything is unpacked too.
    machine.run(["scriptlet", "guard", "dnf", "openwatch", "3.0.0-1"]).code(5);
    assert_eq!(machine.schema(), "0002");
}

#[test]
fn a_hook_that_somebody_else_could_write_is_refused_by_name_before_anything() {
    type Spoils = fn(&PathBuf);
    let wrong: [(&str, Spoils); 3] = [
        ("can be written by other users than root", |path| {
            fs::set_permissions(path, fs::Permissions::from_mode(0o775)).unwrap();
        }),
        ("belongs to another user than root", |path| {
            std::os::unix::fs::chown(path, Some(65_534), None).unwrap();
        }),
        ("is a symbolic link", |path| {
            fs::remove_file(path).unwrap();
            symlink("/bin/true", path).unwrap();
        }),
    ];
    for (why, make) in wrong {
        let machine = TestMachine::new().ship("good");
        // The last step of all: it is found out before the first.
        let path = hook(&machine, "health.after", "50-site", "exit 0");
        make(&path);
        let told = message(&machine.run(["upgrade"]).code(5)).first;
        assert!(told.contains("health.after.d/50-site") && told.ends_with(why), "{told}");
        assert_eq!((machine.acts(), machine.schema()), (vec![], "0002".into()));
    }
    let machine = TestMachine::new().ship("good");
    let path = hook(&machine, "migrate.before", "50-site", "exit 0");
    fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o777)).unwrap();
    machine.run(["upgrade"]).code(5).stderr(contains("migrate.before.d can be changed by other"));
}

/// What systemd's generator writes for the unit that upgrades.
fn walls(machine: &TestMachine) -> String {
    let dir = tempfile::tempdir().unwrap();
    machine.run(["generate", dir.path().to_str().unwrap()]).success();
    let file = dir.path().join("openwatch-upgrade.service.d/40-openwatch-walls.conf");
    fs::read_to_string(file).unwrap()
}

/// Row 79.
#[test]
fn a_hook_opens_the_walls_of_the_unit_and_an_empty_directory_does_not() {
    let machine = TestMachine::new().ship("good");
    fs::create_dir_all(machine.etc().join("hooks.d/migrate.before.d")).unwrap();
    // The machine of the tests lies below /tmp, and all of it, which opens them too.
    let text = walls(&machine);
    assert!(!text.contains("may do anything"), "{text}");
    let hook = hook(&machine, "migrate.before", "10-first", "exit 0");
    let text = walls(&machine);
    assert!(text.contains(&format!("{} may do anything", hook.display())), "{text}");
    assert!(text.contains("[Service]\nProtectSystem=yes\nProtectHome=no\nPrivateTmp=no\n"));
}

#[test]
fn a_snapshot_that_works_at_a_prompt_works_in_the_unit() {
    let machine = TestMachine::new().ship("good");
    assert!(walls(&machine).ends_with("PrivateTmp=no\n"));
    for named in [
        "restore_point = \"external\"\nrestore_point_command = [\"/usr/local/sbin/snapshot\"]",
        "restore_command = [\"/usr/local/sbin/snapshot-back\"]",
    ] {
        let machine = TestMachine::new().operator(named).ship("good");
        let text = walls(&machine);
        assert!(text.contains("reload: the restore point is a command of its own.\n"), "{text}");
        for line in ["PrivateDevices=no", "DevicePolicy=auto", "ProtectClock=no"] {
            assert!(text.contains(&format!("\n{line}\n")), "{text}");
        }
        // Short of one thing each: what a later drop-in of the operator adds is added.
        for (setting, but) in [
            ("CapabilityBoundingSet", "CAP_WAKE_ALARM"),
            ("SystemCallFilter", "@obsolete"),
            ("RestrictAddressFamilies", "AF_X25"),
        ] {
            let mut lines = text.lines().filter(|line| line.starts_with(setting));
            assert_eq!(lines.next_back(), Some(format!("{setting}=~{but}").as_str()), "{text}");
        }
    }
    let machine = TestMachine::new().ship("good");
    hook(&machine, "restore-point.before", "10-freeze", "exit 0");
    assert!(walls(&machine).contains("\nPrivateDevices=no\n"));
}

#[test]
fn the_units_may_see_who_has_a_database_file_open() {
    let machine = TestMachine::new().ship("good");
    assert!(!walls(&machine).contains("CAP_SYS_PTRACE"));
    let machine = TestMachine::with_files(&["main"], &["audit"]).ship("good");
    let text = walls(&machine);
    let why = format!("; who has {} open is looked for.\n", machine.file("audit").display());
    assert!(text.contains(&why), "{text}");
    assert!(text.ends_with("\nCapabilityBoundingSet=CAP_SYS_PTRACE\nProcSubset=all\n"), "{text}");
}
