//! Whether anything at all was written in a database since a point in time, asked by a later process.
//!
//! An imprint tells what a tool did between two instants that we chose, with everybody else away. Here
//! minutes lie between, and a dump that was made at the first of them shall still be all that there is.
//! So more counts: transactions that were open at the time, sequences, comments, large objects. In doubt
//! the answer is that something was written.

use serde::{Deserialize, Serialize};

use super::imprint::{Change, Imprint, number};
use super::session::{Session, SqlError};

/// What a database looked like, in a form that can be kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standstill {
    imprint: Imprint,
    /// What an imprint leaves out: whether the server counts, since when, and a digest.
    beside: String,
}

const BESIDE: &str = "select concat_ws(' ', current_setting('track_counts'), \
      (select stats_reset from pg_stat_database where datname = current_database()), \
      (select md5(coalesce(string_agg(line, E'\\n' order by line collate \"C\"), '')) from ( \
        select concat_ws('|', 'sequence', schemaname, sequencename, last_value) as line \
          from pg_sequences \
        union all select concat_ws('|', 'comment', classoid, objoid, objsubid, description) \
          from pg_description where objoid >= 16384 \
        union all select concat_ws('|', 'label', classoid, objoid, objsubid, provider, label) \
          from pg_seclabel \
        union all select concat_ws('|', relname, n_tup_ins, n_tup_upd, n_tup_del) \
          from pg_stat_sys_tables \
          where relname in ('pg_largeobject', 'pg_largeobject_metadata')) beside))";

/// The oldest server whose counters are never lost on the way; before, they were sent as datagrams.
const COUNTS: &str = "select current_setting('server_version_num')::int >= 150000";

impl Session {
    /// Notes what the database looks like, before a dump of it is begun.
    pub fn standstill(&mut self) -> Result<Standstill, SqlError> {
        if self.file().is_some() {
            return Ok(Standstill { imprint: self.imprint()?, beside: String::new() });
        }
        // Whoever is in the middle of a transaction now may commit after the dump was begun.
        let oldest = self.single("select txid_snapshot_xmin(txid_current_snapshot())")?;
        let beside = self.single(BESIDE)?.unwrap_or_default();
        let imprint = self.imprint()?.counting_from(number(oldest.as_deref()));
        Ok(Standstill { imprint, beside })
    }

    /// Finds out whether anything was written since. Sessions that wrote must have ended.
    pub fn moved_since(&mut self, before: &Standstill) -> Result<Change, SqlError> {
        if self.file().is_some() {
            return self.changed_since(&before.imprint);
        }
        let doubt = |why: &str| Ok(Change::Perhaps(why.to_owned()));
        if self.single(COUNTS)?.as_deref() != Some("t") || !before.beside.starts_with("on ") {
            return doubt("this server does not count for certain what is written");
        }
        if self.single(BESIDE)?.as_deref() != Some(before.beside.as_str()) {
            return doubt("a sequence, a comment or a large object is another one");
        }
        self.changed_since(&before.imprint)
    }
}
