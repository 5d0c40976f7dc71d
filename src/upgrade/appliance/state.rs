//! What the disk says of its data: whose version it is, and what became of the upgrade under way.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::marker::{self, FORMAT};
use crate::error::Result;
use crate::migrations::DataState;
use crate::outcome::Outcome;
use crate::system::{clock, host};
use crate::upgrade::journal::Record;
use crate::upgrade::machine::Machine;
use crate::version::Version;

/// The file `upgrade-state.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiskState {
    /// Form of the file.
    pub format: u32,
    /// Application whose data it is.
    pub app: String,
    /// Version that was last proved healthy on this data.
    pub version: Version,
    /// The upgrade under way, or the last one.
    #[serde(default)]
    pub upgrade: Option<DiskUpgrade>,
}

/// One upgrade, told by the systems that had the disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiskUpgrade {
    /// How far it is.
    pub phase: Phase,
    /// Version whose data it began with.
    pub from: Version,
    /// Version that it leads to; none where it was prepared without saying so.
    pub to: Option<Version>,
    /// Name of the restore point that preparing took, as people say it: `pre-v2.0.0`.
    #[serde(default)]
    pub name: Option<String>,
    /// Restore point that preparing took.
    #[serde(default)]
    pub restore_point: Option<String>,
    /// Restore point that the new system took right before it migrated.
    #[serde(default)]
    pub way_back: Option<String>,
    /// Restore point that the last attempt took; the way back is that of the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_point: Option<String>,
    /// Units that ran when it was prepared, or begun unprepared, in stop order.
    #[serde(default)]
    pub running: Vec<String>,
    /// When it was prepared, RFC 3339.
    #[serde(default)]
    pub prepared: Option<String>,
    /// End of the agreed window, RFC 3339.
    #[serde(default)]
    pub window_until: Option<String>,
    /// Name and SHA-256 of the image whose signature was verified.
    #[serde(default)]
    pub image: Option<String>,
    /// Host that tried it.
    #[serde(default)]
    pub tried_on: Option<String>,
    /// When it ended, RFC 3339.
    #[serde(default)]
    pub finished: Option<String>,
    /// The outcome's word.
    #[serde(default)]
    pub outcome: Option<String>,
    /// The first line of the failure.
    #[serde(default)]
    pub message: Option<String>,
    /// Where a failure left the data.
    #[serde(default)]
    pub data: Option<DataState>,
}

/// How far an upgrade is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The old system has prepared it.
    Prepared,
    /// The new system has begun; whether it changed anything is not known.
    Begun,
    /// The new system has failed: the flag that the old system looks for.
    Failed,
    /// The new system has proved its health.
    Done,
    /// The old system has the data as it was, and runs.
    WentBack,
}

impl Phase {
    /// Returns the word that people and programs read.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Begun => "begun",
            Self::Failed => "failed",
            Self::Done => "done",
            Self::WentBack => "went_back",
        }
    }
}

impl DiskState {
    /// Returns the state of a disk whose data belongs to the installed version.
    pub fn new(machine: &Machine) -> Self {
        Self {
            format: FORMAT,
            app: machine.layout.app().to_owned(),
            version: machine.version.clone(),
            upgrade: None,
        }
    }

    /// Reads the state; none where nobody wrote one.
    pub fn read(dir: &Path) -> Result<Option<Self>> {
        let found: Option<Self> =
            marker::read(&dir.join("upgrade-state.json"), "the upgrade state")?;
        match found {
            Some(state) if state.format > FORMAT => Err(marker::too_new("the upgrade state")),
            found => Ok(found),
        }
    }

    /// Writes it, durably.
    pub fn write(&self, dir: &Path) -> Result<()> {
        marker::write(&dir.join("upgrade-state.json"), self)
    }

    /// Notes that the installed version begins, and which units ran, where the disk does not say so.
    pub fn begin(&mut self, machine: &Machine, running: Vec<String>) {
        let mut upgrade = self.open(&machine.version);
        upgrade.to = Some(machine.version.clone());
        upgrade.phase = Phase::Begun;
        upgrade.tried_on = Some(host::name());
        if upgrade.running.is_empty() {
            upgrade.running = running;
        }
        (upgrade.finished, upgrade.outcome, upgrade.message) = (None, None, None);
        // Where an earlier attempt put everything back, this one takes a restore point of its own.
        if upgrade.data.take() == Some(DataState::Unchanged) {
            (upgrade.way_back, upgrade.newest_point) = (None, None);
        }
        self.upgrade = Some(upgrade);
    }

    /// Takes the upgrade that is open, and what it knows of the data. Another version that goes on from data
    /// which an earlier one left half done has the same way back: to before the first of them.
    fn open(&mut self, to: &Version) -> DiskUpgrade {
        let new = DiskUpgrade::new(self.version.clone());
        let begun = |upgrade: &DiskUpgrade| match upgrade.phase {
            Phase::Prepared | Phase::Begun | Phase::Failed => {
                upgrade.from.order(&self.version).is_eq()
            }
            Phase::Done | Phase::WentBack => false,
        };
        match self.upgrade.take().filter(begun) {
            Some(own) if own.to.as_ref().is_none_or(|of| of.order(to).is_eq()) => own,
            Some(before) => DiskUpgrade {
                name: before.name,
                restore_point: before.restore_point,
                way_back: before.way_back,
                newest_point: before.newest_point,
                running: before.running,
                data: before.data,
                ..new
            },
            None => new,
        }
    }

    /// Notes how a run of the installed version ended.
    pub fn end(&mut self, machine: &Machine, record: &Record) {
        let outcome = record.outcome.as_deref().and_then(Outcome::from_word);
        let mut upgrade =
            self.upgrade.take().unwrap_or_else(|| DiskUpgrade::new(self.version.clone()));
        upgrade.finished.clone_from(&record.finished);
        upgrade.outcome.clone_from(&record.outcome);
        upgrade.message.clone_from(&record.message);
        // What this run put back, or left as it was, may be what an earlier one had left half done.
        upgrade.data = match record.data {
            Some(DataState::Unchanged) if !upgrade.is_first(record) => Some(DataState::Unknown),
            data => data,
        };
        upgrade.to = Some(machine.version.clone());
        upgrade.phase = match outcome {
            Some(Outcome::Ok) => Phase::Done,
            Some(_) | None => Phase::Failed,
        };
        if upgrade.phase == Phase::Done {
            self.version = machine.version.clone();
        }
        self.upgrade = Some(upgrade);
    }

    /// Notes that the installed version has its data again.
    pub fn went_back(&mut self, machine: &Machine) {
        self.version = machine.version.clone();
        if let Some(upgrade) = &mut self.upgrade {
            upgrade.phase = Phase::WentBack;
            upgrade.data = Some(DataState::Unchanged);
            upgrade.finished = Some(clock::rfc3339(machine.clock.now()));
        }
    }
}

impl DiskUpgrade {
    /// Returns an upgrade that nobody has prepared.
    pub fn new(from: Version) -> Self {
        Self {
            phase: Phase::Begun,
            from,
            to: None,
            name: None,
            restore_point: None,
            way_back: None,
            newest_point: None,
            running: Vec::new(),
            prepared: None,
            window_until: None,
            image: None,
            tried_on: None,
            finished: None,
            outcome: None,
            message: None,
            data: None,
        }
    }

    /// Returns the units that ran. Where nobody prepared it, nothing noted is not nothing that ran: nobody could
    /// look, and what starts with the machine is what is to run.
    pub fn ran(&self) -> Option<Vec<String>> {
        let known = self.prepared.is_some() || !self.running.is_empty();
        known.then(|| self.running.clone())
    }

    /// Returns whether this run goes back to before the first attempt, as far as the disk tells.
    pub fn is_first(&self, run: &Record) -> bool {
        self.way_back.as_deref().is_none_or(|id| run.first_point() == Some(id))
    }

    /// Says which upgrade it is and how far.
    pub fn told(&self) -> String {
        let to = self.to.as_ref().map_or("the next version".to_owned(), ToString::to_string);
        format!("upgrade from {} to {to}: {}", self.from, self.phase.word().replace('_', " "))
    }
}
