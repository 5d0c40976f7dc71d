//! `openwatch migrate lint`: each rule on statements that it means and on statements that it does
//! not, and the server's own word for what locks, rewrites and cannot run inside a transaction.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use openwatch::migrations::lint::{Level, Rule};
use serde_json::Value;
use support::archives::{What, deb, file, item};
use support::machine::{TestMachine, program};
use support::postgres::Server;

/// What is there before: every case may use it.
const BEFORE: &str = "\
CREATE TYPE mood AS ENUM ('good');
CREATE TABLE other (id int PRIMARY KEY, note text);
CREATE TABLE t (id int PRIMARY KEY, a varchar(20), b bigint, c numeric(10,4), at timestamptz, m mood,
                other_id int);
CREATE FUNCTION plain(x text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT lower(x) $$;
CREATE FUNCTION bare(x text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT plain(x) $$;
CREATE FUNCTION pathed(x text) RETURNS text LANGUAGE sql IMMUTABLE SET search_path = public
    AS $$ SELECT plain(x) $$;
CREATE FUNCTION reads(x int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE SET search_path = public
    AS $$ BEGIN RETURN EXISTS (SELECT FROM other WHERE id = x); END $$;
CREATE FUNCTION dice() RETURNS int LANGUAGE sql AS $$ SELECT (random() * 6)::int $$;
";

/// Rule, statements that it means, statements that it does not mean.
const CORPUS: &[(&str, &[&str], &[&str])] = &[
    ("psql-command", &["\\connect x", "SELECT 1 \\gset"], &["SELECT E'\\\\d'", "SELECT $$\\d$$"]),
    (
        "copy-stream",
        &["COPY t FROM stdin;\n1\tx\n\\.\n", "COPY t (id) TO STDOUT"],
        &["COPY t FROM '/srv/t'", "COMMENT ON TABLE t IS 'COPY t FROM stdin'"],
    ),
    (
        "transaction-control",
        &[
            "BEGIN",
            "START TRANSACTION",
            "COMMIT",
            "END",
            "ROLLBACK",
            "DO $$ BEGIN COMMIT; END $$",
            "PREPARE TRANSACTION 'x'",
        ],
        &["SAVEPOINT a", "ROLLBACK TO SAVEPOINT a", "DO $$ BEGIN PERFORM 1; END $$"],
    ),
    (
        "needs-no-transaction",
        &[
            "CREATE INDEX CONCURRENTLY i ON t (a)",
            "DROP INDEX CONCURRENTLY i",
            "VACUUM t",
            "REINDEX TABLE CONCURRENTLY t",
            "REINDEX SCHEMA public",
            "ALTER SYSTEM SET work_mem = 1",
            "CREATE DATABASE d",
            "CREATE TABLESPACE s LOCATION '/srv'",
            "CLUSTER",
            "DISCARD ALL",
            "DO $$ BEGIN CREATE INDEX CONCURRENTLY i ON t (a); END $$",
            "ALTER TABLE t DETACH PARTITION p CONCURRENTLY",
        ],
        &[
            "CREATE INDEX i ON t (a)",
            "REINDEX TABLE t",
            "DISCARD TEMP",
            "ANALYZE t",
            "REFRESH MATERIALIZED VIEW CONCURRENTLY v",
        ],
    ),
    (
        "enum-value-used",
        &[
            "ALTER TYPE mood ADD VALUE 'bad'; UPDATE t SET m = 'bad' WHERE id = 1",
            "ALTER TYPE mood ADD VALUE 'bad'; SELECT 'bad'::public.mood",
            "CREATE TABLE k (w text, m mood); ALTER TYPE mood ADD VALUE 'bad'; \
             INSERT INTO k VALUES ('bad', 'bad')",
            "CREATE DOMAIN bad_mood AS mood; CREATE TABLE k (m bad_mood); \
             ALTER TYPE mood ADD VALUE 'bad'; INSERT INTO k (m) VALUES ('bad')",
            "CREATE TABLE k (LIKE t); ALTER TABLE k ADD COLUMN w text; \
             ALTER TYPE mood ADD VALUE 'bad'; INSERT INTO k VALUES ('bad', 'x')",
        ],
        &[
            "ALTER TYPE mood ADD VALUE 'bad'; UPDATE t SET m = 'good' WHERE id = 1",
            "CREATE TYPE x AS ENUM (); ALTER TYPE x ADD VALUE 'y'; SELECT 'y'::x",
            "ALTER TYPE mood ADD VALUE 'bad'; COMMENT ON TYPE mood IS 'bad'",
            "CREATE TABLE k (a int, w text); ALTER TYPE mood ADD VALUE 'bad'; \
             INSERT INTO k VALUES (1, 'bad'); INSERT INTO k (w) VALUES ('bad'), ('x'); \
             INSERT INTO k (w) SELECT 'bad'; UPDATE k SET w = 'bad' WHERE w <> 'bad'; \
             UPDATE k q SET (a, w) = (1, 'bad') WHERE q.w IN ('x', 'bad'); \
             ALTER TABLE k ALTER COLUMN w SET DEFAULT 'bad'; SELECT 'bad'::text, text 'bad'; \
             ALTER TABLE k ADD COLUMN v varchar(9) DEFAULT 'bad'; SELECT w = 'bad'::text FROM k",
            "CREATE TYPE door AS ENUM ('bad'); CREATE TABLE d (m door); \
             ALTER TYPE mood ADD VALUE 'bad'; INSERT INTO d VALUES ('bad')",
        ],
    ),
    (
        "not-rolled-back",
        &["SELECT setval('s', 5)", "SELECT pg_catalog.setval('s', 5)"],
        &["ALTER SEQUENCE s RESTART WITH 5"],
    ),
    (
        "drop-table",
        &[
            "DROP TABLE t",
            "DROP TABLE IF EXISTS public.t, other",
            "DO $$ BEGIN DROP TABLE t; END $$",
        ],
        &[
            "CREATE TABLE n (id int); DROP TABLE n",
            "CREATE TEMP TABLE n AS SELECT 1; DROP TABLE n",
            "DROP VIEW v",
        ],
    ),
    (
        "drop-column",
        &["ALTER TABLE t DROP COLUMN a", "ALTER TABLE ONLY t DROP IF EXISTS b CASCADE"],
        &[
            "ALTER TABLE t ADD COLUMN n int; ALTER TABLE t DROP COLUMN n",
            "ALTER TABLE t DROP CONSTRAINT k",
        ],
    ),
    (
        "drop-schema",
        &["DROP SCHEMA s CASCADE", "DROP DATABASE d", "DROP OWNED BY r"],
        &["DROP SCHEMA s"],
    ),
    (
        "drop-cascade",
        &["DROP VIEW v CASCADE", "ALTER TABLE t DROP CONSTRAINT k CASCADE"],
        &["DROP VIEW v RESTRICT", "CREATE TABLE n (id int REFERENCES t ON DELETE CASCADE)"],
    ),
    (
        "truncate",
        &["TRUNCATE t", "TRUNCATE TABLE ONLY t, other RESTART IDENTITY"],
        &["CREATE TABLE n (id int); TRUNCATE n"],
    ),
    (
        "delete-all-rows",
        &[
            "DELETE FROM t",
            "DELETE FROM ONLY t USING other",
            "WITH x AS (DELETE FROM t RETURNING id) SELECT * FROM x",
            "DO $$ BEGIN DELETE FROM t; END $$",
        ],
        &[
            "DELETE FROM t WHERE id = 1",
            "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'DELETE FROM t'",
            "CREATE FUNCTION f() RETURNS void LANGUAGE sql BEGIN ATOMIC DELETE FROM t; END",
        ],
    ),
    (
        "update-all-rows",
        &["UPDATE t SET b = 1", "INSERT INTO other SELECT 1; UPDATE t SET b = o.id FROM other o"],
        &[
            "UPDATE t SET b = 1 WHERE b IS NULL",
            "INSERT INTO t (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET b = 1",
            "CREATE TABLE n AS SELECT 1 AS x; UPDATE n SET x = 2",
        ],
    ),
    (
        "narrow-type",
        &[
            "ALTER TABLE t ALTER b TYPE int",
            "ALTER TABLE t ALTER COLUMN a SET DATA TYPE varchar(10)",
            "ALTER TABLE t ALTER c TYPE numeric(10,2)",
            "ALTER TABLE t ALTER at TYPE date",
        ],
        &[
            "ALTER TABLE t ALTER id TYPE bigint",
            "ALTER TABLE t ALTER a TYPE text",
            "CREATE TABLE n (x bigint); ALTER TABLE n ALTER x TYPE int",
        ],
    ),
    (
        "add-required-column",
        &["ALTER TABLE t ADD COLUMN n int NOT NULL", "ALTER TABLE t ADD n int PRIMARY KEY"],
        &[
            "ALTER TABLE t ADD n int NOT NULL DEFAULT 0",
            "ALTER TABLE t ADD n int",
            "ALTER TABLE t ADD n int NOT NULL GENERATED ALWAYS AS IDENTITY",
            "ALTER TABLE t ADD n serial NOT NULL",
            "CREATE TABLE n (id int); ALTER TABLE n ADD x int NOT NULL",
        ],
    ),
    (
        "rewrite-table",
        &[
            "ALTER TABLE t ALTER id TYPE bigint",
            "ALTER TABLE t ADD n uuid DEFAULT gen_random_uuid()",
            "ALTER TABLE t ADD n int DEFAULT dice()",
            "ALTER TABLE t ADD n bigserial",
            "ALTER TABLE t ADD n int GENERATED ALWAYS AS (id + 1) STORED",
            "VACUUM FULL t",
            "CLUSTER t USING t_pkey",
            "ALTER TABLE t SET UNLOGGED",
            "ALTER TABLE t ALTER a TYPE text USING upper(a)",
        ],
        &[
            "ALTER TABLE t ADD n timestamptz DEFAULT now()",
            "ALTER TABLE t ADD n int DEFAULT 5",
            "ALTER TABLE t ALTER a TYPE varchar(30)",
            "ALTER TABLE t ALTER a TYPE text USING a::text",
            "ALTER TABLE t ALTER c TYPE numeric(12,4)",
            "VACUUM t",
        ],
    ),
    (
        "scan-under-lock",
        &[
            "ALTER TABLE t ALTER a SET NOT NULL",
            "ALTER TABLE t ADD CHECK (id > 0)",
            "ALTER TABLE t ADD FOREIGN KEY (other_id) REFERENCES other",
            "ALTER TABLE t ADD n int CHECK (n > 0)",
            "ALTER TABLE p ATTACH PARTITION t FOR VALUES IN (1)",
            "ALTER DOMAIN d ADD CHECK (VALUE > 0)",
        ],
        &[
            "ALTER TABLE t ADD CHECK (id > 0) NOT VALID",
            "ALTER TABLE t VALIDATE CONSTRAINT k",
            "ALTER TABLE t ADD FOREIGN KEY (other_id) REFERENCES other NOT VALID",
            "ALTER TABLE t ADD n int REFERENCES other",
            "ALTER DOMAIN d ADD CHECK (VALUE > 0) NOT VALID",
            "CREATE TABLE n (LIKE t); ALTER TABLE n ALTER a SET NOT NULL",
        ],
    ),
    (
        "index-blocks-writes",
        &[
            "CREATE INDEX i ON t (a)",
            "CREATE UNIQUE INDEX i ON public.t (a)",
            "REINDEX TABLE t",
            "ALTER TABLE t ADD UNIQUE (a)",
            "ALTER TABLE t ADD n int UNIQUE",
            "ALTER TABLE t ADD EXCLUDE USING gist (a WITH =)",
        ],
        &[
            "CREATE TABLE n (id int); CREATE INDEX i ON n (id)",
            "ALTER TABLE t ADD UNIQUE USING INDEX i",
        ],
    ),
    ("unlogged-table", &["ALTER TABLE t SET UNLOGGED"], &["ALTER TABLE t SET LOGGED"]),
    (
        "unqualified-in-function",
        &[
            "CREATE INDEX i ON t (bare(a))",
            "ALTER TABLE t ADD CHECK (bare(a) <> '') NOT VALID",
            "ALTER TABLE t ADD n text GENERATED ALWAYS AS (bare(a)) STORED",
            "CREATE MATERIALIZED VIEW v AS SELECT bare(a) FROM t",
            "CREATE INDEX i ON t (id) WHERE bare(a) = ''",
            "CREATE FUNCTION f(x text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT unaccent(x)';
             CREATE INDEX i ON t (f(a))",
        ],
        &[
            "CREATE INDEX i ON t (lower(a))",
            "CREATE INDEX i ON t (plain(a))",
            "CREATE INDEX i ON t (pathed(a))",
            "CREATE FUNCTION f(x text) RETURNS text LANGUAGE sql IMMUTABLE RETURN plain(x);
             CREATE INDEX i ON t (f(a))",
            "CREATE VIEW v AS SELECT bare(a) FROM t",
        ],
    ),
    (
        "check-reads-table",
        &[
            "ALTER TABLE t ADD CHECK (reads(id)) NOT VALID",
            "CREATE TABLE n (id int CHECK (reads(id)))",
        ],
        &["CREATE INDEX i ON t (reads(id))", "ALTER TABLE t ADD CHECK (plain(a) = a) NOT VALID"],
    ),
    (
        "revoke",
        &[
            "REVOKE ALL ON TABLE t FROM r",
            "REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM r",
            "REVOKE USAGE ON SCHEMA public FROM r",
            "REVOKE readers FROM r",
        ],
        &[
            "REVOKE EXECUTE ON FUNCTION plain(text) FROM PUBLIC",
            "REVOKE INSERT, UPDATE ON t FROM r",
            "GRANT SELECT ON t TO r",
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        ],
    ),
    (
        "owner-change",
        &[
            "ALTER TABLE t OWNER TO r",
            "ALTER SCHEMA public OWNER TO r",
            "REASSIGN OWNED BY r TO s",
            "ALTER SEQUENCE s OWNER TO r",
        ],
        &["ALTER FUNCTION plain(text) OWNER TO r", "ALTER TYPE mood OWNER TO r"],
    ),
    (
        "row-security",
        &["ALTER TABLE t ENABLE ROW LEVEL SECURITY"],
        &["ALTER TABLE t DISABLE ROW LEVEL SECURITY"],
    ),
    (
        "force-row-security",
        &["ALTER TABLE t FORCE ROW LEVEL SECURITY"],
        &["ALTER TABLE t NO FORCE ROW LEVEL SECURITY"],
    ),
    ("unreadable", &["CREAT TABLE n (id int)", "SELECT FROM WHERE"], &["SELECT 1"]),
    (
        "unknown-rule",
        &["-- openwatch: lint-ignore drop-tables it is old\nDROP TABLE t"],
        &["-- openwatch: lint-ignore drop-table it is old\nDROP TABLE t"],
    ),
    (
        "ignore-without-reason",
        &["-- openwatch: lint-ignore drop-table\nDROP TABLE t"],
        &["DROP TABLE t -- openwatch: lint-ignore drop-table it is old"],
    ),
    (
        "unused-ignore",
        &["-- openwatch: lint-ignore drop-table it is old\nSELECT 1"],
        &["/* openwatch: lint-ignore drop-table it is old */ DROP TABLE t"],
    ),
];

/// Runs the program on these files; returns exit status and answer.
fn lint(files: &[(&str, &str)], words: &[&str]) -> (i32, Value) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    lint_dir(dir.path(), words)
}

fn lint_dir(dir: &Path, words: &[&str]) -> (i32, Value) {
    let output = std::process::Command::new(program())
        .env_clear()
        .args(["migrate", "lint", "--json"])
        .args(words)
        .arg(dir)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let json = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), json)
}

/// Returns the names of the rules that mean the second file.
fn rules(sql: &str) -> BTreeSet<String> {
    let (_, json) = lint(&[("1_before.sql", BEFORE), ("2_x.sql", sql)], &["--assume-version", "1"]);
    let findings = json["findings"].as_array().unwrap();
    findings.iter().map(|f| f["rule"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn each_rule_means_what_it_says_and_nothing_else() {
    let mut wrong = Vec::new();
    for (rule, meant, others) in CORPUS {
        let finds = |sql: &&&str| rules(sql).contains(*rule);
        wrong.extend(
            meant.iter().filter(|sql| !finds(sql)).map(|sql| format!("{rule} misses {sql}")),
        );
        wrong.extend(others.iter().filter(finds).map(|sql| format!("{rule} means {sql}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_is_in_the_corpus_and_in_the_packagers_guide() {
    let elsewhere = ["enum-value-splits-batch", "outside-transaction"];
    let guide =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/PACKAGING.md")).unwrap();
    for rule in Rule::ALL {
        let id = rule.about().id;
        let known = CORPUS.iter().any(|(name, ..)| *name == id) || elsewhere.contains(&id);
        assert!(known, "{id} has no case");
        let row = format!("| `{id}` | {} |", rule.about().level.word());
        assert!(guide.contains(&row), "docs/PACKAGING.md lacks {row}");
    }
}

#[test]
fn a_finding_names_file_line_column_and_the_way_out() {
    let sql = "-- größe\nSELECT 'ä'; DROP TABLE\n  hosts;\n";
    let (code, json) = lint(&[("0007_x.sql", sql)], &[]);
    assert_eq!(code, 5);
    assert_eq!(json["outcome"], "refused");
    assert_eq!((&json["errors"], &json["warnings"]), (&1.into(), &0.into()));
    let finding = &json["findings"][0];
    assert_eq!(finding["rule"], "drop-table");
    assert_eq!(finding["level"], "error");
    assert_eq!((&finding["line"], &finding["column"]), (&2.into(), &13.into()));
    assert_eq!(finding["statement"], "DROP TABLE hosts;");
    assert!(finding["file"].as_str().unwrap().ends_with("/0007_x.sql"));
    let about = Rule::from_id("drop-table").unwrap().about();
    assert_eq!(about.level, Level::Error);
    assert_eq!(
        (finding["why"].as_str(), finding["instead"].as_str()),
        (Some(about.why), Some(about.instead))
    );
}

#[test]
fn a_part_of_a_statement_is_named_by_its_own_place() {
    let sql = "ALTER TABLE hosts\n  ADD COLUMN a int,\n  DROP COLUMN b;\n\
               DO $$ BEGIN\n  PERFORM 1;\n  DELETE FROM hosts;\nEND $$;\n";
    let (_, json) = lint(&[("1_x.sql", sql)], &[]);
    let places: Vec<_> = json["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| {
            (
                f["rule"].as_str().unwrap(),
                f["line"].as_u64().unwrap(),
                f["column"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(places, [("drop-column", 3, 3), ("delete-all-rows", 6, 3)]);
}

#[test]
fn warnings_alone_are_no_refusal() {
    let (code, json) = lint(&[("1_x.sql", "UPDATE hosts SET a = 1;\n")], &[]);
    assert_eq!((code, &json["outcome"], &json["warnings"]), (0, &"ok".into(), &1.into()));
}

#[test]
fn a_file_outside_a_transaction_may_do_what_others_may_not() {
    let sql = "-- openwatch: no-transaction\nCREATE INDEX CONCURRENTLY i ON hosts (name);\n";
    let (code, json) = lint(&[("1_x.sql", sql)], &[]);
    assert_eq!(code, 0);
    assert_eq!(json["findings"][0]["rule"], "outside-transaction");
    assert_eq!(json["findings"].as_array().unwrap().len(), 1);
    assert_eq!(json["locks"][0]["mode"], "SHARE UPDATE EXCLUSIVE");
}

#[test]
fn an_enum_value_that_the_next_file_uses_splits_the_batch() {
    let files = [
        ("1_a.sql", "CREATE TYPE mood AS ENUM ('good');\nCREATE TABLE t (m mood);\n"),
        ("2_b.sql", "ALTER TYPE mood ADD VALUE 'bad';\n"),
        ("3_c.sql", "UPDATE t SET m = 'bad' WHERE m IS NULL;\n"),
    ];
    let (code, json) = lint(&files, &["--assume-version", "1"]);
    assert_eq!((code, &json["findings"][0]["rule"]), (0, &"enum-value-splits-batch".into()));
    assert!(json["findings"][0]["what"].as_str().unwrap().contains("2_b"));
    let (_, json) = lint(&files, &["--assume-version", "2"]);
    assert_eq!(json["findings"], Value::Array(vec![]), "it is committed long since");
}

#[test]
fn a_table_that_is_made_if_it_is_not_there_hides_nothing_of_the_one_that_is() {
    let (code, found) = lint(
        &[
            ("001_users.sql", "create table users (id int primary key, name text);"),
            (
                "002_more.sql",
                "create table if not exists users (id int); truncate users;
                 alter table users drop column name; drop table users;",
            ),
        ],
        &["--assume-version", "001"],
    );
    let rules: BTreeSet<&str> =
        found["findings"].as_array().unwrap().iter().map(|f| f["rule"].as_str().unwrap()).collect();
    assert_eq!(code, 5, "{found:#}");
    for rule in ["truncate", "drop-column", "drop-table"] {
        assert!(rules.contains(rule), "{rule}: {found:#}");
    }
}

#[test]
fn a_virtual_column_rewrites_nothing() {
    let add = |kind: &str| {
        rules(&format!("alter table t add column b int generated always as (a * 2) {kind};"))
    };
    assert!(add("stored").contains("rewrite-table"));
    assert!(!add("virtual").contains("rewrite-table"));
}

#[test]
fn what_every_machine_has_already_is_not_reported() {
    let files = [
        ("0001_a.sql", "CREATE TABLE t (id int);\nDROP TABLE old;\n"),
        ("0002_b.sql", "CREATE TABLE n (id int);\nDROP TABLE older;\n"),
        ("0003_c.sql", "CREATE INDEX i ON n (id);\nCREATE INDEX j ON t (id);\n"),
    ];
    let rules = |words: &[&str]| {
        let (_, json) = lint(&files, words);
        let findings = json["findings"].as_array().unwrap().clone();
        findings.iter().map(|f| f["what"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(rules(&[]).len(), 4, "a table of an earlier release has rows");
    let since = rules(&["--assume-version", "1"]);
    assert_eq!(since, ["drops older with its rows", "builds an index of t"], "n is empty still");
    assert_eq!(rules(&["--assume-version", "0003"]), Vec::<String>::new());
    let (code, json) = lint(&files, &["--assume-version", "9"]);
    assert_eq!((code, &json["outcome"]), (2, &"usage".into()));
}

#[test]
fn a_comment_says_that_a_finding_is_meant() {
    for (sql, left) in [
        (
            "-- openwatch: lint-ignore drop-table moved to hosts in 2.0\nDROP TABLE t;\nDROP TABLE u;\n",
            1,
        ),
        (
            "-- openwatch: lint-ignore-file drop-table moved to hosts in 2.0\nDROP TABLE t;\nDROP TABLE u;\n",
            0,
        ),
        (
            "-- openwatch: lint-ignore drop-table, drop-cascade moved in 2.0\nDROP TABLE t CASCADE;\n",
            0,
        ),
        (
            "ALTER TABLE t\n  -- openwatch: lint-ignore drop-column never filled\n  DROP COLUMN a;\n",
            0,
        ),
        ("DROP TABLE t; -- openwatch: lint-ignore drop-table moved\nDROP TABLE u;\n", 1),
        ("-- squawk-ignore ban-drop-table\nDROP TABLE t;\n", 0),
        ("-- squawk-ignore ban-drop-table, ban-drop-column -- moved\nDROP TABLE t;\n", 0),
        ("-- squawk-ignore-file ban-drop-table\nSELECT 1;\nDROP TABLE t;\n", 0),
        ("-- squawk-ignore ban-drop-column\nDROP TABLE t;\n", 1),
        ("SELECT '-- openwatch: lint-ignore drop-table moved';\nDROP TABLE t;\n", 1),
    ] {
        let (_, json) = lint(&[("1_x.sql", sql)], &[]);
        let drops = json["findings"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|f| f["rule"] == "drop-table" || f["rule"] == "drop-column")
            .count();
        assert_eq!(drops, left, "{sql}");
    }
}

#[test]
fn our_own_migrations_have_no_error() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let (code, json) = lint_dir(&dir, &[]);
    assert_eq!(code, 0, "{json:#}");
    for finding in json["findings"].as_array().unwrap() {
        assert_ne!(finding["rule"], "unreadable", "{finding:#}");
    }
}

#[test]
fn a_package_file_is_looked_into_without_configuration_or_database() {
    let settings = "[app]\nservices = [\"openwatch.service\"]\n[[database]]\nname = \"main\"\n\
                    url_env = \"MAIN_DSN\"\nmigrations = { format = \"plain\", \
                    dir = \"/usr/share/openwatch/migrations\" }\n";
    let dir = tempfile::tempdir().unwrap();
    let package = dir.path().join("new.deb");
    let bytes = deb(
        "openwatch",
        &[
            item("./", What::Dir),
            file("./usr/share/openwatch/upgrade.conf", settings),
            file("./usr/share/openwatch/migrations/0001_a.sql", "CREATE TABLE t (id int);\n"),
            file("./usr/share/openwatch/migrations/0002_b.sql", "\nDROP TABLE t;\n"),
        ],
    );
    fs::write(&package, bytes).unwrap();
    let output = std::process::Command::new(program())
        .env_clear()
        .args(["migrate", "lint", "--json", "--root"])
        .arg(dir.path())
        .arg("--package")
        .arg(&package)
        .output()
        .unwrap();
    let json: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(output.status.code(), Some(5), "{json:#}");
    let finding = &json["findings"][0];
    assert_eq!(finding["file"], "/usr/share/openwatch/migrations/0002_b.sql");
    assert_eq!((&finding["database"], &finding["line"]), (&"main".into(), &2.into()));
}

#[test]
fn the_installed_package_is_looked_at_where_nothing_is_named() {
    let machine = TestMachine::with_empty_database().migration("0900_x.sql", "DROP TABLE hosts;\n");
    let ended = machine.run(["migrate", "lint"]).code(5);
    let text = String::from_utf8(ended.get_output().stdout.clone()).unwrap();
    assert!(
        text.contains("/0900_x.sql:1:1: error: drop-table: drops hosts with its rows\n"),
        "{text}"
    );
    assert!(text.contains("\n1 error, "), "{text}");
    machine.run(["migrate", "--status", "lint"]).code(2);
}

/// What the server itself does: the strongest lock on `t`, and whether its file is another one.
fn server_says(server: &Server, sql: &str) -> (String, bool) {
    let before = format!(
        "SET client_min_messages = error; DROP SCHEMA public CASCADE; CREATE SCHEMA public; {BEFORE} \
         INSERT INTO t (id, a, b, c) SELECT i, i, i, 1 FROM generate_series(1, 50) i; \
         CREATE UNIQUE INDEX ready ON t (a); ALTER TABLE t ADD CONSTRAINT k CHECK (id > 0) NOT VALID"
    );
    server.psql("postgres", &before);
    let node = server.psql("postgres", "SELECT pg_relation_filenode('t')");
    // The statement and the look at its locks are one transaction.
    let script = format!(
        "{sql}; SELECT pg_relation_filenode('t') <> {node}, coalesce(string_agg(mode, ' '), '') \
         FROM pg_locks WHERE relation = 't'::regclass AND mode <> 'AccessShareLock'"
    );
    let said = server.psql("postgres", &script);
    let line = said.lines().last().unwrap();
    let (rewritten, modes) = line.split_once('|').unwrap();
    const ORDER: [(&str, &str); 5] = [
        ("AccessExclusiveLock", "ACCESS EXCLUSIVE"),
        ("ShareRowExclusiveLock", "SHARE ROW EXCLUSIVE"),
        ("ShareLock", "SHARE"),
        ("ShareUpdateExclusiveLock", "SHARE UPDATE EXCLUSIVE"),
        ("RowExclusiveLock", ""),
    ];
    let strongest = ORDER.iter().find(|(name, _)| modes.split(' ').any(|mode| mode == *name));
    (strongest.map_or("", |(_, mode)| mode).to_owned(), rewritten == "t")
}

/// What the linter says of the same statement: strongest lock on `t`, and whether it rewrites.
fn linter_says(sql: &str) -> (String, bool) {
    let (_, json) = lint(&[("1_before.sql", BEFORE), ("2_x.sql", sql)], &["--assume-version", "1"]);
    let locks: Vec<&Value> =
        json["locks"].as_array().unwrap().iter().filter(|l| l["table"] == "t").collect();
    let order = ["ACCESS EXCLUSIVE", "SHARE ROW EXCLUSIVE", "SHARE", "SHARE UPDATE EXCLUSIVE"];
    let strongest = order.iter().find(|mode| locks.iter().any(|lock| lock["mode"] == **mode));
    let rewrites = locks.iter().any(|lock| lock["cost"] == "rewrite");
    (strongest.map_or("", |mode| mode).to_owned(), rewrites)
}

#[test]
fn locks_and_rewrites_are_those_of_the_server() {
    let server = Server::start();
    let mut wrong = Vec::new();
    for sql in [
        "ALTER TABLE t ADD n int",
        "ALTER TABLE t ADD n int NOT NULL DEFAULT 7",
        "ALTER TABLE t ADD n timestamptz DEFAULT now()",
        "ALTER TABLE t ADD n uuid DEFAULT gen_random_uuid()",
        "ALTER TABLE t ADD n int DEFAULT dice()",
        "ALTER TABLE t ADD n bigserial",
        "ALTER TABLE t ADD n int GENERATED ALWAYS AS IDENTITY",
        "ALTER TABLE t ADD n int GENERATED ALWAYS AS (id + 1) STORED",
        "ALTER TABLE t ADD n int REFERENCES other",
        "ALTER TABLE t ADD n int CHECK (n > 0)",
        "ALTER TABLE t DROP COLUMN a",
        "ALTER TABLE t RENAME COLUMN a TO z",
        "ALTER TABLE t ALTER a SET DEFAULT 'x'",
        "ALTER TABLE t ALTER a SET NOT NULL",
        "ALTER TABLE t ALTER a DROP NOT NULL",
        "ALTER TABLE t ALTER a SET STATISTICS 10",
        "ALTER TABLE t ALTER a TYPE text",
        "ALTER TABLE t ALTER a TYPE varchar(30)",
        "ALTER TABLE t ALTER a TYPE varchar(10)",
        "ALTER TABLE t ALTER a TYPE text USING upper(a)",
        "ALTER TABLE t ALTER a TYPE text USING a::text",
        "ALTER TABLE t ALTER a TYPE integer USING a::integer",
        "ALTER TABLE t ALTER id TYPE bigint",
        "ALTER TABLE t ALTER b TYPE int",
        "ALTER TABLE t ALTER c TYPE numeric(12,4)",
        "ALTER TABLE t ALTER c TYPE numeric(12,5)",
        "ALTER TABLE t ALTER c TYPE numeric",
        "ALTER TABLE t ALTER at TYPE timestamptz(0)",
        "ALTER TABLE t ALTER at TYPE date",
        "ALTER TABLE t ALTER m TYPE text",
        "ALTER TABLE t ADD CHECK (id > 0)",
        "ALTER TABLE t ADD CHECK (id > 0) NOT VALID",
        "ALTER TABLE t VALIDATE CONSTRAINT k",
        "ALTER TABLE t ADD FOREIGN KEY (other_id) REFERENCES other",
        "ALTER TABLE t ADD UNIQUE (a)",
        "ALTER TABLE t ADD UNIQUE USING INDEX ready",
        "ALTER TABLE other ADD FOREIGN KEY (id) REFERENCES t NOT VALID",
        "ALTER TABLE t SET UNLOGGED",
        "ALTER TABLE t SET (fillfactor = 70)",
        "ALTER TABLE t DISABLE TRIGGER ALL",
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE t OWNER TO postgres",
        "CREATE INDEX i ON t (b)",
        "CREATE TABLE n (t_id int REFERENCES t)",
        "CLUSTER t USING t_pkey",
        "REINDEX TABLE t",
        "LOCK TABLE t IN SHARE MODE",
        "LOCK TABLE t",
        "CREATE VIEW v AS SELECT * FROM t",
    ] {
        let (server, linter) = (server_says(&server, sql), linter_says(sql));
        if server != linter {
            wrong.push(format!("{sql}: the server {server:?}, the linter {linter:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_needs_no_transaction_is_what_the_server_refuses_in_one() {
    let server = Server::start();
    let (_, meant, others) =
        CORPUS.iter().find(|(rule, ..)| *rule == "needs-no-transaction").unwrap();
    let refused = |sql: &str| {
        let script = format!("\\set VERBOSITY sqlstate\n{BEFORE} BEGIN;\n{sql};\nROLLBACK;");
        server.database("case");
        let output = server.psql_command("case").arg("-c").arg("select 1").output().unwrap();
        assert!(output.status.success());
        let path = server.socket().join("case.sql");
        fs::write(&path, script).unwrap();
        let output = server.psql_command("case").arg("-f").arg(&path).output().unwrap();
        server.psql("postgres", "DROP DATABASE \"case\"");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        said.contains("25001")
    };
    for sql in *meant {
        // These need what is not there before the server comes to the transaction.
        if !sql.contains("DETACH") && !sql.contains("DROP INDEX") && !sql.starts_with("DO ") {
            assert!(refused(sql), "the server lets it be: {sql}");
        }
    }
    for sql in *others {
        assert!(!refused(sql), "the server refuses it: {sql}");
    }
}

#[test]
fn an_index_on_a_function_without_schema_cannot_be_restored_and_one_with_search_path_can() {
    let server = Server::start();
    for (function, restores) in [("bare", false), ("pathed", true)] {
        let sql = format!("CREATE INDEX i ON t ({function}(a))");
        assert_eq!(!rules(&sql).contains("unqualified-in-function"), restores, "{function}");
        if server.major >= 17 && !restores {
            // Servers from 17 on say so at once: they build indexes under a safe search path.
            continue;
        }
        server.database("from");
        server.database("into");
        server.psql("from", &format!("{BEFORE} INSERT INTO t (id, a) VALUES (1, 'X'); {sql}"));
        let path = server.socket().join("dump");
        let tool = |name: &str, words: &[&str]| {
            std::process::Command::new(server.bin().join(name))
                .args(["-U", "postgres", "-h"])
                .arg(server.socket())
                .args(words)
                .output()
                .unwrap()
        };
        let dumped = tool("pg_dump", &["-Fc", "-f", path.to_str().unwrap(), "from"]);
        assert!(dumped.status.success(), "{dumped:?}");
        let words = ["--exit-on-error", "-d", "into", path.to_str().unwrap()];
        let output = tool("pg_restore", &words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), restores, "{function}: {said}");
        server.psql("postgres", "DROP DATABASE \"from\"");
        server.psql("postgres", "DROP DATABASE \"into\"");
    }
}
