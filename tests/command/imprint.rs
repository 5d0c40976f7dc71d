//! What an imprint of a database notices, and what it does not mistake for a change.

use openwatch::database::{Change, Database, Session, Source};

use super::support::machine::TestMachine;
use super::support::postgres::wait_for;

/// A database with one of everything, and sessions in it.
struct Ground {
    machine: TestMachine,
    database: Database,
}

impl Ground {
    fn new() -> Self {
        let machine = TestMachine::with_empty_database();
        let conninfo = Some(machine.server().conninfo(machine.dbname()));
        let source = Source { name: "main".into(), conninfo, ..Source::default() };
        machine.sql(
            "create table items (id int primary key, name text);
             insert into items select n, 'item ' || n from generate_series(1, 100) n;
             create table parts (id int) partition by range (id);
             create table parts_1 partition of parts for values from (1) to (10);
             create view names as select name from items;
             create type mood as enum ('good', 'bad');
             create sequence counter;
             create function one() returns int language sql as 'select 1';",
        );
        Self { database: Database::resolve(&source).unwrap(), machine }
    }

    /// Returns what is found to have changed after statements in a session that has ended by then.
    fn after(&self, sql: &str) -> Change {
        let mut session: Session = self.database.connect().unwrap();
        let before = session.imprint().unwrap();
        self.machine.sql(sql);
        // A server process counts its rows as the last thing it does, when the client is gone already.
        let others = "select count(*) from pg_stat_activity where datname = current_database() \
                      and backend_type = 'client backend' and pid <> pg_backend_pid()";
        wait_for("the session that wrote to be gone", || self.machine.sql(others) == "1");
        session.changed_since(&before).unwrap()
    }
}

#[test]
fn every_kind_of_definition_is_noticed() {
    let ground = Ground::new();
    for sql in [
        "create table more (id int)",
        "alter table items add column age int",
        "alter table items alter column age set default 3",
        "alter table items alter column age type bigint",
        "alter table items add constraint positive check (id > 0) not valid",
        "alter table items validate constraint positive",
        "create index on items (name)",
        "alter type mood add value 'mixed'",
        "alter sequence counter increment 2",
        "create or replace function one() returns int language sql as 'select 2'",
        "create or replace view names as select upper(name) as name from items",
        "create trigger t before update on items for each row execute function suppress_redundant_updates_trigger()",
        "alter table items disable trigger t",
        "alter table items enable row level security",
        "create policy p on items using (true)",
        "create rule r as on delete to items do nothing",
        "create materialized view counts as select count(*) from items",
        "create table parts_2 partition of parts for values from (10) to (20)",
        "alter table parts detach partition parts_2",
        "create schema other",
        "grant select on items to public",
        "comment on table items is 'things'",
        "alter table items rename to things",
        "drop table things cascade",
        "select lo_create(0)",
    ] {
        let found = ground.after(sql);
        assert!(matches!(found, Change::Some(_)), "{sql}: {found:?}");
    }
}

/// What the catalogue of objects does not tell, and what lies in a schema of an extension.
#[test]
fn definitions_that_are_seldom_made_are_noticed() {
    let ground = Ground::new();
    ground.machine.sql(
        "create schema part; create table part.chunk_1 as select 1 as id;
         create table part.chunk_2 as select 1 as id; alter extension plpgsql add schema part;
         select lo_from_bytea(4711, 'before'); create publication pub",
    );
    for sql in [
        "drop table part.chunk_1",
        "create collation turned from \"C\"",
        "create text search configuration plain (copy = simple)",
        "create cast (mood as bigint) with inout",
        "create operator === (leftarg = int, rightarg = int, function = int4eq)",
        "create aggregate total (int) (sfunc = int4pl, stype = int, initcond = '0')",
        "create foreign data wrapper far; create server near foreign data wrapper far",
        "create user mapping for public server near options (user 'app')",
        "alter publication pub add table items where (id > 5)",
        "alter table items replica identity full",
        "alter table items alter column name set storage external",
        "alter table items alter column name set statistics 500",
    ] {
        let found = ground.after(sql);
        assert!(matches!(found, Change::Some(_)), "{sql}: {found:?}");
    }
    let found = ground.after("select lo_put(4711, 0, 'AFTER!')");
    assert!(matches!(&found, Change::Perhaps(what) if what.contains("large object")), "{found:?}");
}

/// A restore point is used again only where none of this was done since.
#[test]
fn what_an_imprint_leaves_out_is_noticed_by_a_standstill() {
    let ground = Ground::new();
    let name = ground.machine.dbname();
    for sql in [
        "select nextval('counter')",
        "select setval('counter', 500)",
        "alter sequence counter restart 900",
        "select setval('counter', 901, false)",
        "comment on table items is 'things'",
        &format!("alter database {name} set work_mem = '8MB'"),
        &format!("alter role current_user in database {name} set work_mem = '9MB'"),
        &format!("grant create on database {name} to public"),
    ] {
        let mut session: Session = ground.database.connect().unwrap();
        let before = session.standstill().unwrap();
        assert_eq!(session.moved_since(&before).unwrap(), Change::None);
        ground.machine.sql(sql);
        let found = session.moved_since(&before).unwrap();
        assert_ne!(found, Change::None, "{sql}");
    }
}

#[test]
fn rows_that_were_written_are_told_from_those_that_were_taken_back() {
    let ground = Ground::new();
    for sql in [
        "update items set name = 'x' where id = 7",
        "insert into items values (1000, 'new')",
        "insert into parts values (3)",
        "truncate items",
        "create table gone (id int); drop table gone; insert into items values (1001, 'x')",
    ] {
        let found = ground.after(sql);
        assert!(matches!(found, Change::Some(_)), "{sql}: {found:?}");
    }
    for sql in [
        "begin; update items set name = 'y'; insert into items values (2000, 'z'); rollback",
        "begin; create table gone (id int); insert into gone values (1); rollback",
        "begin; truncate parts; rollback",
        "create table gone (id int); drop table gone",
        "select * from items",
        "select nextval('counter')",
        "analyze",
        "set default_transaction_read_only = on; select count(*) from items",
    ] {
        let found = ground.after(sql);
        assert_eq!(found, Change::None, "{sql}");
    }
}

#[test]
fn a_deletion_is_never_taken_for_nothing() {
    let ground = Ground::new();
    let done = ground.after("delete from items where id < 10");
    let undone = ground.after("begin; delete from items where id < 50; rollback");
    for found in [done, undone] {
        let Change::Perhaps(what) = found else { panic!("{found:?}") };
        assert_eq!(what, "rows of table public.items were deleted, unless that was rolled back");
    }
}
