//! What lies in a database, as far as migrations need to know.

use super::session::{Session, SqlError};
use super::swap::literal;

/// Where a history table is, or would be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ground {
    /// Name of the database on the server.
    pub dbname: String,
    /// The schema in which new tables are made; none when the search path names no schema.
    pub schema: Option<String>,
    /// The schema that holds the history table: on the search path, or the one that was named.
    pub history: Option<String>,
    /// Other schemas that hold a table of this name.
    pub elsewhere: Option<String>,
    /// Whether anybody made a table, view or foreign table in this database.
    pub populated: bool,
}

/// A table and its columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// Whether its schema is on the search path.
    pub on_path: bool,
    /// Names and types of its columns, in order; types without a length.
    pub columns: Vec<(String, String)>,
}

/// Tables that neither the server nor an extension made.
const TABLES: &str = "select 1 from pg_class c join pg_namespace n on n.oid = c.relnamespace \
    where c.relkind in ('r', 'p', 'v', 'm', 'f') \
      and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' \
      and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass \
        and d.objid = c.oid and d.deptype = 'e')";

impl Session {
    /// Opens a transaction that can write nothing and sees one state of the database.
    pub fn begin_looking(&mut self) -> Result<(), SqlError> {
        if let Some(file) = self.file() {
            return file.begin_looking();
        }
        // Limits that the role has for its daily work could end even a look.
        self.lift(
            "start transaction isolation level repeatable read, read only;\
             set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0;\
             select set_config('transaction_timeout', '0', true) \
             where current_setting('transaction_timeout', true) is not null",
        )?;
        Ok(())
    }

    /// Ends a transaction that only looked.
    pub fn end_looking(&mut self) -> Result<(), SqlError> {
        match self.file() {
            Some(file) => file.end_looking(),
            None => self.run("rollback"),
        }
    }

    /// Returns the name of the database that the session is connected to.
    pub fn dbname(&mut self) -> Result<String, SqlError> {
        if let Some(file) = self.file() {
            return Ok(file.path.clone());
        }
        Ok(self.single("select current_database()")?.unwrap_or_default())
    }

    /// Looks where the history table of this name is, and whether the database is empty.
    ///
    /// Without a schema the search path decides, as it does for an unqualified name.
    pub fn ground(&mut self, schema: Option<&str>, table: &str) -> Result<Ground, SqlError> {
        if let Some(file) = self.file() {
            return file.ground(table);
        }
        let named = format!(
            "from pg_class c join pg_namespace n on n.oid = c.relnamespace \
             where c.relname = {} and c.relkind in ('r', 'p', 'v')",
            literal(table)
        );
        let (path, own) = match schema {
            Some(schema) => {
                let schema = literal(schema);
                (format!("array[{schema}]::name[]"), format!("{schema}::text"))
            }
            None => ("current_schemas(false)".to_owned(), "current_schema()".to_owned()),
        };
        let sql = format!(
            "select current_database(), {own}, \
               (select n.nspname {named} and n.nspname = any ({path}) \
                order by array_position({path}, n.nspname) limit 1), \
               (select string_agg(n.nspname, ', ') {named} and n.nspname <> all ({path}))"
        );
        let row = self.simple(&sql)?.into_iter().next().unwrap_or_default();
        let mut columns = row.into_iter();
        let dbname = columns.next().flatten().unwrap_or_default();
        let schema = columns.next().flatten();
        let history = columns.next().flatten();
        let elsewhere = columns.next().flatten();
        // With a history table the question does not arise, and the search may be long.
        let populated = history.is_some() || self.single(&format!("{TABLES} limit 1"))?.is_some();
        Ok(Ground { dbname, schema, history, elsewhere, populated })
    }

    /// Reads the columns of all tables that have one of these names, those on the search path first.
    pub fn shapes(&mut self, names: &[&str]) -> Result<Vec<Shape>, SqlError> {
        if let Some(file) = self.file() {
            return file.shapes(names);
        }
        let names: Vec<String> = names.iter().map(|name| literal(name)).collect();
        let sql = format!(
            "select n.nspname, c.relname, n.nspname = any (current_schemas(false)), a.attname, \
               format_type(a.atttypid, null) \
             from pg_class c join pg_namespace n on n.oid = c.relnamespace \
             join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped \
             where c.relkind in ('r', 'p') and n.nspname !~ '^pg_' and c.relname in ({}) \
             order by array_position(current_schemas(false), n.nspname), 1, 2, a.attnum",
            names.join(",")
        );
        let mut all: Vec<Shape> = Vec::new();
        for row in self.simple(&sql)? {
            let mut columns = row.into_iter().map(Option::unwrap_or_default);
            let mut next = || columns.next().unwrap_or_default();
            let (schema, table, on_path) = (next(), next(), next() == "t");
            let column = (next(), next());
            match all.last_mut().filter(|last| last.schema == schema && last.table == table) {
                Some(last) => last.columns.push(column),
                None => all.push(Shape { schema, table, on_path, columns: vec![column] }),
            }
        }
        Ok(all)
    }
}
