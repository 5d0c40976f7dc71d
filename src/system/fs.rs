//! Files and directories: stated modes, whole replacements, synced to disk, links not followed.

mod links;
mod owned;
mod private;
mod public;
mod trust;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, OFlags, fadvise};

pub use rustix::fs::FileType;

pub use self::links::{give, replace_link, sync_file_system};
pub use self::owned::{FileFacts, keep_under, open_at_once, open_regular, replace_owned};
pub use self::private::read_private;
pub use self::public::make_public_dir;
pub use self::trust::{check_own_dir, check_trusted_dir, check_trusted_way};

use crate::error::{Context, Result};

/// Makes a directory and its parents with this mode; an existing directory is left as it is.
pub fn make_dir(path: &Path, mode: u32) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .context(|| format!("cannot create the directory {}", path.display()))
}

/// Makes one new directory with exactly this mode; it must not exist yet.
pub fn make_new_dir(path: &Path, mode: u32) -> Result<()> {
    DirBuilder::new()
        .mode(mode)
        .create(path)
        .context(|| format!("cannot create the directory {}", path.display()))
}

/// Opens a directory itself, not what a link at its place points to.
pub fn open_dir(path: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// Opens a file for reading; a symbolic link at its place is an error, and no pipe is waited for.
pub fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// Opens a file as [`open_file`] does, from a directory that is open: a long way to it is walked once for
/// many files, and nobody exchanges what lies above them meanwhile.
///
/// Where that is ours to say, the time of this access is not noted: a look at ten thousand files would
/// write ten thousand inodes.
pub fn open_file_in(dir: &File, path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let open = |flags| rustix::fs::openat(dir, path, flags, rustix::fs::Mode::empty());
    let opened = match open(flags | OFlags::NOATIME) {
        Err(rustix::io::Errno::PERM) => open(flags),
        opened => opened,
    };
    Ok(opened?.into())
}

/// Returns whether a name is taken, by whatever, seen from a directory that is open.
pub fn is_taken_in(dir: &File, path: &Path) -> bool {
    rustix::fs::statat(dir, path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// Returns whether something is there that is of this kind, seen from a directory that is open.
pub fn is_in(dir: &File, path: &Path, kind: FileType) -> bool {
    let data = rustix::fs::statat(dir, path, rustix::fs::AtFlags::empty());
    data.is_ok_and(|data| FileType::from_raw_mode(data.st_mode) == kind)
}

/// Makes a private directory (0700) below `TMPDIR` or `/tmp`; it is removed with the value.
pub fn private_temp_dir(prefix: &str) -> Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix(prefix)
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir()
        .context(|| format!("cannot make a directory in {}", std::env::temp_dir().display()))
}

/// Creates a file that must not exist yet, with exactly this mode whatever the umask allows less.
pub fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
}

/// Reads a whole text file of at most `limit` bytes; what is longer or not UTF-8 is an error.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let bytes = read_limited(path, limit)?;
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count();
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("not UTF-8 at line {line} (byte {offset})"),
        )
    })
}

/// Reads a whole file of at most `limit` bytes.
pub fn read_limited(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_bounded(File::open(path)?, limit)
}

/// Reads the whole of an open file of at most `limit` bytes; more is `InvalidData`.
pub fn read_bounded(mut file: File, limit: u64) -> io::Result<Vec<u8>> {
    let data = file.metadata()?;
    if data.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
    }
    // Room for the whole file and a byte more: one read takes it all, and one that brings as many
    // bytes as the file has, where more were asked for, has found the end. 10,000 migrations are
    // read at each look.
    let size = usize::try_from(data.len().min(limit)).unwrap_or_default();
    let mut bytes = vec![0; size + 1];
    let first = loop {
        match file.read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    bytes.truncate(first);
    if first != size || !data.is_file() {
        file.take((limit + 1).saturating_sub(first as u64)).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("larger than {limit} bytes"),
        ));
    }
    Ok(bytes)
}

/// Replaces a file as a whole: temporary file beside it, synced, renamed, directory synced.
///
/// After a crash the file holds the old or the new content, never a part.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    replace_soon(path, content, mode)?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    sync_dir(parent).context(|| format!("cannot write {}", path.display()))
}

/// The same, but which of the two it is after a power cut is settled by the next sync of the directory;
/// everybody else sees the new content at once.
pub fn replace_soon(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    replace_with(path, content, mode, File::sync_all)
}

/// The same for what is worth nothing after a power cut: the file may be empty then.
pub fn replace_unsynced(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    replace_with(path, content, mode, |_| Ok(()))
}

fn replace_with(
    path: &Path,
    content: &[u8],
    mode: u32,
    settle: impl FnOnce(&File) -> io::Result<()>,
) -> Result<()> {
    let attempt = || -> io::Result<()> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        let mut builder = tempfile::Builder::new();
        let mut file = builder
            .prefix(".openwatch-")
            .permissions(fs::Permissions::from_mode(mode))
            .tempfile_in(parent)?;
        file.write_all(content)?;
        // The mode at creation passes through the umask; a gate that others must see may not.
        file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
        settle(file.as_file())?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    attempt().context(|| format!("cannot write {}", path.display()))
}

/// Renames within one file system; the caller syncs the directory, once for many.
#[expect(clippy::disallowed_methods, reason = "the one door to renaming")]
pub fn rename_later(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

/// Renames within one file system and syncs the directory that holds the new name.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    rename_later(from, to)?;
    sync_dir(to.parent().unwrap_or(Path::new("/")))
}

/// End of the name that the second of two paths has for an instant where they cannot be exchanged at
/// once.
pub const EXCHANGED: &str = ".exchanged";

/// Exchanges two directories of one directory by their names, at once where the file system can
/// (NFS cannot), and syncs their directory.
pub fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE) {
        Ok(()) => sync_dir(other.parent().unwrap_or(Path::new("/"))),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            let mut aside = one.as_os_str().to_owned();
            aside.push(EXCHANGED);
            let aside = Path::new(&aside);
            rename(other, aside)?;
            rename(one, other)?;
            rename(aside, one)
        }
        Err(error) => Err(error.into()),
    }
}

/// Removes a file and syncs its directory; a file that is not there is fine.
pub fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_dir(path.parent().unwrap_or(Path::new("/"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
    .context(|| format!("cannot remove {}", path.display()))
}

/// Removes a directory with everything in it; links inside are removed, not followed.
#[expect(clippy::disallowed_methods, reason = "the one door to removing trees")]
pub fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Takes away every permission that `mode` does not grant; grants none.
pub fn tighten(path: &Path, mode: u32) -> Result<()> {
    let attempt = || -> io::Result<()> {
        let file = open_file(path)?;
        let now = file.metadata()?.mode() & 0o7777;
        if now & !mode != 0 {
            file.set_permissions(fs::Permissions::from_mode(now & mode))?;
        }
        Ok(())
    };
    attempt().context(|| format!("cannot change the mode of {}", path.display()))
}

/// Syncs the entries of a directory to disk.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Syncs every file and directory below `path`, and `path` itself, to disk.
///
/// `pg_dump` 15 syncs its archives but neither the parent directory nor anything it wrote to a pipe
/// (measured with strace), so publishing never relies on it.
pub fn sync_tree(path: &Path) -> io::Result<()> {
    let files = files_below(path)?;
    // All of them are on their way before the first is waited for: one after the other, each waits for
    // a journal of its own. What cannot be begun so is written by its sync.
    for file in &files {
        let _ = fadvise(open_file(file)?, 0, None, Advice::DontNeed);
    }
    for file in files {
        open_file(&file)?.sync_all()?;
    }
    for dir in dirs_below(path)? {
        sync_dir(&dir)?;
    }
    sync_dir(path)
}

/// Lists the regular files below `path`, sorted; anything else than files and directories fails.
pub fn files_below(path: &Path) -> io::Result<Vec<PathBuf>> {
    walk(path, EntryKind::File)
}

fn dirs_below(path: &Path) -> io::Result<Vec<PathBuf>> {
    walk(path, EntryKind::Directory)
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum EntryKind {
    File,
    Directory,
}

fn walk(path: &Path, wanted: EntryKind) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut todo = vec![path.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                if wanted == EntryKind::Directory {
                    found.push(entry.path());
                }
                todo.push(entry.path());
            } else if kind.is_file() {
                if wanted == EntryKind::File {
                    found.push(entry.path());
                }
            } else {
                let text = format!("{} is neither a file nor a directory", entry.path().display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Returns the bytes that all files below `path` hold; what vanishes meanwhile counts as nothing.
pub fn size_below(path: &Path) -> u64 {
    let mut sum = 0;
    let mut todo = vec![path.to_owned()];
    while let Some(dir) = todo.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                todo.push(entry.path());
            } else if let Ok(data) = entry.metadata() {
                sum += data.len();
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_has_the_stated_mode_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pending");
        replace(&path, b"one", 0o644).unwrap();
        replace(&path, b"two", 0o644).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_in_a_tree_is_refused_when_syncing() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("toc.dat")).unwrap();
        assert!(sync_tree(dir.path()).is_err());
    }

    #[test]
    fn a_linked_directory_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().join("real");
        make_new_dir(&real, 0o700).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert!(check_trusted_dir(&real).is_ok());
        assert!(check_trusted_dir(&link).unwrap_err().message().contains("symbolic link"));
    }

    #[test]
    fn a_way_on_which_somebody_else_may_rename_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let (app, conf) = (dir.path().join("app"), dir.path().join("app/conf"));
        make_new_dir(&app, 0o755).unwrap();
        make_new_dir(&conf, 0o755).unwrap();
        assert!(check_trusted_way(&conf).is_ok());
        fs::set_permissions(&app, fs::Permissions::from_mode(0o775)).unwrap();
        assert!(check_trusted_dir(&conf).is_ok());
        let told = check_trusted_way(&conf).unwrap_err();
        assert!(told.message().contains("app can be changed by other users"), "{told:?}");
    }

    #[test]
    fn a_file_larger_than_the_limit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big");
        replace(&path, &[b'x'; 11], 0o600).unwrap();
        assert!(read_text(&path, 10).is_err());
        assert_eq!(read_text(&path, 11).unwrap().len(), 11);
    }
}
