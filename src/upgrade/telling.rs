//! Who learns how a run went: whoever the operator named, the system's journal, whoever logs in.
//! None of it can fail a run.

use std::time::Duration;

use crate::database::Database;
use crate::error::Error;
use crate::notify::{self, Desk, Event, MessageId, Said, Work};
use crate::outcome::Outcome;
use crate::system::{clock, fs, host};

use super::appliance;
use super::gate::{self, Pending};
use super::journal::{Direction, Record, When};
use super::machine::Machine;
use super::public;
use super::rollback::order::Order;
use super::step::Step;
use super::ways_out;

/// How long the daily job tries to send what was left; nobody waits for it.
const LATER: Duration = Duration::from_secs(60);

/// Writes into the system's journal that a run begins.
pub(crate) fn begun(machine: &Machine, record: &Record) {
    let from = record.from.as_ref().map(ToString::to_string).unwrap_or_default();
    let to = record.to.to_string();
    let message = format!("{}: upgrade to {to} begins", machine.layout.app());
    let said = Said { message: &message, fields: &[("FROM", &from), ("TO", &to)], unit: None };
    warn(machine, notify::say(&machine.layout, MessageId::Begun, &said));
}

/// Reports a finished run.
pub(crate) fn tell(machine: &Machine, record: &Record) {
    appliance::ended(machine, record);
    let outcome = record.outcome.as_deref().and_then(Outcome::from_word);
    let event = Event {
        app: machine.layout.app().to_owned(),
        host: host::name(),
        work: work(record, outcome),
        outcome: outcome.unwrap_or(Outcome::Failed),
        from: record.from.as_ref().map(ToString::to_string),
        to: record.to.to_string(),
        restore_point: record.restore_point.clone(),
        step: record
            .marks
            .iter()
            .rev()
            .find(|mark| mark.when == When::Begun)
            .and_then(|mark| word(mark.step)),
        started: record.started.clone(),
        finished: record.finished.clone().unwrap_or_default(),
        message: record.message.clone().unwrap_or_default(),
        next: record.next.clone(),
    };
    report(machine, &event);
    public::leave(machine);
}

/// Says once which host is waited for.
pub(crate) fn waiting_for_host(
    machine: &Machine,
    database: &Database,
    busy: &Error,
    limit: Duration,
) {
    let holder = busy.details().first().cloned().unwrap_or_else(|| busy.message());
    let message = format!(
        "another host upgrades {}: {holder}; waiting for it, at most {}",
        database.described(),
        clock::spoken(limit)
    );
    machine.progress.note(&message);
    let said = Said { message: &message, fields: &[("HOLDER", &holder)], unit: None };
    warn(machine, notify::say(&machine.layout, MessageId::WaitingForHost, &said));
}

/// Sends the reports that nobody took so far, and ends what should have ended.
pub fn send_kept(machine: &Machine) {
    gate::opened::expire(machine);
    let desk = desk(machine);
    warn(machine, desk.send_later(LATER));
}

/// An upgrade that was undone is an upgrade that ended so, although its record leads back.
fn work(record: &Record, outcome: Option<Outcome>) -> Work {
    match (record.direction, outcome) {
        (Direction::Forward, _) | (Direction::Back, Some(Outcome::RolledBack)) => Work::Upgrade,
        (Direction::Back, _) => Work::Rollback,
    }
}

/// Reports a run that ended before it could begin: put off, or refused. Once for each upgrade and
/// outcome, because the unit tries again every half minute, and automation every night.
pub(crate) fn unfinished(machine: &Machine, error: &Error) {
    let Ok(Some(mark)) = Pending::read(&machine.layout) else { return };
    let next = match error.outcome() {
        Outcome::Unreachable => "it is finished by itself when the database answers".to_owned(),
        _ => format!("run `{}`", ways_out::retry_command(machine, mark.family)),
    };
    // A failure was told with its own end already, and `status` tells it again.
    let news = if mark.held_back().is_some() { News::Told } else { News::New };
    report_unfinished(machine, error, &mark, &next, (Work::Upgrade, news));
}

/// The same for a rollback, where the gate is closed.
pub(crate) fn unfinished_back(machine: &Machine, order: &Order, error: &Error) {
    let Ok(Some(mark)) = Pending::read(&machine.layout) else { return };
    let (from, to) = (Some(order.from.clone()), order.to.clone());
    let mark = Pending { from, to, since: order.since.clone(), ..mark };
    let next = error.hint_line().map(str::to_owned);
    let next = next.unwrap_or_else(|| format!("run `{}`", machine.command("rollback")));
    report_unfinished(machine, error, &mark, &next, (Work::Rollback, News::New));
}

/// Whether somebody was told already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum News {
    New,
    Told,
}

fn report_unfinished(
    machine: &Machine,
    error: &Error,
    mark: &Pending,
    next: &str,
    (work, told): (Work, News),
) {
    match error.outcome() {
        Outcome::Unreachable | Outcome::Refused | Outcome::Config => {}
        // Another run does the work and tells about it; the others have closed their journal.
        Outcome::Busy
        | Outcome::Ok
        | Outcome::Failed
        | Outcome::Usage
        | Outcome::BackupFailed
        | Outcome::MigrationFailed
        | Outcome::Unhealthy
        | Outcome::RolledBack
        | Outcome::Pending
        | Outcome::Mismatch
        | Outcome::Stuck => return,
    }
    let away = error.outcome() == Outcome::Unreachable;
    let own = format!("{} {}\n", mark.since, error.outcome().word());
    let path = machine.layout.reported();
    let news = !fs::read_text(&path, 4096).is_ok_and(|before| before == own);
    if news || !away {
        closed(machine, mark, error, next);
    }
    if !news || told == News::Told {
        return;
    }
    warn(machine, fs::replace(&path, own.as_bytes(), 0o644).err().map(|e| e.message()));
    let event = Event {
        app: machine.layout.app().to_owned(),
        host: host::name(),
        work,
        outcome: error.outcome(),
        from: mark.from.as_ref().map(ToString::to_string),
        to: mark.to.to_string(),
        restore_point: None,
        step: None,
        started: mark.since.clone(),
        finished: clock::rfc3339(machine.clock.now()),
        message: error.message(),
        next: Some(next.to_owned()),
    };
    report(machine, &event);
}

/// Says in the status of each unit why it does not start, and what to do. Starting a unit starts the
/// upgrade unit first, so that each attempt leaves its own line.
fn closed(machine: &Machine, mark: &Pending, error: &Error, next: &str) {
    let message = format!("not started: {}; next: {next}", error.message());
    for unit in &machine.config.app.services {
        let to = mark.to.to_string();
        let fields = [("TO", to.as_str()), ("OUTCOME", error.outcome().word())];
        let said = Said { message: &message, fields: &fields, unit: Some(unit) };
        warn(machine, notify::say(&machine.layout, MessageId::GateClosed, &said));
    }
}

/// Returns a step as the journal names it.
fn word(step: Step) -> Option<String> {
    serde_json::to_value(step).ok()?.as_str().map(str::to_owned)
}

fn report(machine: &Machine, event: &Event) {
    let desk = Desk { layout: &machine.layout, spec: &machine.config.notify, clock: machine.clock };
    warn(machine, desk.tell(event));
}

fn desk(machine: &Machine) -> Desk<'_> {
    Desk { layout: &machine.layout, spec: &machine.config.notify, clock: machine.clock }
}

fn warn(machine: &Machine, warnings: impl IntoIterator<Item = String>) {
    for warning in warnings {
        machine.progress.warn(&warning);
    }
}
