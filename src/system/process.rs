//! Processes: found once, started with closed input and a reduced environment, awaited with care.

mod held;
pub mod keeper;
mod kept;
mod pipes;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::system::clock::Deadline;
use crate::system::identity::Identity;
use crate::system::signals;

pub use held::Held;
pub use kept::{Printed, Stream};
use pipes::{push_tail, read_all, read_lines};

/// How long what an ended program has said is waited for, where its pipe stays open.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long a child may take to end after SIGTERM before its group is killed, unless the call says.
const GRACE: Duration = Duration::from_secs(10);

/// Finds a program in `PATH` and in the system directories that cron and rpm leave out of it.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    dirs.extend(["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from));
    let joined = std::env::join_paths(dirs).ok()?;
    which::which_in(name, Some(joined), "/").ok()
}

/// Finds a program by its absolute path, or by its name in these directories and no others.
pub fn find_in(word: &str, path: &str) -> Option<PathBuf> {
    if word.contains('/') && !word.starts_with('/') {
        return None;
    }
    which::which_in(word, Some(path), "/").ok()
}

/// What a child finds on its standard input.
#[derive(Debug)]
pub enum Input {
    /// Nothing.
    Closed,
    /// This file or directory; a directory reaches a child that may not walk to it by path.
    File(File),
}

/// One call of a program; `Debug` leaves out the environment, which holds passwords.
pub struct Call {
    program: PathBuf,
    args: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
    input: Input,
    output: Option<File>,
    identity: Option<Identity>,
    deadline: Option<Duration>,
    grace: Duration,
    dir: PathBuf,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

/// What a call that ended well printed.
#[derive(Debug)]
pub struct Output {
    /// Standard output, whole.
    pub stdout: Vec<u8>,
    /// The end of standard error.
    pub stderr: String,
}

impl Output {
    /// Returns standard output as text without surrounding white space.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }
}

/// Why a call did not end well.
#[derive(Debug)]
pub enum Failure {
    /// The program could not be started at all.
    NotStarted(std::io::Error),
    /// It ended with something else than exit status 0.
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// Standard output, whole.
        stdout: Vec<u8>,
        /// The end of standard error.
        stderr: String,
    },
    /// It did not end in time and was killed with its process group.
    TimedOut(Duration),
    /// We were asked to stop and ended it.
    Interrupted(&'static str),
}

impl Failure {
    /// Returns the end of what the program printed to standard error.
    pub fn stderr(&self) -> &str {
        match self {
            Self::Ended { stderr, .. } => stderr,
            Self::NotStarted(_) | Self::TimedOut(_) | Self::Interrupted(_) => "",
        }
    }

    /// Returns the exit status, where the program ended by itself.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Ended { status, .. } => status.code(),
            Self::NotStarted(_) | Self::TimedOut(_) | Self::Interrupted(_) => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(error) => write!(f, "could not be started: {error}"),
            Self::Ended { status, .. } => f.write_str(&ended(*status)),
            Self::TimedOut(limit) => {
                write!(f, "did not end within {}", crate::system::clock::spoken(*limit))
            }
            Self::Interrupted(signal) => write!(f, "was ended because we received {signal}"),
        }
    }
}

impl std::error::Error for Failure {}

fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(number)) => match Signal::try_from(number) {
            Ok(signal) => format!("was killed by {signal}"),
            Err(_) => format!("was killed by signal {number}"),
        },
        (None, None) => "ended in an unknown way".into(),
    }
}

impl Call {
    /// Prepares a call of a program: no arguments, closed input, environment reduced to a list.
    pub fn new(program: impl AsRef<Path>) -> Self {
        let mut env = BTreeMap::new();
        let path =
            std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
        env.insert("PATH".into(), path);
        // Output that we parse must not be translated.
        env.insert("LC_ALL".into(), "C".into());
        env.insert("TZ".into(), "UTC".into());
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env,
            input: Input::Closed,
            output: None,
            identity: None,
            deadline: None,
            grace: GRACE,
            dir: PathBuf::from("/"),
        }
    }

    /// Adds one argument; never a secret, arguments are visible to every user.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets one variable of the child's environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(name.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// Sets what the child finds on its standard input.
    #[must_use]
    pub fn input(mut self, input: Input) -> Self {
        self.input = input;
        self
    }

    /// Sends standard output to this file or pipe, instead of keeping it.
    #[must_use]
    pub fn output(mut self, output: File) -> Self {
        self.output = Some(output);
        self
    }

    /// Runs the child as another system user (needs root).
    #[must_use]
    pub fn identity(mut self, identity: Option<Identity>) -> Self {
        self.identity = identity;
        self
    }

    /// Kills the child's process group when it has not ended by then; there is no limit by default.
    #[must_use]
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = Some(limit);
        self
    }

    /// Sets how long the child may take to end after SIGTERM, and how long output that a grandchild
    /// holds open is waited for.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Starts the child in this directory instead of `/`.
    #[must_use]
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = dir.as_ref().to_owned();
        self
    }

    /// Returns the program and its arguments as a person would type them.
    pub fn shown(&self) -> String {
        let mut words = vec![self.program.display().to_string()];
        words.extend(self.args.iter().map(|arg| arg.to_string_lossy().into_owned()));
        words.join(" ")
    }

    /// Runs the program to its end.
    pub fn run(self) -> Result<Output, Failure> {
        self.run_watched(|_| {})
    }

    /// Runs the program to its end; `watch` sees each line of standard error as it comes, and
    /// `None` about four times a second meanwhile.
    pub fn run_watched(mut self, mut watch: impl FnMut(Option<&str>)) -> Result<Output, Failure> {
        let mut child = self.start().map_err(Failure::NotStarted)?;
        let stdout = child.stdout.take().map(read_all);
        let lines = child.stderr.take().map(read_lines);
        let deadline = self.deadline.map(Deadline::after);
        let mut tail = String::new();
        let end = loop {
            let tick = Duration::from_millis(250);
            let tick = deadline.map_or(tick, |deadline| tick.min(deadline.remaining()));
            match lines.as_ref().map(|lines| lines.recv_timeout(tick)) {
                Some(Ok(line)) => {
                    watch(Some(&line));
                    push_tail(&mut tail, &line);
                }
                Some(Err(RecvTimeoutError::Timeout)) => watch(None),
                // Standard error is closed: the child is ending, or a grandchild keeps its output.
                Some(Err(RecvTimeoutError::Disconnected)) | None => {
                    super::clock::pause(Duration::from_millis(2));
                }
            }
            if let Some(status) = child.try_wait().map_err(Failure::NotStarted)? {
                break Ok(status);
            }
            if deadline.is_some_and(Deadline::passed) {
                break Err(Failure::TimedOut(self.deadline.unwrap_or_default()));
            }
            if let Some(signal) = signals::received() {
                break Err(Failure::Interrupted(signal));
            }
        };
        let status = end.inspect_err(|_| end_group(&mut child, self.grace))?;
        // Its last words may still be on their way here; a grandchild may keep the pipe open for ever.
        let last = Deadline::after(LAST_WORDS);
        let next = |lines: &Receiver<String>| lines.recv_timeout(last.remaining()).ok();
        while let Some(line) = lines.as_ref().and_then(next) {
            watch(Some(&line));
            push_tail(&mut tail, &line);
        }
        let stdout =
            stdout.and_then(|reader| reader.recv_timeout(self.grace).ok()).unwrap_or_default();
        let stderr = tail.trim().to_owned();
        if status.success() {
            Ok(Output { stdout, stderr })
        } else {
            Err(Failure::Ended { status, stdout, stderr })
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the one door to processes")]
    fn start(&mut self) -> std::io::Result<Child> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .env_clear()
            .envs(&self.env)
            .current_dir(&self.dir)
            .stdin(match std::mem::replace(&mut self.input, Input::Closed) {
                Input::Closed => Stdio::null(),
                Input::File(file) => Stdio::from(file),
            })
            .stdout(self.output.take().map_or_else(Stdio::piped, Stdio::from))
            .stderr(Stdio::piped())
            // An own group: Ctrl-C on the terminal reaches us, and we decide when to end the child.
            .process_group(0);
        if let Some(identity) = &self.identity {
            command.uid(identity.uid).gid(identity.gid).env("HOME", &identity.home);
        } else if let Some(home) = std::env::var_os("HOME") {
            command.env("HOME", home);
        }
        command.spawn()
    }
}

fn end_group(child: &mut Child, grace: Duration) {
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    let _ = nix::sys::signal::killpg(group, Signal::SIGTERM);
    let grace = Deadline::after(grace);
    while !grace.passed() {
        if let Ok(Some(_)) = child.try_wait() {
            break;
        }
        super::clock::pause(Duration::from_millis(20));
    }
    // Also when the child itself has ended: what it started may not have listened to SIGTERM.
    let _ = nix::sys::signal::killpg(group, Signal::SIGKILL);
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_program_is_told_with_its_last_words() {
        let failure =
            Call::new("/bin/sh").args(["-c", "echo cannot >&2; exit 7"]).run().unwrap_err();
        assert_eq!(failure.to_string(), "exited with status 7");
        assert_eq!(failure.stderr(), "cannot");
    }

    #[test]
    fn a_killed_program_is_told_by_the_signals_name() {
        let failure = Call::new("/bin/sh").args(["-c", "kill -KILL $$"]).run().unwrap_err();
        assert_eq!(failure.to_string(), "was killed by SIGKILL");
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_its_children() {
        let failure = Call::new("/bin/sh")
            .args(["-c", "sleep 600 & sleep 600"])
            .deadline(Duration::from_millis(200))
            .run()
            .unwrap_err();
        assert!(matches!(failure, Failure::TimedOut(_)));
    }

    #[test]
    fn the_environment_is_reduced_to_a_list() {
        let output = Call::new("/usr/bin/env").env("PGHOST", "h").run().unwrap();
        let text = output.text();
        let mut names: Vec<&str> = text.lines().filter_map(|l| l.split('=').next()).collect();
        names.retain(|name| *name != "HOME" && *name != "PATH");
        assert_eq!(names, ["LC_ALL", "PGHOST", "TZ"]);
    }

    /// Row 77.
    #[test]
    fn a_program_never_reads_the_terminal() {
        assert_eq!(Call::new("/bin/cat").run().unwrap().stdout, b"");
    }

    #[test]
    fn the_last_words_of_a_program_that_fails_are_whole() {
        for _ in 0..50 {
            let call = Call::new("/bin/sh").args(["-c", "seq 2000 >&2; exit 3"]);
            let failure = call.run().unwrap_err();
            assert!(failure.stderr().ends_with("\n2000"), "{}", failure.stderr());
        }
    }
}
