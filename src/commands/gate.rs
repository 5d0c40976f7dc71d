//! `openwatch gate`: exit 0 where the program may start, and why not otherwise.

use std::time::Duration;

use serde_json::json;

use crate::error::{Error, Result};
use crate::migrations::{self, State};
use crate::outcome::Outcome;
use crate::upgrade::appliance;
use crate::upgrade::gate::Pending;
use crate::upgrade::gate::opened::{self, Opened};
use crate::upgrade::machine::Machine;
use crate::upgrade::rollback::order::Order;
use crate::upgrade::ways_out;

use super::Reply;

/// How long a database that is away is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Not at all: a person asks.
    None,
    /// As long as an upgrade waits: a unit is about to start, perhaps at boot.
    AsConfigured,
}

/// Looks at the pending mark, then at each database's schema.
pub fn run(machine: &Machine, patience: Patience) -> Result<Reply> {
    if let Some(word) = Opened::holding(&machine.layout, machine.clock) {
        let json = json!({"gate": "open", "by_hand": word});
        return Ok(Reply::ok(format!("the gate is {}", word.spoken()), json));
    }
    appliance::check_taken(machine)?;
    let mark = Pending::read(&machine.layout)?;
    if let Some(order) = Order::read(&machine.layout)?
        && order.closes_gate(mark.as_ref(), &machine.version)
    {
        let message = format!("the rollback from {} to {} is not done", order.from, order.to);
        return Err(Error::new(Outcome::Pending, message)
            .state(format!("{}; the gate is closed", order.halves(&machine.version)))
            .hint(format!("Run `{}`.", machine.command("rollback"))));
    }
    if let Some(mark) = mark {
        return Err(closed(machine, &mark));
    }
    for shipped in &machine.databases {
        let wait = match patience {
            Patience::None => Duration::ZERO,
            Patience::AsConfigured => machine.config.policy.database_wait,
        };
        let mut session = machine.connect_waiting(&shipped.database, wait)?;
        let found = migrations::look_for_pending(&mut session, &shipped.migrations)?;
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

/// Opens the gate until then, for a reason, although an upgrade is not done.
pub fn open(machine: &Machine, until: &str, reason: &str) -> Result<Reply> {
    let until = opened::end(until, machine.clock.now())?;
    let word = opened::open(machine, until, reason)?;
    let json = json!({"gate": "open", "by_hand": word});
    let close = machine.command("gate close");
    Ok(Reply::ok(format!("the gate is {}; `{close}` ends it earlier", word.spoken()), json))
}

/// Takes back what [`open`] said.
pub fn close(machine: &Machine) -> Result<Reply> {
    let was = opened::close(machine, "taken back by hand or by its timer")?;
    let text =
        if was { "the gate is no longer open by hand" } else { "nobody had opened the gate" };
    Ok(Reply::ok(text, json!({"was_open_by_hand": was})))
}

/// Says why the pending mark keeps the gate closed.
fn closed(machine: &Machine, mark: &Pending) -> Error {
    let from = mark.from.as_ref().map_or(String::new(), |from| format!("from {from} "));
    let error =
        Error::new(Outcome::Pending, format!("the upgrade {from}to {} is not done", mark.to))
            .state(format!("the gate is closed since {}", mark.since))
            .hint(format!("Run `{}`.", ways_out::retry_command(machine, mark.family)));
    match &mark.failed {
        Some(failed) => error
            .detail(format!("the last attempt ended as {}: {}", failed.outcome, failed.message)),
        None => error,
    }
}
