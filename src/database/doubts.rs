//! What can be wrong with data although every statement succeeded: the server knows it and tells
//! nobody.

use super::session::{Session, SqlError};
use super::traces::Index;

/// A kind of doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoubtKind {
    /// An index that the server maintains and does not use, left by a build that failed.
    InvalidIndex,
    /// A constraint that rows from before it may violate.
    NotValidated,
    /// Text was sorted by other rules than those of today: indexes may miss rows.
    CollationChanged,
    /// A restore point taken now would fail or miss data.
    NextDump,
}

impl DoubtKind {
    /// Returns the word used in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::InvalidIndex => "invalid_index",
            Self::NotValidated => "not_validated",
            Self::CollationChanged => "collation_changed",
            Self::NextDump => "next_dump",
        }
    }
}

/// A reason to doubt the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The kind.
    pub kind: DoubtKind,
    /// What is in doubt, as one line that stands alone.
    pub what: String,
    /// The statement that settles it.
    pub remedy: String,
}

/// Names of what is not the server's own.
const NAMED: &str = "n.nspname !~ '^pg_' and n.nspname <> 'information_schema'";

impl Session {
    /// Looks for reasons to doubt the data of this database; writes nothing.
    pub fn doubts(&mut self) -> Result<Vec<Doubt>, SqlError> {
        if let Some(file) = self.file() {
            return file.doubts();
        }
        let mut doubts: Vec<Doubt> = self
            .invalid_indexes()?
            .into_iter()
            .map(|Index { name: index, .. }| Doubt {
                kind: DoubtKind::InvalidIndex,
                what: format!("the index {index} is invalid and not used"),
                remedy: format!("REINDEX INDEX CONCURRENTLY {index}"),
            })
            .collect();
        for [table, constraint] in self.not_validated()? {
            doubts.push(Doubt {
                kind: DoubtKind::NotValidated,
                what: format!("older rows of {table} are not checked against {constraint}"),
                remedy: format!("ALTER TABLE {table} VALIDATE CONSTRAINT {constraint}"),
            });
        }
        doubts.extend(self.collations()?);
        Ok(doubts)
    }

    /// Lists table and name of each constraint that older rows are not checked against.
    pub(super) fn not_validated(&mut self) -> Result<Vec<[String; 2]>, SqlError> {
        let rows = self.simple(&format!(
            "select format('%I.%I', n.nspname, r.relname), quote_ident(c.conname) \
             from pg_constraint c join pg_class r on r.oid = c.conrelid \
             join pg_namespace n on n.oid = r.relnamespace \
             where not c.convalidated and c.contype in ('c', 'f', 'n') and {NAMED} \
               and coalesce((to_jsonb(c) ->> 'conenforced')::boolean, true) order by 1, 2"
        ))?;
        Ok(rows.into_iter().map(two).collect())
    }

    fn collations(&mut self) -> Result<Vec<Doubt>, SqlError> {
        let mut doubts = Vec::new();
        let version = self.single("show server_version_num")?.unwrap_or_default();
        // The database's own collation has a recorded version since 15.
        if version.parse::<u32>().unwrap_or_default() >= 150_000 {
            for row in self.simple(
                "select quote_ident(datname), datcollversion || ' to ' || \
                   coalesce(pg_database_collation_actual_version(oid), 'unknown') \
                 from pg_database where datname = current_database() \
                   and datcollversion <> pg_database_collation_actual_version(oid)",
            )? {
                let [database, versions] = two(row);
                doubts.push(Doubt {
                    kind: DoubtKind::CollationChanged,
                    what: format!("the collation of database {database} changed from {versions}"),
                    remedy: format!(
                        "REINDEX DATABASE CONCURRENTLY {database}, \
                         then ALTER DATABASE {database} REFRESH COLLATION VERSION"
                    ),
                });
            }
        }
        // Asked of those in use only: all that ICU brings are 800, which takes 9 ms.
        for row in self.simple(
            "select format('%I.%I', n.nspname, c.collname), \
               c.collversion || ' to ' || pg_collation_actual_version(used.oid) \
             from (select distinct unnest(i.indcollation::oid[]) as oid \
               from pg_index i where i.indrelid >= 16384) used \
             join pg_collation c on c.oid = used.oid \
             join pg_namespace n on n.oid = c.collnamespace \
             where c.collversion <> pg_collation_actual_version(used.oid) order by 1",
        )? {
            let [collation, versions] = two(row);
            doubts.push(Doubt {
                kind: DoubtKind::CollationChanged,
                what: format!("the collation {collation} changed from {versions}"),
                remedy: format!(
                    "REINDEX its indexes, then ALTER COLLATION {collation} REFRESH VERSION"
                ),
            });
        }
        Ok(doubts)
    }
}

fn two(row: Vec<Option<String>>) -> [String; 2] {
    let mut columns = row.into_iter().map(Option::unwrap_or_default);
    std::array::from_fn(|_| columns.next().unwrap_or_default())
}
