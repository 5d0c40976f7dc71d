//! Configuration files as text with positions.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::keys::Half;
use super::notes::{Notes, Place};
use super::section::Section;
use crate::error::{Error, Result};
use crate::system::fs::read_limited;

/// The most bytes that a configuration file may have.
const MOST_BYTES: u64 = 1 << 20;

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
                let at = self.place(error.span().map_or(0, |span| span.start));
                let reason = error.message().replace('\n', ", ");
                let fix = "write `key = value` with text in double quotes, as in upgrade.conf(5)";
                notes.problem(&at, format!("this is not TOML: {reason}"), fix);
                None
            }
        }
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
        return Err(Error::config(format!("{} is a directory, not a file", path.display()))
            .state("nothing was changed")
            .hint(format!("Run `mv {0} {0}.saved`, then write the file.", path.display())));
    }
    // A pipe would keep us waiting for a writer. /dev/null is a way to say "all defaults".
    if !kind.is_file() && !kind.is_char_device() {
        return Err(Error::config(format!("{} is not a regular file", path.display()))
            .state("nothing was changed")
            .hint(format!("Run `mv {0} {0}.saved`, then write the file.", path.display())));
    }
    // Commands in these files run as root, so that who may write here is root.
    if kind.is_file() && data.mode() & 0o002 != 0 {
        return Err(Error::config(format!("{} can be changed by every user", path.display()))
            .detail(format!("mode {:04o}", data.mode() & 0o7777))
            .state("nothing was changed")
            .hint(format!("Look through the file, then run `chmod o-w {}`.", path.display())));
    }
    Ok(())
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => "Run the same command as root.".to_owned(),
        _ => format!("Look at `ls -ld {}`.", path.display()),
    };
    Error::config(format!("cannot read {}", path.display()))
        .source(error)
        .state("nothing was changed")
        .hint(hint)
}

fn too_large(path: &Path) -> Error {
    Error::config(format!("{} is larger than 1 MiB and no configuration", path.display()))
        .state("nothing was changed")
        .hint(format!("Run `mv {0} {0}.saved`, then write the file.", path.display()))
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
