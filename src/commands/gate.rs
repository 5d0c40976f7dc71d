//! `openwatch gate`: exit 0 where the program may start, and why not otherwise.

use serde_json::json;

use crate::error::{Error, Result};
use crate::migrations::{self, State};
use crate::outcome::Outcome;
use crate::upgrade::fail;
use crate::upgrade::gate::Pending;
use crate::upgrade::machine::Machine;

use super::Reply;

/// Looks at the pending mark, then at each database's schema.
pub fn run(machine: &Machine) -> Result<Reply> {
    if let Some(mark) = Pending::read(&machine.layout)? {
        return Err(closed(machine, &mark));
    }
    for shipped in &machine.databases {
        let mut session = shipped.database.connect()?;
        let found = migrations::look(&mut session, &shipped.migrations)?;
        let outcome = match found.state {
            State::Current => continue,
            // Of a tool that cannot be asked nobody knows; the mark alone has closed the gate then.
            State::Unknown if found.problems.is_empty() => continue,
            State::Empty | State::Pending => Outcome::Pending,
            State::Ahead | State::Divergent | State::Missing | State::Unknown => Outcome::Mismatch,
        };
        let error = Error::new(
            outcome,
            format!(
                "the schema of {} is not the one that program {} needs: {}",
                shipped.database.described(),
                machine.version,
                found.state.word()
            ),
        )
        .state("the gate is closed by the schema; nothing was changed")
        .hint(format!("Run `{}`.", machine.command("migrate --status")));
        return Err(found.problems.iter().fold(error, |e, problem| e.detail(&problem.what)));
    }
    Ok(Reply::ok("the gate is open", json!({"gate": "open"})))
}

/// Says why the pending mark keeps the gate closed.
fn closed(machine: &Machine, mark: &Pending) -> Error {
    let from = mark.from.as_ref().map_or(String::new(), |from| format!("from {from} "));
    let error =
        Error::new(Outcome::Pending, format!("the upgrade {from}to {} is not done", mark.to))
            .state(format!("the gate is closed since {}", mark.since))
            .hint(format!("Run `{}`.", fail::retry_command(machine, mark.family)));
    match &mark.failed {
        Some(failed) => error
            .detail(format!("the last attempt ended as {}: {}", failed.outcome, failed.message)),
        None => error,
    }
}
