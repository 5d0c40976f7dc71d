//! What a database file says about itself.

use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use super::answers::quoted;
use super::{Connection, Fault, File};
use crate::error::Result;

/// Tables that hold rows of their own: no views, none of SQLite itself. What a virtual table holds is
/// counted in the tables that it is made of, because the module that it needs may be the
/// application's own.
const TABLES: &str = "select name from pragma_table_list \
    where schema = 'main' and type in ('table', 'shadow') and name not like 'sqlite\\_%' escape '\\' \
    order by name";

/// What was found of a database file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// Bytes of its pages.
    pub bytes: u64,
    /// Its journal mode, such as `wal` or `delete`.
    pub journal_mode: String,
    /// How many tables have rows of their own.
    pub tables: u64,
    /// Number of the file on its disk, which another file in its place does not have; 0 where there
    /// is no file.
    pub inode: u64,
}

/// What lies beside a database file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// Bytes of the write-ahead log, which may hold what was committed last.
    pub wal: Option<u64>,
    /// Bytes of the rollback journal; one that is not empty is of a transaction that was cut off.
    pub journal: Option<u64>,
}

impl File {
    /// Looks at what lies beside the file.
    pub fn remains(&self) -> Remains {
        let size = |ending: &str| Some(self.beside(ending).symlink_metadata().ok()?.len());
        Remains { wal: size("-wal"), journal: size("-journal").filter(|bytes| *bytes > 0) }
    }
}

/// Returns the version of SQLite that is built in, such as `3.50.2`.
pub(super) fn version() -> &'static str {
    rusqlite::version()
}

impl Connection {
    /// Returns the version of SQLite that is built in.
    pub fn version(&self) -> &'static str {
        version()
    }

    /// Looks at the file as a whole; no row is read.
    pub fn look(&mut self) -> std::result::Result<Looked, Fault> {
        let number = |text: Option<String>| text.and_then(|t| t.parse().ok()).unwrap_or(0_u64);
        let pages = number(self.single("pragma page_count")?);
        let size = number(self.single("pragma page_size")?);
        let journal_mode = self.single("pragma journal_mode")?.unwrap_or_default();
        let tables = self.tables()?.len() as u64;
        let data = self.file().and_then(|file| file.path().metadata().ok());
        let inode = data.map_or(0, |data| data.ino());
        Ok(Looked { bytes: pages.saturating_mul(size), journal_mode, tables, inode })
    }

    /// Returns a number that stands for all rows and definitions: the same content has the same one.
    pub fn content(&mut self) -> std::result::Result<u64, Fault> {
        use std::hash::Hasher as _;
        let mut hasher = siphasher::sip::SipHasher13::new();
        for table in self.tables()? {
            hasher.write(table.as_bytes());
            self.each(&format!("select * from main.{}", quoted(&table)), |row| {
                for cell in row {
                    hasher.write(cell.as_deref().unwrap_or("\0null").as_bytes());
                    hasher.write_u8(0xff);
                }
            })?;
        }
        Ok(hasher.finish())
    }

    /// Names the tables with rows of their own.
    pub fn tables(&mut self) -> std::result::Result<Vec<String>, Fault> {
        let rows = self.rows(TABLES)?;
        Ok(rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
    }

    /// Counts the rows of every table, in the order of their names.
    pub fn row_counts(&mut self) -> std::result::Result<Vec<(String, u64)>, Fault> {
        let mut counts = Vec::new();
        for table in self.tables()? {
            let count = self.single(&format!("select count(*) from main.{}", quoted(&table)))?;
            counts.push((table, count.and_then(|count| count.parse().ok()).unwrap_or_default()));
        }
        Ok(counts)
    }

    /// Returns what somebody made, as kind, name and the statement that made it.
    pub fn objects(&mut self) -> std::result::Result<Vec<[String; 3]>, Fault> {
        let rows = self.rows(
            "select type, name, coalesce(sql, 'made with its table ' || tbl_name) \
             from main.sqlite_schema where name not like 'sqlite\\_%' escape '\\' order by 1, 2",
        )?;
        let object = |row: Vec<Option<String>>| {
            let mut cells = row.into_iter().map(Option::unwrap_or_default);
            let mut next = || cells.next().unwrap_or_default();
            [next(), next(), next()]
        };
        Ok(rows.into_iter().map(object).collect())
    }

    /// Returns the columns of a table with their types, in order; none where there is no such table.
    pub fn columns(&mut self, table: &str) -> std::result::Result<Vec<(String, String)>, Fault> {
        let table = table.replace('\'', "''");
        let rows = self.rows(&format!(
            "select name, lower(type) from pragma_table_xinfo('{table}', 'main') order by cid"
        ))?;
        let column = |row: Vec<Option<String>>| {
            let mut cells = row.into_iter().map(Option::unwrap_or_default);
            (cells.next().unwrap_or_default(), cells.next().unwrap_or_default())
        };
        Ok(rows.into_iter().map(column).collect())
    }

    /// Returns the rows that refer to rows which are not there, each as one line.
    pub fn broken_references(&mut self) -> std::result::Result<Vec<String>, Fault> {
        let rows = self.rows("pragma foreign_key_check")?;
        let told = |row: Vec<Option<String>>| {
            let cell = |at: usize| row.get(at).cloned().flatten().unwrap_or_else(|| "?".into());
            format!("row {} of table {} refers to a missing row of {}", cell(1), cell(0), cell(2))
        };
        Ok(rows.into_iter().map(told).collect())
    }

    /// Looks for damage without comparing indexes with tables, which reads every page once; returns
    /// what is wrong.
    pub fn quick_check(&mut self) -> std::result::Result<Vec<String>, Fault> {
        self.checked("pragma quick_check(10)")
    }

    /// Looks for damage everywhere; returns what is wrong.
    pub fn integrity_check(&mut self) -> std::result::Result<Vec<String>, Fault> {
        self.checked("pragma integrity_check(10)")
    }

    fn checked(&mut self, sql: &str) -> std::result::Result<Vec<String>, Fault> {
        let rows = self.patiently(Duration::from_secs(5), sql)?;
        let lines = rows.into_iter().filter_map(|row| row.into_iter().next().flatten());
        Ok(lines.filter(|line| line != "ok").collect())
    }
}

impl File {
    /// Opens the file and looks at it as a whole.
    pub fn look(&self) -> Result<Looked> {
        self.open()?.look().map_err(|fault| self.failed("look at", fault))
    }
}
