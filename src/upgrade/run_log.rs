//! What a run tells, kept where a waiting script, and the operator later, can read it.

use crate::layout::Layout;
use crate::progress::Progress;
use crate::system::fs;

/// Begins the log of a run that holds the lock; a log that cannot be written fails no run.
pub fn begin(layout: &Layout, progress: &dyn Progress) {
    let path = layout.run_log();
    let new = path.with_extension("log.new");
    // Root's alone: what a server says of a failed statement may quote rows.
    // A new file for each run, made while the old one still exists: whoever follows tells them apart
    // by their inode, and a number that is free is given out again at once.
    let made =
        fs::make_dir(&layout.upgrade_dir(), 0o755).and_then(|()| fs::remove_file(&new)).map(|()| {
            fs::create_new(&new, 0o600)
                .and_then(|file| fs::rename_later(&new, &path).map(|()| file))
        });
    if let Ok(Ok(file)) = made {
        progress.record(file);
    }
}
