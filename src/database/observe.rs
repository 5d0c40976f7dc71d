//! What a migration does to tables, seen from its own session: locks that it holds, files that it
//! replaced.

use super::facts::DUMPED;
use super::session::{Session, SqlError};

/// A mode of table locks, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockMode {
    /// Taken by reading.
    AccessShare,
    /// Taken by `SELECT … FOR UPDATE` and foreign keys.
    RowShare,
    /// Taken by writing.
    RowExclusive,
    /// Taken by `VACUUM`, `ANALYZE`, concurrent index builds, some `ALTER TABLE`.
    ShareUpdateExclusive,
    /// Taken by `CREATE INDEX`.
    Share,
    /// Taken by triggers and foreign keys.
    ShareRowExclusive,
    /// Taken by refreshing a view concurrently.
    Exclusive,
    /// Taken by most `ALTER TABLE`, `DROP`, `TRUNCATE`.
    AccessExclusive,
}

impl LockMode {
    const ALL: [(Self, &'static str); 8] = [
        (Self::AccessShare, "AccessShareLock"),
        (Self::RowShare, "RowShareLock"),
        (Self::RowExclusive, "RowExclusiveLock"),
        (Self::ShareUpdateExclusive, "ShareUpdateExclusiveLock"),
        (Self::Share, "ShareLock"),
        (Self::ShareRowExclusive, "ShareRowExclusiveLock"),
        (Self::Exclusive, "ExclusiveLock"),
        (Self::AccessExclusive, "AccessExclusiveLock"),
    ];

    fn from_server(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, name)| *name == word).map(|(mode, _)| mode)
    }

    /// Returns the server's word, such as `AccessExclusiveLock`.
    pub fn word(self) -> &'static str {
        Self::ALL.into_iter().find(|(mode, _)| *mode == self).map_or("", |(_, name)| name)
    }

    /// Says what others cannot do with the table meanwhile; nothing for modes that let them work.
    pub const fn keeps_out(self) -> Option<&'static str> {
        match self {
            Self::AccessShare | Self::RowShare | Self::RowExclusive => None,
            Self::ShareUpdateExclusive => None,
            Self::Share | Self::ShareRowExclusive | Self::Exclusive => Some("writers"),
            Self::AccessExclusive => Some("readers and writers"),
        }
    }
}

/// A table with the file that holds its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFile {
    /// Object id, which stays when the file is replaced.
    pub oid: u32,
    /// `schema.table`, quoted where needed.
    pub table: String,
    /// Number of the file; another one after a rewrite.
    pub file: u32,
}

impl Session {
    /// Lists the locks on tables that this session holds, the strongest of each table, by object id.
    ///
    /// A file has none: whoever writes to it has all of it.
    pub fn held_locks(&mut self) -> Result<Vec<(u32, LockMode)>, SqlError> {
        if self.file().is_some() {
            return Ok(Vec::new());
        }
        let rows = self.rows(
            "select relation, mode from pg_catalog.pg_locks
              where pid = pg_backend_pid() and locktype = 'relation' and granted
                and database = (select oid from pg_catalog.pg_database
                                 where datname = current_database())",
            &[],
        )?;
        let mut held: Vec<(u32, LockMode)> = Vec::new();
        for row in &rows {
            let Some(mode) = LockMode::from_server(row.get(1)) else { continue };
            let oid: u32 = row.get(0);
            match held.iter_mut().find(|(other, _)| *other == oid) {
                Some((_, strongest)) => *strongest = mode.max(*strongest),
                None => held.push((oid, mode)),
            }
        }
        Ok(held)
    }

    /// Lists every table that a dump would hold, with the file that has its rows; a partitioned
    /// table has none, which is 0. Where the database is a file, no table has one of its own.
    pub fn table_files(&mut self) -> Result<Vec<TableFile>, SqlError> {
        if self.file().is_some() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "select c.oid, format('%I.%I', n.nspname, c.relname),
                    coalesce(pg_relation_filenode(c.oid), 0)
               from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
              where c.relkind in ('r', 'p', 'm') and c.relpersistence <> 't' and {DUMPED}"
        );
        let rows = self.rows(&sql, &[])?;
        Ok(rows
            .iter()
            .map(|row| TableFile { oid: row.get(0), table: row.get(1), file: row.get(2) })
            .collect())
    }

    /// Returns how many bytes tables take with what belongs to their rows, without indexes.
    pub fn table_bytes(&mut self, oids: &[u32]) -> Result<Vec<(u32, u64)>, SqlError> {
        if self.file().is_some() {
            return Ok(Vec::new());
        }
        let rows = self.rows(
            "select oid, coalesce(pg_table_size(oid), 0)::int8
               from unnest($1::pg_catalog.oid[]) as wanted (oid)",
            &[&oids],
        )?;
        Ok(rows.iter().map(|row| (row.get(0), row.get::<_, i64>(1).unsigned_abs())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_modes_are_read_and_ordered_as_the_server_orders_them() {
        for (mode, word) in LockMode::ALL {
            assert_eq!(LockMode::from_server(word), Some(mode));
            assert_eq!(mode.word(), word);
        }
        assert!(LockMode::ALL.is_sorted_by_key(|(mode, _)| *mode));
        assert_eq!(LockMode::AccessExclusive.keeps_out(), Some("readers and writers"));
        assert_eq!(LockMode::RowExclusive.keeps_out(), None);
    }
}
