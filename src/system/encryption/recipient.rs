//! Recipients: the public half of a key, in the words of its owner's `age-keygen`.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
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
    let cannot = |error: io::Error| {
        refused(Error::config(format!("cannot read the recipients in {}", path.display())))
            .source(error)
            .hint(format!("Look at `ls -l {}`.", path.display()))
    };
    let file = fs::open_at_once(path).map_err(cannot)?;
    let data = file.metadata().map_err(cannot)?;
    if !data.is_file() {
        return Err(cannot(io::Error::other("it is not a file")));
    }
    let own = rustix::process::geteuid().as_raw();
    if data.mode() & 0o022 != 0 || (data.uid() != own && data.uid() != 0) {
        // Whoever adds a line can read every later restore point.
        let shown = path.display();
        return Err(refused(Error::config(format!(
            "other users can change the recipients in {shown}"
        )))
        .detail(format!("owner {}, mode {:04o}", data.uid(), data.mode() & 0o7777))
        .hint(format!(
            "Look at its lines, then run `chown {own} {shown} && chmod 0644 {shown}`."
        )));
    }
    let bytes = fs::read_bounded(file, LIMIT).map_err(cannot)?;
    let text = String::from_utf8(bytes).map_err(|_| cannot(io::Error::other("it is not UTF-8")))?;
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
    fn a_file_of_recipients_that_others_may_change_adds_nobody() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recipients");
        let key = Identities::generate().recipients().remove(0);
        fs::replace(&path, format!("{key}\n").as_bytes(), 0o644).unwrap();
        assert_eq!(recipients_of(&path).unwrap().len(), 1);
        for mode in [0o664, 0o646, 0o666] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let told = recipients_of(&path).unwrap_err();
            assert!(told.message().contains("other users can change"), "{mode:o}: {told:?}");
        }
    }

    /// Nobody writes into it: whoever opens it as a file waits for ever.
    #[test]
    fn a_pipe_in_the_place_of_a_file_of_keys_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).unwrap();
        assert!(recipients_of(&path).unwrap_err().message().contains("cannot read the recipients"));
        assert!(Identities::read(&path).unwrap_err().message().contains("is not a file"));
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
