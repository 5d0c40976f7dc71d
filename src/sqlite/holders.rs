//! Who has a database file open, and who of them holds a lock on it.
//!
//! SQLite keeps no list of sessions: the kernel knows. A process counts that has the file, its log or
//! its shared memory open ([proc_pid_fd(5)]); of them one holds a lock whose lock of POSIX the kernel
//! lists ([proc_locks(5)]) on one of these files, of the kind that keeps writers out.

use std::collections::BTreeSet;
use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::File;
use crate::system::identity::user_name;

/// A process that has a database file open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: i32,
    /// The user as whom it runs.
    pub user: String,
    /// The beginning of its command line.
    pub command: String,
    /// Whether it holds a lock that keeps writers out.
    pub locks: bool,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}, user {}, {}", self.pid, self.user, self.command)?;
        match self.locks {
            true => f.write_str(", holds a lock"),
            false => Ok(()),
        }
    }
}

/// How much of a command line is shown, in characters.
const SHOWN: usize = 60;

/// Lists the other processes that have a database file open, those that hold a lock first.
///
/// Who is not root sees those of its own user; of root, [`unseen`] says whether it sees all.
pub fn holders(file: &File) -> Vec<Holder> {
    let parts: Vec<_> = ["", "-wal", "-shm", "-journal"].map(|end| file.beside(end)).into();
    let identified = |path: &Path| {
        let data = path.metadata().ok()?;
        Some((data.dev(), data.ino()))
    };
    let wanted: BTreeSet<(u64, u64)> = parts.iter().filter_map(|path| identified(path)).collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let locking = locking(&wanted);
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut found: Vec<Holder> = pids
        .filter(|pid| *pid != own && has_open(*pid, &wanted))
        .map(|pid| described(pid, locking.contains(&pid)))
        .collect();
    found.sort_by_key(|holder| (!holder.locks, holder.pid));
    found
}

/// Says why it cannot be seen who has a database file open; nothing where it can.
///
/// Root without this right is told of each process of another user that it has nothing open. Whoever is
/// not root never was to see them, and exchanges no files of others.
pub fn unseen(file: &File) -> Option<String> {
    if !rustix::process::geteuid().is_root() || !file.exists() {
        return None;
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    (!may_trace(&status)).then(|| {
        let path = file.path().display();
        format!("who has {path} open cannot be seen: this process lacks CAP_SYS_PTRACE")
    })
}

/// Reads the line `CapEff:` of [proc_pid_status(5)]; what cannot be read is no right.
fn may_trace(status: &str) -> bool {
    const CAP_SYS_PTRACE: u64 = 1 << 19;
    let word = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let rights = word.and_then(|word| u64::from_str_radix(word.trim(), 16).ok());
    rights.is_some_and(|rights| rights & CAP_SYS_PTRACE != 0)
}

/// Says in one line who holds a file, where anybody does.
pub(super) fn told(file: &File) -> Option<String> {
    let all = holders(file);
    let locking: Vec<&Holder> = all.iter().filter(|holder| holder.locks).collect();
    let named = if locking.is_empty() { all.iter().collect() } else { locking };
    let words: Vec<String> = named.iter().map(ToString::to_string).collect();
    (!words.is_empty())
        .then(|| format!("{} is open in {}", file.path().display(), words.join("; ")))
}

fn has_open(pid: i32, wanted: &BTreeSet<(u64, u64)>) -> bool {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    entries.flatten().any(|entry| {
        // The link is followed to the open file itself, wherever its name has gone.
        std::fs::metadata(entry.path()).is_ok_and(|data| wanted.contains(&(data.dev(), data.ino())))
    })
}

fn described(pid: i32, locks: bool) -> Holder {
    let uid = std::fs::metadata(format!("/proc/{pid}")).map(|data| data.uid()).unwrap_or_default();
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    let plain = line.trim().chars().filter(|c| !c.is_control()).take(SHOWN).collect();
    Holder { pid, user: user_name(uid).unwrap_or_else(|| uid.to_string()), command: plain, locks }
}

/// Returns the processes that hold a lock for writing on one of these files.
///
/// By the number of the file alone: of some file systems the kernel lists another device here.
fn locking(wanted: &BTreeSet<(u64, u64)>) -> BTreeSet<i32> {
    let table = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    table.lines().filter_map(|line| writer(line, wanted)).collect()
}

/// Reads a line such as `1: POSIX  ADVISORY  WRITE 4711 fd:01:131 1073741824 1073742335`.
fn writer(line: &str, wanted: &BTreeSet<(u64, u64)>) -> Option<i32> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, "POSIX" | "OFDLCK", _, "WRITE", pid, place, ..] = words.as_slice() else { return None };
    let inode: u64 = place.rsplit(':').next()?.parse().ok()?;
    wanted.iter().any(|(_, wanted)| *wanted == inode).then(|| pid.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_to_look_into_other_processes_is_read() {
        for (line, may) in [
            ("CapEff:\t000001ffffffffff", true),
            ("CapEff:\t0000000000080000", true),
            ("CapEff:\t000001fffff7ffff", false),
            ("CapBnd:\t000001ffffffffff", false),
            ("", false),
        ] {
            assert_eq!(may_trace(&format!("Name:\tx\n{line}\n")), may, "{line}");
        }
    }

    #[test]
    fn the_kernels_list_of_locks_is_read() {
        let wanted = BTreeSet::from([(1, 131)]);
        let line = "7: POSIX  ADVISORY  WRITE 4711 fd:01:131 1073741824 1073742335";
        assert_eq!(writer(line, &wanted), Some(4711));
        for other in [
            "7: POSIX  ADVISORY  READ 4711 fd:01:131 1073741826 1073742335",
            "7: POSIX  ADVISORY  WRITE 4711 fd:01:132 0 EOF",
            "7: FLOCK  ADVISORY  WRITE 4711 fd:01:131 0 EOF",
            "7: -> POSIX  ADVISORY  WRITE 4711 fd:01:131 0 EOF",
            "",
        ] {
            assert_eq!(writer(other, &wanted), None, "{other}");
        }
    }
}
