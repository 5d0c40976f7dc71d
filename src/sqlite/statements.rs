//! Where the statements of a text begin and end, as SQLite divides it.
//!
//! The rules are those of `sqlite3_complete()` and of the tokenizer of SQLite: a semicolon ends a
//! statement, except in the body of a trigger, which ends with `; END;`.

use std::ops::Range;

/// A piece of SQL that is neither white space nor a comment.
enum Token<'a> {
    Semicolon,
    Word(&'a str),
    Other,
}

/// Where in the definition of a trigger a statement is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trigger {
    /// It is none, or not known yet: so many words were seen.
    Not(usize),
    /// `CREATE`, perhaps with `TEMP`, and now the next word decides.
    Perhaps,
    /// Inside its body.
    Body,
    /// Behind a semicolon of its body.
    Semicolon,
    /// Behind `; END`.
    End,
}

/// Returns the byte ranges of the statements, without the semicolons and what lies between them.
pub fn statements(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let (mut start, mut end, mut trigger) = (None, 0, Trigger::Not(0));
    let mut at = 0;
    while let Some((token, range)) = next(text, at) {
        at = range.end;
        if matches!(token, Token::Semicolon) {
            match trigger {
                Trigger::Body | Trigger::Semicolon => {
                    trigger = Trigger::Semicolon;
                    end = range.end;
                }
                Trigger::Not(_) | Trigger::Perhaps | Trigger::End => {
                    found.extend(start.take().map(|from| from..end));
                    trigger = Trigger::Not(0);
                }
            }
            continue;
        }
        start.get_or_insert(range.start);
        end = range.end;
        trigger = follow(trigger, &token);
    }
    found.extend(start.map(|from| from..end));
    found
}

fn follow(trigger: Trigger, token: &Token<'_>) -> Trigger {
    let word = match token {
        Token::Word(word) => word.to_ascii_uppercase(),
        Token::Semicolon | Token::Other => String::new(),
    };
    match (trigger, word.as_str()) {
        (Trigger::Not(0), "EXPLAIN") => Trigger::Not(0),
        (Trigger::Not(0), "CREATE") => Trigger::Perhaps,
        (Trigger::Not(seen), _) => Trigger::Not(seen + 1),
        (Trigger::Perhaps, "TEMP" | "TEMPORARY") => Trigger::Perhaps,
        (Trigger::Perhaps, "TRIGGER") => Trigger::Body,
        (Trigger::Perhaps, _) => Trigger::Not(2),
        (Trigger::Semicolon, "END") => Trigger::End,
        (Trigger::Body | Trigger::Semicolon | Trigger::End, _) => Trigger::Body,
    }
}

/// Returns the next token from this byte on.
fn next(text: &str, from: usize) -> Option<(Token<'_>, Range<usize>)> {
    let bytes = text.as_bytes();
    let at = skip_blank(bytes, from);
    let first = *bytes.get(at)?;
    let until = |close: u8, doubled: bool| quoted(bytes, at, close, doubled);
    let (token, end) = match first {
        b';' => (Token::Semicolon, at + 1),
        b'\'' | b'"' | b'`' => (Token::Other, until(first, true)),
        b'[' => (Token::Other, until(b']', false)),
        byte if is_word(byte) => {
            let end = (at..bytes.len()).find(|i| !is_word(bytes[*i])).unwrap_or(bytes.len());
            (Token::Word(&text[at..end]), end)
        }
        _ => (Token::Other, at + 1),
    };
    Some((token, at..end))
}

/// Letters, digits, `_`, `$` and everything beyond ASCII: one word never ends inside a character.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

fn skip_blank(bytes: &[u8], mut at: usize) -> usize {
    loop {
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(byte), _) if byte.is_ascii_whitespace() => at += 1,
            (Some(b'-'), Some(b'-')) => {
                let rest = &bytes[at..];
                at += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            }
            // Comments of this kind do not nest, and one that never ends ends with the text.
            (Some(b'/'), Some(b'*')) => {
                let rest = &bytes[at + 2..];
                let end = rest.windows(2).position(|pair| pair == b"*/").map(|end| end + 2);
                at += 2 + end.unwrap_or(rest.len());
            }
            _ => return at,
        }
    }
}

/// Returns the end of what is quoted; a doubled quote is part of it.
fn quoted(bytes: &[u8], from: usize, close: u8, doubled: bool) -> usize {
    let mut at = from + 1;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        if *byte == close {
            if doubled && bytes.get(at) == Some(&close) {
                at += 1;
            } else {
                return at;
            }
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(text: &str) -> Vec<&str> {
        statements(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn semicolons_in_quotes_and_comments_end_nothing() {
        let text = "select ';', \"a;\", `b;`, [c;] -- d;\n/* e; */ ; select 'it''s;';;\n-- end";
        assert_eq!(split(text), ["select ';', \"a;\", `b;`, [c;]", "select 'it''s;'"]);
    }

    #[test]
    fn the_body_of_a_trigger_is_one_statement() {
        let trigger = "create temp trigger t after insert on a begin\n  update b set n = \
                       case when 1 then 2 else 3 end;\n  select 1; end";
        let text = format!("create table a (end int);{trigger};drop table a");
        assert_eq!(split(&text), ["create table a (end int)", trigger, "drop table a"]);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_splitter_panic(text in any::<String>()) {
            for range in statements(&text) {
                prop_assert!(text.get(range).is_some());
            }
        }
    }
}
