//! Why a clone cannot be made, as far as that can be known before: rights and room.

use crate::database::Database;
use crate::database::clone;
use crate::database::swap::Server;
use crate::disk;
use crate::error::{Context, Result};

/// Returns why these databases cannot be cloned, each reason in words; none where they can be.
///
/// The room must be known: a full disk would stop the whole server, not only the clone.
pub fn obstacles(databases: &[&Database], reserve: u64) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut needed = 0u64;
    for database in databases {
        let described = database.described();
        if database.file().is_some() {
            found.push(format!("{described} is copied, not cloned"));
            continue;
        }
        if let Some(why) = Server::beside(database)?.may_not_clone(database.dbname())? {
            found.push(why);
            continue;
        }
        let Some(place) = clone::place(database)? else {
            found.push(format!(
                "the free space on the server of {described} is not known: it is another machine, \
                 or the role may not read where it keeps its data"
            ));
            continue;
        };
        if place.reflink && place.dirs.iter().all(|dir| disk::reflinks(dir)) {
            continue;
        }
        // Databases of one server mostly share a disk; where they do not, this asks for too much.
        needed = needed.saturating_add(place.size);
        let wanted = needed.saturating_add(reserve);
        for dir in &place.dirs {
            let free = disk::free(dir)
                .context(|| format!("cannot ask for the free space of {}", dir.display()))?;
            if free.bytes < wanted {
                found.push(format!(
                    "a second copy of {described} does not fit on the server's disk at {}: {} and \
                     {} kept free, {} free",
                    dir.display(),
                    disk::spoken(needed),
                    disk::spoken(reserve),
                    disk::spoken(free.bytes)
                ));
            }
        }
    }
    Ok(found)
}
