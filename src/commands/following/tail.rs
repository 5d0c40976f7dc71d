//! The log of a run under way, for whoever waits.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;

use crate::layout::Layout;
use crate::system::fs;
use crate::upgrade::journal;

/// Follows the log of the run; each run makes a new file.
pub(super) struct Tail<'l> {
    layout: &'l Layout,
    /// Held open: an inode that nobody holds may be given to the very next file (seen on ext4).
    before: Option<File>,
    file: Option<File>,
    inode: Option<u64>,
    partial: String,
}

impl<'l> Tail<'l> {
    /// The log of a finished run is not ours to show; that of a running one is.
    pub(super) fn new(layout: &'l Layout) -> Self {
        let finished = journal::read(layout).ok().flatten().is_none_or(|r| r.finished.is_some());
        let before = fs::open_file(&layout.run_log()).ok().filter(|_| finished);
        Self { layout, before, file: None, inode: None, partial: String::new() }
    }

    pub(super) fn lines(&mut self) -> Vec<String> {
        let path = self.layout.run_log();
        let inode = std::fs::metadata(&path).ok().map(|data| data.ino());
        let before = self.before.as_ref().and_then(|file| file.metadata().ok());
        if inode != self.inode && inode.is_some() && inode != before.map(|data| data.ino()) {
            self.file = fs::open_file(&path).ok();
            self.inode = inode;
            self.partial.clear();
        }
        let Some(file) = &mut self.file else { return Vec::new() };
        let mut bytes = Vec::new();
        let here = file.stream_position().unwrap_or(0);
        if file.seek(SeekFrom::Start(here)).and_then(|_| file.read_to_end(&mut bytes)).is_err() {
            return Vec::new();
        }
        self.partial.push_str(&String::from_utf8_lossy(&bytes));
        let Some(end) = self.partial.rfind('\n') else { return Vec::new() };
        let rest = self.partial.split_off(end + 1);
        let whole = std::mem::replace(&mut self.partial, rest);
        whole.lines().map(str::to_owned).collect()
    }
}
