//! One statement outside a transaction, marked before and after.
//!
//! Between the two marks nobody can know by looking at the history whether it took effect. A row
//! that stays begun is therefore never run again without a decision.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Migration;
use super::apply::Runner;
use super::broken::{Broken, Cause};
use super::fate::{Settled, settle};
use super::history::Run;
use crate::database::{SqlError, Trouble};

/// Statements that leave nothing behind when they fail, except an index that the server marks.
const CLEAN: &[&str] = &["CREATE", "DROP", "REINDEX", "VACUUM", "CLUSTER", "ANALYZE"];

impl<'a> Runner<'a> {
    /// Applies one migration outside a transaction.
    pub(super) fn alone(&mut self, migration: &'a Migration) -> Result<(), Broken<'a>> {
        self.watch.check_lock().map_err(Broken::of_lock)?;
        self.watch.now(migration.label(), self.done);
        let before = self.session.invalid_indexes().map_err(Broken::of_run)?;
        self.mark_started(migration)?;
        let begun = Instant::now();
        let result = self.session.run_alone(&self.limits, &migration.sql);
        let run = Run { migration, duration: begun.elapsed() };
        match result {
            Ok(()) => self.mark_finished(&run),
            Err(error) if error.trouble() == Trouble::ConnectionLost => {
                self.lost_alone(migration, error)
            }
            Err(error) => Err(self.clean_up(migration, error, &before)),
        }
    }

    fn mark_started(&mut self, migration: &'a Migration) -> Result<(), Broken<'a>> {
        let run = Run { migration, duration: Duration::ZERO };
        let create = match self.create {
            true => self.chain.tool.create_sql(&self.table) + ";",
            false => String::new(),
        };
        let insert = self.chain.begin_sql(&self.table, &run, &self.origin);
        // Several statements in one message are one transaction; the reset comes first, by itself.
        self.session
            .run_alone(&self.limits, &format!("{create}{insert}"))
            .map_err(Broken::of_run)?;
        self.create = false;
        Ok(())
    }

    fn mark_finished(&mut self, run: &Run<'a>) -> Result<(), Broken<'a>> {
        let sql = self.chain.finish_sql(&self.table, run, &self.origin);
        match self.session.run_alone(&self.limits, &sql) {
            Ok(()) => Ok(()),
            Err(error) => self.lost_alone(run.migration, error),
        }
    }

    /// The statement failed, and the server said so: remove what it left, so that it can run again.
    fn clean_up(
        &mut self,
        migration: &'a Migration,
        error: SqlError,
        before: &[String],
    ) -> Broken<'a> {
        let first = migration.sql[self.first_statement(migration)..]
            .split(|c: char| !c.is_ascii_alphabetic())
            .next()
            .unwrap_or_default()
            .to_ascii_uppercase();
        let known: BTreeSet<&String> = before.iter().collect();
        let now = self.session.invalid_indexes().unwrap_or_default();
        let mut left: Vec<String> = now.into_iter().filter(|name| !known.contains(name)).collect();
        left.retain(|name| match self.session.drop_index(name) {
            Ok(()) => {
                self.progress.note(&format!("dropped the invalid index {name} that it left"));
                false
            }
            Err(_) => true,
        });
        let mut broken = Broken::new(Some(migration), Cause::Sql(error));
        if left.is_empty() && CLEAN.contains(&first.as_str()) {
            let sql = self.chain.forget_sql(&self.table, &migration.version);
            broken.indeterminate = self.session.run_alone(&self.limits, &sql).is_err();
        } else {
            broken.indeterminate = true;
        }
        broken.left = left;
        broken
    }

    fn first_statement(&self, migration: &Migration) -> usize {
        super::script::scan(&migration.sql).statements.first().map_or(0, |range| range.start)
    }

    fn lost_alone(&mut self, migration: &'a Migration, error: SqlError) -> Result<(), Broken<'a>> {
        let (settled, session) = settle(
            self.database,
            (self.chain, &self.table),
            &[migration],
            None,
            &self.backend,
            self.reconnect_within,
        );
        let mut broken = Broken::new(Some(migration), Cause::Sql(error));
        if let Some(session) = session {
            self.adopt(session).map_err(Broken::of_run)?;
            broken.left = self.session.invalid_indexes().unwrap_or_default();
        }
        match settled {
            Settled::Applied => return Ok(()),
            Settled::NotApplied => {}
            Settled::Started => broken.indeterminate = true,
            Settled::Unknown => broken.unknown = true,
        }
        Err(broken)
    }
}
