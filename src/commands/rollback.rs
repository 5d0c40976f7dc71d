//! `openwatch rollback`: data and package of the version before, back together.

use std::path::Path;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::package::busy;
use crate::restore_points::RestorePoint;
use crate::services::Unit;
use crate::upgrade::gate::Pending;
use crate::upgrade::identity;
use crate::upgrade::journal::{self, Direction};
use crate::upgrade::machine::Machine;
use crate::upgrade::rollback::order::Order;
use crate::upgrade::rollback::outlook::{self, Outlook, Wanted};
use crate::upgrade::rollback::present::Copy;
use crate::upgrade::rollback::{self, Ended, Who, again, refused};
use crate::version::Version;

use super::Reply;
use super::following::follow;
use super::upgrade::waiting_for_others;

/// What was asked for.
pub struct Request<'r> {
    /// The file of the older package.
    pub package: Option<&'r Path>,
    /// The version to go back to.
    pub to: Option<&'r Version>,
    /// Whether the present state is kept first.
    pub copy: Copy,
    /// Whether the operator said yes already.
    pub confirmed: bool,
    /// Where the work is done.
    pub place: Place,
    /// Prints a line that the unit wrote.
    pub relay: &'r dyn Fn(&str),
}

/// Where the work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In its own unit, where systemd runs: a closed terminal does not hurt it.
    Unit,
    /// In this process.
    Here,
}

/// Rolls back, once it was told what is lost; goes on with a rollback that was begun.
pub fn run(
    machine: &Machine,
    reopen: &dyn Fn() -> Result<Machine>,
    request: &Request<'_>,
) -> Result<Reply> {
    let order = {
        let _lock = machine.lock("rollback")?;
        match Order::read(&machine.layout)? {
            Some(begun) => again(machine, begun, request)?,
            None => begin(machine, request)?,
        }
    };
    carry_out(machine, reopen, request, &order)
}

/// Carries out the order that is there, as the unit of the rollback.
pub fn run_as_unit(machine: &Machine, reopen: &dyn Fn() -> Result<Machine>) -> Result<Reply> {
    waiting_for_others(machine, || ended(rollback::go_on(machine, reopen, Who::Machine)?))
}

/// Goes on with what was begun: what was lost by it is lost already, or was agreed to. What was only
/// ordered, and nobody is at work on, is decided about anew.
fn again(machine: &Machine, begun: Order, request: &Request<'_>) -> Result<Order> {
    if let Some(to) = request.to.filter(|to| !begun.leads_to(to)) {
        let message = format!("a rollback to {} is under way, not to {to}", begun.to);
        return Err(Error::new(Outcome::Refused, message)
            .state(begun.halves(&machine.version))
            .hint(format!("Finish it first with `{}`.", machine.command("rollback"))));
    }
    let marked = Pending::read(&machine.layout)?;
    if begun.failed.is_none() && !begun.has_begun(marked.as_ref()) && !is_at_work(machine, &begun) {
        let (to, since) = (&begun.to, &begun.since);
        machine.progress.note(&format!("the rollback to {to} of {since} never began"));
        Order::clear(&machine.layout)?;
        return begin(machine, request);
    }
    machine.progress.note(&format!(
        "going on with the rollback to {}: {}",
        begun.to,
        begun.halves(&machine.version)
    ));
    let begun = again::with_package(machine, begun, request.package)?;
    // A person has looked: the next attempt may be made.
    let order = Order { failed: None, ..begun };
    order.write(&machine.layout)?;
    Ok(order)
}

/// Returns whether the unit has the order, or the package tool that it waits for.
fn is_at_work(machine: &Machine, order: &Order) -> bool {
    let units = machine.services.look(&[machine.layout.rollback_unit()]);
    let runs = units.is_ok_and(|units| units.iter().any(Unit::is_up));
    runs || order.family.and_then(|family| busy::holder(machine.layout.root(), family)).is_some()
}

fn begin(machine: &Machine, request: &Request<'_>) -> Result<Order> {
    let wanted = Wanted { package: request.package, to: request.to, copy: request.copy };
    let outlook = outlook::look(machine, &wanted)?;
    let told = outlook.told();
    if outlook.takes_away() && !request.confirmed {
        return Err(unconfirmed(machine, &outlook, &wanted, &told));
    }
    for line in &told {
        machine.progress.note(line);
    }
    let order = outlook.order(machine)?;
    order.write(&machine.layout)?;
    Ok(order)
}

/// Nothing is ever asked on a terminal: a script would hang. What would happen is said instead.
fn unconfirmed(
    machine: &Machine,
    outlook: &Outlook,
    wanted: &Wanted<'_>,
    told: &[String],
) -> Error {
    let id = outlook.point.as_ref().map_or("", RestorePoint::id);
    let message =
        format!("going back to {} loses what was written since restore point {id}", outlook.to);
    let words = format!("{}{} --yes", wanted.typed(&outlook.to), identity::named(machine));
    let command = machine.command(&words);
    told.iter()
        .fold(Error::new(Outcome::Refused, message), |error, line| error.detail(line))
        .state("nothing was changed")
        .hint(format!("To do it, run `{command}`."))
}

fn carry_out(
    machine: &Machine,
    reopen: &dyn Fn() -> Result<Machine>,
    request: &Request<'_>,
    order: &Order,
) -> Result<Reply> {
    let layout = &machine.layout;
    let unit = layout.rollback_unit();
    let manager = &machine.services;
    let caller = order.family.and_then(|family| busy::holder(layout.root(), family));
    if caller.is_some_and(busy::is_our_caller) {
        // The package tool waits for the script that we run in, and would be waited for by us.
        manager.schedule(&unit)?;
        let text = format!("the rollback to {} runs when the package tool has ended", order.to);
        return Ok(Reply::ok(text, json!({"from": order.from, "to": order.to, "scheduled": true})));
    }
    let in_unit = request.place == Place::Unit && manager.is_present() && has_unit(machine, &unit);
    if !in_unit {
        return ended(rollback::go_on(machine, reopen, Who::Person)?);
    }
    let code = follow(layout, &unit, request.relay)?;
    match (Order::read(layout)?, code) {
        (None, Some(Outcome::Ok) | None) => {
            // What the unit kept of the present state is known to its record; it is back all the same
            // where that cannot be read.
            let run = journal::read(layout).ok().flatten();
            let own = run.filter(|run| run.direction == Direction::Back && run.to == order.to);
            let copied = own.and_then(|run| run.restore_point);
            Ok(done(&Order { copied, ..order.clone() }))
        }
        (None | Some(_), Some(outcome)) if outcome != Outcome::Ok => {
            Ok(as_told(machine, order, outcome))
        }
        (None | Some(_), Some(_) | None) => {
            Err(Error::failed(format!("{unit} ended without a result"))
                .state(order.halves(&machine.version))
                .hint(format!("Look at `journalctl -u {unit}`, then run `openwatch rollback`.")))
        }
    }
}

/// Returns whether the package ships the unit; others than our own may not.
fn has_unit(machine: &Machine, unit: &str) -> bool {
    use crate::services::Load;
    let units = machine.services.look(&[unit.to_owned()]);
    units.is_ok_and(|units| units.iter().all(|unit| unit.load == Load::Loaded))
}

fn ended(ended: Ended) -> Result<Reply> {
    match ended {
        Ended::Done(order) => Ok(done(&order)),
        Ended::NothingOrdered => Ok(Reply::ok("no rollback is under way", json!({"to": null}))),
        Ended::WaitsForPackage => {
            Ok(Reply::ok("the data is back; the package tool goes on", json!({"scheduled": true})))
        }
    }
}

fn done(order: &Order) -> Reply {
    let mut lines = vec![format!("back at version {}, and healthy", order.to)];
    lines.extend(order.point.as_ref().map(|id| format!("  data:    restore point {id}")));
    lines.extend(
        order
            .copied
            .as_ref()
            .map(|id| format!("  before:  what was there until now is restore point {id}")),
    );
    lines.push(format!("  {} is not tried again until `openwatch upgrade --retry`", order.from));
    Reply::ok(lines.join("\n"), json_of(order))
}

fn json_of(order: &Order) -> Value {
    json!({
        "from": order.from,
        "to": order.to,
        "restore_point": order.point,
        "copy": order.copied,
        "units": order.running,
    })
}

/// The unit has said what went wrong; programs are told from what it wrote down.
fn as_told(machine: &Machine, order: &Order, outcome: Outcome) -> Reply {
    let refused = refused::of(&machine.layout, order);
    let refused = refused.filter(|refused| refused.outcome == outcome.word());
    let json = refused.map(|said| {
        json!({"error": {
            "message": said.message, "detail": said.detail, "state": said.state, "hint": said.hint,
        }})
    });
    let of_journal = || {
        let last = journal::read(&machine.layout).ok().flatten();
        let last = last.filter(|run| run.direction == Direction::Back)?;
        Some(json!({"error": {
            "message": last.message, "detail": last.detail, "state": last.state, "hint": last.next,
        }}))
    };
    let json = json.or_else(of_journal).unwrap_or(json!({}));
    Reply { outcome, text: String::new(), json }
}
