//! Migrations that do not get their locks: who blocks is named, and ended where a person says so.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use super::support::machine::{TestMachine, message, parse_message};
use super::support::postgres::wait_for;
use super::{code, plain, wait_in};

/// A psql that stays, so that its transaction stays; ending it is dropping it.
struct Idle(Child);

impl Idle {
    /// Opens a session as this role, does this, and stays.
    fn doing(machine: &TestMachine, role: &str, application: &str, sql: &str) -> Self {
        let dsn = machine.server().conninfo(machine.dbname()).replace("user=postgres", "");
        let child = Command::new(machine.server().bin().join("psql"))
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=0", "-d"])
            .arg(format!("{dsn} user={role} application_name='{application}'"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut idle = Self(child);
        idle.say(sql);
        idle
    }

    fn say(&mut self, sql: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{sql}").unwrap();
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const HELD: &str = "select exists (select from pg_locks l join pg_stat_activity a using (pid) \
    where l.relation = 'machines'::regclass and l.granted and a.application_name = 'report' \
      and a.datname = current_database())";

/// Copies of one template have the same object ids.
const WAITS: &str = "select exists (select from pg_locks where relation = 'machines'::regclass \
    and not granted and database = (select oid from pg_database where datname = current_database()))";

/// A machine with a pending change of a table that a session called `report` holds.
fn blocked(role: &str) -> (TestMachine, Idle) {
    let machine = plain()
        .operator_without("lock_timeout")
        .operator("lock_timeout = \"200ms\"")
        .migration("0003_owner.sql", "alter table machines add owner text;");
    let holder = Idle::doing(
        &machine,
        role,
        "report",
        "begin; select count(*) from machines where name = 'hunter2';",
    );
    wait_in(&machine, "the table is held", HELD);
    (machine, holder)
}

/// Rows 24 and 38.
#[test]
fn who_blocks_is_named_with_user_application_age_and_statement_and_is_left_alone() {
    let (machine, _holder) = blocked("postgres");
    let before = machine.data();
    let run = machine.run(["migrate"]).code(7);
    let told = message(&run);
    let first = "migration 0003_owner failed: canceling statement due to lock timeout";
    assert_eq!(told.first, first);
    for part in ["user postgres, application report, idle in transaction for", " s: "] {
        assert!(told.detail.contains(part), "{part}: {}", told.detail);
    }
    assert!(told.detail.contains("select count(*) from machines where name = '…'"), "{told:?}");
    let all = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(!all.contains("hunter2"), "{all}");
    assert!(all.contains("attempt 4 of 5 taken back"), "{all}");
    assert!(told.state.contains("is as before, at schema 0002"), "{told:?}");
    assert!(told.hint.contains("--terminate-blockers"), "{told:?}");
    assert_eq!(machine.data(), before);
    assert_eq!(machine.sql(HELD), "t", "the session was left alone");
    let (_, history) = machine.json(["history"]);
    assert!(history["runs"][0]["ended_sessions"].is_null(), "{history}");
}

/// Row 38.
#[test]
fn a_person_s_flag_ends_who_blocks_and_output_and_journal_name_it() {
    let (machine, holder) = blocked("postgres");
    // One that holds another table is none of our business.
    let other = Idle::doing(
        &machine,
        "postgres",
        "bystander",
        "begin; lock table readings in row share mode;",
    );
    wait_in(
        &machine,
        "the other table is held",
        "select exists (select from pg_stat_activity where application_name = 'bystander' \
         and state = 'idle in transaction' and datname = current_database())",
    );
    let run = machine.run(["migrate", "--terminate-blockers", "--json"]).success();
    let all = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(all.contains("no lock in time, blocked by pid"), "first it waits: {all}");
    assert!(all.contains("warning: ended pid "), "{all}");
    assert!(all.contains("application report") && !all.contains("hunter2"), "{all}");
    assert!(!all.contains("bystander"), "{all}");
    let json: serde_json::Value = serde_json::from_slice(&run.get_output().stdout).unwrap();
    let named = json["ended_sessions"][0].as_str().unwrap();
    assert!(named.starts_with("ended pid ") && named.contains("application report"), "{named}");
    assert_eq!(machine.journal()["ended_sessions"][0], named);
    assert_eq!(machine.schema(), "0003");
    let left = "select count(*) from pg_stat_activity where application_name = 'bystander' \
        and datname = current_database()";
    assert_eq!(machine.sql(left), "1");
    drop((holder, other));
}

/// Row 38.
#[test]
fn an_upgrade_ends_who_blocks_only_where_the_command_says_so() {
    let machine = TestMachine::new()
        .operator_without("lock_timeout")
        .operator("lock_timeout = \"200ms\"")
        .migration("0003_owner.sql", "alter table machines add owner text;");
    let _holder = Idle::doing(&machine, "postgres", "report", "begin; select * from machines;");
    wait_in(&machine, "the table is held", HELD);
    // As the package's script and its unit do it.
    machine.run(["scriptlet", "deb", "postinst", "configure", "1.0.0-1"]).success();
    let run = machine.run(["scriptlet", "deb", "postinst", "triggered", "openwatch"]).failure();
    let all = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert_eq!(machine.sql(HELD), "t", "{all}");
    machine.assert_closed();
    let run = machine.run(["upgrade", "--retry", "--terminate-blockers"]).success();
    let all = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(all.contains("warning: ended pid "), "{all}");
    assert_eq!(machine.schema(), "0003");
    assert_eq!(machine.unit("openwatch.service"), "active");
    machine.assert_clean();
}

/// Row 38.
#[test]
fn a_session_that_the_role_may_not_end_goes_on_and_that_is_said() {
    let machine = plain()
        .operator_without("lock_timeout")
        .operator("lock_timeout = \"200ms\"")
        .operator("auto_backup = false")
        .migration("0003_owner.sql", "alter table machines add owner text;");
    let db = machine.dbname().to_owned();
    let app = format!("plain_{db}");
    machine.sql(&format!(
        "create role {app} login; alter table machines owner to {app};
         alter table readings owner to {app}; alter table openwatch_schema_history owner to {app};
         grant all on database {db} to {app}; grant all on schema public to {app}"
    ));
    let machine = machine.role(&app);
    let _holder = Idle::doing(&machine, "postgres", "report", "begin; select * from machines;");
    wait_in(&machine, "the table is held", HELD);
    let run = machine.run(["migrate", "--terminate-blockers"]).code(7);
    let told = message(&run);
    let all = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    let said = "could not end pid ";
    assert_eq!(all.matches(&format!("warning: {said}")).count(), 1, "told once: {all}");
    assert!(told.detail.contains(said) && told.detail.contains("ermi"), "{told:?}");
    // What a role may not see is not guessed at.
    assert!(told.detail.contains("whose work this role may not see"), "{told:?}");
    assert_eq!(machine.sql(HELD), "t");
    let journal = machine.journal();
    assert!(journal["ended_sessions"][0].as_str().unwrap().starts_with(said), "{journal}");
}

/// Row 38.
#[test]
fn a_prepared_transaction_that_blocks_is_named_as_one() {
    let (machine, mut holder) = blocked("postgres");
    let machine = machine.operator_without("lock_timeout").operator("lock_timeout = \"1s\"");
    let name = machine.dbname().to_owned();
    let mut run = machine.spawn(["migrate"]);
    // Preflight refuses those that are there before; this one comes while the migration waits.
    wait_in(&machine, "the migration waits", WAITS);
    holder.say(&format!("prepare transaction '{name}';"));
    let status = code(&mut run);
    machine.sql(&format!("rollback prepared '{name}'"));
    assert_eq!(status, 7);
    let told = parse_message(&machine.said());
    let named = "blocked by a prepared transaction (see pg_prepared_xacts)";
    assert!(told.detail.contains(named), "{told:?}");
}

/// Rows 24 and 38.
#[test]
fn a_run_asked_to_stop_while_it_waits_for_a_lock_takes_everything_back() {
    let (machine, _holder) = blocked("postgres");
    let machine = machine.operator_without("lock_timeout").operator("lock_timeout = \"60s\"");
    let before = machine.data();
    let mut run = machine.spawn(["migrate"]);
    wait_in(&machine, "the migration waits", WAITS);
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(run.id()).unwrap()),
        nix::sys::signal::Signal::SIGINT,
    )
    .unwrap();
    assert_eq!(code(&mut run), 7);
    let told = parse_message(&machine.said());
    assert!(told.first.contains("was ended because we received SIGINT"), "{told:?}");
    assert_eq!(machine.data(), before);
    wait_for("nobody waits any more", || machine.sql(WAITS) == "f");
}
