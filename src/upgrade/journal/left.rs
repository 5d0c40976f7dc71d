//! What a run has left behind, by its record alone.

use crate::migrations::DataState;
use crate::version::Version;

use super::super::step::Step;
use super::{Direction, Record, When};

impl Record {
    /// Returns the restore point that leads back to before this run and those that it came after,
    /// where they left the data half done, or may have.
    pub fn leads_back(&self) -> Option<&str> {
        let half = match self.data {
            Some(DataState::Unchanged) => false,
            Some(DataState::Partly | DataState::Unknown) => true,
            // Killed: what it did is not known.
            None => {
                let touched = self.has_marked(Step::Migrate, When::Begun);
                self.finished.is_none() && (touched || self.way_back.is_some())
            }
        };
        self.first_point().filter(|_| half)
    }

    /// Returns whether this run never ended, or was asked to stop.
    pub fn was_cut_off(&self) -> bool {
        self.finished.is_none() || self.interrupted.is_some()
    }

    /// Returns whether another version has taken the place of the one that this run was cut off at:
    /// it had migrated all and was about to start the units, so that its data is whole, and what
    /// was written since is not its own to take back.
    pub fn is_overtaken(&self, installed: &Version) -> bool {
        self.was_cut_off()
            && self.direction == Direction::Forward
            && self.has_marked(Step::Start, When::Begun)
            && !self.has_marked(Step::Restore, When::Begun)
            && !self.to.order(installed).is_eq()
    }

    /// Returns the units that a run was to start which was killed after it had opened the gate: which
    /// of them it came to is not known, and those that are down are not so by anybody's wish.
    pub fn was_starting(&self) -> Option<&[String]> {
        let opened = self.direction == Direction::Forward
            && self.finished.is_none()
            && self.has_marked(Step::Start, When::Begun);
        opened.then_some(self.running.as_slice())
    }

    /// Returns the restore point from before the first attempt, where one was taken.
    pub fn first_point(&self) -> Option<&str> {
        self.way_back.as_deref().or(self.restore_point.as_deref())
    }

    /// Returns whether the data of its restore point was put back by hand after it was killed.
    pub fn is_put_back(&self) -> bool {
        self.data == Some(DataState::Unchanged) && self.finished.is_none()
    }

    /// Returns whether an earlier attempt left the data half done, and nothing has put it back since.
    pub fn found_half_done(&self) -> bool {
        self.way_back.is_some() && self.data != Some(DataState::Unchanged)
    }

    /// Returns whether this run had stopped the units, started none of them again, and nobody has
    /// opened the gate since.
    pub fn never_started(&self) -> bool {
        self.has_marked(Step::Quiesce, When::Done)
            && !self.has_marked(Step::Start, When::Begun)
            && self.opened.is_none()
    }

    fn has_marked(&self, step: Step, when: When) -> bool {
        self.marks.iter().any(|mark| mark.step == step && mark.when == when)
    }
}
