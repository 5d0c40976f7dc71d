//! Splitting SQL, in cases and beside the server's own grammar.
#![cfg(test)]

use super::*;
use proptest::prelude::*;

fn statements(text: &str) -> Vec<&str> {
    scan(text).statements.into_iter().map(|range| &text[range]).collect()
}

fn obstacle(text: &str) -> Option<String> {
    scan(text).obstacle.map(|(_, what)| what)
}

/// The units of a file that is sent statement by statement, each with its statements joined.
fn units(text: &str) -> Vec<String> {
    let Script { statements, units, obstacle } = split(text);
    assert_eq!(obstacle, None, "{text}");
    let joined = |unit: Range<usize>| {
        statements[unit].iter().map(|range| &text[range.clone()]).collect::<Vec<_>>().join(" | ")
    };
    units.into_iter().map(joined).collect()
}

#[test]
fn statements_end_at_semicolons_outside_quotes() {
    for (text, found) in [
        ("select 1; select 2", &["select 1", "select 2"][..]),
        ("-- a; b\n/* c; /* d; */ e */ select ';' ;", &["select ';'"]),
        ("select E'\\';' , 'a''b;'; x", &["select E'\\';' , 'a''b;'", "x"]),
        ("select e'a''b\\';'; x", &["select e'a''b\\';'", "x"]),
        ("select E'a' -- ;\n ';\\';'; x", &["select E'a' -- ;\n ';\\';'", "x"]),
        ("select U&'\\'; x", &["select U&'\\'", "x"]),
        ("select U&'a;!0041' uescape '!' ; x", &["select U&'a;!0041' uescape '!'", "x"]),
        ("select n'a\\';x", &["select n'a\\'", "x"]),
        ("select b'1';select x'a';", &["select b'1'", "select x'a'"]),
        ("do $a$ begin; $b$ ; $b$ end $a$; x", &["do $a$ begin; $b$ ; $b$ end $a$", "x"]),
        ("select $$a$b;$a$ $$ ;x", &["select $$a$b;$a$ $$", "x"]),
        ("select $ä$;$ä$ ;x", &["select $ä$;$ä$", "x"]),
        (" -- nothing\n ;;", &[]),
        ("select a +--;\n b; x", &["select a +--;\n b", "x"]),
        ("select a */*;*/ b; x", &["select a */*;*/ b", "x"]),
        ("select 1 -- a;\r, 2; x", &["select 1 -- a;\r, 2", "x"]),
        ("select \"a;\"\"b;\"; x", &["select \"a;\"\"b;\"", "x"]),
        ("select ä\u{a0}; x", &["select ä\u{a0}", "x"]),
        ("prepare p as select $1;execute p(';')", &["prepare p as select $1", "execute p(';')"]),
    ] {
        assert_eq!(statements(text), found, "{text}");
    }
    assert_eq!(statements("create rule r as on insert to t do (select 1; select 2); x").len(), 2);
    assert_eq!(statements("select $1 ; select a$b$c from t; x").len(), 3);
}

#[test]
fn a_function_body_of_the_standard_is_one_statement() {
    let body = "create function f() returns int begin atomic select 1; \
                select case when true then 1 end; end; select 2";
    assert_eq!(statements(body).len(), 2);
    assert_eq!(obstacle(body), None);
    assert_eq!(statements("create procedure p() begin atomic end; select 2").len(), 2);
    assert_eq!(statements("create or replace function f() begin atomic ;; end; x").len(), 2);
    // Elsewhere these are words like others.
    assert_eq!(statements("select begin atomic from t; select 2").len(), 2);
}

#[test]
fn transaction_control_is_found() {
    for text in [
        "commit",
        "select 1; COMMIT;",
        "/* x */ end work",
        "begin",
        "start transaction",
        "rollback",
        "prepare transaction 'a'",
        "abort",
    ] {
        assert!(obstacle(text).is_some_and(|w| w.starts_with("transaction control")), "{text}");
    }
    for text in [
        "rollback to a",
        "rollback work to savepoint a",
        "select 'commit; '",
        "do $$ begin commit; end $$",
        "prepare p as select 1",
        "comment on table t is 'x'",
    ] {
        assert_eq!(obstacle(text), None, "{text}");
    }
}

#[test]
fn a_whole_transaction_of_the_files_own_is_one_unit() {
    assert_eq!(
        units("vacuum; begin; insert into a values (1); select 2; commit; vacuum"),
        ["vacuum", "begin | insert into a values (1) | select 2 | commit", "vacuum"]
    );
    assert_eq!(units("start transaction; savepoint s; rollback to s; end;").len(), 1);
    for text in [
        "commit",
        "begin; select 1",
        "begin; begin; commit",
        "begin; rollback",
        "begin; commit and chain; commit",
        "begin; prepare transaction 'x'",
        "commit prepared 'x'",
    ] {
        let what = split(text).obstacle.map(|(_, what)| what).unwrap_or_default();
        assert!(what.starts_with("transaction control"), "{text}: {what}");
    }
}

#[test]
fn what_a_setting_does_to_backslashes_counts_between_messages_only() {
    let text = "set standard_conforming_strings = off; select 'a\\';'; \
                set standard_conforming_strings to on; select 'b\\'; x";
    assert_eq!(split(text).statements.len(), 5);
    assert_eq!(&text[split(text).statements[1].clone()], "select 'a\\';'");
    assert_eq!(statements("set standard_conforming_strings = off; select 'a\\'; x").len(), 3);
}

#[test]
fn what_a_setting_does_to_backslashes_ends_with_its_transaction_or_a_reset() {
    for text in [
        "begin; set local standard_conforming_strings = off; select 'a\\'b'; commit; select 'c\\'; x",
        "set local standard_conforming_strings = off; select 'a\\'; select 'b'; select 'c'; select 1; x",
        "set session standard_conforming_strings = off; select 'a\\';'; \
         reset standard_conforming_strings; select 'b\\'; select 1; x",
        "set standard_conforming_strings = off; select 'a\\';'; reset all; select 'b\\'; select 1; x",
        "set standard_conforming_strings = off; select 'a\\';'; \
         set standard_conforming_strings to default; select 'b\\'; select 1; x",
    ] {
        let script = split(text);
        assert_eq!(script.obstacle, None, "{text}");
        assert_eq!(script.statements.len(), 6, "{text}");
    }
}

#[test]
fn what_only_psql_understands_is_found() {
    assert!(obstacle("select 1;\n\\connect other").unwrap().contains("psql"));
    assert!(obstacle("select 1 \\gset").unwrap().contains("psql"));
    assert_eq!(obstacle("copy t (a, b)\n from stdin;\n1\t2\n\\.\n").unwrap(), "COPY FROM STDIN");
    assert_eq!(obstacle("COPY (select 1) TO stdout").unwrap(), "COPY TO STDOUT");
    assert_eq!(obstacle("copy t from '/tmp/x'"), None);
    assert_eq!(obstacle("copy (select a from stdin) to '/tmp/x'"), None);
    assert_eq!(obstacle("do $$ \\d $$; select '\n\\d'"), None);
}

#[test]
fn what_does_not_end_is_found_before_anything_runs() {
    for (text, what) in [
        ("select 1; /* a /* b */", "a comment that does not end"),
        ("select 1; select 'a", "a quoted text that does not end"),
        ("select \"a", "a quoted text that does not end"),
        ("do $x$ a $y$", "a dollar-quoted text that does not end"),
    ] {
        assert_eq!(obstacle(text).unwrap(), what);
    }
}

#[test]
fn places_count_characters_not_bytes() {
    let text = "-- größe\nselect 'äöü', fehler";
    let at = byte_of_character(text, text.chars().count() - 5);
    assert_eq!(&text[at..], "fehler");
    assert_eq!(place_of_byte(text, at), Place { line: 2, column: 15 });
}

proptest! {
    #[test]
    fn no_text_makes_the_scanner_panic(text in any::<String>()) {
        for range in scan(&text).statements {
            prop_assert!(text.get(range).is_some_and(|s| !s.is_empty()));
        }
    }

    #[test]
    fn no_pile_of_quotes_makes_the_scanner_panic(text in "[$'\"eE;a(\\)/*\\\\\n\r é-]{0,60}") {
        for range in split(&text).statements {
            prop_assert!(text.get(range).is_some_and(|s| !s.is_empty()));
        }
    }

    #[test]
    fn units_cover_every_statement_once(text in "(begin;|commit;|select 1;|vacuum;| ){0,12}") {
        let script = split(&text);
        if script.obstacle.is_none() {
            let covered: Vec<usize> = script.units.into_iter().flatten().collect();
            prop_assert_eq!(covered, (0..script.statements.len()).collect::<Vec<_>>());
        }
    }
}
