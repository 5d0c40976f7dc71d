//! What a restore is told, and what it says afterwards.

use super::loss::Loss;
use crate::config::ForeignSessions;
use crate::database::clients::Clients;
use crate::database::lacking::Owners;
use crate::database::swap::End;
use crate::restore_points::store::RestorePoint;
use crate::system::clock::Clock;

/// Whether a restore point of another application, host or database is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Override {
    /// It is refused.
    No,
    /// The operator said so, with `--force-foreign`.
    AcceptForeign,
}

/// How data is put back.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// Whether a point made elsewhere is accepted.
    pub foreign: Override,
    /// What happens to sessions of other users on the present database: ended, or the restore
    /// refuses and names them. Those of our own role are always ended.
    pub sessions: ForeignSessions,
    /// Whether objects get their owners, grants and tablespaces back.
    pub owners: Owners,
    /// Time of the names of replaced databases.
    pub clock: Clock,
    /// Where client programs are looked for.
    pub clients: Clients,
}

impl RestoreOptions {
    /// Returns whose sessions are ended.
    pub(in crate::restore_points) fn end(&self) -> End {
        match self.sessions {
            ForeignSessions::End => End::All,
            ForeignSessions::Warn | ForeignSessions::Refuse => End::Own,
        }
    }
}

/// Where the former data of a database is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Name of the database within the application.
    pub database: String,
    /// Name on the server that the former database has now; `None` where there was none or where
    /// it was overwritten in place, in one transaction.
    pub kept_as: Option<String>,
}

/// What a restore did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Where the former data is.
    pub replaced: Vec<Replaced>,
    /// What was taken away.
    pub loss: Vec<Loss>,
    /// Statements that carry over what the role had no right to, for somebody who has it.
    pub left: Vec<String>,
}

impl Restored {
    /// Notes that the former databases are the clones of this point by now.
    pub fn are_clones_of(&mut self, point: &RestorePoint) {
        for archive in &point.manifest().databases {
            let former = self.replaced.iter_mut().find(|former| former.database == archive.name);
            if let Some(former) = former {
                former.kept_as.clone_from(&archive.clone);
            }
        }
    }
}
