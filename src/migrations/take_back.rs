//! Taking migrations back, where their files have the statements for it: all of them in one
//! transaction with their rows of the history, so that a failure leaves what was there.
//!
//! It is a transaction as that of migrations, on a server and in a file alike: settings put back before
//! each way back, proved to be still ours, foreign keys of a file as its tool has them.

use std::time::Duration;

use super::chain::Chain;
use super::history::RowState;
use super::look::{home, see};
use crate::database::{Dialect, ForeignKeys, Limits, Mark, ScriptError, Session, SqlError};
use crate::error::{Error, Result};
use crate::outcome::Outcome;

/// The most lines that one refusal names.
const MOST: usize = 10;

/// What will be taken back.
#[derive(Clone, Debug)]
pub struct TakeBack {
    /// The migrations, newest first.
    steps: Vec<Step>,
    /// What is done about the foreign keys of a file.
    keys: ForeignKeys,
}

/// One migration with what takes it back.
#[derive(Clone, Debug)]
struct Step {
    version: String,
    label: String,
    sql: String,
    record: String,
}

impl TakeBack {
    /// Returns the versions, newest first.
    pub fn versions(&self) -> Vec<&str> {
        self.steps.iter().map(|step| step.version.as_str()).collect()
    }

    /// Returns the migrations as people read them, newest first.
    pub fn labels(&self) -> Vec<&str> {
        self.steps.iter().map(|step| step.label.as_str()).collect()
    }
}

/// Plans to take back everything that was applied after a version; what cannot be taken back is
/// refused before anything runs, all of it by name.
pub fn take_back(session: &mut Session, chain: &Chain, version: &str) -> Result<TakeBack> {
    if let Some(command) = chain.command() {
        return Err(command.history_is_its_own());
    }
    let target = chain.find(version).ok_or_else(|| {
        Error::new(Outcome::Usage, format!("there is no migration {version}"))
            .state("nothing was changed")
    })?;
    let seen = see(session, chain)?;
    if let Some(refusal) = seen.comparison.refusal(Outcome::Refused) {
        return Err(refusal);
    }
    let table = home(chain, &seen.ground)?;
    let beyond = |row: &&super::AppliedRow| row.key > target.key && row.state == RowState::Applied;
    let mut rows: Vec<_> = seen.rows.iter().filter(beyond).collect();
    rows.sort_by(|a, b| b.key.cmp(&a.key));
    let (mut steps, mut faults) = (Vec::new(), Vec::new());
    for row in rows {
        let label = row.label();
        let way = match chain.at(&row.key) {
            Some(file) => chain.tool.way_back(&chain.dir, file, &chain.raw(file)?)?,
            None => None,
        };
        let Some(way) = way else {
            faults.push(format!("{label} has no statements that take it back"));
            continue;
        };
        if !way.transactional {
            faults.push(format!("the way back of {label} runs outside a transaction"));
        } else if let Some((_, what)) = chain.script_back(&way.sql).obstacle {
            faults.push(format!("the way back of {label} has {what}"));
        }
        let record = chain.tool.take_back_sql(&table, row, &chain.migrations);
        steps.push(Step { version: row.version.to_string(), label, sql: way.sql, record });
    }
    let keys = chain.tool.foreign_keys();
    if faults.is_empty() { Ok(TakeBack { steps, keys }) } else { Err(refused(&faults, version)) }
}

fn refused(faults: &[String], version: &str) -> Error {
    let message = match faults {
        [one] => format!("the schema cannot be taken back to {version}: {one}"),
        several => format!(
            "the schema cannot be taken back to {version}: {} migrations are in the way",
            several.len()
        ),
    };
    let named = faults.iter().take(MOST).filter(|_| faults.len() > 1);
    let error = named.fold(Error::new(Outcome::Refused, message), Error::detail);
    error
        .state("nothing was changed")
        .hint("A restore point has the data as it was: look at `openwatch backup list`.")
}

/// Takes back what was planned; after a failure the database is what it was.
pub fn carry_out(
    session: &mut Session,
    planned: &TakeBack,
    lock_timeout: Duration,
    mut tell: impl FnMut(&str),
) -> Result<()> {
    let begun = Limits::for_session(session, lock_timeout).and_then(|limits| {
        let limits = limits.with_foreign_keys(planned.keys);
        Ok((session.begin_script(&limits)?, limits))
    });
    let (mark, limits) = begun.map_err(|error| failed("the schema", error))?;
    for step in &planned.steps {
        tell(&step.label);
        if let Err(error) = one(session, &mark, &limits, step) {
            // What the server has ended already cannot be taken back again.
            let _ = session.roll_back_script();
            return Err(error);
        }
    }
    let in_file = session.dialect() == Dialect::Sqlite;
    session.commit_script().map_err(|error| {
        let _ = session.roll_back_script();
        let error = failed("the schema", error);
        // A file says no before anything of it is there; the answer of a server may be lost.
        if in_file {
            return error;
        }
        error.state("look at `openwatch migrate --status`: the answer was lost")
    })
}

/// Takes one migration back, with its row of the history.
fn one(session: &mut Session, mark: &Mark, limits: &Limits, step: &Step) -> Result<()> {
    for sql in [&step.sql, &step.record] {
        session.run_script(mark, limits, sql).map_err(|error| match error {
            ScriptError::Sql(error) => failed(&step.label, error),
            ScriptError::TransactionEnded => {
                let text = format!("cannot take {} back", step.label);
                Error::new(Outcome::MigrationFailed, text)
                    .detail("its statements ended the transaction in which they ran")
                    .state("look at `openwatch migrate --status`")
            }
        })?;
    }
    Ok(())
}

fn failed(what: &str, error: SqlError) -> Error {
    let told = Error::new(Outcome::MigrationFailed, format!("cannot take {what} back"));
    // Whoever holds the lock that was waited for, or the rows that refer to missing ones.
    let told = error.detail.iter().fold(told, Error::detail);
    told.source(error).state("the transaction was taken back: nothing was changed")
}
