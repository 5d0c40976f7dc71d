//! One run of the tool, under the lock, with what is true before and after it.

use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use super::super::Pending;
use super::super::apply::{Applied, How, Mode};
use super::super::failure::{DataState, Failure, Why};
use super::super::fingerprint::{HistoryPrint, of_tool};
use super::look::{ALL, look, look_for_pending, with_version};
use super::tool::{APPLICATION, Command, Purpose};
use super::transcript::Transcript;
use super::watch;
use crate::database::{Change, Database, DatabaseLock, Imprint, Session, sessions};
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::system::clock::{self, Deadline};
use crate::system::process;

/// How long sessions of a tool that has ended may take to be gone.
const SESSIONS_END: Duration = Duration::from_secs(15);

/// Between two looks at what should be gone, or come back, soon.
const BETWEEN: Duration = Duration::from_millis(100);

/// Runs the tool where something is pending, under a lock that the caller holds.
pub(in super::super) fn apply(
    database: &Database,
    command: &Command,
    how: How<'_>,
    progress: &dyn Progress,
) -> std::result::Result<Applied, Failure> {
    let begun = Instant::now();
    let start = prepare(database, command, how.lock, how.said_pending).map_err(Failure::refused)?;
    let Some(Start { pending, imprint, sessions }) = start else {
        // Another host has done it since we looked.
        let (versions, history) = (Vec::new(), left_behind(database, command));
        return Ok(Applied { versions, mode: Mode::All, history, duration: begun.elapsed() });
    };
    let call = command.call(database, &command.spec().apply, Purpose::Apply);
    let call = call.map_err(Failure::refused)?;
    let call = match command.spec().timeout {
        Some(limit) => call.deadline(limit),
        None => call,
    };
    let (end, said) = run(database, command, call, how.lock_timeout, how.lock, progress);
    let after = After::look(database, command, &imprint, &sessions, how.reconnect_within);
    if let (Ok(()), Some(left)) = (&end, &after.still_pending) {
        let versions = done(&pending, left);
        if left.is_empty() {
            keep_lock(database, how.lock, progress)
                .map_err(|error| after.failure(error, &pending, Vec::new()))?;
            let history = after.history;
            return Ok(Applied { versions, mode: Mode::Each, history, duration: begun.elapsed() });
        }
    }
    let error = failed(command, &end, &after, &said);
    // Only a tool that was asked can have said what it has done.
    let told = after.still_pending.as_ref().filter(|_| command.spec().status.is_some());
    let applied = told.map_or(Vec::new(), |left| done(&pending, left));
    Err(after.failure(error, &pending, applied))
}

/// What the tool says of itself where there is nothing to do.
fn left_behind(database: &Database, command: &Command) -> Option<HistoryPrint> {
    let mut session = database.connect().ok()?;
    look(&mut session, command).ok().map(|found| of_tool(&found))
}

/// How a command ended.
type End = std::result::Result<(), process::Failure>;

/// What was so before the run.
struct Start {
    pending: Vec<String>,
    imprint: Imprint,
    /// Server processes of others, which are not the tool's.
    sessions: Vec<i32>,
}

fn prepare(
    database: &Database,
    command: &Command,
    lock: &mut DatabaseLock,
    said_pending: Option<&[Pending]>,
) -> Result<Option<Start>> {
    lock.check()?;
    // Every session of ours but the lock's is taken for one that an earlier run left.
    lock.alone();
    let mut session = database.connect()?;
    let pending = match said_pending {
        Some(pending) => names(pending),
        None => names(&look_for_pending(&mut session, command)?.pending),
    };
    if pending.is_empty() {
        return Ok(None);
    }
    // A run that was killed may have left a statement that the server still works on.
    let left = end_sessions(&mut session, &[])?;
    if let Some(other) = left.first() {
        return Err(Error::new(
            Outcome::Refused,
            format!("{} still has a session of an earlier run: {other}", database.described()),
        )
        .state("nothing was changed")
        .hint("Wait for it, or end it, then run this again."));
    }
    let sessions =
        sessions::foreign_sessions(&mut session)?.iter().map(|other| other.pid).collect();
    let imprint = session
        .imprint()
        .map_err(|error| Error::failed("cannot look at the schema").source(error))?;
    Ok(Some(Start { pending, imprint, sessions }))
}

/// Runs the tool to its end; returns the last lines of what it printed.
fn run(
    database: &Database,
    command: &Command,
    call: process::Call,
    patience: Duration,
    lock: &mut DatabaseLock,
    progress: &dyn Progress,
) -> (End, Vec<String>) {
    let mut transcript = Transcript::new(progress);
    let (begun, mut beat) = (Instant::now(), Instant::now());
    let shown = command.shown();
    let lock = Mutex::new(lock);
    let (stop, stopped) = mpsc::channel();
    let ran = std::thread::scope(|scope| {
        let lock = &lock;
        scope.spawn(move || watch::run(lock, patience, progress, &stopped));
        // Dropped at the end of this closure, even by a panic: that ends the other thread.
        let _stop = stop;
        command.run(database, call, Purpose::Apply, |line| {
            if let Some(line) = line {
                transcript.add(line);
            }
            if beat.elapsed() >= Duration::from_secs(1) {
                beat = Instant::now();
                let last = transcript.last().map_or(String::new(), |line| format!(": {line}"));
                let since = clock::spoken(begun.elapsed());
                progress.alive(&format!("running {shown} for {since}{last}"), 0, None);
            }
        })
    });
    (ran.end, transcript.finish())
}

/// What is true after the run, asked of the database.
struct After {
    change: Option<Change>,
    /// What the tool says is pending; none where it could not say.
    still_pending: Option<Vec<String>>,
    /// What the tool says of itself once nothing is pending.
    history: Option<HistoryPrint>,
    /// Why something could not be asked.
    trouble: Vec<String>,
}

impl After {
    fn look(
        database: &Database,
        command: &Command,
        before: &Imprint,
        known: &[i32],
        within: Duration,
    ) -> Self {
        let mut after =
            Self { change: None, still_pending: None, history: None, trouble: Vec::new() };
        if let Err(error) = after.ask(database, command, before, known, within) {
            after.trouble.push(error.message());
            after.trouble.extend(error.details().iter().cloned());
        }
        after
    }

    fn ask(
        &mut self,
        database: &Database,
        command: &Command,
        before: &Imprint,
        known: &[i32],
        within: Duration,
    ) -> Result<()> {
        let mut session = connect_within(database, within)?;
        // What the server counts of a session is told when it ends.
        let left = end_sessions(&mut session, known)?;
        let changed = session
            .changed_since(before)
            .map_err(|error| Error::failed("cannot look at the schema").source(error))?;
        self.change = match left.first() {
            None => Some(changed),
            Some(other) => {
                self.trouble.push(format!("a session of the run is still there: {other}"));
                None
            }
        };
        let found = look_for_pending(&mut session, command)?;
        // A tool that cannot say what is pending has done it all when it says that it ended well.
        self.still_pending = Some(match command.spec().status {
            Some(_) => names(&found.pending),
            None => Vec::new(),
        });
        if self.still_pending.as_ref().is_some_and(Vec::is_empty) {
            let found = with_version(&mut session, command, found);
            self.history = found.ok().map(|found| of_tool(&found));
        }
        Ok(())
    }

    fn data(&self) -> DataState {
        match &self.change {
            Some(Change::None) => DataState::Unchanged,
            Some(Change::Some(_)) => DataState::Partly,
            Some(Change::Perhaps(_)) | None => DataState::Unknown,
        }
    }

    fn failure(&self, error: Error, pending: &[String], applied: Vec<String>) -> Failure {
        let not_applied = pending.iter().filter(|name| !applied.contains(name)).cloned().collect();
        let error = match &self.change {
            Some(Change::Some(what)) => error.detail(format!("what it left: {what}")),
            Some(Change::Perhaps(what)) => error.detail(format!("what it may have left: {what}")),
            Some(Change::None) => error.detail("the database is as it was before this run"),
            None => error.detail("whether the database changed could not be found out"),
        };
        let error = self.trouble.iter().fold(error, |error, line| error.detail(line));
        let data = self.data();
        Failure { error, applied, failed: None, not_applied, data, why: Why::Tool }
    }
}

fn failed(command: &Command, end: &End, after: &After, said: &[String]) -> Error {
    let shown = command.shown();
    let what = match (end, &after.still_pending) {
        (Err(failure), _) => format!("{shown} {failure}"),
        (Ok(()), Some(left)) => {
            format!("{shown} exited with status 0, but pending is still: {}", left.join(" "))
        }
        (Ok(()), None) => format!("{shown} exited with status 0, but what is so now is not known"),
    };
    let error = Error::new(Outcome::MigrationFailed, what);
    said.iter().fold(error, |error, line| error.detail(line))
}

/// Ends the sessions that call themselves as we told the tool to, and waits for those of the run
/// that call themselves otherwise; returns what is left of them.
///
/// The processes of the tool are dead by now, but a server notices that only when it next speaks.
fn end_sessions(session: &mut Session, known: &[i32]) -> Result<Vec<sessions::SessionInfo>> {
    let limit = Deadline::after(SESSIONS_END);
    loop {
        let mut others = sessions::foreign_sessions(session)?;
        // Without a list of what was there before, only the name tells.
        others.retain(|other| {
            let idle = other.state == "idle";
            let new = !known.is_empty() && !known.contains(&other.pid) && !idle;
            other.application == APPLICATION || new
        });
        let ours: Vec<sessions::SessionInfo> =
            others.iter().filter(|other| other.application == APPLICATION).cloned().collect();
        sessions::end_sessions(session, &ours)?;
        if others.is_empty() || limit.passed() {
            return Ok(others);
        }
        clock::pause(BETWEEN);
    }
}

fn connect_within(database: &Database, within: Duration) -> Result<Session> {
    let limit = Deadline::after(within);
    loop {
        match database.connect() {
            Err(error) if error.outcome() == Outcome::Unreachable && !limit.passed() => {
                clock::pause(BETWEEN.min(limit.remaining()));
            }
            ended => return ended,
        }
    }
}

/// The tool has done its work; a lock that was lost meanwhile is taken again, or somebody else has it.
fn keep_lock(database: &Database, lock: &mut DatabaseLock, progress: &dyn Progress) -> Result<()> {
    if lock.check().is_ok() {
        return Ok(());
    }
    *lock = DatabaseLock::acquire(database, "upgrade", Duration::ZERO)?;
    progress.warn("the lock of the database was lost during the run, and taken again after it");
    Ok(())
}

fn names(pending: &[Pending]) -> Vec<String> {
    pending.iter().map(|pending| pending.version.to_string()).collect()
}

/// Returns what is no longer pending.
fn done(pending: &[String], left: &[String]) -> Vec<String> {
    if left.iter().any(|name| name == ALL) {
        return Vec::new();
    }
    pending.iter().filter(|name| !left.contains(name)).cloned().collect()
}
