//! How a record begins.

use crate::version::Version;

use super::super::survey::Survey;
use super::{Direction, Record};

impl Record {
    /// Returns the record of a run that begins now.
    pub fn new(run: String, started: String, survey: &Survey<'_>) -> Self {
        Self {
            from: survey.from.clone(),
            way_back: survey.way_back.clone(),
            opened: survey.opened.clone(),
            running: survey.running(),
            ..Self::begun(Direction::Forward, run, started, survey.version.clone())
        }
    }

    /// Returns the record of a run that begins now and has done nothing yet.
    pub(in crate::upgrade) fn begun(
        direction: Direction,
        run: String,
        started: String,
        to: Version,
    ) -> Self {
        Self {
            format: 1,
            direction,
            run,
            from: None,
            to,
            pid: std::process::id(),
            started,
            finished: None,
            outcome: None,
            message: None,
            state: None,
            next: None,
            restore_point: None,
            used_again: None,
            clones: Vec::new(),
            way_back: None,
            data: None,
            detail: Vec::new(),
            running: Vec::new(),
            ended_sessions: Vec::new(),
            overrode: None,
            marks: Vec::new(),
            opened: None,
            interrupted: None,
            baseline: None,
            comparison: None,
            world: None,
            taken_back: None,
        }
    }
}
