//! What stands in a database beside definitions and rows: how far sequences have come, what is not
//! used or not checked, by which rules text is sorted, which settings of the server matter.

use std::collections::{BTreeMap, BTreeSet};

use super::session::{Session, SqlError};
use super::traces::Index;

/// Settings of the server by which the same statement does something else, or is less safe.
const SETTINGS: &[&str] = &[
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "autovacuum",
    "bytea_output",
    "data_checksums",
    "default_text_search_config",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "fsync",
    "full_page_writes",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "max_connections",
    "search_path",
    "server_encoding",
    "shared_preload_libraries",
    "standard_conforming_strings",
    "synchronous_commit",
    "wal_level",
];

/// The condition of one database at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Version as the server writes it, such as `15.8`.
    pub server_version: String,
    /// Settings that matter, as this role sees them.
    pub settings: BTreeMap<String, String>,
    /// The last value of each sequence that only goes up and was ever used.
    pub sequences: BTreeMap<String, i64>,
    /// Indexes that the server maintains and does not use.
    pub invalid_indexes: BTreeSet<String>,
    /// Constraints that older rows are not checked against, as `TABLE CONSTRAINT`.
    pub not_validated: BTreeSet<String>,
    /// The version of the rules by which the database, and collations of indexes, sort today.
    pub collations: BTreeMap<String, String>,
}

impl Session {
    /// Reads the condition of the database, in a transaction that can write nothing.
    pub fn condition(&mut self) -> Result<Condition, SqlError> {
        if let Some(file) = self.file() {
            return file.condition();
        }
        self.begin_looking()?;
        let read = self.read_condition();
        let ended = self.end_looking();
        read.and_then(|condition| ended.map(|()| condition))
    }

    fn read_condition(&mut self) -> Result<Condition, SqlError> {
        let server_version = self.single("show server_version")?.unwrap_or_default();
        let listed: Vec<String> = SETTINGS.iter().map(|name| format!("'{name}'")).collect();
        let settings = self.pairs(&format!(
            "select name, setting from pg_settings where name in ({})",
            listed.join(", ")
        ))?;
        let sequences = self.pairs(
            "select format('%I.%I', schemaname, sequencename), last_value from pg_sequences \
             where last_value is not null and increment_by > 0 and not cycle",
        )?;
        let invalid = self.invalid_indexes()?.into_iter().map(|Index { name, .. }| name).collect();
        let not_validated = self.not_validated()?;
        Ok(Condition {
            server_version: server_version.split(' ').next().unwrap_or_default().to_owned(),
            settings: settings.into_iter().collect(),
            sequences: sequences
                .into_iter()
                .filter_map(|(name, value)| Some((name, value.parse().ok()?)))
                .collect(),
            invalid_indexes: invalid,
            not_validated: not_validated.into_iter().map(|[t, c]| format!("{t} {c}")).collect(),
            collations: self.collation_versions()?,
        })
    }

    fn collation_versions(&mut self) -> Result<BTreeMap<String, String>, SqlError> {
        let number = self.single("show server_version_num")?.unwrap_or_default();
        let own = match number.parse::<u32>().unwrap_or_default() {
            // Before, a database did not know; a collation of the same name does.
            0..150_000 => {
                "select 'the database', max(pg_collation_actual_version(c.oid)) \
                 from pg_collation c join pg_database d on c.collcollate = d.datcollate \
                 where d.datname = current_database() and c.collprovider = 'c'"
            }
            _ => {
                "select 'the database', pg_database_collation_actual_version(oid) \
                 from pg_database where datname = current_database()"
            }
        };
        let named = "select format('%I.%I', n.nspname, c.collname), pg_collation_actual_version(c.oid) \
             from pg_collation c join pg_namespace n on n.oid = c.collnamespace \
             where exists (select from pg_index i where c.oid = any (i.indcollation) \
               and i.indrelid >= 16384)";
        let mut versions = self.pairs(own)?;
        versions.extend(self.pairs(named)?);
        Ok(versions.into_iter().collect())
    }

    /// Returns the rows of a statement with two columns, without those of which one is null.
    fn pairs(&mut self, sql: &str) -> Result<Vec<(String, String)>, SqlError> {
        let rows = self.simple(sql)?;
        Ok(rows
            .into_iter()
            .filter_map(|row| {
                let mut cells = row.into_iter();
                Some((cells.next()??, cells.next()??))
            })
            .collect())
    }
}
