//! Who holds an advisory lock, as the server's table of locks tells.

use super::lock::KEY;
use super::session::{Session, SqlError};
use super::swap::literal;

/// The rows of the lock table that are about a lock of this key, in this database; the table shows
/// the key in two halves.
pub(super) fn granted(key: i64) -> String {
    format!("from pg_locks where {}", granted_in(key, "current_database()"))
}

fn granted_in(key: i64, dbname: &str) -> String {
    let (high, low) = ((key >> 32) & 0xffff_ffff, key & 0xffff_ffff);
    format!(
        "locktype = 'advisory' and granted and objsubid = 1 \
         and classid = {high} and objid = {low} \
         and database = (select oid from pg_database where datname = {dbname})"
    )
}

/// Whoever else holds a lock that is seen from anywhere on the server.
pub(super) struct Holder {
    condition: String,
}

impl Holder {
    /// Of the lock of whoever upgrades or migrates the database of this name.
    pub(super) fn of_upgrade(dbname: &str) -> Self {
        Self { condition: granted_in(KEY, &literal(dbname)) }
    }

    /// Of a lock of this key in the database of the session that asks.
    pub(super) fn here(key: i64) -> Self {
        Self { condition: granted_in(key, "current_database()") }
    }

    /// Of an advisory lock, in whichever database it was taken.
    pub(super) fn on_server(key: String) -> Self {
        Self { condition: format!("locktype = 'advisory' and granted and {key}") }
    }

    /// Returns who holds it, in words; none where nobody else does.
    pub(super) fn find(&self, session: &mut Session) -> Result<Option<String>, SqlError> {
        session.single(&format!(
            "select concat_ws(', ', 'pid ' || l.pid, nullif(a.application_name, ''), \
               'user ' || a.usename, \
               case when a.backend_start is not null then \
                 'from ' || coalesce(host(a.client_addr), 'this host''s socket') end, \
               'since ' || to_char(a.backend_start at time zone 'UTC', \
                 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')) \
             from (select pid from pg_locks where {} and pid <> pg_backend_pid()) l \
             left join pg_stat_activity a on a.pid = l.pid limit 1",
            self.condition
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_table_shows_the_key_in_two_halves() {
        assert!(granted(KEY).contains("classid = 1869636974 and objid = 2002875491"));
        assert!(granted(-1).contains("classid = 4294967295 and objid = 4294967295"));
    }
}
