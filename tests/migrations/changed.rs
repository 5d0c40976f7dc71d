//! Files that are not what was looked at any more: texts are read again when they are run.

use std::path::PathBuf;
use std::time::Duration;

use openwatch::database::{DatabaseLock, Session, SqlError};
use openwatch::migrations::{
    self, Applied, Chain, DataState, Failure, How, Migration, Observer, Place, ProblemKind, State,
};

use super::Bench;

/// Writes another text into a file once a migration ran.
struct Replacing {
    after: &'static str,
    file: PathBuf,
}

impl Observer for Replacing {
    fn begins(&mut self, _: &mut Session) -> Result<(), SqlError> {
        Ok(())
    }

    fn ran(
        &mut self,
        _: &mut Session,
        migration: &Migration,
        _: Duration,
        _: Place,
    ) -> Result<(), SqlError> {
        if migration.version == self.after {
            std::fs::write(&self.file, "drop table a;").unwrap();
        }
        Ok(())
    }
}

fn apply(bench: &Bench, chain: &Chain, observer: &mut dyn Observer) -> Result<Applied, Failure> {
    let database = bench.database();
    let mut lock = DatabaseLock::acquire(&database, "test", Duration::from_secs(30)).unwrap();
    let how = How {
        lock_timeout: bench.lock_timeout,
        reconnect_within: Duration::from_secs(20),
        restore_point: None,
        product_version: "2.0.0".into(),
        lock: &mut lock,
        said_pending: None,
    };
    migrations::apply_observed(&database, chain, how, Some(observer), &bench.notes)
}

#[test]
fn a_pending_file_that_changed_after_it_was_read_is_refused_by_name() {
    let bench = Bench::new("changed_look");
    bench.ship(&[("0001_a.sql", "create table a (id int);"), ("0002_b.sql", "select 1;")]);
    let chain = bench.shipped();
    bench.ship(&[("0002_b.sql", "drop schema public cascade;")]);
    let found = migrations::look(&mut bench.session(), &chain).unwrap();
    assert_eq!(found.problems[0].kind, ProblemKind::Unrunnable);
    let expected = format!("{} changed during the run", bench.file("0002_b.sql").display());
    assert_eq!(found.problems[0].what, expected);
    std::fs::remove_file(bench.file("0002_b.sql")).unwrap();
    let found = migrations::look(&mut bench.session(), &chain).unwrap();
    assert!(found.problems[0].what.starts_with("cannot read the migration"), "{found:?}");
    assert_eq!(found.state, State::Empty);
}

#[test]
fn a_file_that_changes_while_another_one_runs_takes_the_transaction_back() {
    let bench = Bench::new("changed_run");
    bench.ship(&[("0001_a.sql", "create table a (id int);"), ("0002_b.sql", "select 1;")]);
    let chain = bench.shipped();
    let file = bench.file("0002_b.sql");
    let failure = apply(&bench, &chain, &mut Replacing { after: "0001", file }).unwrap_err();
    let message = failure.error.message();
    assert!(message.ends_with("0002_b.sql changed during the run"), "{message}");
    assert_eq!((failure.data, failure.failed.as_deref()), (DataState::Unchanged, Some("0002")));
    assert_eq!(bench.look().state, State::Empty);
}

#[test]
fn a_file_outside_a_transaction_that_changes_before_it_begins_is_not_begun() {
    let bench = Bench::new("changed_alone");
    bench.ship(&[
        ("0001_a.sql", "create table a (id int);"),
        ("0002_b.sql", "-- openwatch: no-transaction\nvacuum a;"),
    ]);
    let chain = bench.shipped();
    let file = bench.file("0002_b.sql");
    let failure = apply(&bench, &chain, &mut Replacing { after: "0001", file }).unwrap_err();
    let message = failure.error.message();
    assert!(message.ends_with("0002_b.sql changed during the run"), "{message}");
    assert_eq!((failure.data, failure.applied), (DataState::Partly, vec!["0001".to_owned()]));
    assert_eq!(bench.history(), "0001 applied");
}

#[test]
fn an_applied_file_is_not_read_again() {
    let bench = Bench::new("changed_applied");
    bench.ship(&[("0001_a.sql", "create table a (id int);")]).apply().unwrap();
    let chain = bench.shipped();
    std::fs::remove_file(bench.file("0001_a.sql")).unwrap();
    let found = migrations::look(&mut bench.session(), &chain).unwrap();
    assert_eq!((found.state, found.problems), (State::Current, Vec::new()));
}
