//! To whom restore points are encrypted, and where the way back to their content lies.

use std::path::{Path, PathBuf};

use super::notes::Notes;
use super::section::{Section, Value, last};
use super::values::path;
use crate::system::encryption::Recipient;

/// Encryption of restore points; without a recipient they are kept in clear.
#[derive(Clone, Debug, Default)]
pub struct EncryptionSpec {
    /// Public keys, each of which can open every restore point.
    pub recipients: Vec<Recipient>,
    /// File with more of them, one per line.
    pub recipients_file: Option<PathBuf>,
    /// File with a secret key, where this machine may open its own restore points.
    pub identity_file: Option<PathBuf>,
}

impl EncryptionSpec {
    /// Takes the keys of encryption out of a file, over what earlier files said.
    pub(super) fn read(&mut self, top: &mut Section<'_>, notes: &mut Notes) {
        if let Some(value) = top.take("backup_recipients")
            && let Some(found) = recipients(value, notes)
        {
            self.recipients = found;
        }
        for (key, slot, example) in [
            ("backup_recipients_file", &mut self.recipients_file, "/etc/openwatch/recipients"),
            ("backup_identity_file", &mut self.identity_file, "/root/backup-identity.txt"),
        ] {
            let Some(value) = top.take(key) else { continue };
            // Empty text takes back what an earlier file said.
            if value.as_text() == Some("") {
                *slot = None;
            } else if let Some(found) = path(value, Path::new(example), notes) {
                *slot = Some(found);
            }
        }
    }
}

fn recipients(value: Value<'_>, notes: &mut Notes) -> Option<Vec<Recipient>> {
    const EXAMPLE: &str = "[\"age1…\"]";
    let mut found = Vec::new();
    for entry in value.list(EXAMPLE, notes)? {
        let (name, place) = (entry.name.clone(), entry.place.clone());
        let text = entry.text(EXAMPLE, notes)?;
        match Recipient::parse(&text) {
            Ok(recipient) => found.push(recipient),
            Err(why) => {
                let fix = format!("write recipients as in `{} = {EXAMPLE}`", last(&name));
                notes.problem(&place, format!("{name} {why}"), &fix);
                return None;
            }
        }
    }
    Some(found)
}
