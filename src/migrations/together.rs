//! Several migrations and their history rows in one transaction.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::Migration;
use super::apply::{Place, Runner};
use super::broken::{Broken, Cause};
use super::fate::{Settled, settle};
use super::history::Run;
use super::script::scan;
use crate::database::{Dialect, Mark, ScriptError, Sent, SqlError, Trouble};
use crate::system::signals;

/// A failed group that ran longer than this is not run again to find the statement.
const QUICK: Duration = Duration::from_secs(10);

/// A text of more bytes than this is sent when the one before it has ended: it is not held beside another
/// one, and the server works longer on it than it waits.
const LARGE: usize = 1 << 20;

/// A migration that was sent, and the end of which was not waited for.
struct UnderWay<'a> {
    migration: &'a Migration,
    sql: String,
    sent: Sent,
    /// When it was sent.
    begun: Instant,
}

/// What has ended.
struct Done<'a> {
    runs: Vec<Run<'a>>,
    /// When the last of them did.
    last: Instant,
}

impl<'a> Runner<'a> {
    /// Applies a group in one transaction; after a failure nothing of it is in the database, unless
    /// the cause says otherwise.
    pub(super) fn together(&mut self, group: &[&'a Migration]) -> Result<(), Broken<'a>> {
        let begun = Instant::now();
        let mut mark = None;
        self.watch.undoable();
        let result = self.attempt(group, &mut mark);
        self.watch.not_undoable();
        let Err(mut broken) = result else {
            self.create = false;
            return Ok(());
        };
        let lost = self.session.roll_back_script().is_err()
            || broken.trouble() == Some(Trouble::ConnectionLost);
        if lost {
            return self.after_loss(group, mark.as_ref(), broken);
        }
        if let (Some(at), Cause::Sql(error)) = (broken.at, &broken.cause)
            && begun.elapsed() < QUICK
            && signals::received().is_none()
        {
            broken.statement = self.find_statement(group, (at, &broken.sql), error);
        }
        Err(broken)
    }

    fn attempt(
        &mut self,
        group: &[&'a Migration],
        mark: &mut Option<Mark>,
    ) -> Result<(), Broken<'a>> {
        let mark = mark.insert(self.session.begin_script(&self.limits).map_err(Broken::of_run)?);
        self.create_table(mark)?;
        self.observed_begin().map_err(Broken::of_run)?;
        let runs = self.run_all(group, mark)?;
        let sql = self.chain.tool.record_sql(&self.table, &runs, &self.origin);
        let last = group.last().copied();
        // The server has the rows to write while it is asked about the lock, in another session.
        let sent = self.session.send_script(mark, &self.limits, &sql);
        let held = self.watch.check_lock();
        let recorded = self.session.end_script(sent);
        held.map_err(Broken::of_lock)?;
        recorded.map_err(|error| broken(error, None, last))?;
        self.session.commit_script().map_err(Broken::of_commit)
    }

    /// Runs every migration of the group, in the transaction that is open.
    fn run_all(
        &mut self,
        group: &[&'a Migration],
        mark: &Mark,
    ) -> Result<Vec<Run<'a>>, Broken<'a>> {
        // Who looks on wants to look between two; a file has no server that could work meanwhile.
        let ahead = self.observer.is_none() && self.session.dialect() == Dialect::PostgreSql;
        let mut under_way = None;
        let mut done = Done { runs: Vec::with_capacity(group.len()), last: Instant::now() };
        for migration in group.iter().copied() {
            if !ahead {
                self.end_of(under_way.take(), &mut done)?;
            }
            if self.watch.lock_lost() {
                self.watch.check_lock().map_err(Broken::of_lock)?;
            }
            let sql = self.chain.sql(migration).map_err(|e| Broken::of_file(migration, e))?;
            if sql.len() > LARGE {
                self.end_of(under_way.take(), &mut done)?;
            }
            if under_way.is_none() {
                self.watch.now(migration.label(), self.done + done.runs.len());
            }
            let begun = Instant::now();
            let sent = self.session.send_script(mark, &self.limits, &sql);
            let before = under_way.replace(UnderWay { migration, sql, sent, begun });
            if before.is_some() {
                self.end_of(before, &mut done)?;
                self.watch.now(migration.label(), self.done + done.runs.len());
            }
        }
        self.end_of(under_way, &mut done)?;
        Ok(done.runs)
    }

    /// Waits for the end of a migration that was sent.
    fn end_of(
        &mut self,
        under_way: Option<UnderWay<'a>>,
        done: &mut Done<'a>,
    ) -> Result<(), Broken<'a>> {
        let Some(UnderWay { migration, sql, sent, begun }) = under_way else { return Ok(()) };
        let previous = done.runs.last().map(|run| run.migration);
        let ended = self.session.end_script(sent);
        ended.map_err(|error| Broken { sql, ..broken(error, Some(migration), previous) })?;
        // The server came to it when the one before had ended.
        let duration = begun.max(done.last).elapsed();
        self.observed(migration, duration, Place::Transaction).map_err(Broken::of_run)?;
        done.last = Instant::now();
        done.runs.push(Run { migration, duration });
        Ok(())
    }

    fn create_table(&mut self, mark: &Mark) -> Result<(), Broken<'a>> {
        if !self.create {
            return Ok(());
        }
        let sql = self.chain.tool.create_sql(&self.table);
        self.session.run_script(mark, &self.limits, &sql).map_err(|error| broken(error, None, None))
    }

    /// The connection is gone: the history table tells whether the commit came through.
    fn after_loss(
        &mut self,
        group: &[&'a Migration],
        mark: Option<&Mark>,
        mut broken: Broken<'a>,
    ) -> Result<(), Broken<'a>> {
        let (settled, session) = settle(
            self.database,
            (self.chain, &self.table),
            group,
            mark,
            &self.backend,
            self.reconnect_within,
        );
        if let Some(session) = session {
            self.adopt(session).map_err(Broken::of_run)?;
        }
        match settled {
            Settled::Applied => {
                self.progress
                    .note("the connection was lost after the commit; the history table has it");
                self.create = false;
                Ok(())
            }
            Settled::NotApplied => Err(broken),
            Settled::Started | Settled::Unknown => {
                broken.unknown = true;
                Err(broken)
            }
        }
    }

    /// Runs a failed group once more, the failing file statement by statement, and rolls back.
    ///
    /// Servers give a position for most errors, but not for those about data, such as a violated
    /// constraint. Everything is taken back, so a second run costs time only.
    fn find_statement(
        &mut self,
        group: &[&'a Migration],
        (at, sql): (&Migration, &str),
        error: &SqlError,
    ) -> Option<usize> {
        let statements = scan(sql).statements;
        if error.position.is_some() || statements.len() < 2 || error.trouble() != Trouble::Other {
            return None;
        }
        let mut search = || -> Option<usize> {
            let mark = self.session.begin_script(&self.limits).ok()?;
            if self.create {
                let sql = self.chain.tool.create_sql(&self.table);
                self.session.run_script(&mark, &self.limits, &sql).ok()?;
            }
            for migration in group.iter().take_while(|migration| migration.key != at.key) {
                let sql = self.chain.sql(migration).ok()?;
                self.session.run_script(&mark, &self.limits, &sql).ok()?;
            }
            self.session.run_script(&mark, &self.limits, "").ok()?;
            let runs = |range: &Range<usize>| self.session.run(&sql[range.clone()]).err();
            let (index, again) =
                statements.iter().map(runs).enumerate().find_map(|(at, e)| Some((at, e?)))?;
            (again.code == error.code).then_some(index)
        };
        let found = search();
        // A lost connection here changes nothing: the first failure is the one that is reported.
        let _ = self.session.roll_back_script();
        found
    }
}

/// Attributes an error: to the file that ran, or to the one before it that ended the transaction.
fn broken<'a>(
    error: ScriptError,
    at: Option<&'a Migration>,
    previous: Option<&'a Migration>,
) -> Broken<'a> {
    match error {
        ScriptError::TransactionEnded => Broken::new(previous.or(at), Cause::Escaped),
        ScriptError::Sql(error) => Broken::new(at, Cause::Sql(error)),
    }
}
