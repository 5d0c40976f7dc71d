//! Whose history a database has, on real tables.

use openwatch::config::{FilesSpec, Format, MigrationsSpec};
use openwatch::database::{Database, Source};
use openwatch::error::Result;
use openwatch::migrations::{self, Chain, ProblemKind, State};
use openwatch::outcome::Outcome;

use super::site::Site;

const DBMATE: &str = "create table schema_migrations (version varchar primary key)";
const RAILS: &str = "create table ar_internal_metadata (key varchar primary key, value varchar)";
const SQLX: &str = "create table _sqlx_migrations (version bigint primary key, description text not \
    null, installed_on timestamptz not null default now(), success boolean not null, checksum bytea \
    not null, execution_time bigint not null)";
const ALEMBIC: &str = "create table alembic_version (version_num varchar(32) not null)";

fn site(format: Format, dbname: &str, sql: &str) -> Site {
    let site = Site::new(format, dbname);
    site.ship(&[("1_a.sql", "-- migrate:up\n-- migrate:down\n")]);
    site.psql(sql);
    site
}

fn auto(site: &Site) -> Result<Chain> {
    let conninfo = Some(site.server.conninfo(&site.dbname));
    let source = Source { name: "main".into(), conninfo, ..Source::default() };
    let spec = FilesSpec { format: None, ..FilesSpec::new(Format::Plain, site.dir.path()) };
    migrations::load_for(&MigrationsSpec::Files(spec), &Database::resolve(&source).unwrap(), None)
}

#[test]
fn another_tools_table_where_ours_is_missing_is_named_with_what_to_configure() {
    let site = site(Format::Plain, "detect_other", SQLX);
    let found = site.look();
    assert_eq!(found.state, State::Unknown);
    assert_eq!(found.problems[0].kind, ProblemKind::Foreign);
    assert_eq!(
        found.problems[0].what,
        "the schema is kept by sqlx (table public._sqlx_migrations), not by plain"
    );
    assert!(found.problems[0].hint.contains("`migrations.format = \"sqlx\"`"), "{found:?}");
    let before = site.server.dump(&site.dbname);
    assert_eq!(site.apply().unwrap_err().error.outcome(), Outcome::Refused);
    assert_eq!(site.server.dump(&site.dbname), before);
}

#[test]
fn a_tool_that_no_format_replaces_is_named_with_its_own_command() {
    let site = site(Format::Dbmate, "detect_alembic", ALEMBIC);
    let found = site.look();
    assert!(found.problems[0].what.contains("Alembic (table public.alembic_version)"), "{found:?}");
    assert!(found.problems[0].hint.contains("alembic upgrade head"), "{found:?}");
}

#[test]
fn a_table_of_the_right_name_and_the_wrong_tool_is_not_read() {
    let site = site(Format::GolangMigrate, "detect_columns", DBMATE);
    site.ship(&[("1_a.up.sql", "select 1")]);
    let found = site.look();
    assert_eq!(found.problems[0].kind, ProblemKind::Foreign, "{found:?}");
    assert_eq!(
        found.problems[0].what,
        "the table public.schema_migrations is one of dbmate, not of golang-migrate"
    );
    let chain = site.load().unwrap();
    let refused = migrations::mark_applied(&mut site.session(), &chain, "1", "1").unwrap_err();
    assert_eq!(refused.message(), found.problems[0].what);
}

#[test]
fn what_looks_like_dbmate_beside_the_metadata_of_rails_is_rails() {
    let site = site(Format::Dbmate, "detect_rails", &format!("{DBMATE}; {RAILS}"));
    let found = site.look();
    assert!(found.problems[0].what.contains("is one of Rails, not of dbmate"), "{found:?}");
    assert!(found.problems[0].hint.contains("bin/rails db:migrate"), "{found:?}");
}

#[test]
fn a_configured_tool_counts_although_the_table_of_an_earlier_one_remains() {
    let site = site(Format::Dbmate, "detect_earlier", &format!("{DBMATE}; {ALEMBIC}"));
    assert_eq!(site.look().state, State::Pending);
}

#[test]
fn a_table_off_the_search_path_names_the_setting() {
    let sql = format!("create schema app; {}", DBMATE.replace("schema_m", "app.schema_m"));
    let site = site(Format::Dbmate, "detect_path", &sql);
    assert_eq!(site.look().state, State::Unknown);
    assert!(site.look().problems[0].detail.contains("schema app"), "{:?}", site.look());
}

#[test]
fn auto_takes_the_format_of_the_one_tool_that_is_there() {
    let dbmate = site(Format::Dbmate, "auto_dbmate", DBMATE);
    assert_eq!(auto(&dbmate).unwrap().format(), Format::Dbmate);
    // An unclean history is refused when it is looked at, as for a configured format.
    let golang = Site::new(Format::GolangMigrate, "auto_dirty");
    golang.ship(&[("1_a.up.sql", "select 1")]).apply().unwrap();
    golang.psql("update schema_migrations set dirty = true");
    let chain = auto(&golang).unwrap();
    assert_eq!(chain.format(), Format::GolangMigrate);
    let found = migrations::look(&mut golang.session(), &chain).unwrap();
    assert_eq!(found.problems[0].kind, ProblemKind::Indeterminate);
}

#[test]
fn auto_refuses_none_two_and_what_no_format_replaces() {
    let message = |dbname: &str, sql: &str| {
        let error = auto(&site(Format::Plain, dbname, sql)).unwrap_err();
        assert_eq!(error.outcome(), Outcome::Refused);
        assert!(error.hint_line().is_some());
        format!("{} / {}", error.message(), error.details().join(" / "))
    };
    assert!(message("auto_none", "create table t ()").starts_with("no migration tool has"));
    let two = message("auto_two", &format!("{DBMATE}; {SQLX}"));
    assert!(two.starts_with("more than one migration tool"), "{two}");
    assert!(two.contains("dbmate (table public.schema_migrations)"), "{two}");
    assert!(two.contains("sqlx (table public._sqlx_migrations)"), "{two}");
    let other = message("auto_other", ALEMBIC);
    assert!(other.starts_with("the schema is kept by Alembic"), "{other}");
}
