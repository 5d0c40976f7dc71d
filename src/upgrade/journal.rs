//! The durable record of one run: each step is marked before it acts and after it is done.
//!
//! The journal tells what was attempted; whether it happened is asked of the machine. It is replaced
//! as a whole at every mark, so that a power cut leaves the mark before or the mark after. What is about
//! to act waits until its mark is on disk, and with it all before; that something has acted need not be
//! told twice, so it is on disk with whatever comes next.

mod aside;
mod begun;
mod left;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Context, Result};
use crate::layout::Layout;
use crate::migrations::{DataState, HistoryPrint};
use crate::outcome::Outcome;
use crate::system::clock::{self, Clock};
use crate::system::fs;
use crate::version::Version;

use super::baseline::{self, Comparison, Noted};
use super::recover::world::World;
use super::step::Step;
pub use aside::TakenBack;

const MOST_BYTES: u64 = 16 << 20;

/// One run of the engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Format of this file.
    pub format: u32,
    /// Where the run leads.
    #[serde(default, skip_serializing_if = "Direction::is_forward")]
    pub direction: Direction,
    /// Stamp of the run, unique on the machine because runs hold a lock.
    pub run: String,
    /// Version before, where it is known.
    pub from: Option<Version>,
    /// Version that is installed.
    pub to: Version,
    /// Process that ran.
    pub pid: u32,
    /// When it began, RFC 3339.
    pub started: String,
    /// When it ended, RFC 3339; none while it runs, or when it was killed.
    pub finished: Option<String>,
    /// How it ended, the outcome's word.
    pub outcome: Option<String>,
    /// The first line of the failure.
    pub message: Option<String>,
    /// What was true of the machine after the failure.
    pub state: Option<String>,
    /// The next command after the failure.
    pub next: Option<String>,
    /// The restore point that this run made.
    pub restore_point: Option<String>,
    /// The same where an earlier attempt had made it, and it was used again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_again: Option<String>,
    /// Names of the clones that this run was about to make.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clones: Vec<String>,
    /// The restore point from before the first attempt, where an earlier one left the data half done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub way_back: Option<String>,
    /// Where a failure left the data; none after a good run, and of one that was killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataState>,
    /// What was observed of the failure, such as the last lines of a tool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub detail: Vec<String>,
    /// Units that ran before, in stop order.
    pub running: Vec<String>,
    /// Sessions that blocked a migration and were ended, or could not be, because the operator
    /// asked for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended_sessions: Vec<String>,
    /// The hold or window that a person overrode for this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrode: Option<String>,
    /// The marks in their order.
    pub marks: Vec<Mark>,
    /// When the gate was opened by hand after this run, or after one whose half-done data it found:
    /// what was written since is nobody's migration. RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<String>,
    /// What asked the run to stop, such as `SIGTERM`, where something did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupted: Option<String>,
    /// What was so before the first change.
    #[serde(default)]
    pub baseline: Option<Noted>,
    /// What is different since.
    #[serde(
        default,
        deserialize_with = "baseline::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub comparison: Option<Comparison>,
    /// By what package and databases are known again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub world: Option<World>,
    /// What a person had taken back; none for every other run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_back: Option<TakenBack>,
}

/// Where a run leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To the version that was installed: an upgrade.
    #[default]
    Forward,
    /// To the version that was there before, with its data: a rollback.
    Back,
}

impl Direction {
    /// Returns whether the run is an upgrade.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks")]
    fn is_forward(&self) -> bool {
        *self == Self::Forward
    }
}

/// Notes that these clones are given up by the operator's word: no run needs them any more.
pub fn give_up(layout: &Layout, clones: &[&str]) -> Result<()> {
    let last = read(layout)?.map(|record| (layout.journal(), record));
    let path = |record: &Record| layout.history_of(&record.run);
    let past = history(layout)?.into_iter().map(|record| (path(&record), record));
    for (path, mut record) in last.into_iter().chain(past) {
        if record.clones.iter().any(|name| clones.contains(&name.as_str())) {
            record.clones.retain(|name| !clones.contains(&name.as_str()));
            write(&path, &record)?;
        }
    }
    Ok(())
}

/// Notes that the data of this restore point was put back by hand: nothing is half done any more.
pub fn put_back(layout: &Layout, id: &str) -> Result<()> {
    match read(layout)? {
        Some(mut record) if record.leads_back() == Some(id) => {
            record.data = Some(DataState::Unchanged);
            write(&layout.journal(), &record)
        }
        Some(_) | None => Ok(()),
    }
}

/// Notes that somebody is about to open the gate by hand: from then on anybody may write.
pub fn note_opened(layout: &Layout, at: &str) -> Result<()> {
    match read(layout)? {
        Some(record) => write(&layout.journal(), &Record { opened: Some(at.to_owned()), ..record }),
        None => Ok(()),
    }
}

/// One line of the journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mark {
    /// The step.
    pub step: Step,
    /// Whether it is about to act or has acted.
    pub when: When,
    /// RFC 3339.
    pub at: String,
    /// Milliseconds since the run began.
    pub elapsed_ms: u64,
    /// What it did, such as the versions applied.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// Whether a step is about to act or has acted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// It is about to act.
    Begun,
    /// It has acted.
    Done,
}

/// The journal of the run that holds the lock.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    history: PathBuf,
    clock: Clock,
    began: std::time::Instant,
    record: Record,
}

impl Journal {
    /// Opens the journal of a new run; the record of the run before is in the history by then.
    pub fn begin(layout: &Layout, clock: Clock, mut record: Record) -> Result<Self> {
        fs::make_dir(&layout.upgrade_dir(), 0o755)?;
        fs::make_dir(&layout.history_dir(), 0o755)?;
        keep_last(layout)?;
        record.take_unused_name(layout)?;
        Self::at(layout.journal(), layout, clock, record)
    }

    /// Writes the record of a run that begins now to this file, which it is kept in.
    fn at(path: PathBuf, layout: &Layout, clock: Clock, record: Record) -> Result<Self> {
        let (history, began) = (layout.history_of(&record.run), std::time::Instant::now());
        let journal = Self { path, history, clock, began, record };
        // Nothing acts before the first mark, which syncs the directory.
        fs::replace_soon(&journal.path, text(&journal.record)?.as_bytes(), 0o644)?;
        Ok(journal)
    }

    /// Marks that a step is about to act. Only when this is on disk may the step act.
    pub fn begun(&mut self, step: Step, note: impl Into<String>) -> Result<()> {
        self.mark(step, When::Begun, note.into())
    }

    /// Marks that a step has acted. A power cut before the next mark may leave it as about to act, as
    /// one right before this mark would.
    pub fn done(&mut self, step: Step, note: impl Into<String>) -> Result<()> {
        self.push(step, When::Done, note.into());
        fs::replace_soon(&self.path, text(&self.record)?.as_bytes(), 0o644)
    }

    fn mark(&mut self, step: Step, when: When, note: String) -> Result<()> {
        self.push(step, when, note);
        write(&self.path, &self.record)
    }

    fn push(&mut self, step: Step, when: When, note: String) {
        let at = clock::rfc3339(self.clock.now());
        let elapsed_ms = clock::millis(self.began.elapsed());
        self.record.marks.push(Mark { step, when, at, elapsed_ms, note });
    }

    /// Marks that the migrations of a database are done, and what its history says then; without that
    /// a later look only knows what was there before.
    pub fn migrated(&mut self, name: &str, note: String, end: Option<HistoryPrint>) -> Result<()> {
        let world = self.record.world.as_mut();
        if let Some(database) = world.and_then(|world| world.databases.get_mut(name)) {
            database.end = end;
        }
        self.done(Step::Migrate, note)
    }

    /// Notes that the run was asked to stop, and by what; closing it writes that down.
    pub fn interrupted(&mut self, by: &str) {
        self.record.interrupted = Some(by.to_owned());
    }

    /// Notes the restore point of this run; from now on nothing may prune it.
    pub fn restore_point(&mut self, id: &str) -> Result<()> {
        self.record.restore_point = Some(id.to_owned());
        write(&self.path, &self.record)
    }

    /// Notes that the restore point of this run is that of the attempt before.
    pub fn used_again(&mut self, id: &str) {
        self.record.used_again = Some(id.to_owned());
    }

    /// Notes the names of clones before any of them is made.
    pub fn clones(&mut self, names: &[String]) -> Result<()> {
        self.record.clones = names.to_vec();
        write(&self.path, &self.record)
    }

    /// Notes sessions of others that were ended for a migration.
    pub fn ended_sessions(&mut self, ended: &[String]) -> Result<()> {
        if ended.is_empty() {
            return Ok(());
        }
        self.record.ended_sessions.extend_from_slice(ended);
        write(&self.path, &self.record)
    }

    /// Notes what is different from the baseline; closing the run writes it down.
    pub fn compared(&mut self, comparison: Comparison) {
        self.record.comparison = Some(comparison);
    }

    /// Notes where a failure leaves the data; closing the run writes it down.
    pub fn left(&mut self, data: DataState) {
        self.record.data = Some(data);
    }

    /// Closes the run and keeps its record in the history.
    pub fn close(&mut self, outcome: Outcome, failure: Option<&crate::error::Error>) -> Result<()> {
        self.record.finished = Some(clock::rfc3339(self.clock.now()));
        self.record.outcome = Some(outcome.word().to_owned());
        if let Some(failure) = failure {
            self.record.message = Some(failure.message());
            self.record.detail = failure.details().to_vec();
            self.record.state = failure.state_line().map(str::to_owned);
            self.record.next = failure.hint_line().map(str::to_owned);
        }
        // The next run writes it again, where a power cut takes it.
        fs::replace_soon(&self.history, text(&self.record)?.as_bytes(), 0o644)?;
        write(&self.path, &self.record)
    }

    /// Returns the losses that nobody declared, a line each.
    pub fn losses(&self) -> Vec<String> {
        let doubts = self.record.comparison.iter().flat_map(Comparison::doubts);
        doubts.map(|change| change.told()).collect()
    }

    /// Returns what is recorded so far.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Returns how long the run has taken so far.
    pub fn elapsed(&self) -> std::time::Duration {
        self.began.elapsed()
    }
}

/// Reads the record of the current or last run; a damaged one counts as none.
pub fn read(layout: &Layout) -> Result<Option<Record>> {
    read_record(&layout.journal())
}

/// Returns whether there is a record of the last run that cannot be read.
pub fn is_damaged(layout: &Layout) -> Result<bool> {
    Ok(layout.journal().exists() && read(layout)?.is_none())
}

/// Reads the records of past runs, newest first.
pub fn history(layout: &Layout) -> Result<Vec<Record>> {
    let Ok(entries) = std::fs::read_dir(layout.history_dir()) else { return Ok(Vec::new()) };
    let mut records: Vec<Record> = entries
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|e| e == "json"))
        .filter_map(|entry| read_record(&entry.path()).ok().flatten())
        .collect();
    records.sort_by(|a, b| b.run.cmp(&a.run));
    Ok(records)
}

fn read_record(path: &std::path::Path) -> Result<Option<Record>> {
    match fs::read_text(path, MOST_BYTES) {
        // The journal is evidence, not the decision: recovery looks at the machine. One that cannot
        // be read therefore never blocks the next run.
        Ok(text) => Ok(serde_json::from_str(&text).ok()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(error).context(|| format!("cannot read {}", path.display())),
    }
}

/// Sets the record of the last run aside: it is history, and recovery goes by it no more.
pub fn set_aside(layout: &Layout) -> Result<()> {
    keep_last(layout)?;
    fs::remove_file(&layout.journal())
}

/// Keeps the record of the last run in the history. One that was killed never wrote it, and a power cut may
/// have taken one that was just written.
fn keep_last(layout: &Layout) -> Result<()> {
    let Some(last) = read(layout)? else { return Ok(()) };
    let path = layout.history_of(&last.run);
    if last.finished.is_none() || read_record(&path)?.is_none() {
        fs::make_dir(&layout.history_dir(), 0o755)?;
        write(&path, &last)?;
    }
    Ok(())
}

pub(super) fn write(path: &std::path::Path, record: &Record) -> Result<()> {
    fs::replace(path, text(record)?.as_bytes(), 0o644)
}

fn text(record: &Record) -> Result<String> {
    serde_json::to_string(record).context(|| "cannot write the journal".into())
}
