//! The journal's record of a rollback.

use crate::error::Result;
use crate::layout::Layout;
use crate::migrations::DataState;
use crate::outcome::Outcome;

use super::super::journal::{self, Direction, Mark, Record};
use super::super::step::Step;
use super::order::Order;

impl Record {
    /// Returns the record of a rollback that begins now, or goes on with the one before.
    ///
    /// That a restore was begun stays known, however often the rollback is cut off after it.
    pub fn back(run: String, started: String, order: &Order, before: Option<&Self>) -> Self {
        let restores =
            |mark: &&Mark| mark.step == Step::Restore && order.point.as_ref() == Some(&mark.note);
        let marks = before.iter().flat_map(|run| run.marks.iter().filter(restores));
        Self {
            marks: marks.cloned().collect(),
            from: Some(order.from.clone()),
            restore_point: order.copied.clone(),
            way_back: order.point.clone(),
            running: order.running.clone(),
            ..Self::begun(Direction::Back, run, started, order.to.clone())
        }
    }
}

/// Closes the record of a rollback that a person, or a newer package, gives up, so that nobody takes it
/// for one that was cut off and has to be finished.
pub fn give_up(layout: &Layout, order: &Order, now: String) -> Result<()> {
    // One that has not begun yet has none: the last one is that of another run.
    let own = |run: &Record| run.direction == Direction::Back && order.leads_to(&run.to);
    let Some(record) = journal::read(layout)?.filter(own) else { return Ok(()) };
    let back = order.data_is_back();
    let closed = Record {
        finished: Some(now),
        outcome: Some(Outcome::Failed.word().to_owned()),
        message: Some(format!("the rollback to {} was given up", order.to)),
        data: Some(if back { DataState::Unchanged } else { DataState::Unknown }),
        ..record
    };
    journal::write(&layout.journal(), &closed)
}
