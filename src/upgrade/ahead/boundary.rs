//! Until where going back is free.

use super::{Back, Stage};
use crate::upgrade::step::Step;

/// From where on going back costs what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boundary {
    /// The last step that is done with everything as it was; none where no step lies ahead.
    pub free_through: Option<Step>,
    /// The first step after which going back is a restore.
    pub restore_from: Option<Step>,
    /// The first step after which a restore loses what was written since.
    pub loses_writes_from: Option<Step>,
    /// The first step after which there is no way back for the data.
    pub none_from: Option<Step>,
}

impl Boundary {
    pub(super) fn of(stages: &[Stage]) -> Self {
        let first =
            |back: Back| stages.iter().find(|stage| stage.back_when_done == back).map(|s| s.step);
        let free = stages.iter().take_while(|stage| stage.back_when_done == Back::Free);
        Self {
            free_through: free.last().map(|stage| stage.step),
            restore_from: first(Back::Restore),
            loses_writes_from: first(Back::LosesWrites),
            none_from: first(Back::None),
        }
    }

    /// Returns it for people.
    pub fn told(&self) -> String {
        let at = |step: Step| match step {
            Step::Migrate => "the migrations are committed".to_owned(),
            Step::Start => "the units are started".to_owned(),
            Step::Preflight
            | Step::Quiesce
            | Step::RestorePoint
            | Step::Switch
            | Step::Restore
            | Step::Package
            | Step::Health => format!("{} is done", step.spoken()),
        };
        let mut parts = Vec::new();
        match (self.none_from, self.restore_from) {
            (Some(none), _) => {
                parts.push(format!("free until {}", at(none)));
                parts.push("then there is no way back for the data: no restore point".to_owned());
            }
            (None, Some(restore)) => {
                parts.push(format!("free until {}", at(restore)));
                parts.push("then a restore that loses nothing".to_owned());
            }
            (None, None) => parts.push("free throughout: the data does not change".to_owned()),
        }
        if let Some(step) = self.loses_writes_from {
            parts.push(format!("once {} it loses what they wrote since", at(step)));
        }
        parts.join("; ")
    }
}
