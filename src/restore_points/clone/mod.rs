//! Restore points that are clones: made on the server with the services down, compared, published,
//! turned into dumps once the services are back, put back by a rename.
//!
//! The point keeps its name for ever: at first its directory only says which databases on the server
//! it consists of; later, in one exchange, it holds their archives as well.

mod complete;
mod make;
mod obstacles;
mod swap;

pub use complete::Completing;
pub use make::Copied;
pub use obstacles::obstacles;
pub(super) use swap::by_renaming;

use super::store::RestorePoint;
use crate::database::Database;
use crate::database::swap::Server;
use crate::error::Result;

/// Word in the name of a clone.
pub(super) use crate::database::clone::WORD;

impl RestorePoint {
    /// Returns which of the clones that belong to this point are still on their servers, by the name
    /// of their database within the application; an error where a server cannot be asked.
    pub fn clones_there(&self, databases: &[&Database]) -> Result<Vec<(String, String)>> {
        let mut there = Vec::new();
        for archive in &self.manifest().databases {
            let database = databases.iter().find(|database| database.name() == archive.name);
            let (Some(clone), Some(database)) = (&archive.clone, database) else { continue };
            if Server::beside(database)?.has(clone)? {
                there.push((archive.name.clone(), clone.clone()));
            }
        }
        Ok(there)
    }
}
