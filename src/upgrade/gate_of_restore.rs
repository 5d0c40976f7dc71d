//! The gate while data is put back: closed before the first of it is exchanged, and open again only
//! where the installed program knows what came back.

use crate::error::{Error, Result};
use crate::migrations::{self, State};
use crate::outcome::Outcome;
use crate::restore_points::{RestorePoint, UNTOUCHED};

use super::gate::{Failed, Pending, opened};
use super::machine::Machine;

/// The gate of one restore.
#[derive(Debug)]
#[must_use]
pub struct RestoreGate {
    /// What had closed it before.
    before: Before,
}

/// What the gate was before a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    /// Open: this restore closed it.
    Open,
    /// Closed by a restore that was cut off, or that brought the data of another version back.
    ByRestore,
    /// Closed by an upgrade, whose it stays.
    ByUpgrade,
}

impl RestoreGate {
    /// Closes the gate, where it was open: killed half way, or cut off from power, nothing may start on
    /// the data of another version.
    pub fn begin(machine: &Machine, point: &RestorePoint) -> Result<Self> {
        let before = match Pending::read(&machine.layout)? {
            None => Before::Open,
            Some(mark) if mark.is_of_restore() => Before::ByRestore,
            Some(_) => Before::ByUpgrade,
        };
        opened::end_for_upgrade(machine);
        if before == Before::Open {
            mark(machine, point).write(&machine.layout)?;
        }
        Ok(Self { before })
    }

    /// Opens the gate again where the restore failed before it changed anything; otherwise it stays
    /// closed, whatever the data is: what a restore before this one left half done, this one did not
    /// touch.
    pub fn failed(self, machine: &Machine, error: Error) -> Error {
        let untouched = error.state_line().is_none_or(|state| UNTOUCHED.contains(&state));
        if self.before == Before::Open
            && untouched
            && let Err(more) = Pending::clear(&machine.layout)
        {
            return error.detail(more.message());
        }
        error
    }

    /// Opens the gate again where the installed program needs the schema that came back: otherwise
    /// nothing may start it, and no nightly run may migrate again what was just put back.
    pub fn done(self, machine: &Machine) -> Result<()> {
        for shipped in &machine.databases {
            let mut session = shipped.database.connect()?;
            if migrations::look_for_pending(&mut session, &shipped.migrations)?.state
                != State::Current
            {
                return Ok(());
            }
        }
        match self.before {
            Before::Open | Before::ByRestore => Pending::clear(&machine.layout),
            Before::ByUpgrade => Ok(()),
        }
    }
}

/// Returns the mark that closes the gate for a restore.
pub(super) fn mark(machine: &Machine, point: &RestorePoint) -> Pending {
    let failed = Failed {
        outcome: Outcome::RolledBack.word().to_owned(),
        message: format!("restore point {} was put back", point.id()),
    };
    Pending {
        from: point.manifest().from_version.clone(),
        failed: Some(failed),
        restoring: Some(point.id().to_owned()),
        ..Pending::new(machine.version.clone(), None, machine.clock)
    }
}
