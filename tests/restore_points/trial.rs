//! A point that is loaded into a scratch database: what is compared, and what is not even begun.

use super::{Fixture, Silent, details, wait_for};
use openwatch::database::clients::Clients;
use openwatch::restore_points::{Lasts, Limits, TrialOptions, Tried};
use openwatch::system::clock::Clock;

fn options(clients: Clients, reserve: u64) -> TrialOptions {
    TrialOptions { limits: Limits { time: None, reserve }, clock: Clock::System, clients }
}

/// Row 56.
#[test]
fn rows_that_come_out_otherwise_than_they_went_in_are_found() {
    let fixture = Fixture::new();
    let database = fixture.database();
    let mut point = fixture.create(&database).unwrap();
    let path = point.dir().join("main.contents.json");
    let mut contents: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let sums = contents["checksums"].as_array_mut().unwrap();
    let hosts = sums.iter_mut().find(|pair| pair[0] == "public.hosts").unwrap();
    hosts[1] = "1".into();
    std::fs::write(&path, contents.to_string()).unwrap();
    let error = fixture
        .store()
        .try_restoring(&mut point, &[&database], &options(fixture.clients(), 0), &Silent)
        .unwrap_err();
    assert!(error.message().contains("differs from the dump"), "{error:?}");
    assert_eq!(details(&error), "public.hosts has other rows");
    assert!(!fixture.databases().iter().any(|name| name.contains("_trial_")));
}

#[test]
fn what_the_disk_of_the_server_has_no_room_for_is_not_begun() {
    let fixture = Fixture::new();
    let database = fixture.database();
    let mut point = fixture.create(&database).unwrap();
    let tried = fixture
        .store()
        .try_restoring(&mut point, &[&database], &options(fixture.clients(), 1 << 60), &Silent)
        .unwrap();
    let Tried::NotTried(why) = tried else { panic!("it was loaded: {tried:?}") };
    assert_eq!((why.len(), why[0].lasts), (1, Lasts::ForNow));
    assert!(why[0].why.contains("kept free"), "{why:?}");
    assert!(point.manifest().trial.is_none());
}

#[test]
fn who_waits_for_a_table_and_whom_that_one_waits_for_are_named() {
    let fixture = Fixture::new();
    let mut reader = fixture.database().connect().unwrap();
    reader.run("set application_name = 'monthly report'").unwrap();
    reader.run("begin; select from hosts").unwrap();
    let mut changer = fixture
        .server
        .psql_command("app")
        .env("PGAPPNAME", "schema change")
        .args(["-c", "alter table hosts add column more int"])
        .spawn()
        .unwrap();
    wait_for("the change waits", || {
        let sql = "select count(*) from pg_stat_activity
                    where application_name = 'schema change' and wait_event_type = 'Lock'";
        fixture.server.psql("app", sql) == "1"
    });
    let error = fixture.create(&fixture.database()).unwrap_err();
    let told = details(&error);
    assert!(told.contains("application schema change, active for"), "{told}");
    assert!(told.contains("application monthly report, idle in transaction for"), "{told}");
    changer.kill().unwrap();
    changer.wait().unwrap();
}
