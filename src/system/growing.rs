//! Files that another process writes: told when they begin and end, read as they grow.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{FallocateFlags, OFlags, fallocate};
use rustix::io::Errno;

/// How much is read before its space is given back, in bytes; a multiple of every block size.
const RETURNED_AT_ONCE: u64 = 8 << 20;

/// What happened to a file of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It was made.
    Begun(String),
    /// Whoever wrote to it has closed it.
    Closed(String),
}

/// A directory in which files begin and end.
#[derive(Debug)]
pub struct Watched {
    inotify: OwnedFd,
}

impl Watched {
    /// Begins to watch; what happened before is not told.
    pub fn new(dir: &Path) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let wanted = WatchFlags::CREATE | WatchFlags::CLOSE_WRITE | WatchFlags::ONLYDIR;
        inotify::add_watch(&inotify, dir, wanted)?;
        Ok(Self { inotify })
    }

    /// Returns what has happened since it was last asked, in order; never waits.
    ///
    /// The kernel drops news that nobody fetches in time, and a name that is not UTF-8 is left out:
    /// silence does not prove that nothing happened.
    pub fn news(&self) -> io::Result<Vec<Seen>> {
        let mut space = [MaybeUninit::uninit(); 16 << 10];
        let mut reader = inotify::Reader::new(&self.inotify, &mut space);
        let mut news = Vec::new();
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return Ok(news),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let name = event.file_name().and_then(|name| name.to_str().ok()).map(str::to_owned);
            if let Some(name) = name {
                if event.events().contains(ReadFlags::CREATE) {
                    news.push(Seen::Begun(name));
                } else if event.events().contains(ReadFlags::CLOSE_WRITE) {
                    news.push(Seen::Closed(name));
                }
            }
        }
    }
}

/// A file that another process appends to, read from its beginning.
#[derive(Debug)]
pub struct Growing {
    file: File,
    read: u64,
    returned: u64,
    gives_back: bool,
}

impl Growing {
    /// Opens a file; anything but a regular file with this one name is an error.
    pub fn open(path: &Path) -> io::Result<Self> {
        let open = |write| {
            // A pipe in the place of the file must not keep us waiting for its other end.
            let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
            let flags = flags.bits().cast_signed();
            OpenOptions::new().read(true).write(write).custom_flags(flags).open(path)
        };
        let (file, gives_back) = match open(true) {
            Ok(file) => (file, true),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => (open(false)?, false),
            Err(error) => return Err(error),
        };
        let data = file.metadata()?;
        if !data.is_file() || data.nlink() != 1 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a plain file"));
        }
        Ok(Self { file, read: 0, returned: 0, gives_back })
    }

    /// Reads what has come since; zero bytes only say that the end is reached for now.
    pub fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.file.read(into) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => {
                    let length = read?;
                    self.read += length as u64;
                    return Ok(length);
                }
            }
        }
    }

    /// Gives the space of what was read back to the file system, where that can be done; the file
    /// keeps its length.
    pub fn give_back(&mut self) {
        let length = (self.read - self.returned) / RETURNED_AT_ONCE * RETURNED_AT_ONCE;
        if !self.gives_back || length == 0 {
            return;
        }
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&self.file, hole, self.returned, length) {
            Ok(()) => self.returned += length,
            // Space is all that is lost.
            Err(_) => self.gives_back = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn files_are_told_when_they_begin_and_when_they_are_closed() {
        let dir = tempfile::tempdir().unwrap();
        let watched = Watched::new(dir.path()).unwrap();
        let mut file = File::create(dir.path().join("3312.dat")).unwrap();
        file.write_all(b"one").unwrap();
        assert_eq!(watched.news().unwrap(), [Seen::Begun("3312.dat".into())]);
        file.write_all(b"two").unwrap();
        assert_eq!(watched.news().unwrap(), []);
        drop(file);
        assert_eq!(watched.news().unwrap(), [Seen::Closed("3312.dat".into())]);
    }

    #[test]
    fn a_growing_file_is_read_to_its_end_though_its_space_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("3312.dat");
        let mut writer = File::create(&path).unwrap();
        let mut reader = Growing::open(&path).unwrap();
        let mut buffer = vec![0; RETURNED_AT_ONCE as usize];
        assert_eq!(reader.read(&mut buffer).unwrap(), 0);
        writer.write_all(&vec![b'x'; RETURNED_AT_ONCE as usize]).unwrap();
        assert_eq!(reader.read(&mut buffer).unwrap(), buffer.len());
        reader.give_back();
        writer.write_all(b"end").unwrap();
        assert_eq!(reader.read(&mut buffer).unwrap(), 3);
        assert_eq!(&buffer[..3], b"end");
        assert_eq!(path.metadata().unwrap().len(), RETURNED_AT_ONCE + 3);
    }

    #[test]
    fn a_link_and_a_pipe_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let (link, pipe) = (dir.path().join("link"), dir.path().join("pipe"));
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        let (at, mode) = (rustix::fs::CWD, rustix::fs::Mode::RWXU);
        rustix::fs::mknodat(at, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(Growing::open(&link).is_err());
        assert!(Growing::open(&pipe).is_err());
    }
}
