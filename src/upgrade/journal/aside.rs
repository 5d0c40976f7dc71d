//! Runs that leave nothing half done, whatever interrupts them: their record is in the history alone.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::layout::Layout;
use crate::system::clock::Clock;
use crate::system::fs;

use super::{Journal, Record, read};

/// Migrations that a person takes back in one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenBack {
    /// Name of the database within the application.
    pub database: String,
    /// The versions, newest first.
    pub versions: Vec<String>,
}

impl Journal {
    /// Opens the record of such a run; what recovery goes by stays that of the last upgrade.
    pub fn aside(layout: &Layout, clock: Clock, mut record: Record) -> Result<Self> {
        fs::make_dir(&layout.upgrade_dir(), 0o755)?;
        fs::make_dir(&layout.history_dir(), 0o755)?;
        record.take_unused_name(layout)?;
        let path = layout.history_of(&record.run);
        Self::at(path, layout, clock, record)
    }
}

impl Record {
    /// Says what the run was for: from which version to which, or what was taken back.
    pub fn what_it_did(&self) -> String {
        match &self.taken_back {
            Some(back) => format!("{}: took back {}", back.database, back.versions.join(" ")),
            None => {
                let from = self.from.as_ref().map_or("?".into(), ToString::to_string);
                format!("{from} -> {}", self.to)
            }
        }
    }

    /// Two runs may begin within one second, and neither may take the other's place in the history.
    pub(super) fn take_unused_name(&mut self, layout: &Layout) -> Result<()> {
        let stamp = self.run.clone();
        let mut names = (2..).map(|n| format!("{stamp}.{n}"));
        // One that was killed is not there yet.
        let killed = read(layout)?.filter(|last| last.finished.is_none()).map(|last| last.run);
        while killed.as_ref() == Some(&self.run) || layout.history_of(&self.run).exists() {
            self.run = names.next().unwrap_or_default();
        }
        Ok(())
    }
}
