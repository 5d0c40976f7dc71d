//! Looking at a database without changing it.

use super::alone::underway;
use super::chain::Chain;
use super::command;
use super::doubt::{self, Doubt};
use super::history::{AppliedRow, RowState, Table};
use super::{Comparison, Problem, ProblemKind, State, compare, detect};
use crate::database::{Ground, ServerProcess, Session, SqlError, Trouble};
use crate::error::{Error, Result};
use crate::outcome::Outcome;

/// What was seen in one look.
pub(super) struct Seen {
    pub(super) ground: Ground,
    pub(super) rows: Vec<AppliedRow>,
    /// Rows that say of the migration under way what our own marks say better.
    pub(super) begun: Vec<AppliedRow>,
    /// The server's side of an earlier run that is gone, which still works on a statement.
    pub(super) orphan: Option<ServerProcess>,
    pub(super) comparison: Comparison,
}

/// Compares a database with the shipped migrations in a transaction that can write nothing.
///
/// Of a tool of the application's own it is the tool that is asked, in sessions that only read.
pub fn look(session: &mut Session, chain: &Chain) -> Result<Comparison> {
    if let Some(command) = &chain.command {
        return command::look(session, command);
    }
    see(session, chain).map(|seen| seen.comparison)
}

/// The same without the version that a tool's schema has, for those who do not ask for it: a tool
/// takes a second and more to start.
pub fn look_for_pending(session: &mut Session, chain: &Chain) -> Result<Comparison> {
    match &chain.command {
        Some(command) => command::look_for_pending(session, command),
        None => look(session, chain),
    }
}

/// Reads the rows of the history, and compares them with nothing.
pub(super) fn rows(session: &mut Session, chain: &Chain) -> Result<Vec<AppliedRow>> {
    read_at_once(session, chain).map(|read| read.rows)
}

/// Looks and keeps what was seen.
pub(super) fn see(session: &mut Session, chain: &Chain) -> Result<Seen> {
    let Read { ground, mut rows, doubt, foreign } = read_at_once(session, chain)?;
    let begun = match &doubt.version {
        Some(version) => {
            let begun =
                |row: &mut AppliedRow| row.state == RowState::Started && row.version == *version;
            rows.extract_if(.., begun).collect()
        }
        None => Vec::new(),
    };
    let mut comparison = compare(chain, &rows);
    comparison.begun = !begun.is_empty() || doubt.problem.is_some();
    if let Some(problem) = doubt.problem {
        let missing = problem.kind == ProblemKind::Missing;
        comparison.state = if missing { State::Missing } else { State::Divergent };
        comparison.problems.insert(0, problem);
    }
    if let Some(foreign) = foreign {
        comparison.state = State::Unknown;
        comparison.problems.insert(0, foreign);
    } else if rows.is_empty() && begun.is_empty() && !ground.populated {
        comparison.state = State::Empty;
    } else if ground.history.is_none() && ground.populated {
        comparison.state = State::Unknown;
        comparison.problems.insert(0, detect::unknown(chain, &ground));
    }
    Ok(Seen { ground, rows, begun, orphan: doubt.orphan, comparison })
}

/// Returns the history table as it is, or will be made.
pub(super) fn home(chain: &Chain, ground: &Ground) -> Result<Table> {
    let schema = ground.history.clone().or_else(|| ground.schema.clone()).ok_or_else(|| {
        Error::config("the search path of the connection names no schema that exists")
            .state("nothing was changed")
            .hint("Set the role's search_path, or add `options=-csearch_path=…` to the connection.")
    })?;
    Ok(Table { schema, name: chain.table.name.clone() })
}

/// What one transaction read.
struct Read {
    ground: Ground,
    rows: Vec<AppliedRow>,
    doubt: Doubt,
    /// Another tool's history.
    foreign: Option<Problem>,
}

/// SQLSTATE of a table that is not there.
const UNDEFINED_TABLE: &str = "42P01";

/// How often a look is begun.
const LOOKS: u32 = 3;

/// Reads in a transaction that can write nothing and sees one state of the rows. Of the tables it does not: a
/// run that ends takes away those it had for a while, also after they were seen, and the look begins anew.
fn read_at_once(session: &mut Session, chain: &Chain) -> Result<Read> {
    let mut looks = 1;
    loop {
        let read = session.begin_looking().and_then(|()| {
            let seen = read(session, chain);
            // After an error the transaction is over as well; the first error is the one that counts.
            let ended = session.end_looking();
            seen.and_then(|seen| ended.map(|()| seen))
        });
        match read {
            Err(error) if error.code.as_deref() == Some(UNDEFINED_TABLE) && looks < LOOKS => {
                looks += 1
            }
            read => return read.map_err(unreadable),
        }
    }
}

fn read(session: &mut Session, chain: &Chain) -> std::result::Result<Read, SqlError> {
    let ground = session.ground(chain.table.schema.as_deref(), &chain.table.name)?;
    let (mut rows, mut doubt, mut foreign) = (Vec::new(), Doubt::default(), None);
    if let Some(schema) = &ground.history {
        foreign = detect::foreign_table(session, chain, schema)?;
        if foreign.is_none() {
            let table = Table { schema: schema.clone(), name: chain.table.name.clone() };
            let begun = underway::read(session, chain, &table)?;
            if let Some(found) = &begun {
                doubt = doubt::look(session, chain, &table, found)?;
            }
            rows = chain.rows_beside(session, &table, begun)?;
        }
    } else if ground.populated {
        foreign = detect::other_tools(session, chain)?;
    }
    Ok(Read { ground, rows, doubt, foreign })
}

pub(super) fn unreadable(error: SqlError) -> Error {
    let outcome = match error.trouble() {
        Trouble::ConnectionLost => Outcome::Unreachable,
        _ if error.code.as_deref() == Some("42501") => Outcome::Config,
        _ => Outcome::Failed,
    };
    Error::new(outcome, "cannot read the migration history")
        .source(error)
        .state("nothing was changed")
}
