//! What is proposed where a restore point could not be put back as it is: each way that is printed leads
//! there, and none that fails is printed.

use super::extensions::{comes_back, given_to_a_plain_role, of_a_plain_role, own};
use super::support::machine::TestMachine;
use super::told;

/// Adds a table `elsewhere` that everybody may read.
fn add_table(machine: &TestMachine, owner: &str) {
    machine.sql("create table elsewhere as select 7 as id");
    machine.sql("grant select on elsewhere to public");
    machine.sql(&format!("alter table elsewhere owner to {owner}"));
}

/// Runs the last `openwatch` command of a text as it is printed there.
fn as_printed(machine: &TestMachine, text: &str) -> assert_cmd::assert::Assert {
    let (_, command) = text.rsplit_once("`openwatch ").unwrap();
    machine.run(command.split('`').next().unwrap().split(' '))
}

fn foreseen(machine: &TestMachine) -> String {
    let (code, found) = machine.json(["preflight"]);
    assert_eq!(code, 0, "{found}");
    let messages =
        found["findings"].as_array().unwrap().iter().map(|f| f["message"].as_str().unwrap());
    let told: Vec<&str> = messages.filter(|text| text.contains("put back as it is")).collect();
    assert_eq!(told.len(), 1, "{found}");
    told[0].to_owned()
}

fn refused(machine: &TestMachine) -> String {
    told(&machine.run(["restore", "latest", "--yes"]).code(5))
}

/// In place, what is there goes first, and only its owner or that of its schema may drop it. Said before the
/// upgrade, and not at night by the restore.
#[test]
fn in_place_no_owner_is_not_proposed_where_it_fails_at_tables_of_others() {
    let machine = of_a_plain_role().ship("good");
    add_table(&machine, "postgres");
    // As it is before PostgreSQL 15.
    machine.sql("alter schema public owner to postgres; grant create on schema public to public");
    let warned = foreseen(&machine);
    machine.run(["backup", "create"]).success();
    let before = machine.data();
    let said = refused(&machine);
    let machine = machine.operator("on_failure = \"restore\"");
    let stopped = told(&machine.run(["preflight"]).code(5));
    for text in [warned, said, stopped] {
        assert!(text.contains("may not act for postgres"), "{text}");
        assert!(!text.contains("grant \"postgres\""), "nobody is made a superuser: {text}");
        assert!(!text.contains("--no-owner"), "{text}");
        assert!(text.contains("Name a superuser in the connection string."), "{text}");
    }
    let failed = told(&machine.run(["restore", "latest", "--yes", "--no-owner"]).code(1));
    assert!(failed.contains("must be owner of table elsewhere"), "{failed}");
    assert_eq!(machine.data(), before);
    // As it is told.
    let machine = machine.role("postgres");
    machine.run(["preflight"]).success();
    machine.sql("delete from elsewhere");
    comes_back(&machine, &before, "is restored");
}

/// An owner of tables need not have the right to make them, which the load asks for.
#[test]
fn a_membership_that_is_not_enough_is_not_proposed_and_no_owner_is_where_it_helps() {
    let machine = of_a_plain_role().ship("good");
    let (plain, other) =
        (format!("plain_{}", machine.dbname()), format!("other_{}", machine.dbname()));
    machine.sql(&format!("alter role {plain} createdb; create role {other}"));
    add_table(&machine, &other);
    let warned = foreseen(&machine);
    machine.run(["backup", "create"]).success();
    machine.sql("insert into machines values (9001, 'added since')");
    let said = refused(&machine);
    for text in [&warned, &said] {
        assert!(text.contains("Name a superuser in the connection string"), "{text}");
        assert!(!text.contains("grant "), "{text}");
    }
    assert!(said.contains("add `--no-owner`"), "{said}");
    let machine = machine.operator("on_failure = \"restore\"");
    let stopped = told(&machine.run(["preflight"]).code(5));
    let way = "Or set `on_failure = \"stop\"` and put it back by `openwatch restore --no-owner`";
    assert!(stopped.contains(way), "{stopped}");
    let machine = machine.operator_without("on_failure");
    let asked = told(&as_printed(&machine, &warned).code(5));
    as_printed(&machine, &asked).success();
    assert_eq!(machine.sql("select count(*) from machines where id = 9001"), "0");
    assert_eq!(machine.sql("select id from elsewhere"), "7");
}

/// It could make a database for the owner, and then neither fill nor drop it.
#[test]
fn a_member_that_does_not_inherit_is_told_beforehand_and_leaves_no_database_behind() {
    let machine = of_a_plain_role().ship("good");
    let (plain, other) =
        (format!("plain_{}", machine.dbname()), format!("other_{}", machine.dbname()));
    machine.sql(&format!(
        "create role {other}; alter role {plain} createdb noinherit; grant {other} to {plain};
         grant pg_read_all_data to {plain}; grant select on all tables in schema public to public"
    ));
    own(&machine, machine.dbname(), &other);
    let warned = foreseen(&machine);
    machine.run(["backup", "create"]).success();
    let before = machine.data();
    machine.sql("insert into machines values (9001, 'added since')");
    let said = refused(&machine);
    let name = format!("{}_beside", machine.dbname());
    let beside = told(&machine.run(["restore", "latest", "--into", &name, "--no-owner"]).code(5));
    assert!(beside.contains(&format!("the role {plain} does not own")), "{beside}");
    let left =
        format!("select count(*) from pg_database where datname like '{}\\_%'", machine.dbname());
    assert_eq!(machine.sql(&left), "0");
    for text in [&warned, &said] {
        assert!(text.contains(&format!("the role {plain} may not act for {other}")), "{text}");
        assert!(!text.contains("--no-owner"), "{text}");
    }
    // As it is printed.
    let statement = |line: &&str| line.contains(" inherit") && line.ends_with(';');
    let statement = said.lines().find(statement).unwrap().trim().trim_start_matches("detail: ");
    machine.sql(statement);
    comes_back(&machine, &before, "is restored");
    let owner =
        "select pg_get_userbyid(datdba) from pg_database where datname = current_database()";
    assert_eq!(machine.sql(owner), other);
}

/// The next one has a name of its own.
#[test]
fn a_leftover_that_cannot_be_dropped_is_told_and_in_nobodys_way() {
    let machine = TestMachine::new().with_unit("openwatch.service", "inactive");
    machine.run(["backup", "create"]).success();
    let before = machine.data();
    let leftover = format!("{}_restoring_20200101T000000Z", machine.dbname());
    machine.server().database(&leftover);
    machine.sql(&format!("alter database \"{leftover}\" is_template true"));
    comes_back(&machine, &before, &format!("cannot remove the database {leftover}"));
    machine.sql(&format!("alter database \"{leftover}\" is_template false"));
    comes_back(&machine, &before, &format!("removed {leftover}, left by a restore"));
}

#[test]
fn no_owner_is_not_proposed_where_it_helps_one_database_and_fails_at_another() {
    let machine = given_to_a_plain_role(TestMachine::with_databases(&["main", "jobs"]));
    let plain = format!("plain_{}", machine.dbname());
    machine.sql(&format!("alter role {plain} createdb; grant pg_read_all_data to {plain}"));
    add_table(&machine, "postgres");
    let machine = machine.ship("good");
    let warned = foreseen(&machine);
    for name in ["main", "jobs"] {
        assert!(warned.contains(&machine.described(name)), "{warned}");
    }
    machine.run(["backup", "create"]).success();
    for text in [warned, refused(&machine)] {
        assert!(text.contains("may not act for postgres"), "{text}");
        assert!(!text.contains("--no-owner"), "{text}");
    }
}

#[test]
fn an_owner_that_is_gone_is_made_or_left_out_as_it_is_printed() {
    for leave_out in [false, true] {
        let machine = TestMachine::new().with_unit("openwatch.service", "inactive");
        let gone = format!("gone_{}", machine.dbname());
        machine.sql(&format!("create role {gone}"));
        add_table(&machine, &gone);
        machine.run(["backup", "create"]).success();
        machine.sql(&format!("drop owned by {gone}; drop role {gone}"));
        let said = refused(&machine);
        assert!(said.contains("add `--no-owner`"), "{said}");
        if leave_out {
            machine.run(["restore", "latest", "--yes", "--no-owner"]).success();
        } else {
            let statement = format!("create role \"{gone}\";");
            assert!(said.contains(&statement), "{said}");
            machine.sql(&statement);
            machine.run(["restore", "latest", "--yes"]).success();
        }
        let owner = machine.sql("select tableowner from pg_tables where tablename = 'elsewhere'");
        assert_eq!(owner == gone, !leave_out, "{owner}");
        assert_eq!(machine.sql("select id from elsewhere"), "7");
    }
}

/// No option makes an extension.
#[test]
fn for_an_extension_that_is_not_offered_its_package_is_proposed_and_not_no_owner() {
    let machine = TestMachine::new().ship("good").with_unit("openwatch.service", "inactive");
    let gone = format!("gone_{}", machine.dbname());
    machine.sql(&format!("create role {gone}"));
    add_table(&machine, &gone);
    // As it is after its package was removed.
    machine.sql("create extension tcn");
    machine.sql("update pg_extension set extname = 'not_offered' where extname = 'tcn'");
    let warned = foreseen(&machine);
    machine.run(["backup", "create"]).success();
    machine.sql(&format!("drop owned by {gone}; drop role {gone}"));
    let said = refused(&machine);
    for text in [warned, said] {
        assert!(text.contains("does not offer the extension not_offered"), "{text}");
        assert!(!text.contains("--no-owner"), "{text}");
        assert!(text.contains("Install the packages that bring not_offered"), "{text}");
    }
}
