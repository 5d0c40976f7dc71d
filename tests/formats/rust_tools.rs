//! sqlx, diesel and refinery themselves: how each wants its files, runs, and tells what is pending.

use std::path::{Path, PathBuf};
use std::process::Command;

use openwatch::config::Format;

use super::chains::Step;
use super::support::peers;
use super::support::postgres::Server;

/// A tool that `ci/peers` built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    Sqlx,
    Diesel,
    Refinery,
    RefineryInt8,
}

/// A tool that is there, with the database that it works on.
pub struct Real<'a> {
    pub tool: Tool,
    pub program: PathBuf,
    pub server: &'a Server,
    pub dbname: &'a str,
    pub dir: &'a Path,
}

impl Tool {
    /// Returns its program; `None` once it is said that the test is left out.
    pub fn program(self) -> Option<PathBuf> {
        peers::tool(match self {
            Self::Sqlx => "sqlx",
            Self::Diesel => "diesel",
            Self::Refinery => "refinery",
            Self::RefineryInt8 => "refinery-int8",
        })
    }

    pub fn format(self) -> Format {
        match self {
            Self::Sqlx => Format::Sqlx,
            Self::Diesel => Format::Diesel,
            Self::Refinery => Format::Refinery,
            Self::RefineryInt8 => Format::RefineryInt8,
        }
    }

    /// The history without times and durations.
    pub fn history_sql(self) -> &'static str {
        match self {
            Self::Sqlx => {
                "select version, description, success, encode(checksum, 'hex') \
                 from _sqlx_migrations order by version"
            }
            Self::Diesel => "select version from __diesel_schema_migrations order by version",
            Self::Refinery | Self::RefineryInt8 => {
                "select version, name, checksum from refinery_schema_history order by version"
            }
        }
    }

    /// Writes one migration as the tool wants it.
    pub fn write(self, dir: &Path, step: &Step) {
        let Step { version, name, up, down, alone } = step;
        let put = |file: String, text: &str| {
            let file = dir.join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        };
        match self {
            Self::Sqlx => {
                let mark = if *alone { "-- no-transaction\n" } else { "" };
                put(format!("{version}_{name}.up.sql"), &format!("{mark}{up}"));
                put(format!("{version}_{name}.down.sql"), down);
            }
            Self::Diesel => {
                // Compared as text.
                let at = format!("{version:015}_{name}");
                put(format!("{at}/up.sql"), up);
                put(format!("{at}/down.sql"), down);
                if *alone {
                    put(format!("{at}/metadata.toml"), "run_in_transaction = false\n");
                }
            }
            Self::Refinery | Self::RefineryInt8 => {
                assert!(!alone, "refinery runs everything in transactions");
                let word = name.replace('-', "_");
                put(format!("V{version}__{word}.sql"), up);
            }
        }
    }
}

impl Real<'_> {
    /// Applies what is pending; `Err` is what the tool said.
    pub fn migrate(&self) -> Result<String, String> {
        match self.tool {
            Tool::Sqlx => self.sqlx(&["migrate", "run"]),
            Tool::Diesel => self.diesel(&["migration", "run"]),
            Tool::Refinery | Tool::RefineryInt8 => self.refinery(),
        }
    }

    /// What the tool says is pending, a line each.
    pub fn pending(&self) -> Vec<String> {
        let lines = |text: String, is: fn(&str) -> bool| -> Vec<String> {
            text.lines().filter(|line| is(line)).map(str::to_owned).collect()
        };
        match self.tool {
            Tool::Sqlx => lines(self.sqlx(&["migrate", "info"]).unwrap(), |line| {
                !line.contains("/installed ") || line.contains("different checksum")
            }),
            Tool::Diesel => {
                let list = self.diesel(&["migration", "list"]).unwrap();
                let pending = lines(list, |line| line.contains("[ ]"));
                let any = self.diesel(&["migration", "pending"]).unwrap();
                assert_eq!(any.trim(), (!pending.is_empty()).to_string());
                pending
            }
            // It has no word for it: a run says what it did.
            Tool::Refinery | Tool::RefineryInt8 => {
                let said = self.refinery().unwrap();
                assert!(
                    said.contains("current version") || said.contains("history table is empty")
                );
                lines(said, |line| line.contains("applying migration"))
            }
        }
    }

    fn url(&self) -> String {
        let socket = self.server.socket().display();
        format!("postgres://postgres@localhost/{}?host={socket}", self.dbname)
    }

    fn run(&self, command: &mut Command) -> Result<String, String> {
        // Their working directory has no `.env`, `sqlx.toml` or `diesel.toml` of anybody.
        let output = command.current_dir(self.server.socket()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = text(&output.stdout) + &text(&output.stderr);
        if output.status.success() { Ok(said) } else { Err(said) }
    }

    pub fn sqlx(&self, words: &[&str]) -> Result<String, String> {
        self.run(
            Command::new(&self.program)
                .args(words)
                .args(["--no-dotenv", "--database-url", &self.url(), "--source"])
                .arg(self.dir),
        )
    }

    pub fn diesel(&self, words: &[&str]) -> Result<String, String> {
        let config = tempfile::NamedTempFile::new().unwrap();
        self.run(
            Command::new(&self.program)
                .args(words)
                .args(["--database-url", &self.url(), "--migration-dir"])
                .arg(self.dir)
                .arg("--config-file")
                .arg(config.path()),
        )
    }

    /// Refuses what differs and what is missing, as the library does by itself.
    fn refinery(&self) -> Result<String, String> {
        let config = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        let socket = self.server.socket().display().to_string().replace('/', "%2F");
        let text = format!(
            "[main]\ndb_type = \"Postgres\"\ndb_host = \"{socket}\"\ndb_port = \"5432\"\n\
             db_user = \"postgres\"\ndb_pass = \"\"\ndb_name = \"{}\"\n",
            self.dbname
        );
        std::fs::write(config.path(), text).unwrap();
        self.run(
            Command::new(&self.program)
                .args(["migrate", "-d", "-m", "-c"])
                .arg(config.path())
                .arg("-p")
                .arg(self.dir),
        )
    }
}
