//! A migration outside a transaction where the database is a file: `VACUUM`, another journal mode, a
//! transaction of the file's own between two settings.
//!
//! What shares no transaction with its mark cannot be told apart afterwards, so that a run which is
//! cut off here leaves a mark that the next one stops at; the restore point is the way back.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::underway::File;
use crate::database::SqlError;
use crate::migrations::Migration;
use crate::migrations::apply::{Place, Runner};
use crate::migrations::broken::{Broken, Cause};
use crate::migrations::history::Run;
use crate::system::signals;

impl<'a> Runner<'a> {
    /// Applies one migration outside a transaction of ours, statement by statement.
    pub(super) fn alone_in_file(&mut self, migration: &'a Migration) -> Result<(), Broken<'a>> {
        self.watch.now(migration.label(), self.done);
        self.observed_begin().map_err(Broken::of_run)?;
        let begun = Instant::now();
        let file = File::read(self.chain, migration).map_err(|e| Broken::of_file(migration, e))?;
        let run = Run { migration, duration: Duration::ZERO };
        let create = match self.create {
            true => self.chain.tool.create_sql(&self.table) + ";",
            false => String::new(),
        };
        let begin = self.chain.begin_sql(&self.table, &run, &self.backend, &self.origin);
        let marked = self.session.run_alone(&self.limits, &format!("{create}{begin}"));
        marked.map_err(Broken::of_run)?;
        self.create = false;
        let mut acted = 0;
        for unit in file.script.units.clone() {
            let ended = match signals::received() {
                Some(signal) => Err((unit.start, Cause::Stopped(signal))),
                None => self.unit_in_file(&file, unit.clone()),
            };
            if let Err((statement, cause)) = ended {
                return Err(self.stopped_in_file(&file, statement, acted, cause));
            }
            if !is_setting(file.text(unit.start)) {
                acted = unit.end;
            }
        }
        let run = Run { migration, duration: begun.elapsed() };
        let sql = self.chain.finish_sql(&self.table, &run, &self.origin);
        match self.session.run_alone(&self.limits, &sql) {
            Ok(()) => self.observed(migration, run.duration, Place::Alone).map_err(Broken::of_run),
            Err(error) => {
                let (all, cause) = (file.statements(), Cause::Sql(error));
                Err(self.stopped_in_file(&file, all, all, cause))
            }
        }
    }

    fn unit_in_file(&mut self, file: &File<'a>, unit: Range<usize>) -> Result<(), (usize, Cause)> {
        for statement in unit {
            if let Err(error) = self.session.run(file.text(statement)) {
                return Err((statement, Cause::Sql(placed(error, file, statement))));
            }
        }
        Ok(())
    }

    /// Leaves the mark where something took effect; without effect, none.
    fn stopped_in_file(
        &mut self,
        file: &File<'a>,
        statement: usize,
        acted: usize,
        cause: Cause,
    ) -> Broken<'a> {
        // A transaction of the file's own.
        let rolled_back = self.session.roll_back_script();
        let mut broken = Broken::new(Some(file.migration), cause);
        broken.sql.clone_from(&file.sql);
        broken.statement = Some(statement);
        broken.indeterminate = acted > 0 || rolled_back.is_err();
        if !broken.indeterminate {
            let sql = self.chain.forget_sql(&self.table, &file.migration.version);
            broken.indeterminate = self.session.run_alone(&self.limits, &sql).is_err();
        }
        broken
    }
}

/// What changes the connection alone leaves nothing in the file.
fn is_setting(statement: &str) -> bool {
    const HARMLESS: [&str; 4] =
        ["foreign_keys", "legacy_alter_table", "defer_foreign_keys", "cache"];
    let text = statement.to_ascii_lowercase();
    let setting = text.strip_prefix("pragma").map(str::trim_start);
    setting.is_some_and(|setting| HARMLESS.iter().any(|name| setting.starts_with(name)))
}

/// Positions are counted in the file.
fn placed(mut error: SqlError, file: &File<'_>, statement: usize) -> SqlError {
    if let Some(range) = file.script.statements.get(statement) {
        let before = file.sql[..range.start].chars().count();
        let before = u32::try_from(before).unwrap_or(u32::MAX);
        error.position = error.position.map(|at| at.saturating_add(before));
    }
    error
}
