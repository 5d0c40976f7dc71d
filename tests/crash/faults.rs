//! Calls that fail instead of a program that ends: disks, lines, servers.

use nix::errno::Errno;

use super::facts::{data, finish, good_points, new, old, put_point_of, rows};
use super::matrix::{Case, Ended, nothing, tried};
use super::support::machine::TestMachine;
use super::tracer::{Act, At, Kind, Point, Side};
use super::upgrade::{begun, succeeds, words};
use super::{prune, restore};

/// The calls that a disk without room refuses.
const NEEDS_ROOM: &[Kind] = &[Kind::Create, Kind::Write, Kind::Sync];

fn at_each(points: &[Point], kinds: &[Kind], act: Act) -> Vec<At> {
    let chosen = points.iter().enumerate().filter(|(_, point)| kinds.contains(&point.kind));
    chosen
        .map(|(index, _)| At { number: index + 1, behind: None, side: Side::Before, act })
        .collect()
}

fn shipped() -> TestMachine {
    begun(TestMachine::new().ship("good"))
}

/// The run has ended by itself, well or with a message, and is finished as one that was killed.
fn ends_by_itself(machine: &TestMachine, ended: &Ended) {
    let code = ended.run.code.expect("it ends by itself");
    if code == 0 {
        assert_eq!(data(machine), new());
    } else {
        assert!(machine.mark().exists() || data(machine) == new(), "failed, and nobody knows");
    }
    succeeds(machine, ended);
}

/// Rows 15, 43 and 45.
#[test]
fn a_disk_that_is_full_from_any_write_on_ends_the_run_and_one_command_finishes() {
    tried(
        &Case {
            name: "disk full from a write on",
            every: 83,
            make: shipped,
            words,
            meanwhile: nothing,
            check: ends_by_itself,
        },
        |points| at_each(points, NEEDS_ROOM, Act::NoRoom(Errno::ENOSPC)),
    );
}

/// Rows 15 and 45.
/// No call of a program tells a quota from a full disk but by this number.
#[test]
fn a_quota_that_is_used_up_at_any_write_ends_the_run_and_one_command_finishes() {
    tried(
        &Case {
            name: "quota used up from a write on",
            every: 97,
            make: shipped,
            words,
            meanwhile: nothing,
            check: ends_by_itself,
        },
        |points| at_each(points, NEEDS_ROOM, Act::NoRoom(Errno::EDQUOT)),
    );
}

/// Rows 15 and 53.
/// The present data is copied first, so that a restore needs room too; the copy is gone, or whole.
#[test]
fn a_disk_that_is_full_from_any_write_of_a_restore_on_leaves_the_data_and_the_same_command_finishes()
 {
    tried(
        &Case {
            name: "restore on a disk that is full from a write on",
            every: 71,
            make: || restore::upgraded(TestMachine::new()),
            words: restore::words,
            meanwhile: nothing,
            check: restore::is_restored,
        },
        |points| at_each(points, NEEDS_ROOM, Act::NoRoom(Errno::ENOSPC)),
    );
}

/// Rows 15 and 53.
/// The point of what was replaced needs a little room: without it the database keeps its other name.
#[test]
fn a_disk_that_is_full_from_any_write_of_a_restore_of_a_clone_on_loses_nothing_of_what_it_replaces()
{
    let case = of_a_clone("restore of a clone on a disk that is full from a write on", 19);
    tried(&case, |points| at_each(points, NEEDS_ROOM, Act::NoRoom(Errno::ENOSPC)));
}

/// Rows 40 and 53.
/// The answer may be lost of the exchange, and of the names by which what was replaced is a clone.
#[test]
fn a_connection_reset_at_any_message_of_a_restore_of_a_clone_loses_nothing_of_what_it_replaces() {
    let case = of_a_clone("connection reset at a message of a restore of a clone", 37);
    tried(&case, |points| at_each(points, &[Kind::Database], Act::Fail(Errno::ECONNRESET)));
}

/// Row 40.
/// Nobody heard that the clone is the database now. Its point stayed, and within the same second what had
/// been replaced got the name by which that point leads back.
#[test]
fn an_answer_that_is_lost_right_after_a_clone_is_the_database_lets_no_other_have_its_name() {
    let case = of_a_clone("answer lost right after a clone is the database", 1);
    tried(&case, |points| {
        let of = |text| points.iter().position(|point: &Point| point.what.contains(text)).unwrap();
        let asked = of("begin;alter database")..of(".removing-");
        let lost = at_each(points, &[Kind::Database], Act::Fail(Errno::ECONNRESET));
        lost.into_iter().filter(|at| asked.contains(&at.number)).collect()
    });
}

fn of_a_clone(name: &'static str, every: usize) -> Case {
    Case {
        name,
        every,
        make: restore::migrated,
        words: restore::words,
        meanwhile: nothing,
        check: restore::is_restored_and_kept,
    }
}

/// Rows 45 and 84.
/// Room is what a prune makes: that there is none must not keep it from its work for ever.
#[test]
fn a_disk_that_is_full_from_any_write_of_a_prune_on_loses_nothing_that_is_kept() {
    let case = Case {
        name: "prune on a disk that is full from a write on",
        every: 5,
        make: prune::full,
        words: prune::words,
        meanwhile: nothing,
        check: prune::keeps_what_it_said,
    };
    tried(&case, |points| at_each(points, NEEDS_ROOM, Act::NoRoom(Errno::ENOSPC)));
}

/// Rows 45 and 68.
#[test]
fn a_sync_that_fails_is_never_taken_for_done() {
    tried(
        &Case {
            name: "a sync that fails",
            every: 23,
            make: shipped,
            words,
            meanwhile: nothing,
            check: ends_by_itself,
        },
        |points| at_each(points, &[Kind::Sync], Act::Fail(Errno::EIO)),
    );
}

/// Row 45.
#[test]
fn a_disk_that_turns_read_only_at_any_point_ends_the_run_and_one_command_finishes() {
    tried(
        &Case {
            name: "a file that cannot be made, named or removed",
            every: 83,
            make: shipped,
            words,
            meanwhile: nothing,
            check: ends_by_itself,
        },
        |points| {
            at_each(points, &[Kind::Create, Kind::Rename, Kind::Remove], Act::Fail(Errno::EROFS))
        },
    );
}

/// Two databases, of which a run migrates one before a write of the journal fails once.
fn two() -> TestMachine {
    let machine = TestMachine::with_databases(&["one", "two"]);
    machine.ship_for("one", "good").ship_for("two", "good").marked(None, &["openwatch.service"])
}

/// The first point behind the note that database one is migrated: the note that two is about to be.
fn behind_the_first(_: &[Point]) -> Vec<At> {
    let (behind, act) = (Some("\"end\":{\"head\""), Act::Fail(Errno::EIO));
    vec![At { number: 0, behind, side: Side::Before, act }]
}

/// Rows 35 and 45.
#[test]
fn a_journal_that_fails_once_after_the_first_database_was_migrated_puts_it_back() {
    let check = |machine: &TestMachine, ended: &Ended| {
        assert_eq!(ended.run.code, Some(9), "{:#}", machine.journal());
        let data = machine.data();
        assert!(rows(&data[0]) == old() && rows(&data[1]) == old());
        assert_eq!(machine.journal()["data"], "unchanged");
        machine.assert_closed();
    };
    let case = Case {
        name: "journal not written after the first database, put back",
        every: 1,
        make: || two().operator("on_failure = \"restore\""),
        words,
        meanwhile: nothing,
        check,
    };
    tried(&case, behind_the_first);
}

/// Rows 35 and 45.
#[test]
fn a_journal_that_fails_once_after_the_first_database_was_migrated_says_so_and_keeps_the_way_back()
{
    let check = |machine: &TestMachine, _: &Ended| {
        let journal = machine.journal();
        let (state, next) = (journal["state"].to_string(), journal["next"].to_string());
        let [point] = machine.points().try_into().unwrap();
        assert!(state.contains(&format!("{} is at the new schema", machine.described("one"))));
        assert!(state.contains(&format!("{} is as before", machine.described("two"))), "{state}");
        assert!(next.contains(&format!("`openwatch restore {point} --yes`")), "{next}");
        assert_eq!(journal["data"], "partly");
        machine.assert_closed();
        machine.run(["upgrade", "--retry"]).success();
        assert_eq!(machine.journal()["way_back"], point.as_str());
    };
    let case = Case {
        name: "journal not written after the first database",
        every: 1,
        make: two,
        words,
        meanwhile: nothing,
        check,
    };
    tried(&case, behind_the_first);
}

/// Row 40.
#[test]
fn a_connection_reset_at_any_message_ends_the_run_and_one_command_finishes() {
    tried(
        &Case {
            name: "connection reset at a message",
            every: 83,
            make: shipped,
            words,
            meanwhile: nothing,
            check: ends_by_itself,
        },
        |points| at_each(points, &[Kind::Database], Act::Fail(Errno::ECONNRESET)),
    );
}

fn end_all_sessions(machine: &TestMachine) {
    let name = machine.dbname();
    machine.server().psql(
        "postgres",
        &format!(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where pid <> pg_backend_pid() and (datname = '{name}' or datname like '{name}\\_%')"
        ),
    );
}

/// Rows 1 and 40.
/// What a restart of the server does to everybody.
#[test]
fn sessions_that_the_server_ends_at_any_message_end_the_run_and_one_command_finishes() {
    tried(
        &Case {
            name: "all sessions ended at a message",
            every: 89,
            make: shipped,
            words,
            meanwhile: end_all_sessions,
            check: ends_by_itself,
        },
        |points| at_each(points, &[Kind::Database], Act::Meanwhile),
    );
}

/// A server that took over and only reads so far.
fn fail_over(machine: &TestMachine) {
    let name = machine.dbname();
    let sql = format!("alter database {name} set default_transaction_read_only = on");
    machine.server().psql("postgres", &sql);
    end_all_sessions(machine);
}

fn only_read_so_far(machine: &TestMachine, ended: &Ended) {
    let now = data(machine);
    assert!(now == old() || now == new(), "neither old nor new:\n{now}");
    let name = machine.dbname();
    machine
        .server()
        .psql("postgres", &format!("alter database {name} reset default_transaction_read_only"));
    ends_by_itself(machine, ended);
}

/// Row 40.
#[test]
fn a_server_that_only_reads_after_any_message_ends_the_run_and_one_command_finishes() {
    tried(
        &Case {
            name: "fail-over to a server that only reads",
            every: 97,
            make: shipped,
            words,
            meanwhile: fail_over,
            check: only_read_so_far,
        },
        |points| at_each(points, &[Kind::Database], Act::Meanwhile),
    );
}

/// Row 80.
/// The clock was years ahead when a restore point was made, and is right again.
#[test]
fn a_clock_that_jumped_back_neither_hides_the_newest_point_nor_loses_the_one_from_the_future() {
    let machine = begun(
        TestMachine::new()
            .operator("backup_keep = 1")
            .operator("backup_retention_days = 1")
            .ship("good"),
    );
    let future = put_point_of(&machine, 2099, 2);
    machine.run(["upgrade"]).success();
    let good = good_points(&machine);
    assert_eq!(good.len(), 3, "{good:?}");
    let own = good.iter().find(|id| !dated_by_us(id)).unwrap();
    machine.run(["backup", "prune"]).success();
    let left = good_points(&machine);
    assert!(left.contains(&future) && left.contains(own), "{left:?}");
    // The newest is the one that was made last, whatever its date.
    let machine = machine.with_unit("openwatch.service", "inactive");
    finish(&machine, &["restore".into(), "latest".into(), "--yes".into(), "--no-copy".into()], 0);
    assert_eq!(data(&machine), old());
    let journal = machine.run(["history"]);
    assert!(journal.get_output().status.success());
    let (_, list) = machine.json(["backup", "list"]);
    assert_eq!(list["restore_points"][0]["id"], own.as_str(), "{list}");
}

/// Whether a restore point is one of those that the test dated.
fn dated_by_us(id: &str) -> bool {
    id.starts_with("202601") || id.starts_with("2099")
}
