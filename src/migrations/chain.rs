//! The migrations that a package ships for one database, with the tool that owns them.

use super::files::{bad, in_order};
use super::formats::{Tool, tool};
use super::{Key, Migration};
use crate::config::{FilesSpec, Format, MigrationsSpec, TableName};
use crate::error::Result;

/// Shipped migrations and how they are read and recorded.
#[derive(Clone, Debug)]
pub struct Chain {
    pub(super) tool: &'static dyn Tool,
    /// The history table, with the schema where the packager names one.
    pub table: TableName,
    /// The migrations in the order in which they are applied.
    pub migrations: Vec<Migration>,
}

impl Chain {
    /// Puts migrations that were read together with the tool of their format.
    #[cfg(test)]
    pub(super) fn of(format: Format, migrations: &[Migration]) -> Self {
        let tool = tool(format);
        let table = TableName { schema: None, name: tool.default_table().to_owned() };
        Self { tool, table, migrations: migrations.to_vec() }
    }

    /// Returns the format.
    pub fn format(&self) -> Format {
        self.tool.format()
    }

    /// Returns the shipped migration of this version, whatever the width of its number.
    pub fn find(&self, version: &str) -> Option<&Migration> {
        let exact = self.migrations.iter().find(|migration| migration.version == version);
        exact.or_else(|| {
            let key = Key::Number(version.parse().ok()?);
            self.migrations.iter().find(|migration| migration.key == key)
        })
    }
}

/// Reads all migrations that a package ships for one database, in their order.
pub fn load(spec: &MigrationsSpec) -> Result<Chain> {
    match spec {
        MigrationsSpec::Files(spec) => load_files(spec),
        MigrationsSpec::Command(_) => {
            Err(bad("database.migrations.command is not supported yet".to_owned())
                .hint("Name a format and a directory of migrations instead."))
        }
    }
}

fn load_files(spec: &FilesSpec) -> Result<Chain> {
    let tool = tool(spec.format);
    let migrations = in_order(&spec.dir, tool.read_dir(&spec.dir)?, tool.file_names())?;
    let usual = || TableName { schema: None, name: tool.default_table().to_owned() };
    Ok(Chain { tool, table: spec.table.clone().unwrap_or_else(usual), migrations })
}
