//! The keeper: a process of ours between us and a tool of the application.
//!
//! A tool that outlives the run that started it would go on changing the database with nobody
//! watching and no lock held. A process group alone does not prevent that: whoever is killed with
//! SIGKILL ends no group, and a grandchild may leave it. The keeper is a subreaper, so that whatever
//! the tool starts stays below it, and it ends all of it as soon as the pipe that only we hold is
//! closed: by us, or by the kernel when we are killed. (A signal at the death of the parent would
//! reach the tool alone, and is forgotten when the tool changes its user.) Where systemd runs the
//! upgrade, the unit's control group ends the same processes should the keeper be killed too.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::system::clock::{Deadline, pause};
use crate::system::identity::Identity;
use crate::system::signals;

/// The name under which this program is the keeper.
pub const NAME: &str = "openwatch-keeper";

/// Exit status where the tool could not be started, as a shell has it.
pub const NOT_STARTED: u8 = 127;

/// How long processes that the tool left behind may take to end by themselves.
const LEFT_BEHIND: Duration = Duration::from_secs(2);

/// How long a process that was killed may take to be gone: the kernel may be writing for it.
const KILLED: Duration = Duration::from_secs(5);

/// What the keeper is told by its arguments; none of them is a secret.
struct Order {
    grace: Duration,
    user: Option<String>,
    dir: PathBuf,
    program: PathBuf,
    args: Vec<OsString>,
}

/// What happened.
enum Event {
    /// The tool ended.
    Ended(ExitStatus),
    /// Whoever started us let go, or is gone.
    LetGo,
}

/// Keeps one tool: the whole life of the keeper's process.
///
/// It ends as the tool ended, with the same exit status or by the same signal; what else there is to
/// tell goes to `say`.
pub fn main(words: impl Iterator<Item = OsString>, say: impl Fn(&str)) -> ExitCode {
    let order = order(words).ok_or_else(|| format!("{NAME} is started by openwatch alone"));
    match order.and_then(|order| keep(&order)) {
        Ok((status, said)) => {
            said.iter().for_each(|line| say(line));
            as_it_ended(status)
        }
        Err(why) => {
            say(&why);
            ExitCode::from(NOT_STARTED)
        }
    }
}

fn order(mut words: impl Iterator<Item = OsString>) -> Option<Order> {
    let mut text = || words.next()?.into_string().ok();
    let grace = Duration::from_millis(text()?.parse().ok()?);
    let user = Some(text()?).filter(|user| !user.is_empty());
    let (dir, program) = (words.next()?.into(), words.next()?.into());
    Some(Order { grace, user, dir, program, args: words.collect() })
}

fn keep(order: &Order) -> Result<(ExitStatus, Option<String>), String> {
    signals::install().map_err(|error| error.message())?;
    let own = rustix::process::getpid();
    // First of all: what the tool starts must never come to belong to init.
    rustix::process::set_child_subreaper(Some(own)).map_err(|error| error.to_string())?;
    let child = start(order)?;
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    let events = watch(child);
    let ended = loop {
        match events.recv_timeout(Duration::from_millis(200)) {
            Ok(Event::Ended(status)) => break Some(status),
            Err(RecvTimeoutError::Timeout) if signals::received().is_none() => {}
            Ok(Event::LetGo) | Err(_) => break None,
        }
    };
    if let Some(status) = ended {
        let left = sweep(group, LEFT_BEHIND);
        let said = (left > 0).then(|| format!("{} that the tool left behind", spoken_end(left)));
        return Ok((status, said));
    }
    sweep(group, order.grace);
    loop {
        match events.recv_timeout(LEFT_BEHIND) {
            Ok(Event::Ended(status)) => return Ok((status, None)),
            Ok(Event::LetGo) => {}
            Err(_) => return Err("the tool could not be ended".into()),
        }
    }
}

fn spoken_end(count: usize) -> String {
    if count == 1 { "ended 1 process".into() } else { format!("ended {count} processes") }
}

#[expect(clippy::disallowed_methods, reason = "the one door to processes")]
fn start(order: &Order) -> Result<Child, String> {
    let why = |error: &dyn std::fmt::Display| {
        format!("{} could not be started: {error}", order.program.display())
    };
    let identity = order.user.as_deref().map(Identity::of).transpose();
    let identity = identity.map_err(|error| error.message())?;
    let mut command = Command::new(&order.program);
    command.args(&order.args).current_dir(&order.dir).stdin(Stdio::null()).process_group(0);
    // A thread of its own becomes the user and starts the tool. This one stays who it is, so that
    // the tool's user can neither end the keeper nor be out of its reach.
    let start = move || {
        if let Some(identity) = &identity {
            identity
                .assume()
                .map_err(|error| format!("cannot become {}: {error}", identity.name))?;
        }
        command.spawn().map_err(|error| why(&error))
    };
    std::thread::scope(|scope| scope.spawn(start).join())
        .unwrap_or_else(|_| Err("starting the tool ended unexpectedly".into()))
}

/// Waits in two threads: for the end of the tool, and for the end of the pipe.
fn watch(mut child: Child) -> Receiver<Event> {
    let (tell, events) = mpsc::channel();
    let ended = tell.clone();
    std::thread::spawn(move || {
        if let Ok(status) = child.wait() {
            let _ = ended.send(Event::Ended(status));
        }
    });
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = tell.send(Event::LetGo);
    });
    events
}

/// Ends everything below the keeper and returns how many processes there were.
fn sweep(group: Pid, grace: Duration) -> usize {
    let found = below(own_pid());
    if found.is_empty() {
        return 0;
    }
    let _ = killpg(group, Signal::SIGTERM);
    for process in found.iter().filter(|process| process.group != group.as_raw()) {
        let _ = kill(Pid::from_raw(process.pid), Signal::SIGTERM);
    }
    let limit = Deadline::after(grace);
    while !limit.passed() && !below(own_pid()).is_empty() {
        pause(Duration::from_millis(20));
    }
    let limit = Deadline::after(KILLED);
    while !limit.passed() {
        let left = below(own_pid());
        if left.is_empty() {
            break;
        }
        for process in left {
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
        pause(Duration::from_millis(10));
    }
    found.len()
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// A living process, as `/proc/PID/stat` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    group: i32,
}

/// Returns every living process below this one.
fn below(ancestor: i32) -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let all: Vec<Process> = entries
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit())
        .filter_map(|entry| parse_stat(&std::fs::read(entry.path().join("stat")).ok()?))
        .collect();
    descendants(&all, ancestor)
}

fn descendants(all: &[Process], ancestor: i32) -> Vec<Process> {
    let mut children: BTreeMap<i32, Vec<Process>> = BTreeMap::new();
    for process in all {
        children.entry(process.parent).or_default().push(*process);
    }
    let (mut found, mut seen) = (Vec::new(), BTreeSet::from([ancestor]));
    let mut todo = vec![ancestor];
    while let Some(parent) = todo.pop() {
        for process in children.get(&parent).into_iter().flatten() {
            if seen.insert(process.pid) {
                todo.push(process.pid);
                found.push(*process);
            }
        }
    }
    found
}

/// Reads `PID (NAME) STATE PARENT GROUP …`; the name may hold anything. None of a dead process.
fn parse_stat(text: &[u8]) -> Option<Process> {
    let text = String::from_utf8_lossy(text);
    let (before, after) = text.rsplit_once(") ")?;
    let pid = before.split(' ').next()?.parse().ok()?;
    let mut fields = after.split(' ');
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    let mut number = || fields.next()?.parse().ok();
    Some(Process { pid, parent: number()?, group: number()? })
}

/// Ends the keeper as the tool ended, so that whoever waits for it is told the truth.
fn as_it_ended(status: ExitStatus) -> ExitCode {
    if let Some(number) = status.signal() {
        let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
        // The memory of the keeper explains nothing.
        let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
        if number == nix::libc::SIGKILL {
            let _ = kill(Pid::this(), Signal::SIGKILL);
        }
        let _ = signal_hook::low_level::emulate_default_handler(number);
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    ExitCode::from(code.unwrap_or(NOT_STARTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_confuse_the_reader_of_stat() {
        let found = parse_stat(b"42 (a) Z 1 (b) S 7 9 9 0 -1").unwrap();
        assert_eq!(found, Process { pid: 42, parent: 7, group: 9 });
        assert_eq!(parse_stat(b"42 (tool) Z 7 9 9 0 -1"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn whatever_is_below_is_found_also_outside_the_group() {
        let process = |pid, parent| Process { pid, parent, group: pid };
        let all = [process(2, 1), process(3, 2), process(5, 3), process(4, 1), process(1, 0)];
        let pids: Vec<i32> = descendants(&all, 2).into_iter().map(|p| p.pid).collect();
        assert_eq!(pids, [3, 5]);
    }
}
