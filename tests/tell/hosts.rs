//! Several hosts of one application upgrade at once; their database is one.

use std::process::Child;

use super::support::machine::TestMachine;
use super::support::postgres::wait_for;

/// Does not end before the test makes a row; each of its looks sees what was committed meanwhile.
const GATED: &str = "do $$ begin \
     while not exists (select from go) loop perform pg_sleep(0.02); end loop; end $$; \
     create table done_once (); insert into ran values (current_setting('application_name'));";

/// Hosts beside each other on one database, with something pending that waits for the test.
fn hosts(count: usize, more: &str) -> Vec<TestMachine> {
    let first = TestMachine::new();
    first.sql("create table go (); create table ran (what text)");
    let ready = |machine: TestMachine| {
        machine
            .operator("auto_backup = false")
            .operator(more)
            .migration("0003_gated.sql", GATED)
            .marked(Some("deb"), &["openwatch.service"])
    };
    let mut all: Vec<TestMachine> =
        (1..count).map(|_| ready(TestMachine::beside(&first))).collect();
    all.insert(0, ready(first));
    all
}

fn waits(machine: &TestMachine) -> bool {
    machine.said().contains("another host upgrades database")
}

/// Starts the upgrade on every host and waits until one migrates and all others wait; returns who.
fn started(all: &[TestMachine]) -> (Vec<Child>, usize) {
    let runs: Vec<Child> = all.iter().map(|machine| machine.spawn(["upgrade", "--unit"])).collect();
    wait_for("one migrates, the others wait", || {
        all.iter().filter(|machine| waits(machine)).count() == all.len() - 1
    });
    let holder = all.iter().position(|machine| !waits(machine)).unwrap();
    (runs, holder)
}

fn one_migrates_and_the_others_start_after_it(count: usize) {
    let all = hosts(count, "host_wait = \"10min\"");
    let (mut runs, holder) = started(&all);
    let pid = format!("pid {} on ", runs[holder].id());
    for (at, machine) in all.iter().enumerate().filter(|(at, _)| *at != holder) {
        let said = machine.said();
        assert!(said.contains(&pid) && said.contains(", since 20"), "host {at}: {said}");
        assert!(said.contains("waiting for it, at most 10 min"), "host {at}: {said}");
        // Nothing of it runs on a schema that is being changed by another host without being told.
        assert!(machine.mark().exists(), "host {at}: the gate is open");
    }
    all[0].sql("insert into go default values");
    for (run, machine) in runs.iter_mut().zip(&all) {
        assert!(run.wait().unwrap().success(), "{}", machine.said());
    }
    assert_eq!(all[0].sql("select count(*) from ran"), "1");
    let applied = |machine: &&TestMachine| machine.said().contains("applying ");
    assert_eq!(all.iter().filter(applied).count(), 1);
    for machine in &all {
        assert_eq!(machine.unit("openwatch.service"), "active");
        machine.assert_clean();
        machine.run(["gate"]).success();
    }
}

/// Row 41.
#[test]
fn of_two_hosts_one_migrates_and_the_other_starts_after_it() {
    one_migrates_and_the_others_start_after_it(2);
}

/// Row 41.
#[test]
fn of_five_hosts_one_migrates_and_the_others_start_after_it() {
    one_migrates_and_the_others_start_after_it(5);
}

/// Rows 41 and 69.
#[test]
fn where_the_host_that_migrates_dies_another_takes_over() {
    let all = hosts(3, "host_wait = \"10min\"");
    let (mut runs, holder) = started(&all);
    runs[holder].kill().unwrap();
    runs[holder].wait().unwrap();
    all[0].sql("insert into go default values");
    for (at, (run, machine)) in runs.iter_mut().zip(&all).enumerate() {
        assert!(at == holder || run.wait().unwrap().success(), "{}", machine.said());
    }
    assert_eq!(all[0].sql("select count(*) from ran"), "1");
    // The dead host's gate is closed until it has looked for itself.
    assert!(all[holder].mark().exists());
    all[holder].run(["upgrade", "--unit"]).success();
    all[holder].assert_clean();
    assert_eq!(all[0].sql("select count(*) from ran"), "1");
}

/// Row 41.
#[test]
fn a_host_that_has_waited_long_enough_says_who_holds_it_and_changes_nothing() {
    let mut all = hosts(2, "");
    let late = all.remove(1).operator("host_wait = \"200ms\"");
    let mut holder = all[0].spawn(["upgrade", "--unit"]);
    wait_for("the migration runs", || {
        late.sql("select count(*) from pg_stat_activity where wait_event = 'PgSleep'") == "1"
    });
    let ended = late.run(["upgrade", "--unit"]).code(75);
    let told = super::support::machine::message(&ended);
    assert!(told.first.starts_with("another run holds the lock of database "), "{told:?}");
    assert!(told.detail.contains(&format!("pid {} on ", holder.id())), "{told:?}");
    assert!(late.mark().exists());
    all[0].sql("insert into go default values");
    assert!(holder.wait().unwrap().success(), "{}", all[0].said());
    late.run(["upgrade", "--unit"]).success();
    late.assert_clean();
}

/// Rows 5 and 41.
#[test]
fn a_host_that_comes_late_with_the_old_program_is_kept_out() {
    let new = TestMachine::new().ship("good");
    let late = TestMachine::beside(&new).version("1.0.0-1");
    late.run(["gate"]).success();
    new.run(["upgrade"]).success();
    for (words, code) in
        [(["gate", "--wait"], 11), (["upgrade", "--unit"], 5), (["migrate", "--check"], 11)]
    {
        let ended = late.run(words).code(code);
        let output = ended.get_output();
        let told = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b)).concat();
        assert!(told.contains("ahead"), "{words:?}: {told}");
    }
    assert_eq!(new.schema(), "0004");
    new.run(["gate"]).success();
}
