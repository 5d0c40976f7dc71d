//! What the tool itself says is pending.

use super::super::{Comparison, Pending, State};
use super::tool::{Command, Purpose, Ran};
use super::verdict::{self, Verdict};
use crate::database::{Database, Session};
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::system::process::Failure;

/// The version that stands for everything that is pending, where the tool does not name it.
pub const ALL: &str = "all";

/// The longest version of a schema that is kept, in characters.
const LONGEST: usize = 200;

/// Asks the tool about the database that the session is connected to.
pub(in super::super) fn look(session: &mut Session, command: &Command) -> Result<Comparison> {
    let found = look_for_pending(session, command)?;
    with_version(session, command, found)
}

/// Adds the version to what the tool said is pending.
pub(super) fn with_version(
    session: &mut Session,
    command: &Command,
    mut found: Comparison,
) -> Result<Comparison> {
    if found.state != State::Empty && command.is_installed() {
        let dbname = session.dbname().map_err(super::super::look::unreadable)?;
        found.current = version(command, &command.database().with_dbname(&dbname))?;
    }
    if found.state == State::Current {
        found.head = found.head.or_else(|| found.current.clone());
    }
    Ok(found)
}

/// Asks the tool what is pending, and for no version: each question starts the tool once more.
pub(in super::super) fn look_for_pending(
    session: &mut Session,
    command: &Command,
) -> Result<Comparison> {
    let ground = session
        .begin_looking()
        .and_then(|()| {
            let ground = session.ground(None, "");
            let ended = session.end_looking();
            ground.and_then(|ground| ended.map(|()| ground))
        })
        .map_err(super::super::look::unreadable)?;
    let mut found = Comparison {
        state: State::Unknown,
        current: None,
        head: None,
        applied: 0,
        assumed: Vec::new(),
        pending: vec![unnamed(command)],
        begun: false,
        problems: Vec::new(),
    };
    let database = command.database().with_dbname(&ground.dbname);
    if command.is_installed() {
        // What an upgrade would need is asked for now, before anything is stopped for it.
        command.call(&database, &command.spec().apply, Purpose::Apply)?;
    }
    if !ground.populated {
        // There is nothing to ask about, and a tool may fail for want of its own table.
        found.state = State::Empty;
        return Ok(found);
    }
    if !command.is_installed() {
        return Ok(found);
    }
    let Some(words) = &command.spec().status else { return Ok(found) };
    let verdict = ask(command, &database, words)?;
    found.applied = verdict.applied;
    found.head = verdict.head;
    found.pending = match verdict.pending.iter().any(String::is_empty) {
        true => vec![unnamed(command)],
        false => verdict.pending.iter().map(|name| named(name)).collect(),
    };
    found.state = match found.pending.is_empty() {
        true => State::Current,
        false => State::Pending,
    };
    Ok(found)
}

fn named(name: &str) -> Pending {
    // Whether the tool uses a transaction is its own business, and not assumed.
    Pending { version: name.into(), name: "".into(), transactional: false }
}

fn unnamed(command: &Command) -> Pending {
    Pending { version: ALL.into(), name: command.shown().into(), transactional: false }
}

fn ask(command: &Command, database: &Database, words: &[String]) -> Result<Verdict> {
    let ran = question(command, database, words)?;
    let lines: Vec<String> = ran.output.iter().chain(&ran.errors).cloned().collect();
    verdict::read(&command.spec().rule, ran.code(), &lines).map_err(|why| {
        let why = if ran.code().is_some() { why } else { ran.ended() };
        no_answer(words, &why, &ran)
    })
}

fn version(command: &Command, database: &Database) -> Result<Option<String>> {
    let Some(words) = &command.spec().version else { return Ok(None) };
    let ran = question(command, database, words)?;
    if ran.end.is_err() {
        return Err(no_answer(words, &ran.ended(), &ran));
    }
    let line = ran.output.iter().map(|line| line.trim()).find(|line| !line.is_empty());
    Ok(line.map(|line| line.chars().take(LONGEST).collect()))
}

fn question(command: &Command, database: &Database, words: &[String]) -> Result<Ran> {
    let call = command.call(database, words, Purpose::Look)?;
    let ran = command.run(database, call, Purpose::Look, |_| {});
    match &ran.end {
        Err(Failure::Interrupted(signal)) => Err(Error::failed(format!(
            "{} was ended because we received {signal}",
            words.join(" ")
        ))
        .state("nothing was changed")),
        Ok(()) | Err(_) => Ok(ran),
    }
}

fn no_answer(words: &[String], why: &str, ran: &Ran) -> Error {
    let shown = words.join(" ");
    let error = Error::failed(format!("{shown} does not say what is pending: it {why}"));
    let said = ran.errors.iter().chain(&ran.output).rev().filter(|line| !line.is_empty());
    let mut last: Vec<&String> = said.take(5).collect();
    last.reverse();
    last.into_iter()
        .fold(error, |error, line| error.detail(line))
        .state("nothing was changed")
        .hint(format!(
            "Run `{shown}` as the same user, with default_transaction_read_only=on, and mend what it says."
        ))
}

impl Command {
    /// Refuses to write into a history that belongs to the tool.
    pub fn history_is_its_own(&self) -> Error {
        let what = "the history of this database belongs to the application's own tool";
        Error::new(Outcome::Usage, what)
            .detail(format!("its migrations are applied by {}", self.shown()))
            .state("nothing was changed")
            .hint("Use the tool's own way, such as `manage.py migrate --fake` or `alembic stamp`.")
    }
}
