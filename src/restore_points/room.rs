//! Free space on the disk of a server, for copies of its databases beside them.

use std::path::PathBuf;

use crate::database::{Database, scratch};
use crate::disk::{self, Free};
use crate::error::Result;

/// What is free where a server keeps the data of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Where it keeps them.
    pub dir: PathBuf,
    /// What is left there.
    pub free: Free,
}

impl Room {
    /// Looks beside a database; nothing where the server is elsewhere or does not say where its data is.
    pub fn beside(database: &Database) -> Result<Option<Self>> {
        let Some(dir) = scratch::data_directory(database)? else { return Ok(None) };
        let free = disk::free(&dir).ok();
        Ok(free.map(|free| Self { dir, free }))
    }
}
