//! SQL files that move the schema, and the history table that remembers them.
//!
//! Shipped and applied migrations are compared as sets with checksums; anything but pending ones is
//! refused by name. All pending migrations and their history rows commit in one transaction, so that
//! a failure leaves precisely the schema that the old package knows; where the server cannot do that,
//! the run falls back to smaller transactions and says so.

mod alone;
mod apply;
mod broken;
mod chain;
mod command;
mod compare;
mod correct;
mod detect;
mod doubt;
mod failure;
mod fate;
mod files;
mod fingerprint;
mod formats;
mod grouping;
mod history;
pub mod lint;
mod look;
mod problems;
mod script;
mod take_back;
mod target;
mod together;
mod watch;

use std::path::PathBuf;
use std::sync::OnceLock;

use serde::Serialize;
use smol_str::SmolStr;

use crate::version::Version;

pub use apply::{Applied, How, Mode, Observer, Place, TRIES, apply, apply_observed};
pub use chain::{Chain, load, load_for};
pub use command::{ALL, Command};
pub use compare::compare;
pub use correct::{
    Action, Correction, Signature, Write, baseline, carry_out, mark_applied, marking, repair,
    tool_locks,
};
pub use failure::{DataState, Failure, Why};
pub use files::Text;
pub use fingerprint::{HistoryPrint, look_and_print, of_history, of_package};
pub use formats::{NO_TRANSACTION, TABLE, checksum, parse_name};
pub use history::{AppliedRow, Evidence, RowState, Table, named};
pub use look::{look, look_for_pending};
pub use take_back::{TakeBack, carry_out as carry_out_back, take_back};
pub use target::{applied_beyond, cut_at};

/// By which migrations are ordered, and files and rows matched; within one format all are of one
/// kind, except that repeatable ones follow all others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A number; its width does not count.
    Number(u64),
    /// Numbers between dots, without zeros at the end.
    Parts(Box<[u64]>),
    /// Text, compared byte by byte.
    Text(Box<str>),
    /// No version: runs again when its text changed, known by its description.
    Repeatable(Box<str>),
}

impl Default for Key {
    fn default() -> Self {
        Self::Text(Box::default())
    }
}

/// One shipped file: what identifies it and how it runs, without its text.
///
/// There are thousands of them, and most are applied already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Migration {
    /// The version as the tool records it, such as `0035`.
    pub version: SmolStr,
    /// The rest of the file name, as the tool understands it.
    pub name: SmolStr,
    /// By which it is ordered and matched.
    pub key: Key,
    /// Where the file is, below the directory of its chain.
    pub file: PathBuf,
    /// Where its text is to be had.
    pub text: Text,
    /// The checksum as the tool records it, where it keeps one.
    pub checksum: Option<SmolStr>,
    /// Whether it runs inside a transaction.
    pub transactional: bool,
    /// Why it cannot be run, where it cannot, as the end of a sentence that begins with its name;
    /// one that is applied already does no harm.
    pub obstacle: Option<Box<str>>,
    /// What was found against running its text, once that was asked: it is the text that is sent, or
    /// nothing is.
    judged: OnceLock<Option<Box<Problem>>>,
}

impl Migration {
    /// Returns version and name as messages show them, such as `0035_hosts`.
    pub fn label(&self) -> String {
        history::label(&self.version, &self.name)
    }
}

/// How the schema of a database stands against the shipped migrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// No table of anybody, no history: a fresh database.
    Empty,
    /// Everything shipped is applied.
    Current,
    /// Some shipped migrations are not applied yet, and nothing else is wrong.
    Pending,
    /// The database has migrations that are newer than everything shipped.
    Ahead,
    /// History and files contradict each other: edited, skipped, or left half done.
    Divergent,
    /// Applied migrations, or numbers in the middle, are not shipped.
    Missing,
    /// Tables, but no history table: not a database of ours, or not yet.
    Unknown,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Empty,
        Self::Current,
        Self::Pending,
        Self::Ahead,
        Self::Divergent,
        Self::Missing,
        Self::Unknown,
    ];

    /// Returns the word used in JSON and on the terminal.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Current => "current",
            Self::Pending => "pending",
            Self::Ahead => "ahead",
            Self::Divergent => "divergent",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
        }
    }
}

/// A migration that is shipped and not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The version as the tool records it.
    pub version: SmolStr,
    /// The rest of the file name.
    pub name: SmolStr,
    /// Whether it runs inside a transaction.
    pub transactional: bool,
}

/// A kind of [`Problem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProblemKind {
    /// The file was changed after it was applied.
    Divergent,
    /// Applied, but not shipped although newer ones are.
    Missing,
    /// Applied, and newer than everything shipped.
    Ahead,
    /// A number is left out, in the package or in the history.
    Gap,
    /// Begun outside a transaction, end unknown.
    Indeterminate,
    /// Pending, but contains what only `psql` could run, or transaction control.
    Unrunnable,
    /// Tables, but no history table.
    Unknown,
    /// The history of another tool than the configured one.
    Foreign,
}

/// One reason why nothing may be migrated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The kind of reason.
    pub kind: ProblemKind,
    /// The version of the product that applied it, where that is recorded and matters.
    #[serde(skip)]
    pub by: Option<Box<str>>,
    /// The migration that it is about; empty where it is about the whole database.
    pub version: String,
    /// What is wrong, as one line that stands alone.
    pub what: String,
    /// Observed facts, such as both checksums.
    pub detail: String,
    /// The way out, as one sentence.
    pub hint: String,
}

/// Applied against shipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// The whole in one word.
    pub state: State,
    /// The newest applied version.
    pub current: Option<String>,
    /// The newest shipped version.
    pub head: Option<String>,
    /// How many migrations the history table has as applied.
    pub applied: usize,
    /// Applied versions that the tool does not record one by one: it keeps the newest version only,
    /// and that these ran before it is an inference.
    pub assumed: Vec<String>,
    /// What would run, in order.
    pub pending: Vec<Pending>,
    /// Whether a migration outside a transaction was begun and has not ended, even where the next run
    /// can go on with it: a database that says so is not the one from before.
    pub begun: bool,
    /// Why nothing may run; empty when it may.
    pub problems: Vec<Problem>,
}

impl Comparison {
    /// Leaves to a newer package, which is about to come, what only says that this one is too old: on
    /// a database of several hosts the first that is upgraded leaves all others so.
    ///
    /// What a version beyond that package has applied still refuses it.
    pub fn leave_to(&mut self, newer: &Version) {
        self.problems.retain(|problem| {
            let beyond = |by: &str| Version::new(by).order(newer).is_gt();
            problem.kind != ProblemKind::Ahead || problem.by.as_deref().is_some_and(beyond)
        });
    }

    /// Returns whether something would run, or keeps it from running.
    pub fn has_work_or_problem(&self) -> bool {
        !self.pending.is_empty() || !self.problems.is_empty()
    }

    /// Returns the refusal that the problems amount to, with `outcome` as the end of the run.
    ///
    /// The first problem is the message; all of them are in the details.
    pub fn refusal(&self, outcome: crate::outcome::Outcome) -> Option<crate::error::Error> {
        let first = self.problems.first()?;
        let mut error = crate::error::Error::new(outcome, &first.what)
            .state("nothing was changed")
            .hint(&first.hint);
        if !first.detail.is_empty() {
            error = error.detail(&first.detail);
        }
        const MOST: usize = 10;
        for problem in self.problems.iter().skip(1).take(MOST) {
            error = error.detail(&problem.what);
        }
        let more = self.problems.len().saturating_sub(MOST + 1);
        if more > 0 {
            error = error.detail(format!("and {more} more"));
        }
        Some(error)
    }
}
