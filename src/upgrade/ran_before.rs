//! What ran before the files were unpacked. A power cut between unpacking and the script that writes
//! the pending mark boots a program that the gate refuses: the next attempt finds the units down, and
//! without this note would take that for the operator's wish.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::layout::Layout;
use crate::package;
use crate::system::fs;
use crate::version::Version;

use super::journal::{self, Record};
use super::state_file;

/// The note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// Version on disk at that time.
    pub version: Version,
    /// Version that was about to take its place.
    #[serde(default)]
    pub to: Option<Version>,
    /// Units that ran, in stop order.
    pub running: Vec<String>,
}

impl Ran {
    /// Writes the note.
    pub fn write(&self, layout: &Layout) -> Result<()> {
        state_file::write(layout, &layout.ran_before(), self)
    }

    /// Returns the note of an attempt that had unpacked its files and was cut off before the mark: the
    /// version on disk is the one that it was about to bring. One that was left behind by an attempt
    /// that brought nothing, or another version, says nothing of this one.
    pub fn of_cut_off(layout: &Layout) -> Option<Self> {
        let on_disk = package::installed_version(layout, None)?;
        let ran = read(layout)?;
        let brought = ran.to.as_ref().is_some_and(|to| to.order(&on_disk).is_eq());
        (brought && !ran.version.order(&on_disk).is_eq()).then_some(ran)
    }
}

/// Adds what runs now to what ran before the files were unpacked, and before that to what a run was
/// starting when it was killed: the newer version that follows it finds only a part of that up.
pub fn and(layout: &Layout, now: Vec<String>) -> Vec<String> {
    // A journal that cannot be read says nothing either.
    let last = journal::read(layout).ok().flatten();
    let starting = last.as_ref().and_then(Record::was_starting).unwrap_or_default();
    let noted = read(layout).map(|ran| ran.running).unwrap_or_default();
    let mut all = starting.to_vec();
    for unit in noted.into_iter().chain(now) {
        if !all.contains(&unit) {
            all.push(unit);
        }
    }
    all
}

/// Removes the note, and the one of the version that was there: the mark says it, or nothing is to be
/// remembered.
pub fn forget(layout: &Layout) -> Result<()> {
    let both: [PathBuf; 2] = [layout.ran_before(), layout.installed_before()];
    both.iter().try_for_each(|path| fs::remove_file(path))
}

/// A note that cannot be read says nothing.
fn read(layout: &Layout) -> Option<Ran> {
    state_file::read(&layout.ran_before()).ok().flatten()
}
