//! Where the statements of a file begin, and what in it only `psql` could run.
//!
//! This is a scanner, not a parser: it knows quotes, comments, dollar quotes, parentheses and
//! `BEGIN ATOMIC` bodies, and nothing of the grammar. What is sent to the server is always the whole
//! file; the ranges found here only name the statement that failed and count those of a file that
//! runs outside a transaction.

use std::ops::Range;

/// What a look at the text of a file tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Script {
    /// Byte ranges of the statements, without leading white space and comments.
    pub(super) statements: Vec<Range<usize>>,
    /// Byte offset and description of the first thing that cannot run here.
    pub(super) obstacle: Option<(usize, String)>,
}

/// The place of a character in a file, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// Returns the place of a byte offset; columns count characters, as editors do.
pub(super) fn place_of_byte(text: &str, offset: usize) -> Place {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Place {
        line: 1 + before.matches('\n').count(),
        column: 1 + before[line_start..].chars().count(),
    }
}

/// Returns the byte offset of a character position counted from 1, as servers count it.
pub(super) fn byte_of_character(text: &str, position: usize) -> usize {
    text.char_indices().nth(position.saturating_sub(1)).map_or(text.len(), |(at, _)| at)
}

/// Returns the beginning of a statement on one line, for messages.
pub(super) fn head(statement: &str) -> String {
    const MOST: usize = 80;
    let mut line = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() > MOST {
        line = line.chars().take(MOST - 1).collect::<String>() + "…";
    }
    line
}

/// Scans the text of one file.
pub(super) fn scan(text: &str) -> Script {
    let mut scanner = Scanner { text: text.as_bytes(), at: 0, ..Scanner::default() };
    while scanner.at < scanner.text.len() && scanner.script.obstacle.is_none() {
        scanner.token();
    }
    scanner.end_statement();
    scanner.script
}

#[derive(Default)]
struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    script: Script,
    /// Where the statement begins, once it has a first token.
    start: Option<usize>,
    /// Where its last token ends.
    end: usize,
    /// Its first words in capitals; enough to tell what kind of statement it is.
    words: Vec<String>,
    last_word: String,
    depth: usize,
    /// Inside the body of an SQL-standard function, where semicolons do not end the statement.
    atomic: bool,
    /// At the beginning of a statement inside such a body.
    fresh: bool,
}

impl Scanner<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn token(&mut self) {
        match (self.peek(0), self.peek(1)) {
            (byte, _) if byte.is_ascii_whitespace() => self.at += 1,
            (b'-', b'-') => self.skip_line(),
            (b'/', b'*') => self.skip_comment(),
            (b'\\', _) => self.obstacle(self.at, "a psql command (backslash)"),
            (b'\'', _) => self.quoted(b'\'', false),
            (b'"', _) => self.quoted(b'"', false),
            (b'e' | b'E', b'\'') => {
                self.begin();
                self.at += 1;
                self.quoted(b'\'', true);
            }
            (b'$', _) => self.dollar(),
            (byte, _) if is_word_start(byte) => self.word(),
            (b';', _) => self.semicolon(),
            (byte, _) => {
                self.begin();
                match byte {
                    b'(' => self.depth += 1,
                    b')' => self.depth = self.depth.saturating_sub(1),
                    _ => {}
                }
                self.at += 1;
                // A number may be followed by letters (`1e5`), which are no word of their own.
                while byte.is_ascii_digit() && is_word(self.peek(0)) {
                    self.at += 1;
                }
                self.fresh = false;
                self.end = self.at;
            }
        }
    }

    fn begin(&mut self) {
        self.start.get_or_insert(self.at);
    }

    fn obstacle(&mut self, at: usize, what: &str) {
        self.script.obstacle.get_or_insert_with(|| (at, what.to_owned()));
    }

    fn skip_line(&mut self) {
        while self.at < self.text.len() && self.text[self.at] != b'\n' {
            self.at += 1;
        }
    }

    fn skip_comment(&mut self) {
        let mut depth = 0_usize;
        while self.at < self.text.len() {
            match (self.peek(0), self.peek(1)) {
                (b'/', b'*') => {
                    depth += 1;
                    self.at += 2;
                }
                (b'*', b'/') => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.at += 1,
            }
        }
    }

    fn quoted(&mut self, quote: u8, escapes: bool) {
        self.begin();
        self.at += 1;
        while self.at < self.text.len() && self.text[self.at] != quote {
            self.at += if escapes && self.text[self.at] == b'\\' { 2 } else { 1 };
        }
        self.at = (self.at + 1).min(self.text.len());
        self.fresh = false;
        self.end = self.at;
    }

    fn dollar(&mut self) {
        self.begin();
        let rest = &self.text[self.at + 1..];
        let tag = rest.iter().take_while(|byte| is_word(**byte) && **byte != b'$').count();
        let named = rest.first().is_some_and(|byte| tag == 0 || is_word_start(*byte));
        if named && rest.get(tag) == Some(&b'$') {
            let delimiter = &self.text[self.at..self.at + tag + 2];
            let body = self.at + delimiter.len();
            let found =
                self.text[body..].windows(delimiter.len()).position(|window| window == delimiter);
            self.at = found.map_or(self.text.len(), |offset| body + offset + delimiter.len());
        } else {
            self.at += 1;
        }
        self.fresh = false;
        self.end = self.at;
    }

    fn word(&mut self) {
        self.begin();
        let from = self.at;
        while is_word(self.peek(0)) {
            self.at += 1;
        }
        let word = String::from_utf8_lossy(&self.text[from..self.at]).to_ascii_uppercase();
        if self.atomic && self.fresh && word == "END" {
            self.atomic = false;
        }
        self.fresh = false;
        if self.last_word == "BEGIN" && word == "ATOMIC" && self.words.len() > 1 {
            self.atomic = true;
            self.fresh = true;
        }
        let stream = matches!(
            (self.last_word.as_str(), word.as_str()),
            ("FROM", "STDIN") | ("TO", "STDOUT")
        );
        if stream && self.depth == 0 && self.words.first().is_some_and(|first| first == "COPY") {
            let start = self.start.unwrap_or(from);
            self.obstacle(start, &format!("COPY {} {word}", self.last_word));
        }
        if self.words.len() < 4 {
            self.words.push(word.clone());
        }
        self.last_word = word;
        self.end = self.at;
    }

    fn semicolon(&mut self) {
        self.at += 1;
        if self.atomic {
            self.fresh = true;
        } else if self.depth == 0 {
            self.end_statement();
        }
    }

    fn end_statement(&mut self) {
        if let Some(start) = self.start.take() {
            let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
            if let Some(what) = transaction_control(&words) {
                self.obstacle(start, &format!("transaction control ({what})"));
            }
            self.script.statements.push(start..self.end);
        }
        self.words.clear();
        self.last_word.clear();
        self.depth = 0;
        self.atomic = false;
    }
}

/// Returns the command by which a statement would begin or end our transaction.
fn transaction_control(words: &[&str]) -> Option<&'static str> {
    match words {
        ["COMMIT", ..] => Some("COMMIT"),
        ["END", ..] => Some("END"),
        ["ABORT", ..] => Some("ABORT"),
        ["ROLLBACK", "TO", ..] | ["ROLLBACK", "WORK" | "TRANSACTION", "TO", ..] => None,
        ["ROLLBACK", ..] => Some("ROLLBACK"),
        ["BEGIN", ..] => Some("BEGIN"),
        ["START", "TRANSACTION", ..] => Some("START TRANSACTION"),
        ["PREPARE", "TRANSACTION", ..] => Some("PREPARE TRANSACTION"),
        _ => None,
    }
}

fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_word(byte: u8) -> bool {
    is_word_start(byte) || byte.is_ascii_digit() || byte == b'$'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn statements(text: &str) -> Vec<&str> {
        scan(text).statements.into_iter().map(|range| &text[range]).collect()
    }

    fn obstacle(text: &str) -> Option<String> {
        scan(text).obstacle.map(|(_, what)| what)
    }

    #[test]
    fn statements_end_at_semicolons_outside_quotes() {
        assert_eq!(statements("select 1; select 2"), ["select 1", "select 2"]);
        assert_eq!(statements("-- a; b\n/* c; /* d; */ e */ select ';' ;"), ["select ';'"]);
        assert_eq!(statements("select E'\\';' , 'a''b;'; x"), ["select E'\\';' , 'a''b;'", "x"]);
        assert_eq!(
            statements("do $a$ begin; $b$ ; $b$ end $a$; x"),
            ["do $a$ begin; $b$ ; $b$ end $a$", "x"]
        );
        assert_eq!(
            statements("create rule r as on insert to t do (select 1; select 2); x").len(),
            2
        );
        assert_eq!(statements(" -- nothing\n ;;"), Vec::<&str>::new());
        assert_eq!(statements("select $1 ; select a$b$c from t; x").len(), 3);
    }

    #[test]
    fn a_function_body_of_the_standard_is_one_statement() {
        let body = "create function f() returns int begin atomic select 1; \
                    select case when true then 1 end; end; select 2";
        assert_eq!(statements(body).len(), 2);
        assert_eq!(obstacle(body), None);
        assert_eq!(statements("create procedure p() begin atomic end; select 2").len(), 2);
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
    fn what_only_psql_understands_is_found() {
        assert!(obstacle("select 1;\n\\connect other").unwrap().contains("psql"));
        assert!(obstacle("select 1 \\gset").unwrap().contains("psql"));
        assert_eq!(
            obstacle("copy t (a, b)\n from stdin;\n1\t2\n\\.\n").unwrap(),
            "COPY FROM STDIN"
        );
        assert_eq!(obstacle("COPY (select 1) TO stdout").unwrap(), "COPY TO STDOUT");
        assert_eq!(obstacle("copy t from '/tmp/x'"), None);
        assert_eq!(obstacle("do $$ \\d $$; select '\n\\d'"), None);
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
        fn no_pile_of_quotes_makes_the_scanner_panic(text in "[$'\"eE;a(\\)/*\\\\\n é-]{0,60}") {
            for range in scan(&text).statements {
                prop_assert!(text.get(range).is_some_and(|s| !s.is_empty()));
            }
        }
    }
}
