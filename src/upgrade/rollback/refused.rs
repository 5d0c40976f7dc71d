//! The last refusal of a rollback that opened no journal, for whoever followed its unit.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::layout::Layout;
use crate::system::fs;

use super::super::machine::Machine;
use super::super::state_file;
use super::order::Order;

/// What was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// When the rollback was ordered, RFC 3339: another one tells its own end.
    pub since: String,
    /// The outcome's word.
    pub outcome: String,
    /// The first line.
    pub message: String,
    /// What was observed.
    pub detail: Vec<String>,
    /// What is true.
    pub state: Option<String>,
    /// The next command.
    pub hint: Option<String>,
}

/// Writes it down; what cannot be written is not told to programs, and fails nothing.
pub(super) fn note(machine: &Machine, order: &Order, error: &Error) {
    let refused = Refused {
        since: order.since.clone(),
        outcome: error.outcome().word().to_owned(),
        message: error.message(),
        detail: error.details().to_vec(),
        state: error.state_line().map(str::to_owned),
        hint: error.hint_line().map(str::to_owned),
    };
    let path = machine.layout.rollback_refused();
    if let Err(problem) = state_file::write(&machine.layout, &path, &refused) {
        machine.progress.warn(&problem.message());
    }
}

/// Forgets it: a new attempt tells its own end.
pub(super) fn forget(layout: &Layout) {
    let _ = fs::remove_file(&layout.rollback_refused());
}

/// Returns what the last attempt at this order said, where it opened no journal.
pub fn of(layout: &Layout, order: &Order) -> Option<Refused> {
    let refused: Refused = state_file::read(&layout.rollback_refused()).ok().flatten()?;
    (refused.since == order.since).then_some(refused)
}
