//! Chains of migrations, without the names and marks of any tool: ours with what is hard to carry
//! over, and real ones that `ci/peers` fetched.

use std::path::Path;

use super::support::peers;

/// One migration.
#[derive(Clone, Debug)]
pub struct Step {
    pub version: u64,
    pub name: String,
    pub up: String,
    pub down: String,
    /// Whether it runs outside a transaction.
    pub alone: bool,
}

/// What is hard to carry over, small enough to be read: functions, dollar quotes, enums, CRLF.
pub fn everyday() -> Vec<Step> {
    let step = |(version, name, up): &(u64, &str, &str)| Step {
        version: *version,
        name: (*name).into(),
        up: (*up).into(),
        down: format!("-- takes back {name}\n"),
        alone: up.contains("concurrently"),
    };
    EVERYDAY.iter().map(step).collect()
}

const EVERYDAY: &[(u64, &str, &str)] = &[
    (
        1,
        "accounts",
        "-- Accounts; a comment with a semicolon, and an unfinished 'quote\n\
         create table accounts (id bigint generated always as identity primary key,\n\
           name text not null, balance numeric(20,4) not null default 0, changed timestamptz);\n\
         /* nested /* comment; */ too */ comment on table accounts is 'who; has what';\n",
    ),
    (
        2,
        "functions",
        "create function touch() returns trigger language plpgsql as $$\n\
         begin\n  new.changed := '2026-01-01'; -- $body$ ;\n  return new;\nend $$;\n\
         create function twice(n int) returns int language sql as $body$ select $$2$$::int * n; $body$;\n\
         create function sum_of(a int, b int) returns int language sql begin atomic;\n\
           select 1; select a + b;\nend;\n",
    ),
    (
        3,
        "trigger",
        "create trigger touched before update on accounts for each row execute function touch()",
    ),
    (
        5,
        "data_with_quotes",
        "insert into accounts (name) values ('a;b'), (E'it\\'s'), ('Grüße, 世界 😀'), ($q$'; --$q$), (U&'\\00e9');\n\
         update accounts set balance = twice(21) where name like 'Gr%';\n",
    ),
    (
        8,
        "mood",
        "create type mood as enum ('sad', 'ok');\nalter table accounts add column mood mood default 'ok';\n",
    ),
    (9, "mood_is_glad", "alter type mood add value 'glad';\n"),
    // In one transaction with the step before: 55P04, unsafe use of a new value.
    (10, "glad_by_default", "alter table accounts alter column mood set default 'glad';\n"),
    (
        12,
        "deferred",
        "create table parts (id int primary key, whole int references parts deferrable initially deferred);\n\
         insert into parts values (1, 2), (2, 1);\n",
    ),
    // In one transaction with the step before: 55006, pending trigger events.
    (13, "deferred_altered", "alter table parts add column note text;\n"),
    (14, "nothing", "-- only a comment\n/* and another */\n"),
    (
        15,
        "block",
        "do $do$\ndeclare n int;\nbegin\n  for n in 1..3 loop\n    execute format('create table part_%s (id int)', n);\n  end loop;\nend\n$do$;\n",
    ),
    // Its own transaction, which ends that of the tool before the history has its row.
    (16, "wrapped", "-- all or nothing\nBEGIN;\ncreate table wrapped (id int);\nCOMMIT;\n"),
    (
        20,
        "carriage_returns",
        "create function crlf() returns text language plpgsql as $$\r\nbegin\r\n  return 'a\r\nb';\r\nend $$;\r\n\
         create view rich as\r\n  select name from accounts where balance > 10;\r\n",
    ),
    (21, "index", "create index concurrently accounts_by_name on accounts (name);\n"),
    (
        30,
        "many_rows",
        "create table log (id bigint, at timestamptz not null, text text) partition by range (at);\n\
         create table log_2026 partition of log for values from ('2026-01-01') to ('2027-01-01');\n\
         insert into log select n, timestamptz '2026-01-01 00:00Z' + n * interval '1 minute', md5(n::text)\n\
           from generate_series(1, 2000) n;\n",
    ),
    (
        31,
        "temporary_table",
        "create temporary table few on commit drop as select * from log where id <= 5;\n\
         delete from log where id in (select id from few);\n",
    ),
    (
        40,
        "unique_index",
        "-- built beside its readers\ncreate unique index concurrently if not exists log_id on log_2026 (id)",
    ),
    (
        41,
        "renamed",
        "alter table accounts rename column name to title;\nalter table parts drop column note;\n",
    ),
];

/// sqlx, 258 reversible migrations: `zksync_dal` from crates.io, MIT or Apache-2.0.
pub fn zksync() -> Option<Vec<Step>> {
    let dir = peers::corpus("zksync_dal")?;
    let mut steps: Vec<Step> = names(&dir)
        .iter()
        .filter_map(|file| {
            let stem = file.strip_suffix(".up.sql")?;
            let (version, name) = stem.split_once('_')?;
            let down = std::fs::read_to_string(dir.join(format!("{stem}.down.sql")));
            Some(Step {
                version: version.parse().unwrap(),
                name: name.into(),
                up: read(&dir.join(file)),
                down: down.unwrap_or_default(),
                alone: false,
            })
        })
        .collect();
    steps.sort_by_key(|step| step.version);
    assert!(steps.len() > 200, "{}", steps.len());
    Some(steps)
}

/// Directories with one file each, 220 of them, some with an index that is built concurrently, some
/// with CRLF: `litellm-proxy-extras` from PyPI, MIT.
///
/// Numbered in their order, because ten of their dates are there twice.
pub fn litellm() -> Option<Vec<Step>> {
    let dir = peers::corpus("litellm-proxy-extras")?;
    let all = names(&dir);
    let with_file = all.iter().filter(|name| dir.join(name).join("migration.sql").is_file());
    let steps: Vec<Step> = with_file
        .enumerate()
        .map(|(index, name)| {
            let up = read(&dir.join(name).join("migration.sql"));
            numbered(index, name.split_once('_').unwrap().1, up)
        })
        .collect();
    assert!(steps.len() > 200 && steps.iter().any(|step| step.alone), "{}", steps.len());
    Some(steps)
}

/// Functions above all, enums that get values: `procrastinate` from PyPI, 38 files, MIT.
pub fn procrastinate() -> Option<Vec<Step>> {
    let dir = peers::corpus("procrastinate")?;
    let all = names(&dir);
    let sql = all.iter().filter_map(|name| name.strip_suffix(".sql"));
    let steps: Vec<Step> = sql
        .enumerate()
        .map(|(index, name)| {
            let up = read(&dir.join(format!("{name}.sql")));
            numbered(index, &name.replace(['.', '-'], "_"), up)
        })
        .collect();
    assert!(steps.len() > 30, "{}", steps.len());
    Some(steps)
}

fn numbered(index: usize, name: &str, up: String) -> Step {
    Step {
        version: index as u64 + 1,
        name: name.into(),
        alone: up.lines().any(|line| line.starts_with("CREATE INDEX CONCURRENTLY")),
        up,
        down: "-- none is published\n".into(),
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
