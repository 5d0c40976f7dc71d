//! Identities: the secret half of a key. Read from a file that nobody else can read, never shown.

use std::fmt;
use std::path::Path;

use super::Recipient;
use crate::error::{Error, Result};
use crate::system::fs;

/// The most bytes of an identity file.
const LIMIT: u64 = 64 << 10;

/// Secret keys; `Debug` tells how many.
#[derive(Clone)]
pub struct Identities {
    pub(super) keys: Vec<age::x25519::Identity>,
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} identities", self.keys.len())
    }
}

impl Identities {
    /// Makes a key that lives in this process only.
    pub fn generate() -> Self {
        Self { keys: vec![age::x25519::Identity::generate()] }
    }

    /// Reads a file as `age-keygen` writes it; a link, or a file that others may read, is refused.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_private(path, "the identity file", LIMIT)?;
        let mut keys = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            keys.push(line.parse().map_err(|_| {
                let message = format!("{}:{}: {}", path.display(), at + 1, fault(line));
                refused(message).hint("Name the file that `age-keygen` wrote.")
            })?);
        }
        if keys.is_empty() {
            let message = format!("{} holds no identity", path.display());
            return Err(refused(message).hint("Name the file that `age-keygen` wrote."));
        }
        Ok(Self { keys })
    }

    /// Returns the public halves.
    pub fn recipients(&self) -> Vec<Recipient> {
        self.keys.iter().map(|key| Recipient::of(key.to_public())).collect()
    }

    /// Returns the first of these recipients, as text, that one of the keys belongs to.
    pub fn first_of<'r>(&self, recipients: impl IntoIterator<Item = &'r str>) -> Option<&'r str> {
        let own = self.recipients();
        recipients.into_iter().find(|text| own.iter().any(|own| own.as_str() == *text))
    }

    /// Returns these and other keys together.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.keys.extend(other.keys.iter().cloned());
        self
    }
}

fn refused(message: String) -> Error {
    Error::config(message).state("nothing was changed")
}

/// Says what a line is instead of an identity, without showing it.
fn fault(line: &str) -> &'static str {
    if line.starts_with("age-encryption.org/") || line.starts_with("-----BEGIN AGE") {
        "the identity file is encrypted itself, with a passphrase that nobody could be asked for; \
         decrypt it with `age -d` first"
    } else if line.starts_with("-----BEGIN") {
        "the line begins an SSH or PEM key, which is not supported"
    } else if line.starts_with("age1") {
        "the line is a recipient, the public half; the identity is the secret one"
    } else if line.to_ascii_uppercase().starts_with("AGE-PLUGIN-") {
        "the line is an identity of a plug-in, which is not supported"
    } else {
        "the line is not an identity"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity");
        fs::replace(&path, text.as_bytes(), mode).unwrap();
        (dir, path)
    }

    fn secret() -> String {
        let text = age::x25519::Identity::generate().to_string();
        age::secrecy::ExposeSecret::expose_secret(&text).to_owned()
    }

    #[test]
    fn an_identity_file_is_read_as_age_keygen_writes_it() {
        let secret = secret();
        let (_dir, path) =
            written(&format!("# created: today\n# public key: x\n{secret}\n"), 0o400);
        let found = Identities::read(&path).unwrap();
        let public = found.recipients().remove(0);
        assert_eq!(found.first_of(["age1other", public.as_str()]), Some(public.as_str()));
        assert_eq!(found.first_of(["age1other"]), None);
        assert_eq!(format!("{found:?}"), "1 identities");
    }

    #[test]
    fn what_others_could_read_is_refused() {
        for mode in [0o640, 0o604, 0o620] {
            let (_dir, path) = written(&secret(), mode);
            let error = Identities::read(&path).unwrap_err();
            assert!(error.message().contains("other users"), "{mode:o}: {error:?}");
        }
        let (dir, path) = written(&secret(), 0o600);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(Identities::read(&link).is_err());
        assert!(Identities::read(dir.path()).is_err());
    }

    #[test]
    fn what_is_no_identity_is_told_by_its_line_and_not_shown() {
        for text in ["age1abc", "AGE-SECRET-KEY-1CUT", "-----BEGIN OPENSSH PRIVATE KEY-----", ""] {
            let (_dir, path) = written(&format!("# a\n{text}\n"), 0o600);
            let error = Identities::read(&path).unwrap_err();
            let said = format!("{error:?}");
            assert!(text.is_empty() || said.contains("identity:2: the line"), "{said}");
            assert!(!said.contains("KEY-1CUT") && !said.contains("OPENSSH"), "{said}");
        }
    }
}
