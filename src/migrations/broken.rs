//! A step that failed, and the report of the run that failed with it.

use super::Migration;
use super::apply::Runner;
use super::chain::Chain;
use super::failure::{self, DataState, Failure, Sent, Why};
use crate::database::{Blocker, SqlError, Trouble};
use crate::error::Error;
use crate::outcome::Outcome;

/// A step that failed.
pub(super) struct Broken<'a> {
    pub(super) at: Option<&'a Migration>,
    /// What was sent of it.
    pub(super) sql: String,
    pub(super) cause: Cause,
    /// Index of the failing statement, where the server gave no position.
    pub(super) statement: Option<usize>,
    /// Indexes that it left behind.
    pub(super) left: Vec<String>,
    /// Begun outside a transaction, and its end is not known.
    pub(super) indeterminate: bool,
    /// How many statements of it took effect and are recorded, and how many it has.
    pub(super) ran: Option<(usize, usize)>,
    /// The database could not be asked what became of it.
    pub(super) unknown: bool,
}

pub(super) enum Cause {
    Sql(SqlError),
    /// The server refused at the commit itself, for instance over a deferred constraint.
    Commit(SqlError),
    /// The migration ended the transaction in which it ran.
    Escaped,
    LockLost(Error),
    Unreadable(Error),
    /// We were asked to stop, between two statements.
    Stopped(&'static str),
    /// An earlier run was cut off at this statement, and what became of it is not known.
    Doubtful(usize),
}

impl<'a> Broken<'a> {
    pub(super) fn new(at: Option<&'a Migration>, cause: Cause) -> Self {
        Self {
            at,
            sql: String::new(),
            cause,
            statement: None,
            left: Vec::new(),
            indeterminate: false,
            ran: None,
            unknown: false,
        }
    }

    pub(super) fn of_run(error: SqlError) -> Self {
        Self::new(None, Cause::Sql(error))
    }

    pub(super) fn of_commit(error: SqlError) -> Self {
        Self::new(None, Cause::Commit(error))
    }

    pub(super) fn of_lock(error: Error) -> Self {
        Self::new(None, Cause::LockLost(error))
    }

    /// A file that cannot be read again, or is not what was looked at.
    pub(super) fn of_file(at: &'a Migration, error: Error) -> Self {
        Self::new(Some(at), Cause::Unreadable(error))
    }

    /// Whether the database is not as it was before the migration.
    fn acted(&self) -> bool {
        self.indeterminate || !self.left.is_empty() || self.ran.is_some_and(|(ran, _)| ran > 0)
    }

    pub(super) fn trouble(&self) -> Option<Trouble> {
        match &self.cause {
            Cause::Sql(error) | Cause::Commit(error) => Some(error.trouble()),
            Cause::Escaped
            | Cause::LockLost(_)
            | Cause::Unreadable(_)
            | Cause::Stopped(_)
            | Cause::Doubtful(_) => None,
        }
    }
}

/// Turns a step that failed into what the caller and the operator are told.
pub(super) fn report(
    runner: &Runner<'_>,
    pending: &[&Migration],
    broken: Broken<'_>,
    blockers: &[Blocker],
) -> Failure {
    let versions = |of: &[&Migration]| of.iter().map(|m| m.version.to_string()).collect();
    let applied: Vec<String> = versions(&pending[..runner.done]);
    let failed = broken.at.map(|migration| migration.version.to_string());
    let tail = pending.len() - runner.done;
    let not_tried = broken
        .at
        .and_then(|at| pending.iter().position(|m| m.key == at.key))
        .map_or(tail, |index| pending.len() - index - 1);
    let why = match &broken.cause {
        Cause::Sql(error) | Cause::Commit(error) => failure::why(error),
        Cause::Escaped => Why::Escaped,
        Cause::LockLost(_) => Why::Connection,
        Cause::Unreadable(_) | Cause::Stopped(_) | Cause::Doubtful(_) => Why::Statement,
    };
    let data = if broken.unknown {
        DataState::Unknown
    } else if applied.is_empty() && !broken.acted() && why != Why::Escaped {
        DataState::Unchanged
    } else {
        DataState::Partly
    };
    let mut state = failure::state_line(&applied, failed.as_deref(), broken.ran, not_tried);
    if why == Why::Escaped {
        state = "the schema is partly changed, and the history table does not show it".into();
    } else if broken.unknown {
        state = "it is not known whether the last transaction was committed".into();
    } else if broken.indeterminate {
        state.push_str("; whether it took effect is not known, so it will not run again by itself");
    }
    let mut error = message(runner.chain, &broken, blockers).state(state);
    if !broken.left.is_empty() {
        error = error.detail(format!("invalid indexes: {}", broken.left.join(", ")));
    }
    if let Some(version) = failed.as_ref().filter(|_| broken.indeterminate) {
        error = error.or_hint(format!(
            "If it took effect, run `openwatch migrate --mark-applied {version}`."
        ));
    }
    let not_applied = versions(&pending[runner.done..]);
    Failure { error, applied, failed, not_applied, data, why }
}

fn message(chain: &Chain, broken: &Broken<'_>, blockers: &[Blocker]) -> Error {
    let failed = |text: String| Error::new(Outcome::MigrationFailed, text);
    match (&broken.cause, broken.at) {
        (Cause::Sql(error), Some(at)) => {
            let statements = chain.script(at, &broken.sql).statements;
            let sent = Sent { migration: at, path: chain.path(at), sql: &broken.sql, statements };
            failure::of_statement(&sent, error, broken.statement, blockers)
        }
        (Cause::Sql(error), None) => {
            let message = failed("the migrations could not be run".into());
            error.detail.iter().fold(message, Error::detail).source(error.clone())
        }
        (Cause::Commit(error), _) => {
            let mut message = failed("the migrations could not be committed".into());
            if let Some(about) = &error.about {
                message = message.detail(about);
            }
            message.source(error.clone())
        }
        (Cause::Escaped, at) => {
            let label =
                at.map_or_else(|| "a migration".into(), |m| format!("migration {}", m.label()));
            failed(format!("{label} ended the transaction in which it ran"))
                .detail("a COMMIT or ROLLBACK in it took effect")
                .hint("Put the restore point back, and report this to who made the package.")
        }
        (Cause::LockLost(error), _) => failed(error.message()),
        (Cause::Unreadable(error), _) => {
            error.details().iter().fold(failed(error.message()), Error::detail)
        }
        (Cause::Stopped(signal), at) => {
            let label = at.map_or_else(|| "the run".into(), |m| format!("migration {}", m.label()));
            failed(format!("{label} was ended because we received {signal}"))
        }
        (Cause::Doubtful(statement), at) => {
            let label = at.map_or_else(|| "a migration".into(), Migration::label);
            failed(format!("statement {statement} of migration {label} was cut off"))
        }
    }
}
