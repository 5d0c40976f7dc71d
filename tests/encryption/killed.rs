//! Killed in the middle of a restore: nothing in clear is left, because nothing was ever written.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::keys::{SECRET, encrypting, identity_file, with_identity};
use super::nothing_in_clear::{NEEDLES, assert_nothing_in_clear, plant};
use crate::support::machine::tree;
use crate::support::postgres::wait_for;

/// A check that sleeps while a row is loaded; on the database that is dumped it never ran.
const SLEEPS: &str = "
    alter table n4me_of_a_table add constraint slow check (pg_sleep(3600) is not null) not valid;
    update pg_constraint set convalidated = true where conname = 'slow';
";

#[test]
fn a_restore_that_is_killed_leaves_nothing_in_clear() {
    let machine = encrypting().with_unit("openwatch.service", "inactive");
    plant(&machine);
    machine.sql(SLEEPS);
    machine.run(["backup", "create"]).success();
    let identity = identity_file(&machine, "identity", SECRET);
    let temporary = machine.dir().join("temporary");
    std::fs::create_dir(&temporary).unwrap();
    let machine = machine.within(&["env".to_owned(), format!("TMPDIR={}", temporary.display())]);
    let before = machine.data();
    let mut child = machine.spawn(with_identity(&["restore", "latest", "--yes"], &identity));
    // Other tests load on this server too.
    let load = format!(
        "query like 'COPY%' and starts_with(datname, '{}_restoring') and state = 'active'",
        machine.dbname()
    );
    let loading = format!("select count(*) from pg_stat_activity where {load}");
    wait_for("the load", || {
        machine.server().psql("postgres", &loading) == "1" || child.try_wait().unwrap().is_some()
    });
    let during = tree(machine.dir());
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    let after = tree(machine.dir());
    machine.server().psql(
        "postgres",
        &format!("select pg_terminate_backend(pid) from pg_stat_activity where {load}"),
    );
    for mut files in [during, after] {
        assert!(files.len() > 5);
        files.retain(|path, _| path != &identity);
        assert_nothing_in_clear(&files);
    }
    assert!(machine.data() == before, "{}", NEEDLES[0]);
}
