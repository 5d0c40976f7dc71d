//! The lock of whoever puts data back: no other host migrates the database meanwhile, and nobody puts
//! data back while another host migrates.
//!
//! The database itself is renamed, and every session in it is ended, so its own lock cannot be held. This
//! one is an advisory lock in a database beside it, under the name of the database. Advisory locks count
//! within one database, and two hosts may find different ones beside it; but every session of the server
//! sees all that are held. Both sides therefore take their own first and look for the other's then: of two
//! that come at once at least one sees the other.

use std::time::Duration;

use super::Database;
use super::holder::Holder;
use super::lock;
use super::session::{Session, SqlError};
use super::swap::Server;
use crate::error::Result;
use crate::system::clock::{self, Deadline};

/// The first half of the key: the letters `open` as one number. The other half is the name.
const HEAD: i32 = 0x6f70_656e;

/// How long we wait between two attempts.
const BETWEEN: Duration = Duration::from_millis(100);

/// A held lock; dropping it, or dying, releases it.
pub struct ExchangeLock {
    _session: Session,
}

impl ExchangeLock {
    /// Takes the lock of a database that is about to be replaced, trying for this long; the loser is
    /// told who is at work there. A file needs none: it is of one machine.
    ///
    /// `doing` is shown to others, such as `restore`.
    pub fn acquire(database: &Database, doing: &str, wait: Duration) -> Result<Option<Self>> {
        if database.file().is_some() {
            return Ok(None);
        }
        let described = database.described();
        let failed = |error: SqlError| lock::failed(&described, error);
        let mut session = Server::beside(database)?.session;
        lock::prepare(&mut session, doing).map_err(failed)?;
        let deadline = Deadline::after(wait);
        let half = half(database.dbname());
        let others = [Holder::of_upgrade(database.dbname()), of(database.dbname())];
        loop {
            let sql = format!("select pg_try_advisory_lock({HEAD}, {half})");
            let taken = session.single(&sql).map_err(failed)?.as_deref() == Some("t");
            let mut other = None;
            for holder in &others {
                other = other.or(holder.find(&mut session).map_err(failed)?);
            }
            match (taken, other) {
                (true, None) => return Ok(Some(Self { _session: session })),
                (_, other) if deadline.passed() => {
                    return Err(lock::busy(&format!("the lock of {described}"), other));
                }
                // Two that wait for each other would wait for ever.
                (true, Some(_)) => {
                    let sql = format!("select pg_advisory_unlock({HEAD}, {half})");
                    session.single(&sql).map_err(failed)?;
                }
                (false, _) => {}
            }
            clock::pause(BETWEEN.min(deadline.remaining()));
        }
    }

    /// Returns who puts data back into the database of this name, on the server of this session.
    pub(super) fn holder(
        session: &mut Session,
        dbname: &str,
    ) -> std::result::Result<Option<String>, SqlError> {
        of(dbname).find(session)
    }
}

fn of(dbname: &str) -> Holder {
    let (head, half) = (HEAD.cast_unsigned(), half(dbname).cast_unsigned());
    Holder::on_server(format!("objsubid = 2 and classid = {head} and objid = {half}"))
}

/// The half of the key that tells databases of one server apart; two names that share it would only
/// keep each other waiting.
fn half(dbname: &str) -> i32 {
    crc32fast::hash(dbname.as_bytes()).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_of_one_server_have_locks_of_their_own() {
        assert_ne!(half("app"), half("audit"));
        assert_eq!(half("app"), half("app"));
    }
}
