//! Flyway's files and history, read and recorded as Flyway does.

use openwatch::config::Format;
use openwatch::migrations::{self, Mode, ProblemKind, State};
use openwatch::outcome::Outcome;

use super::Bench;

/// The table as Flyway's own script for PostgreSQL makes it.
const TABLE: &str = r#"CREATE TABLE "public"."flyway_schema_history" (
    "installed_rank" INT NOT NULL,
    "version" VARCHAR(50),
    "description" VARCHAR(200) NOT NULL,
    "type" VARCHAR(20) NOT NULL,
    "script" VARCHAR(1000) NOT NULL,
    "checksum" INTEGER,
    "installed_by" VARCHAR(100) NOT NULL,
    "installed_on" TIMESTAMP NOT NULL DEFAULT now(),
    "execution_time" INTEGER NOT NULL,
    "success" BOOLEAN NOT NULL
);
ALTER TABLE "public"."flyway_schema_history" ADD CONSTRAINT "flyway_schema_history_pk" PRIMARY KEY ("installed_rank");
CREATE INDEX "flyway_schema_history_s_idx" ON "public"."flyway_schema_history" ("success");"#;

const ROWS: &str = "select installed_rank, version, description, type, script, checksum, \
    installed_by, execution_time >= 0, success from flyway_schema_history order by installed_rank";

/// What Flyway writes for one of its migrations.
const INSERT: &str = r#"INSERT INTO "public"."flyway_schema_history" ("installed_rank", "version",
    "description", "type", "script", "checksum", "installed_by", "execution_time", "success") VALUES "#;

fn bench(name: &str) -> Bench {
    let mut bench = Bench::new(name);
    bench.format = Format::Flyway;
    std::fs::create_dir(bench.dir.path().join("views")).unwrap();
    bench.ship(&[
        ("V1__init.sql", "create table a(i int);\nselect 1;\n"),
        ("V1_1__add_größe.sql", "alter table a add größe int;\r\n"),
        ("V10__last.sql", "create table last ();"),
        ("views/R__all_of_a.sql", "create or replace view all_of_a as select i from a;"),
        ("U1__init.sql", "drop table a;"),
        ("README.md", "nothing"),
    ]);
    bench
}

#[test]
fn a_new_database_gets_the_table_and_rows_that_flyway_makes() {
    let (ours, theirs) = (bench("flyway_new"), Bench::new("flyway_theirs"));
    let applied = ours.apply().unwrap();
    assert_eq!(applied.versions, ["1", "1.1", "10", "R__all_of_a"]);
    assert_eq!(applied.mode, Mode::All);
    assert_eq!(
        ours.psql(ROWS),
        "1|1|init|SQL|V1__init.sql|311595440|postgres|t|t\n\
         2|1.1|add größe|SQL|V1_1__add_größe.sql|1129475785|postgres|t|t\n\
         3|10|last|SQL|V10__last.sql|-1766028193|postgres|t|t\n\
         4||all of a|SQL|views/R__all_of_a.sql|-1094823003|postgres|t|t"
            .replace("1129475785", &crc("alter table a add größe int;"))
            .replace("-1766028193", &crc("create table last ();"))
            .replace("-1094823003", &crc("create or replace view all_of_a as select i from a;"))
    );
    theirs.psql(TABLE);
    ours.psql("truncate flyway_schema_history; drop view all_of_a; drop table a, last");
    assert_eq!(ours.dump(), theirs.dump());
}

/// CRC-32 as the server reckons it, by the definition and not by our library.
fn crc(line: &str) -> String {
    let mut crc = u32::MAX;
    for byte in line.bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    (!crc).cast_signed().to_string()
}

#[test]
fn a_history_that_flyway_began_is_gone_on_with() {
    let bench = bench("flyway_half");
    bench.psql(TABLE);
    bench.psql("create table a(i int)");
    bench.psql(&format!(
        "{INSERT} (1, '1', 'init', 'SQL', 'V1__init.sql', 311595440, 'app', 12, true)"
    ));
    let found = bench.look();
    assert_eq!((found.state, found.applied), (State::Pending, 1));
    assert_eq!(bench.apply().unwrap().versions, ["1.1", "10", "R__all_of_a"]);
    assert_eq!(bench.look().state, State::Current);
    assert_eq!(bench.psql("select max(installed_rank) from flyway_schema_history"), "4");
}

#[test]
fn a_repeatable_migration_runs_again_when_it_changed_and_gets_another_row() {
    let bench = bench("flyway_again");
    bench.apply().unwrap();
    bench.ship(&[(
        "views/R__all_of_a.sql",
        "create or replace view all_of_a as select i, größe from a;",
    )]);
    assert_eq!(bench.look().state, State::Pending);
    assert_eq!(bench.apply().unwrap().versions, ["R__all_of_a"]);
    assert_eq!(bench.psql("select count(*) from flyway_schema_history where version is null"), "2");
    assert_eq!(bench.look().state, State::Current);
    // Other line ends are no change.
    bench.ship(&[("V1__init.sql", "\u{feff}create table a(i int);\r\nselect 1;\r\n")]);
    assert_eq!(bench.look().state, State::Current);
    bench.ship(&[("V1__init.sql", "create table a(i bigint);\nselect 1;\n")]);
    assert_eq!(bench.look().state, State::Divergent);
}

#[test]
fn what_a_baseline_covers_is_not_run() {
    let bench = bench("flyway_baseline");
    bench.psql(TABLE);
    bench.psql("create table a(i int, größe int)");
    bench.psql(&format!(
        "{INSERT} (1, '2', '<< Flyway Baseline >>', 'BASELINE', '<< Flyway Baseline >>', null, 'app', 0, true)"
    ));
    let found = bench.look();
    assert_eq!((found.state, found.assumed), (State::Pending, vec!["1".into(), "1.1".into()]));
    assert_eq!(bench.apply().unwrap().versions, ["10", "R__all_of_a"]);
}

#[test]
fn a_failed_row_an_older_file_and_a_missing_one_are_refused_by_name() {
    let bench = bench("flyway_unclean");
    bench.apply().unwrap();
    bench.psql("update flyway_schema_history set success = false where version = '10'");
    let problem = bench.look().problems.remove(0);
    assert_eq!(problem.kind, ProblemKind::Indeterminate);
    assert!(problem.what.starts_with("migration 10_last failed, or was begun"), "{problem:?}");
    assert!(problem.detail.contains("run `openwatch migrate repair 10`"), "{problem:?}");
    let (chain, mut session) = (bench.shipped(), bench.session());
    let plan = migrations::repair(&mut session, &chain, &["10".into()], "2.0.0").unwrap();
    migrations::carry_out(&mut session, &plan, None).unwrap();
    assert_eq!(bench.psql("select count(*) from flyway_schema_history"), "3");
    bench.psql("drop table last");
    bench.apply().unwrap();

    bench.ship(&[("V1_0_1__late.sql", "select 1;")]);
    let failure = bench.apply().unwrap_err();
    assert!(failure.error.message().contains("1.0.1_late was never applied"), "{failure:?}");
    std::fs::remove_file(bench.file("V1_0_1__late.sql")).unwrap();
    std::fs::remove_file(bench.file("V1_1__add_größe.sql")).unwrap();
    std::fs::remove_file(bench.file("views/R__all_of_a.sql")).unwrap();
    let found = bench.look();
    assert_eq!(found.state, State::Missing);
    let kinds: Vec<_> = found.problems.iter().map(|problem| problem.kind).collect();
    assert_eq!(kinds, [ProblemKind::Missing, ProblemKind::Missing], "{found:?}");
}

#[test]
fn files_that_flyway_runs_without_a_transaction_run_so() {
    let bench = bench("flyway_outside");
    bench.apply().unwrap();
    bench.ship(&[
        ("V11__index.sql", "create index concurrently a_i on a (i);\nselect nothing;"),
        ("V12__said.sql", "insert into a values (1);\nselect '${x}';"),
        ("V12__said.sql.conf", "executeInTransaction=false\nplaceholderReplacement=false\n"),
    ]);
    let modes: Vec<bool> = bench.look().pending.iter().map(|p| p.transactional).collect();
    assert_eq!(modes, [false, false]);
    bench.apply().unwrap_err();
    // Half-way through, Flyway finds a failed migration and does not begin it anew.
    let half =
        "select version, success from flyway_schema_history order by installed_rank desc limit 1";
    assert_eq!(bench.psql(half), "11|f");
    bench.ship(&[("V11__index.sql", "create index concurrently a_i on a (i);\nselect 1;")]);
    assert_eq!(bench.apply().unwrap().versions, ["11", "12"]);
    assert_eq!(bench.look().state, State::Current);
    assert_eq!(
        bench.psql("select string_agg(version || success, ',' order by installed_rank) from flyway_schema_history where version >= '11'"),
        "11true,12true"
    );
}

#[test]
fn what_only_flyway_could_do_is_refused_by_name() {
    let bench = bench("flyway_only");
    bench.apply().unwrap();
    bench.ship(&[("V11__p.sql", "grant select on a to ${reader};")]);
    let failure = bench.apply().unwrap_err();
    assert_eq!(failure.error.outcome(), Outcome::Refused);
    assert_eq!(
        failure.error.message(),
        "migration 11_p has the placeholder ${reader}, which only Flyway's own configuration can fill"
    );
    for (name, word) in [
        ("afterMigrate.sql", "is a callback"),
        ("V1.x__a.sql", "is not named like a migration"),
        ("data.sql", "is not named like a migration"),
        ("B0.5__all.sql", "stands for migrations that are not shipped"),
        ("V10.0__twice.sql", "two migrations have the number 10"),
    ] {
        bench.ship(&[(name, "select 1;")]);
        let error = migrations::load(&bench.spec()).unwrap_err();
        assert!(error.message().contains(word), "{name}: {error:?}");
        std::fs::remove_file(bench.file(name)).unwrap();
    }
    // Of a baseline script whose migrations are all shipped, nothing is needed.
    bench.ship(&[("V11__p.sql", "select 1;"), ("B11__all.sql", "select nothing;")]);
    assert_eq!(bench.apply().unwrap().versions, ["11"]);
}

#[test]
fn a_repeatable_migration_can_be_marked_as_applied() {
    let bench = bench("flyway_mark");
    bench.apply().unwrap();
    bench.ship(&[("views/R__all_of_a.sql", "create view all_of_a as select nothing;")]);
    let chain = bench.shipped();
    migrations::mark_applied(&mut bench.session(), &chain, "R__all_of_a", "2").unwrap();
    assert_eq!(bench.look().state, State::Current);
    assert_eq!(bench.psql("select count(*) from flyway_schema_history where version is null"), "1");
}

#[test]
fn a_schema_of_a_newer_package_is_ahead_also_where_something_is_repeatable() {
    let bench = bench("flyway_newer");
    bench.apply().unwrap();
    std::fs::remove_file(bench.file("V10__last.sql")).unwrap();
    let found = bench.look();
    assert_eq!(found.state, State::Ahead, "{found:?}");
}

#[test]
fn a_repeatable_migration_is_no_baseline() {
    let bench = bench("flyway_no_baseline");
    bench.psql("create table a (i int)");
    let chain = bench.shipped();
    let refused = migrations::baseline(&mut bench.session(), &chain, "R__all_of_a", "2");
    assert_eq!(refused.unwrap_err().outcome(), Outcome::Usage);
    migrations::baseline(&mut bench.session(), &chain, "1.1", "2").unwrap();
}
