//! The syntax of systemd's `EnvironmentFile`, read as systemd reads it.
//!
//! The service gets its credentials from systemd, and we read the same file ourselves; where the two
//! disagree, the upgrade speaks to another database than the service. The states below are those of
//! `parse_env_file_internal` in systemd's src/basic/env-file.c, and `tests/secrets.rs` compares the
//! outcome with systemd's own library. The oddities are therefore meant: a comment begins only at
//! the start of a line, text may follow a closing quote, a quote inside a plain value is a
//! character, an escaped line end vanishes, a carriage return ends a line.

/// An assignment as it is written, before names and texts are checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Assignment {
    /// Line on which the name stands, from 1.
    pub(super) line: usize,
    pub(super) name: Vec<u8>,
    pub(super) value: Vec<u8>,
}

/// Something that systemd passes over in silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Oddity {
    /// A line without `=`.
    NoAssignment,
    /// A quote that is never closed.
    OpenQuote,
    /// A comment that ends with a backslash: systemd before 254 reads the next line as part of it.
    ContinuedComment,
}

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) assignments: Vec<Assignment>,
    pub(super) oddities: Vec<(usize, Oddity)>,
}

/// What a backslash at the end of a comment does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Comments {
    /// Nothing, as since systemd 254.
    EndWithTheLine,
    /// The comment goes on in the next line, as before systemd 254.
    Continue,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    BeforeName,
    Name,
    BeforeValue,
    Value,
    Escape,
    SingleQuoted,
    DoubleQuoted,
    EscapeInDouble,
    Comment,
    EscapeInComment,
}

const fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Reads a whole file; the caller has refused NUL bytes, as systemd does.
pub(super) fn parse(bytes: &[u8], comments: Comments) -> Parsed {
    let mut reader = Reader::new(comments);
    for byte in bytes {
        reader.state = reader.step(*byte);
        reader.here += usize::from(*byte == b'\n');
    }
    reader.end();
    reader.parsed
}

struct Reader {
    comments: Comments,
    state: State,
    /// Line of the current byte, less one.
    here: usize,
    /// Line on which the current name or comment began.
    line: usize,
    name: Vec<u8>,
    value: Vec<u8>,
    /// Where the white space begins that is cut off if the value ends here.
    trailing: Option<usize>,
    parsed: Parsed,
}

impl Reader {
    fn new(comments: Comments) -> Self {
        Self {
            comments,
            state: State::BeforeName,
            here: 0,
            line: 0,
            name: Vec::new(),
            value: Vec::new(),
            trailing: None,
            parsed: Parsed::default(),
        }
    }

    /// Takes one byte and returns the state behind it.
    fn step(&mut self, byte: u8) -> State {
        match self.state {
            State::BeforeName => self.before_name(byte),
            State::Name => self.in_name(byte),
            State::BeforeValue => self.before_value(byte),
            State::Value => self.in_value(byte),
            State::Escape => {
                if !is_line_end(byte) {
                    self.value.push(byte);
                }
                State::Value
            }
            State::SingleQuoted if byte == b'\'' => State::BeforeValue,
            State::DoubleQuoted if byte == b'"' => State::BeforeValue,
            State::DoubleQuoted if byte == b'\\' => State::EscapeInDouble,
            State::SingleQuoted | State::DoubleQuoted => {
                self.value.push(byte);
                self.state
            }
            State::EscapeInDouble => {
                match byte {
                    b'"' | b'\\' | b'`' | b'$' => self.value.push(byte),
                    b'\n' => {}
                    // Any other byte needed no escape, so the backslash is a character, as in a shell.
                    other => self.value.extend([b'\\', other]),
                }
                State::DoubleQuoted
            }
            State::Comment if byte == b'\\' => State::EscapeInComment,
            State::Comment if is_line_end(byte) => State::BeforeName,
            State::Comment => State::Comment,
            State::EscapeInComment
                if is_line_end(byte) && self.comments == Comments::EndWithTheLine =>
            {
                self.parsed.oddities.push((self.here + 1, Oddity::ContinuedComment));
                State::BeforeName
            }
            State::EscapeInComment => State::Comment,
        }
    }

    fn before_name(&mut self, byte: u8) -> State {
        match byte {
            b'#' | b';' => State::Comment,
            byte if is_space(byte) => State::BeforeName,
            byte => {
                self.line = self.here + 1;
                self.name.push(byte);
                State::Name
            }
        }
    }

    fn in_name(&mut self, byte: u8) -> State {
        if is_line_end(byte) {
            self.name.clear();
            self.parsed.oddities.push((self.line, Oddity::NoAssignment));
            return State::BeforeName;
        }
        if byte == b'=' {
            self.trailing = None;
            return State::BeforeValue;
        }
        self.name.push(byte);
        State::Name
    }

    fn before_value(&mut self, byte: u8) -> State {
        match byte {
            byte if is_line_end(byte) => {
                self.push();
                State::BeforeName
            }
            b'\'' => State::SingleQuoted,
            b'"' => State::DoubleQuoted,
            b'\\' => State::Escape,
            byte if is_space(byte) => State::BeforeValue,
            byte => {
                self.value.push(byte);
                State::Value
            }
        }
    }

    fn in_value(&mut self, byte: u8) -> State {
        if is_line_end(byte) {
            self.cut();
            self.push();
            return State::BeforeName;
        }
        if byte == b'\\' {
            self.trailing = None;
            return State::Escape;
        }
        if !is_space(byte) {
            self.trailing = None;
        } else if self.trailing.is_none() {
            self.trailing = Some(self.value.len());
        }
        self.value.push(byte);
        State::Value
    }

    fn cut(&mut self) {
        if let Some(length) = self.trailing.take() {
            self.value.truncate(length);
        }
    }

    fn push(&mut self) {
        let mut name = std::mem::take(&mut self.name);
        while name.last().is_some_and(|byte| is_space(*byte)) {
            name.pop();
        }
        let value = std::mem::take(&mut self.value);
        self.parsed.assignments.push(Assignment { line: self.line, name, value });
    }

    /// Ends the file: an assignment counts without a line end, and even inside a quote.
    fn end(&mut self) {
        match self.state {
            State::BeforeName | State::Comment | State::EscapeInComment => {}
            State::Name => self.parsed.oddities.push((self.line, Oddity::NoAssignment)),
            State::Value => {
                self.cut();
                self.push();
            }
            State::BeforeValue | State::Escape => self.push(),
            State::SingleQuoted | State::DoubleQuoted | State::EscapeInDouble => {
                self.parsed.oddities.push((self.line, Oddity::OpenQuote));
                self.push();
            }
        }
    }
}
