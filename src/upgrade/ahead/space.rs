//! The room that the restore point of the next upgrade needs, and the room that there is.

use std::path::PathBuf;

use crate::upgrade::machine::Machine;
use crate::upgrade::plan::Plan;
use crate::upgrade::preflight;
use crate::upgrade::survey::Survey;

/// Bytes needed and free, from the databases as they are and the last good dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// Where restore points are kept.
    pub directory: PathBuf,
    /// Bytes that the restore point takes there, about.
    pub needed: u64,
    /// Bytes that must stay free beside it.
    pub reserve: u64,
    /// Bytes that are free there.
    pub free: u64,
    /// Bytes of the databases on their server, which a clone takes there once more.
    pub databases: u64,
}

impl Space {
    /// Looks; none where no restore point is taken, or nobody can say (a finding tells why).
    pub fn of(machine: &Machine, survey: &Survey<'_>, plan: &Plan) -> Option<Self> {
        let estimate = preflight::estimate(machine, survey, plan)?.ok()?;
        Some(Self {
            directory: machine.config.policy.backup_dir.clone(),
            needed: estimate.needed,
            reserve: machine.config.policy.reserve,
            free: estimate.free.bytes,
            databases: estimate.databases,
        })
    }
}
