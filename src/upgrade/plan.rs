//! Decides, from the survey alone, what has to be done.

use crate::config::{Config, Method};
use crate::error::Error;
use crate::migrations::State;
use crate::outcome::Outcome;

use super::survey::Survey;

/// What has to be done.
pub enum Decision {
    /// No migration is pending: no stop, no dump; units of a new package are restarted.
    NothingPending,
    /// Migrations are pending, or an interrupted run has units to start.
    Upgrade(Plan),
    /// It must not be done.
    Refuse(Error),
}

/// The upgrade that will be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Units that ran before and will run again, in stop order.
    pub running: Vec<String>,
    /// Per database: its name, whether it is dumped, and the versions that will be applied.
    pub databases: Vec<DatabasePlan>,
}

/// What will be done to one database.
#[derive(Clone, Debug)]
pub struct DatabasePlan {
    /// Name within the application.
    pub name: String,
    /// Whether it is part of the restore point, or why not.
    pub protection: Protection,
    /// Versions that will be applied, in order.
    pub pending: Vec<String>,
}

/// Whether a database is dumped before it is migrated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// It is dumped.
    Dump,
    /// It is cloned, and dumped once the services are back.
    Clone,
    /// A command of the operator makes the restore point.
    External,
    /// Nothing is pending for it.
    NothingPending,
    /// It holds nothing yet.
    Empty,
    /// The operator switched backups off.
    SwitchedOff,
}

impl Protection {
    /// Returns how a database is protected that is migrated and holds something.
    pub const fn by(method: Method) -> Self {
        match method {
            Method::Dump => Self::Dump,
            Method::Clone => Self::Clone,
            Method::External => Self::External,
        }
    }

    /// Returns whether the database is part of the restore point.
    pub const fn is_taken(self) -> bool {
        match self {
            Self::Dump | Self::Clone | Self::External => true,
            Self::NothingPending | Self::Empty | Self::SwitchedOff => false,
        }
    }

    /// Returns whether it is dumped in this run, at once or later.
    pub const fn is_dumped(self) -> bool {
        match self {
            Self::Dump | Self::Clone => true,
            Self::External | Self::NothingPending | Self::Empty | Self::SwitchedOff => false,
        }
    }

    /// Returns the word for plans and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Dump => "dump",
            Self::Clone => "clone",
            Self::External => "external",
            Self::NothingPending => "nothing pending",
            Self::Empty => "empty database",
            Self::SwitchedOff => "switched off by the operator",
        }
    }
}

/// Decides what has to be done.
pub fn decide(survey: &Survey<'_>, config: &Config) -> Decision {
    if let Some(error) = refusal(survey, config) {
        return Decision::Refuse(error);
    }
    if !survey.has_pending() {
        return Decision::NothingPending;
    }
    let databases = survey
        .databases
        .iter()
        .map(|d| DatabasePlan {
            name: d.database.name().to_owned(),
            protection: match d.comparison.state {
                State::Empty => Protection::Empty,
                _ if d.comparison.pending.is_empty() => Protection::NothingPending,
                _ if !config.policy.auto_backup => Protection::SwitchedOff,
                _ => Protection::by(config.policy.restore_point.method),
            },
            pending: d.comparison.pending.iter().map(|p| p.version.to_string()).collect(),
        })
        .collect();
    Decision::Upgrade(Plan { running: survey.running(), databases })
}

fn refusal(survey: &Survey<'_>, config: &Config) -> Option<Error> {
    for d in &survey.databases {
        if let Some(error) = d.comparison.refusal(Outcome::Refused) {
            return Some(error);
        }
    }
    let (required, from) = (config.app.min_upgrade_from.as_ref()?, survey.from.as_ref()?);
    if from.order(required) == std::cmp::Ordering::Less {
        return Some(
            Error::new(
                Outcome::Refused,
                format!("version {from} cannot be upgraded to {} in one step", survey.version),
            )
            .detail(format!("{required} is the oldest version that can"))
            .state("nothing was changed")
            .hint(format!("Install version {required} first, then this one.")),
        );
    }
    None
}
