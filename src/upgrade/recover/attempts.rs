//! How often a run was cut off in the same step, counted in the pending mark over boots.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::upgrade::gate::Pending;
use crate::upgrade::journal::{self, Record};
use crate::upgrade::machine::Machine;
use crate::upgrade::step::Step;

/// Attempts that were cut off one after the other in the same step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutOff {
    /// The step.
    pub step: Step,
    /// How many.
    pub count: u32,
    /// The last run that was counted.
    pub run: String,
}

/// Counts the last run, where it was cut off and not counted yet.
pub fn count(machine: &Machine) -> Result<()> {
    let Some(mark) = Pending::read(&machine.layout)? else { return Ok(()) };
    let Some(last) = journal::read(&machine.layout)? else { return Ok(()) };
    let counted = counted(mark.cut_off.as_ref(), &last);
    if counted == mark.cut_off {
        return Ok(());
    }
    Pending { cut_off: counted, ..mark }.write(&machine.layout)
}

/// Forgets what was counted, and that the run was stuck: a person has taken it into their hands.
pub fn forget(machine: &Machine) -> Result<()> {
    count(machine)?;
    match Pending::read(&machine.layout)? {
        Some(mark) if mark.cut_off.is_some() || mark.stuck.is_some() => {
            // The last run stays counted, or it would be counted anew as the first.
            let cut_off = mark.cut_off.map(|cut_off| CutOff { count: 0, ..cut_off });
            let failed = mark.failed.filter(|_| mark.stuck.is_none());
            Pending { cut_off, failed, stuck: None, ..mark }.write(&machine.layout)
        }
        Some(_) | None => Ok(()),
    }
}

/// What is counted after this run.
fn counted(before: Option<&CutOff>, last: &Record) -> Option<CutOff> {
    if before.is_some_and(|before| before.run == last.run) {
        return before.cloned();
    }
    if !last.was_cut_off() {
        return None;
    }
    let step = last.marks.last().map_or(Step::Preflight, |mark| mark.step);
    let earlier = before.filter(|before| before.step == step).map_or(0, |before| before.count);
    Some(CutOff { step, count: earlier.saturating_add(1), run: last.run.clone() })
}
