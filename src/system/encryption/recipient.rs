//! Recipients: the public half of a key, in the words of its owner's `age-keygen`.

use std::fmt;
use std::path::Path;

use crate::error::{Error, Result};
use crate::system::fs;

/// The most bytes of a file with recipients: some thousand lines.
const LIMIT: u64 = 256 << 10;

/// How the text of a secret key begins, in either case.
const SECRET: &str = "age-secret-key-";

/// A public key that data is encrypted to.
#[derive(Clone)]
pub struct Recipient {
    text: String,
    pub(super) key: age::x25519::Recipient,
}

impl Recipient {
    /// Reads `age1…`, or says in words why it is no recipient; a text that is none is never shown,
    /// because it may be the secret half.
    pub fn parse(text: &str) -> std::result::Result<Self, &'static str> {
        let text = text.trim();
        if text.to_ascii_lowercase().starts_with(SECRET) {
            return Err(
                "is a secret identity, not a recipient: whoever could read this file has it; make \
                 a new one with `age-keygen`",
            );
        }
        if text.starts_with("ssh-") {
            return Err("is an SSH key, which is not supported: make a key with `age-keygen`");
        }
        match text.parse() {
            Ok(key) => Ok(Self { text: text.to_owned(), key }),
            Err(_) if text.starts_with("age1") => {
                Err("is not an X25519 recipient as `age-keygen` prints it, or was cut short")
            }
            Err(_) => Err("is not a recipient: `age-keygen` prints one, it begins with age1"),
        }
    }

    /// Returns it as it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn of(key: age::x25519::Recipient) -> Self {
        Self { text: key.to_string(), key }
    }
}

impl PartialEq for Recipient {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Recipient {}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Reads a file with one recipient per line; empty lines and those that begin with `#` are skipped.
pub fn recipients_of(path: &Path) -> Result<Vec<Recipient>> {
    let refused = |error: Error| error.state("nothing was changed");
    let text = fs::read_text(path, LIMIT).map_err(|error| {
        refused(Error::config(format!("cannot read the recipients in {}", path.display())))
            .source(error)
            .hint(format!("Look at `ls -l {}`.", path.display()))
    })?;
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        found.push(Recipient::parse(line).map_err(|why| {
            let message = format!("{}:{}: the line {why}", path.display(), at + 1);
            refused(Error::config(message)).hint("Write one recipient (age1…) per line.")
        })?);
    }
    if found.is_empty() {
        // An empty file must not turn encryption off.
        let message = format!("{} names no recipient", path.display());
        return Err(refused(Error::config(message)).hint("Write one recipient (age1…) per line."));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::encryption::Identities;

    #[test]
    fn what_is_no_recipient_is_told_without_showing_it() {
        let secret = age::x25519::Identity::generate().to_string();
        let secret = age::secrecy::ExposeSecret::expose_secret(&secret).to_owned();
        for (text, part) in [
            (secret.as_str(), "secret identity"),
            (&secret.to_lowercase(), "secret identity"),
            ("ssh-ed25519 AAAA x", "SSH"),
            ("age1cutshort", "cut short"),
            ("", "is not a recipient"),
            ("/etc/passwd", "is not a recipient"),
        ] {
            let why = Recipient::parse(text).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
    }

    #[test]
    fn a_file_of_recipients_is_read_by_line_and_never_turns_encryption_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recipients");
        let key = Identities::generate().recipients().remove(0);
        let write = |text: &str| fs::replace(&path, text.as_bytes(), 0o644).unwrap();
        write(&format!("# ours\n\n  {key}\n"));
        assert_eq!(recipients_of(&path).unwrap(), std::slice::from_ref(&key));
        write("# none yet\n");
        assert!(recipients_of(&path).unwrap_err().message().contains("names no recipient"));
        write(&format!("{key}\nage1x\n"));
        assert!(recipients_of(&path).unwrap_err().message().contains("recipients:2: the line"));
    }
}
