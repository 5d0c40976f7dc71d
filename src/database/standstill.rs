//! Whether anything at all was written in a database since a point in time, asked by a later process.
//!
//! An imprint tells what a tool did between two instants that we chose, with everybody else away. Here
//! minutes lie between, and a dump that was made at the first of them shall still be all that there is.
//! So more counts: transactions that were open at the time, sequences, comments, settings. In doubt the
//! answer is that something was written.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::imprint::{Change, Imprint, number};
use super::session::{Session, SqlError};

/// What a database looked like, in a form that can be kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standstill {
    imprint: Imprint,
    /// What an imprint leaves out: whether the server counts, since when, and a digest.
    beside: String,
}

/// Who sets `track_counts` for a role or a database may have writes that are not counted.
const BESIDE: &str = "select concat_ws(' ', \
      case when exists (select from pg_db_role_setting, unnest(setconfig) s (setting) \
                         where setting ilike 'track_counts=%') then 'off' \
           else current_setting('track_counts') end, \
      (select stats_reset from pg_stat_database where datname = current_database()), \
      (select md5(coalesce(string_agg(line, E'\\n' order by line collate \"C\"), '')) from ( \
        select concat_ws('|', 'comment', classoid, objoid, objsubid, description) as line \
          from pg_description where objoid >= 16384 \
        union all select concat_ws('|', 'label', classoid, objoid, objsubid, provider, label) \
          from pg_seclabel \
        union all select concat_ws('|', 'setting', setdatabase, setrole, setconfig) \
          from pg_db_role_setting \
        union all select concat_ws('|', 'database', datdba, datacl) \
          from pg_database where datname = current_database()) beside))";

/// A sequence that was restarted has another file.
const SEQUENCES: &str = "select format('%I.%I', n.nspname, c.relname), \
      pg_relation_filenode(c.oid)::text, has_sequence_privilege(c.oid, 'select') \
        and has_schema_privilege(n.oid, 'usage') \
    from pg_class c join pg_namespace n on n.oid = c.relnamespace \
   where c.relkind = 'S' and c.relpersistence <> 't' order by 1";

/// How many sequences are asked in one statement.
const AT_ONCE: usize = 200;

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
        let beside = self.beside()?;
        let imprint = self.imprint()?.counting_from(number(oldest.as_deref()));
        Ok(Standstill { imprint, beside })
    }

    /// Finds out whether anything was written since. Sessions that wrote must have ended.
    pub fn moved_since(&mut self, before: &Standstill) -> Result<Change, SqlError> {
        if self.file().is_some() {
            return self.changed_since(&before.imprint);
        }
        let counts = self.single(COUNTS)?.as_deref() == Some("t");
        if !counts || !before.beside.starts_with("on ") {
            return Ok(Change::Perhaps(
                "this server does not count for certain what is written".to_owned(),
            ));
        }
        self.changed_beside(before)
    }

    /// The same where the server is believed that it counts, as it is between two instants of one run.
    pub fn changed_beside(&mut self, before: &Standstill) -> Result<Change, SqlError> {
        if self.file().is_none() && self.beside()? != before.beside {
            return Ok(Change::Perhaps(
                "a sequence, a comment or a setting of the database is another one".to_owned(),
            ));
        }
        self.changed_since(&before.imprint)
    }

    fn beside(&mut self) -> Result<String, SqlError> {
        let beside = self.single(BESIDE)?.unwrap_or_default();
        Ok(format!("{beside} {}", self.sequences()?))
    }

    /// Returns a digest of where every sequence is. What is called last is not all: `setval` with `false` of
    /// one that nobody called changes neither that nor the file.
    fn sequences(&mut self) -> Result<String, SqlError> {
        let mut digest = Sha256::new();
        let mut readable = Vec::new();
        for row in self.rows(SEQUENCES, &[])? {
            let (name, file): (String, Option<String>) = (row.get(0), row.get(1));
            digest.update(format!("{name} {}\n", file.unwrap_or_default()));
            readable.extend(row.get::<_, bool>(2).then_some(name));
        }
        for names in readable.chunks(AT_ONCE) {
            let parts = names.iter().enumerate().map(|(place, name)| {
                format!("select {place}::int4, last_value || ' ' || is_called from {name}")
            });
            let sql = parts.collect::<Vec<_>>().join(" union all ") + " order by 1";
            for row in self.rows(&sql, &[])? {
                digest.update(format!("{}\n", row.get::<_, &str>(1)));
            }
        }
        Ok(hex::encode(digest.finalize()))
    }
}
