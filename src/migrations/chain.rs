//! The migrations that a package ships for one database, with the tool that owns them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::command::Command;
use super::detect::choose;
use super::files::{bad, in_order, normalised};
use super::formats::{Tool, tool, tool_in};
use super::script::{Script, scan, script_of_file, split};
use super::{Key, Migration};
use crate::config::{FilesSpec, Format, MigrationsSpec, TableName};
use crate::database::{Database, Dialect};
use crate::error::{Error, Result};

/// Shipped migrations and how they are read and recorded.
#[derive(Clone, Debug)]
pub struct Chain {
    pub(super) tool: &'static dyn Tool,
    /// The language of the database.
    pub(super) dialect: Dialect,
    /// The history table, with the schema where the packager names one.
    pub table: TableName,
    /// The directory of the files; none where a command applies them.
    pub dir: PathBuf,
    /// The migrations in the order in which they are applied; none where a command applies them.
    pub migrations: Vec<Migration>,
    /// The application's own tool, where it takes the place of files.
    pub(super) command: Option<Command>,
    /// Checksums of other texts that the packager vouches for, by version.
    pub(super) accepted: BTreeMap<String, Vec<String>>,
    /// Versions that the packager took out on purpose.
    pub(super) removed: Vec<String>,
}

impl Chain {
    /// Puts migrations that were read together with the tool of their format.
    #[cfg(test)]
    pub(super) fn of(format: Format, migrations: &[Migration]) -> Self {
        let tool = tool(format);
        let table = TableName { schema: None, name: tool.default_table().to_owned() };
        let migrations = migrations.to_vec();
        let (accepted, removed) = (BTreeMap::new(), Vec::new());
        let dialect = Dialect::PostgreSql;
        Self {
            tool,
            dialect,
            table,
            dir: "/m".into(),
            migrations,
            command: None,
            accepted,
            removed,
        }
    }

    /// Returns the format.
    pub fn format(&self) -> Format {
        self.tool.format()
    }

    /// Returns the application's own tool, where it takes the place of files.
    pub fn command(&self) -> Option<&Command> {
        self.command.as_ref()
    }

    /// Looks at the text of a migration as it will run.
    pub(super) fn script(&self, migration: &Migration, sql: &str) -> Script {
        match (self.dialect, migration.transactional) {
            (Dialect::PostgreSql, true) => scan(sql),
            (Dialect::PostgreSql, false) => split(sql),
            (Dialect::Sqlite, transactional) => script_of_file(sql, transactional),
        }
    }

    /// Looks at the text that takes a migration back, inside a transaction.
    pub(super) fn script_back(&self, sql: &str) -> Script {
        match self.dialect {
            Dialect::PostgreSql => scan(sql),
            Dialect::Sqlite => script_of_file(sql, true),
        }
    }

    /// Says that the package is not installed: of its own tool nothing may be run then.
    pub fn not_installed(&mut self) {
        if let Some(command) = &mut self.command {
            command.not_installed();
        }
    }

    /// Returns whether a recorded checksum stands for a shipped file; where the file has none, nothing
    /// is proved against it.
    ///
    /// Of a tool that hashes raw bytes the same text with other line ends is accepted too.
    pub(super) fn same(&self, migration: &Migration, recorded: &str) -> bool {
        let of =
            |text: &str| self.tool.checksum(migration, text).is_some_and(|sum| sum == recorded);
        migration.checksum.as_deref().is_none_or(|checksum| checksum == recorded)
            || self.raw(migration).is_ok_and(|raw| {
                let lf = normalised(&raw);
                of(&lf) || of(&lf.replace('\n', "\r\n"))
            })
    }

    /// Returns the shipped migration with this key.
    pub(super) fn at(&self, key: &Key) -> Option<&Migration> {
        let at = self.migrations.binary_search_by(|migration| migration.key.cmp(key));
        at.ok().map(|at| &self.migrations[at])
    }

    /// Returns whether the packager vouches for a checksum that is not the file's.
    pub(super) fn accepts(&self, migration: &Migration, recorded: &str) -> bool {
        let known = self.accepted.get(migration.version.as_str());
        known.is_some_and(|known| known.iter().any(|one| one.eq_ignore_ascii_case(recorded)))
    }

    /// Returns whether the packager took a migration out on purpose.
    pub(super) fn is_removed(&self, key: &Key, version: &str) -> bool {
        self.removed.iter().any(|removed| {
            removed == version || removed.parse().is_ok_and(|number| *key == Key::Number(number))
        })
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
        MigrationsSpec::Files(spec) => load_files(spec, Dialect::PostgreSql),
        MigrationsSpec::Command(spec) => Err(Error::config(format!(
            "{} keeps its migrations to itself: there are no files to read",
            spec.apply.join(" ")
        ))),
    }
}

/// Reads the migrations of a database, or takes the command that applies them.
///
/// `url` is its connection string as it is written, for a command that asks for it.
pub fn load_for(spec: &MigrationsSpec, database: &Database, url: Option<&str>) -> Result<Chain> {
    let spec = match spec {
        MigrationsSpec::Command(spec) => spec,
        // Only the database knows whose migrations these are.
        MigrationsSpec::Files(files) if files.format.is_none() => {
            return load_files(&choose(&mut database.connect()?, files)?, database.dialect());
        }
        MigrationsSpec::Files(files) => return load_files(files, database.dialect()),
    };
    let command = Command::new(spec.clone(), database.clone(), url)?;
    let tool = tool(Format::Plain);
    let table = TableName { schema: None, name: tool.default_table().to_owned() };
    let (accepted, removed) = (BTreeMap::new(), Vec::new());
    let (dir, migrations) = (PathBuf::new(), Vec::new());
    let dialect = database.dialect();
    Ok(Chain { tool, dialect, table, dir, migrations, command: Some(command), accepted, removed })
}

fn load_files(spec: &FilesSpec, dialect: Dialect) -> Result<Chain> {
    let Some(format) = spec.format else {
        return Err(bad("migrations.format is \"auto\", and no database was asked".to_owned())
            .hint("Name the format."));
    };
    let tool = tool_in(format, dialect);
    let migrations = in_order(&spec.dir, tool.read_dir(&spec.dir)?, tool.file_names())?;
    let usual = || TableName { schema: None, name: tool.default_table().to_owned() };
    let mut chain = Chain {
        tool,
        dialect,
        table: spec.table.clone().unwrap_or_else(usual),
        dir: spec.dir.clone(),
        migrations,
        command: None,
        accepted: BTreeMap::new(),
        removed: spec.removed.clone(),
    };
    for (version, checksums) in &spec.accepted_checksums {
        let file = chain.find(version).ok_or_else(|| {
            bad(format!("accepted_checksums has {version}, which is no shipped migration"))
                .hint("Correct the version in upgrade.conf, or remove the line.")
        })?;
        let version = file.version.to_string();
        chain.accepted.insert(version, checksums.clone());
    }
    if let Some(version) = spec.removed.iter().find(|version| chain.find(version).is_some()) {
        return Err(bad(format!("{version} is among the removed migrations, and shipped"))
            .hint("Take it out of `removed` in upgrade.conf, or out of the directory."));
    }
    Ok(chain)
}
