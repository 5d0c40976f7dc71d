//! Configuration files as text with positions.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::file::{MOST_BYTES, no_file, refuse_writable_by_all, saved_away, unreadable};
use super::keys::{Half, KEYS, Key};
use super::notes::{Notes, Place, shown};
use super::section::Section;
use crate::error::{Error, Result};
use crate::system::fs::read_limited;

/// One file, read as text.
pub(super) struct Source {
    path: PathBuf,
    half: Half,
    /// Where keys of the other half belong.
    other: PathBuf,
    text: String,
}

impl Source {
    /// Reads a file; `None` where there is none.
    pub(super) fn read(path: &Path, half: Half, other: &Path) -> Result<Option<Self>> {
        let data = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return dangling(path),
            Err(error) => return Err(unreadable(path, error)),
            Ok(data) => data,
        };
        refuse_other_kinds(path, &data)?;
        if data.len() > MOST_BYTES {
            return Err(too_large(path));
        }
        let bytes = read_limited(path, MOST_BYTES).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => too_large(path),
            _ => unreadable(path, error),
        })?;
        let text = as_text(path, bytes)?;
        Ok(Some(Self { path: path.to_owned(), half, other: other.to_owned(), text }))
    }

    /// Parses the file; what is not TOML at all is noted as an error.
    pub(super) fn parse(&self, notes: &mut Notes) -> Option<Section<'_>> {
        match DeTable::parse(&self.text) {
            Ok(table) => Some(Section::top(self, table.into_inner())),
            Err(error) => {
                self.note_syntax(&error, notes);
                None
            }
        }
    }

    fn note_syntax(&self, error: &toml::de::Error, notes: &mut Notes) {
        let span = error.span().unwrap_or(0..0);
        let at = self.place(span.start);
        let reason = error.message().lines().next().unwrap_or("unknown reason");
        let reason = reason.split(", expected").next().unwrap_or(reason);
        if reason == "duplicate key" {
            let key = self.text.get(span).unwrap_or_default();
            let message = format!("key {} is set a second time", shown(key));
            return notes.problem(&at, message, "remove this line or the earlier one");
        }
        let message = format!("this is not TOML: {reason}");
        match self.line(span.start).and_then(|line| from_shell(self.half, line)) {
            Some(fix) => notes.write_instead(&at, message, &fix),
            None => {
                let fix = "write `key = value` with text in double quotes, as in upgrade.conf(5)";
                notes.problem(&at, message, fix);
            }
        }
    }

    /// Returns the line that holds a byte of the text.
    fn line(&self, offset: usize) -> Option<&str> {
        let start = self.text.get(..offset)?.rfind('\n').map_or(0, |at| at + 1);
        self.text.get(start..)?.lines().next()
    }

    /// Returns which of the two files this is.
    pub(super) fn half(&self) -> Half {
        self.half
    }

    /// Returns the file that keys of the other half belong into.
    pub(super) fn other(&self) -> &Path {
        &self.other
    }

    /// Returns the place of a byte of the text.
    pub(super) fn place(&self, offset: usize) -> Place {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        Place::new(&self.path, 1 + before.iter().filter(|byte| **byte == b'\n').count())
    }
}

/// Rewrites an assignment of a shell, `BACKUP_DIR=/srv`, where the key is known and no address.
fn from_shell(half: Half, line: &str) -> Option<String> {
    let (key, value) = line.split_once('=')?;
    let (key, value) = (key.trim().to_lowercase(), value.trim().trim_matches('\''));
    let plain = !value.is_empty() && !value.contains(['"', '\'', '\\', '`', '{', '[']);
    let top = |known: &&Key| known.half == half && known.section.is_empty() && known.name == key;
    KEYS.iter().find(top).filter(|_| plain)?;
    Some(format!("{key} = \"{value}\""))
}

/// A link to nowhere is a mistake, not an absent file: the operator believes that it is read.
fn dangling(path: &Path) -> Result<Option<Source>> {
    if fs::symlink_metadata(path).is_err() {
        return Ok(None);
    }
    Err(Error::config(format!("{} is a symbolic link to nothing", path.display()))
        .state("nothing was changed")
        .hint(format!("Run `rm {}`, or make the file that it points to.", path.display())))
}

fn refuse_other_kinds(path: &Path, data: &fs::Metadata) -> Result<()> {
    let kind = data.file_type();
    if kind.is_dir() {
        return Err(no_file(path, "a directory, not a file"));
    }
    // A pipe would keep us waiting for a writer. /dev/null is a way to say "all defaults".
    if !kind.is_file() && !kind.is_char_device() {
        return Err(no_file(path, "not a regular file"));
    }
    if kind.is_file() { refuse_writable_by_all(path, data, "o-w") } else { Ok(()) }
}

fn too_large(path: &Path) -> Error {
    saved_away(path, format!("{} is larger than 1 MiB and no configuration", path.display()))
}

fn as_text(path: &Path, bytes: Vec<u8>) -> Result<String> {
    let refuse = |bytes: &[u8], offset: usize, what: &str| {
        let line = 1 + bytes[..offset].iter().filter(|byte| **byte == b'\n').count();
        Error::config(format!("{}:{line}: this line has {what}", path.display()))
            .state("nothing was changed")
            .hint(format!("In {}, line {line}, write UTF-8 text.", path.display()))
    };
    if let Some(offset) = bytes.iter().position(|byte| *byte == 0) {
        return Err(refuse(&bytes, offset, "a NUL byte"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        refuse(error.as_bytes(), offset, "a byte that is not UTF-8")
    })
}
