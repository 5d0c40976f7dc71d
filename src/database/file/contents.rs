//! What lies in a file: its history table, its objects, its condition.

use std::collections::BTreeMap;

use crate::database::catalogue::Catalogue;
use crate::database::condition::Condition;
use crate::database::imprint::Imprint;
use crate::database::schema::{Ground, Shape};
use crate::database::session::{InFile, SqlError};
use crate::sqlite::Fault;

/// The name that SQLite has for the file that was opened.
const SCHEMA: &str = "main";

/// Settings of a file by which the same statement does something else, or is less safe.
const SETTINGS: [&str; 6] =
    ["application_id", "auto_vacuum", "encoding", "journal_mode", "page_size", "user_version"];

fn said(fault: Fault) -> SqlError {
    SqlError::of_file(fault, "")
}

impl InFile {
    pub(in crate::database) fn begin_looking(&mut self) -> Result<(), SqlError> {
        self.connection.begin_looking().map_err(said)
    }

    pub(in crate::database) fn end_looking(&mut self) -> Result<(), SqlError> {
        self.connection.end_looking().map_err(said)
    }

    pub(in crate::database) fn ground(&mut self, table: &str) -> Result<Ground, SqlError> {
        let objects = self.connection.objects().map_err(said)?;
        let is_history =
            |[kind, name, _]: &[String; 3]| kind == "table" && name.eq_ignore_ascii_case(table);
        let history = objects.iter().any(is_history).then(|| SCHEMA.to_owned());
        let made = |[kind, ..]: &[String; 3]| kind == "table" || kind == "view";
        Ok(Ground {
            dbname: self.path.clone(),
            schema: Some(SCHEMA.to_owned()),
            history,
            elsewhere: None,
            populated: objects.iter().any(made),
        })
    }

    pub(in crate::database) fn shapes(&mut self, names: &[&str]) -> Result<Vec<Shape>, SqlError> {
        let mut all = Vec::new();
        for name in names {
            let columns = self.connection.columns(name).map_err(said)?;
            if !columns.is_empty() {
                let (schema, table) = (SCHEMA.to_owned(), (*name).to_owned());
                let columns = columns.into_iter().map(known).collect();
                all.push(Shape { schema, table, on_path: true, columns });
            }
        }
        Ok(all)
    }

    pub(in crate::database) fn catalogue(&mut self) -> Result<Catalogue, SqlError> {
        let objects = self.connection.objects().map_err(said)?;
        let named: Vec<(String, String)> = objects
            .into_iter()
            .map(|[kind, name, definition]| (format!("{kind} {name}"), definition))
            .collect();
        Ok(Catalogue::of(named.iter().map(|(name, sql)| (name.as_str(), sql.as_str()))))
    }

    pub(in crate::database) fn condition(&mut self) -> Result<Condition, SqlError> {
        let mut settings = BTreeMap::new();
        for name in SETTINGS {
            let value = self.connection.single(&format!("pragma {name}")).map_err(said)?;
            settings.extend(value.map(|value| (name.to_owned(), value)));
        }
        let server_version = self.connection.version().to_owned();
        Ok(Condition { server_version, settings, ..Condition::default() })
    }

    pub(in crate::database) fn imprint(&mut self) -> Result<Imprint, SqlError> {
        let shape = self.catalogue()?.fingerprint;
        let written = self.connection.content().map_err(said)?;
        Ok(Imprint::of_file(shape, written))
    }
}

/// Tells a column's type by the word that the same column has on a server: SQLite keeps whatever a
/// tool wrote there.
fn known((name, kind): (String, String)) -> (String, String) {
    let plain = kind.split('(').next().unwrap_or_default().trim();
    let word = match plain {
        // Whole numbers that stand for true and false.
        _ if ["is_applied", "dirty", "success"].contains(&name.as_str()) => "boolean",
        "varchar" | "character varying" | "nvarchar" | "char" => "text",
        "int4" => "integer",
        "int" | "integer" | "int8" | "uint64" | "bigint" => "bigint",
        "bool" | "boolean" => "boolean",
        "blob" | "bytea" => "bytea",
        "datetime" | "timestamp" | "timestamp with time zone" | "timestamptz" => "timestamp",
        other => other,
    };
    (name, word.to_owned())
}
