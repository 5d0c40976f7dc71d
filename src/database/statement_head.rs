//! The beginning of somebody else's statement, to be shown, without what may be secret in it.
//!
//! What stands in the server's activity view is whatever a client sent: passwords of roles, keys in
//! literals, tokens in comments. The view cuts it off at any place, so nothing here may depend on
//! the text being whole or correct SQL; where the reading is ambiguous, the rest is left out.

use std::iter::Peekable;
use std::str::Chars;

/// Words after which nothing more is shown.
const SECRET: [&str; 5] = ["password", "passwd", "secret", "token", "identified"];

/// Numbers with more digits than this are left out: they count nothing, they name somebody.
const DIGITS: usize = 6;

/// Returns the beginning of a statement on one line, at most this many characters of it, literals
/// as `'…'`, comments left out.
pub(super) fn head(sql: &str, most: usize) -> String {
    let mut reader = Reader { rest: sql.chars().peekable(), out: String::new(), words: 0 };
    while reader.out.chars().count() <= most && reader.piece() {}
    let shown = reader.out.trim_end();
    if shown.chars().count() <= most {
        return shown.to_owned();
    }
    shown.chars().take(most).collect::<String>().trim_end().to_owned() + "…"
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
    /// Words so far, up to the first two.
    words: u8,
}

impl Reader<'_> {
    /// Reads one piece; returns whether another one may be shown.
    fn piece(&mut self) -> bool {
        let Some(c) = self.rest.next() else { return false };
        match c {
            _ if c.is_whitespace() => self.space(),
            '-' if self.rest.peek() == Some(&'-') => {
                while self.rest.next().is_some_and(|c| c != '\n') {}
                self.space();
            }
            '/' if self.rest.peek() == Some(&'*') => {
                self.comment();
                self.space();
            }
            '\'' => return self.literal(Backslash::Unclear),
            '"' => self.name(),
            '$' => return self.dollar(),
            _ if c.is_ascii_digit() => self.number(c),
            _ if is_word(c) => return self.word(c),
            _ => self.out.push(c),
        }
        true
    }

    fn space(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with(' ') {
            self.out.push(' ');
        }
    }

    /// Comments nest in PostgreSQL.
    fn comment(&mut self) {
        self.rest.next();
        let mut depth = 1;
        let mut before = ' ';
        while depth > 0 {
            let Some(c) = self.rest.next() else { return };
            match (before, c) {
                ('*', '/') => depth -= 1,
                ('/', '*') => depth += 1,
                _ => {
                    before = c;
                    continue;
                }
            }
            before = ' ';
        }
    }

    fn literal(&mut self, backslash: Backslash) -> bool {
        self.out.push_str("'…'");
        loop {
            match self.rest.next() {
                None => return false,
                // Whether a quote after a backslash ends the literal is a setting of that session.
                Some('\\') if backslash == Backslash::Unclear => {
                    if self.rest.peek() == Some(&'\'') {
                        return false;
                    }
                }
                Some('\\') => drop(self.rest.next()),
                Some('\'') if self.rest.peek() == Some(&'\'') => drop(self.rest.next()),
                Some('\'') => return true,
                Some(_) => {}
            }
        }
    }

    fn name(&mut self) {
        self.out.push('"');
        for c in self.rest.by_ref() {
            self.out.push(if c.is_whitespace() { ' ' } else { c });
            if c == '"' {
                break;
            }
        }
    }

    /// A parameter such as `$1`, or a literal between dollars.
    fn dollar(&mut self) -> bool {
        let mut tag = String::new();
        while let Some(c) = self.rest.next_if(|c| is_word(*c) || c.is_ascii_digit()) {
            tag.push(c);
        }
        if tag.starts_with(|c: char| c.is_ascii_digit()) || self.rest.peek() != Some(&'$') {
            self.out.push('$');
            self.out.push_str(&tag);
            return true;
        }
        self.rest.next();
        self.out.push_str("'…'");
        let end = format!("${tag}$");
        let mut seen = String::new();
        for c in self.rest.by_ref() {
            seen.push(c);
            if seen.ends_with(&end) {
                return true;
            }
        }
        false
    }

    fn number(&mut self, first: char) {
        let mut number = String::from(first);
        while let Some(c) = self.rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '.') {
            number.push(c);
        }
        self.out.push_str(if number.len() > DIGITS { "…" } else { &number });
    }

    fn word(&mut self, first: char) -> bool {
        let mut word = String::from(first);
        while let Some(c) = self.rest.next_if(|c| is_word(*c) || c.is_ascii_digit() || *c == '$') {
            word.push(c);
        }
        let lower = word.to_lowercase();
        if lower == "e" && self.rest.next_if_eq(&'\'').is_some() {
            return self.literal(Backslash::Escapes);
        }
        self.out.push_str(&word);
        self.words = self.words.saturating_add(1);
        let setting = self.words == 2 && self.out.to_lowercase().starts_with("set ");
        if setting || SECRET.iter().any(|secret| lower.contains(secret)) {
            self.out.push_str(" …");
            return false;
        }
        true
    }
}

/// What a backslash means inside a literal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Backslash {
    /// It takes the next character's meaning away.
    Escapes,
    /// That depends on a setting that we do not know.
    Unclear,
}

fn is_word(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_shown() {
        for (sql, shown) in [
            ("select * from a\n  where b = 'x'", "select * from a where b = '…'"),
            ("alter role app PASSWORD 'x' valid until 'y'", "alter role app PASSWORD …"),
            (
                "create user u with encrypted password $$x$$",
                "create user u with encrypted password …",
            ),
            ("select E'it\\'s', 'it''s', u&'\\0061'", "select '…', '…', u&'…'"),
            ("select 'C:\\', 'x'", "select '…'"),
            ("do $body$ begin perform 'x'; end $body$", "do '…'"),
            ("/* token=x /* y */ z */ select $1 -- x", "select $1"),
            ("select 'cut off in the mid", "select '…'"),
            ("set app.key = x", "set app …"),
            ("alter table \"Order Lines\" add x int", "alter table \"Order Lines\" add x int"),
            ("select pg_sleep(600), 4111111111111111", "select pg_sleep(600), …"),
        ] {
            assert_eq!(head(sql, 80), shown, "{sql}");
        }
        assert_eq!(head("select aaa, bbb", 10), "select aaa…");
    }

    proptest! {
        #[test]
        fn no_literal_is_shown_however_it_is_written(
            before in "[a-z (),=]{0,20}",
            secret in "[X-Z]{3}",
            way in 0..5_usize,
            cut in 0..40_usize,
        ) {
            let literal = match way {
                0 => format!("'{secret}'"),
                1 => format!("E'a\\'{secret}'"),
                2 => format!("'a''{secret}'"),
                3 => format!("$t${secret}$t$"),
                _ => format!("/* {secret} */"),
            };
            let all = format!("{before} {literal} and 'other'");
            let sql: String = all.chars().take(cut + 10).collect();
            prop_assert!(!head(&sql, 200).contains(['X', 'Y', 'Z']), "{}", sql);
        }
    }
}
