//! A migration outside a transaction: statement by statement, each recorded.
//!
//! A statement that the server runs inside a transaction shares one with its mark: it is done and
//! marked, or neither. The others are marked before and after; where the run is cut off between,
//! the next one looks at the database ([`trace`]) and asks for a decision only where that
//! cannot tell.

mod in_file;
mod trace;
pub(super) mod underway;

use std::time::{Duration, Instant};

use super::Migration;
use super::apply::{Place, Runner};
use super::broken::{Broken, Cause};
use super::fate::{Settled, settle};
use super::history::Run;
use super::script::statement::{self, Statement};
use crate::database::{Dialect, SqlError, Trouble};
use crate::system::signals;
use trace::{Became, Trace};
use underway::{Course, File};

/// Marks are written as the role that connected, whatever the file has made of it.
const AS_US: &str = "set local session_authorization to default;set local role to default;";

/// A statement that failed: its index, and what the server said.
type Failed = (usize, SqlError);

impl<'a> Runner<'a> {
    /// Applies one migration outside a transaction.
    pub(super) fn alone(&mut self, migration: &'a Migration) -> Result<(), Broken<'a>> {
        if self.session.dialect() == Dialect::Sqlite {
            return self.alone_in_file(migration);
        }
        self.watch.check_lock().map_err(Broken::of_lock)?;
        self.watch.now(migration.label(), self.done);
        self.observed_begin().map_err(Broken::of_run)?;
        let begun = Instant::now();
        let file = File::read(self.chain, migration).map_err(|e| Broken::of_file(migration, e))?;
        let first = match self.take_up(&file) {
            Ok(unit) => unit,
            Err(Stop::Sql(error)) => return self.gone_wrong(&file, 0, (0, error)),
            Err(Stop::Broken(broken)) => return Err(*broken),
        };
        for unit in first..file.units() {
            if unit > first {
                self.watch.check_lock().map_err(Broken::of_lock)?;
            }
            if let Some(signal) = signals::received() {
                return Err(self.stopped(&file, unit, Cause::Stopped(signal)));
            }
            if let Err(failed) = self.unit(&file, unit) {
                return self.gone_wrong(&file, unit, failed);
            }
        }
        let run = Run { migration, duration: begun.elapsed() };
        let sql = self.chain.finish_sql(&self.table, &run, &self.origin);
        match self.session.run_alone(&self.limits, &sql) {
            // Only now: the observer's own trouble may not leave the mark without its end.
            Ok(()) => self.observed(migration, run.duration, Place::Alone).map_err(Broken::of_run),
            Err(error) => self.gone_wrong(&file, file.units(), (file.statements(), error)),
        }
    }

    /// Makes the marks of a migration that begins, or finds where one goes on; returns the unit.
    fn take_up(&mut self, file: &File<'a>) -> Result<usize, Stop<'a>> {
        self.session.reset_script(&self.limits)?;
        let found = if self.create {
            None
        } else {
            underway::read(&mut self.session, self.chain, &self.table)?
        };
        let run = Run { migration: file.migration, duration: Duration::ZERO };
        let Some(found) = found else {
            let create = match self.create {
                true => self.chain.tool.create_sql(&self.table) + ";",
                false => String::new(),
            };
            let begin = self.chain.begin_sql(&self.table, &run, &self.backend, &self.origin);
            // Several statements in one message are one transaction.
            self.session.run(&format!("{create}{begin}"))?;
            self.create = false;
            return Ok(0);
        };
        let unit = match found.course(&mut self.session, file, Some(&self.backend))? {
            Course::GoOn { unit } => unit,
            Course::Settle { unit, step, became } => self.settle_step(file, unit, &step, became)?,
            Course::AtWork { statement, .. }
            | Course::Edited { statement }
            | Course::Unknown { statement }
            | Course::Forgotten { statement } => {
                let mut broken = Broken::new(Some(file.migration), Cause::Doubtful(statement));
                broken.indeterminate = true;
                return Err(Stop::Broken(Box::new(broken)));
            }
        };
        if let Some(marks) = self.chain.tool.own_marks() {
            // The text may have been mended since, and with it the checksum.
            let shipped = &self.chain.migrations;
            let forget = marks.forget_sql(&self.table, &file.migration.version, shipped);
            let begin = marks.begin_sql(&self.table, &run, &self.origin);
            self.session.run(&format!("{forget};{begin}"))?;
        }
        self.mark(&underway::taken_up_sql(&self.table, &self.backend))?;
        for done in (0..unit).filter(|unit| file.kind(*unit) == Statement::Session) {
            self.session.run(file.text(file.script.units[done].start))?;
        }
        self.progress.note(&format!(
            "migration {} goes on at statement {} of {}",
            file.migration.label(),
            file.number(unit),
            file.statements()
        ));
        Ok(unit)
    }

    /// Settles a statement that was in flight when an earlier run was cut off.
    fn settle_step(
        &mut self,
        file: &File<'a>,
        unit: usize,
        step: &underway::Step,
        became: Became,
    ) -> Result<usize, SqlError> {
        let done = match became {
            Became::Done => true,
            Became::Again | Became::Unknown => step.trace.finish(&mut self.session)?,
        };
        if done {
            self.progress.note(&format!(
                "statement {} of migration {} had taken effect before the earlier run was cut off",
                step.statement,
                file.migration.label()
            ));
            self.mark(&underway::done_sql(&self.table, step.statement))?;
            return Ok(unit + 1);
        }
        for name in step.trace.leftovers(&mut self.session)? {
            self.drop_left(&name)?;
        }
        self.mark(&underway::undone_sql(&self.table, step.statement))?;
        Ok(unit)
    }

    fn drop_left(&mut self, name: &str) -> Result<(), SqlError> {
        self.session.drop_index(name)?;
        self.progress.note(&format!("dropped the invalid index {name} that it left"));
        Ok(())
    }

    /// Runs a unit and marks it; what can share a transaction with its mark does so.
    fn unit(&mut self, file: &File<'a>, unit: usize) -> Result<(), Failed> {
        let first = file.script.units[unit].start;
        let kind = file.kind(unit);
        if kind.refuses_transaction() {
            return self.bare(file, unit, &kind).map_err(|error| (first, error));
        }
        self.watch.undoable();
        let result = self.inside(file, unit);
        self.watch.not_undoable();
        let Err((at, error)) = result else { return Ok(()) };
        if error.trouble() == Trouble::ConnectionLost {
            return Err((at, error));
        }
        self.session.roll_back_script().map_err(|error| (at, error))?;
        // It said so before it did anything, or at a COMMIT of its own that did not happen.
        let unfit = error.trouble() == Trouble::NeedsNoTransaction
            || error.code.as_deref() == Some(INVALID_TERMINATION);
        if unfit && file.script.units[unit].len() == 1 {
            let kind = match error.trouble() {
                Trouble::NeedsNoTransaction => kind,
                _ => Statement::Opaque,
            };
            return self.bare(file, unit, &kind).map_err(|error| (first, error));
        }
        Err((at, error))
    }

    /// Runs a unit in one transaction with its mark.
    fn inside(&mut self, file: &File<'a>, unit: usize) -> Result<(), Failed> {
        let mut statements = file.script.units[unit].clone();
        let first = statements.start;
        let mut begin = "begin";
        if statements.len() > 1 {
            begin = file.text(first);
            statements = first + 1..statements.end - 1;
        }
        self.session.run(begin).map_err(|error| (first, error))?;
        let mut last = first;
        for statement in statements {
            self.session.run(file.text(statement)).map_err(|error| (statement, error))?;
            last = statement;
        }
        let mark = underway::step_sql(&self.table, file, unit, None);
        self.session.run(&format!("{AS_US}{mark};commit")).map_err(|error| (last, error))
    }

    /// Runs a statement without a transaction, marked before and after.
    fn bare(&mut self, file: &File<'a>, unit: usize, kind: &Statement) -> Result<(), SqlError> {
        if let Statement::Build { index: Some(index), table } = kind
            && let Some(table) = self.session.relation(table)?
            && let Some(left) = self.session.invalid_namesake(index, table)?
        {
            // `IF NOT EXISTS` would leave it as it is, and without that the statement would fail.
            self.session.drop_index(&left.name)?;
            let text =
                format!("dropped the index {}, which an earlier attempt left invalid", left.name);
            self.progress.note(&text);
        }
        let trace = Trace::before(&mut self.session, kind)?;
        let mark = underway::step_sql(&self.table, file, unit, Some(&trace));
        self.mark(&mark)?;
        self.session.run(file.text(file.script.units[unit].start))?;
        self.mark(&underway::done_sql(&self.table, file.number(unit)))
    }

    /// Writes marks in a transaction of their own.
    fn mark(&mut self, sql: &str) -> Result<(), SqlError> {
        let result = self.session.run(&format!("begin read write;{AS_US}{sql};commit"));
        if result.is_err() {
            // Harmless without a transaction; a lost connection has the first error say so.
            let _ = self.session.roll_back_script();
        }
        result
    }

    /// A statement failed, or the connection did.
    fn gone_wrong(
        &mut self,
        file: &File<'a>,
        unit: usize,
        (statement, mut error): Failed,
    ) -> Result<(), Broken<'a>> {
        if error.trouble() == Trouble::ConnectionLost {
            return self.lost(file, error);
        }
        if let Some(range) = file.script.statements.get(statement) {
            let before = file.sql[..range.start].chars().count();
            let before = u32::try_from(before).unwrap_or(u32::MAX);
            error.position = error.position.map(|at| at.saturating_add(before));
        }
        let mut broken = self.stopped(file, unit, Cause::Sql(error));
        broken.statement = Some(statement);
        Err(broken)
    }

    /// Leaves the marks as a run that goes on later needs them; without effect, none at all.
    fn stopped(&mut self, file: &File<'a>, unit: usize, cause: Cause) -> Broken<'a> {
        let mut broken = Broken::new(Some(file.migration), cause);
        broken.sql.clone_from(&file.sql);
        broken.ran = Some((file.number(unit) - 1, file.statements()));
        let tidied = self.tidy(file, unit, &mut broken);
        broken.indeterminate |= tidied.is_err();
        broken
    }

    fn tidy(
        &mut self,
        file: &File<'a>,
        unit: usize,
        broken: &mut Broken<'a>,
    ) -> Result<(), SqlError> {
        self.session.reset_script(&self.limits)?;
        let Some(found) = underway::read(&mut self.session, self.chain, &self.table)? else {
            return Ok(());
        };
        if let Some(step) = found.in_flight() {
            for name in step.trace.leftovers(&mut self.session)? {
                if self.drop_left(&name).is_err() {
                    broken.left.push(name);
                }
            }
            // The server said no; only what commits in parts, or is detached in two, may have acted.
            let opaque = step.trace == Trace::Nothing
                && statement::kind(file.text(step.statement - 1)) != Statement::Other;
            let half = matches!(step.trace, Trace::Detach { .. });
            if opaque || !broken.left.is_empty() {
                broken.indeterminate = true;
            }
            if opaque || half || !broken.left.is_empty() {
                return Ok(());
            }
            self.mark(&underway::undone_sql(&self.table, step.statement))?;
        }
        if unit == 0 {
            let sql = self.chain.forget_sql(&self.table, &file.migration.version);
            self.session.run(&sql)?;
        }
        Ok(())
    }

    /// The connection is gone: the database is asked how far the migration came.
    fn lost(&mut self, file: &File<'a>, error: SqlError) -> Result<(), Broken<'a>> {
        let (settled, session) = settle(
            self.database,
            (self.chain, &self.table),
            &[file.migration],
            None,
            &self.backend,
            self.reconnect_within,
        );
        let mut broken = Broken::new(Some(file.migration), Cause::Sql(error));
        broken.sql.clone_from(&file.sql);
        if let Some(session) = session {
            self.adopt(session).map_err(Broken::of_run)?;
        }
        match settled {
            Settled::Applied => return Ok(()),
            Settled::NotApplied => {}
            Settled::Started => broken.indeterminate = self.ask(file, &mut broken).is_err(),
            Settled::Unknown => broken.unknown = true,
        }
        Err(broken)
    }

    /// Says how the next run will go on; an error means that it will not by itself.
    fn ask(&mut self, file: &File<'a>, broken: &mut Broken<'a>) -> Result<(), Option<SqlError>> {
        let found = underway::read(&mut self.session, self.chain, &self.table)?.ok_or(None)?;
        match found.course(&mut self.session, file, None)? {
            Course::GoOn { unit } => broken.ran = Some((file.number(unit) - 1, file.statements())),
            Course::Settle { unit, step, became } => {
                broken.left = step.trace.leftovers(&mut self.session)?;
                let unit = if became == Became::Done { unit + 1 } else { unit };
                broken.ran = Some((file.number(unit) - 1, file.statements()));
            }
            Course::AtWork { .. }
            | Course::Edited { .. }
            | Course::Unknown { .. }
            | Course::Forgotten { .. } => return Err(None),
        }
        Ok(())
    }
}

/// SQLSTATE of a `COMMIT` in a procedure that runs inside a transaction.
const INVALID_TERMINATION: &str = "2D000";

/// Why a migration was not taken up.
enum Stop<'a> {
    Sql(SqlError),
    Broken(Box<Broken<'a>>),
}

impl From<SqlError> for Stop<'_> {
    fn from(error: SqlError) -> Self {
        Self::Sql(error)
    }
}
