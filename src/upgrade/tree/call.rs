//! The packager's commands: without a shell, streamed, with a deadline; nothing of them outlives us.

use std::collections::VecDeque;
use std::path::Path;

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::system::identity::Identity;
use crate::system::process::{self, Call};

use super::super::machine::Machine;
use super::Tree;

/// Where programs without a path are looked for, and what they find as their own `PATH`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The most lines that one command is let tell.
const MOST_LINES: usize = 2000;

/// How many of its last lines are kept for the failure.
const LAST_LINES: usize = 8;

/// One of the packager's commands about a version.
pub(super) struct Command<'c> {
    /// Its name in `[source]`.
    pub(super) name: &'static str,
    /// Program and arguments, with placeholders.
    pub(super) words: &'c [String],
    /// The version.
    pub(super) tree: &'c Tree,
    /// The version as it was asked for, such as a tag.
    pub(super) tag: &'c str,
    /// Where it runs.
    pub(super) dir: &'c Path,
    /// Who runs it; none for us.
    pub(super) identity: Option<Identity>,
    /// The side that serves or is about to, where there are two.
    pub(super) side: Option<&'c str>,
}

/// Runs a command to its end; what it prints is told as it comes.
pub(super) fn run(machine: &Machine, command: Command<'_>) -> Result<()> {
    let Command { name, words, tree, tag, dir, identity, side } = command;
    let limit = machine.config.tree.as_ref().map(|spec| spec.timeout).unwrap_or_default();
    let words: Vec<String> = words
        .iter()
        .map(|word| word.replace("{tree}", &tree.dir.to_string_lossy()).replace("{version}", tag))
        .collect();
    let Some((first, arguments)) = words.split_first() else { return Ok(()) };
    let program = process::find_in(first, PATH).ok_or_else(|| {
        Error::config(format!("source.{name} cannot be run: there is no program {first}"))
    })?;
    machine.progress.step(&format!("{name}: {}", words.join(" ")));
    let mut last: VecDeque<String> = VecDeque::new();
    let mut told = 0;
    let ended = Call::new(program)
        .args(arguments)
        .identity(identity)
        .dir(dir)
        .deadline(limit)
        .env("PATH", PATH)
        .env("LC_ALL", "C.UTF-8")
        .env("PYTHONUNBUFFERED", "1")
        // Nobody is there to type a password.
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("OPENWATCH_APP", machine.layout.app())
        .env("OPENWATCH_VERSION", tree.version.as_str())
        .env("OPENWATCH_TREE", &tree.dir)
        .env("OPENWATCH_SIDE", side.unwrap_or_default())
        .run_kept(|printed| {
            let Some(printed) = printed else {
                machine.progress.alive(name, 0, None);
                return;
            };
            if printed.line.is_empty() {
                return;
            }
            told += 1;
            if told <= MOST_LINES {
                machine.progress.note(&format!("{name}: {}", printed.line));
            }
            if last.len() == LAST_LINES {
                last.pop_front();
            }
            last.push_back(printed.line.clone());
        });
    let Err(failure) = ended else { return Ok(()) };
    let message = format!("source.{name} {failure} for version {}", tree.version);
    let error = Error::new(Outcome::Failed, message);
    Err(last.iter().fold(error, Error::detail))
}
