//! Databases that were replaced and kept under another name.

use super::sessions::{SOMEBODY, SessionInfo, SessionKind, end_sessions};
use super::swap::{Server, quoted};
use crate::error::{Context, Result};

/// A database that was replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The name that it has now.
    pub name: String,
    /// Sessions that somebody has in it, none where that cannot be seen; workers of subscriptions and
    /// extensions go with the database.
    pub sessions: Option<u32>,
    /// Its size on the server's disk in bytes; 0 where the role may not ask.
    pub bytes: u64,
}

impl Server {
    /// Lists the databases named like those of [`super::swap::stamped`] with this word that our role
    /// may remove, oldest first.
    pub fn kept(&mut self, name: &str, word: &str) -> Result<Vec<Kept>> {
        let names = self.named_like(name, word, "true")?;
        let sql = format!(
            "select d.datname::text,
                (select count(*) from pg_stat_activity a where a.datid = d.oid and {SOMEBODY})::int8,
                case when has_database_privilege(d.oid, 'connect')
                     then pg_database_size(d.oid) else 0 end::int8
           from pg_database d where d.datname = any ($1::text[]) order by 1"
        );
        let rows = self.session.rows(&sql, &[&names]).context(|| "cannot list databases".into())?;
        let kept = |row: &super::Row| Kept {
            name: row.get(0),
            sessions: u32::try_from(row.get::<_, i64>(1)).ok(),
            bytes: row.get::<_, i64>(2).unsigned_abs(),
        };
        Ok(rows.iter().map(kept).collect())
    }

    /// Removes a database unless somebody is connected to it.
    pub fn drop_unused(&mut self, name: &str) -> Result<()> {
        self.drop_subscriptions(name)?;
        self.end_workers(name)?;
        self.session
            .run(&format!("drop database if exists {}", quoted(name)))
            .context(|| format!("cannot remove the database {name}"))
    }

    /// Ends what extensions have running in a database, as far as our role may.
    fn end_workers(&mut self, name: &str) -> Result<()> {
        let workers = self.workers(name)?;
        end_sessions(&mut self.session, &workers).map(drop)
    }

    /// Lists what extensions have running in a database.
    pub fn workers(&mut self, name: &str) -> Result<Vec<SessionInfo>> {
        let mut workers = self.sessions(name)?;
        workers.retain(|session| session.kind == SessionKind::Worker);
        Ok(workers)
    }
}
