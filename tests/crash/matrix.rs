//! All points of one kind of run: counted first, then one machine for each.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::support::machine::{TestMachine, shared};
use super::tracer::{Act, At, Kind, Point, Side, Traced, run};

/// One kind of run.
pub struct Case {
    /// What it is called in the sums.
    pub name: &'static str,
    /// Of how many points the usual run takes one.
    pub every: usize,
    /// Makes the machine that the run begins on.
    pub make: fn() -> TestMachine,
    /// The words of the run.
    pub words: fn(&TestMachine) -> Vec<String>,
    /// What happens to the machine at [`Act::Meanwhile`].
    pub meanwhile: fn(&TestMachine),
    /// Looks at the machine after the end, finishes by one command, looks again.
    pub check: fn(&TestMachine, &Ended),
}

/// How a run ended at a point.
pub struct Ended {
    /// What became of it.
    pub run: Traced,
    /// What was there before it began.
    pub before: Vec<String>,
}

/// Which ends are tried: every k-th of the case, every K-th where `OPENWATCH_CRASH=every:K`, those
/// at one point where it is that point's number.
fn chosen(case: &Case, all: Vec<At>) -> Vec<At> {
    let Ok(wish) = std::env::var("OPENWATCH_CRASH") else {
        return all.into_iter().step_by(case.every).collect();
    };
    let number = |text: &str| text.parse::<usize>().expect("a number, or every:NUMBER");
    match wish.strip_prefix("every:") {
        Some(every) => all.into_iter().step_by(number(every)).collect(),
        None => all.into_iter().filter(|at| at.number == number(&wish)).collect(),
    }
}

/// How many machines are worked on at a time: two, or `OPENWATCH_CRASH_JOBS`.
fn jobs() -> usize {
    std::env::var("OPENWATCH_CRASH_JOBS").map_or(2, |jobs| jobs.parse().expect("a number"))
}

/// Every end that a run can find at the points that it came by.
fn ends(points: &[Point]) -> Vec<At> {
    let mut ends = Vec::new();
    for (index, point) in points.iter().enumerate() {
        let number = index + 1;
        ends.push(At { number, behind: None, side: Side::Before, act: Act::Kill });
        if matches!(point.kind, Kind::Spawn | Kind::Database) || number == points.len() {
            ends.push(At { number, behind: None, side: Side::After, act: Act::Kill });
        }
        // Alone, the children see that nobody reads any more; together with us they see nothing.
        if point.children {
            ends.push(At { number, behind: None, side: Side::Before, act: Act::KillAll });
        }
    }
    ends
}

fn prepared(case: &Case, machine: &TestMachine) -> Command {
    prepared_words(machine, &(case.words)(machine))
}

/// Prepares a run of these words.
pub fn prepared_words(machine: &TestMachine, words: &[String]) -> Command {
    machine.command(words.iter().map(String::as_str))
}

/// Nothing happens.
pub fn nothing(_: &TestMachine) {}

/// Ends a run of this kind at its points.
pub fn killed(case: &Case) {
    tried(case, ends);
}

/// Tries what `ends` makes of the points of a whole run, as many at a time as there are jobs, and prints the sums.
pub fn tried(case: &Case, ends: fn(&[Point]) -> Vec<At>) {
    let _server = shared();
    let machine = (case.make)();
    let whole = run(&prepared(case, &machine), None, &|| {});
    drop(machine);
    let all = ends(&whole.points);
    if std::env::var_os("OPENWATCH_CRASH_LIST").is_some() {
        for (index, point) in whole.points.iter().enumerate() {
            println!("{:4} {:?} {} {}", index + 1, point.kind, point.what, point.children);
        }
    }
    let (points, every) = (whole.points.len(), all.len());
    let chosen = chosen(case, all);
    let next = AtomicUsize::new(0);
    let (reached, problems) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..jobs() {
            scope.spawn(|| {
                while let Some(at) = chosen.get(next.fetch_add(1, Ordering::SeqCst)) {
                    match one(case, *at) {
                        Ok(came) => drop(reached.fetch_add(usize::from(came), Ordering::SeqCst)),
                        Err(problem) => {
                            println!("crash: {}: NOT RECOVERED: {problem}", case.name);
                            problems.lock().unwrap().push(problem);
                        }
                    }
                }
            });
        }
    });
    let problems = problems.into_inner().unwrap();
    let tried = reached.into_inner() + problems.len();
    println!(
        "crash: {}: {points} points, {every} ways to end there, {tried} tried, {} recovered",
        case.name,
        tried - problems.len(),
    );
    assert!(problems.is_empty(), "{}:\n\n{}", case.name, problems.join("\n\n"));
    assert!(tried > 0, "{}: no point was reached", case.name);
}

/// Returns whether the run came to the point: one that had less to do has ended well before it.
fn one(case: &Case, at: At) -> Result<bool, String> {
    let mut place = format!("{at:?}");
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let machine = (case.make)();
        let before = machine.points();
        let run = run(&prepared(case, &machine), Some(at), &|| (case.meanwhile)(&machine));
        place = format!("{at:?}: {}", run.last());
        let ended = Ended { run, before };
        (case.check)(&machine, &ended);
        drop_databases(&machine);
        ended.run.reached
    }));
    outcome.map_err(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        format!("{place}\n{said}")
    })
}

/// Thousands of machines share a server: what one has made goes with it.
fn drop_databases(machine: &TestMachine) {
    let (server, name) = (machine.server(), machine.dbname());
    let sql = format!(
        "select format('drop database %I with (force)', datname) from pg_database
          where datname = '{name}' or starts_with(datname, '{name}_')"
    );
    let mut command = server.psql_command("postgres");
    for drop in server.psql("postgres", &sql).lines() {
        command.arg("-c").arg(drop);
    }
    assert!(command.status().unwrap().success());
}
