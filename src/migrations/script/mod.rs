//! Where the statements of a file begin and end, and what in it only `psql` could run.
//!
//! This is a splitter, not a parser: it knows tokens, parentheses and `BEGIN ATOMIC` bodies, and
//! nothing else of the grammar. A file that runs in a transaction is sent to the server whole; there
//! the ranges only name the statement that failed. A file that opted out of transactions is sent
//! statement by statement.

mod of_file;
#[cfg(test)]
mod oracle;
pub(super) mod statement;
#[cfg(test)]
mod tests;
pub(super) mod tokens;
pub(super) mod wrapper;

use std::ops::Range;

pub(super) use of_file::{script_of_file, without_wrapper_of_file};

use tokens::{Kind, Token, Tokens};

/// What a look at the text of a file tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Script {
    /// Byte ranges of the statements, without leading white space and comments.
    pub(super) statements: Vec<Range<usize>>,
    /// Which statements, by index, are done or not done together: one, or a block from `BEGIN` to
    /// `COMMIT`.
    pub(super) units: Vec<Range<usize>>,
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

/// How the text will reach the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// In one message inside our transaction.
    Whole,
    /// Statement by statement, without a transaction of ours.
    Each,
}

/// Looks at a file that is sent whole, inside a transaction.
pub(super) fn scan(text: &str) -> Script {
    Splitter::read(text, Reading::Whole)
}

/// Looks at a file whose statements are sent one by one, outside a transaction.
///
/// It may have transactions of its own, whole ones; what lies between `BEGIN` and `COMMIT` is one
/// unit.
pub(super) fn split(text: &str) -> Script {
    Splitter::read(text, Reading::Each)
}

struct Splitter<'a> {
    text: &'a str,
    reading: Reading,
    script: Script,
    /// Where the statement begins, once it has a first token.
    start: Option<usize>,
    /// Where its last token ends.
    end: usize,
    /// Its first words in capitals; enough to tell what kind of statement it is.
    words: Vec<String>,
    /// The word directly before, if it was one.
    last_word: String,
    last: Range<usize>,
    depth: usize,
    /// Inside the body of an SQL-standard function, where semicolons do not end the statement.
    atomic: bool,
    /// At the beginning of a statement inside such a body.
    fresh: bool,
    /// Index of the statement that began the present transaction of the file's own.
    block: Option<usize>,
    /// Whether backslashes escape, and in the present transaction of the file's own alone.
    escapes: bool,
    escapes_here: Option<bool>,
}

impl<'a> Splitter<'a> {
    fn read(text: &'a str, reading: Reading) -> Script {
        let mut splitter = Self {
            text,
            reading,
            script: Script::default(),
            start: None,
            end: 0,
            words: Vec::new(),
            last_word: String::new(),
            last: 0..0,
            depth: 0,
            atomic: false,
            fresh: false,
            block: None,
            escapes: false,
            escapes_here: None,
        };
        let mut tokens = Tokens::of(text);
        while let Some(token) = tokens.next() {
            if token.kind == Kind::Sign(b';') {
                splitter.semicolon();
                tokens.escapes = splitter.escapes_here.unwrap_or(splitter.escapes);
            } else {
                splitter.token(&token);
            }
            if splitter.script.obstacle.is_some() {
                break;
            }
        }
        if let Some((at, what)) = tokens.unclosed {
            splitter.obstacle(at, &format!("{what} that does not end"));
        }
        splitter.end_statement();
        if let Some(begun) = splitter.block {
            let at = splitter.script.statements[begun].start;
            splitter.obstacle(at, "transaction control (BEGIN without COMMIT)");
        }
        splitter.script
    }

    fn obstacle(&mut self, at: usize, what: &str) {
        self.script.obstacle.get_or_insert_with(|| (at, what.to_owned()));
    }

    fn token(&mut self, token: &Token) {
        self.start.get_or_insert(token.range.start);
        self.end = token.range.end;
        self.last = token.range.clone();
        match token.kind {
            Kind::Word => return self.word(token.range.clone()),
            Kind::Sign(b'\\') => self.obstacle(token.range.start, "a psql command (backslash)"),
            Kind::Sign(b'(') => self.depth += 1,
            Kind::Sign(b')') => self.depth = self.depth.saturating_sub(1),
            Kind::Sign(_) | Kind::Name | Kind::Text | Kind::Number => {}
        }
        self.fresh = false;
        self.last_word.clear();
    }

    fn word(&mut self, range: Range<usize>) {
        let word = self.text[range.clone()].to_ascii_uppercase();
        if self.atomic && self.fresh && word == "END" {
            self.atomic = false;
        }
        self.fresh = false;
        if self.last_word == "BEGIN" && word == "ATOMIC" && self.makes_routine() {
            self.atomic = true;
            self.fresh = true;
        }
        let stream = matches!(
            (self.last_word.as_str(), word.as_str()),
            ("FROM", "STDIN") | ("TO", "STDOUT")
        );
        if stream && self.depth == 0 && self.words.first().is_some_and(|first| first == "COPY") {
            let start = self.start.unwrap_or(range.start);
            self.obstacle(start, &format!("COPY {} {word}", self.last_word));
        }
        if self.words.len() < 4 {
            self.words.push(word.clone());
        }
        self.last_word = word;
    }

    fn makes_routine(&self) -> bool {
        self.words.first().is_some_and(|first| first == "CREATE")
            && self.words.iter().any(|word| word == "FUNCTION" || word == "PROCEDURE")
    }

    fn semicolon(&mut self) {
        self.last_word.clear();
        if self.atomic {
            self.fresh = true;
        } else if self.depth == 0 {
            self.note_escapes();
            self.end_statement();
            if self.block.is_none() {
                self.escapes_here = None;
            }
        }
    }

    /// Notes what the statement that ends here says of backslashes. A message is read whole before any of it
    /// runs; only between messages a setting counts.
    fn note_escapes(&mut self) {
        const NAME: &str = "STANDARD_CONFORMING_STRINGS";
        if self.reading == Reading::Whole {
            return;
        }
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let value = self.text[self.last.clone()].trim_matches('\'').to_ascii_lowercase();
        let off = matches!(value.as_str(), "off" | "false" | "no" | "0");
        match words.as_slice() {
            ["SET", "LOCAL", name, ..] if *name == NAME => {
                // Outside a transaction it does nothing.
                self.escapes_here = self.block.map(|_| off);
            }
            ["SET", name, ..] | ["SET", "SESSION", name, ..] if *name == NAME => {
                (self.escapes, self.escapes_here) = (off, None);
            }
            ["RESET", name] if [NAME, "ALL"].contains(name) => {
                (self.escapes, self.escapes_here) = (false, None);
            }
            ["DISCARD", "ALL"] => self.escapes = false,
            _ => {}
        }
    }

    fn end_statement(&mut self) {
        if let Some(start) = self.start.take() {
            let index = self.script.statements.len();
            let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
            let control = transaction_control(&words);
            self.script.statements.push(start..self.end);
            match (self.reading, self.block, control) {
                (_, None, None) => self.script.units.push(index..index + 1),
                (Reading::Each, None, Some("BEGIN" | "START TRANSACTION")) => {
                    self.block = Some(index);
                }
                (Reading::Each, Some(begun), Some("COMMIT" | "END")) if !chained(&words) => {
                    self.script.units.push(begun..index + 1);
                    self.block = None;
                }
                (_, Some(_), None) => {}
                (_, _, Some(what)) => {
                    self.block = None;
                    self.obstacle(start, &format!("transaction control ({what})"));
                }
            }
        }
        self.words.clear();
        self.last_word.clear();
        self.depth = 0;
        self.atomic = false;
    }
}

/// `COMMIT AND CHAIN` begins another transaction, `COMMIT PREPARED` ends somebody else's.
fn chained(words: &[&str]) -> bool {
    words.iter().any(|word| matches!(*word, "CHAIN" | "PREPARED")) && !words.contains(&"NO")
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
