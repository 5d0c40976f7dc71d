//! What statements outside transactions leave when they fail or are cut off, and what is not theirs.

use openwatch::migrations::State;

use super::Bench;
use super::outside::kill;
use super::support::postgres::wait_for;

const VALID: &str = "select string_agg(indexrelid::regclass || ' ' || indisvalid, ', ' order by indexrelid::regclass::text) \
    from pg_index where indrelid = 'a'::regclass";

/// A table with two equal rows and an index that somebody else's build left invalid.
fn with_foreign(name: &str) -> Bench {
    let bench = Bench::new(name);
    bench.ship(&[("0001_a.sql", "create table a (id int); insert into a values (1), (1);")]);
    bench.apply().unwrap();
    let failed = bench.psql_fails("create unique index concurrently foreign_one on a (id)");
    assert!(failed.contains("could not create unique index"), "{failed}");
    assert_eq!(bench.psql(VALID), "foreign_one false");
    bench
}

fn outside(text: &str) -> String {
    format!("-- openwatch: no-transaction\n{text}")
}

#[test]
fn an_invalid_index_that_was_there_before_us_stays() {
    let bench = with_foreign("leftovers_foreign");
    bench.ship(&[("0002_b.sql", &outside("create unique index concurrently on a (id)"))]);
    let failure = bench.apply().unwrap_err();
    assert!(failure.error.message().contains("could not create unique index"), "{failure:?}");
    assert_eq!(bench.psql(VALID), "foreign_one false");
    let notes = bench.notes.all();
    assert!(notes.contains("dropped the invalid index public.a_id_idx"), "{notes}");
    bench.psql("delete from a where ctid = (select min(ctid) from a)");
    bench.apply().unwrap();
    assert_eq!(bench.psql(VALID), "a_id_idx true, foreign_one false");
}

#[test]
fn an_invalid_index_that_the_statement_names_is_replaced_not_taken_for_done() {
    let bench = with_foreign("leftovers_named");
    let build = "create unique index concurrently if not exists \"foreign_one\" on public.a (id)";
    bench.ship(&[("0002_b.sql", &outside(build))]);
    bench.psql("delete from a where ctid = (select min(ctid) from a)");
    bench.apply().unwrap();
    let notes = bench.notes.all();
    assert!(notes.contains("public.foreign_one, which an earlier attempt left invalid"), "{notes}");
    assert_eq!(bench.psql(VALID), "foreign_one true");
}

#[test]
fn what_a_rebuild_left_is_removed_and_nothing_else() {
    let bench = with_foreign("leftovers_rebuild");
    bench.psql("create index fine on a (id)");
    bench.ship(&[("0002_b.sql", &outside("reindex index concurrently fine"))]);
    let mut holder = bench.session();
    holder.run("begin; insert into a values (3)").unwrap();
    let failure = std::thread::scope(|scope| {
        let run = scope.spawn(|| bench.apply());
        wait_for("the rebuild waits", || kill(&bench, "reindex index concurrently"));
        run.join().unwrap().unwrap_err()
    });
    holder.run("rollback").unwrap();
    assert!(format!("{failure:?}").contains("public.fine_ccnew"), "{failure:?}");
    assert!(bench.psql(VALID).contains("fine_ccnew false"), "{}", bench.psql(VALID));
    bench.apply().unwrap();
    assert_eq!(bench.psql(VALID), "fine true, foreign_one false");
}

#[test]
fn a_partition_whose_detaching_was_cut_off_is_detached() {
    let bench = Bench::new("leftovers_detach");
    bench.ship(&[(
        "0001_a.sql",
        "create table p (id int) partition by range (id);
         create table c partition of p for values from (1) to (2);",
    )]);
    bench.apply().unwrap();
    let text = "alter table p detach partition c concurrently; drop table c";
    bench.ship(&[("0002_b.sql", &outside(text))]);
    let mut holder = bench.session();
    holder.run("begin; select * from p").unwrap();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| bench.apply());
        wait_for("the detaching waits", || kill(&bench, "detach partition"));
        run.join().unwrap().unwrap_err()
    });
    holder.run("rollback").unwrap();
    assert_eq!(bench.psql("select inhdetachpending from pg_inherits"), "t");
    assert_eq!(bench.look().state, State::Pending);
    bench.apply().unwrap();
    assert!(bench.notes.all().contains("statement 1 of migration 0002_b had taken effect"));
    assert_eq!(bench.psql("select count(*) from pg_inherits"), "0");
    assert_eq!(bench.psql("select to_regclass('c')"), "");
}

#[test]
fn a_dropping_that_was_cut_off_is_done_once_more() {
    let bench = Bench::new("leftovers_drop");
    bench.ship(&[("0001_a.sql", "create table a (id int); create index i on a (id);")]);
    bench.apply().unwrap();
    bench.ship(&[("0002_b.sql", &outside("drop index concurrently i"))]);
    let mut holder = bench.session();
    holder.run("begin; insert into a values (3)").unwrap();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| bench.apply());
        wait_for("the dropping waits", || kill(&bench, "drop index concurrently i"));
        run.join().unwrap().unwrap_err()
    });
    holder.run("rollback").unwrap();
    assert_eq!(bench.psql(VALID), "i false");
    bench.apply().unwrap();
    assert_eq!(bench.psql(VALID), "");
}
