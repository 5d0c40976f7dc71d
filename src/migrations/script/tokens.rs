//! The words, quotes and signs of SQL, as the server's own lexer divides a text into them.
//!
//! Nothing here knows the grammar. Comments and white space are left out; what is quoted is one
//! token, however long. The rules are those of `src/backend/parser/scan.l` of PostgreSQL.

use std::ops::Range;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::migrations) enum Kind {
    /// A keyword or a name without quotes.
    Word,
    /// A name in double quotes.
    Name,
    /// A text in single quotes or between dollar signs.
    Text,
    /// A number or a parameter.
    Number,
    /// One character of anything else; an operator is several of them.
    Sign(u8),
}

/// A token and where it lies, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::migrations) struct Token {
    pub(in crate::migrations) kind: Kind,
    pub(in crate::migrations) range: Range<usize>,
}

/// Divides a text into tokens.
#[derive(Default)]
pub(in crate::migrations) struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
    /// Whether backslashes escape in every quoted text: `standard_conforming_strings` is off.
    pub(in crate::migrations) escapes: bool,
    /// Where something begins that never ends, and what.
    pub(in crate::migrations) unclosed: Option<(usize, &'static str)>,
}

impl<'a> Tokens<'a> {
    pub(in crate::migrations) fn of(text: &'a str) -> Self {
        Self { text: text.as_bytes(), ..Self::default() }
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn unclosed(&mut self, from: usize, what: &'static str) {
        self.at = self.text.len();
        self.unclosed.get_or_insert((from, what));
    }

    /// Goes past white space and comments.
    fn skip_blank(&mut self) {
        loop {
            match (self.peek(0), self.peek(1)) {
                (byte, _) if is_space(byte) => self.at += 1,
                (b'-', b'-') => self.skip_line(),
                (b'/', b'*') => self.skip_comment(),
                _ => return,
            }
        }
    }

    fn skip_line(&mut self) {
        // A carriage return alone ends a comment too.
        while self.at < self.text.len() && !matches!(self.text[self.at], b'\n' | b'\r') {
            self.at += 1;
        }
    }

    fn skip_comment(&mut self) {
        let from = self.at;
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
        self.unclosed(from, "a comment");
    }

    /// Goes past what is quoted; a doubled quote is part of it.
    fn skip_quoted(&mut self, quote: u8, escapes: bool) {
        let from = self.at;
        self.at += 1;
        loop {
            match (self.peek(0), self.peek(1)) {
                _ if self.at >= self.text.len() => {
                    return self.unclosed(from, "a quoted text");
                }
                (b'\\', _) if escapes => self.at += 2,
                (byte, next) if byte == quote && next == quote => self.at += 2,
                (byte, _) if byte == quote => {
                    self.at += 1;
                    if quote == b'"' || !self.goes_on() {
                        return;
                    }
                }
                _ => self.at += 1,
            }
        }
    }

    /// A text goes on where, after a line break, another one follows; it has the same escapes.
    fn goes_on(&mut self) -> bool {
        let from = self.at;
        let mut broken = false;
        loop {
            match (self.peek(0), self.peek(1)) {
                (byte, _) if is_space(byte) => {
                    broken |= matches!(byte, b'\n' | b'\r');
                    self.at += 1;
                }
                (b'-', b'-') => self.skip_line(),
                (b'\'', _) if broken => {
                    self.at += 1;
                    return true;
                }
                _ => {
                    self.at = from;
                    return false;
                }
            }
        }
    }

    fn dollar(&mut self) -> Kind {
        let from = self.at;
        let rest = &self.text[from + 1..];
        let tag = rest.iter().take_while(|byte| is_word(**byte) && **byte != b'$').count();
        let named = rest.first().is_some_and(|byte| tag == 0 || is_word_start(*byte));
        if !named || rest.get(tag) != Some(&b'$') {
            self.at += 1;
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            self.at += digits;
            return if digits > 0 { Kind::Number } else { Kind::Sign(b'$') };
        }
        let delimiter = &self.text[from..from + tag + 2];
        let body = from + delimiter.len();
        let end = self.text[body..].windows(delimiter.len()).position(|part| part == delimiter);
        match end {
            Some(offset) => self.at = body + offset + delimiter.len(),
            None => self.unclosed(from, "a dollar-quoted text"),
        }
        Kind::Text
    }

    fn word(&mut self) -> Kind {
        let from = self.at;
        while is_word(self.peek(0)) {
            self.at += 1;
        }
        if self.peek(0) != b'\'' || self.at - from != 1 {
            return Kind::Word;
        }
        // Letters that belong to the quote behind them; others are a word beside a text.
        let escapes = match self.text[from].to_ascii_uppercase() {
            b'E' => true,
            b'B' | b'X' => false,
            b'N' => self.escapes,
            _ => return Kind::Word,
        };
        self.skip_quoted(b'\'', escapes);
        Kind::Text
    }

    fn number(&mut self) -> Kind {
        // A number may be followed by letters (`1e5`), which are no word of their own.
        while is_word(self.peek(0)) && self.peek(0) != b'$' {
            self.at += 1;
        }
        Kind::Number
    }
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        self.skip_blank();
        let from = self.at;
        let kind = match *self.text.get(from)? {
            b'\'' => {
                self.skip_quoted(b'\'', self.escapes);
                Kind::Text
            }
            b'"' => {
                self.skip_quoted(b'"', false);
                Kind::Name
            }
            b'$' => self.dollar(),
            byte if is_word_start(byte) => self.word(),
            byte if byte.is_ascii_digit() => self.number(),
            byte => {
                self.at += 1;
                Kind::Sign(byte)
            }
        };
        Some(Token { kind, range: from..self.at })
    }
}

/// The white space of the server; other spaces of Unicode are letters to it.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_word(byte: u8) -> bool {
    is_word_start(byte) || byte.is_ascii_digit() || byte == b'$'
}
