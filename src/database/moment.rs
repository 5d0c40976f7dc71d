//! A moment of a server, by which it can be told later that nothing was written since.
//!
//! Whatever a transaction writes has its number, on the whole server. Where every number that was given
//! out since is that of a transaction that was taken back, nobody wrote anything that anybody can see.
//! Counters of rows cannot tell that: they count what was taken back as well, and a position in the
//! write-ahead log moves with every checkpoint. Sequences keep what a transaction that was taken back
//! drew from them; no row holds such a number.

use serde::{Deserialize, Serialize};

use super::facts::failed;
use super::session::Session;
use crate::error::Result;

/// The most transactions that are looked at; behind more of them something was written.
const MOST: i64 = 10_000;

/// When nothing was under way on a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The number that the next transaction was to get.
    pub next: i64,
    /// Start of the server, microseconds since 1970: what was put back under a stopped server has other
    /// numbers.
    pub started: i64,
}

/// Reads the moment of the session's snapshot; none where a transaction that writes was under way.
pub fn now(session: &mut Session) -> Result<Option<Moment>> {
    // The older names: servers before 13 know no others, later ones know them still.
    let sql = "select txid_snapshot_xmin(s), txid_snapshot_xmax(s),
                      (extract(epoch from pg_postmaster_start_time()) * 1000000)::int8
                 from txid_current_snapshot() s";
    let rows = session.rows(sql, &[]).map_err(|error| failed("read the snapshot", error))?;
    Ok(rows.first().and_then(|row| {
        let (oldest, next): (i64, i64) = (row.get(0), row.get(1));
        (oldest == next).then(|| Moment { next, started: row.get(2) })
    }))
}

/// Returns whether everything that was written on the server since was taken back.
pub fn is_unwritten_since(session: &mut Session, then: &Moment) -> Result<bool> {
    let Some(now) = now(session)? else { return Ok(false) };
    let given = now.next - then.next;
    if now.started != then.started || !(0..=MOST).contains(&given) {
        return Ok(false);
    }
    let sql = "select count(*) from generate_series($1::int8, $2::int8 - 1) n
                where txid_status(n) is distinct from 'aborted'";
    let rows = session
        .rows(sql, &[&then.next, &now.next])
        .map_err(|error| failed("ask what became of transactions", error))?;
    Ok(rows.first().is_some_and(|row| row.get::<_, i64>(0) == 0))
}
