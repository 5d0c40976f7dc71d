//! Whether anything in a database changed, without reading all of it.
//!
//! A tool that is not ours does what it does in transactions that we do not see. Before and after it
//! two things are compared: the definitions of everything that somebody made, and the server's own
//! counters of rows written per table. Counters also count what was rolled back; only a table that
//! they name is looked into, for a row of a transaction that began since. What was deleted leaves no
//! such row, so that a deletion can neither be proved nor excluded; then that is the answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::catalogue::OBJECTS;
use super::session::{Session, SqlError};

/// What a database looked like at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imprint {
    /// Digest of every definition.
    shape: String,
    /// The next transaction id at that instant.
    next: u64,
    /// Since when the server counts; a crash begins anew.
    counting: String,
    /// Writes of large objects, rolled back ones too.
    #[serde(default)]
    large: String,
    /// Tables with rows, by their quoted names.
    tables: BTreeMap<String, Table>,
}

/// What is known of one table without reading it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Table {
    /// Its file; another one after a rewrite or a `TRUNCATE`.
    file: u64,
    /// Rows ever inserted or updated, rolled back ones too.
    written: u64,
    /// Rows ever deleted, rolled back ones too.
    deleted: u64,
}

/// A file has no counters of rows: its content as a whole is compared.
fn file_changed(before: &Imprint, now: &Imprint) -> Change {
    match (before.shape == now.shape, before.next == now.next) {
        (false, _) => Change::Some("the schema is another one".into()),
        (true, false) => Change::Some("rows were written".into()),
        (true, true) => Change::None,
    }
}

impl Imprint {
    /// The imprint of a file: its schema, and a number that every committed write changes.
    pub(super) fn of_file(shape: String, written: u64) -> Self {
        let (counting, large) = (String::new(), String::new());
        Self { shape, next: written, counting, large, tables: BTreeMap::new() }
    }

    /// The same, where rows of every transaction from this one on count as new.
    pub(super) fn counting_from(self, oldest: u64) -> Self {
        Self { next: oldest, ..self }
    }
}

/// What became of a database between two instants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// This, for certain.
    Some(String),
    /// This, unless it was rolled back.
    Perhaps(String),
}

/// Schemas whose content somebody made.
const OURS: &str = "(select oid from pg_namespace \
    where nspname !~ '^pg_' and nspname <> 'information_schema')";

/// Definitions that the catalogue of objects does not tell. They are compared within one database, so that
/// they may be told by the server's numbers.
const DETAILS: &str = "select md5(coalesce(string_agg(line, E'\\n' order by line collate \"C\"), '')) from ( \
    select 'collation ' || r::text as line from pg_collation r where oid >= 16384 \
    union all select 'cast ' || r::text from pg_cast r where oid >= 16384 \
    union all select 'operator ' || r::text from pg_operator r where oid >= 16384 \
    union all select 'operator class ' || r::text from pg_opclass r where oid >= 16384 \
    union all select 'operator family ' || r::text from pg_opfamily r where oid >= 16384 \
    union all select 'member ' || r::text from pg_amop r where oid >= 16384 \
    union all select 'support ' || r::text from pg_amproc r where oid >= 16384 \
    union all select 'aggregate ' || r::text from pg_aggregate r where aggfnoid::oid >= 16384 \
    union all select 'conversion ' || r::text from pg_conversion r where oid >= 16384 \
    union all select 'transform ' || r::text from pg_transform r where oid >= 16384 \
    union all select 'language ' || r::text from pg_language r where oid >= 16384 \
    union all select 'configuration ' || r::text from pg_ts_config r where oid >= 16384 \
    union all select 'mapping ' || r::text from pg_ts_config_map r where mapcfg >= 16384 \
    union all select 'dictionary ' || r::text from pg_ts_dict r where oid >= 16384 \
    union all select 'parser ' || r::text from pg_ts_parser r where oid >= 16384 \
    union all select 'template ' || r::text from pg_ts_template r where oid >= 16384 \
    union all select 'wrapper ' || r::text from pg_foreign_data_wrapper r \
    union all select 'server ' || r::text from pg_foreign_server r \
    union all select 'user mapping ' || r::text from pg_user_mappings r \
    union all select 'extension ' || r::text from pg_extension r \
    union all select 'published ' || r::text from pg_publication_rel r \
    union all select concat_ws('|', 'subscription', subname, subowner, subenabled, subslotname, subpublications) \
      from pg_subscription where subdbid = (select oid from pg_database where datname = current_database()) \
    union all select concat_ws('|', 'replica identity', oid, relreplident) from pg_class \
      where relkind in ('r', 'p') and relpersistence <> 't' and oid >= 16384 and relreplident <> 'd' \
    union all select concat_ws('|', 'column', attrelid, attnum, attstorage, attstattarget) \
      from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_type t on t.oid = a.atttypid \
      where c.relpersistence <> 't' and c.oid >= 16384 and attnum > 0 \
        and (attstorage <> typstorage or coalesce(attstattarget, -1) <> -1)) details";

/// Counters of the tables that hold large objects.
const LARGE: &str = "select string_agg(concat_ws(' ', relname, n_tup_ins, n_tup_upd, n_tup_del), ' ' order by relname) \
    from pg_stat_sys_tables where relname in ('pg_largeobject', 'pg_largeobject_metadata')";

impl Session {
    /// Takes the imprint of the database, in a transaction that can write nothing.
    pub fn imprint(&mut self) -> Result<Imprint, SqlError> {
        if let Some(file) = self.file() {
            return file.imprint();
        }
        self.begin_looking()?;
        let taken = self.read_imprint();
        let ended = self.end_looking();
        taken.and_then(|imprint| ended.map(|()| imprint))
    }

    /// Returns a digest of every definition, from a transaction that can write nothing.
    pub fn definitions(&mut self) -> Result<String, SqlError> {
        if let Some(file) = self.file() {
            return Ok(file.catalogue()?.fingerprint);
        }
        self.begin_looking()?;
        let read = self.read_shape();
        let ended = self.end_looking();
        read.and_then(|shape| ended.map(|()| shape.unwrap_or_default()))
    }

    fn read_shape(&mut self) -> Result<Option<String>, SqlError> {
        // A column that was made anew under its name has lost its values, so its place counts too.
        self.single(&format!(
            "set local search_path = ''; {OBJECTS}, \
             line (line) as (select concat_ws(' ', kind, named, definition, place) from object \
               union all select 'large objects ' || count(*) from pg_largeobject_metadata) \
             select md5(coalesce(string_agg(line, E'\\n' order by line collate \"C\"), '')) from line"
        ))
    }

    fn read_imprint(&mut self) -> Result<Imprint, SqlError> {
        let shape = self.read_shape()?.unwrap_or_default();
        let details = self.single(DETAILS)?.unwrap_or_default();
        let large = self.single(LARGE)?.unwrap_or_default();
        let next = self.single("select txid_snapshot_xmax(txid_current_snapshot())")?;
        let counting = self.single("select stats_reset from pg_stat_bgwriter")?;
        let rows = self.simple(&format!(
            "select format('%I.%I', n.nspname, c.relname), coalesce(pg_relation_filenode(c.oid), 0), \
                coalesce(s.n_tup_ins, 0) + coalesce(s.n_tup_upd, 0), coalesce(s.n_tup_del, 0) \
             from pg_class c join pg_namespace n on n.oid = c.relnamespace \
             left join pg_stat_all_tables s on s.relid = c.oid \
             where c.relkind in ('r', 'm') and c.relpersistence <> 't' and n.oid in {OURS}"
        ))?;
        let tables = rows.into_iter().map(|row| {
            let mut cells = row.into_iter().map(Option::unwrap_or_default);
            let name = cells.next().unwrap_or_default();
            let mut number = || cells.next().and_then(|text| text.parse().ok()).unwrap_or_default();
            let table = Table { file: number(), written: number(), deleted: number() };
            (name, table)
        });
        Ok(Imprint {
            shape: format!("{shape} {details}"),
            next: number(next.as_deref()),
            counting: counting.unwrap_or_default(),
            large,
            tables: tables.collect(),
        })
    }

    /// Finds out what became of the database since an imprint.
    ///
    /// Sessions that wrote must have ended: the server counts what they did by then at the latest.
    pub fn changed_since(&mut self, before: &Imprint) -> Result<Change, SqlError> {
        let now = self.imprint()?;
        if self.file().is_some() {
            return Ok(file_changed(before, &now));
        }
        if now.shape != before.shape {
            return Ok(Change::Some(shape_changed(before, &now)));
        }
        let mut perhaps = (now.counting != before.counting)
            .then(|| "the server lost count of what was written".to_owned());
        if now.large != before.large {
            perhaps = Some("a large object was written, unless that was rolled back".to_owned());
        }
        // One in a schema that an extension made is in no catalogue.
        if let Some(gone) = before.tables.keys().find(|name| !now.tables.contains_key(*name)) {
            return Ok(Change::Some(format!("table {gone} is gone")));
        }
        for (name, table) in &now.tables {
            let then = before.tables.get(name).copied().unwrap_or_default();
            match touched(then, *table) {
                Touched::Not => {}
                Touched::Replaced => {
                    return Ok(Change::Some(format!("table {name} was emptied or rewritten")));
                }
                Touched::Written => match self.has_row_since(name, before.next) {
                    Ok(true) => return Ok(Change::Some(format!("table {name} has new rows"))),
                    // Whatever was inserted or updated was rolled back, then.
                    Ok(false) if then.deleted == table.deleted => {}
                    Ok(false) | Err(_) => {
                        perhaps.get_or_insert(format!(
                            "rows of table {name} were deleted, unless that was rolled back"
                        ));
                    }
                },
            }
        }
        Ok(perhaps.map_or(Change::None, Change::Perhaps))
    }

    /// Returns whether a table holds a row of a transaction from this one on.
    fn has_row_since(&mut self, table: &str, next: u64) -> Result<bool, SqlError> {
        // Ids of rows have 32 bits and go round; what is less than half the circle ahead is newer.
        let found = self.single(&format!(
            "select exists (select from only {table} \
             where xmin::text::bigint > 2 \
               and (xmin::text::bigint - {} + 4294967296) % 4294967296 < 2147483648)",
            next % (1 << 32)
        ))?;
        Ok(found.as_deref() == Some("t"))
    }
}

/// What the server's counters say of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Touched {
    Not,
    Replaced,
    Written,
}

fn touched(then: Table, now: Table) -> Touched {
    if then.file != now.file {
        Touched::Replaced
    } else if now.written != then.written || now.deleted != then.deleted {
        // Also when they fell, as they do when the server crashed.
        Touched::Written
    } else {
        Touched::Not
    }
}

fn shape_changed(before: &Imprint, now: &Imprint) -> String {
    let new: Vec<&str> =
        now.tables.keys().filter(|name| !before.tables.contains_key(*name)).map(|n| &**n).collect();
    let gone: Vec<&str> =
        before.tables.keys().filter(|name| !now.tables.contains_key(*name)).map(|n| &**n).collect();
    let mut parts = Vec::new();
    for (what, names) in [("new", new), ("gone", gone)] {
        if !names.is_empty() {
            let more = names.len().saturating_sub(5);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let first = names.iter().take(5).copied().collect::<Vec<_>>().join(", ");
            parts.push(format!("{what}: {first}{more}"));
        }
    }
    if parts.is_empty() {
        return "definitions of the schema changed".into();
    }
    format!("the schema changed ({})", parts.join("; "))
}

pub(super) fn number(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_that_fell_are_looked_into_as_well() {
        let then = Table { file: 1, written: 5, deleted: 2 };
        assert_eq!(touched(then, then), Touched::Not);
        assert_eq!(touched(then, Table { written: 6, ..then }), Touched::Written);
        assert_eq!(touched(then, Table { deleted: 3, ..then }), Touched::Written);
        assert_eq!(touched(then, Table { written: 0, deleted: 0, ..then }), Touched::Written);
        assert_eq!(touched(then, Table { file: 2, ..then }), Touched::Replaced);
    }

    #[test]
    fn a_change_of_shape_names_the_tables() {
        let imprint = |names: &[&str]| Imprint {
            shape: String::new(),
            next: 0,
            counting: String::new(),
            large: String::new(),
            tables: names.iter().map(|name| ((*name).to_owned(), Table::default())).collect(),
        };
        assert_eq!(
            shape_changed(&imprint(&["a", "b"]), &imprint(&["b", "c"])),
            "the schema changed (new: c; gone: a)"
        );
    }
}
