//! What statements that run outside transactions leave behind, asked of the catalogues.

use super::session::{Session, SqlError};
use super::swap::literal;

/// An index of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Object id.
    pub oid: u32,
    /// Schema and name, quoted.
    pub name: String,
    /// Whether it can be used.
    pub valid: bool,
}

const INDEXES: &str = "select c.oid, format('%I.%I', n.nspname, c.relname), i.indisvalid \
    from pg_index i join pg_class c on c.oid = i.indexrelid \
    join pg_namespace n on n.oid = c.relnamespace where c.relkind = 'i' and";

impl Session {
    /// Returns the object id of a relation, named as a statement in this session would name it.
    pub fn relation(&mut self, name: &str) -> Result<Option<u32>, SqlError> {
        self.oid(&format!("select cast(to_regclass({}) as oid)", literal(name)))
    }

    /// Returns the object id of a type, named as a statement in this session would name it.
    pub fn named_type(&mut self, name: &str) -> Result<Option<u32>, SqlError> {
        self.oid(&format!("select cast(to_regtype({}) as oid)", literal(name)))
    }

    /// Returns whether there still is a relation with this object id.
    pub fn has_relation(&mut self, oid: u32) -> Result<bool, SqlError> {
        Ok(self.oid(&format!("select oid from pg_class where oid = {oid}"))?.is_some())
    }

    /// Lists the indexes of a table.
    pub fn indexes_of(&mut self, table: u32) -> Result<Vec<Index>, SqlError> {
        self.indexes(&format!("i.indrelid = {table} order by c.oid"))
    }

    /// Lists the indexes that a failed concurrent build left invalid.
    pub fn invalid_indexes(&mut self) -> Result<Vec<Index>, SqlError> {
        self.indexes("not i.indisvalid and n.nspname <> 'pg_toast' order by 2")
    }

    /// Returns the invalid index of a table that has this name, written as in a statement; none
    /// while somebody builds it.
    pub fn invalid_namesake(&mut self, index: &str, table: u32) -> Result<Option<Index>, SqlError> {
        let found = self.indexes(&format!(
            "i.indrelid = {table} and not i.indisvalid \
             and c.relname = (parse_ident({}))[1] \
             and not exists (select from pg_stat_progress_create_index p \
               where p.index_relid = c.oid)",
            literal(index)
        ))?;
        Ok(found.into_iter().next())
    }

    /// Returns whether a table is a partition of another, and whether its detaching was begun.
    pub fn partition(&mut self, table: u32, of: u32) -> Result<Option<bool>, SqlError> {
        let answer = self.single(&format!(
            "select inhdetachpending from pg_inherits where inhparent = {of} and inhrelid = {table}"
        ))?;
        Ok(answer.map(|pending| pending == "t"))
    }

    /// Finishes the detaching of a partition that was begun and cut off.
    pub fn finish_detaching(&mut self, table: u32, of: u32) -> Result<(), SqlError> {
        let named = format!(
            "select format('alter table %s detach partition %s finalize', \
               cast({of} as regclass), cast({table} as regclass))"
        );
        match self.single(&named)? {
            Some(sql) => self.run(&sql),
            None => Ok(()),
        }
    }

    /// Returns whether an enumeration has this label.
    pub fn has_label(&mut self, of: u32, label: &str) -> Result<bool, SqlError> {
        let label = literal(label);
        let sql = format!("select 1 from pg_enum where enumtypid = {of} and enumlabel = {label}");
        Ok(self.single(&sql)?.is_some())
    }

    /// Drops an index as [`Index`] names it, without stopping writers.
    pub fn drop_index(&mut self, quoted: &str) -> Result<(), SqlError> {
        self.run(&format!("drop index concurrently if exists {quoted}"))
    }

    fn oid(&mut self, sql: &str) -> Result<Option<u32>, SqlError> {
        Ok(self.single(sql)?.and_then(|oid| oid.parse().ok()))
    }

    fn indexes(&mut self, condition: &str) -> Result<Vec<Index>, SqlError> {
        let rows = self.simple(&format!("{INDEXES} {condition}"))?;
        let index = |row: Vec<Option<String>>| {
            let mut columns = row.into_iter().map(Option::unwrap_or_default);
            Some(Index {
                oid: columns.next()?.parse().ok()?,
                name: columns.next()?,
                valid: columns.next()? == "t",
            })
        };
        Ok(rows.into_iter().filter_map(index).collect())
    }
}
