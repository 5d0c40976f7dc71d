//! The steps of an upgrade, in order; for each, what it changes and how that is undone.

use serde::{Deserialize, Serialize};

/// One step of an upgrade.
///
/// | Step | Proves | Changes | When it fails |
/// |---|---|---|---|
/// | preflight | `Ready` | nothing | all findings are told |
/// | quiesce | `Quiesced` | units | gate closed, data as before |
/// | restore point | `Secured` | adds files | the partial is removed, gate closed |
/// | switch | | the link to the version | gate closed, the older version comes back |
/// | migrate | `Migrated` | schema and data | its transaction, or the restore point |
/// | start | `Started` | units | units are stopped, gate closed |
/// | health | `Healthy` | nothing | units are stopped, gate closed |
///
/// A rollback has quiesce, restore point (the present state), restore, package, start and health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Checks before any change.
    Preflight,
    /// Units stopped and proved stopped.
    Quiesce,
    /// Restore point taken, verified, published.
    RestorePoint,
    /// The link moved to the directory of another version.
    Switch,
    /// Pending migrations applied.
    Migrate,
    /// The data put back from the restore point.
    Restore,
    /// The older package put in the place of the newer one.
    Package,
    /// Gate opened, units started.
    Start,
    /// Health proved.
    Health,
}

impl Step {
    /// Returns the step's name for programs, as the journal writes it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Quiesce => "quiesce",
            Self::RestorePoint => "restore_point",
            Self::Switch => "switch",
            Self::Migrate => "migrate",
            Self::Restore => "restore",
            Self::Package => "package",
            Self::Start => "start",
            Self::Health => "health",
        }
    }

    /// Returns the step's name for people.
    pub const fn spoken(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Quiesce => "stopping services",
            Self::RestorePoint => "restore point",
            Self::Switch => "switching versions",
            Self::Migrate => "migrations",
            Self::Restore => "restore",
            Self::Package => "older package",
            Self::Start => "starting services",
            Self::Health => "health",
        }
    }
}
