//! Connection strings as libpq reads them: URIs and `keyword = value` lists.
//!
//! The text is never repeated in an error, only the position is: a password with a character that
//! should have been escaped turns up anywhere, as a keyword, a port or a host name.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

use super::keywords;

/// Values by keyword, as one string gives them.
pub(super) type Values = BTreeMap<&'static str, String>;

/// Reads a connection string of either form; of a keyword that stands twice the last one counts.
pub(super) fn parse(text: &str) -> Result<Values> {
    let parsed = match uri_rest(text) {
        Some(start) => Uri { text, at: start, values: Values::new() }.parse(),
        None => parse_keywords(text),
    };
    parsed.map_err(|fault| {
        Error::config(format!("the connection string is not understood: {}", fault.0))
    })
}

/// What is wrong, in words that hold nothing of the string itself.
struct Fault(String);

type Parsed<T> = std::result::Result<T, Fault>;

/// Makes a fault at a byte of the text, told as a character.
fn fault(text: &str, byte: usize, what: &str) -> Fault {
    let character = 1 + text.char_indices().take_while(|(at, _)| *at < byte).count();
    Fault(format!("{what} at character {character}"))
}

fn uri_rest(text: &str) -> Option<usize> {
    ["postgresql://", "postgres://"].iter().find(|p| text.starts_with(**p)).map(|p| p.len())
}

/// Stores a value; the two legacy spellings are translated as libpq does.
fn store(values: &mut Values, keyword: &str, value: String) -> Parsed<()> {
    if keyword == "requiressl" {
        let mode = if value.starts_with('1') { "require" } else { "prefer" };
        values.insert("sslmode", mode.into());
        return Ok(());
    }
    let Some(keyword) = keywords::known(keyword) else {
        return Err(Fault("a keyword is unknown".into()));
    };
    values.insert(keyword, value);
    Ok(())
}

/// White space of the C locale, which is what libpq skips.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn parse_keywords(text: &str) -> Parsed<Values> {
    let bytes = text.as_bytes();
    let mut values = Values::new();
    let mut at = 0;
    let skip = |mut at: usize| {
        while bytes.get(at).copied().is_some_and(is_space) {
            at += 1;
        }
        at
    };
    loop {
        at = skip(at);
        if at >= bytes.len() {
            return Ok(values);
        }
        let start = at;
        while bytes.get(at).is_some_and(|byte| *byte != b'=' && !is_space(*byte)) {
            at += 1;
        }
        let keyword = &text[start..at];
        at = skip(at);
        if bytes.get(at) != Some(&b'=') {
            return Err(fault(text, start, "= is missing after the word"));
        }
        at = skip(at + 1);
        let value;
        (value, at) =
            if bytes.get(at) == Some(&b'\'') { quoted(text, at)? } else { plain(text, at) };
        store(&mut values, keyword, value).map_err(|Fault(what)| fault(text, start, &what))?;
    }
}

/// Reads a value up to white space; a backslash takes the next character as it is.
fn plain(text: &str, start: usize) -> (String, usize) {
    let mut value = String::new();
    let mut chars = text[start..].char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => value.extend(chars.next().map(|(_, next)| next)),
            c if c.is_ascii() && is_space(c as u8) => return (value, start + at),
            c => value.push(c),
        }
    }
    (value, text.len())
}

/// Reads a value between quotes; `start` is at the opening one.
fn quoted(text: &str, start: usize) -> Parsed<(String, usize)> {
    let mut value = String::new();
    let mut chars = text[start..].char_indices().skip(1);
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => value.extend(chars.next().map(|(_, next)| next)),
            '\'' => return Ok((value, start + at + 1)),
            c => value.push(c),
        }
    }
    Err(fault(text, start, "there is no closing quote for the one"))
}

/// A URI while it is read from left to right, after libpq's `conninfo_uri_parse_options`.
struct Uri<'a> {
    text: &'a str,
    at: usize,
    values: Values,
}

impl<'a> Uri<'a> {
    fn parse(mut self) -> Parsed<Values> {
        let credentials = self.credentials()?;
        self.hosts()?;
        if self.peek() == Some(b'/') {
            self.at += 1;
            let dbname = self.until(b"?");
            // An `@` here, with none before the slash, is a password with an unescaped slash: libpq
            // would take the user for the host and the password for port and database, and the
            // first message about them would show it.
            if !credentials && dbname.contains('@') {
                return Err(fault(
                    self.text,
                    self.at,
                    "a / in a password must be written %2F, an @ in a name %40; one is missing",
                ));
            }
            self.set("dbname", dbname)?;
        }
        if self.peek() == Some(b'?') {
            self.at += 1;
            self.query()?;
        }
        Ok(self.values)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Takes everything before the first of these bytes, or the whole rest.
    fn until(&mut self, ends: &[u8]) -> &'a str {
        let rest = &self.text[self.at..];
        let length = rest.bytes().position(|byte| ends.contains(&byte)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// Decodes and stores a value that is not empty.
    fn set(&mut self, keyword: &'static str, raw: &str) -> Parsed<()> {
        if !raw.is_empty() {
            let value = decode(raw)?;
            store(&mut self.values, keyword, value)?;
        }
        Ok(())
    }

    /// Reads `user:password@`, when an `@` comes before the first slash.
    fn credentials(&mut self) -> Parsed<bool> {
        let start = self.at;
        self.until(b"@/");
        if self.peek() != Some(b'@') {
            self.at = start;
            return Ok(false);
        }
        self.at = start;
        let user = self.until(b":@");
        self.set("user", user)?;
        if self.peek() == Some(b':') {
            self.at += 1;
            let password = self.until(b"@");
            self.set("password", password)?;
        }
        self.at += 1;
        Ok(true)
    }

    /// Reads `host:port,[v6]:port,…`.
    fn hosts(&mut self) -> Parsed<()> {
        let (mut hosts, mut ports) = (String::new(), String::new());
        loop {
            if self.peek() == Some(b'[') {
                self.at += 1;
                let host = self.until(b"]");
                if self.peek().is_none() || host.is_empty() {
                    return Err(fault(self.text, self.at, "the IPv6 address is not complete"));
                }
                self.at += 1;
                if !matches!(self.peek(), None | Some(b':' | b'/' | b'?' | b',')) {
                    return Err(fault(self.text, self.at, ": or / is missing"));
                }
                hosts.push_str(host);
            } else {
                let host = self.until(b":/?,");
                if host.contains('@') {
                    return Err(fault(
                        self.text,
                        self.at - host.len(),
                        "an @ in a password must be written %40; there are two",
                    ));
                }
                hosts.push_str(host);
            }
            if self.peek() == Some(b':') {
                self.at += 1;
                ports.push_str(self.until(b"/?,"));
            }
            if self.peek() != Some(b',') {
                break;
            }
            self.at += 1;
            hosts.push(',');
            ports.push(',');
        }
        self.set("host", &hosts)?;
        self.set("port", &ports)
    }

    /// Reads `keyword=value&…`.
    fn query(&mut self) -> Parsed<()> {
        while self.peek().is_some() {
            let start = self.at;
            let pair = self.until(b"&");
            self.at += 1;
            let Some((keyword, value)) = pair.split_once('=') else {
                return Err(fault(self.text, start, "= is missing in the parameter"));
            };
            if value.contains('=') {
                return Err(fault(self.text, start, "there are two = in the parameter"));
            }
            let keyword = decode(keyword)?;
            let value = decode(value)?;
            // As the JDBC driver spells it.
            let stored = if keyword == "ssl" && value == "true" {
                store(&mut self.values, "sslmode", "require".into())
            } else {
                store(&mut self.values, &keyword, value)
            };
            stored.map_err(|Fault(what)| fault(self.text, start, &what))?;
            self.at = self.at.min(self.text.len());
        }
        Ok(())
    }
}

/// Undoes percent-encoding; a plus sign is itself, as in libpq.
fn decode(raw: &str) -> Parsed<String> {
    let bytes = raw.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte != b'%' {
            decoded.push(byte);
            at += 1;
            continue;
        }
        let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (digit(at + 1), digit(at + 2)) {
            (Some(0), Some(0)) => return Err(Fault("%00 is not allowed".into())),
            (Some(high), Some(low)) => decoded.push(u8::try_from(high * 16 + low).unwrap_or(0)),
            (None, _) | (_, None) => {
                return Err(Fault(
                    "a % is not followed by two hexadecimal digits (a literal one is %25)".into(),
                ));
            }
        }
        at += 3;
    }
    String::from_utf8(decoded).map_err(|_| Fault("a value is not UTF-8".into()))
}

#[cfg(test)]
#[path = "conninfo_tests.rs"]
mod tests;
