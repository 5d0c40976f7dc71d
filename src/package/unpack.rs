//! The few files of a package that are wanted, written below a private directory.
//!
//! Only regular files are ever made, each new and under a name that was checked. A link where a file
//! is wanted, or on the way to it, is refused: what lies behind it is not in the package.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::entry::{Entry, Kind};
use super::fault::Fault;
use crate::error::Error;
use crate::system::fs;

/// What an empty file or a directory takes at least, in bytes.
const BLOCK: u64 = 4096;

/// How much a package may hold; beyond it is what is made to fill disk, memory or time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes that are unpacked at most, wanted or not.
    pub scanned: u64,
    /// Bytes that are written at most, each file and directory counted as a block at least.
    pub written: u64,
    /// Entries that are looked at at most.
    pub entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const GIB: u64 = 1024 * 1024 * 1024;
        Self { scanned: 16 * GIB, written: GIB / 2, entries: 1_000_000 }
    }
}

/// What is wanted out of a package; paths are relative to the root.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Files.
    pub files: Vec<PathBuf>,
    /// Directories with all that is below them.
    pub dirs: Vec<PathBuf>,
}

impl Wanted {
    fn has(&self, path: &Path) -> bool {
        self.files.iter().any(|file| path == file)
            || self.dirs.iter().any(|dir| path.starts_with(dir))
    }

    /// Whether a link at this path would stand between us and what is wanted.
    fn passes(&self, path: &Path) -> bool {
        self.files.iter().chain(&self.dirs).any(|wanted| wanted.starts_with(path))
    }
}

/// Takes what is wanted out of the entries that it is shown.
pub(super) struct Unpacker<'a> {
    wanted: &'a Wanted,
    into: &'a Path,
    limits: Limits,
    entries: u64,
    written: u64,
    /// Applications whose packager's half the package holds.
    pub(super) apps: Vec<String>,
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(wanted: &'a Wanted, into: &'a Path, limits: Limits) -> Self {
        Self { wanted, into, limits, entries: 0, written: 0, apps: Vec::new() }
    }

    /// Looks at one entry, and writes it where it is wanted.
    pub(super) fn visit(&mut self, entry: &mut Entry<'_>) -> Result<(), Fault> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            let most = self.limits.entries;
            return Err(Fault::Hostile(format!("it has more than {most} entries")));
        }
        self.note_app(&entry.path);
        match entry.kind {
            Kind::File if self.wanted.has(&entry.path) => self.write(entry),
            // A directory that is wanted may be empty; that is then told as such.
            Kind::Directory if self.wanted.dirs.contains(&entry.path) => {
                fs::make_dir(&self.into.join(&entry.path), 0o700).map_err(Fault::Machine)
            }
            Kind::File | Kind::Directory => Ok(()),
            Kind::Other(what)
                if self.wanted.has(&entry.path) || self.wanted.passes(&entry.path) =>
            {
                Err(Fault::Hostile(format!("/{} is {what}", shown(&entry.path))))
            }
            Kind::Other(_) => Ok(()),
        }
    }

    fn write(&mut self, entry: &mut Entry<'_>) -> Result<(), Fault> {
        let shown = shown(&entry.path);
        // Files without content and directories take room as well.
        let parts = entry.path.components().count() as u64;
        self.written = self.written.saturating_add(entry.size).saturating_add(parts * BLOCK);
        if self.written > self.limits.written {
            let most = self.limits.written;
            return Err(Fault::Hostile(format!("with /{shown} more than {most} bytes are wanted")));
        }
        let place = self.into.join(&entry.path);
        fs::make_dir(place.parent().unwrap_or(self.into), 0o700).map_err(Fault::Machine)?;
        let mut file = fs::create_new(&place, 0o600).map_err(|error| match error.kind() {
            // Which of the two would win depends on who unpacks it.
            io::ErrorKind::AlreadyExists => Fault::Hostile(format!("it holds /{shown} twice")),
            _ => Fault::Machine(cannot_write(&place, error)),
        })?;
        let mut left = entry.size;
        let mut buffer = vec![0; 64 * 1024];
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(buffer.len()).min(buffer.len());
            let count = entry.data.read(&mut buffer[..most])?;
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            file.write_all(&buffer[..count])
                .map_err(|error| Fault::Machine(cannot_write(&place, error)))?;
            left -= count as u64;
        }
        Ok(())
    }

    fn note_app(&mut self, path: &Path) {
        let inside = path.strip_prefix("usr/share").ok();
        let app = inside.and_then(|inside| inside.to_str()?.strip_suffix("/upgrade.conf"));
        // The name becomes part of a command that is printed.
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
        if let Some(app) = app.filter(|app| app.chars().all(plain) && self.apps.len() < 8) {
            self.apps.push(app.to_owned());
        }
    }
}

/// Returns a path without what would move the cursor of the terminal that shows it.
fn shown(path: &Path) -> String {
    path.display().to_string().replace(char::is_control, "?")
}

fn cannot_write(place: &Path, error: io::Error) -> Error {
    Error::failed(format!("cannot write {}", place.display()))
        .source(error)
        .hint("Free some space there, or name another directory in TMPDIR.")
}
