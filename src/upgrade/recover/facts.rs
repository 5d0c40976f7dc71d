//! What recovery knows: what the journal says was attempted, and what the machine says is so.

use serde::{Deserialize, Serialize};

use crate::config::OnFailure;
use crate::upgrade::journal::{Direction, When};
use crate::upgrade::step::Step;

/// Everything that the decision rests on.
#[derive(Clone, Debug)]
pub struct Facts {
    /// How the last run ended, by its journal.
    pub run: Run,
    /// Where it led.
    pub direction: Direction,
    /// Its last mark.
    pub reached: Option<(Step, When)>,
    /// Whether it ever began to put data back.
    pub restoring: Restoring,
    /// Each database that it was about to migrate, as it is found now.
    pub databases: Vec<Standing>,
    /// Whether the pending mark is there.
    pub gate: Gate,
    /// Whether somebody opened the gate by hand over what the run left.
    pub opened: Opened,
    /// Whether any unit of the application runs.
    pub units: Units,
    /// The restore point from before the first attempt.
    pub point: Point,
    /// What is not as that run left it, each in words.
    pub changed: Changed,
    /// How often in a row attempts were cut off in the same step, and how often that may be.
    pub cut_off: Count,
    /// Whether the run is known to be stuck.
    pub stuck: Option<Stuck>,
    /// What the operator wants after a failure.
    pub on_failure: OnFailure,
}

/// How the last run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// There was none, or what is known of it cannot be read.
    Unknown,
    /// Well.
    Well,
    /// By a failure that was told.
    Failed,
    /// It never ended, or was asked to stop.
    CutOff,
}

/// Whether a run began to put data back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restoring {
    /// It did not.
    No,
    /// It did, and never said that it was done.
    Begun,
    /// It did, and was done.
    Done,
}

/// Where one database stands against the run that was about to migrate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As it was before.
    Before,
    /// As it was before, and another database than then: a restore has put it there.
    PutBack,
    /// Some of the migrations are in it, each of them whole.
    Between,
    /// A migration, or a tool, was cut off in it.
    Doubtful,
    /// All of them are in it.
    After,
}

/// Whether the pending mark is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// No unit may start.
    Closed,
    /// Units may start.
    Open,
}

/// Whether somebody opened the gate by hand over what a run left: then anybody may have written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Nobody did.
    Never,
    /// Somebody did.
    ByHand,
}

/// Whether any unit of the application runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Units {
    /// One does.
    Up,
    /// None does.
    Down,
}

/// The restore point from before the first attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// None was taken.
    None,
    /// It is there, and we can put it back.
    There,
    /// It was taken, and is not there any more, or is damaged.
    Lost,
    /// It is there, and somebody else has to put it back.
    LeftToOthers,
}

/// What is not as the run left it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Of the package: only of account where some of its migrations are in the data.
    pub package: Vec<String>,
    /// Of the databases and their histories.
    pub data: Vec<String>,
}

/// Attempts that were cut off in the same step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// How many, in a row.
    pub happened: u32,
    /// After how many nothing is tried by itself any more.
    pub allowed: u32,
}

/// Why nothing is tried by itself any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stuck {
    /// Going back failed.
    UndoFailed,
    /// Attempts were cut off too often in the same step.
    CutOffAgain,
    /// The way back leads through a restore point that is not there.
    NoWayBack,
}
