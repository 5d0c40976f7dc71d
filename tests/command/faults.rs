//! Tools that hang, fork, leak, flood and die.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;

use super::support::machine::{Message, TestMachine, message};
use super::support::postgres::{is_root, wait_for};
use super::{run_log, wait_until_gone};

/// A status that is pending until the table `made` is there, and a way to run until killed.
fn tool(apply: &str) -> String {
    format!(
        "made() {{ [ \"$(sql \"select to_regclass('made')\")\" ]; }}
         [ $1 = status ] && {{ made; exit $?; }}
         {apply}"
    )
}

#[test]
fn a_tool_that_hangs_is_ended_with_all_that_it_started() {
    // One in the group, one in a session of its own, one that nobody waits for any more.
    let script = tool("sleep 70001 & setsid sleep 70001 & (sleep 70001 &); sleep 70001");
    let machine = TestMachine::new().tool(&script, ", timeout = \"1s\"");
    let Message { first, detail, .. } = message(&machine.run(["upgrade"]).code(7));
    assert!(first.ends_with("apply did not end within 1.0 s"), "{first}");
    assert!(detail.contains("the database is as it was before"), "{detail}");
    wait_until_gone("sleep 70001");
    machine.assert_closed();
}

#[test]
fn a_tool_that_does_not_listen_is_killed_after_the_grace() {
    let script = tool("trap '' TERM; setsid sh -c \"trap '' TERM; sleep 70002\" & sleep 70002; :");
    let machine = TestMachine::new().tool(&script, ", timeout = \"100ms\"");
    machine.run(["upgrade"]).code(7);
    wait_until_gone("sleep 70002");
}

#[test]
fn what_a_tool_leaves_behind_is_ended_and_told() {
    let script = tool("sql 'create table made (id int)'; setsid sleep 70003 >/dev/null 2>&1 &");
    let machine = TestMachine::new().tool(&script, "");
    machine
        .run(["upgrade"])
        .success()
        .stderr(contains("ended 1 process that the tool left behind"));
    wait_until_gone("sleep 70003");
    machine.assert_clean();
}

#[test]
fn killed_ourselves_the_tool_does_not_go_on() {
    let script = tool("echo begun; sleep 70004 & setsid sleep 70004; sql 'create table made ()'");
    let machine = TestMachine::new().tool(&script, "");
    let mut run = machine.spawn(["upgrade"]);
    wait_for("the tool", || machine.said().contains("begun"));
    kill(Pid::from_raw(i32::try_from(run.id()).unwrap()), Signal::SIGKILL).unwrap();
    run.wait().unwrap();
    wait_until_gone("sleep 70004");
    // The next run begins where this one was cut off.
    let machine = machine.tool(&tool("sql 'create table made (id int)'"), "");
    machine.run(["upgrade"]).success();
    machine.assert_clean();
}

#[test]
fn a_tool_that_was_killed_is_told_by_the_signals_name() {
    let machine = TestMachine::new().tool(&tool("echo about to fail; kill -SEGV $$"), "");
    let Message { first, detail, .. } = message(&machine.run(["upgrade"]).code(7));
    assert!(first.ends_with("apply was killed by SIGSEGV"), "{first}");
    assert!(detail.contains("about to fail"), "{detail}");
}

#[test]
fn a_flood_of_output_fills_neither_memory_nor_the_log() {
    let script = tool(
        "yes 'all work and no play' | head -c 20000000
         head -c 80000000 /dev/zero | tr '\\0' x
         echo; echo the last line; sql 'create table made (id int)'",
    );
    let machine = TestMachine::new().tool(&script, "");
    machine.run(["upgrade"]).success();
    let log = run_log(&machine);
    assert!(log.len() < 200_000, "the log has {} bytes", log.len());
    assert!(log.contains("lines were not shown") && log.contains("the last line"));
}

#[test]
fn no_secret_of_the_connection_is_told_or_kept() {
    let script = tool(
        "env | sort; echo \"it is $PGPASSWORD\"; echo \"url $SHOP_URL\" >&2
         tr '\\0' ' ' </proc/$PPID/cmdline; echo; exit 4",
    );
    let machine = TestMachine::new()
        .dsn_end("password=tr0ub4dor-and-3")
        .tool(&script, ", url_variable = \"SHOP_URL\"");
    let failure = machine.run(["upgrade"]).code(7);
    let output = failure.get_output();
    let told = [&output.stdout[..], &output.stderr[..]].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(told.contains("PGPASSWORD=********") && told.contains("url ********"), "{told}");
    let (_, status) = machine.json(["status"]);
    let kept =
        [told.into_owned(), run_log(&machine), machine.journal().to_string(), status.to_string()];
    for text in kept {
        assert!(!text.contains("tr0ub4dor"), "{text}");
    }
}

#[test]
fn a_tool_gets_a_clean_environment_and_its_own() {
    let script = tool("env | sort | sed 's/^/ENV /'; pwd; sql 'create table made (id int)'");
    let machine = TestMachine::new();
    let dir = machine.dir().display().to_string();
    let machine = machine.tool(
        &script,
        &format!(", environment = {{ SHOP_MODE = \"live\" }}, directory = \"{dir}\""),
    );
    let mut secrets = fs::read_to_string(machine.secrets()).unwrap();
    secrets.push_str("OTHER_DSN=postgresql://elsewhere\nSHOP_TOKEN=of-somebody-else\n");
    fs::write(machine.secrets(), secrets).unwrap();
    let told = machine.run(["upgrade"]).success();
    let log = run_log(&machine);
    let mut names: Vec<&str> = log
        .lines()
        .filter_map(|line| line.trim().strip_prefix("ENV ")?.split('=').next())
        .filter(|name| !matches!(*name, "_" | "OLDPWD" | "SHLVL" | "PWD"))
        .filter(|name| !name.starts_with("PG"))
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["HOME", "LC_ALL", "PATH", "PYTHONUNBUFFERED", "SHOP_MODE", "TZ"]);
    assert!(log.contains("ENV SHOP_MODE=live"), "{log}");
    assert!(log.contains(&format!("  {dir}")), "{log}");
    told.stderr(contains("of-somebody-else").not());
}

#[test]
fn a_tool_runs_as_its_own_user_with_that_users_groups() {
    if !is_root() {
        super::support::peers::left_out("becoming another user needs root");
        return;
    }
    let script = tool("id -un; id -Gn; echo home $HOME; sql 'create table made (id int)'");
    let machine = TestMachine::new().tool(&script, ", user = \"postgres\"");
    machine.run(["upgrade"]).success();
    let log = run_log(&machine);
    let lines: Vec<&str> = log.lines().map(str::trim).collect();
    let at = lines.iter().position(|line| *line == "postgres").expect(&log);
    // Debian's postgres may read keys because it is of this group.
    assert_eq!(lines[at + 1], "postgres ssl-cert");
    assert_eq!(lines[at + 2], "home /var/lib/postgresql");
}

#[test]
fn deleted_rows_may_have_been_taken_back_and_that_is_said() {
    let script = tool("sql 'begin; delete from readings where value < 10; rollback'; exit 5");
    let machine = TestMachine::new().tool(&script, "");
    let before = machine.data();
    let Message { detail, state, hint, .. } = message(&machine.run(["upgrade"]).code(7));
    assert!(
        detail
            .contains("what it may have left: rows of table public.readings were deleted, unless"),
        "{detail}"
    );
    assert!(state.contains("may have been changed"), "{state}");
    assert!(hint.contains("restore"), "{hint}");
    assert_eq!(machine.data(), before);
}

#[test]
fn rows_that_were_written_and_taken_back_changed_nothing() {
    let script = tool("sql 'begin; update readings set value = value + 1; rollback'; exit 5");
    let machine = TestMachine::new().tool(&script, "");
    let Message { detail, .. } = message(&machine.run(["upgrade"]).code(7));
    assert!(detail.contains("the database is as it was before"), "{detail}");
}

/// Somebody who has written to a table and has not said yet whether it counts.
fn holder(machine: &TestMachine) -> std::process::Child {
    let mut command = machine.server().psql_command(machine.dbname());
    let sql = "set application_name = 'holder'; begin; update readings set value = 0; \
               select pg_sleep(600)";
    let child = command.arg("-c").arg(sql).stderr(std::process::Stdio::null()).spawn().unwrap();
    wait_for("the holder", || {
        machine.sql(
            "select count(*) from pg_locks where relation = 'readings'::regclass and database =
               (select oid from pg_database where datname = current_database())",
        ) == "1"
    });
    child
}

#[test]
fn who_blocks_the_tool_is_named_and_ended_by_flag_alone() {
    let script = tool("sql 'alter table readings add note text'; sql 'create table made (id int)'");
    let machine =
        TestMachine::new().operator_without("lock_timeout").operator("lock_timeout = \"1s\"");
    let machine = machine.tool(&script, ", timeout = \"4s\"");
    let mut holding = holder(&machine);
    let told = machine.run(["upgrade"]).code(7);
    told.stderr(contains("the tool waits for a lock, blocked by pid").and(contains("holder")));
    let still = machine.sql(
        "select count(*) from pg_stat_activity where application_name = 'holder'
           and datname = current_database()",
    );
    assert_eq!(still, "1");
    let machine = machine.tool(&script, "");
    machine.run(["upgrade", "--retry", "--terminate-blockers"]).success();
    holding.wait().unwrap();
    machine.assert_clean();
}
