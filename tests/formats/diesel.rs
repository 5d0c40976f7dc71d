//! What is particular to diesel: directories, metadata, rows of no directory.

use openwatch::migrations::{ProblemKind, State};

use super::rust_roads::Road;
use super::rust_tools::Tool;

const TWO: &[(&str, &str)] = &[
    ("2026-01-01-000000_a/up.sql", "create table a (id int);\n"),
    ("2026-01-02-000000_b/up.sql", "create table b (id int);\n"),
];

fn road(dbname: &str, files: &[(&str, &str)]) -> Option<Road> {
    let road = Road::new(Tool::Diesel, dbname)?;
    road.site.ship(files);
    Some(road)
}

#[test]
fn metadata_means_what_it_means_to_diesel() {
    let metadata = [
        ("none", None),
        ("inside", Some("run_in_transaction = true\n")),
        ("outside", Some("run_in_transaction = false\n")),
        ("without_key", Some("# nothing is said\n")),
        ("broken", Some("run_in_transaction: no\n")),
        ("words", Some("run_in_transaction = \"false\"\n")),
    ];
    let Some(road) = road("diesel_metadata", TWO) else { return };
    for (index, (name, text)) in metadata.iter().enumerate() {
        let at = format!("2026-02-{:02}_{name}", index + 1);
        let probe = format!("create table {name} as select localtimestamp as at");
        road.site.ship(&[(&format!("{at}/up.sql"), &probe)]);
        if let Some(text) = text {
            road.site.ship(&[(&format!("{at}/metadata.toml"), text)]);
        }
    }
    let chain = road.site.load().unwrap();
    let outside: Vec<&str> = chain
        .migrations
        .iter()
        .filter(|migration| !migration.transactional)
        .map(|migration| migration.name.as_str())
        .collect();
    assert_eq!(outside, ["outside", "without_key"]);
    road.real().migrate().unwrap();
    let versions: Vec<String> = (1..).map(|day| format!("202602{day:02}")).take(6).collect();
    let of_diesel: Vec<&str> = metadata
        .iter()
        .zip(&versions)
        .filter(|((name, _), version)| {
            // In one transaction both have its time.
            let same = format!(
                "select t.at = h.run_on from {name} t, __diesel_schema_migrations h \
                 where h.version = '{version}'"
            );
            road.site.psql(&same) == "f"
        })
        .map(|((name, _), _)| *name)
        .collect();
    assert_eq!(of_diesel, outside);
}

#[test]
fn a_failure_outside_a_transaction_leaves_what_diesel_can_go_on_with() {
    let Some(road) = road("diesel_outside", TWO) else { return };
    road.site.ship(&[
        ("3_c/up.sql", "create unique index concurrently twice on a (id)"),
        ("3_c/metadata.toml", "run_in_transaction = false"),
    ]);
    road.site.ship(&[(
        "2026-01-01-000000_a/up.sql",
        "create table a as select 1 as id, n from generate_series(1, 2) n",
    )]);
    road.site.apply().unwrap_err();
    assert_eq!(road.real().pending().len(), 1);
    assert_eq!(
        road.site
            .psql("select to_regclass('twice') is null, to_regclass('openwatch_begun') is null"),
        "t|t"
    );
    road.site.psql("delete from a where n = 2");
    road.real().migrate().unwrap();
    assert_eq!(road.site.look().state, State::Current);
}

#[test]
fn the_initial_setup_needs_no_directory_and_every_other_row_does() {
    let Some(road) = road("diesel_rows", TWO) else { return };
    road.site.ship(&[("00000000000000_diesel_initial_setup/up.sql", "select 'helpers'")]);
    road.real().migrate().unwrap();
    assert_eq!(road.site.look().state, State::Current);
    let remove = |name: &str| std::fs::remove_dir_all(road.site.dir.path().join(name)).unwrap();
    remove("00000000000000_diesel_initial_setup");
    assert_eq!((road.site.look().state, road.site.look().applied), (State::Current, 2));
    // diesel says nothing to this.
    remove("2026-01-01-000000_a");
    assert_eq!(road.real().pending(), [""; 0]);
    assert_eq!(road.site.look().problems[0].kind, ProblemKind::Missing);
    remove("2026-01-02-000000_b");
    road.site.ship(&TWO[..1]);
    assert_eq!(road.site.look().problems[0].kind, ProblemKind::Ahead);
}

#[test]
fn a_late_older_directory_is_applied_by_both() {
    let Some(road) = road("diesel_late", TWO) else { return };
    road.real().migrate().unwrap();
    road.site.ship(&[("2025-12-31-000000_x/up.sql", "create table x ()")]);
    assert_eq!(road.site.apply().unwrap().versions, ["20251231000000"]);
    road.site.ship(&[("2025-12-30-000000_w/up.sql", "create table w ()")]);
    road.real().migrate().unwrap();
    assert_eq!(road.site.look().state, State::Current);
}

#[test]
fn what_diesel_stops_at_is_refused() {
    for (name, files, expected) in [
        ("no_up", &[("3_c/down.sql", "select 1")] as &[(&str, &str)], "has no file up.sql"),
        ("no_version", &[("_c/up.sql", "select 1")], "is not named like a migration"),
        (
            "twice",
            &[("2026-01-02_b/up.sql", "select 1"), ("20260102_c/up.sql", "select 1")],
            "two migrations have the number 20260102",
        ),
    ] {
        let Some(road) = road(&format!("diesel_{name}"), files) else { return };
        let error = road.site.load().unwrap_err();
        assert!(error.message().contains(expected), "{error:?}");
    }
    let Some(road) = road("diesel_empty", TWO) else { return };
    road.site.ship(&[("README.md", "words"), (".hidden/x", ""), ("3_c/up.sql", "")]);
    assert_eq!(road.site.look().problems[0].kind, ProblemKind::Unrunnable);
    assert!(road.real().migrate().unwrap_err().contains("empty migration"));
}
