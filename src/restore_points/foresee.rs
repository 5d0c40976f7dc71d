//! Whether a restore point can be loaded into scratch databases beside the real ones, and how long that
//! will take: asked before anything is begun, and before anything is stopped.

use std::time::Duration;

use super::room::Room;
use super::store::Store;
use crate::database::{Database, scratch};
use crate::disk;
use crate::error::Result;
use crate::system::clock;

/// Bytes of a database that are loaded in a second, where no earlier trial tells: a tenth of what a
/// machine of two cores did (300 MB in a second, indexes included).
const RATE: u64 = 30 << 20;

/// One database that would be loaded.
#[derive(Clone, Debug)]
pub struct ToLoad<'a> {
    /// The real database, which the scratch database is made beside.
    pub database: &'a Database,
    /// Its size on the server's disk, in bytes.
    pub bytes: u64,
    /// Its extensions.
    pub extensions: Vec<String>,
}

/// How long a trial may take, and what it must leave.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest time; none where nobody waits for it.
    pub time: Option<Duration>,
    /// Free space that must be left on the server's disk, in bytes.
    pub reserve: u64,
}

/// What stands in the way of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Whether it goes away by itself.
    pub lasts: Lasts,
    /// What it is, one line.
    pub why: String,
    /// What would take it away, as a clause.
    pub remedy: Option<String>,
}

impl Obstacle {
    /// Makes one that is there as long as room and time are as they are.
    pub(super) fn for_now(why: impl Into<String>) -> Self {
        Self { lasts: Lasts::ForNow, why: why.into(), remedy: None }
    }
}

/// Whether an obstacle goes away by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasts {
    /// Until a person grants a right: no night will be better than this one.
    UntilMended,
    /// As long as there is as much data and as little room or time.
    ForNow,
}

/// What is known of a trial beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreseen {
    /// How long it will take.
    pub time: Duration,
    /// Where that number comes from.
    pub source: String,
    /// What stands in its way.
    pub obstacles: Vec<Obstacle>,
}

/// Looks whether these databases could be loaded, one after the other; writes nothing.
pub fn foresee(store: Option<&Store>, all: &[ToLoad<'_>], limits: &Limits) -> Result<Foreseen> {
    let mut obstacles = Vec::new();
    for one in all {
        if let Some(found) = scratch::hindrance(one.database, &one.extensions)? {
            obstacles.push(Obstacle {
                lasts: Lasts::UntilMended,
                why: format!("{}: {}", one.database.name(), found.why),
                remedy: found.remedy,
            });
            continue;
        }
        obstacles.extend(no_room(one, limits.reserve)?);
    }
    let bytes = all.iter().map(|one| one.bytes).sum();
    let (time, source) = expected(store, bytes)?;
    if let Some(limit) = limits.time.filter(|limit| time > *limit) {
        obstacles.push(Obstacle {
            lasts: Lasts::ForNow,
            why: format!(
                "it would take about {} ({source}), longer than verify_limit, {}",
                clock::spoken(time),
                clock::spoken(limit)
            ),
            remedy: Some("Set `verify_limit` to what the services may be down for it".into()),
        });
    }
    Ok(Foreseen { time, source, obstacles })
}

/// A load needs the database once more, and log that stays until a checkpoint; a full disk would stop
/// the server itself.
fn no_room(one: &ToLoad<'_>, reserve: u64) -> Result<Option<Obstacle>> {
    let Some(room) = Room::beside(one.database)? else { return Ok(None) };
    let log = scratch::log_bytes(one.database)?.min(one.bytes);
    let needed = one.bytes.saturating_add(log);
    if room.free.bytes >= needed.saturating_add(reserve) {
        return Ok(None);
    }
    Ok(Some(Obstacle {
        lasts: Lasts::ForNow,
        why: format!(
            "{}: about {} needed in {} and {} kept free, {} free",
            one.database.name(),
            disk::spoken(needed),
            room.dir.display(),
            disk::spoken(reserve),
            disk::spoken(room.free.bytes)
        ),
        remedy: Some(format!("Free some space in {}", room.dir.display())),
    }))
}

/// Expects what the newest trial took for as many bytes.
fn expected(store: Option<&Store>, bytes: u64) -> Result<(Duration, String)> {
    let dumps = store.map_or_else(|| Ok(Vec::new()), Store::own_dumps)?;
    let tried = dumps.iter().find_map(|manifest| {
        let trial = manifest.trial.as_ref().filter(|trial| trial.failed.is_none())?;
        let sizes = manifest.databases.iter().map(|archive| archive.database_bytes);
        let loaded = sizes.fold(0, u64::saturating_add);
        Some((manifest, trial, loaded)).filter(|_| loaded > 0)
    });
    Ok(match tried {
        Some((manifest, trial, loaded)) => {
            let part = u128::from(trial.duration_ms) * u128::from(bytes) / u128::from(loaded);
            let time = Duration::from_millis(u64::try_from(part).unwrap_or(u64::MAX));
            (time, format!("as restore point {} took", manifest.id))
        }
        None => {
            let time = Duration::from_secs(bytes / RATE);
            (time, "a cautious guess: none was loaded here yet".into())
        }
    })
}
