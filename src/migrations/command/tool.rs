//! One command of the application's tool: how it is found, as whom it runs, what it is told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::mask::Mask;
use crate::config::CommandSpec;
use crate::database::Database;
use crate::error::{Error, Result};
use crate::system::identity::Identity;
use crate::system::process::{self, Call, Failure, Printed, Stream};

/// What sessions of a tool call themselves, unless the tool says otherwise.
pub(super) const APPLICATION: &str = "openwatch-tool";

/// Where programs without a path are looked for, and what the tool finds as its own `PATH`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long a question may take; it only reads.
const QUESTION_LIMIT: Duration = Duration::from_secs(300);

/// How many lines of an answer are read; a plan of more migrations than this has not been seen.
const MOST_LINES: usize = 20_000;

/// The application's own migration tool, for one database.
#[derive(Clone)]
pub struct Command {
    spec: CommandSpec,
    database: Database,
    /// The connection string under the variable's name that the packager asked for.
    url: Option<(String, String)>,
    installed: bool,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Command").field("apply", &self.spec.apply).finish_non_exhaustive()
    }
}

/// What a command is allowed to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To change the database.
    Apply,
    /// To look; its sessions can only read, where the driver listens to `PGOPTIONS`.
    Look,
}

/// A command that came to an end.
pub(super) struct Ran {
    /// The end.
    pub(super) end: std::result::Result<(), Failure>,
    /// What it printed, as it may be shown; empty where it was told as it came.
    pub(super) output: Vec<String>,
    /// The same of standard error.
    pub(super) errors: Vec<String>,
}

impl Ran {
    /// Returns the exit status; none where the command was killed.
    pub(super) fn code(&self) -> Option<i32> {
        match &self.end {
            Ok(()) => Some(0),
            Err(failure) => failure.code(),
        }
    }

    /// Says how it ended.
    pub(super) fn ended(&self) -> String {
        match &self.end {
            Ok(()) => "exited with status 0".into(),
            Err(failure) => failure.to_string(),
        }
    }
}

impl Command {
    /// Returns the tool for a database; `url` is its connection string as it is written.
    pub(in super::super) fn new(
        spec: CommandSpec,
        database: Database,
        url: Option<&str>,
    ) -> Result<Self> {
        let url = match (&spec.url_variable, url) {
            (None, _) => None,
            (Some(variable), Some(url)) => Some((variable.clone(), url.to_owned())),
            (Some(variable), None) => {
                return Err(Error::config(format!(
                    "there is no connection string of database {} for {variable}",
                    database.name()
                ))
                .state("nothing was changed")
                .hint("Name one with `url_env`, or leave `url_variable` out."));
            }
        };
        Ok(Self { spec, database, url, installed: true })
    }

    /// Says that the package that brings the tool is not installed: nothing of it may be run.
    pub fn not_installed(&mut self) {
        self.installed = false;
    }

    /// Returns whether the tool may be run.
    pub fn is_installed(&self) -> bool {
        self.installed
    }

    /// Returns the database that it migrates.
    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    /// Returns what the packager says of it.
    pub fn spec(&self) -> &CommandSpec {
        &self.spec
    }

    /// Returns the command that migrates, as a person would type it.
    pub fn shown(&self) -> String {
        self.spec.apply.join(" ")
    }

    /// Prepares one of the tool's commands for a database.
    pub(super) fn call(
        &self,
        database: &Database,
        words: &[String],
        purpose: Purpose,
    ) -> Result<Call> {
        let (program, args) =
            words.split_first().ok_or_else(|| Error::config("a migration command is empty"))?;
        let program = find(program)?;
        let identity = self.identity(database)?;
        if let Some(dir) = self.spec.directory.as_deref().filter(|dir| !dir.is_dir()) {
            return Err(missing(format!("there is no directory {}", dir.display())));
        }
        let mut call = database
            .call(&program)
            .args(args)
            .identity(identity)
            .env("PATH", PATH)
            // Every tool can print every character, and none of them translates.
            .env("LC_ALL", "C.UTF-8")
            // Python keeps back what it prints into a pipe, and the last line is a sign of life.
            .env("PYTHONUNBUFFERED", "1")
            .env("PGAPPNAME", APPLICATION)
            .dir(self.spec.directory.as_deref().unwrap_or(Path::new("/")));
        for (name, value) in &self.spec.environment {
            call = call.env(name, value);
        }
        if let Some((name, url)) = &self.url {
            call = call.env(name, self.url_for(url, database)?);
        }
        Ok(match purpose {
            Purpose::Apply => call,
            Purpose::Look => {
                let own = database.options().map_or(String::new(), |options| format!("{options} "));
                call.env("PGOPTIONS", format!("{own}-c default_transaction_read_only=on"))
                    .deadline(QUESTION_LIMIT)
            }
        })
    }

    /// A connection string names its database itself. For another one, such as a scratch database,
    /// it would lead the tool to the real one.
    fn url_for(&self, url: &str, database: &Database) -> Result<String> {
        if database.is_as_resolved() {
            return Ok(url.to_owned());
        }
        Err(Error::config(format!(
            "{} takes its connection string from a variable and cannot be led to {}",
            self.shown(),
            database.described()
        ))
        .state("nothing was changed")
        .hint("Let it connect through the PG* variables, and leave `url_variable` out."))
    }

    fn identity(&self, database: &Database) -> Result<Option<Identity>> {
        let Some(user) = &self.spec.user else { return Ok(database.identity().cloned()) };
        let identity = Identity::of(user)?;
        let own = rustix::process::geteuid();
        if identity.uid == own.as_raw() {
            return Ok(None);
        }
        if !own.is_root() {
            return Err(Error::config(format!("cannot act as system user {user}"))
                .state("nothing was changed")
                .hint("Run the same command as root."));
        }
        Ok(Some(identity))
    }

    /// Runs a command to its end; `watch` sees each line as it may be shown, and nothing about four
    /// times a second meanwhile.
    pub(super) fn run(
        &self,
        database: &Database,
        call: Call,
        purpose: Purpose,
        mut watch: impl FnMut(Option<&str>),
    ) -> Ran {
        let mask = self.mask(database);
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let end = call.run_kept(|printed| match printed {
            Some(Printed { stream, line }) => {
                let line = mask.shown(line);
                watch(Some(&line));
                let kept = match stream {
                    Stream::Output => &mut output,
                    Stream::Error => &mut errors,
                };
                if purpose == Purpose::Look && kept.len() < MOST_LINES {
                    kept.push(line);
                }
            }
            None => watch(None),
        });
        Ran { end, output, errors }
    }

    fn mask(&self, database: &Database) -> Mask {
        let url = self.url.iter().map(|(_, url)| url.clone());
        Mask::new(database.secrets().into_iter().chain(url))
    }
}

/// Finds a program: an absolute path, or a name in the directories of the system.
fn find(word: &str) -> Result<PathBuf> {
    process::find_in(word, PATH).ok_or_else(|| {
        missing(match word.starts_with('/') {
            true => format!("{word} is not there, or not a program"),
            false => format!("there is no program {word} in {PATH}"),
        })
    })
}

fn missing(what: String) -> Error {
    Error::config(format!("the application's migration tool cannot be run: {what}"))
        .state("nothing was changed")
        .hint("Install what the package needs, or have its packager correct `migrations`.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_for_in_the_directories_of_the_system_alone() {
        assert!(find("sh").is_ok());
        assert!(find("/bin/sh").is_ok());
        for wrong in ["no-such-program", "/bin/no-such-program", "/etc/passwd", "./sh", "../sh"] {
            let error = find(wrong).unwrap_err();
            assert_eq!(error.outcome(), crate::outcome::Outcome::Config, "{wrong}");
        }
    }
}
