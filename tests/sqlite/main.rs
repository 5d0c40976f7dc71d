//! An application whose data is in a file of SQLite: looked at, migrated, copied, put back.

#[path = "../support/mod.rs"]
mod support;

mod encrypted;
mod held;
mod recorded;
mod rehearsed;
mod take_back;
mod upgrading;

use support::machine::TestMachine;

/// A migration with a trigger, whose body has semicolons of its own.
const AUDIT: &str = "\
create table audit (id integer primary key, at text not null default current_timestamp, what text);
create trigger users_told after insert on users begin
  insert into audit (what) values ('user ' || new.name);
end;
";

/// A table rebuilt under its name, to which another one refers.
const REBUILD: &str = "\
create table users_new (id integer primary key, name text not null unique, mail text);
insert into users_new (id, name) select id, name from users;
drop table users;
alter table users_new rename to users;
";

/// A migration that fails at its second line.
const FAILING: &str = "create table half (id integer);\ninsert into nowhere values (1);\n";

/// A machine with one file, and two migrations to apply.
fn machine() -> TestMachine {
    shipping(TestMachine::with_files(&[], &["main"]))
}

fn shipping(machine: TestMachine) -> TestMachine {
    let name = if machine.file("main").exists() { "main" } else { "audit" };
    machine.migration_for(name, "0003_audit.sql", AUDIT).migration_for(
        name,
        "0004_rebuild.sql",
        REBUILD,
    )
}

/// The newest applied version of a file.
fn schema(machine: &TestMachine, name: &str) -> String {
    machine.query(name, "select max(version) from openwatch_schema_history")
}

fn rows(machine: &TestMachine, name: &str) -> String {
    machine
        .query(name, "select (select count(*) from users) || ' ' || (select count(*) from hosts)")
}
