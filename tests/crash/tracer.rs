//! Runs the program under `ptrace(2)` and ends it, or lets one call fail, at a point that is counted.
//!
//! A point is a system call by which the program changes something that outlives it, or asks somebody
//! else to: a write to a file, a sync, a rename, a removal, a child, a message to the server. All
//! threads of the program are followed and share one count; its children are not followed, so that a
//! client of the server is never ended in place of the program that started it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// What a point is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A file, a directory or a link is made.
    Create,
    /// Bytes go to a file.
    Write,
    /// `fsync`, `fdatasync`.
    Sync,
    /// Any of the renames, or a second name.
    Rename,
    /// A file or a directory is removed.
    Remove,
    /// A child is made.
    Spawn,
    /// A connection to the server, or a message on it.
    Database,
}

/// On which side of the call the program is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The kernel never gets the call.
    Before,
    /// The kernel has done it, the program never hears of it.
    After,
}

/// What happens at the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// SIGKILL for the program.
    Kill,
    /// SIGKILL for the program and all its children at once, as at a power cut or an end of a unit.
    KillAll,
    /// The call fails with this error, and so does each later one that needs room on a disk: a disk that
    /// is full, or a quota that is used up.
    NoRoom(Errno),
    /// The call fails with this error, once.
    Fail(Errno),
    /// Something else happens to the machine before the call is done.
    Meanwhile,
}

/// Where and how.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// Number of the point, from 1.
    pub number: usize,
    /// Instead of a number, which differs by a few between two runs: the first point behind one that
    /// says this.
    pub behind: Option<&'static str>,
    /// Side of the call.
    pub side: Side,
    /// What happens.
    pub act: Act,
}

/// One point that a run came by.
#[derive(Clone, Debug)]
pub struct Point {
    /// What it is.
    pub kind: Kind,
    /// The call and what it is about.
    pub what: String,
    /// The file that it is about; of a rename the old name, then the new one.
    pub paths: Vec<PathBuf>,
    /// What a file holds that gets a name, where it is a short text.
    pub content: Option<String>,
    /// Whether the program had children.
    pub children: bool,
    /// Whether the kernel said no: nothing came of it.
    pub refused: bool,
}

impl Point {
    /// Whether the call, or what a file holds that gets its name by it, says this.
    fn says(&self, text: &str) -> bool {
        self.what.contains(text) || self.content.as_ref().is_some_and(|c| c.contains(text))
    }
}

/// What became of a run.
#[derive(Debug)]
pub struct Traced {
    /// The points it came by, in their order.
    pub points: Vec<Point>,
    /// Whether it came to the point that was asked for.
    pub reached: bool,
    /// Exit status; none when it was ended by a signal.
    pub code: Option<i32>,
}

impl Traced {
    /// Returns the last point, which is the one where it was ended.
    pub fn last(&self) -> String {
        self.points.last().map_or_else(|| "nothing".into(), |p| format!("{:?} {}", p.kind, p.what))
    }
}

/// How long a run may take before it counts as hung.
const LONGEST: Duration = Duration::from_secs(300);

/// Runs a prepared call of the program to its end, or to the point.
///
/// The calling thread must have no other children.
pub fn run(command: &Command, at: Option<At>, meanwhile: &dyn Fn()) -> Traced {
    let leader = stopped(command);
    let options =
        Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL;
    ptrace::seize(leader, options).unwrap();
    ptrace::interrupt(leader).unwrap();
    let (done, waiting) = mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if waiting.recv_timeout(LONGEST) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = killpg(leader, Signal::SIGKILL);
            return true;
        }
        false
    });
    kill(leader, Signal::SIGCONT).unwrap();
    let traced = Run::new(leader, at, meanwhile).follow();
    drop(done);
    assert!(!watchdog.join().unwrap(), "the program hangs after {}", traced.last());
    traced
}

/// Starts the call in a process group of its own, stopped before its first instruction.
fn stopped(command: &Command) -> Pid {
    let mut all = Command::new("/bin/sh");
    all.args(["-c", "kill -STOP $$; exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    let leader = Pid::from_raw(i32::try_from(all.spawn().unwrap().id()).unwrap());
    let state = waitpid(leader, Some(WaitPidFlag::WUNTRACED)).unwrap();
    assert_eq!(state, WaitStatus::Stopped(leader, Signal::SIGSTOP));
    leader
}

struct Run<'a> {
    meanwhile: &'a dyn Fn(),
    leader: Pid,
    at: Option<At>,
    /// The shell has become the program.
    armed: bool,
    /// Threads that are inside a call, with the number of its point.
    inside: BTreeMap<i32, Option<usize>>,
    /// Threads whose present call fails.
    failing: BTreeMap<i32, Errno>,
    full: Option<Errno>,
    points: Vec<Point>,
    reached: bool,
}

impl<'a> Run<'a> {
    fn new(leader: Pid, at: Option<At>, meanwhile: &'a dyn Fn()) -> Self {
        Self {
            meanwhile,
            leader,
            at,
            armed: false,
            inside: BTreeMap::new(),
            failing: BTreeMap::new(),
            full: None,
            points: Vec::new(),
            reached: false,
        }
    }

    fn follow(mut self) -> Traced {
        let any = Pid::from_raw(-1);
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        let code = loop {
            match waitpid(any, Some(flags)).unwrap() {
                WaitStatus::Exited(pid, code) if pid == self.leader => break Some(code),
                WaitStatus::Signaled(pid, ..) if pid == self.leader => break None,
                WaitStatus::PtraceSyscall(pid) => {
                    self.call(pid);
                    go_on(pid, None);
                }
                WaitStatus::PtraceEvent(pid, ..) => go_on(pid, None),
                WaitStatus::Stopped(pid, signal) => go_on(pid, Some(signal)),
                _ => {}
            }
        };
        Traced { points: self.points, reached: self.reached, code }
    }

    fn call(&mut self, thread: Pid) {
        // It may have been ended meanwhile.
        let Ok(mut regs) = ptrace::getregs(thread) else { return };
        let not_done = (-i64::from(libc::ENOSYS)).cast_unsigned();
        let id = thread.as_raw();
        if !self.inside.contains_key(&id) && regs.rax == not_done {
            let point = self.armed.then(|| classify(thread, &regs)).flatten();
            let number = point.map(|point| {
                let children = has_children(self.leader);
                self.points.push(Point { children, ..point });
                self.points.len()
            });
            self.inside.insert(id, number);
            if let Some(errno) = number.and_then(|number| self.reach(number, Side::Before)) {
                self.failing.insert(id, errno);
                regs.orig_rax = u64::MAX;
                let _ = ptrace::setregs(thread, regs);
            }
            return;
        }
        let number = self.inside.remove(&id).flatten();
        if let Some(errno) = self.failing.remove(&id) {
            regs.rax = (-i64::from(errno as i32)).cast_unsigned();
            let _ = ptrace::setregs(thread, regs);
        } else if let Some(number) = number {
            self.points[number - 1].refused = regs.rax.cast_signed() < 0;
            self.reach(number, Side::After);
        }
        if regs.orig_rax.cast_signed() == libc::SYS_execve && regs.rax == 0 {
            self.armed = true;
        }
    }

    /// Acts where this is the point; returns the error that the call ends with.
    fn reach(&mut self, number: usize, side: Side) -> Option<Errno> {
        let at = self.at?;
        let needs_room =
            matches!(self.points[number - 1].kind, Kind::Create | Kind::Write | Kind::Sync);
        if let Some(errno) = self.full.filter(|_| side == Side::Before && needs_room) {
            return Some(errno);
        }
        let is_it = match at.behind {
            Some(text) => !self.reached && self.points[..number - 1].iter().any(|p| p.says(text)),
            None => number == at.number,
        };
        if !is_it || side != at.side {
            return None;
        }
        self.reached = true;
        match at.act {
            Act::Kill => {
                let _ = kill(self.leader, Signal::SIGKILL);
                None
            }
            Act::KillAll => {
                let _ = killpg(self.leader, Signal::SIGKILL);
                None
            }
            Act::NoRoom(errno) => {
                self.full = Some(errno);
                Some(errno).filter(|_| needs_room)
            }
            Act::Fail(errno) => Some(errno),
            Act::Meanwhile => {
                (self.meanwhile)();
                None
            }
        }
    }
}

fn go_on(thread: Pid, signal: Option<Signal>) {
    // It may have been ended meanwhile.
    let _ = ptrace::syscall(thread, signal);
}

fn short_text(path: &Path) -> Option<String> {
    let short = std::fs::metadata(path).is_ok_and(|facts| facts.is_file() && facts.len() < 1 << 20);
    short.then(|| std::fs::read_to_string(path).ok()).flatten()
}

fn has_children(leader: Pid) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{leader}/task")) else { return false };
    threads.flatten().any(|thread| {
        fs::read_to_string(thread.path().join("children")).is_ok_and(|c| !c.trim().is_empty())
    })
}

/// Says what a call is, where it is a point.
fn classify(thread: Pid, regs: &libc::user_regs_struct) -> Option<Point> {
    let (first, second, third, fourth) = (regs.rdi, regs.rsi, regs.rdx, regs.r10);
    let here = libc::AT_FDCWD.cast_unsigned().into();
    let path = |dir, address| path_at(thread, dir, address);
    let open = |fd| PathBuf::from(opened(thread, fd));
    let is_socket = |fd| opened(thread, fd).starts_with("socket:");
    let in_file = |fd| {
        let name = opened(thread, fd);
        name.starts_with('/') && !name.starts_with("/dev/") && !name.starts_with("/proc/")
    };
    let creates = |flags: u64| flags & u64::from(libc::O_CREAT.cast_unsigned()) != 0;
    let is_child = |flags: u64| flags & u64::from(libc::CLONE_THREAD.cast_unsigned()) == 0;
    let file = |kind, paths: Vec<PathBuf>| {
        let what = paths.last().map(|path| short(path)).unwrap_or_default();
        let content = match (kind, paths.first()) {
            (Kind::Rename, Some(from)) => short_text(from),
            _ => None,
        };
        Some(Point { kind, what, paths, content, children: false, refused: false })
    };
    let other = |kind, what: String| {
        let (paths, content) = (Vec::new(), None);
        Some(Point { kind, what, paths, content, children: false, refused: false })
    };
    match regs.orig_rax.cast_signed() {
        libc::SYS_fsync | libc::SYS_fdatasync => file(Kind::Sync, vec![open(first)]),
        libc::SYS_rename | libc::SYS_link => {
            file(Kind::Rename, vec![path(here, first), path(here, second)])
        }
        libc::SYS_renameat | libc::SYS_renameat2 | libc::SYS_linkat => {
            file(Kind::Rename, vec![path(first, second), path(third, fourth)])
        }
        libc::SYS_write
        | libc::SYS_pwrite64
        | libc::SYS_writev
        | libc::SYS_sendto
        | libc::SYS_sendmsg
            if is_socket(first) =>
        {
            other(Kind::Database, first_words(thread, regs))
        }
        libc::SYS_connect => other(Kind::Database, "connect".into()),
        libc::SYS_write
        | libc::SYS_pwrite64
        | libc::SYS_writev
        | libc::SYS_ftruncate
        | libc::SYS_fallocate
            if in_file(first) =>
        {
            file(Kind::Write, vec![open(first)])
        }
        libc::SYS_unlink | libc::SYS_rmdir => file(Kind::Remove, vec![path(here, first)]),
        libc::SYS_unlinkat => file(Kind::Remove, vec![path(first, second)]),
        libc::SYS_mkdir | libc::SYS_mknod => file(Kind::Create, vec![path(here, first)]),
        libc::SYS_mkdirat | libc::SYS_mknodat => file(Kind::Create, vec![path(first, second)]),
        libc::SYS_symlink => file(Kind::Create, vec![path(here, second)]),
        libc::SYS_open if creates(second) => file(Kind::Create, vec![path(here, first)]),
        libc::SYS_openat if creates(third) => file(Kind::Create, vec![path(first, second)]),
        libc::SYS_clone if is_child(first) => other(Kind::Spawn, String::new()),
        libc::SYS_clone3 if is_child(flags_at(thread, first)) => other(Kind::Spawn, String::new()),
        libc::SYS_fork | libc::SYS_vfork => other(Kind::Spawn, String::new()),
        _ => None,
    }
}

/// A path as a call names it: below an open directory, or below the present one.
fn path_at(thread: Pid, dir: u64, address: u64) -> PathBuf {
    let bytes = bytes_at(thread, address, 512);
    let text = String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default());
    // The kernel looks at the lower half only, and so do we.
    let here = u64::from(libc::AT_FDCWD.cast_unsigned());
    match dir & 0xffff_ffff == here {
        true => text.into_owned().into(),
        false => PathBuf::from(opened(thread, dir)).join(text.as_ref()),
    }
}

fn opened(thread: Pid, fd: u64) -> String {
    let link = fs::read_link(format!("/proc/{thread}/fd/{fd}"));
    link.map(|path| path.display().to_string()).unwrap_or_default()
}

fn bytes_at(thread: Pid, address: u64, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; most];
    let memory = fs::File::open(format!("/proc/{thread}/mem"));
    let read = memory.and_then(|memory| memory.read_at(&mut bytes, address)).unwrap_or(0);
    bytes.truncate(read);
    bytes
}

/// The first word of what `clone3` is given are the flags.
fn flags_at(thread: Pid, address: u64) -> u64 {
    bytes_at(thread, address, 8).try_into().map_or(0, u64::from_ne_bytes)
}

/// The beginning of a message; words of several buffers are not looked for.
fn first_words(thread: Pid, regs: &libc::user_regs_struct) -> String {
    let call = regs.orig_rax.cast_signed();
    if call == libc::SYS_writev || call == libc::SYS_sendmsg {
        return String::new();
    }
    let size = usize::try_from(regs.rdx).unwrap_or(0).min(70);
    let words = bytes_at(thread, regs.rsi, size);
    let shown = |byte: u8| if byte.is_ascii_graphic() { char::from(byte) } else { ' ' };
    words.into_iter().map(shown).collect::<String>().trim().to_owned()
}

/// The last two parts of a path.
fn short(path: &std::path::Path) -> String {
    let text = path.display().to_string();
    let parts: Vec<&str> = text.rsplit('/').take(2).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}
