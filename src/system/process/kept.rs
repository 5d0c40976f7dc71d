//! A call under a keeper: streamed output, and nothing of it outlives us.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use super::pipes::send_lines;
use super::{Call, Failure, keeper};
use crate::system::clock::{Deadline, pause};
use crate::system::signals;

/// How long the keeper may take beyond the grace that it gives: it ends what does not listen.
const KEEPER: Duration = Duration::from_secs(15);

/// How long a look at the child is put off at most.
const TICK: Duration = Duration::from_millis(250);

/// How many lines wait to be looked at; beyond it the child has to wait.
const QUEUED: usize = 1024;

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// A line that the child printed.
#[derive(Debug)]
pub struct Printed {
    /// Where it came from.
    pub stream: Stream,
    /// The line, without its end.
    pub line: String,
}

impl Call {
    /// Runs the program to its end under a keeper; `watch` sees each line of both streams as it
    /// comes, and `None` about four times a second meanwhile.
    ///
    /// When the time is up, when we are asked to stop, and also when we are killed, everything that
    /// the program started is ended: SIGTERM, then SIGKILL after the grace.
    pub fn run_kept(self, mut watch: impl FnMut(Option<&Printed>)) -> Result<(), Failure> {
        let mut child = self.start_kept().map_err(Failure::NotStarted)?;
        let lines = printed(&mut child);
        let deadline = self.deadline.map(Deadline::after);
        let end = loop {
            let tick = deadline.map_or(TICK, |deadline| TICK.min(deadline.remaining()));
            match lines.recv_timeout(tick) {
                Ok(line) => watch(Some(&line)),
                Err(RecvTimeoutError::Timeout) => watch(None),
                Err(RecvTimeoutError::Disconnected) => pause(Duration::from_millis(2)),
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
        let end = match end {
            Ok(status) => Ok(status),
            Err(failure) => {
                self.end_kept(&mut child, &lines, &mut watch);
                Err(failure)
            }
        };
        // The keeper was the last to hold the pipes, unless something could not even be killed.
        let rest = Deadline::after(Duration::from_secs(2));
        while let Ok(line) = lines.recv_timeout(rest.remaining()) {
            watch(Some(&line));
        }
        ended_well(end?)
    }

    /// Lets go of the keeper, which ends what it keeps; what is printed meanwhile is still read.
    fn end_kept(
        &self,
        child: &mut Child,
        lines: &Receiver<Printed>,
        watch: &mut impl FnMut(Option<&Printed>),
    ) {
        drop(child.stdin.take());
        let limit = Deadline::after(self.grace + KEEPER);
        while !limit.passed() {
            match lines.recv_timeout(Duration::from_millis(20)) {
                Ok(line) => watch(Some(&line)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => pause(Duration::from_millis(2)),
            }
            if let Ok(Some(_)) = child.try_wait() {
                return;
            }
        }
        let _ = child.kill();
        let _ = child.wait();
    }

    #[expect(clippy::disallowed_methods, reason = "the one door to processes")]
    fn start_kept(&self) -> std::io::Result<Child> {
        let own_home = || std::env::var_os("HOME");
        let (home, name) = match &self.identity {
            Some(identity) => (Some(identity.home.clone().into()), Some(&identity.name)),
            None => (own_home(), None),
        };
        // What a login would set; a variable of the call counts before it.
        let login = home.map(|home| ("HOME", home)).into_iter();
        let login =
            login.chain(name.iter().flat_map(|name| {
                ["USER", "LOGNAME"].map(|variable| (variable, name.as_str().into()))
            }));
        // This very program, also when its file was replaced meanwhile.
        Command::new("/proc/self/exe")
            .arg0(keeper::NAME)
            .arg(self.grace.as_millis().to_string())
            .arg(self.identity.as_ref().map_or("", |identity| identity.name.as_str()))
            .arg(&self.dir)
            .arg(&self.program)
            .args(&self.args)
            .env_clear()
            .envs(login)
            .envs(&self.env)
            .current_dir("/")
            // Held open by us alone: it closes when we end, however we end.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
    }
}

fn printed(child: &mut Child) -> Receiver<Printed> {
    let (sender, receiver) = mpsc::sync_channel(QUEUED);
    if let Some(pipe) = child.stdout.take() {
        let wrap = |line| Printed { stream: Stream::Output, line };
        send_lines(pipe, sender.clone(), wrap);
    }
    if let Some(pipe) = child.stderr.take() {
        send_lines(pipe, sender, |line| Printed { stream: Stream::Error, line });
    }
    receiver
}

fn ended_well(status: ExitStatus) -> Result<(), Failure> {
    if status.success() {
        return Ok(());
    }
    Err(Failure::Ended { status, stdout: Vec::new(), stderr: String::new() })
}
