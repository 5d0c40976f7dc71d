//! The file that makes a directory a restore point.

use std::fs::File;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use super::form::{ArchiveKind, Encryption, EncryptionFormat};
use crate::database::checksums::Checksums;
use crate::database::facts::{Identity, RowCount};
use crate::system::fs;
use crate::version::Version;

/// Name of the manifest: written last, removed first.
pub(super) const MANIFEST: &str = "manifest.json";

/// Name of the file with a SHA-256 per file, as `sha256sum --check` reads it.
pub(super) const SUMS: &str = "SHA256SUMS";

/// The newest manifest format that this program reads; dumps in clear are written in the first one.
const FORMAT: u32 = 3;

/// The manifest format of dumps in clear.
const OF_DUMPS: u32 = 1;

/// The manifest format of everything else that holds nothing but databases of servers.
const OF_SERVERS: u32 = 2;

/// The most bytes of a manifest; what grows with the database lies in files beside it.
pub(super) const LIMIT: u64 = 4 << 20;

/// Why a restore point was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Before the migrations of an upgrade.
    Upgrade,
    /// An operator asked for it.
    Manual,
    /// Before another restore point took the place of the present state.
    BeforeRestore,
    /// What a step of an upgrade left, of the databases that the step changed.
    AfterStep,
}

impl Reason {
    /// Returns the word that people read.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Upgrade => "upgrade",
            Self::Manual => "manual",
            Self::BeforeRestore => "before restore",
            Self::AfterStep => "after step",
        }
    }
}

/// What a restore point is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An archive per database; the only kind that is a copy on its own and counts as a good one.
    #[default]
    Dump,
    /// A clone of each database on its own server, until an archive has been made from it.
    Clone,
    /// What a command of the operator made, known to us by the identifier that it printed.
    External,
}

impl Kind {
    /// Returns the word of the configuration, the listing and the JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Dump => "dump",
            Self::Clone => "clone",
            Self::External => "external",
        }
    }
}

/// How far a restore point was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// The command that made it said so; nobody here can read it.
    Stated,
    /// It was written and synced, and nobody has read it since.
    Written,
    /// Definitions and row counts of a clone were compared with those of its original.
    Compared,
    /// Every byte was read back, the table of contents compared, every file hashed.
    ReadBack,
    /// It was loaded into a scratch database and compared as well.
    Restored,
}

impl Proof {
    /// Returns the words that people read.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stated => "stated by its command",
            Self::Written => "written",
            Self::Compared => "compared",
            Self::ReadBack => "read back",
            Self::Restored => "restored",
        }
    }
}

/// How the last attempt to load a restore point into scratch databases ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// When it began, RFC 3339.
    pub at: String,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Why the point could not be loaded, or what came out otherwise than it went in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// What was left out of the load, such as owners that the role may not act for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// The schema of a database when it was dumped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaNote {
    /// Newest migration that was applied.
    pub head: Option<String>,
    /// All migrations that were applied, in order.
    pub applied: Vec<String>,
}

/// What a restore point is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this file's form.
    pub format: u32,
    /// Name of the restore point and of its directory.
    pub id: String,
    /// Counts up with every restore point of the store; the order that no clock can change.
    pub sequence: u64,
    /// The application.
    pub app: String,
    /// Why it was made.
    pub reason: Reason,
    /// When the dump began, RFC 3339.
    pub created: String,
    /// How long dump and proof took, in milliseconds.
    pub duration_ms: u64,
    /// Version that ran when it was made.
    pub from_version: Option<Version>,
    /// Version that the upgrade leads to.
    pub to_version: Option<Version>,
    /// Host name of the machine that made it.
    pub host: String,
    /// Version of the program that made it.
    pub program: String,
    /// What it is made of.
    #[serde(default)]
    pub kind: Kind,
    /// What the command printed that made an external one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identifier: Option<String>,
    /// How far it was proven.
    pub proof: Proof,
    /// The last attempt to load it; none where nobody has tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
    /// When it was imported, RFC 3339; none where it was made here. Whoever wrote it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<String>,
    /// How the archives are encrypted; none where they are in clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// Sum of all files but this one, in bytes.
    pub bytes: u64,
    /// SHA-256 of the file with the SHA-256 of all others.
    pub sums_sha256: String,
    /// One archive per database.
    pub databases: Vec<Archive>,
}

/// The archive of one database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// Name of the database within the application, and of the archive's directory.
    pub name: String,
    /// What it was made of.
    #[serde(default, skip_serializing_if = "ArchiveKind::is_dump")]
    pub kind: ArchiveKind,
    /// Schema at that time.
    pub schema: SchemaNote,
    /// Which database it was.
    pub identity: Identity,
    /// Version of the server.
    pub server_version: String,
    /// Version of the client that wrote the archive; an older one may not read it.
    pub client_version: String,
    /// Compression and level.
    pub compression: String,
    /// Size of the database on the server's disk, in bytes.
    pub database_bytes: u64,
    /// Size of the archive, in bytes.
    pub archive_bytes: u64,
    /// Size of its rows before compression, in bytes, where it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plain_bytes: Option<u64>,
    /// Number of files in the archive.
    pub files: u64,
    /// Number of tables with data.
    pub tables: u64,
    /// Position in the server's write-ahead log, in bytes.
    pub wal_position: Option<u64>,
    /// Rows written in the database since its statistics began.
    pub rows_written: Option<u64>,
    /// By what that count is known again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counting: Option<String>,
    /// How long the dump alone took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dump_ms: Option<u64>,
    /// How long dump and proof took, in milliseconds.
    pub duration_ms: u64,
    /// Name on the server of the clone that this is, or that the archive was made from; it may be
    /// gone since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clone: Option<String>,
}

/// What lies beside an archive because it grows with the database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Rows per table, as `schema.table`.
    pub rows: Vec<(String, RowCount)>,
    /// A sum over them in their place, where they may not lie in clear and the file does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_sum: Option<String>,
    /// Checksums of small tables, as `schema.table`.
    #[serde(default)]
    pub checksums: Checksums,
    /// Extensions of the database.
    pub extensions: Vec<String>,
}

impl Manifest {
    /// Says how far the point was proven, and what the last attempt to load it showed where it failed.
    pub fn proof_told(&self) -> String {
        let word = self.proof.word();
        let Some(trial) = &self.trial else { return word.to_owned() };
        match &trial.failed {
            Some(why) => format!("{word}, and at {} not restored: {why}", trial.at),
            None if trial.left_out.is_empty() => format!("{word} at {}", trial.at),
            None => format!("{word} at {}, without {}", trial.at, trial.left_out.join("; ")),
        }
    }

    /// Returns the format that a manifest of this kind is written in; a program that knows no
    /// other kind than dumps in clear must not take it for one.
    pub(super) fn format_of(
        kind: Kind,
        encryption: Option<&Encryption>,
        databases: &[Archive],
    ) -> u32 {
        if databases.iter().any(|archive| archive.kind == ArchiveKind::File) {
            return FORMAT;
        }
        match (kind, encryption) {
            (Kind::Dump, None) => OF_DUMPS,
            (Kind::Dump, Some(_)) | (Kind::Clone | Kind::External, _) => OF_SERVERS,
        }
    }

    /// Returns the bytes that the restore point holds: of the databases where it is a clone, which
    /// lies on the server, of its files otherwise.
    pub fn held_bytes(&self) -> u64 {
        match self.kind {
            Kind::Dump | Kind::External => self.bytes,
            Kind::Clone => {
                let sizes = self.databases.iter().map(|archive| archive.database_bytes);
                sizes.fold(0, u64::saturating_add)
            }
        }
    }

    /// Returns the number of files of its archives.
    pub(super) fn files(&self) -> u64 {
        self.databases.iter().map(|archive| archive.files).fold(0, u64::saturating_add)
    }

    /// Returns the names on the server of the clones that belong to it.
    pub fn clones(&self) -> impl Iterator<Item = &str> {
        self.databases.iter().filter_map(|archive| archive.clone.as_deref())
    }

    /// Reads the manifest of the restore point of this name in a backup directory.
    pub(super) fn read_in(dir: &File, id: &str) -> Result<Self, Fault> {
        let opened = fs::open_file_in(dir, &Path::new(id).join(MANIFEST));
        let bytes = opened.and_then(|file| fs::read_bounded(file, LIMIT)).map_err(|error| {
            Fault::Damaged(match error.kind() {
                io::ErrorKind::NotFound => "no manifest".to_owned(),
                _ => format!("the manifest cannot be read: {error}"),
            })
        })?;
        Self::parse(&bytes, Some(id))
    }

    /// Reads the text of a manifest that shall belong to the restore point of this name.
    pub(super) fn parse(bytes: &[u8], id: Option<&str>) -> Result<Self, Fault> {
        let damaged = |why: String| Err(Fault::Damaged(why));
        if bytes.len() as u64 > LIMIT {
            return damaged(format!("the manifest is larger than {LIMIT} bytes"));
        }
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let at = error.valid_up_to();
                return damaged(format!("the manifest is not UTF-8 at byte {at}"));
            }
        };
        let mut manifest: Self = match serde_json::from_str(text) {
            Ok(manifest) => manifest,
            Err(error) => return Err(Fault::of(text, id, &error)),
        };
        if manifest.format > FORMAT {
            return Err(Fault::newer(manifest.format));
        }
        if Some(manifest.id.as_str()) != id {
            return damaged(format!("the manifest belongs to {:?}", manifest.id));
        }
        match manifest.databases.iter().find(|archive| !is_archive_name(&archive.name)) {
            Some(archive) => damaged(format!("the manifest names an archive {:?}", archive.name)),
            None => {
                // Room for four was made, of some hundred bytes each.
                manifest.databases.shrink_to_fit();
                Ok(manifest)
            }
        }
    }
}

/// Why a manifest is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is missing, cut short or changed.
    Damaged(String),
    /// It is whole, and says what this program does not know.
    NotUnderstood(String),
}

impl Fault {
    pub(super) fn told(self) -> String {
        match self {
            Self::Damaged(why) | Self::NotUnderstood(why) => why,
        }
    }

    fn newer(format: u32) -> Self {
        Self::NotUnderstood(format!("the manifest has format {format}, newer than {FORMAT}"))
    }

    /// A text that is whole JSON and carries the right name was written like that: by a program that
    /// knows more words than this one.
    fn of(text: &str, id: Option<&str>, error: &serde_json::Error) -> Self {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
            id: String,
        }
        match serde_json::from_str::<Head>(text) {
            Ok(head) if Some(head.id.as_str()) == id && head.format > FORMAT => {
                Self::newer(head.format)
            }
            Ok(head) if Some(head.id.as_str()) == id => {
                Self::NotUnderstood(format!("the manifest is not understood: {error}"))
            }
            Ok(_) | Err(_) => Self::Damaged(format!("the manifest is damaged: {error}")),
        }
    }
}

/// Reads the bytes of the manifest of a restore point.
pub(super) fn read_manifest(dir: &Path) -> io::Result<Vec<u8>> {
    read_whole(&dir.join(MANIFEST), LIMIT)
}

/// Reads a file of a restore point; a link at its place is an error.
pub(super) fn read_whole(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    fs::read_bounded(fs::open_file(path)?, limit)
}

/// Returns whether a name can be that of an archive: one visible path component in plain letters.
pub(super) fn is_archive_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 100
        && !name.starts_with('.')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}
