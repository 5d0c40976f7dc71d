//! Who changes packages at this instant: the locks of dpkg and rpm, asked and not taken.

use std::path::Path;
use std::time::Duration;

use rustix::process::{Flock, FlockOffsetType, FlockType, fcntl_getlk};

use super::Family;
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::system::clock::{self, Deadline};
use crate::system::fs;

/// Locks that a run of dpkg, apt, rpm or dnf holds while it changes packages.
const LOCKS: &[(Family, &str)] = &[
    (Family::Deb, "var/lib/dpkg/lock-frontend"),
    (Family::Deb, "var/lib/dpkg/lock"),
    (Family::Rpm, "var/lib/rpm/.rpm.lock"),
    (Family::Rpm, "usr/lib/sysimage/rpm/.rpm.lock"),
    (Family::Rpm, "run/dnf/rpmtransaction.lock"),
];

const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// Returns the process that holds a lock of this family's package tools, where one does.
///
/// A lock of another PID namespace has a holder without a number; it counts as process 0.
pub fn holder(root: &Path, family: Family) -> Option<i32> {
    LOCKS.iter().filter(|(whose, _)| *whose == family).find_map(|(_, path)| {
        let file = fs::open_file(&root.join(path)).ok()?;
        let asked = Flock {
            start: 0,
            length: 0,
            pid: None,
            // What would stand in the way of a reader is a writer.
            typ: FlockType::ReadLock,
            offset_type: FlockOffsetType::Set,
        };
        let held = fcntl_getlk(&file, &asked).ok()??;
        Some(held.pid.map_or(0, |pid| pid.as_raw_nonzero().get()))
    })
}

/// Returns whether we run inside a script of the package tool that holds the lock: it waits for us, so
/// waiting for it would never end.
pub fn is_our_caller(holder: i32) -> bool {
    let parent = |pid: i32| -> Option<i32> {
        let text = fs::read_text(Path::new(&format!("/proc/{pid}/stat")), 4096).ok()?;
        // The name in parentheses may hold anything, blanks and parentheses too.
        text.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    let own = i32::try_from(std::process::id()).ok();
    std::iter::successors(own, |pid| parent(*pid).filter(|parent| *parent > 1))
        .take(64)
        .any(|pid| pid == holder)
}

/// Waits until no package tool of this family is at work.
pub fn wait(root: &Path, family: Family, limit: Duration, progress: &dyn Progress) -> Result<()> {
    let deadline = Deadline::after(limit);
    let mut said = false;
    while let Some(pid) = holder(root, family) {
        if deadline.passed() || crate::system::signals::received().is_some() {
            return Err(Error::new(
                Outcome::Busy,
                format!("process {pid} still changes packages after {}", clock::spoken(limit)),
            )
            .hint(format!("Look at `ps {pid}`; when it has ended, try again.")));
        }
        if !said {
            progress.note(&format!("waiting for the package tool to end (pid {pid})"));
            said = true;
        }
        progress.alive("waiting for the package tool", 0, None);
        clock::pause(BETWEEN_LOOKS.min(deadline.remaining()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_nobody_holds_has_no_holder() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(holder(root.path(), Family::Deb), None);
        fs::make_dir(&root.path().join("var/lib/dpkg"), 0o755).unwrap();
        fs::replace(&root.path().join("var/lib/dpkg/lock"), b"", 0o640).unwrap();
        assert_eq!(holder(root.path(), Family::Deb), None);
        assert_eq!(holder(root.path(), Family::Rpm), None);
    }

    /// Row 59.
    #[test]
    fn who_started_us_is_told_from_who_did_not() {
        let own = i32::try_from(std::process::id()).unwrap();
        let parent = std::os::unix::process::parent_id();
        assert!(is_our_caller(own));
        assert!(is_our_caller(i32::try_from(parent).unwrap()) || parent == 1);
        assert!(!is_our_caller(i32::MAX));
    }
}
