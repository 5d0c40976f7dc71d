//! What everybody on the machine may read: left by root, for `openwatch serve`, which is not root,
//! and for whoever collects measurements.
//!
//! Restore points are root's alone and stay so. What a person may know of them (name, age, size,
//! proof, why they stay) is written beside, as a summary without secrets. It is a copy and decides
//! nothing: losing it loses nothing, and failing to write it fails nothing.

pub mod exposition;
pub mod measured;
pub mod outlook;
pub mod summary;
pub mod times;

use std::path::Path;

use crate::error::Result;
use crate::restore_points::{Decision, Entry};
use crate::system::fs;

use super::machine::Machine;

pub use summary::{Point, Summary};

/// Leaves the summary, and the measurements where the operator names a file for them; what goes wrong
/// is told and fails nothing.
pub fn leave(machine: &Machine) {
    leave_with(machine, || summary::leave(machine));
}

/// Does the same for restore points that a prune has just decided about and left.
pub fn leave_pruned(machine: &Machine, left: &[(&Entry, &Decision)]) {
    leave_with(machine, || summary::leave_pruned(machine, left));
}

fn leave_with(machine: &Machine, summary: impl FnOnce() -> Result<()>) {
    if machine.backup_dir_is_named || machine.looked_into.is_some() {
        // About another directory, or another package, than the machine's own.
        return;
    }
    if let Err(error) = summary() {
        machine.progress.warn(&format!("the console was not told: {}", error.message()));
    }
    if let Some(file) = &machine.config.policy.metrics_textfile {
        let text = measured::of_machine(machine).into_text();
        if let Err(error) = replace(file, text.as_bytes()) {
            machine.progress.warn(&format!("the measurements are as before: {}", error.message()));
        }
    }
}

/// Writes a file that everybody may read, as a whole, and not through a link.
fn replace(file: &Path, content: &[u8]) -> Result<()> {
    fs::replace(file, content, 0o644)
}
