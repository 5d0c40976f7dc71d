//! Our splitter beside PostgreSQL's own grammar, through a script.
#![cfg(test)]

use std::io::Write as _;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::{scan, split};
use crate::system::process::{self, Call};

/// Expressions that hide semicolons, quotes and comments from each other.
const EXPRESSIONS: &[&str] = &[
    "';'",
    "'it''s;'",
    "'\\'",
    "E'\\';'",
    "e'a''\\';\\\\'",
    "E'a'\n  ';\\';'",
    "'a' -- ; '\n ';b'",
    "U&'\\0041;'",
    "U&'!0041;''' uescape '!'",
    "N';'",
    "B'01'",
    "x'1F'",
    "$$;$$",
    "$a$ $$;$$ ; $a$",
    "$ä$;$ä $ä$",
    "$a1$$a$;$a1$",
    "$_$ ' ; \" -- $_$",
    "1e5",
    "1.5e-3",
    ".5",
    "$1",
    "a$b$c",
    "\"a;\"\"b\"",
    "\"é;\"",
    "U&\"\\0041;\"",
    "größe",
    "1 +--;\n 2",
    "1 */*;*/ 2",
    "1 /*;/*;*/';*/ - 2",
    "(select 1)",
    "((1))",
    "case when 'a;' = 'b' then 1 else 2 end",
    "array[1, 2][1]",
    "'a'::text",
    "a->>'b;'",
    "a @> b",
    "1 <>--x\r 2",
    "\"begin\"",
    "row(1, ';')",
    "interval '1;' day",
];

/// Statements around an expression, and such as hide ends in their own way.
const FRAMES: &[&str] = &[
    "select {}",
    "SELECT {} , {}",
    "insert into t values ({}, {})",
    "update t set a = {} where {} is null",
    "/* ; */ delete from t where a = {}",
    "-- ;\nvalues ({})",
    "create rule r as on insert to t do also (insert into u values (1); select {})",
    "create rule r as on insert to t do instead (select {}; ;update t set a = 1)",
    "create function f(a int default 1) returns int language sql as $f$ select 1; $f$",
    "create function f() returns int language sql begin atomic select 1; select case when true then 1 end; end",
    "create or replace procedure p(a int) begin atomic insert into t values (1); insert into t select {}; end",
    "create function f() returns int return 1",
    "create or replace function f() returns trigger language plpgsql as 'begin; end;'",
    "do $do$ begin if true then perform 1; end if; end; $do$",
    "do language plpgsql E'begin perform \\';\\'; end;'",
    "create view v as select {} as end_, 'begin' as \"commit\"",
    "create index concurrently if not exists i on t using btree (a) where b = {}",
    "alter type mood add value if not exists ';' before 'ok'",
    "comment on table t is 'a; b'",
    "comment on column t.a is E'\\';'",
    "create table t (a int default 1, b text check (b <> ';'), \"c;\" int)",
    "create trigger tr before insert on t for each row execute function f(';')",
    "create operator +- (leftarg = int, rightarg = int, function = f)",
    "grant select on t to public",
    "set search_path = a, \"b;\"",
    "set standard_conforming_strings = on",
    "vacuum (analyze) t",
    "reindex (concurrently) table t",
    "copy t from '/tmp/a;b'",
    "copy (select {}) to '/tmp/x' with (delimiter ';')",
    "prepare p as select $1",
    "declare c cursor for select {}",
    "call p({})",
    "create policy p on t using ({} is not null)",
    "create schema s create table a (b int) create view c as select 1",
    "merge into t using u on t.a = u.a when matched then update set b = {} when not matched then do nothing",
    "with a as (select {}) select * from a",
    "notify c, ';'",
    "savepoint a",
    "rollback to a",
    "explain (costs off) select {}",
    "select begin_, atomic from t",
    "select * from json_table('[]', '$[*]' columns (a int path '$.a;'))",
];

const BETWEEN: &[&str] = &[";", ";\n", " ;  ", ";;\n", "; -- ;'\n", ";/* ; */", "\n;\n\t", ";\r\n"];

fn text() -> impl Strategy<Value = String> {
    let expression = select(EXPRESSIONS);
    let statement = (select(FRAMES), expression.clone(), expression)
        .prop_map(|(frame, a, b)| frame.replacen("{}", a, 1).replacen("{}", b, 1).replace("{}", a));
    proptest::collection::vec((statement, select(BETWEEN)), 1..6)
        .prop_map(|all| all.into_iter().map(|(text, end)| text + end).collect())
}

/// Python with the grammar in it, in a place of its own below the build's directory.
fn python() -> Result<PathBuf, String> {
    let build = std::env::current_exe().map_err(|error| error.to_string())?;
    let target = build.ancestors().find(|dir| dir.join("CACHEDIR.TAG").exists());
    let place = target.unwrap_or(Path::new("/tmp")).join("tools/pglast-8.7");
    let python = place.join("bin/python");
    let call = |program: &Path, arguments: &[&str]| {
        let call = arguments.iter().fold(Call::new(program), |call, argument| call.arg(argument));
        call.run().map_err(|failure| format!("{failure}: {}", failure.stderr()))
    };
    if call(&python, &["-c", "import pglast"]).is_err() {
        let system = process::find("python3").ok_or("python3 is missing")?;
        call(&system, &["-m", "venv", &place.display().to_string()])?;
        call(&python, &["-m", "pip", "--quiet", "install", "pglast==8.7"])?;
    }
    Ok(python)
}

#[test]
fn the_splitter_agrees_with_the_grammar_of_the_server() {
    let python = match python() {
        Ok(python) => python,
        Err(why) if std::env::var_os("CI").is_none() => {
            eprintln!("SKIPPED: no comparison with the server's grammar: {why}");
            return;
        }
        Err(why) => panic!("{why}"),
    };
    let mut runner = TestRunner::deterministic();
    let mut texts: Vec<String> =
        (0..4000).map(|_| text().new_tree(&mut runner).unwrap().current()).collect();
    for frame in FRAMES {
        for expression in EXPRESSIONS {
            texts.push(frame.replace("{}", expression) + ";\nselect 1");
        }
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(serde_json::to_string(&texts).unwrap().as_bytes()).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/statements.py");
    let output = Call::new(python).arg(script).arg(file.path()).run().unwrap();
    let answers: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answers.len(), texts.len());
    let mut compared = 0;
    for (text, answer) in texts.iter().zip(answers) {
        // What the grammar does not take has no statements to compare.
        let Some(found) = answer.as_array() else { continue };
        let place = |one: &serde_json::Value, at: usize| one[at].as_u64().unwrap() as usize;
        let theirs: Vec<_> = found.iter().map(|one| place(one, 0)..place(one, 1)).collect();
        assert_eq!(scan(text).statements, theirs, "{text}");
        assert_eq!(split(text).statements, theirs, "{text}");
        compared += 1;
    }
    assert!(compared * 10 > texts.len() * 8, "{compared} of {} were SQL", texts.len());
}
