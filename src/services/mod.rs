//! Units that the application runs as: looked at, stopped and proved stopped, started.

mod absent;
mod standing;
mod systemd;

use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::progress::Progress;
use crate::system::signals::{self, SHUTDOWN};

pub use absent::Absent;
pub use standing::Standing;
pub use systemd::Systemd;

/// What the service manager says of one unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Full name, such as `openwatch.service`.
    pub name: String,
    /// Whether a unit file exists and may be started.
    pub load: Load,
    /// Whether it runs, comes up or goes down.
    pub active: Activity,
    /// The manager's own words, such as `activating (auto-restart)`.
    pub words: String,
    /// Main process, where there is one.
    pub main_pid: Option<u32>,
    /// How often the manager restarted it by itself.
    pub restarts: u32,
}

/// Whether a unit can be started at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// It has a usable unit file.
    Loaded,
    /// The operator masked it: it stays down, and that is no error.
    Masked,
    /// There is no such unit, or its file is broken.
    Unusable,
}

/// What a unit does at this instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It runs.
    Up,
    /// It comes up, reloads, waits for a restart, or goes down.
    Changing,
    /// It is down.
    Down,
    /// It went down by failing.
    Failed,
}

impl Unit {
    /// Returns whether the unit runs, or is about to.
    pub fn is_up(&self) -> bool {
        matches!(self.active, Activity::Up | Activity::Changing)
    }

    /// Returns whether the file that its main process was started from has been replaced: what runs
    /// is an older program than the one on disk. Of another user's process only root can tell.
    pub fn runs_a_replaced_program(&self) -> bool {
        let Some(pid) = self.main_pid.filter(|_| self.is_up()) else { return false };
        std::fs::read_link(format!("/proc/{pid}/exe"))
            .is_ok_and(|path| path.to_string_lossy().ends_with(" (deleted)"))
    }

    /// Says the unit's state for messages.
    pub fn spoken(&self) -> String {
        let state = match (self.load, self.active) {
            (Load::Masked, _) => "masked",
            (Load::Unusable, _) => "not installed",
            (Load::Loaded, Activity::Up | Activity::Changing) => "running",
            (Load::Loaded, Activity::Down) => "stopped",
            (Load::Loaded, Activity::Failed) => "failed",
        };
        format!("{} is {state}", self.name)
    }
}

/// What the engine asks of a service manager.
pub trait ServiceManager: Send + Sync {
    /// Returns the present state of these units, in their order.
    fn look(&self, names: &[String]) -> Result<Vec<Unit>>;

    /// Returns how these units are set up, in their order; none where there is no manager to say it.
    fn standing(&self, names: &[String]) -> Result<Vec<Standing>>;

    /// Stops one unit and returns once nothing of it runs any more.
    fn stop(&self, name: &str, progress: &dyn Progress) -> Result<()>;

    /// Starts one unit and returns once it is up.
    fn start(&self, name: &str) -> Result<()>;

    /// Asks for the start of one unit, and does not wait for it.
    fn schedule(&self, name: &str) -> Result<()>;

    /// Restarts one unit.
    fn restart(&self, name: &str) -> Result<()>;

    /// Makes the manager read changed unit files.
    fn reload(&self) -> Result<()>;

    /// Returns whether the machine is on its way down: units are stopped, and none is started.
    fn is_going_down(&self) -> bool;

    /// Adds to the error of a unit that is not up that the machine goes down, where it does: then that is
    /// the reason, and no fault of the unit. A shutdown cancels starts and stops units first, and our own
    /// SIGTERM comes only after that, because units are ordered after the one that we run in; so what is
    /// seen here counts as asked.
    fn unless_going_down(&self, error: Error) -> Error {
        if !self.is_going_down() {
            return error;
        }
        signals::ask(SHUTDOWN);
        error.detail("the machine is shutting down")
    }

    /// Returns whether there is a manager at all.
    fn is_present(&self) -> bool;
}

/// Returns the service manager of the machine below this root.
///
/// `/run/systemd/system` is the one right question: in a chroot `systemctl` answers everything,
/// also `is-active`, with exit status 0 (measured on systemd 247–257).
pub fn manager(layout: &Layout) -> Box<dyn ServiceManager> {
    if layout.root().join("run/systemd/system").is_dir() {
        Box::new(Systemd::new())
    } else {
        Box::new(Absent)
    }
}
