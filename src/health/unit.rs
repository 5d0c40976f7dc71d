//! Units: active, and the same main process for a while.

use std::time::Duration;

use super::ask::Attempt;
use crate::error::Result;

/// Who knows the state of units; implemented where the service manager is spoken.
pub trait Units: Sync {
    /// Looks at one unit, taking no longer than `limit`.
    fn look(&self, unit: &str, limit: Duration) -> Result<UnitLook>;
}

/// The state of one unit at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitLook {
    /// Whether it runs.
    pub life: Life,
    /// The service manager's own words, such as `activating (auto-restart)`.
    pub words: String,
    /// Main process, 0 for none.
    pub main_pid: u32,
    /// How often the service manager has restarted it by itself.
    pub restarts: u32,
}

/// Whether a unit runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It is active.
    Active,
    /// It is on its way: activating, reloading, waiting for a restart.
    Changing,
    /// It is inactive or failed, and the service manager leaves it so.
    Down,
    /// There is no such unit, or it is masked.
    Absent,
}

pub(super) fn ask(unit: &str, units: &dyn Units, limit: Duration) -> Attempt {
    let look = match units.look(unit, limit) {
        Ok(look) => look,
        Err(error) => return Attempt::Wrong(error.message()),
    };
    match look.life {
        Life::Active => Attempt::Right {
            said: match look.main_pid {
                0 => look.words,
                pid => format!("{}, main process {pid}, {} restarts", look.words, look.restarts),
            },
            identity: Some((look.main_pid, look.restarts)),
        },
        Life::Changing => Attempt::Wrong(look.words),
        Life::Down => Attempt::Down(look.words),
        Life::Absent => Attempt::Hopeless(look.words),
    }
}
