//! The table that says how far a migration outside a transaction came.
//!
//! It is ours, lies in the schema of the history table, and exists only while such a migration is
//! under way: made before its first statement, dropped in the transaction that records its end. A
//! database between two runs looks as the tool of its format leaves it.
//!
//! One row stands for the migration itself (statement 0) and names the server process that works on
//! it, one for each statement that ran, with its
//! hash, and one for the statement in flight where the server ran it without a transaction. What the
//! server runs inside a transaction is marked in that very transaction and is never in flight.

use sha2::{Digest as _, Sha256};

use super::trace::{Became, Trace};
use crate::database::{Dialect, ServerProcess, Session, SqlError, literal};
use crate::error;
use crate::migrations::Migration;
use crate::migrations::chain::Chain;
use crate::migrations::history::{AppliedRow, Evidence, Origin, RowState, Table};
use crate::migrations::script::Script;
use crate::migrations::script::statement::{self, Statement};

/// Name of the table.
pub(in crate::migrations) const NAME: &str = "openwatch_migration_progress";

/// A file whose statements are sent one by one.
pub(in crate::migrations) struct File<'a> {
    pub(in crate::migrations) migration: &'a Migration,
    pub(in crate::migrations) sql: String,
    pub(in crate::migrations) script: Script,
}

impl<'a> File<'a> {
    pub(in crate::migrations) fn read(
        chain: &Chain,
        migration: &'a Migration,
    ) -> error::Result<Self> {
        let sql = chain.sql(migration)?;
        let script = chain.script(migration, &sql);
        Ok(Self { migration, sql, script })
    }

    pub(in crate::migrations) fn units(&self) -> usize {
        self.script.units.len()
    }

    pub(in crate::migrations) fn statements(&self) -> usize {
        self.script.statements.len()
    }

    /// Number of the first statement of a unit, counted from 1; behind the last unit, one more than
    /// there are.
    pub(in crate::migrations) fn number(&self, unit: usize) -> usize {
        self.script.units.get(unit).map_or(self.statements(), |unit| unit.start) + 1
    }

    /// The statement with this index.
    pub(in crate::migrations) fn text(&self, statement: usize) -> &str {
        self.script.statements.get(statement).map_or("", |range| &self.sql[range.clone()])
    }

    /// The kind of a unit; a transaction of the file's own is no kind that needs care.
    pub(in crate::migrations) fn kind(&self, unit: usize) -> Statement {
        let unit = &self.script.units[unit];
        if unit.len() == 1 { statement::kind(self.text(unit.start)) } else { Statement::Other }
    }

    /// SHA-256 of the statements of a unit; comments around them do not count.
    pub(in crate::migrations) fn hash(&self, unit: usize) -> String {
        let mut hasher = Sha256::new();
        for statement in self.script.units[unit].clone() {
            hasher.update(self.text(statement));
            hasher.update("\0");
        }
        hex::encode(hasher.finalize())
    }
}

/// What the table says.
#[derive(Clone, Debug)]
pub(in crate::migrations) struct Underway {
    /// The row that stands for the migration.
    pub(in crate::migrations) row: AppliedRow,
    /// The server's side of the session that runs it, or ran it.
    process: ServerProcess,
    steps: Vec<Step>,
}

/// A statement that ran, or that was in flight.
#[derive(Clone, Debug)]
pub(in crate::migrations) struct Step {
    pub(in crate::migrations) statement: usize,
    hash: String,
    done: bool,
    pub(in crate::migrations) trace: Trace,
}

/// How a migration under way goes on.
#[derive(Clone, Debug)]
pub(in crate::migrations) enum Course {
    /// At this unit.
    GoOn { unit: usize },
    /// At this unit, which was in flight; what it left is looked after first.
    Settle { unit: usize, step: Step, became: Became },
    /// The server still works on this statement, for a run that may be gone.
    AtWork { statement: usize, process: ServerProcess },
    /// This statement ran, and now has another text.
    Edited { statement: usize },
    /// Whether this statement took effect cannot be told.
    Unknown { statement: usize },
    /// This statement made what only the session had.
    Forgotten { statement: usize },
}

/// Returns the table as SQL takes it.
pub(in crate::migrations) fn table(history: &Table) -> Table {
    Table { schema: history.schema.clone(), name: NAME.to_owned() }
}

/// Makes the table with the row of the migration.
pub(in crate::migrations) fn create_sql(
    history: &Table,
    migration: &Migration,
    process: &ServerProcess,
    origin: &Origin,
) -> String {
    let table = table(history);
    format!(
        "create table {table} (statement integer primary key, history text not null, \
           version text not null, checksum text not null, \
           state text not null check (state in ('running', 'done')), trace text not null, \
           process integer not null, process_since text not null, \
           begun_at timestamp with time zone not null default current_timestamp, \
           product_version text not null);\
         insert into {table} values (0, {}, {}, '', 'done', '', {}, {}, current_timestamp, {})",
        literal(&history.name),
        literal(&migration.version),
        process.pid,
        literal(process.since()),
        literal(&origin.product_version),
    )
}

/// Notes which server process works on the migration now.
pub(in crate::migrations) fn taken_up_sql(history: &Table, process: &ServerProcess) -> String {
    format!(
        "update {} set process = {}, process_since = {} where statement = 0",
        table(history),
        process.pid,
        literal(process.since())
    )
}

/// Marks a unit: as done, or as in flight with what will tell its end.
pub(in crate::migrations) fn step_sql(
    history: &Table,
    file: &File<'_>,
    unit: usize,
    in_flight: Option<&Trace>,
) -> String {
    let (state, trace) = match in_flight {
        None => ("done", String::new()),
        Some(trace) => ("running", trace.to_string()),
    };
    format!(
        "insert into {} select {}, history, version, {}, '{state}', {}, \
         process, process_since, current_timestamp, product_version from {0} where statement = 0",
        table(history),
        file.number(unit),
        literal(&file.hash(unit)),
        literal(&trace),
    )
}

/// Notes that a statement in flight took effect.
pub(in crate::migrations) fn done_sql(history: &Table, statement: usize) -> String {
    format!("update {} set state = 'done' where statement = {statement}", table(history))
}

/// Takes back the mark of a statement that took no effect.
pub(in crate::migrations) fn undone_sql(history: &Table, statement: usize) -> String {
    format!("delete from {} where statement = {statement}", table(history))
}

/// Removes the table.
pub(in crate::migrations) fn drop_sql(history: &Table) -> String {
    format!("drop table if exists {}", table(history))
}

/// Reads the table, where there is one and it is about this history.
pub(in crate::migrations) fn read(
    session: &mut Session,
    chain: &Chain,
    history: &Table,
) -> Result<Option<Underway>, SqlError> {
    let table = table(history);
    let (exists, begun_at) = match session.dialect() {
        Dialect::PostgreSql => (
            format!("select 't' where to_regclass({}) is not null", literal(&table.to_string())),
            "cast(date_trunc('second', begun_at) as text)",
        ),
        Dialect::Sqlite => {
            (format!("select 't' from sqlite_schema where name = '{NAME}'"), "begun_at")
        }
    };
    if session.single(&exists)?.as_deref() != Some("t") {
        return Ok(None);
    }
    let rows = session.simple(&format!(
        "select statement, version, checksum, state, trace, process, process_since, \
         {begun_at}, product_version \
         from {table} where history = {} order by statement",
        literal(&history.name)
    ))?;
    let mut rows = rows.into_iter().map(|row| row.into_iter().map(Option::unwrap_or_default));
    let Some(first) = rows.next() else { return Ok(None) };
    let first: Vec<String> = first.collect();
    let version = first[1].clone();
    let file = chain.migrations.iter().find(|migration| migration.version == version);
    let row = AppliedRow {
        key: file.map(|file| file.key.clone()).unwrap_or_default(),
        name: file.map(|file| file.name.clone()).unwrap_or_default(),
        version: version.into(),
        state: RowState::Started,
        applied_at: Some(first[7].as_str().into()),
        product_version: Some(first[8].as_str().into()),
        evidence: Evidence::Beside,
        ..AppliedRow::default()
    };
    let step = |row: Vec<String>| Step {
        statement: row[0].parse().unwrap_or_default(),
        hash: row[2].clone(),
        done: row[3] == "done",
        trace: Trace::from(row[4].as_str()),
    };
    let process = ServerProcess::new(first[5].parse().unwrap_or_default(), &first[6]);
    let steps = rows.map(|row| step(row.collect())).collect();
    Ok(Some(Underway { row, process, steps }))
}

impl Underway {
    /// Returns the statement whose end was not noted.
    pub(in crate::migrations) fn in_flight(&self) -> Option<&Step> {
        self.steps.iter().find(|step| !step.done)
    }

    /// Decides how the migration goes on; changes nothing. `own` is the server's side of the session
    /// that would do it.
    pub(in crate::migrations) fn course(
        &self,
        session: &mut Session,
        file: &File<'_>,
        own: Option<&ServerProcess>,
    ) -> Result<Course, SqlError> {
        if session.dialect() == Dialect::Sqlite {
            // Statements share no transaction with their marks there.
            return Ok(Course::Unknown { statement: 1 });
        }
        // What it has not committed yet, it may still.
        if own != Some(&self.process) && session.still_there(&self.process)? {
            let statement = self.steps.iter().take_while(|step| step.done).count();
            let statement = file.number(statement);
            return Ok(Course::AtWork { statement, process: self.process.clone() });
        }
        for (unit, step) in self.steps.iter().enumerate() {
            let statement = step.statement;
            let same = unit < file.units()
                && file.number(unit) == statement
                && file.hash(unit) == step.hash;
            if step.done {
                if !same {
                    return Ok(Course::Edited { statement });
                }
                continue;
            }
            return Ok(match step.trace.judge(session)? {
                Became::Unknown => Course::Unknown { statement },
                Became::Done if !same => Course::Edited { statement },
                became => self.session_of(file).unwrap_or_else(|| {
                    // A text that was mended since is run in place of the one that was cut off.
                    Course::Settle { unit, step: step.clone(), became }
                }),
            });
        }
        let unit = self.steps.len();
        Ok(self.session_of(file).unwrap_or(Course::GoOn { unit }))
    }

    /// What was done in a session that is gone is gone too; settings can be made again.
    fn session_of(&self, file: &File<'_>) -> Option<Course> {
        let done = self.steps.iter().filter(|step| step.done).count();
        let temporary = |unit: &usize| file.kind(*unit) == Statement::Temporary;
        let last = (0..done).find(temporary)?;
        (done < file.units()).then(|| Course::Forgotten { statement: file.number(last) })
    }
}
