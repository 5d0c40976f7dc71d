//! A file that appears under its name when it is whole, or never.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};
use crate::outcome::Outcome;

use super::fs::sync_dir;

/// A private file (0600) under a temporary name beside its final one; removed unless it is published.
pub struct NewFile {
    file: tempfile::NamedTempFile,
    path: PathBuf,
}

impl NewFile {
    /// Begins a file for a name that nothing may have yet.
    pub fn beside(path: &Path) -> Result<Self> {
        if path.symlink_metadata().is_ok() {
            return Err(exists(path));
        }
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            Some(_) | None => Path::new("."),
        };
        let file = tempfile::Builder::new()
            .prefix(".partial-")
            .permissions(std::fs::Permissions::from_mode(0o600))
            .tempfile_in(parent)
            .context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Syncs it and gives it its name, which nothing may have taken meanwhile.
    pub fn publish(self) -> Result<()> {
        let attempt = || format!("cannot write {}", self.path.display());
        self.file.as_file().sync_all().context(attempt)?;
        let parent = self.file.path().parent().map(Path::to_owned).unwrap_or_default();
        match self.file.persist_noclobber(&self.path) {
            Ok(_) => {}
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(exists(&self.path));
            }
            Err(error) => return Err(error.error).context(attempt),
        }
        sync_dir(&parent).context(attempt)
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn exists(path: &Path) -> Error {
    Error::new(Outcome::Refused, format!("{} is there already", path.display()))
        .state("nothing was changed")
        .hint("Name a file that is not there yet.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_name_only_when_it_is_published() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("point.tar");
        let mut file = NewFile::beside(&path).unwrap();
        file.write_all(b"half").unwrap();
        assert!(!path.exists());
        drop(file);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let mut file = NewFile::beside(&path).unwrap();
        file.write_all(b"whole").unwrap();
        file.publish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_has_the_name_already_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("point.tar");
        let file = NewFile::beside(&path).unwrap();
        std::fs::write(&path, "mine").unwrap();
        assert!(NewFile::beside(&path).is_err());
        assert!(file.publish().is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
