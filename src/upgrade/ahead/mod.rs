//! What lies ahead of an upgrade, said before anything runs: the steps in their order, what counts as
//! failed in each, and until where going back is free.
//!
//! Pure over survey, plan and settings. The steps are those that [`super::run`] goes through.

mod boundary;
mod space;
mod stages;

use crate::config::Config;
use crate::outcome::Outcome;

use super::machine::Machine;
use super::plan::Plan;
use super::step::Step;
use super::survey::Survey;

pub use boundary::Boundary;
pub use space::Space;

/// What going back from somewhere costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Back {
    /// Nothing: the data is as it was, the older program fits it.
    Free,
    /// A restore, by which nothing is lost: no unit has written since.
    Restore,
    /// A restore, by which what was written since is no longer in the database.
    LosesWrites,
    /// There is no restore point, and so no way back for the data.
    None,
}

impl Back {
    /// Returns the word for JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Restore => "restore",
            Self::LosesWrites => "loses_writes",
            Self::None => "none",
        }
    }

    /// Returns it for people, behind "going back:".
    pub const fn spoken(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Restore => "a restore",
            Self::LosesWrites => "a restore that loses what was written since",
            Self::None => "impossible for the data",
        }
    }
}

/// One step that lies ahead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The step; [`Step::Package`] stands for the package tool, which moves before the engine.
    pub step: Step,
    /// What moves in it, in order: units, databases with their versions, probes.
    pub moves: Vec<String>,
    /// What counts as failed.
    pub fails_when: Vec<String>,
    /// How the run ends then; none where the package tool ends it.
    pub ends_as: Option<Outcome>,
    /// What is true of the machine then.
    pub leaves: String,
    /// What going back costs after such a failure.
    pub back_if_failed: Back,
    /// What going back costs once the step is done.
    pub back_when_done: Back,
}

impl Stage {
    /// Returns the name of the step for people.
    pub const fn spoken(&self) -> &'static str {
        match self.step {
            Step::Package => "package",
            Step::Preflight
            | Step::Quiesce
            | Step::RestorePoint
            | Step::Switch
            | Step::Migrate
            | Step::Restore
            | Step::Start
            | Step::Health => self.step.spoken(),
        }
    }
}

/// Everything that lies ahead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// The steps, in their order.
    pub stages: Vec<Stage>,
    /// Until where going back is free.
    pub boundary: Boundary,
}

/// Says what lies ahead of this plan.
pub fn look(machine: &Machine, survey: &Survey<'_>, plan: &Plan) -> Ahead {
    let packages = machine.looked_into.is_some();
    let stages = stages::of(survey, plan, &machine.config, packages);
    let boundary = Boundary::of(&stages);
    Ahead { stages, boundary }
}

/// Says what lies ahead where nothing is pending: new units at most, and never the data.
pub fn look_without_migrations(machine: &Machine, survey: &Survey<'_>) -> Ahead {
    let packages = machine.looked_into.is_some();
    let config: &Config = &machine.config;
    let stages = match packages || survey.pending.is_some() || survey.interrupted.is_some() {
        true => stages::without_migrations(survey, config, packages),
        false => Vec::new(),
    };
    let boundary = Boundary::of(&stages);
    Ahead { stages, boundary }
}
