//! `openwatch status`: versions, schema, gate, last outcome, restore points, the next command.

use serde_json::{Value, json};

use crate::database::facts;
use crate::error::Result;
use crate::migrations;
use crate::notify;
use crate::system::identity as system_identity;
use crate::upgrade::baseline::{Comparison, undeclared};
use crate::upgrade::gate::Pending;
use crate::upgrade::gate::opened::Opened;
use crate::upgrade::hold::Look;
use crate::upgrade::identity;
use crate::upgrade::in_file;
use crate::upgrade::journal::{self, Record};
use crate::upgrade::machine::Machine;
use crate::upgrade::recover::{self, Report};
use crate::upgrade::rollback::given_up::GivenUp;
use crate::upgrade::rollback::order::Order;
use crate::upgrade::together;
use crate::upgrade::ways_out;
use crate::version::Version;

use super::Reply;
use super::backup::{entry_json, warn_of_unreadable};
use super::migrate::comparison_json;

/// Looks at everything that can be looked at; what cannot is said in its place.
pub fn run(machine: &Machine) -> Result<Reply> {
    let json = report(machine);
    Ok(Reply::ok(spoken(machine, &json), json))
}

/// Notes that somebody has read how the last upgrade ended; the login message ends.
pub fn acknowledge(machine: &Machine) -> Result<Reply> {
    let last = journal::read(&machine.layout)?;
    let finished = last.and_then(|record| record.finished).unwrap_or_default();
    let by = system_identity::person();
    notify::acknowledge(&machine.layout, &finished, &by, machine.clock)?;
    let mut reply = run(machine)?;
    reply.text = format!("acknowledged by {by}\n{}", reply.text);
    Ok(reply)
}

/// Returns what `status --json` says; the service answers the same at `/api/v1/upgrade`.
pub fn report(machine: &Machine) -> Value {
    let (gate, next) = gate(machine);
    let last = journal::read(&machine.layout).ok().flatten();
    let (hold, window) = Look::take(&machine.layout, &machine.config, machine.clock.now()).json();
    let next = next.or_else(|| last.as_ref().and_then(|record| interrupted(machine, record)));
    let recovery = recovery(machine);
    json!({
        "outcome": "ok",
        "app": machine.layout.app(),
        "package_version": machine.version,
        "gate": gate,
        "hold": hold,
        "window": window,
        "given_up": given_up(machine),
        "databases": databases(machine),
        "units": units(machine),
        "recovery": recovery,
        "last_run": last.map(|record| last_run(machine, &record)),
        "restore_points": restore_points(machine),
        "encryption": encryption(machine),
        "warnings": machine.config.warnings,
        "reports_waiting": notify::waiting(&machine.layout),
        "next": next,
    })
}

fn gate(machine: &Machine) -> (Value, Option<String>) {
    let (mut json, next) = marked(machine);
    if let Some(word) = Opened::holding(&machine.layout, machine.clock) {
        json["by_hand"] = json!(word);
    }
    (json, next)
}

/// A mark that cannot be read closes the gate.
fn closes_gate(machine: &Machine, order: &Order) -> bool {
    let mark = Pending::read(&machine.layout);
    mark.map_or(true, |mark| order.closes_gate(mark.as_ref(), &machine.version))
}

fn marked(machine: &Machine) -> (Value, Option<String>) {
    match Order::read(&machine.layout) {
        Ok(None) => {}
        Ok(Some(order)) if !closes_gate(machine, &order) => {
            let json = json!({"state": "open", "rollback_to": order.to, "ordered": order.since});
            return (json, Some(machine.command("rollback")));
        }
        Ok(Some(order)) => {
            let under_way = format!("a rollback to {} is under way", order.to);
            let failed = order.failed.as_ref();
            let json = json!({
                "state": "closed",
                "since": order.since,
                "from": order.from,
                "to": order.to,
                "outcome": failed.map(|failed| &failed.outcome),
                "why": failed.map_or(under_way.as_str(), |failed| &failed.message),
            });
            return (json, Some(machine.command("rollback")));
        }
        Err(error) => {
            let json = json!({"state": "closed", "why": error.message()});
            return (json, error.hint_line().map(str::to_owned));
        }
    }
    match Pending::read(&machine.layout) {
        Ok(None) => (json!({"state": "open"}), None),
        Ok(Some(mark)) => {
            let retry = match (mark.stuck, &mark.failed) {
                (Some(why), _) => why.command(machine),
                // Cut off before it ended: there is nothing to mend.
                (None, None) if recover::was_cut_off(machine) => {
                    machine.command("upgrade --resume")
                }
                // The retry would wait again: what is missing is said instead.
                (None, _) => match together::look(&machine.layout, &machine.config) {
                    Ok(Some(unfit)) => unfit.hint,
                    Ok(None) | Err(_) => ways_out::retry_command(machine, mark.family),
                },
            };
            let failed = mark.failed.as_ref();
            let json = json!({
                "state": "closed",
                "since": mark.since,
                "from": mark.from,
                "to": mark.to,
                "outcome": failed.map(|failed| &failed.outcome),
                "why": failed.map_or("the upgrade is not done yet", |failed| &failed.message),
            });
            (json, Some(retry))
        }
        Err(error) => {
            let json = json!({"state": "closed", "why": error.message()});
            (json, error.hint_line().map(str::to_owned))
        }
    }
}

/// In what state an upgrade is that is not done; null where none is open.
fn recovery(machine: &Machine) -> Value {
    match recover::report(machine) {
        Ok(Report { state: None, .. }) => Value::Null,
        Ok(Report { state: Some(state), cut_off, stuck }) => json!({
            "state": state.word(),
            "what": state.spoken(),
            "interrupted": cut_off,
            "stuck": stuck,
        }),
        Err(error) => json!({"state": "unknown", "what": error.message()}),
    }
}

/// The version that was rolled back; of no interest once a newer one is installed.
fn given_up(machine: &Machine) -> Option<Version> {
    let noted = GivenUp::read(&machine.layout)?.version;
    Some(noted).filter(|version| version.order(&machine.version).is_gt())
}

/// A run without an end was killed: one command finishes it.
fn interrupted(machine: &Machine, record: &Record) -> Option<String> {
    record.was_cut_off().then(|| machine.command("upgrade --resume"))
}

fn databases(machine: &Machine) -> Vec<Value> {
    let look = |shipped: &crate::upgrade::machine::Shipped| {
        let mut session = shipped.database.connect()?;
        let found = migrations::look(&mut session, &shipped.migrations)?;
        let mut json = comparison_json(&found);
        json["server_version"] = facts::server_version(&mut session)?.into();
        if let Some(file) = in_file::told(&shipped.database) {
            json["file"] = file;
        }
        Ok::<Value, crate::error::Error>(json)
    };
    machine
        .databases
        .iter()
        .map(|shipped| {
            let mut json = look(shipped).unwrap_or_else(|error| {
                json!({"state": "unknown", "problems": [{"kind": "unreachable", "what": error.message()}]})
            });
            json["name"] = shipped.database.name().into();
            json
        })
        .collect()
}

fn units(machine: &Machine) -> Vec<String> {
    match machine.services.look(&machine.config.app.services) {
        Ok(units) => units
            .iter()
            .map(|unit| match unit.runs_a_replaced_program() {
                true => format!("{}, an older program than the one on disk", unit.spoken()),
                false => unit.spoken(),
            })
            .collect(),
        Err(error) => vec![error.message()],
    }
}

fn last_run(machine: &Machine, record: &Record) -> Value {
    let finished = record.finished.as_deref().unwrap_or_default();
    json!({
        "acknowledged": notify::is_acknowledged(&machine.layout, finished),
        "started": record.started,
        "finished": record.finished,
        "from": record.from,
        "to": record.to,
        "outcome": record.outcome.as_deref().unwrap_or("interrupted"),
        "message": record.message,
        "state": record.state,
        "next": record.next,
        "restore_point": record.restore_point,
        "comparison": record.comparison.as_ref().map(Comparison::json),
    })
}

/// Only looks: the directory is neither made nor changed.
fn restore_points(machine: &Machine) -> Value {
    let listed = machine.stored().and_then(|store| match store {
        Some(store) => store.list(),
        None => Ok(Vec::new()),
    });
    match listed {
        Ok(entries) => {
            warn_of_unreadable(machine, &entries);
            entries.iter().map(entry_json).collect()
        }
        Err(error) => json!({"error": error.message()}),
    }
}

/// Who can open what is stored from now on, and when somebody last did; null where it is in clear.
fn encryption(machine: &Machine) -> Value {
    if !machine.keyring.encrypts() {
        return Value::Null;
    }
    match machine.keyring.recipients() {
        Ok(recipients) => json!({
            "recipients": recipients.iter().map(|own| own.as_str()).collect::<Vec<_>>(),
            "identity_proven": identity::last_proven(machine),
        }),
        Err(error) => json!({"error": error.message()}),
    }
}

fn spoken_encryption(encryption: &Value) -> Option<String> {
    if encryption.is_null() {
        return None;
    }
    if let Some(why) = encryption["error"].as_str() {
        return Some(format!("  encryption:    {why}"));
    }
    let proven = &encryption["identity_proven"];
    let recipients = encryption["recipients"].as_array().map_or(0, Vec::len);
    Some(match proven["at"].as_str() {
        Some(at) => format!(
            "  encryption:    to {recipients} recipients; an identity opened {} at {at}",
            proven["point"].as_str().unwrap_or("a restore point")
        ),
        None => format!(
            "  encryption:    to {recipients} recipients; nobody has shown here that an identity exists"
        ),
    })
}

/// The last run; of a bad one everything that scrolled away, until somebody acknowledges it.
fn spoken_last(last: &Value) -> Vec<String> {
    let Some(outcome) = last["outcome"].as_str() else { return Vec::new() };
    let when = last["finished"].as_str().or(last["started"].as_str()).unwrap_or_default();
    let acknowledged = last["acknowledged"] == true;
    let noted = if acknowledged { ", acknowledged" } else { "" };
    let mut lines = vec![format!("  last run:      {outcome} at {when}{noted}")];
    if outcome != "ok" && !acknowledged {
        let point = last["restore_point"].as_str().map(|id| format!("restore point {id}"));
        let said = |key: &str| last[key].as_str().map(str::to_owned);
        let all = [said("message"), said("state"), point, said("next")];
        lines.extend(all.into_iter().flatten().map(|text| format!("                 {text}")));
    }
    lines
}

fn spoken(machine: &Machine, report: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
    let mut lines = vec![format!("{} {}", machine.layout.app(), machine.version)];
    for database in report["databases"].as_array().into_iter().flatten() {
        lines.push(format!(
            "  database:      {} is {}, schema {}, {} pending",
            text(&database["name"]),
            text(&database["state"]),
            database["current"].as_str().unwrap_or("none"),
            database["pending"].as_array().map_or(0, Vec::len)
        ));
        for problem in database["problems"].as_array().into_iter().flatten() {
            lines.push(format!("                 {}", text(&problem["what"])));
        }
    }
    for unit in report["units"].as_array().into_iter().flatten() {
        lines.push(format!("  unit:          {}", text(unit)));
    }
    let gate = &report["gate"];
    lines.push(match gate["why"].as_str() {
        Some(why) => format!("  gate:          closed: {why}"),
        None => match gate["rollback_to"].as_str() {
            Some(to) => format!("  gate:          open; a rollback to {to} is ordered, not begun"),
            None => "  gate:          open".into(),
        },
    });
    if let Some(word) = Opened::holding(&machine.layout, machine.clock) {
        lines.push(format!("                 {}", word.spoken()));
    }
    let look = Look::take(&machine.layout, &machine.config, machine.clock.now());
    let (hold, window) = look.spoken();
    lines.extend(hold.map(|hold| format!("  hold:          {hold}")));
    lines.extend(window.map(|window| format!("  window:        {window}")));
    let recovery = &report["recovery"];
    if !recovery.is_null() {
        let stuck = if recovery["stuck"].is_null() { "" } else { "stuck: " };
        lines.push(format!("  upgrade:       {stuck}{}", text(&recovery["what"])));
    }
    if let Some(version) = report["given_up"].as_str() {
        let retry = machine.command("upgrade --retry");
        lines.push(format!("  rolled back:   {version} stays out until `{retry}`"));
    }
    lines.extend(spoken_last(&report["last_run"]));
    let last = &report["last_run"];
    if let Some(doubts) = last["comparison"]["doubts"].as_u64().filter(|doubts| *doubts > 0) {
        let name = text(&last["comparison"]["baseline"]);
        let show = machine.command(&format!("baseline compare {name}"));
        lines.push(format!("  since then:    {}: `{show}`", undeclared(doubts)));
    }
    if let Some(points) = report["restore_points"].as_array() {
        let newest = points.iter().find(|point| point["state"] == "good");
        let newest = newest.map_or("none".to_owned(), |point| {
            let proof = point["proof"].as_str().unwrap_or_default().replace('_', " ");
            format!("{}, {proof}", text(&point["id"]))
        });
        lines.push(format!("  restore point: {newest} ({} in all)", points.len()));
    }
    lines.extend(spoken_encryption(&report["encryption"]));
    match report["reports_waiting"].as_u64() {
        None | Some(0) => {}
        Some(count) => lines.push(format!("  reports:       {count} wait for their receiver")),
    }
    for warning in report["warnings"].as_array().into_iter().flatten() {
        lines.push(format!("  warning:       {}", text(warning)));
    }
    if let Some(next) = report["next"].as_str() {
        lines.push(format!("  next:          {next}"));
    }
    lines.join("\n")
}
