//! In what form archives lie in a restore point.

use serde::{Deserialize, Serialize};

/// How the archives of a restore point are encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encryption {
    /// Format of the encrypted files.
    pub format: EncryptionFormat,
    /// Public keys; the secret half of any of them opens the restore point.
    pub recipients: Vec<String>,
}

/// A format of encrypted files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EncryptionFormat {
    /// age-encryption.org/v1.
    Age,
}

/// What an archive is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArchiveKind {
    /// A dump of a database on a server.
    #[default]
    Dump,
    /// A copy of a database file.
    File,
}

impl ArchiveKind {
    /// Manifests of dumps are written as programs expect them that know nothing else.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
    pub(super) fn is_dump(&self) -> bool {
        *self == Self::Dump
    }
}
