//! Databases that a restore replaced are listed, and go by age and never too early.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::support::machine::{TestMachine, message};
use super::support::postgres::{Server, wait_for};

fn replaced(json: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = json["replaced"].as_array().unwrap().iter();
    all.map(|one| (text(&one["kept_as"]), text(&one["verdict"]))).collect()
}

#[test]
fn a_replaced_database_is_listed_and_goes_when_its_time_is_over() {
    let machine = TestMachine::new().with_unit("openwatch.service", "inactive");
    machine.run(["backup", "create"]).success();
    let (_, json) = machine.json(["restore", "latest", "--yes", "--no-copy"]);
    let kept = json["replaced"][0]["kept_as"].as_str().unwrap().to_owned();
    let (_, listed) = machine.json(["backup", "list"]);
    assert_eq!(replaced(&listed), [(kept.clone(), "keep".to_owned())]);
    // Another one, from long ago.
    let old = format!("{}_replaced_20200101T000000Z", machine.dbname());
    machine.server().database(&old);
    let before = machine.data();
    let (_, dry) = machine.json(["backup", "prune", "--dry-run"]);
    let wanted = [(old.clone(), "would remove".to_owned()), (kept.clone(), "keep".to_owned())];
    assert_eq!(replaced(&dry), wanted, "{dry}");
    let (_, done) = machine.json(["backup", "prune"]);
    assert_eq!(replaced(&done), [(old, "removed".to_owned()), (kept.clone(), "keep".to_owned())]);
    let (_, after) = machine.json(["backup", "list"]);
    assert_eq!(replaced(&after), [(kept, "keep".to_owned())]);
    assert_eq!(machine.data(), before);
}

/// Row 85.
#[test]
fn after_an_upgrade_that_failed_no_replaced_database_goes() {
    let machine = TestMachine::new();
    machine.run(["backup", "create"]).success();
    let machine = machine.migration("0003_divides.sql", "SELECT 1 / 0;\n");
    machine.run(["upgrade"]).code(7);
    let old = format!("{}_replaced_20200101T000000Z", machine.dbname());
    machine.server().database(&old);
    let (_, done) = machine.json(["backup", "prune"]);
    assert_eq!(replaced(&done), [(old, "keep".to_owned())], "{done}");
}

/// A pool connects again at once when it is thrown out, as the server's own workers do; whoever is in when
/// a rename begins would keep it waiting for longer than the rename waits, at every attempt.
#[test]
fn clients_that_come_back_at_once_do_not_hold_up_the_exchange() {
    let machine = TestMachine::on(Server::start()).with_unit("openwatch.service", "inactive");
    machine.run(["backup", "create"]).success();
    let open = AtomicBool::new(true);
    let number = "select oid from pg_database where datname = current_database()";
    let ended_in = Mutex::new(Vec::<u32>::new());
    let come_back = || {
        let mut config = postgres::Config::new();
        config.host_path(machine.server().socket()).user("postgres").dbname(machine.dbname());
        while open.load(Ordering::Relaxed) {
            if let Ok(mut client) = config.application_name("pool").connect(postgres::NoTls) {
                let Ok(here) = client.query_one(number, &[]) else { continue };
                let _ = client.simple_query("select pg_sleep(600)");
                if open.load(Ordering::Relaxed) {
                    ended_in.lock().unwrap().push(here.get(0));
                }
            }
        }
    };
    let pool = "from pg_stat_activity where application_name = 'pool' and state = 'active' \
                and datname = current_database()";
    let everybody = || machine.sql(&format!("select count(*) {pool}")) == CLIENTS.to_string();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(come_back);
        }
        let restored = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for("the clients", everybody);
            machine.run(["restore", "latest", "--yes", "--no-copy"]).success();
            wait_for("the clients in the database that took its place", everybody);
            let restored = machine.sql(number).parse().unwrap();
            assert!(!ended_in.lock().unwrap().contains(&restored), "ended where it was at home");
        }));
        open.store(false, Ordering::Relaxed);
        wait_for("the end of the clients", || {
            machine.sql(&format!("select pg_terminate_backend(pid) {pool}"));
            machine.sql(&format!("select count(*) {pool}")) == "0"
        });
        restored.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// Enough that one of them is always quicker than a rename.
const CLIENTS: usize = 24;

/// The newest point was made after the upgrade, by hand; going back by hand needs the one of before.
#[test]
fn latest_is_not_taken_for_a_point_that_the_older_program_does_not_know() {
    let machine = TestMachine::new().with_unit("openwatch.service", "inactive");
    machine.run(["backup", "create"]).success();
    let machine = machine.migration("0003_later.sql", "create table later ();");
    machine.run(["migrate"]).success();
    machine.run(["backup", "create"]).success();
    let points = machine.points();
    std::fs::remove_file(machine.migrations("main").join("0003_later.sql")).unwrap();
    let told = message(&machine.run(["restore", "latest", "--yes"]).code(5));
    assert_eq!(told.state, "nothing was changed");
    let (_, listed) = machine.json(["backup", "list"]);
    let newest = listed["restore_points"][0]["id"].as_str().unwrap();
    let fits = points.iter().filter(|id| told.hint.contains(&format!("restore {id} --yes`")));
    assert_eq!(fits.count(), 2, "{told:?}");
    assert!(told.detail.contains(newest), "{told:?}");
    let (code, _) = machine.json(["restore", newest, "--yes", "--no-copy"]);
    assert_eq!(code, 0, "a point that is named is the one that is meant");
}
